import Foundations
import LakeAPI

/// Completion of the command line: the scripts of shells ask this program what could stand at the end of what was typed.
enum Completion {
    /// The hidden word that they ask by. Source: lakectl's sessions.
    static let command = "__complete"
    /// Nothing is a file's name.
    private static let noFiles = 4, anything = 0

    /// - Returns: nil for a shell that is not known.
    static func script(_ shell: String, for program: String) -> String? {
        switch shell {
        case "bash":
            """
            # bash completion for \(program)
            _\(program)_complete() {
                # The shell takes words apart at colons: the line is asked for as it was typed.
                local line=${COMP_LINE:0:COMP_POINT} words word found=() prefix
                read -ra words <<<"$line"
                case $line in *[[:space:]]) words+=("") ;; esac
                word=${words[-1]}
                prefix=${word%"${word##*:}"}
                COMPREPLY=()
                while IFS= read -r line; do
                    case $line in
                    :*) ;;
                    *) line=${line%%$'\\t'*}; COMPREPLY+=("$(printf %q "${line#"$prefix"}")") ;;
                    esac
                done < <(\(program) \(command) "${words[@]:1}" 2>/dev/null)
                case ${COMPREPLY[0]-} in */) compopt -o nospace 2>/dev/null ;; esac
            }
            complete -o default -F _\(program)_complete \(program)

            """
        case "zsh":
            """
            #compdef \(program)
            _\(program)() {
                local -a found
                local line
                while IFS= read -r line; do
                    case $line in
                    :*) ;;
                    *$'\\t'*) found+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}") ;;
                    *) found+=("${line//:/\\\\:}") ;;
                    esac
                done < <(\(program) \(command) "${(@)words[2,$CURRENT]}" 2>/dev/null)
                if (( ${#found} )); then _describe '' found; else _files; fi
            }
            compdef _\(program) \(program)

            """
        case "fish":
            """
            # fish completion for \(program)
            function __\(program)_complete
                set -l words (commandline -opc) (commandline -ct)
                \(program) \(command) $words[2..-1] 2>/dev/null | string match -v ':*'
            end
            complete -c \(program) -f -a '(__\(program)_complete)'

            """
        default: nil
        }
    }

    /// What could stand for the last word, a line each, and what the shell may make of it.
    static func answer(_ words: [String], _ table: CommandTable, _ environment: [String: String]) {
        let last = words.last ?? ""
        let before = words.dropLast().filter { !$0.hasPrefix("-") }
        var found: [(String, String)] = []
        var directive = noFiles
        if let (command, count) = table.command(before[...]) {
            if last.hasPrefix("-") {
                let given = Set(words.dropLast())
                let (own, common) = table.flags(of: command)
                // What must be there comes first, and alone.
                let missing = own.filter { $0.isRequired && !given.contains("--" + $0.name) }
                let flags = missing.isEmpty ? CommandTable.withHelp(own, command.path.last!) + common : missing
                found = flags.filter { !$0.isHidden && "--\($0.name)".hasPrefix(last) }.map {
                    ("--\($0.name)", $0.description)
                }
            } else {
                let place = before.count - count
                // Without a server there are none.
                let names = command.takesFile(at: place) ? [] : (try? URIs(environment, table).complete(last)) ?? []
                // A name with a line's end would be two.
                found = names.filter { !$0.utf8.contains { $0 < 0x20 || $0 == 0x7f } }.map { ($0, "") }
                if place >= command.counts.upperBound || names.isEmpty { directive = anything }
            }
        } else {
            let path = table.group(before[...])?.path ?? []
            if before.count == path.count {
                found = table.children(of: path).filter { $0.name.hasPrefix(last) }
            }
        }
        Output.write(
            found.map { $0.0 + ($0.1.isEmpty ? "" : "\t" + $0.1.prefix { $0 != "\n" }) + "\n" }.joined()
                + ":\(directive)\n")
        Output.note(
            "Completion ended with directive: \(directive == noFiles ? "ShellCompDirectiveNoFileComp" : "ShellCompDirectiveDefault")"
        )
    }

    /// Names of the server's things, as far as they complete a URI.
    private struct URIs {
        private let client: LakeClient

        init(_ environment: [String: String], _ table: CommandTable) throws {
            let command = Command(path: [], summary: "") { _ in }
            client = try ClientSettings(
                Invocation(command: command, arguments: [], values: [:], environment: environment)
            ).client(impatient: true)
        }

        private static let most = 50

        func complete(_ text: String) throws -> [String] {
            guard text.isEmpty || text.hasPrefix(LakeURI.scheme) || LakeURI.scheme.hasPrefix(text) else { return [] }
            let parts = text.dropFirst(LakeURI.scheme.count).split(
                separator: "/", maxSplits: 2, omittingEmptySubsequences: false
            ).map(String.init)
            switch parts.count {
            case 0, 1:
                return try client.list(
                    API.Repository.self, ["repositories"], [("prefix", parts.first ?? "")], amount: Self.most
                ).items.map { "lakefs://\($0.id)/" }
            case 2:
                return try ["branches", "tags"].flatMap { kind in
                    try client.list(
                        API.Ref.self, ["repositories", parts[0], kind], [("prefix", parts[1])], amount: Self.most
                    ).items.map { "lakefs://\(parts[0])/\($0.id)/" }
                }
            default:
                return try client.list(
                    API.ObjectStats.self, ["repositories", parts[0], "refs", parts[1], "objects", "ls"],
                    [("prefix", parts[2]), ("delimiter", "/"), ("user_metadata", "false")], amount: Self.most
                ).items.map { "lakefs://\(parts[0])/\(parts[1])/\($0.path)" }
            }
        }
    }
}
