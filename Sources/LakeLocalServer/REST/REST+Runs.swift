import Foundations
import LakeAPI
import Versioning

extension REST {
    private func message(_ run: ActionRun) -> API.ActionRun {
        API.ActionRun(
            runId: run.id, branch: run.branch, startTime: run.started.rfc3339, endTime: run.ended?.rfc3339,
            eventType: run.event, status: run.hasPassed ? "completed" : "failed", commitId: run.commitID)
    }

    private func message(_ hook: HookRun) -> API.HookRun {
        API.HookRun(
            hookRunId: hook.id, action: hook.action, hookId: hook.hookID, startTime: hook.started.rfc3339,
            endTime: hook.ended?.rfc3339,
            status: hook.ended == nil ? "skipped" : hook.hasPassed ? "completed" : "failed")
    }

    /// Runs of hooks.
    func addRuns(_ router: inout Router) {
        router.on(.listRepositoryRuns) { call in
            call.now {
                func given(_ name: String) -> String? { call.text(name).flatMap { $0.isEmpty ? nil : $0 } }
                let page = try catalog.listRuns(
                    of: call.repository, branch: given("branch"), commit: given("commit"),
                    after: call.text("after") ?? "", limit: call.amount())
                return .json(200, ResultList(page, next: \.runId) { message($0) })
            }
        }
        router.on(.getRun) { call in
            call.now { .json(200, message(try catalog.run(call[.runId], in: call.repository))) }
        }
        router.on(.repeatRun) { call in
            call.now {
                let run = try catalog.run(call[.runId], in: call.repository)
                try call.require(.branch("CreateCommit", call.repository, BranchName(run.branch)))
                let id = try catalog.repeatRun(run, in: call.repository, for: call.user)
                return .json(202, API.TaskCreation(id: id))
            }
        }
        router.on(.listRunHooks) { call in
            call.now {
                let page = try catalog.listHookRuns(
                    of: call[.runId], in: call.repository, after: call.text("after") ?? "", limit: call.amount())
                return .json(200, ResultList(page, next: \.hookRunId) { message($0) })
            }
        }
        router.on(.getRunHookOutput) { call in
            call.now {
                let location = try catalog.outputOfHook(call[.hookRunId], of: call[.runId], in: call.repository)
                return Response(
                    status: 200,
                    headers: [
                        ("Content-Type", "application/octet-stream"),
                        ("Content-Disposition", "attachment; filename=\"hook_output.log\""),
                    ] + Response.untrusted("application/octet-stream"),
                    body: try ObjectBody.make(catalog.objects, tableAt: location))
            }
        }
    }
}
