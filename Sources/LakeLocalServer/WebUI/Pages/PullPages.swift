import Foundations
import LakeAPI
import Versioning

/// Pull requests: one branch that is to be merged into another, what people and hooks say of it.
enum PullPages {
    static let routes: [WebRoute] = [
        .page("pulls", "~/pulls") { visit in try list(visit) },
        .page("pulls.create", "~/pulls/create") { visit in create(visit) },
        .form("pulls.create", "~/pulls/create") { visit in
            let made: API.TaskInfo = try visit.get(
                .createPullRequest, [.repository: visit.repository.text],
                body: API.PullRequestCreation(
                    title: visit.field("title"), description: visit.field("description"),
                    sourceBranch: visit.field("source"), destinationBranch: visit.field("destination")))
            return visit.see(Link(visit.repository, "pulls", made.id), note: "The pull request is open.")
        },
        .page("pulls.one", "~/pulls/*") { visit in try one(visit) },
        .form("pulls.comment", "~/pulls/*/comment") { visit in
            try visit.answer(
                .createPullRequestComment, names(visit), body: API.PullRequestCommentCreation(body: visit.field("body"))
            )
            return visit.see(here(visit))
        },
        .form("pulls.status", "~/pulls/*/status") { visit in
            let status = visit.field("status")
            try visit.answer(.updatePullRequest, names(visit), body: API.PullRequestBasic(status: status))
            return visit.see(here(visit), note: status == "closed" ? "Closed." : "Open again.")
        },
        .form("pulls.merge", "~/pulls/*/merge") { visit in
            try visit.answer(
                .mergePullRequest, names(visit),
                body: API.Merge(message: visit.field("message"), strategy: "", squashMerge: visit.isChecked("squash")))
            return visit.see(here(visit), note: "Merged.")
        },
    ]

    private static func names(_ visit: Visit) -> Visit.Names {
        [.repository: visit.repository.text, .pullRequest: visit.names[1]]
    }
    private static func here(_ visit: Visit) -> Link { Link(visit.repository, "pulls", visit.names[1]) }

    private static func list(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let status = visit.text("status") ?? "open"
        let found: ResultList<API.PullRequest> = try visit.get(
            .listPullRequests, [.repository: id.text],
            ["status": Key(status), "after": visit.text("after").map { Key($0) }, "amount": "100"])
        let rows = found.results.map { pull -> HTML in
            """
            <tr><th scope="row"><a href="\(Link(id, "pulls", pull.id))" data-open>\(pull.title)</a></th><td>\(pull.sourceBranch) → \(pull.destinationBranch)</td><td>\(pull.author)</td><td>\(Show.time(pull.creationDate))</td><td>\(badge(pull.status))</td></tr>
            """
        }
        let states = ["open", "closed", "merged", "all"].map { each -> HTML in
            "<li><a href=\"\(Link(id, "pulls", query: ["status": Key(each)]))\"\(" aria-current=\"true\"", if: each == status)>\(each)</a></li>"
        }
        let new: HTML? =
            visit.may(.createPullRequest, [.repository: id.text])
            ? "<a class=\"button primary\" href=\"\(Link(id, "pulls", "create"))\">New pull request</a>" : nil
        return WebPage(
            "Pull requests · \(id)", id, .pulls,
            """
            <div class="bar"><h1>Pull requests</h1><nav aria-label="States"><ul class="choices">\(states)</ul></nav>\(new)</div>
            <div id="list">\(rows.isEmpty ? Layout.empty("None \(status == "all" ? "yet" : status)", "A pull request asks others to look at a branch before it is merged.") : Layout.table("Pull requests", "<th>Title</th><th>Branches</th><th>By</th><th>Opened</th><th>State</th>", rows))
            \(Layout.more(Link(id, "pulls", query: ["status": Key(status), "after": Key(found.pagination.nextOffset)]), found.pagination.hasMore, visit))</div>
            """)
    }

    private static func badge(_ status: String) -> HTML {
        switch status {
        case "open": "<span class=\"badge added\">open</span>"
        case "merged": "<span class=\"badge changed\">merged</span>"
        default: "<span class=\"badge\">\(status)</span>"
        }
    }

    private static func create(_ visit: Visit) -> WebPage {
        let id = visit.repository
        return WebPage(
            "New pull request · \(id)", id, .pulls,
            """
            <section class="card narrow"><h1>New pull request</h1><form method="post" action="\(Link(id, "pulls", "create"))" data-picker="\(Link(id, "refs"))">\(Layout.token(visit))
            <label>Branch <input name="source" required value="\(visit.text("compare") ?? "")" list="refs" spellcheck="false" autocapitalize="off"></label>
            <label>into <input name="destination" required value="\(visit.text("ref") ?? "main")" list="refs" spellcheck="false" autocapitalize="off"></label><datalist id="refs"></datalist>
            <label>Title <input name="title" required></label><label>Description (Markdown) <textarea name="description" rows="6"></textarea></label><button class="primary">Open</button></form></section>
            """)
    }

    private static func one(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let pull: API.PullRequest = try visit.get(.getPullRequest, names(visit))
        let comments: ResultList<API.PullRequestComment>? = visit.getIfAny(
            .listPullRequestComments, names(visit), ["amount": "1000"])
        let (base, other) = (pull.destinationBranch, pull.sourceBranch)
        let isOpen = pull.status == "open"
        let checks = checks(of: other, visit)
        var changes: HTML = ""
        var canMerge = isOpen
        if isOpen, visit.may(.diffRefs, [.repository: id.text, .leftRef: base, .rightRef: other]) {
            do {
                let counts = try ChangePages.counted(visit) {
                    try visit.catalog.diff(base, other, isThreeDot: true, in: id, $0)
                }
                canMerge = counts.conflicts == 0
                let conflicts: HTML? =
                    counts.conflicts == 0
                    ? nil
                    : "<p>\(Show.count(counts.conflicts, "path")) changed on both sides: <a href=\"\(Link(id, "compare", query: ["ref": Key(base), "compare": Key(other)]))\">choose for each on the comparison</a>.</p>"
                changes =
                    "<p class=\"counts\">\(counts.html) <a href=\"\(Link(id, "compare", query: ["ref": Key(base), "compare": Key(other)]))\">Look at them</a></p>\(conflicts)"
            } catch let error as LakeError {
                canMerge = false
                changes = "<p class=\"error\"><span class=\"reason\">\(error.message)</span></p>"
            }
        }
        let mayWrite = visit.may(.updatePullRequest, names(visit))
        let merge =
            isOpen && mayWrite
            ? mergeForm(pull, isFailing: checks.contains { $0.status == "failed" }, canMerge: canMerge, visit) : nil
        let status: HTML? =
            !mayWrite || pull.status == "merged"
            ? nil
            : Layout.button(
                isOpen ? "Close" : "Open again", to: Link(id, "pulls", pull.id, "status"), visit,
                fields: ["status": isOpen ? "closed" : "open"])
        let said = (comments?.results ?? []).filter { !$0.deleted }.map { comment -> HTML in
            "<article class=\"card comment\"><p class=\"faint\"><strong>\(comment.author)</strong> \(Show.time(comment.creationDate))</p><div class=\"prose\">\(Markdown.html(Array(comment.body.utf8)))</div></article>"
        }
        let say: HTML? =
            visit.may(.createPullRequestComment, names(visit))
            ? "<form method=\"post\" action=\"\(here(visit))/comment\" class=\"card\">\(Layout.token(visit))<label>Comment (Markdown) <textarea name=\"body\" rows=\"3\" required></textarea></label><button>Comment</button></form>"
            : nil
        let merged: HTML? = pull.mergedCommitId.map {
            "<p>Merged as <a href=\"\(Link(id, "commits", $0))\"><code>\(Show.short($0))</code></a>.</p>"
        }
        return WebPage(
            "\(pull.title) · \(id)", id, .pulls, ref: other, isLive: isOpen,
            """
            <div class="bar"><h1>\(pull.title)</h1>\(badge(pull.status))\(status)</div>
            <p><strong>\(pull.author)</strong> wants <a href="\(Link(id, "objects", query: ["ref": Key(other)]))">\(other)</a> merged into <a href="\(Link(id, "objects", query: ["ref": Key(base)]))">\(base)</a>, \(Show.time(pull.creationDate)).</p>
            \(pull.description.isEmpty ? nil : "<div class=\"card prose\">\(Markdown.html(Array(pull.description.utf8)))</div>" as HTML)\(merged)
            <div id="state" data-live>\(changes)<h2>Checks</h2>\(checks.isEmpty ? "<p class=\"faint\">No hook has run on \(other).</p>" : ActionPages.table(checks, id))</div>
            <h2>Comments</h2>\(said)\(say)\(merge)
            """)
    }

    /// The form that merges, or why there is none.
    private static func mergeForm(_ pull: API.PullRequest, isFailing: Bool, canMerge: Bool, _ visit: Visit) -> HTML? {
        guard !isFailing else {
            return
                "<p class=\"note warn\">A check has failed: what it found has to be mended on \(pull.sourceBranch) before this can be merged here.</p>"
        }
        guard canMerge else { return nil }
        return """
            <form method="post" action="\(here(visit))/merge" class="card" id="merge">\(Layout.token(visit))<label>Message <input name="message" value="\(pull.title)"></label><label class="check"><input type="checkbox" name="squash"> Squash</label><button class="primary">Merge into \(pull.destinationBranch)</button></form>
            """
    }

    /// The newest run of each kind on a branch.
    private static func checks(of branch: String, _ visit: Visit) -> [API.ActionRun] {
        let runs: ResultList<API.ActionRun>? = visit.getIfAny(
            .listRepositoryRuns, [.repository: visit.repository.text], ["branch": Key(branch), "amount": "50"])
        var newest: [String: API.ActionRun] = [:]
        for run in runs?.results ?? [] where newest[run.eventType].map({ $0.startTime < run.startTime }) ?? true {
            newest[run.eventType] = run
        }
        return newest.values.sorted { $0.eventType < $1.eventType }
    }
}
