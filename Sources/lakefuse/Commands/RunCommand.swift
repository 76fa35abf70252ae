import CLinux
import Foundations
import Glibc
import Versioning

extension Command {
    /// Seconds within which a server ends that was told to, whatever its libraries do.
    private static let stopSeconds: UInt32 = 30

    static let runServer = Command(
        path: ["run"], summary: "Run a lake: REST, S3 and mounts, until SIGTERM or SIGINT",
        example: "lakefuse run --data my-lake",
        flags: [
            .serverConfiguration,
            Flag(name: "data", value: "DIR", description: "folder for everything that is kept (default .lakefuse)"),
            Flag(
                name: "listen", value: "HOST:PORT",
                description: "address to listen on (default 127.0.0.1:8000; port 0: any free one)"),
            Flag(
                name: "local-settings",
                description: "keep everything under ~/lakefuse, where nothing else says where: to try it"),
            Flag(
                name: "quickstart",
                description: "the same, with the user 'quickstart' whose key pair everybody knows: for tests alone"),
        ]
    ) { invocation in
        var configuration = try Configuration.load(invocation)
        try configuration.setForTrial(invocation)
        // Four arenas, as many as threads that answer: with two these wait for each other in long listings; the default
        // of eight a core takes four times the memory and makes nothing faster (measured).
        lake_tune_malloc(4, 4 << 20, 16 << 20)
        // Signals are waited for here; every thread started from now on has them blocked.
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe sigaddset(&signals, SIGTERM)
        unsafe sigaddset(&signals, SIGINT)
        unsafe sigaddset(&signals, SIGHUP)
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        signal(SIGPIPE, SIG_IGN)
        // Files of a busy lake: as many as the system lets us have open.
        var limit = rlimit()
        if unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            limit.rlim_cur = limit.rlim_max
            unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        }
        // All that the lake keeps is its owner's alone: the database's files, objects, working files.
        umask(0o077)
        try configuration.check()
        try configuration.openLog()
        configuration.tellPassedOver()
        let lake = try Lake(configuration)
        Output.line("lakefuse is ready at \(lake.address)")
        var received: Int32 = 0
        while unsafe sigwait(&signals, &received) == 0, received == SIGHUP {
            do { try configuration.openLog() } catch {
                Log.error("the log goes on in the old file", ["reason": LakeError(error).message])
            }
            do { try configuration.loadCertificate() } catch {
                Log.error("the old certificate is shown further", ["reason": LakeError(error).message])
            }
        }
        let watchdog = Thread(name: "stop") {
            sleep(stopSeconds)
            Log.error("the server did not end in time: it is ended")
            _exit(1)
        }
        withExtendedLifetime(watchdog) { lake.stop() }
        // What a thread of a library still does, nobody waits for: all that was acknowledged is on disk.
        _exit(0)
    }
}
