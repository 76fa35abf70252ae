import Foundations
import LakeAPI
import Versioning

/// Hooks: their files, and what has become of their runs.
enum ActionPages {
    static let routes: [WebRoute] = [
        .page("actions", "~/actions") { visit in try list(visit) },
        .page("actions.run", "~/actions/*") { visit in try run(visit) },
    ]

    private static func list(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let branch = visit.text("branch")
        let found: ResultList<API.ActionRun> = try visit.get(
            .listRepositoryRuns, [.repository: id.text],
            ["branch": branch.map { Key($0) }, "after": visit.text("after").map { Key($0) }, "amount": "100"])
        return WebPage(
            "Actions · \(id)", id, .actions, isLive: true,
            """
            <div class="bar"><h1>Actions</h1><form method="get" class="search" role="search"><label><span class="hidden">Branch</span><input type="search" name="branch" value="\(branch ?? "")" placeholder="Runs of a branch"></label><button>Show</button></form></div>
            \(try files(visit))<div id="list" data-live>\(found.results.isEmpty ? Layout.empty("No run", "Hooks run when something changes: write an action file into <code>\(ActionRunner.folder)</code> and commit it.") : table(found.results, id))
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
    static func table(_ runs: [API.ActionRun], _ id: RepositoryID) -> HTML {
        let rows = runs.map { run -> HTML in
            """
            <tr><td>\(badge(run.status))</td><th scope="row"><a href="\(Link(id, "actions", run.runId))" data-open>\(run.eventType)</a></th><td>\(run.branch)</td><td>\(Show.time(run.startTime))</td><td>\(took(run.startTime, run.endTime))</td><td>\(run.commitId.isEmpty ? nil : "<a href=\"\(Link(id, "commits", run.commitId))\"><code>\(Show.short(run.commitId))</code></a>" as HTML)</td></tr>
            """
        }
        return
            Layout.table(
                "Runs", "<th>Result</th><th>Event</th><th>Branch</th><th>Began</th><th>Took</th><th>Commit</th>", rows)
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
    private static let mostLog = 64 << 10

    private static func run(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let names: Visit.Names = [.repository: id.text, .runId: visit.names[1]]
        let run: API.ActionRun = try visit.get(.getRun, names)
        let hooks: ResultList<API.HookRun> = try visit.get(.listRunHooks, names, ["amount": "1000"])
        let shown = hooks.results.map { hook -> HTML in
            let answer = try? visit.answer(
                .getRunHookOutput, [.repository: id.text, .runId: run.runId, .hookRunId: hook.hookRunId])
            let log = answer.flatMap { try? $0.body.read(most: mostLog) }  // A hook that was passed over has none.
            return """
                <details class="card"\(" open", if: hook.status == "failed" || hooks.results.count == 1)><summary>\(badge(hook.status)) <strong>\(hook.hookId)</strong> of \(hook.action) <span class="faint">\(hook.endTime == nil ? "" : took(hook.startTime, hook.endTime))</span></summary>
                \(log.map { "<pre class=\"output\" tabindex=\"0\" role=\"group\" aria-label=\"Log\">\(String(decoding: $0, as: UTF8.self))</pre>" as HTML } ?? "<p class=\"faint\">It has written nothing.</p>")</details>
                """
        }
        let isRunning = run.endTime == nil
        let refresh: HTML? = isRunning ? " data-refresh=\"1000\"" : nil
        return WebPage(
            "\(run.eventType) · \(id)", id, .actions,
            """
            <div id="list" data-live\(refresh)><div class="bar"><h1>\(run.eventType) on \(run.branch)</h1>\(badge(isRunning ? "running" : run.status))</div>
            <dl class="facts"><div><dt>Began</dt><dd>\(Show.time(run.startTime))</dd></div><div><dt>Took</dt><dd>\(took(run.startTime, run.endTime))</dd></div><div><dt>Commit</dt><dd>\(run.commitId.isEmpty ? "none" : "<a href=\"\(Link(id, "commits", run.commitId))\"><code>\(Show.short(run.commitId))</code></a>" as HTML)</dd></div><div><dt>Run</dt><dd><code>\(run.runId)</code></dd></div></dl>
            <h2>Hooks</h2>\(shown)</div>
            """)
    }
}
