import Foundations
import Glibc

/// All commands and groups, and the name under which this program was called.
struct CommandTable: Sendable {
    /// `lakefuse`, or `lakectl` by a link of that name: then it has lakectl's commands alone.
    let program: String
    let commands: [Command]
    let groups: [CommandGroup]

    static let lakectl = "lakectl"

    /// - Parameter called: the program's name as it was called, perhaps with folders before it.
    init(called: String) {
        let name = called.split(separator: "/").last.map(String.init) ?? called
        let isLakectl = name == Self.lakectl
        program = isLakectl ? Self.lakectl : "lakefuse"
        commands =
            isLakectl
            ? Command.all.filter(\.isLakectl).map { command in
                var command = command
                command.takes = command.lakectlTakes ?? command.takes
                return command
            } : Command.all
        groups = isLakectl ? CommandGroup.all.filter(\.isLakectl) : CommandGroup.all
    }

    /// The command that the first words name, and how many they are.
    func command(_ words: ArraySlice<String>) -> (command: Command, words: Int)? {
        commands.filter { command in
            words.count >= command.path.count
                && zip(command.path.dropLast(), words).allSatisfy { $0 == $1 }
                && ([command.path.last!] + command.aliases).contains(words[words.startIndex + command.path.count - 1])
        }.max { $0.path.count < $1.path.count }.map { ($0, $0.path.count) }
    }

    /// The deepest group that the first words name; nil for none.
    func group(_ words: ArraySlice<String>) -> CommandGroup? {
        groups.filter { words.starts(with: $0.path) }.max { $0.path.count < $1.path.count }
    }

    /// What stands right under a group (or under nothing), by name.
    func children(of path: [String], withHidden: Bool = false) -> [(name: String, summary: String)] {
        var found: [String: String] = [:]
        for command in commands
        where (withHidden || !command.isHidden) && command.path.count == path.count + 1
            && command.path.starts(with: path)
        { found[command.path.last!] = command.summary }
        for group in groups
        where (withHidden || !group.isHidden) && group.path.count == path.count + 1 && group.path.starts(with: path) {
            found[group.path.last!] = group.summary
        }
        if path.isEmpty { found["help"] = "Help about any command" }
        return found.sorted { $0.key < $1.key }.map { (name: $0.key, summary: $0.value) }
    }

    /// Flags of a command, its own before everyone's, without those that it has otherwise.
    func flags(of command: Command) -> (own: [Command.Flag], common: [Command.Flag]) {
        let own = Set(command.flags.map(\.name))
        return (command.flags, Command.common.filter { !own.contains($0.name) })
    }

    /// Words that something misspelt may have meant. Source: lakectl's suggestions, two letters apart at most.
    func suggestions(for word: String, under path: [String] = []) -> [String] {
        children(of: path).map(\.name).filter { name in
            Spelling.distance(word.lowercased(), name) <= 2 || name.hasPrefix(word.lowercased())
        }
    }

    /// A program that is called as a command of this one: `lakectl-NAME` on the PATH.
    func plugin(_ name: String) -> String? {
        guard !name.isEmpty, !name.hasPrefix("-"), !name.contains("/") else { return nil }
        return [program, Self.lakectl].lazy.compactMap { ChildProcess.program(named: "\($0)-\(name)") }.first
    }
}

enum Spelling {
    /// How many letters have to be put in, left out or changed (Levenshtein).
    static func distance(_ left: String, _ right: String) -> Int {
        let (left, right) = (Array(left), Array(right))
        var row = Array(0...right.count)
        for (index, letter) in left.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for place in right.indices {
                let changed = diagonal + (right[place] == letter ? 0 : 1)
                diagonal = row[place + 1]
                row[place + 1] = min(changed, diagonal + 1, row[place] + 1)
            }
        }
        return row[right.count]
    }

    /// The nearest of some names, if it is near.
    static func nearest(to word: String, of names: [String]) -> String? {
        names.map { (name: $0, distance: distance(word, $0)) }
            .filter { $0.distance <= max(1, min(3, word.count / 3)) }.min { $0.distance < $1.distance }?.name
    }
}
