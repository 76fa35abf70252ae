import Foundations

/// One command: parsing, help, completion and the reference come from it.
struct Command: Sendable {
    /// An option of a command.
    struct Flag: Sendable {
        let name: String
        var short: Character?
        /// What its value stands for in help; nil for a switch. `int`, `duration` and `strings` are held to be such.
        var value: String?
        /// The value where none is given, as help tells it.
        var standard: String?
        let description: String
        /// Given more than once, all values count.
        var repeats = false
        var isRequired = false
        /// Help does not tell of it.
        var isHidden = false

        static func required(_ flag: Flag) -> Flag {
            var flag = flag
            flag.isRequired = true
            return flag
        }
    }

    /// `["branch", "create"]`.
    let path: [String]
    /// Other last words that it goes by.
    var aliases: [String] = []
    /// `<branch URI>`: what stands behind the path in help.
    var arguments: [String] = []
    /// How many words there may be, where `arguments` does not say it.
    var takes: ClosedRange<Int>?
    /// How many lakectl takes, where that is another number: it knows no mounts.
    var lakectlTakes: ClosedRange<Int>?
    /// How many of the arguments may be left out, from the end.
    var optional = 0
    let summary: String
    /// What help says beyond the summary.
    var details: String?
    /// One that runs.
    var example: String?
    var flags: [Flag] = []
    /// Flags of which one excludes the others.
    var exclusive: [String] = []
    var isHidden = false
    /// Part of lakectl's language, and so there under its name too.
    var isLakectl = false
    let run: @Sendable (Invocation) throws -> Void

    /// How many words there may be behind its path.
    var counts: ClosedRange<Int> { takes ?? arguments.count - optional...arguments.count }

    /// Whether the word at a place behind its path is a file or a folder of this machine, as help names it.
    func takesFile(at place: Int) -> Bool {
        var names: [String] = []
        var isValue = false
        // `<path URI> -s <source> [directory]`: brackets stand around names, and around values of flags.
        for piece in arguments.joined(separator: " ").split(whereSeparator: { "<>[]".contains($0) }) {
            let name = piece.split(separator: " ").joined(separator: " ")
            if name.isEmpty { continue }
            if name.hasPrefix("-") {
                isValue = true
            } else {
                if !isValue { names.append(name) }
                isValue = false
            }
        }
        guard place < names.count, !names[place].contains("URI") else { return false }
        return ["directory", "folder", "file", "json", "path"].contains { names[place].contains($0) }
    }

    static let help = Flag(name: "help", short: "h", description: "help for this command")

    /// Flags that every command takes. Source: lakectl's help.
    static let common: [Flag] = [
        Flag(name: "base-uri", value: "string", description: "base URI used for lakeFS address parse"),
        Flag(
            name: "config", short: "c", value: "string", description: "config file (default is $HOME/.lakectl.yaml)"),
        Flag(name: "log-format", value: "string", description: "set logging output format"),
        Flag(name: "log-level", value: "string", standard: "none", description: "set logging level"),
        Flag(name: "log-output", value: "strings", description: "set logging output(s)", repeats: true),
        Flag(
            name: "no-color",
            description: "don't use fancy output colors (default value can be set by NO_COLOR environment variable)"),
        output,
        Flag(name: "verbose", description: "run in verbose mode"),
    ]
    /// Ours; lakectl has none.
    static let output = Flag(
        name: "output", value: "format", standard: "text",
        description: "what lists and shows are written as: text, or json (one document)")
}

/// Words under which commands stand, and what help says of them.
struct CommandGroup: Sendable {
    let path: [String]
    let summary: String
    var isHidden = false
    var isLakectl = false
}

/// A command as it was called.
struct Invocation: Sendable {
    let command: Command
    let arguments: [String]
    let values: [String: [String]]
    let environment: [String: String]

    /// The value that was given, or the one that stands for none.
    func value(_ flag: String) -> String? {
        values[flag]?.last ?? command.flags.first { $0.name == flag }?.standard
    }

    func all(_ flag: String) -> [String] { values[flag] ?? [] }
    /// Whether a switch is on.
    func has(_ flag: String) -> Bool {
        values[flag].map { $0.last != "false" } ?? (command.flags.first { $0.name == flag }?.standard == "true")
    }
    /// Whether the flag was given at all.
    func isGiven(_ flag: String) -> Bool { values[flag] != nil }

    /// - Throws: `UsageError`.
    func number(_ flag: String, default fallback: Int = 0) throws -> Int {
        guard let text = value(flag) else { return fallback }
        guard let number = Int(text) else { throw UsageError.invalid(text, flag, "strconv.ParseInt") }
        return number
    }

    /// Parts of values that commas separate.
    func list(_ flag: String) -> [String] {
        all(flag).flatMap { $0.split(separator: ",").map(String.init) }
    }

    /// `--meta key=value` pairs.
    func metadata(_ flag: String = "meta") throws -> [String: String] {
        var result: [String: String] = [:]
        for item in list(flag) {
            guard let mark = item.firstIndex(of: "="), mark > item.startIndex else {
                throw CommandError("invalid key/value pair - should be separated by \"=\"")
            }
            result[String(item[..<mark])] = String(item[item.index(after: mark)...])
        }
        return result
    }

    /// Milliseconds of a flag that is a duration.
    func milliseconds(_ flag: String) -> Int {
        Int(min(value(flag).flatMap { GoDuration.milliseconds($0) } ?? 0, 1e12))
    }

    var isJSON: Bool { values["output"]?.last == "json" && !command.flags.contains { $0.name == "output" } }
}

/// Wrong use of the command line.
struct UsageError: Error {
    let message: String
    init(_ message: String) { self.message = message }

    static func invalid(_ text: String, _ flag: String, _ parser: String) -> UsageError {
        UsageError(
            "invalid argument \"\(text)\" for \"--\(flag)\" flag: \(parser): parsing \"\(text)\": invalid syntax")
    }
}

/// What a command cannot do, in words that need nothing beside them.
struct CommandError: Error {
    let message: String
    /// What would help, for who reads it on a terminal.
    var hint: String?
    var status: Int32 = 1
    init(_ message: String, hint: String? = nil, status: Int32 = 1) {
        self.message = message
        self.hint = hint
        self.status = status
    }
}
