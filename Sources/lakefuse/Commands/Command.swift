import Foundations
import Glibc
import LakeAPI
import Transport
import Versioning

/// One command: what the command line, help and completion know of it.
struct Command: Sendable {
    /// An option of a command.
    struct Flag: Sendable {
        let name: String
        var short: Character?
        /// What its value stands for in help; nil for a switch.
        var value: String?
        let description: String
        /// Given more than once, all values count.
        var repeats = false
    }

    /// `["branch", "create"]`.
    let path: [String]
    /// `<branch URI>`; how many words there must be follows from it.
    var arguments: [String] = []
    /// How many of the arguments may be left out, from the end.
    var optional = 0
    let summary: String
    var flags: [Flag] = []
    let run: @Sendable (Invocation) throws -> Void

    static let help = Flag(name: "help", short: "h", description: "show this help")

    /// Flags that every command takes.
    static let common: [Flag] = [
        Flag(
            name: "config", short: "c", value: "FILE",
            description: "client configuration file (default ~/.lakectl.yaml)"),
        Flag(name: "base-uri", value: "URI", description: "prefix of relative URIs, such as lakefs://repo/main"),
        Flag(name: "no-color", description: "no colours (there are none)"),
    ]
}

/// A command as it was called.
struct Invocation: Sendable {
    let arguments: [String]
    let values: [String: [String]]
    let environment: [String: String]

    func value(_ flag: String) -> String? { values[flag]?.last }
    func all(_ flag: String) -> [String] { values[flag] ?? [] }
    func has(_ flag: String) -> Bool { values[flag] != nil }

    func number(_ flag: String, default fallback: Int) throws -> Int {
        guard let text = value(flag) else { return fallback }
        guard let number = Int(text), number >= 0 else {
            throw UsageError("invalid argument \"\(text)\" for \"--\(flag)\" flag: it must be a number")
        }
        return number
    }

    /// `--meta key=value` pairs.
    func metadata(_ flag: String = "meta") throws -> [String: String] {
        var result: [String: String] = [:]
        for item in all(flag).flatMap({ $0.split(separator: ",").map(String.init) }) {
            guard let mark = item.firstIndex(of: "="), mark > item.startIndex else {
                throw LakeError(.invalidValue, "metadata '\(item)' is not of the form key=value")
            }
            result[String(item[..<mark])] = String(item[item.index(after: mark)...])
        }
        return result
    }

    /// The server that the client commands talk to: lakectl's configuration file, then its environment.
    var client: LakeClient { get throws { try client(impatient: false) } }

    /// - Parameter impatient: whether a server that does not answer is given up soon.
    func client(impatient: Bool) throws -> LakeClient {
        let home = environment["HOME"] ?? ""
        let chosen = value("config") ?? environment["LAKECTL_CONFIG"]
        var settings: [String: String] = [:]
        let file = chosen ?? home + "/.lakectl.yaml"
        if unsafe chosen != nil || access(file, F_OK) == 0 {
            for (key, value) in try YAML.flatten(Files.read(file), file: file) { settings[key] = value }
        }
        for key in ["server.endpoint_url", "credentials.access_key_id", "credentials.secret_access_key"] {
            if let value = environment["LAKECTL_" + key.uppercased().split(separator: ".").joined(separator: "_")] {
                settings[key] = value
            }
        }
        guard let endpoint = settings["server.endpoint_url"], let id = settings["credentials.access_key_id"],
            let secret = settings["credentials.secret_access_key"]
        else {
            throw LakeError(
                .invalidValue,
                "no server is configured: give -c FILE, ~/.lakectl.yaml, or LAKECTL_SERVER_ENDPOINT_URL, LAKECTL_CREDENTIALS_ACCESS_KEY_ID and LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY"
            )
        }
        return impatient
            ? LakeClient(impatientTo: endpoint, accessKeyID: id, secretAccessKey: secret)
            : LakeClient(endpoint: endpoint, accessKeyID: id, secretAccessKey: secret)
    }

    /// An argument as a URI, made whole by `--base-uri` or `LAKECTL_BASE_URI`.
    func uri(_ index: Int) throws -> LakeURI {
        try LakeURI(arguments[index], base: value("base-uri") ?? environment["LAKECTL_BASE_URI"])
    }
}

/// Wrong use of the command line.
struct UsageError: Error {
    let message: String
    init(_ message: String) { self.message = message }
}

/// `lakefs://repository/ref/path`, as far as it goes; also `repository@ref`.
struct LakeURI: Sendable {
    let repository: String
    let ref: String?
    let path: String?

    init(_ text: String, base: String? = nil) throws {
        var whole = text
        if !text.hasPrefix("lakefs://"), let base, !base.isEmpty {
            whole = base.hasSuffix("/") || text.hasPrefix("/") ? base + text : base + "/" + text
        }
        guard whole.hasPrefix("lakefs://") else {
            throw LakeError(.invalidValue, "'\(text)' is no URI: lakefs://repository/ref/path is")
        }
        let rest = whole.dropFirst("lakefs://".count)
        let parts = rest.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
        guard let first = parts.first, !first.isEmpty else {
            throw LakeError(.invalidValue, "'\(text)' names no repository")
        }
        repository = first
        ref = parts.count > 1 && !parts[1].isEmpty ? parts[1] : nil
        path = parts.count > 2 ? parts[2] : nil
    }

    func requireRef() throws -> String {
        guard let ref else {
            throw LakeError(.invalidValue, "lakefs://\(repository) names no ref: not a valid ref URI")
        }
        return ref
    }

    func requirePath() throws -> (ref: String, path: String) {
        guard let ref, let path else {
            throw LakeError(.invalidValue, "path URI missing path part: not a valid path URI")
        }
        return (ref, path)
    }

    var description: String { "lakefs://" + [repository, ref, path].compactMap(\.self).joined(separator: "/") }
}

/// Writing to the terminal.
enum Output {
    static func write(_ text: String, to descriptor: Int32 = 1) { write(Array(text.utf8), to: descriptor) }

    static func line(_ text: String = "") { write(text + "\n") }

    /// All bytes; what cannot be written (a closed pipe) ends the program.
    static func write(_ bytes: [UInt8], to descriptor: Int32 = 1) {
        var done = 0
        while done < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress! + done, bytes.count - done)
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { exit(1) }
            done += count
        }
    }

    /// Local time, as lakectl shows it.
    static func time(_ seconds: Int64) -> String {
        var time = time_t(seconds)
        var parts = unsafe tm()
        unsafe localtime_r(&time, &parts)
        var buffer = [CChar](repeating: 0, count: 64)
        let count = unsafe strftime(&buffer, buffer.count, "%Y-%m-%d %H:%M:%S %z %Z", &parts)
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// `29.6 kB`
    static func humanSize(_ bytes: Int64) -> String {
        guard bytes >= 1000 else { return "\(bytes) B" }
        var value = Double(bytes)
        var unit = -1
        let units = ["kB", "MB", "GB", "TB", "PB", "EB"]
        while value >= 1000, unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10) \(units[unit])"
    }

    /// Asks before something is lost; without a terminal the answer is no.
    static func confirm(_ question: String, _ invocation: Invocation) throws {
        if invocation.has("yes") { return }
        write(question + " [y/N] ")
        guard let answer = readLine(), answer.lowercased() == "y" || answer.lowercased() == "yes" else {
            line()
            throw LakeError(.invalidValue, "\(question.replacing("?", with: "")) aborted: pass --yes to agree")
        }
    }
}
