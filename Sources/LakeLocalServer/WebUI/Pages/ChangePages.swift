import Foundations
import LakeAPI
import Transport
import Versioning

/// What a branch holds that no commit has.
enum ChangePages {
    static let routes: [WebRoute] = [
        .page("changes", "~/changes") { visit in try changes(visit) },
        .form("commit", "~/commit") { visit in
            let branch = visit.field("ref")
            let message = visit.field("message")
            guard !message.isEmpty else { throw PageError(400, "The commit has no message: say what has changed.") }
            let made: API.Commit = try visit.get(
                .commit, [.repository: visit.repository.text, .branch: branch],
                body: API.CommitCreation(message: message, metadata: visit.pairs("metadata")))
            return visit.see(Link(visit.repository, "commits", made.id), note: "Committed.")
        },
        .form("reset", "~/reset") { visit in
            let branch = visit.field("ref")
            let path = visit.fieldPath("path")
            // Folders and objects may be called the same: the form says which is meant.
            let type = path.isEmpty ? "reset" : visit.field("type") == "folder" ? "common_prefix" : "object"
            guard let text = String(validating: path.bytes, as: UTF8.self) else {
                throw PageError(400, "\(path) is no UTF-8: reset the folder that it is in.")
            }
            try visit.answer(
                .resetBranch, [.repository: visit.repository.text, .branch: branch],
                body: API.ResetCreation(type: type, path: text.isEmpty ? nil : text))
            return visit.see(
                Link(visit.repository, "changes", query: ["ref": Key(branch)]),
                note: path.isEmpty ? "All uncommitted changes are gone." : "\(path) is as it was committed.")
        },
        .page("diff", "~/diff") { visit in try DiffPages.object(visit) },
    ]

    /// Changes that are counted at once.
    private static let mostCounted = 10_000
    static let perPage = 500

    /// How many uncommitted changes a branch has; nil where one may not look.
    static func count(of branch: String, in id: RepositoryID, _ visit: Visit, most: Int) -> (count: Int, hasMore: Bool)?
    {
        guard visit.may(.diffBranch, [.repository: id.text, .branch: branch]) else { return nil }
        var query = Catalog.DiffQuery()
        query.limit = most
        guard let page = try? visit.catalog.diffUncommitted(BranchName(branch), in: id, query) else { return nil }
        return (page.items.count, page.hasMore)
    }

    private static func changes(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let ref = try DataPages.ref(visit)
        let path = visit.key("path")
        try visit.require(.repository("ListObjects", id))
        guard try visit.catalog.resolve(ref, in: id).branch != nil, BranchName(ref).text == ref else {
            return WebPage(
                "Uncommitted", id, .changes, ref: ref,
                "\(RepositoryPages.picker(visit, ref))<h1>Uncommitted changes</h1>\(Layout.empty("\(ref) is no branch", "A tag or commit never changes: choose a branch."))"
            )
        }
        var query = Catalog.DiffQuery()
        query.prefix = path
        query.delimiter = "/"
        query.after = visit.key("after")
        query.limit = perPage
        let page = try visit.catalog.diffUncommitted(BranchName(ref), in: id, query)
        let counts = try counted(visit) { try visit.catalog.diffUncommitted(BranchName(ref), in: id, $0) }
        let mayReset = visit.may(.resetBranch, [.repository: id.text, .branch: ref])
        let rows = page.items.map { change -> HTML in
            let reset: HTML? =
                mayReset
                ? Layout.button(
                    "Reset", to: Link(id, "reset"), visit,
                    fields: [
                        "ref": ref, "path": URIEncoding.encode(change.path.bytes),
                        "type": change.kind == .prefixChanged ? "folder" : "object",
                    ],
                    kind: "quiet",
                    asks: change.kind == .prefixChanged ? "Forget all changes in this folder?" : "Forget this change?")
                : nil
            return row(
                change, below: path, folder: { Link(id, "changes", query: ["ref": Key(ref), "path": $0]) },
                left: "\(ref)@", right: ref, id, more: "<td>\(reset)</td>")
        }
        let list: HTML =
            rows.isEmpty
            ? Layout.empty(
                "Nothing uncommitted",
                path.isEmpty ? "All of \(ref) is in its last commit." : "Nothing has changed in this folder.")
            : table(rows, hasMoreCells: true)
        let all: HTML? =
            mayReset && !rows.isEmpty
            ? Layout.button(
                "Reset everything", to: Link(id, "reset"), visit, fields: ["ref": ref], kind: "danger",
                asks: "Forget all uncommitted changes of \(ref)? This cannot be undone.") : nil
        let commit: HTML? =
            visit.may(.commit, [.repository: id.text, .branch: ref]) && counts.all > 0
            ? """
            <form method="post" action="\(Link(id, "commit"))" class="card commit" id="commit">\(Layout.token(visit))<input type="hidden" name="ref" value="\(ref)">
            <label>Message <textarea name="message" required rows="2" placeholder="What has changed, and why"></textarea></label>
            <details><summary>Metadata</summary><label>One <code>name=value</code> a line <textarea name="metadata" rows="3" spellcheck="false"></textarea></label></details>
            <button class="primary">Commit to \(ref)</button></form>
            """ : nil
        return WebPage(
            "Uncommitted · \(ref) · \(id)", id, .changes, ref: ref, isLive: true,
            """
            <div class="bar"><h1>Uncommitted changes</h1>\(RepositoryPages.picker(visit, ref))</div>
            \(commit)<div id="list" data-live><div class="bar"><p class="counts">\(counts.html)</p>\(path.isEmpty ? all : "<a href=\"\(Link(id, "changes", query: ["ref": Key(ref)]))\" data-up>All folders</a>")</div>
            \(list)\(Layout.more(Link(id, "changes", query: ["ref": Key(ref), "path": path.isEmpty ? nil : path, "after": page.items.last?.path]), page.hasMore, visit))</div>
            """)
    }

    /// How many changes of each kind there are.
    struct Counts {
        var added = 0, removed = 0, changed = 0, conflicts = 0
        var hasMore = false
        var conflicting: [DiffEntry] = []
        var all: Int { added + removed + changed + conflicts }

        var html: HTML {
            func part(_ number: Int, _ word: String, _ kind: StaticString) -> HTML? {
                number == 0
                    ? nil : "<span class=\"badge \(HTML(stringLiteral: kind))\">\(Show.grouped(number)) \(word)</span> "
            }
            return
                "\(Show.count(all, "change", orMore: hasMore)) \(part(added, "added", "added"))\(part(changed, "changed", "changed"))\(part(removed, "removed", "removed"))\(part(conflicts, "in conflict", "conflict"))"
        }
    }

    /// Counts changes of every folder, up to a bound.
    static func counted(_ visit: Visit, most: Int = mostCounted, _ page: (Catalog.DiffQuery) throws -> Page<DiffEntry>)
        throws
        -> Counts
    {
        var counts = Counts()
        var query = Catalog.DiffQuery()
        query.limit = 1000
        while true {
            let page = try page(query)
            for change in page.items {
                switch change.kind {
                case .added: counts.added += 1
                case .removed: counts.removed += 1
                case .changed, .prefixChanged: counts.changed += 1
                case .conflict:
                    counts.conflicts += 1
                    counts.conflicting.append(change)
                }
            }
            guard page.hasMore, let last = page.items.last else { return counts }
            guard counts.all < most else {
                counts.hasMore = true
                return counts
            }
            query.after = last.path
        }
    }

    static func table(_ rows: [HTML], hasMoreCells: Bool = false) -> HTML {
        """
        \(Layout.table("Changes", "<th>Change</th><th>Path</th><th class=\"number\">Before</th><th class=\"number\">After</th>\("<th><span class=\"hidden\">Actions</span></th>", if: hasMoreCells)", rows))
        """
    }

    /// One change, with a link to what is different.
    static func row(
        _ change: DiffEntry, below prefix: Key, folder: (Key) -> Link, left: String, right: String, _ id: RepositoryID,
        more: HTML? = nil
    ) -> HTML {
        let name = Show.name(change.path.bytes.dropFirst(prefix.count))
        guard change.kind != .prefixChanged else {
            return
                "<tr><td><span class=\"badge\">folder</span></td><th scope=\"row\"><a href=\"\(folder(change.path))\" class=\"folder\" data-open>\(name)</a></th><td></td><td></td>\(more)</tr>"
        }
        let link = Link(id, "diff", query: ["left": Key(left), "right": Key(right), "path": change.path])
        return """
            <tr><td><span class="badge \(kind(change.kind))">\(change.kind.rawValue)</span></td><th scope="row"><a href="\(link)" data-open>\(name)</a></th><td class="number">\(change.left.map { Show.size($0.size) })</td><td class="number">\(change.right.map { Show.size($0.size) })</td>\(more)</tr>
            """
    }

    private static func kind(_ kind: Difference.Kind) -> HTML {
        switch kind {
        case .added: "added"
        case .removed: "removed"
        case .changed, .prefixChanged: "changed"
        case .conflict: "conflict"
        }
    }
}
