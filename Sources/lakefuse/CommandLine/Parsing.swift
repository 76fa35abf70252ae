import Foundations

/// What a command line asks for.
enum Request {
    case run(Invocation)
    case help(Command)
    case helpOfGroup(CommandGroup?)
    /// `help X` of something that is none.
    case noSuchTopic([String])
    case version
    case plugin(path: String, arguments: [String])
}

extension CommandTable {
    /// - Throws: `UsageError`.
    func parse(_ words: [String], _ environment: [String: String]) throws -> Request {
        // Flags that every command takes may stand before it.
        var leading: [String] = []
        var rest = words[...]
        while let first = rest.first, first.hasPrefix("-"), first != "--" {
            if ["--help", "-h"].contains(first) { return .helpOfGroup(nil) }
            if ["--version", "-v"].contains(first) { return .version }
            guard let flag = Self.flag(first, Command.common) else { throw Self.unknown(first) }
            let count = flag.value == nil || first.contains("=") ? 1 : 2
            leading += rest.prefix(count)
            rest = rest.dropFirst(count)
        }
        guard let word = rest.first else { return .helpOfGroup(nil) }
        if word == "help" { return topic(Array(rest.dropFirst())) }
        guard let (command, count) = command(rest) else {
            if let group = group(rest) {
                if let unknown = rest.dropFirst(group.path.count).first(where: { $0.hasPrefix("-") }),
                    !["--help", "-h"].contains(unknown), Self.flag(unknown, Command.common) == nil
                {
                    throw Self.unknown(unknown)
                }
                return .helpOfGroup(group)
            }
            if let path = plugin(word) { return .plugin(path: path, arguments: Array(rest.dropFirst())) }
            let near = suggestions(for: word)
            throw UsageError(
                "unknown command \"\(word)\" for \"\(program)\"\n"
                    + (near.isEmpty
                        ? "" : "\nDid you mean this?\n" + near.map { "\t\($0)\n" }.joined() + "\n")
                    + "Run '\(program) --help' for usage.")
        }
        return try parse(command, leading + rest.dropFirst(count), environment)
    }

    private func topic(_ words: [String]) -> Request {
        if words.isEmpty { return .helpOfGroup(nil) }
        if let (command, count) = command(words[...]), count == words.count { return .help(command) }
        if let group = groups.first(where: { $0.path == words }) { return .helpOfGroup(group) }
        return .noSuchTopic(words)
    }

    private static func unknown(_ word: String) -> UsageError {
        let name = word.prefix { $0 != "=" }
        guard !name.hasPrefix("--"), let letter = name.dropFirst().first else {
            return UsageError("unknown flag: \(name)")
        }
        return UsageError("unknown shorthand flag: '\(letter)' in \(name)")
    }

    /// The flag that a word begins with: `--name`, `--name=value`, `-n`.
    private static func flag(_ word: String, _ flags: [Command.Flag]) -> Command.Flag? {
        let name = word.prefix { $0 != "=" }
        if name.hasPrefix("--") { return flags.first { $0.name == name.dropFirst(2) } }
        return name.count == 2 ? flags.first { $0.short == name.last } : nil
    }

    private func parse(_ command: Command, _ words: [String], _ environment: [String: String]) throws -> Request {
        let (own, common) = flags(of: command)
        let flags = own + common + [Command.help]
        var arguments: [String] = []
        var values: [String: [String]] = [:]
        var rest = words[...]
        func take(_ flag: Command.Flag, _ text: String) throws {
            try Self.check(text, flag)
            // A switch is on or off, however that was written.
            let isOff = flag.value == nil && ["false", "f", "0"].contains(text.lowercased())
            values[flag.name, default: []].append(flag.value == nil ? (isOff ? "false" : "true") : text)
        }
        while let word = rest.popFirst() {
            guard word.hasPrefix("-"), word != "-" else {
                arguments.append(word)
                continue
            }
            if word == "--" {
                arguments += rest
                break
            }
            if word.hasPrefix("--") {
                guard let flag = Self.flag(word, flags) else { throw Self.unknown(word) }
                if flag.name == Command.help.name { return .help(command) }
                if let mark = word.firstIndex(of: "=") {
                    try take(flag, String(word[word.index(after: mark)...]))
                } else if flag.value == nil {
                    try take(flag, "true")
                } else {
                    guard let value = rest.popFirst() else {
                        throw UsageError("flag needs an argument: --\(flag.name)")
                    }
                    try take(flag, value)
                }
                continue
            }
            // Letters in a row, the last of which may have its value with it.
            var letters = word.dropFirst()
            while let letter = letters.popFirst() {
                guard let flag = flags.first(where: { $0.short == letter }) else { throw Self.unknown("-\(letter)") }
                if flag.name == Command.help.name { return .help(command) }
                if flag.value == nil {
                    if letters.first == "=" {
                        try take(flag, String(letters.dropFirst()))
                        letters = ""
                    } else {
                        try take(flag, "true")
                    }
                } else if letters.isEmpty {
                    guard let value = rest.popFirst() else {
                        throw UsageError("flag needs an argument: '\(letter)' in -\(letter)")
                    }
                    try take(flag, value)
                } else {
                    try take(flag, String(letters.first == "=" ? letters.dropFirst() : letters))
                    letters = ""
                }
            }
        }
        try check(command, arguments, values)
        return .run(Invocation(command: command, arguments: arguments, values: values, environment: environment))
    }

    private static func check(_ text: String, _ flag: Command.Flag) throws {
        switch flag.value {
        case nil:
            guard ["true", "false", "1", "0", "t", "f"].contains(text.lowercased()) else {
                throw UsageError.invalid(text, flag.name, "strconv.ParseBool")
            }
        case "int": if Int(text) == nil { throw UsageError.invalid(text, flag.name, "strconv.ParseInt") }
        case "duration":
            if GoDuration.milliseconds(text) == nil {
                throw UsageError(
                    "invalid argument \"\(text)\" for \"--\(flag.name)\" flag: time: invalid duration \"\(text)\"")
            }
        case "format":
            guard ["text", "json"].contains(text) else {
                throw UsageError("invalid argument \"\(text)\" for \"--\(flag.name)\" flag: text and json are known")
            }
        default: break
        }
    }

    private func check(_ command: Command, _ arguments: [String], _ values: [String: [String]]) throws {
        let counts = command.counts
        guard counts.contains(arguments.count) else {
            let wanted =
                counts.lowerBound == counts.upperBound
                ? "\(counts.lowerBound)" : "between \(counts.lowerBound) and \(counts.upperBound)"
            throw UsageError("accepts \(wanted) arg(s), received \(arguments.count)")
        }
        let missing = command.flags.filter { $0.isRequired && values[$0.name] == nil }.map(\.name).sorted()
        guard missing.isEmpty else {
            throw UsageError("required flag(s) \(missing.map { "\"\($0)\"" }.joined(separator: ", ")) not set")
        }
        let given = command.exclusive.filter { values[$0] != nil }.sorted()
        guard given.count < 2 else {
            throw UsageError(
                "if any flags in the group [\(command.exclusive.joined(separator: " "))] are set none of the others can be; [\(given.joined(separator: " "))] were all set"
            )
        }
    }
}
