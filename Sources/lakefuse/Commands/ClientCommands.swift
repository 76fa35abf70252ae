import FoundationEssentials
import Foundations
import Glibc
import LakeAPI
import Versioning

extension Command {
    /// A line of an answer.
    private static func ask(_ question: String, _ standard: String) throws -> String {
        Output.write("\(question)\(standard.isEmpty ? "" : " [\(standard)]"): ")
        guard let line = readLine() else { throw CommandError("config needs a terminal to ask on") }
        return line.isEmpty ? standard : line
    }

    /// A line that the terminal does not show. Keys that end programs are letters meanwhile, so that it is left as it was.
    /// - Returns: nil at the end of input.
    /// - Throws: `CommandError` for Ctrl-C.
    private static func readSecret(_ question: String) throws -> String? {
        Output.write(question)
        var mode = termios()
        unsafe tcgetattr(0, &mode)
        var quiet = mode
        quiet.c_lflag &= ~tcflag_t(ECHO | ISIG | ICANON)
        unsafe tcsetattr(0, TCSANOW, &quiet)
        defer {
            unsafe tcsetattr(0, TCSANOW, &mode)
            Output.line()
        }
        var line: [UInt8] = []
        var byte: UInt8 = 0
        while unsafe read(0, &byte, 1) == 1 {
            switch byte {
            case 0x03: throw CommandError("interrupted", status: 130)
            case 0x04 where line.isEmpty: return nil
            case 0x0a, 0x0d: return String(decoding: line, as: UTF8.self)
            case 0x08, 0x7f: _ = line.popLast()
            default: line.append(byte)
            }
        }
        return nil
    }

    private static func configure(_ invocation: Invocation) throws {
        guard isatty(0) != 0 else {
            throw CommandError("config asks on a terminal: there is none", hint: "LAKECTL_… variables say the same")
        }
        let file = invocation.value("config") ?? ClientSettings.path(invocation.environment)
        var known: [String: String] = [:]
        if unsafe access(file, F_OK) == 0 {
            for (key, value) in try YAML.flatten(Files.read(file), file: file) { known[key.lowercased()] = value }
        }
        Output.line("Config file \(file) will be used")
        known["credentials.access_key_id"] = try ask("Access key ID", known["credentials.access_key_id"] ?? "")
        if let secret = try readSecret("Secret access key: "), !secret.isEmpty {
            known["credentials.secret_access_key"] = secret
        }
        known["server.endpoint_url"] = try ask(
            "Server endpoint URL", known["server.endpoint_url"] ?? "http://127.0.0.1:8000")
        let standards = [
            ("experimental.local.posix_permissions.enabled", "false"), ("local.skip_non_regular_files", "false"),
            ("local.symlink_support", "false"), ("network.http2.enabled", "true"),
            ("server.login_retries.enabled", "true"), ("server.login_retries.max_attempts", "75"),
            ("server.login_retries.max_wait_interval", "1s"), ("server.login_retries.min_wait_interval", "50ms"),
            ("server.retries.enabled", "true"), ("server.retries.max_attempts", "4"),
            ("server.retries.max_wait_interval", "30s"), ("server.retries.min_wait_interval", "200ms"),
        ]
        for (name, value) in standards where known[name] == nil { known[name] = value }
        try Files.write(Array(nested(known).utf8), to: file, mode: 0o600)
    }

    /// Names with dots as YAML within YAML.
    private static func nested(_ values: [String: String], _ indent: String = "") -> String {
        var text = ""
        for group in Set(values.keys.map { $0.prefix { $0 != "." } }).sorted() {
            let inner = values.filter { $0.key.hasPrefix(group + ".") }.map {
                (String($0.key.dropFirst(group.count + 1)), $0.value)
            }
            if let value = values[String(group)] {
                text += "\(indent)\(group): \(YAML.scalar(value))\n"
            } else {
                text += "\(indent)\(group):\n" + nested(Dictionary(inner) { $1 }, indent + "    ")
            }
        }
        return text
    }

    private static func diagnose(_ invocation: Invocation) {
        func told(_ problem: String, _ help: String) { Output.line("\(problem)\n\(help)") }
        do {
            let settings = try ClientSettings(invocation)
            let endpoint = settings.values["server.endpoint_url"] ?? ""
            guard endpoint.hasPrefix("http://") || endpoint.hasPrefix("https://") else {
                return told(
                    "The server's address is missing or none: '\(endpoint)'",
                    "Set server.endpoint_url in \(ClientSettings.path(invocation.environment)), or run 'lakefuse config'."
                )
            }
            for name in ["credentials.access_key_id", "credentials.secret_access_key"]
            where settings.values[name]?.isEmpty != false {
                return told("\(name) is missing", "Run 'lakefuse config', or set it in the environment.")
            }
            let user = try settings.client().get(API.CurrentUser.self, ["user"]).user
            Output.line("LakeFS doctor could not find any configuration issues: \(endpoint) knows you as \(user.id)")
        } catch let error as LakeClientError where error.status == 401 {
            told(
                "The key pair is refused: \(error.message)",
                "Make a new one on the web page, or ask who runs the server.")
        } catch {
            told("It does not work: \(Failure(error).message)", "Is the server running, and is this its address?")
        }
    }

    /// An SSTable's entries. Source: `lakefs-formats.md` section 2.
    private static func showTable(_ invocation: Invocation) throws {
        let file = invocation.value("file")!
        let bytes = try Files.input(file)
        let amount = try invocation.number("amount")
        let table = try TableContents(bytes)
        var json = Output.JSONList(invocation)
        var list = Listing(table.head)
        var count = 0
        try table.each { row in
            guard amount < 0 || count < amount else { return false }
            count += 1
            if !json.takes(Dictionary(uniqueKeysWithValues: zip(table.head, row))) { list.add(row) }
            return true
        }
        if invocation.isJSON { return json.end() }
        list.write()
    }

    static let clientCommands: [Command] = [
        Command(
            path: ["config"], takes: 0...0, summary: "Create/update local lakeFS configuration",
            example: "lakectl config", isLakectl: true
        ) { try configure($0) },
        Command(
            path: ["doctor"], takes: 0...0, summary: "Run a basic diagnosis of the LakeFS configuration",
            example: "lakectl doctor", isLakectl: true
        ) { diagnose($0) },
        Command(
            path: ["identity"], takes: 0...0, summary: "Show identity info",
            details: "Show the info of the configured user in lakectl", example: "lakectl identity", isLakectl: true
        ) { invocation in
            let user = try invocation.client.get(API.CurrentUser.self, ["user"]).user
            if invocation.isJSON { return Output.json(user) }
            Output.line(
                "User ID:          \(user.id)\nEmail:            \(user.email ?? "")\nCreation Date:    \(Output.time(user.creationDate))"
            )
        },
        Command(
            path: ["usage", "summary"], takes: 0...0, summary: "Summary reports from lakeFS",
            example: "lakectl usage summary", isHidden: true, isLakectl: true
        ) { invocation in
            let found = try invocation.client.get(API.InstallationUsageReport.self, ["usage-report", "summary"])
            if invocation.isJSON { return Output.json(found) }
            Output.line("Usage for installation ID: \(found.installationId)\n")
            var list = Listing(["Year", "Month", "Count"])
            for report in found.reports { list.add(["\(report.year)", "\(report.month)", "\(report.count)"]) }
            list.write()
        },
        Command(
            path: ["plugin", "list"], takes: 0...0, summary: "List available lakectl plugins",
            details: "Scans the PATH for executables named \"lakectl-*\" and lists the detected plugins.",
            example: "lakectl plugin list", isLakectl: true
        ) { invocation in
            var list = Listing(["Name", "Path"])
            var seen: Set<String> = []
            var rows: [[String: String]] = []
            for folder in (invocation.environment["PATH"] ?? "").split(separator: ":").map(String.init) {
                for name in ((try? Folder.names(of: folder)) ?? []).sorted() where name.hasPrefix("lakectl-") {
                    let path = folder + "/" + name
                    guard FileStatus(path: path)?.isRegular == true, unsafe access(path, X_OK) == 0,
                        seen.insert(name).inserted
                    else { continue }
                    list.add([String(name.dropFirst("lakectl-".count)), path])
                    rows.append(["name": String(name.dropFirst("lakectl-".count)), "path": path])
                }
            }
            if invocation.isJSON { return Output.json(rows) }
            list.write()
        },
        Command(
            path: ["cat-sst"], arguments: ["<sst-file>"], takes: 0...1, summary: "Explore lakeFS .sst files",
            example: "lakectl cat-sst --file range.sst --amount 10",
            flags: [
                Flag(
                    name: "amount", value: "int", standard: "-1",
                    description: "how many records to return, or -1 for all records"),
                .required(
                    Flag(
                        name: "file", short: "f", value: "string",
                        description: "path to an sstable file, or \"-\" for stdin")),
            ], isHidden: true, isLakectl: true
        ) { try showTable($0) },
        Command(
            path: ["completion"], arguments: ["<bash|zsh|fish>"], takes: 1...1, summary: "Generate completion script",
            example: "source <(lakectl completion bash)", isLakectl: true
        ) { invocation in
            guard let script = Completion.script(invocation.arguments[0], for: CommandTable.current.program) else {
                throw UsageError(
                    "invalid argument \"\(invocation.arguments[0])\" for \"\(CommandTable.current.program) completion\""
                )
            }
            Output.write(script)
        },
        Command(
            path: ["docs"], arguments: ["[outfile]"], takes: 0...1, summary: "docs",
            example: "lakectl docs commands.md", isHidden: true, isLakectl: true
        ) { invocation in
            let text = CommandTable.current.reference
            guard let file = invocation.arguments.first, file != "-" else { return Output.write(text) }
            try Files.write(Array(text.utf8), to: file, mode: 0o644)
        },
    ]
}
