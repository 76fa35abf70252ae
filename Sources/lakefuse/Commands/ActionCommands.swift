import Foundations
import LakeLocalServer

extension Command {
    static let actionCommands: [Command] = [
        Command(
            path: ["actions", "validate"], arguments: ["<file>"],
            summary: "Check a file of actions: what is wrong in which line, and what is allowed (- for standard input)"
        ) { invocation in
            let path = invocation.arguments[0]
            do { try Action.validate(Files.read(path == "-" ? "/dev/stdin" : path)) } catch {
                throw LakeError(.invalidValue, "\(path): \(LakeError(error).message)")
            }
            Output.line("File validated successfully: '\(path)'")
        }
    ]
}
