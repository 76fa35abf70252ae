import FoundationEssentials
import Foundations
import Glibc
import LakeAPI
import Transport
import Versioning

extension Command {
    static let quickstart = Command(
        path: ["quickstart"],
        summary: "Start a lake with sample data in the background, mount it, and say what to try; --stop ends it",
        example: "lakefuse quickstart",
        flags: [
            Flag(name: "data", value: "DIR", standard: ".lakefuse", description: "folder for everything that is kept"),
            Flag(name: "mount", value: "DIR", standard: "lake", description: "folder that shows the branch"),
            Flag(
                name: "listen", value: "HOST:PORT", standard: "127.0.0.1:8000",
                description: "address to listen on; any free port if that one is taken"),
            Flag(name: "stop", description: "end it; everything is kept"),
        ]
    ) { invocation in
        let trial = Trial(invocation)
        if invocation.has("stop") { try trial.stop() } else { try trial.start() }
    }
}

/// A lake to try things with: a server in the background, a repository with sample data, and a mount of it.
private struct Trial {
    private let data: String, mount: String, listen: String
    private let environment: [String: String]

    init(_ invocation: Invocation) {
        data = Files.absolute(invocation.value("data")!)
        mount = Files.absolute(invocation.value("mount")!)
        listen = invocation.value("listen")!
        environment = invocation.environment
    }

    private static let repository = "demo", branch = "main"
    private static let startMilliseconds: Int64 = 30_000

    // MARK: the server

    private var processFile: String { data + "/server.pid" }
    private var readyFile: String { data + "/ready" }
    private var logFile: String { data + "/log" }

    /// The process of the file, if it still is one of this program.
    private var process: pid_t? {
        guard let text = FileStatus.text(of: processFile),
            let process = text.split(whereSeparator: \.isWhitespace).first.flatMap({ pid_t($0) })
        else { return nil }
        // A number is given to others again: what it was begun with tells whose process it is.
        guard let words = FileStatus.text(of: "/proc/\(process)/cmdline")?.split(separator: "\0"),
            words.count > 3, words[0].hasSuffix("lakefuse"), words[1] == "run", words.contains(data[...])
        else { return nil }
        return process
    }

    private var address: String? {
        FileStatus.text(of: readyFile)?.split(separator: "\n").first { $0.hasPrefix(Self.ready) }.map {
            String($0.dropFirst(Self.ready.count))
        }
    }
    private static let ready = "lakefuse is ready at "

    private func begin(_ listen: String) throws -> Bool {
        let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        // POSIX_SPAWN_SETSID, which glibc declares under _GNU_SOURCE: it outlives the terminal.
        unsafe posix_spawnattr_setflags(&attributes, 0x80)
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        unsafe posix_spawn_file_actions_addopen(&actions, 1, readyFile, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        unsafe posix_spawn_file_actions_addopen(&actions, 2, logFile, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        let line: [String] = ["lakefuse", "run", "--data", data, "--listen", listen]
        var words: [UnsafeMutablePointer<CChar>?] = unsafe line.map { unsafe strdup($0) } + [nil]
        defer { unsafe words.forEach { unsafe free($0) } }
        var child = pid_t()
        let failure = unsafe posix_spawn(&child, program, &actions, &attributes, &words, environ)
        guard failure == 0 else {
            throw CommandError(unsafe "the server cannot be started: \(String(cString: strerror(failure)))")
        }
        try Files.write(Array("\(child)\n".utf8), to: processFile, mode: 0o644)
        let deadline = Timestamp.monotonicMilliseconds() + Self.startMilliseconds
        while Timestamp.monotonicMilliseconds() < deadline {
            if address != nil { return true }
            var status: Int32 = 0
            if unsafe waitpid(child, &status, WNOHANG) == child { return false }
            sleep(milliseconds: 50)
        }
        ChildProcess.end(child)
        throw CommandError("the server does not get ready", hint: "see \(shown(logFile))")
    }

    func stop() throws {
        guard let process else {
            Output.line("nothing is running")
            return
        }
        kill(process, SIGTERM)
        let deadline = Timestamp.monotonicMilliseconds() + Self.startMilliseconds
        while self.process != nil, Timestamp.monotonicMilliseconds() < deadline { sleep(milliseconds: 50) }
        guard self.process == nil else { throw CommandError("the server does not end: see \(shown(logFile))") }
        unsafe unlink(processFile)
        unsafe unlink(readyFile)
        Output.line("stopped, \(shown(mount)) is unmounted; everything is kept in \(shown(data))")
    }

    // MARK: what it holds

    func start() throws {
        try Files.makeFolder(data)
        // A dead mount cannot be looked at: mounting anew clears it away.
        try? Files.makeFolder(mount)
        if process == nil {
            unsafe unlink(readyFile)
            guard let colon = listen.lastIndex(of: ":"), UInt16(listen[listen.index(after: colon)...]) != nil else {
                throw CommandError("--listen '\(listen)' is no address: HOST:PORT is")
            }
            // Another program may have the usual port: any free one will do.
            guard try begin(listen) || begin("127.0.0.1:0") else {
                let last = FileStatus.text(of: logFile)?.split(separator: "\n").last ?? ""
                throw CommandError("the lake did not start: \(last)", hint: "see \(shown(logFile))")
            }
        }
        guard let address else { throw CommandError("\(shown(readyFile)) does not tell the server's address") }
        var pairs: [String: String] = [:]
        for (key, value) in try YAML.flatten(Files.read(data + "/credentials"), file: "credentials") {
            pairs[key] = value
        }
        let (id, secret) = (pairs["credentials.access_key_id"] ?? "", pairs["credentials.secret_access_key"] ?? "")
        let client = LakeClient(endpoint: address, accessKeyID: id, secretAccessKey: secret)
        try fill(client)
        let isMounted = try show(client)
        try writeEnvironment(address, id, secret)
        // Without one there is a page to sign in at.
        let link = try? client.post(["login-links"], [String: String](), api: "lakefuse")
        let page = try link.map { try Coding.decode(API.StorageURI.self, $0).location } ?? address
        tell(address, page, isMounted: isMounted)
    }

    private func fill(_ client: LakeClient) throws {
        let parts = ["repositories", Self.repository]
        do { _ = try client.get(API.Repository.self, parts) } catch let error as LakeClientError
            where error.status == 404
        {
            try client.post(
                ["repositories"],
                API.RepositoryCreation(name: Self.repository, storageNamespace: "local://\(Self.repository)"))
        }
        let objects = parts + ["branches", Self.branch, "objects"]
        let known = try client.list(
            API.ObjectStats.self, parts + ["refs", Self.branch, "objects", "ls"], amount: 1)
        guard known.items.isEmpty else { return }
        for (path, text) in Self.samples {
            unsafe try client.send(
                "POST", objects, [("path", path)],
                headers: [("Content-Type", path.hasSuffix(".csv") ? "text/csv" : "text/markdown")],
                body: .bytes(Array(text.utf8)))
        }
        try client.post(
            parts + ["branches", Self.branch, "commits"], API.CommitCreation(message: "Sample data"))
    }

    /// A made-up year of daily temperatures of three stations, a file a station.
    private static var samples: [(path: String, text: String)] {
        let stations: [(name: String, shift: Double)] = [("harbour", 2), ("hill", -4), ("valley", 0)]
        let readme = """
            # A small lake
            `temperatures/` holds a made-up year of daily temperatures of three stations, a file a station.
            Change what you like: it is a branch, `git`-like, and nothing committed is ever lost.

            """
        return [("README.md", readme)]
            + stations.map { station in
                var text = "station,day,celsius\n"
                for day in 1...365 {
                    let wave = sin(Double(day * 7919 % 365)) * 2
                    let tenths = Int(((10 - 9 * cos(Double(day) / 58.1) + wave + station.shift) * 10).rounded())
                    let sign = tenths < 0 ? "-" : ""
                    text += "\(station.name),\(day),\(sign)\(abs(tenths) / 10).\(abs(tenths) % 10)\n"
                }
                return ("temperatures/\(station.name).csv", text)
            }
    }

    /// Mounts the branch, where that can be.
    private func show(_ client: LakeClient) throws -> Bool {
        let mounts = try client.get(API.MountList.self, ["mounts"], api: "lakefuse").mounts
        if mounts.contains(where: { $0.directory == mount }) { return true }
        do {
            try client.post(
                ["mounts"], API.Mount(repository: Self.repository, ref: Self.branch, directory: mount), api: "lakefuse")
            return true
        } catch let error as LakeClientError {
            Output.note("not mounted: \(error.message)")
            return false
        }
    }

    // MARK: what is said

    private var environmentFile: String { data + "/env" }

    /// A file for `source`: the command `lake` with its completion, and what S3 clients look for.
    private func writeEnvironment(_ address: String, _ id: String, _ secret: String) throws {
        let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        func quoted(_ text: String) -> String { "'" + text.replacing("'", with: "'\\''") + "'" }
        let text = """
            # source this: the command lake, and the variables of S3 clients, for the lake in \(data)
            lake() { \(quoted(program)) "$@"; }
            export LAKECTL_CONFIG_FILE=\(quoted(data + "/credentials")) LAKECTL_SERVER_ENDPOINT_URL=\(quoted(address))
            export AWS_ACCESS_KEY_ID=\(quoted(id)) AWS_SECRET_ACCESS_KEY=\(quoted(secret)) AWS_REGION=us-east-1
            export AWS_ENDPOINT_URL_S3=\(quoted(address)) AWS_ENDPOINT_URL=\(quoted(address))
            if [ -n "${BASH_VERSION-}" ]; then
                . <(\(quoted(program)) completion bash | sed 's/< <(lakefuse /< <(lake /')
                complete -o default -F _lakefuse_complete lake
            fi

            """
        try Files.write(Array(text.utf8), to: environmentFile, mode: 0o600)
    }

    /// A path as one would type it from here.
    private func shown(_ path: String) -> String {
        let here = FileManager.default.currentDirectoryPath + "/"
        return path.hasPrefix(here) ? String(path.dropFirst(here.count)) : path
    }

    private func tell(_ address: String, _ page: String, isMounted: Bool) {
        let folder = shown(mount)
        Output.line(
            """

            LakeFUSE is running at \(address)
              web page  \(page)
                        (signed in, once; then by the key pair in \(shown(data))/credentials)
              files     \(isMounted ? "\(folder)/  (the branch main of the repository demo)" : "not mounted: see above")

            First type
              source \(shown(environmentFile))
            then try, in any order:
            """)
        let files =
            isMounted
            ? ["ls -l \(folder)/temperatures", "echo more >> \(folder)/README.md"]
            : ["lake fs ls lakefs://demo/main/temperatures/"]
        for line in files + [
            "lake diff lakefs://demo/main", "lake commit lakefs://demo/main -m more --allow-empty-commit",
            "lake log lakefs://demo/main", "lake fs cat lakefs://demo/main~1/README.md",
            "lake branch create lakefs://demo/try -s lakefs://demo/main", "aws s3 ls s3://demo/main/temperatures/",
        ] { Output.line("  \(line)") }
        Output.line("\nStop: lake quickstart --stop --data \(shown(data)) (everything is kept)")
    }
}
