import Foundations
import LakeAPI
import Versioning

/// Hooks: their files, and what has become of their runs.
enum ActionPages {
    static let routes: [WebRoute] = [
        .page("actions", "~/actions") { visit in try list(visit) },
        .page("actions.run", "~/actions/*") { visit in try run(visit) },
        .form("actions.repeat", "~/actions/*/repeat") { visit in
            let made: API.TaskCreation = try visit.get(
                .repeatRun, [.repository: visit.repository.text, .runId: visit.names[1]])
            return visit.see(
                Link(visit.repository, "actions", made.id), note: "The hooks run again: this is the new run.")
        },
    ]

    private static func list(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let branch = visit.text("branch")
        let found: ResultList<API.ActionRun> = try visit.get(
            .listRepositoryRuns, [.repository: id.text],
            ["branch": branch.map { Key($0) }, "after": visit.text("after").map { Key($0) }, "amount": "100"])
        let underWay =
            visit.text("after") == nil
            ? visit.catalog.runsUnderWay(in: id).filter { branch == nil || $0.event.branch.text == branch } : []
        return WebPage(
            "Actions · \(id)", id, .actions, isLive: true,
            """
            <div class="bar"><h1>Actions</h1><form method="get" class="search" role="search"><label><span class="hidden">Branch</span><input type="search" name="branch" value="\(branch ?? "")" placeholder="Runs of a branch"></label><button>Show</button></form></div>
            \(try files(visit))<div id="list" data-live\(refreshed(!underWay.isEmpty))>\(found.results.isEmpty && underWay.isEmpty ? Layout.empty("No run", "Hooks run when something changes: write an action file into <code>\(ActionRunner.folder)</code> and commit it.") : table(found.results, id, underWay))
            \(Layout.more(Link(id, "actions", query: ["branch": branch.map { Key($0) }, "after": Key(found.pagination.nextOffset)]), found.pagination.hasMore, visit))</div>
            """)
    }

    static func badge(_ status: String) -> HTML {
        switch status {
        case "completed": "<span class=\"badge added\">passed</span>"
        case "failed": "<span class=\"badge removed\">failed</span>"
        default: "<span class=\"badge\">\(status)</span>"
        }
    }

    /// Runs, with links to each.
    static func table(_ runs: [API.ActionRun], _ id: RepositoryID, _ underWay: [RunUnderWay] = []) -> HTML {
        let running = underWay.map { run -> HTML in
            """
            <tr><td>\(badge("running"))</td><th scope="row"><a href="\(Link(id, "actions", run.event.runID))" data-open>\(run.event.kind.rawValue)</a></th><td>\(run.event.branch)</td><td>\(Show.time(run.started))</td><td>running</td><td></td></tr>
            """
        }
        let rows = runs.map { run -> HTML in
            """
            <tr><td>\(badge(run.status))</td><th scope="row"><a href="\(Link(id, "actions", run.runId))" data-open>\(run.eventType)</a></th><td>\(run.branch)</td><td>\(Show.time(run.startTime))</td><td>\(took(run.startTime, run.endTime))</td><td>\(run.commitId.isEmpty ? nil : "<a href=\"\(Link(id, "commits", run.commitId))\"><code>\(Show.short(run.commitId))</code></a>" as HTML)</td></tr>
            """
        }
        return
            Layout.table(
                "Runs", "<th>Result</th><th>Event</th><th>Branch</th><th>Began</th><th>Took</th><th>Commit</th>",
                running + rows)
    }

    private static func took(_ start: String, _ end: String?) -> HTML {
        guard let end, let from = Timestamp(rfc3339: start), let to = Timestamp(rfc3339: end) else { return "running" }
        return "\(Show.duration(to.seconds - from.seconds))"
    }

    private static let mostFiles = 100

    /// The action files of the default branch, each read as the runner would.
    private static func files(_ visit: Visit) throws -> HTML? {
        let id = visit.repository
        let repository: API.Repository = try visit.get(.getRepository, [.repository: id.text])
        let branch = repository.defaultBranch
        guard visit.may(.listObjects, [.repository: id.text, .ref: branch]) else { return nil }
        var query = Catalog.ListQuery()
        query.prefix = Key(ActionRunner.folder)
        query.limit = mostFiles
        let resolved = try visit.catalog.resolve(branch, in: id)
        var rows: [HTML] = []
        for case .object(let path, let entry) in try visit.catalog.list(resolved, query).items
        where entry.size < 1 << 20 {
            guard visit.may(.object("ReadObject", id, path)) else { continue }
            var state: HTML = "<span class=\"badge added\">valid</span>"
            do {
                let file = try ObjectFile(path, entry, in: resolved.repository, visit)
                try Action.validate(try file.bytes(0..<entry.size))
            } catch {
                state = "<span class=\"badge removed\">broken</span> \(LakeError(error).message)"
            }
            rows.append(
                "<tr><th scope=\"row\"><a href=\"\(Link(id, "object", query: ["ref": Key(branch), "path": path]))\">\(Show.name(path))</a></th><td>\(state)</td></tr>"
            )
        }
        return rows.isEmpty ? nil : "<h2>Files on \(branch)</h2><table><tbody>\(rows)</tbody></table><h2>Runs</h2>"
    }

    /// Bytes of a log that are shown: its end.
    private static let mostLog = ActionRunner.shownOutput

    private static func refreshed(_ isRunning: Bool) -> HTML? { isRunning ? " data-refresh=\"1000\"" : nil }

    private static func log(_ text: [UInt8]?) -> HTML {
        guard let text, !text.isEmpty else { return "<p class=\"faint\">It has written nothing.</p>" }
        return
            "<pre class=\"output\" tabindex=\"0\" role=\"group\" aria-label=\"Log\">\(String(decoding: text.suffix(mostLog), as: UTF8.self))</pre>"
    }

    /// A run that has not ended: what its hooks have said so far, looked at again each second.
    private static func page(_ run: RunUnderWay, _ id: RepositoryID) -> WebPage {
        let hooks = run.hooks.map { hook -> HTML in
            "<details class=\"card\" open><summary><strong>\(hook.id)</strong> of \(hook.action) <span class=\"faint\">began \(Show.time(hook.started))</span></summary>\(log(hook.output))</details>"
        }
        return WebPage(
            "\(run.event.kind.rawValue) · \(id)", id, .actions,
            """
            <div id="list" data-live\(refreshed(true))><div class="bar"><h1>\(run.event.kind.rawValue) on \(run.event.branch)</h1>\(badge("running"))</div>
            <dl class="facts"><div><dt>Began</dt><dd>\(Show.time(run.started))</dd></div><div><dt>Run</dt><dd><code>\(run.event.runID)</code></dd></div></dl>
            <h2>Hooks</h2>\(hooks)</div>
            """)
    }

    private static func run(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let names: Visit.Names = [.repository: id.text, .runId: visit.names[1]]
        if visit.may(.getRun, names), let underWay = try visit.catalog.runUnderWay(visit.names[1], in: id) {
            return page(underWay, id)
        }
        let run: API.ActionRun = try visit.get(.getRun, names)
        let hooks: ResultList<API.HookRun> = try visit.get(.listRunHooks, names, ["amount": "1000"])
        let shown = hooks.results.map { hook -> HTML in
            let answer = try? visit.answer(
                .getRunHookOutput, [.repository: id.text, .runId: run.runId, .hookRunId: hook.hookRunId])
            let text = answer.flatMap { try? $0.body.read(most: mostLog) }  // A hook that was passed over has none.
            return """
                <details class="card"\(" open", if: hook.status == "failed" || hooks.results.count == 1)><summary>\(badge(hook.status)) <strong>\(hook.hookId)</strong> of \(hook.action) <span class="faint">\(hook.endTime == nil ? "" : took(hook.startTime, hook.endTime))</span></summary>
                \(log(text))</details>
                """
        }
        let isRunning = run.endTime == nil
        let again: HTML? =
            visit.may(.repeatRun, names) && visit.may(.branch("CreateCommit", id, BranchName(run.branch)))
            ? Layout.button("Run again", to: Link(id, "actions", run.runId, "repeat"), visit, fields: [:]) : nil
        return WebPage(
            "\(run.eventType) · \(id)", id, .actions,
            """
            <div id="list" data-live\(refreshed(isRunning))><div class="bar"><h1>\(run.eventType) on \(run.branch)</h1>\(badge(isRunning ? "running" : run.status))\(again)</div>
            <dl class="facts"><div><dt>Began</dt><dd>\(Show.time(run.startTime))</dd></div><div><dt>Took</dt><dd>\(took(run.startTime, run.endTime))</dd></div><div><dt>Commit</dt><dd>\(run.commitId.isEmpty ? "none" : "<a href=\"\(Link(id, "commits", run.commitId))\"><code>\(Show.short(run.commitId))</code></a>" as HTML)</dd></div><div><dt>Run</dt><dd><code>\(run.runId)</code></dd></div></dl>
            <h2>Hooks</h2>\(shown)</div>
            """)
    }
}
