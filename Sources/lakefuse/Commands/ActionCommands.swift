import Foundations
import LakeAPI
import LakeLocalServer
import Transport
import Versioning

extension Command {
    /// A time of the API, as lists show it.
    private static func time(_ text: String?) -> String {
        text.flatMap { Timestamp(rfc3339: $0) }.map { Output.time($0.seconds) } ?? ""
    }

    private static func runs(_ invocation: Invocation) throws -> (repository: String, parts: [String]) {
        let uri = try invocation.repository()
        return (uri.repository, ["repositories", uri.repository, "actions", "runs"])
    }

    private static func hooks(_ client: LakeClient, _ run: [String]) throws -> [API.HookRun] {
        try client.list(API.HookRun.self, run + ["hooks"], amount: .max).items
    }

    private static func output(_ client: LakeClient, _ run: [String], _ hook: String) throws {
        unsafe try client.send("GET", run + ["hooks", hook, "output"]) { _, piece in
            unsafe Output.write(Array(piece))
            return true
        }
    }

    static let actionCommands: [Command] = [
        Command(
            path: ["actions", "validate"], takes: 1...1, summary: "Validate action file",
            details: "Tries to parse the input action file as lakeFS action file",
            example: "lakectl actions validate check.yaml", isLakectl: true
        ) { invocation in
            let path = invocation.arguments[0]
            let text = try Files.input(path)
            do { try Action.validate(text) } catch {
                // lakectl's words come first, what is wrong in which line behind them.
                let message = LakeError(error).message
                let words = message.firstRange(of: "invalid action").map { String(message[..<$0.upperBound]) }
                throw CommandError(words ?? message, hint: "\(path): \(message)")
            }
            Output.line("File validated successfully: '\(path)'")
        },
        Command(
            path: ["actions", "runs", "list"],
            arguments: ["<repository URI> [--branch <branch>] [--commit <commit_id>]"], takes: 1...1,
            summary: "List runs", details: "List all runs on a repository optional filter by branch or commit",
            example: "lakectl actions runs list lakefs://demo --amount 10",
            flags: [
                Flag(name: "branch", value: "string", description: "show results for specific branch"),
                Flag(name: "commit", value: "string", description: "show results for specific commit ID"), .amount,
                .after,
            ], isLakectl: true
        ) { invocation in
            guard invocation.value("branch") == nil || invocation.value("commit") == nil else {
                throw CommandError("Can't specify 'commit' and 'branch'")
            }
            try invocation.showList(
                API.ActionRun.self, runs(invocation).parts,
                [("branch", invocation.value("branch")), ("commit", invocation.value("commit"))], next: \.runId,
                ["Run ID", "Event", "Start time", "End time", "Branch", "Commit ID", "Status"]
            ) { [$0.runId, $0.eventType, time($0.startTime), time($0.endTime), $0.branch, $0.commitId, $0.status] }
        },
        Command(
            path: ["actions", "runs", "describe"], arguments: ["<repository URI> <run_id>"], takes: 2...2,
            summary: "Describe run results",
            details: "Show information about the run and all the hooks that were executed as part of the run",
            example: "lakectl actions runs describe lakefs://demo 20230719152411arS0z6I",
            flags: [
                .after,
                Flag(
                    name: "amount", value: "int",
                    description: "number of results to return. By default, all results are returned."),
            ], isLakectl: true
        ) { invocation in
            let (repository, parts) = try runs(invocation)
            let run = parts + [invocation.arguments[1]]
            let client = try invocation.client
            if !invocation.isJSON { Output.line("Repository: lakefs://\(repository)") }
            let found: API.ActionRun
            do { found = try client.get(API.ActionRun.self, run) } catch let error as LakeClientError
                where error.status == 404
            { throw LakeClientError(status: 404, message: "not found: not found") }
            let hooks = try hooks(client, run)
            if invocation.isJSON {
                var json = JSONWriter()
                json.object { json in
                    json.member("run", found)
                    json.member("hooks", hooks)
                }
                return Output.write(json.bytes + [0x0a])
            }
            Output.line(
                "\nRun ID: \(found.runId)\nEvent: \(found.eventType)\nBranch: \(found.branch)\nStart Time: \(time(found.startTime))\nEnd Time: \(time(found.endTime))\nCommit ID: \(found.commitId)\nStatus: \(found.status)\n"
            )
            for hook in hooks {
                Output.line(
                    "Hook Run ID: \(hook.hookRunId)\nHook ID: \(hook.hookId)\nAction: \(hook.action)\nStart Time: \(time(hook.startTime))\nEnd Time: \(time(hook.endTime))\nStatus: \(hook.status)\n"
                )
                if hook.status != "skipped" {
                    try output(client, run, hook.hookRunId)
                    Output.line()
                }
            }
        },
        Command(
            path: ["actions", "runs", "repeat"], arguments: ["<repository URI>", "<run_id>"],
            summary: "Run the hooks of a run once more, with the action files as they are now",
            example: "lakefuse actions runs repeat lakefs://demo 1sgecl3000000000000g"
        ) { invocation in
            let uri = try invocation.repository()
            let answer = unsafe try invocation.client.send(
                "POST", ["repositories", uri.repository, "actions", "runs", invocation.arguments[1], "repeat"],
                api: "lakefuse")
            Output.line(try Coding.decode(API.TaskCreation.self, answer.body).id)
        },
        Command(
            path: ["cat-hook-output"], arguments: ["<repository URI> <run_id> <hook_id>"], takes: 3...3,
            summary: "Cat actions hook output",
            example: "lakectl cat-hook-output lakefs://demo 20230719152411arS0z6I my_hook", isHidden: true,
            isLakectl: true
        ) { invocation in
            let (repository, parts) = try runs(invocation)
            Output.line("Repository: lakefs://\(repository)")
            let client = try invocation.client
            let run = parts + [invocation.arguments[1]]
            do { try output(client, run, invocation.arguments[2]) } catch let error as LakeClientError
                where error.status == 404
            {
                // It may be called by its name.
                let found = try? hooks(client, run)  // Then the first error is the one to tell.
                guard let hook = found?.first(where: { $0.hookId == invocation.arguments[2] }) else {
                    throw LakeClientError(status: 404, message: "not found")
                }
                try output(client, run, hook.hookRunId)
            }
        },
    ]
}
