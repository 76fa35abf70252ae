import Foundations
import LakeAPI
import Versioning

/// The log of a ref, and single commits.
enum CommitPages {
    static let routes: [WebRoute] = [
        .page("commits", "~/commits") { visit in try log(visit) },
        .page("commits.one", "~/commits/*") { visit in try commit(visit) },
        .part("commits.counts", "~/counts") { visit in try counts(visit) },
        .form("revert", "~/revert") { visit in
            let branch = visit.field("branch")
            try visit.answer(
                .revertBranch, [.repository: visit.repository.text, .branch: branch],
                body: API.RevertCreation(ref: visit.field("commit"), parentNumber: Int(visit.field("parent")) ?? 0))
            return visit.see(
                Link(visit.repository, "commits", query: ["ref": Key(branch)]),
                note: "Reverted on \(branch), by a new commit.")
        },
        .form("cherryPick", "~/cherry-pick") { visit in
            let branch = visit.field("branch")
            let parent = Int(visit.field("parent"))
            try visit.answer(
                .cherryPick, [.repository: visit.repository.text, .branch: branch],
                body: API.CherryPickCreation(ref: visit.field("commit"), parentNumber: parent == 0 ? nil : parent))
            return visit.see(
                Link(visit.repository, "commits", query: ["ref": Key(branch)]),
                note: "Picked onto \(branch), by a new commit.")
        },
    ]

    private static let perPage = 50
    /// Commits that a filter looks at for one page.
    private static let mostFiltered = 5000

    private struct Filter {
        let author: String?, word: String?
        let since: Timestamp?, until: Timestamp?

        init(_ visit: Visit) {
            author = visit.text("author")?.lowercased()
            word = visit.text("metadata")?.lowercased()
            func day(_ name: String, _ time: String) -> Timestamp? {
                visit.text(name).flatMap { Timestamp(rfc3339: $0 + time) }
            }
            since = day("since", "T00:00:00Z")
            until = day("until", "T23:59:59Z")
        }

        var isEmpty: Bool { author == nil && word == nil && until == nil }

        func fits(_ commit: Commit) -> Bool {
            if let author, !commit.committer.lowercased().contains(author) { return false }
            if let until, commit.creationDate > until { return false }
            guard let word else { return true }
            return commit.message.lowercased().contains(word)
                || commit.metadata.dictionary.contains { "\($0.key)=\($0.value)".lowercased().contains(word) }
        }
    }

    private static func log(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let ref = try DataPages.ref(visit)
        try visit.require(.branch("ReadBranch", id, BranchName(ref)))
        let path = visit.key("path")
        let filter = Filter(visit)
        var query = Catalog.LogQuery()
        query.after = visit.text("after") ?? ""
        query.limit = filter.isEmpty ? perPage : 1000
        query.since = filter.since
        if !path.isEmpty {
            if path.bytes.last == 0x2f { query.prefixes = [path] } else { query.objects = [path] }
        }
        var found: [(id: CommitID, commit: Commit)] = []
        var looked = 0
        var hasMore = false
        while true {
            let page = try visit.catalog.log(ref, in: id, query)
            for made in page.items {
                looked += 1
                query.after = made.id.text
                guard filter.fits(made.commit) else { continue }
                found.append(made)
                if found.count == perPage { break }
            }
            hasMore = page.hasMore || page.items.last.map { $0.id.text != query.after } ?? false
            if !hasMore || found.count >= perPage || looked >= mostFiltered { break }
        }
        let isFiltered = !filter.isEmpty || !path.isEmpty || filter.since != nil
        var graph = isFiltered ? nil : CommitGraph()
        let rows = found.map { made -> HTML in
            let drawn = graph?.row(made.id.text, made.commit.parents.map(\.text))
            let isMerge = made.commit.parents.count > 1
            return """
                <tr id="c\(Show.short(made.id.text))">\(drawn.map { "<td class=\"graph\">\($0)</td>" as HTML })<th scope="row"><a href="\(Link(id, "commits", made.id.text))" data-open>\(Show.title(made.commit.message))</a>\(" <span class=\"badge\">merge</span>", if: isMerge)</th><td>\(made.commit.committer)</td><td>\(Show.time(made.commit.creationDate))</td><td class="number" data-cell></td><td><code>\(Show.short(made.id.text))</code> \(Show.copy(made.id.text, "the id"))</td></tr>
                """
        }
        let here = Link(
            id, "commits",
            query: [
                "ref": Key(ref), "path": path.isEmpty ? nil : path, "author": visit.text("author").map { Key($0) },
                "metadata": visit.text("metadata").map { Key($0) }, "since": visit.text("since").map { Key($0) },
                "until": visit.text("until").map { Key($0) },
            ])
        let later = Link(id, "counts", query: ["ids": Key(found.map(\.id.text).joined(separator: ","))])
        let list: HTML =
            rows.isEmpty
            ? Layout.empty(
                "No commit",
                isFiltered
                    ? "None of the \(Show.grouped(looked)) that were looked at fits." : "Nothing was committed yet.")
            : Layout.table(
                "Commits",
                "\("<th class=\"graph\"><span class=\"hidden\">Graph</span></th>", if: graph != nil)<th>What</th><th>Who</th><th>When</th><th class=\"number\">Changes</th><th>Id</th>",
                rows, later: later)
        return WebPage(
            "Commits · \(ref) · \(id)", id, .commits, ref: ref,
            isLive: visit.text("after") == nil,
            """
            <div class="bar"><h1>Commits</h1>\(RepositoryPages.picker(visit, ref))</div>
            <details class="filter"\(" open", if: isFiltered)><summary>Filter</summary><form method="get" class="fields"><input type="hidden" name="ref" value="\(ref)">
            <label>Path or folder/ <input name="path" value="\(path.description)" spellcheck="false"></label><label>By <input name="author" value="\(visit.text("author") ?? "")"></label><label>Words or name=value <input name="metadata" value="\(visit.text("metadata") ?? "")"></label>
            <label>From <input type="date" name="since" value="\(visit.text("since") ?? "")"></label><label>To <input type="date" name="until" value="\(visit.text("until") ?? "")"></label><button>Filter</button></form></details>
            <div id="list" data-live>\(list)\(hasMore && found.count < perPage ? "<p class=\"faint\">\(Show.grouped(looked)) commits were looked at: go on with the next page.</p>" as HTML : nil)\(Layout.more(here.with("after", Key(query.after)), hasMore, visit))</div>
            """)
    }

    /// How many changes each of some commits has: cells that the page puts into its table.
    private static func counts(_ visit: Visit) throws -> Response {
        let id = visit.repository
        try visit.require(.repository("ListObjects", id), .repository("ReadCommit", id))
        let deadline = Timestamp.monotonicMilliseconds() + 2000
        var cells: [HTML] = []
        for commit in (visit.text("ids") ?? "").split(separator: ",").prefix(perPage) {
            guard Timestamp.monotonicMilliseconds() < deadline else { break }
            let made = try visit.catalog.commit(String(commit), in: id)
            guard let parent = made.commit.parents.first else { continue }
            let counts = try ChangePages.counted(visit, most: 1000) {
                try visit.catalog.diff(parent.text, made.id.text, isThreeDot: false, in: id, $0)
            }
            cells.append(
                "<template data-for=\"c\(Show.short(made.id.text))\">\(Show.grouped(counts.all))\("+", if: counts.hasMore)</template>"
            )
        }
        return visit.fragment("\(cells)")
    }

    private static func commit(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let commit: API.Commit = try visit.get(.getCommit, [.repository: id.text, .commitId: visit.names[1]])
        let parent = commit.parents.first
        let path = visit.key("path")
        var changes: HTML = Layout.empty("The first commit", "It has no parent that it could differ from.")
        if let parent {
            try visit.require(.repository("ListObjects", id))
            var query = Catalog.DiffQuery()
            query.prefix = path
            query.delimiter = "/"
            query.after = visit.key("after")
            query.limit = ChangePages.perPage
            let page = try visit.catalog.diff(parent, commit.id, isThreeDot: false, in: id, query)
            let counts = try ChangePages.counted(visit) {
                try visit.catalog.diff(parent, commit.id, isThreeDot: false, in: id, $0)
            }
            let rows = page.items.map {
                ChangePages.row(
                    $0, below: path, folder: { Link(id, "commits", commit.id, query: ["path": $0]) }, left: parent,
                    right: commit.id, id)
            }
            let all: HTML? =
                path.isEmpty ? nil : "<a href=\"\(Link(id, "commits", commit.id))\" data-up>All folders</a>"
            changes = """
                <div class="bar"><p class="counts">\(counts.html)</p>\(all)</div>
                \(rows.isEmpty ? Layout.empty("No change", "It holds what its parent holds.") : ChangePages.table(rows))\(Layout.more(Link(id, "commits", commit.id, query: ["path": path.isEmpty ? nil : path, "after": page.items.last?.path]), page.hasMore, visit))
                """
        }
        let metadata = (commit.metadata ?? [:]).sorted { $0.key < $1.key }.map {
            "<tr><th scope=\"row\">\($0.key)</th><td>\(Show.name($0.value))</td></tr>" as HTML
        }
        let parents = commit.parents.map {
            "<a href=\"\(Link(id, "commits", $0))\"><code>\(Show.short($0))</code></a>" as HTML
        }
        let runs: ResultList<API.ActionRun>? = visit.getIfAny(
            .listRepositoryRuns, [.repository: id.text], ["commit": Key(commit.id)])
        let rest = ObjectFile.lines(commit.message).dropFirst().joined(
            separator: "\n")
        return WebPage(
            "\(Show.title(commit.message)) · \(id)", id, .commits, ref: commit.id,
            """
            <h1>\(Show.title(commit.message))</h1>\(rest.isEmpty ? nil : "<pre class=\"message\">\(rest)</pre>" as HTML)
            <dl class="facts"><div><dt>By</dt><dd>\(commit.committer)</dd></div><div><dt>When</dt><dd>\(Show.time(commit.creationDate))</dd></div><div><dt>Id</dt><dd><code>\(Show.short(commit.id))</code> \(Show.copy(commit.id, "the id"))</dd></div><div><dt>\(parents.count == 1 ? "Parent" : "Parents")</dt><dd>\(parents.isEmpty ? "none" : parents.joined(by: ", "))</dd></div></dl>
            <div class="row"><a class="button" href="\(Link(id, "objects", query: ["ref": Key(commit.id)]))">Browse its data</a>\(actions(commit, visit))</div>
            \(metadata.isEmpty ? nil : "<h2>Metadata</h2><table class=\"pairs\"><tbody>\(metadata)</tbody></table>" as HTML)
            \((runs?.results ?? []).isEmpty ? nil : "<h2>Hooks</h2>\(ActionPages.table(runs!.results, id))" as HTML)<h2>Changes</h2>\(changes)
            """)
    }

    private static func actions(_ commit: API.Commit, _ visit: Visit) -> HTML {
        let id = visit.repository
        func form(_ label: String, _ action: String, _ button: String, _ more: HTML? = nil) -> HTML {
            """
            <details class="menu"><summary class="button">\(label)</summary><form method="post" action="\(Link(id, action))" class="card">\(Layout.token(visit))<input type="hidden" name="commit" value="\(commit.id)"><input type="hidden" name="source" value="\(commit.id)">\(more)<button class="primary">\(button)</button></form></details>
            """
        }
        let onBranch: HTML =
            "<label>On the branch <input name=\"branch\" required spellcheck=\"false\" autocapitalize=\"off\"></label>"
        let parent: HTML? =
            commit.parents.count > 1
            ? "<label>Against its parent <select name=\"parent\">\(commit.parents.enumerated().map { "<option value=\"\($0.offset + 1)\">\($0.offset + 1): \(Show.short($0.element))</option>" as HTML })</select></label>"
            : nil
        var all: [HTML] = []
        if visit.may(.branch("RevertBranch", id, "*")) || visit.may(.branch("RevertBranch", id, "main")) {
            all.append(form("Revert…", "revert", "Revert", "\(onBranch)\(parent)"))
        }
        if visit.may(.branch("CreateCommit", id, "*")) || visit.may(.branch("CreateCommit", id, "main")) {
            all.append(form("Cherry-pick…", "cherry-pick", "Cherry-pick", "\(onBranch)\(parent)"))
        }
        all.append(
            form(
                "Branch from here…", "branches", "Create",
                "<label>Name <input name=\"name\" required spellcheck=\"false\" autocapitalize=\"off\"></label>"))
        all.append(
            form(
                "Tag…", "tags", "Tag",
                "<label>Name <input name=\"name\" required spellcheck=\"false\" autocapitalize=\"off\"></label>"))
        return "\(all)"
    }
}

/// Draws the lines between commits of a log, from row to row.
struct CommitGraph {
    /// The commit that each line leads down to.
    private var lanes: [String?] = []
    private static let step = 14, height = 34, mostLanes = 12

    /// The picture beside a commit.
    mutating func row(_ id: String, _ parents: [String]) -> HTML {
        let before = lanes
        let lane = lanes.firstIndex(of: id) ?? free()
        for index in lanes.indices where lanes[index] == id { lanes[index] = nil }
        var targets: [Int] = []
        for (index, parent) in parents.enumerated() {
            if index == 0, lanes[lane] == nil {
                // The first parent stays in its line, though another may lead there too.
                lanes[lane] = parent
                targets.append(lane)
            } else if let known = lanes.firstIndex(of: parent) {
                targets.append(known)
            } else {
                let place = free()
                lanes[place] = parent
                targets.append(place)
            }
        }
        var html = HTML()
        func x(_ lane: Int) -> Int { 8 + min(lane, Self.mostLanes) * Self.step }
        let (middle, bottom) = (Self.height / 2, Self.height)
        for (index, below) in before.enumerated() {
            guard let below else { continue }
            if below == id {
                html += "<path d=\"M\(x(index)) 0L\(x(lane)) \(middle)\"/>"
            } else {
                html += "<path d=\"M\(x(index)) 0V\(bottom)\"/>"
            }
        }
        for target in targets { html += "<path d=\"M\(x(lane)) \(middle)L\(x(target)) \(bottom)\"/>" }
        while lanes.last == .some(nil) { lanes.removeLast() }
        let width = x(max(before.count, lanes.count, lane + 1)) + 4
        return
            "<svg width=\"\(width)\" height=\"\(Self.height)\" viewBox=\"0 0 \(width) \(Self.height)\" aria-hidden=\"true\">\(html)<circle cx=\"\(x(lane))\" cy=\"\(middle)\" r=\"4\"/></svg>"
    }

    private mutating func free() -> Int {
        if let index = lanes.firstIndex(of: nil) { return index }
        lanes.append(nil)
        return lanes.count - 1
    }
}
