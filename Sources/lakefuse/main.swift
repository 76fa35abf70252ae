import FoundationEssentials
import Foundations
import Glibc
import LakeFUSE
import LakeLocalServer

/// Puts another program in this one's place.
func become(_ path: String, _ arguments: [String]) -> Int32 {
    var words: [UnsafeMutablePointer<CChar>?] = unsafe ([path] + arguments).map { unsafe strdup($0) } + [nil]
    unsafe execv(path, &words)
    Output.note(unsafe "\(path): \(String(cString: strerror(errno)))")
    return 126
}

func run(_ words: [String], _ environment: [String: String]) -> Int32 {
    // What this program is to its own processes.
    if words.count == 3, words[0] == Herald.command, let device = UInt32(words[2]) {
        return Herald.serve(words[1], device: device)
    }
    if words.first == LuaWorker.command { return LuaWorker.serve(Array(words.dropFirst())) }
    if words.first == ChildProcess.confinedCommand { return ChildProcess.becomeConfined(Array(words.dropFirst())) }
    // Names are bytes, but not over REST: two that are none would become one.
    if let index = Program.rawArguments.firstIndex(where: { String(validating: $0, as: UTF8.self) == nil }) {
        Output.note("argument \(index) is no UTF-8")
        return 1
    }
    signal(SIGPIPE, SIG_IGN)
    let table = CommandTable.current
    if words.first == Completion.command {
        Completion.answer(Array(words.dropFirst()), table, environment)
        return 0
    }
    var isLakectl = true
    var asked: Invocation?
    do {
        switch try table.parse(words, environment) {
        case .run(let invocation):
            isLakectl = invocation.command.isLakectl
            asked = invocation
            try invocation.command.run(invocation)
        case .help(let command): Output.write(table.help(command))
        case .helpOfGroup(let group): Output.write(table.help(group))
        case .noSuchTopic(let topic):
            Output.write(
                "Unknown help topic [\(topic.map { "`\($0)`" }.joined(separator: " "))]\n"
                    + table.usage(tellsHelp: false), to: 2)
        case .version: table.tellVersions(environment)
        case .plugin(let path, let arguments): return become(path, arguments)
        }
        return 0
    } catch {
        let failure = Failure(error, isLakectl: isLakectl)
        failure.write(asked.flatMap { Suggestion.text(for: error, $0) })
        return failure.status
    }
}

exit(run(Array(Program.arguments.dropFirst()), ProcessInfo.processInfo.environment))
