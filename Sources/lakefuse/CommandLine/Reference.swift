extension CommandTable {
    /// All commands as a document, for `docs/`.
    var reference: String {
        var text = """
            # Commands
            Made by `\(program) docs`: not to be changed by hand. `lakectl` as a link to the program has those without a star.

            Flags that every command takes:

            ```
            \(Self.table(Command.common + [Command.help]))```

            """
        for command in commands.sorted(by: { $0.path.lexicographicallyPrecedes($1.path) }) {
            let words = command.arguments.isEmpty ? "" : " " + command.arguments.joined(separator: " ")
            text += "\n## \(command.path.joined(separator: " "))\(command.isLakectl ? "" : " *")\n"
            text +=
                "\(command.summary)\(command.summary.hasSuffix(".") ? "" : ".")\(command.isHidden ? " (Help does not list it.)" : "")\n"
            if let details = command.details { text += "\n\(details)\n" }
            text += "\n```\n\(program) \(command.path.joined(separator: " "))\(words) [flags]\n"
            let flags = Self.table(command.flags)
            if !flags.isEmpty { text += "\n\(flags)" }
            text += "```\n"
            if let example = command.example {
                text += "\n```sh\n\(example.replacing("lakectl ", with: program + " "))\n```\n"
            }
        }
        return text
    }
}
