import Foundations
import LakeAPI
import Versioning

/// Branches and tags.
enum RefPages {
    static let routes: [WebRoute] = [
        .page("branches", "~/branches") { visit in try branches(visit) },
        .form("branches.create", "~/branches") { visit in
            let name = visit.field("name")
            try visit.answer(
                .createBranch, [.repository: visit.repository.text],
                body: API.BranchCreation(name: name, source: visit.field("source"), hidden: visit.isChecked("hidden")))
            return visit.see(
                Link(visit.repository, "objects", query: ["ref": Key(name)]), note: "The branch \(name) is made.")
        },
        .form("branches.delete", "~/branches/delete") { visit in
            let name = visit.field("name")
            try visit.answer(.deleteBranch, [.repository: visit.repository.text, .branch: name])
            return visit.see(Link(visit.repository, "branches"), note: "The branch \(name) is deleted.")
        },
        .part("branches.distance", "~/distance") { visit in try distance(visit) },
        .page("tags", "~/tags") { visit in try tags(visit) },
        .form("tags.create", "~/tags") { visit in
            let name = visit.field("name")
            try visit.answer(
                .createTag, [.repository: visit.repository.text],
                body: API.TagCreation(id: name, ref: visit.field("source")))
            return visit.see(Link(visit.repository, "tags"), note: "The tag \(name) is made.")
        },
        .form("tags.delete", "~/tags/delete") { visit in
            let name = visit.field("name")
            try visit.answer(.deleteTag, [.repository: visit.repository.text, .tag: name])
            return visit.see(Link(visit.repository, "tags"), note: "The tag \(name) is deleted.")
        },
    ]

    /// A form for a new ref.
    private static func create(_ what: String, _ page: String, _ source: String, _ visit: Visit, more: HTML? = nil)
        -> HTML
    {
        """
        <details class="menu"><summary class="button primary">New \(what)</summary><form method="post" action="\(Link(visit.repository, page))" class="card">\(Layout.token(visit))
        <label>Name <input name="name" required spellcheck="false" autocapitalize="off"></label><label>From <input name="source" value="\(source)" required list="refs-ref" spellcheck="false"></label>\(more)<button class="primary">Create</button></form></details>
        """
    }

    private static func branches(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let names: Visit.Names = [.repository: id.text]
        let repository: API.Repository = try visit.get(.getRepository, names)
        let showHidden = visit.text("hidden") != nil
        let found: ResultList<API.Ref> = try visit.get(
            .listBranches, names,
            [
                "prefix": visit.text("prefix").map { Key($0) }, "after": visit.text("after").map { Key($0) },
                "amount": "100", "show_hidden": showHidden ? "true" : nil,
            ])
        let rules: [API.BranchProtectionRule] = visit.getIfAny(.getBranchProtectionRules, names) ?? []
        let patterns = rules.compactMap { Glob($0.pattern) }
        let mounts: API.MountList? = visit.getIfAny(.listMounts)
        let rows = found.results.map { ref -> HTML in
            let branch = ref.id
            let isDefault = branch == repository.defaultBranch
            let commit: API.Commit? = visit.getIfAny(.getCommit, [.repository: id.text, .commitId: ref.commitId])
            let places = (mounts?.mounts ?? []).filter { $0.repository == id.text && $0.ref == branch }
            let delete: HTML? =
                !isDefault && visit.may(.deleteBranch, [.repository: id.text, .branch: branch])
                ? Layout.button(
                    "Delete", to: Link(id, "branches", "delete"), visit, fields: ["name": branch], kind: "quiet danger",
                    asks: "Delete the branch \(branch), with its uncommitted changes?") : nil
            return """
                <tr id="b\(Show.mark(branch.utf8))"><th scope="row"><a href="\(Link(id, "objects", query: ["ref": Key(branch)]))" data-open>\(branch)</a>\(" <span class=\"badge\">default</span>", if: isDefault)\(" <span class=\"badge\">protected</span>", if: patterns.contains { $0.matches(branch) })</th>
                <td>\(commit.map { Show.commit($0, of: id) })</td><td data-cell>\(isDefault ? nil : "<a href=\"\(Link(id, "compare", query: ["ref": Key(repository.defaultBranch), "compare": Key(branch)]))\">compare</a>" as HTML)</td><td>\(places.map { "<code>\(Show.name($0.directory))</code>" as HTML }.joined(by: "<br>"))</td><td>\(delete)</td></tr>
                """
        }
        let later = Link(
            id, "distance",
            query: [
                "base": Key(repository.defaultBranch), "branches": Key(found.results.map(\.id).joined(separator: "/")),
            ])
        let mayCreate = visit.may(.branch("CreateBranch", id, "*"))
        return WebPage(
            "Branches · \(id)", id, .branches,
            """
            <div class="bar"><h1>Branches</h1>\(Layout.search(visit))\(mayCreate ? create("branch", "branches", repository.defaultBranch, visit, more: "<label class=\"check\"><input type=\"checkbox\" name=\"hidden\"> Hidden</label>") : nil)</div>
            <p class="faint">\(showHidden ? "<a href=\"\(Link(id, "branches"))\">Leave out hidden branches</a>" : "<a href=\"\(Link(id, "branches", query: ["hidden": "1"]))\">Show hidden branches too</a>" as HTML)</p>
            <div id="list">\(rows.isEmpty ? Layout.empty("No branch", "None is called so.") : Layout.table("Branches", "<th>Branch</th><th>Last commit</th><th>Beside \(repository.defaultBranch)</th><th>Mounted at</th><th><span class=\"hidden\">Actions</span></th>", rows, later: later))
            \(Layout.more(Link(id, "branches", query: ["prefix": visit.text("prefix").map { Key($0) }, "hidden": showHidden ? "1" : nil, "after": Key(found.pagination.nextOffset)]), found.pagination.hasMore, visit))</div>
            """)
    }

    /// Commits that are counted on either side.
    private static let mostCounted = 1000

    /// How far branches are ahead of and behind another: cells that the page puts into its table.
    private static func distance(_ visit: Visit) throws -> Response {
        let id = visit.repository
        try visit.require(.repository("ListCommits", id))
        let deadline = Timestamp.monotonicMilliseconds() + 2000
        let base = visit.text("base") ?? ""
        var cells: [HTML] = []
        for branch in (visit.text("branches") ?? "").split(separator: "/").prefix(100).map(String.init)
        where branch != base {
            guard Timestamp.monotonicMilliseconds() < deadline else { break }
            // A branch that went away meanwhile has no distance.
            guard let found = try? visit.catalog.mergeBase(branch, base, in: id) else { continue }
            func count(_ ref: String) throws -> (Int, Bool) {
                var query = Catalog.LogQuery()
                query.limit = mostCounted
                query.stopAt = found.base.text
                let page = try visit.catalog.log(ref, in: id, query)
                return (page.items.count { $0.id != found.base }, page.hasMore)
            }
            let (ahead, moreAhead) = try count(branch)
            let (behind, moreBehind) = try count(base)
            cells.append(
                "<template data-for=\"b\(Show.mark(branch.utf8))\"><a href=\"\(Link(id, "compare", query: ["ref": Key(base), "compare": Key(branch)]))\">\(ahead)\("+", if: moreAhead) ahead, \(behind)\("+", if: moreBehind) behind</a></template>"
            )
        }
        return visit.fragment("\(cells)")
    }

    private static func tags(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let found: ResultList<API.Ref> = try visit.get(
            .listTags, [.repository: id.text],
            [
                "prefix": visit.text("prefix").map { Key($0) }, "after": visit.text("after").map { Key($0) },
                "amount": "100",
            ])
        let rows = found.results.map { ref -> HTML in
            let commit: API.Commit? = visit.getIfAny(.getCommit, [.repository: id.text, .commitId: ref.commitId])
            let delete: HTML? =
                visit.may(.deleteTag, [.repository: id.text, .tag: ref.id])
                ? Layout.button(
                    "Delete", to: Link(id, "tags", "delete"), visit, fields: ["name": ref.id], kind: "quiet danger",
                    asks: "Delete the tag \(ref.id)?") : nil
            return """
                <tr><th scope="row"><a href="\(Link(id, "objects", query: ["ref": Key(ref.id)]))" data-open>\(Show.name(ref.id))</a></th><td>\(commit.map { Show.commit($0, of: id) })</td><td><code>\(Show.short(ref.commitId))</code> \(Show.copy(ref.commitId, "the id"))</td><td>\(delete)</td></tr>
                """
        }
        let repository: API.Repository = try visit.get(.getRepository, [.repository: id.text])
        let mayCreate = visit.may(.tag("CreateTag", id, "*"))
        return WebPage(
            "Tags · \(id)", id, .tags,
            """
            <div class="bar"><h1>Tags</h1>\(Layout.search(visit))\(mayCreate ? create("tag", "tags", repository.defaultBranch, visit) : nil)</div>
            <div id="list">\(rows.isEmpty ? Layout.empty("No tag", "A tag names a commit for good: a release, a data set that a model was trained on.") : Layout.table("Tags", "<th>Tag</th><th>Commit</th><th>Id</th><th><span class=\"hidden\">Actions</span></th>", rows))
            \(Layout.more(Link(id, "tags", query: ["prefix": visit.text("prefix").map { Key($0) }, "after": Key(found.pagination.nextOffset)]), found.pagination.hasMore, visit))</div>
            """)
    }
}
