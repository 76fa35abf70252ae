import LakeAPI

/// Help as lakectl writes it.
extension CommandTable {
    func help(_ command: Command) -> String {
        let path = command.path.joined(separator: " ")
        let words = command.arguments.isEmpty ? "" : " " + command.arguments.joined(separator: " ")
        var text = (command.details ?? command.summary) + "\n\nUsage:\n  \(program) \(path)\(words) [flags]\n"
        if !command.aliases.isEmpty {
            text += "\nAliases:\n  \(([command.path.last!] + command.aliases).joined(separator: ", "))\n"
        }
        // lakectl's own help has none, or others.
        if let example = command.example, program != Self.lakectl {
            text += "\nExamples:\n" + example.replacing("lakectl ", with: program + " ") + "\n"
        }
        let (own, common) = flags(of: command)
        return text + "\nFlags:\n" + Self.table(Self.withHelp(own, command.path.last!)) + "\nGlobal Flags:\n"
            + Self.table(shown(common))
    }

    /// Help of a group of commands, or of all.
    func help(_ group: CommandGroup?) -> String {
        guard let group else {
            let about =
                program == Self.lakectl
                ? "lakectl is a CLI tool allowing exploration and manipulation of a lakeFS environment.\n\nIt can be extended with plugins; see 'lakectl plugin --help' for more information."
                : "LakeFUSE: a versioned data lake, reached as files, over S3 and over REST.\n\nIt speaks lakectl's language, and has commands for its server and its mounts."
            return about + "\n\n" + usage(tellsHelp: true)
        }
        let path = group.path.joined(separator: " ")
        return """
            \(group.summary)

            Usage:
              \(program) \(path) [command]

            Available Commands:
            \(list(of: group.path))
            Flags:
            \(Self.table(Self.withHelp([], group.path.last!)))
            Global Flags:
            \(Self.table(shown(Command.common)))
            Use "\(program) \(path) [command] --help" for more information about a command.

            """
    }

    /// How the program itself is used.
    func usage(tellsHelp: Bool) -> String {
        let own =
            (tellsHelp ? [Command.Flag(name: "help", short: "h", description: "help for \(program)")] : [])
            + [Command.Flag(name: "version", short: "v", description: "version for \(program)")]
        return """
            Usage:
              \(program) [flags]
              \(program) [command]

            Available Commands:
            \(list(of: []))
            Flags:
            \(Self.table((shown(Command.common) + own).sorted { $0.name < $1.name }))
            Use "\(program) [command] --help" for more information about a command.

            """
    }

    private func list(of path: [String]) -> String {
        let children = children(of: path)
        // Those that are hidden make room too.
        let width = max(11, self.children(of: path, withHidden: true).map(\.name.count).max() ?? 0)
        return children.map { "  \($0.name.padding(width)) \($0.summary)\n" }.joined()
    }

    /// lakectl's flags for who called it so.
    private func shown(_ flags: [Command.Flag]) -> [Command.Flag] {
        program == Self.lakectl ? flags.filter { $0.name != Command.output.name } : flags
    }

    /// With the flag for help in its place: by the alphabet, or last where they have an order of their own.
    static func withHelp(_ flags: [Command.Flag], _ name: String) -> [Command.Flag] {
        let shown = flags.filter { !$0.isHidden }
        let help = Command.Flag(name: "help", short: "h", description: "help for \(name)")
        let names = shown.map(\.name)
        return names == names.sorted() ? (shown + [help]).sorted { $0.name < $1.name } : shown + [help]
    }

    static func table(_ flags: [Command.Flag]) -> String {
        let rows = flags.filter { !$0.isHidden }.map { flag in
            (
                (flag.short.map { "  -\($0), " } ?? "      ") + "--\(flag.name)" + (flag.value.map { " " + $0 } ?? ""),
                flag.description
                    + (flag.standard.map {
                        " (default \(flag.value == "string" || flag.value == "format" ? "\"\($0)\"" : $0))"
                    } ?? "")
            )
        }
        let width = (rows.map(\.0.count).max() ?? 0) + 3
        return rows.map { $0.0.padding(width) + $0.1 + "\n" }.joined()
    }
}

extension String {
    /// The text with spaces behind it, up to `width` characters.
    func padding(_ width: Int) -> String { self + String(repeating: " ", count: Swift.max(0, width - count)) }
}

extension CommandTable {
    /// This program's version, and the server's if there is one.
    func tellVersions(_ environment: [String: String]) {
        Output.line("\(program) version: \(Program.version)")
        let command = Command(path: [], summary: "") { _ in }
        let invocation = Invocation(command: command, arguments: [], values: [:], environment: environment)
        // Without a server there is nothing to tell.
        if let config = try? invocation.client(impatient: true).get(API.Config.self, ["config"]),
            let version = config.versionConfig?.version
        {
            Output.line("lakeFS version: \(version)")
        }
    }
}
