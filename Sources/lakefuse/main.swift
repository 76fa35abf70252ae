import FoundationEssentials
import Foundations
import Glibc
import LakeAPI
import LakeFUSE
import LakeLocalServer
import Transport
import Versioning

/// Every command, in the order that help shows them.
let commands: [Command] = [
    [.runServer, .showConfiguration], Command.mountCommands, Command.repositoryCommands, Command.versionCommands,
    Command.objectCommands, Command.actionCommands, Command.keyValueCommands, [.web, .check],
].flatMap { $0 }

/// Help of a command.
func help(_ command: Command) -> String {
    var text =
        "\(command.summary)\n\nUsage:\n  lakefuse \((command.path + command.arguments).joined(separator: " ")) [flags]\n\nFlags:\n"
    let own = Set(command.flags.map(\.name))
    for flag in command.flags + Command.common.filter({ !own.contains($0.name) }) + [Command.help] {
        let name = (flag.short.map { "-\($0), " } ?? "    ") + "--\(flag.name)" + (flag.value.map { " \($0)" } ?? "")
        text += "  \(name.padding(32))\(flag.description)\n"
    }
    return text
}

/// Help of a group of commands, or of all.
func help(under path: [String]) -> String {
    var text =
        path.isEmpty
        ? "LakeFUSE: a versioned data lake, reached as files, over S3 and over REST.\n\nUsage:\n  lakefuse COMMAND [arguments] [flags]\n\nCommands:\n"
        : "Commands:\n"
    for command in commands where command.path.starts(with: path) {
        text += "  \(command.path.joined(separator: " ").padding(16))\(command.summary)\n"
    }
    return text + "\n'lakefuse COMMAND --help' tells more of one.\n"
}

func parse(_ command: Command, _ words: ArraySlice<String>, _ environment: [String: String]) throws -> Invocation? {
    let own = Set(command.flags.map(\.name))
    let flags = command.flags + Command.common.filter { !own.contains($0.name) } + [Command.help]
    var arguments: [String] = []
    var values: [String: [String]] = [:]
    var rest = words
    while let word = rest.popFirst() {
        guard word.hasPrefix("-"), word != "-", word != "--" else {
            if word == "--" {
                arguments += rest
                rest = []
            } else {
                arguments.append(word)
            }
            continue
        }
        let mark = word.firstIndex(of: "=") ?? word.endIndex
        let name = word[..<mark]
        let found =
            name.hasPrefix("--")
            ? flags.first { "--" + $0.name == name }
            : flags.first { flag in flag.short.map { "-\($0)" == name } ?? false }
        guard let flag = found else { throw UsageError("unknown flag: \(name)") }
        if flag.name == Command.help.name { return nil }
        if mark < word.endIndex {
            values[flag.name, default: []].append(String(word[word.index(after: mark)...]))
        } else if flag.value == nil {
            values[flag.name, default: []].append("true")
        } else {
            guard let value = rest.popFirst() else { throw UsageError("flag needs an argument: \(name)") }
            values[flag.name, default: []].append(value)
        }
    }
    let least = command.arguments.count - command.optional
    guard arguments.count >= least, arguments.count <= command.arguments.count else {
        throw UsageError(
            "accepts \(command.optional == 0 ? "\(least)" : "between \(least) and \(command.arguments.count)") arg(s), received \(arguments.count)"
        )
    }
    // A switch that is told to be off is off.
    for flag in flags where flag.value == nil && values[flag.name]?.last == "false" { values[flag.name] = nil }
    return Invocation(arguments: arguments, values: values, environment: environment)
}

/// HTTP's words for a status, as lakectl shows them under a server's message.
func reason(_ status: Int) -> String {
    let names = [
        400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict", 410: "Gone",
        412: "Precondition Failed", 413: "Payload Too Large", 416: "Range Not Satisfiable",
        429: "Too Many Requests", 500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable",
        507: "Insufficient Storage",
    ]
    return names[status] ?? ""
}

func run(_ words: [String], _ environment: [String: String]) -> Int32 {
    if words.isEmpty || words == ["--help"] || words == ["-h"] || words == ["help"] {
        Output.write(help(under: []))
        return 0
    }
    if words == ["--version"] || words == ["-v"] || words == ["version"] {
        Output.line("lakefuse version 0.1.0")
        return 0
    }
    if words.count == 3, words[0] == Herald.command, let device = UInt32(words[2]) {
        return Herald.serve(words[1], device: device)
    }
    if words.first == LuaWorker.command { return LuaWorker.serve(Array(words.dropFirst())) }
    // Flags that every command takes may stand before it.
    var leading: [String] = []
    var words = words
    while let first = words.first, first.hasPrefix("-"),
        let flag = Command.common.first(where: { flag in
            "--" + flag.name == first || first.hasPrefix("--\(flag.name)=")
                || flag.short.map { "-\($0)" == first } ?? false
        })
    {
        let count = flag.value == nil || first.contains("=") ? 1 : 2
        leading += words.prefix(count)
        words.removeFirst(min(count, words.count))
    }
    let matching = commands.filter { words.starts(with: $0.path) }.max { $0.path.count < $1.path.count }
    guard let command = matching else {
        let group = words.prefix(1).filter { first in commands.contains { $0.path.count > 1 && $0.path[0] == first } }
        guard !group.isEmpty else {
            Output.write("Error: unknown command \"\(words[0])\" for \"lakefuse\"\n", to: 2)
            return 1
        }
        Output.write(help(under: Array(group)))
        return 0
    }
    do {
        guard let invocation = try parse(command, (leading + words.dropFirst(command.path.count))[...], environment)
        else {
            Output.write(help(command))
            return 0
        }
        try command.run(invocation)
        return 0
    } catch let error as UsageError {
        Output.write("Error: \(error.message)\n", to: 2)
    } catch let error as LakeClientError {
        Output.write(
            "\(error.message.isEmpty ? "request failed" : error.message)\n\(error.status) \(reason(error.status))\n",
            to: 2)
    } catch let error as TransportError {
        Output.write("\(error.description)\n", to: 2)
    } catch {
        Output.write("\(LakeError(error).message)\n", to: 2)
    }
    return 1
}

exit(run(Array(Program.arguments.dropFirst()), ProcessInfo.processInfo.environment))
