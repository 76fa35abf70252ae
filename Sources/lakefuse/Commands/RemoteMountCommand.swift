import CLinux
import FoundationEssentials
import Foundations
import Glibc
import LakeAPI
import LakeFUSE
import Versioning

/// Mounts of servers elsewhere: a process each, on this machine, with its working tree and what it read under one
/// folder.
enum RemoteMountCommand {
    static let flags = [
        Command.Flag(
            name: "remote",
            description:
                "mount from this machine, whatever machine the server is on (so by itself if that is another one)"),
        Command.Flag(name: "foreground", description: "with --remote: stay until it is unmounted"),
        Command.Flag(
            name: "cache-dir", value: "DIR",
            description: "with --remote: where what is written and read is kept (default ~/.local/share/lakefuse)"),
        Command.Flag(
            name: "cache-size", value: "SIZE",
            description: "with --remote: how much of what was read is kept, such as 20GiB (default 10GiB)"),
        Command.Flag(name: "manual-push", description: "with --remote: upload on 'lakefuse push' or a commit only"),
        Command.Flag(
            name: "on-conflict", value: "RULE",
            description: "with --remote, for files changed here and there: keep both (default), mine or theirs"),
    ]

    /// Whether the server is on another machine, so that it cannot mount here.
    static func isElsewhere(_ endpoint: String) -> Bool {
        let host = endpoint.split(separator: "/", maxSplits: 2).last.map { $0.prefix { $0 != "/" } } ?? ""
        let name = host.hasPrefix("[") ? host.prefix { $0 != "]" }.dropFirst() : host.prefix { $0 != ":" }
        return !(name == "localhost" || name.hasPrefix("127.") || name == "::1")
    }

    /// What kept what is told to come in: its own descriptor in the process that mounts.
    private static let report: Int32 = 3
    private static let mark = "LAKEFUSE_MOUNT_REPORTS"

    static func run(_ invocation: Invocation, _ message: API.Mount) throws {
        guard invocation.has("foreground") || invocation.environment[mark] != nil else {
            return try spawn(invocation, message)
        }
        let isChild = invocation.environment[mark] != nil
        do { try serve(invocation, message) { if isChild { tell("") } } } catch {
            if isChild { tell(LakeError(error).message) }
            throw error
        }
    }

    private static func tell(_ text: String) {
        unsafe _ = write(report, text, text.utf8.count)
        close(report)
    }

    /// Bytes that a text such as `20GiB` says.
    static func size(_ text: String) throws -> Int64 {
        let digits = text.prefix { $0.isNumber }
        let unit = text[digits.endIndex...].lowercased()
        let shifts: [String: Int64] = [
            "": 0, "b": 0, "k": 10, "kib": 10, "m": 20, "mib": 20, "g": 30, "gib": 30, "t": 40, "tib": 40,
        ]
        guard let number = Int64(digits), let shift = shifts[unit], number > 0, number < 1 << (62 - shift) else {
            throw UsageError("invalid argument \"\(text)\" for \"--cache-size\" flag: it must be a size such as 20GiB")
        }
        return number << shift
    }

    private static func settings(_ invocation: Invocation, _ message: API.Mount) throws -> RemoteMount.Settings {
        let client = try invocation.client(impatient: true)
        let base =
            invocation.value("cache-dir").map { Files.absolute($0) }
            ?? (invocation.environment["XDG_DATA_HOME"] ?? (invocation.environment["HOME"] ?? "/root") + "/.local/share")
            + "/lakefuse"
        // One folder for each ref of each server: a name that people find, and that no other has.
        let id = Hex.text(Hash.digest(.sha256, Array("\(client.endpoint)\n\(message.repository)\n\(message.ref)".utf8)))
            .prefix(12)
        var settings = RemoteMount.Settings(client, message, folder: "\(base)/\(message.repository)-\(id)")
        if let text = invocation.value("cache-size") { settings.cacheBytes = try size(text) }
        if let text = invocation.value("on-conflict") {
            guard let rule = ConflictRule(rawValue: text) else {
                throw UsageError(
                    "invalid argument \"\(text)\" for \"--on-conflict\" flag: it must be keep, mine or theirs")
            }
            settings.conflicts = rule
        }
        settings.pushesByHand = invocation.has("manual-push")
        try FileManager.default.createDirectory(atPath: settings.folder, withIntermediateDirectories: true)
        return settings
    }

    /// One that is ending lets go of what it has within seconds.
    private static func lock(_ settings: RemoteMount.Settings) throws -> FileLock {
        for _ in 0..<50 {
            if let lock = try? FileLock(settings.folder + "/.lock", what: "") { return lock }
            usleep(100_000)
        }
        return try FileLock(
            settings.folder + "/.lock", what: "the working tree in \(settings.folder) (another mount of this ref?)")
    }

    /// Mounts, and returns when it was unmounted.
    private static func serve(_ invocation: Invocation, _ message: API.Mount, ready: () -> Void) throws {
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        for number in [SIGTERM, SIGINT, SIGHUP] { unsafe sigaddset(&signals, number) }
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        signal(SIGPIPE, SIG_IGN)
        umask(0o077)
        let settings = try settings(invocation, message)
        let lock = try lock(settings)
        let mount = try RemoteMount(settings)
        let blocked = signals
        ready()
        let waiter = Thread(name: "signals") {
            var received: Int32 = 0
            var signals = blocked
            while unsafe sigwait(&signals, &received) == 0 { if received != SIGHUP { mount.stop() } }
        }
        withExtendedLifetime((waiter, lock)) { mount.wait() }
        _exit(0)
    }

    /// Starts a process that mounts, and returns when it has.
    private static func spawn(_ invocation: Invocation, _ message: API.Mount) throws {
        let settings = try settings(invocation, message)
        var pipe: [Int32] = [-1, -1]
        guard unsafe Glibc.pipe(&pipe) == 0 else { throw LakeError(.unavailable, "no pipe can be made") }
        var actions = unsafe posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        unsafe posix_spawn_file_actions_init(&actions)
        unsafe posix_spawnattr_init(&attributes)
        defer {
            unsafe posix_spawn_file_actions_destroy(&actions)
            unsafe posix_spawnattr_destroy(&attributes)
        }
        let log = settings.folder + "/mount.log"
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        unsafe posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        unsafe posix_spawn_file_actions_adddup2(&actions, 1, 2)
        unsafe posix_spawn_file_actions_adddup2(&actions, pipe[1], report)
        if pipe[0] != report { unsafe posix_spawn_file_actions_addclose(&actions, pipe[0]) }
        if pipe[1] != report { unsafe posix_spawn_file_actions_addclose(&actions, pipe[1]) }
        unsafe posix_spawnattr_setflags(&attributes, 0x80)  // POSIX_SPAWN_SETSID: it outlives the terminal.
        let arguments = ["/proc/self/exe"] + Program.arguments.dropFirst()
        let environment = invocation.environment.merging([mark: "1"]) { $1 }.map { "\($0.key)=\($0.value)" }
        var words = unsafe arguments.map { unsafe strdup($0) } + [nil]
        var variables = unsafe environment.map { unsafe strdup($0) } + [nil]
        var child = pid_t()
        defer { unsafe (words + variables).forEach { unsafe free($0) } }
        let failure = unsafe posix_spawn(&child, "/proc/self/exe", &actions, &attributes, &words, &variables)
        close(pipe[1])
        defer { close(pipe[0]) }
        guard failure == 0 else {
            throw LakeError(
                .unavailable, unsafe "cannot start the process that mounts: \(String(cString: strerror(failure)))")
        }
        var told: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while case let count = unsafe read(pipe[0], &buffer, buffer.count), count > 0 { told += buffer[..<count] }
        guard told.isEmpty else { throw LakeError(.unavailable, String(decoding: told, as: UTF8.self)) }
        // Nothing said: it is mounted, or ended without a word.
        var status: Int32 = 0
        guard unsafe waitpid(child, &status, WNOHANG) == 0 else {
            throw LakeError(.unavailable, "the process that mounts ended: see \(log)")
        }
    }
}
