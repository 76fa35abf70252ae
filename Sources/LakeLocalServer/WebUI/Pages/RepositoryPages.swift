import Foundations
import LakeAPI
import Versioning

/// The list of repositories, and making one.
enum RepositoryPages {
    static let routes: [WebRoute] = [
        .page("repositories", "/repositories") { visit in try list(visit) },
        .page("repositories.create", "/repositories/create") { visit in
            WebPage("New repository", place: "repositories", form(visit))
        },
        .form("repositories.create", "/repositories/create") { visit in
            let name = visit.field("name")
            let namespace = visit.field("storage_namespace")
            let store = visit.rest.settings.store(visit.field("storage_id")) ?? visit.rest.settings.stores[0]
            try visit.answer(
                .createRepository,
                body: API.RepositoryCreation(
                    name: name, storageId: store.id.isEmpty ? nil : store.id,
                    storageNamespace: namespace.isEmpty ? "\(store.scheme)://\(name)" : namespace,
                    defaultBranch: visit.field("default_branch"), sampleData: visit.isChecked("sample_data"),
                    readOnly: visit.isChecked("read_only")))
            return visit.see(Link(RepositoryID(name), "objects"), note: "The repository \(name) is made.")
        },
        .part("repository", "~") { visit in visit.web.redirect(Link(visit.repository, "objects")) },
        // Changes of a branch as they happen: for pages that are open.
        .part("events", "~/events") { visit in
            try visit.require(.repository("ListObjects", visit.repository))
            return visit.web.live.response(for: visit.repository, ref: visit.text("ref"))
        },
        // Names of branches and tags, for who picks a ref.
        .part("refs", "~/refs") { visit in
            let prefix = Key(visit.text("prefix") ?? "")
            let branches: ResultList<API.Ref>? = visit.getIfAny(
                .listBranches, [.repository: visit.repository.text], ["prefix": prefix, "amount": "50"])
            let tags: ResultList<API.Ref>? = visit.getIfAny(
                .listTags, [.repository: visit.repository.text], ["prefix": prefix, "amount": "50"])
            return visit.fragment(options(branches, tags))
        },
    ]

    private static func options(_ branches: ResultList<API.Ref>?, _ tags: ResultList<API.Ref>?) -> HTML {
        let all =
            (branches?.results ?? []).map { "<option value=\"\($0.id)\">branch</option>" as HTML }
            + (tags?.results ?? []).map { "<option value=\"\($0.id)\">tag</option>" as HTML }
        return "\(all)"
    }

    /// A form to choose a ref by typing, with the first of them to choose from.
    static func picker(_ visit: Visit, _ ref: String, field: String = "ref", keeping: KeyValuePairs<String, Key?> = [:])
        -> HTML
    {
        let branches: ResultList<API.Ref>? = visit.getIfAny(
            .listBranches, [.repository: visit.repository.text], ["amount": "50"])
        let tags: ResultList<API.Ref>? = visit.getIfAny(
            .listTags, [.repository: visit.repository.text], ["amount": "50"])
        let kept = keeping.map { name, value in value.map { Self.kept(name, $0) } ?? "" }
        return """
            <form class="picker" method="get" data-picker="\(Link(visit.repository, "refs"))"><label><span>\(field == "ref" ? "Branch, tag or commit" : "Compared with")</span> \
            <input name="\(field)" value="\(ref)" list="refs-\(field)" spellcheck="false" autocapitalize="off" autocomplete="off"></label>\
            <datalist id="refs-\(field)">\(options(branches, tags))</datalist>\(kept)<button>Go</button></form>
            """
    }

    /// A hidden field of a form that asks for a page. One that is no UTF-8 cannot be sent by a form, and is left out.
    static func kept(_ name: String, _ value: Key) -> HTML {
        guard let text = String(validating: value.bytes, as: UTF8.self) else { return "" }
        return "<input type=\"hidden\" name=\"\(name)\" value=\"\(text)\">"
    }

    private static func mayCreate(_ visit: Visit) -> Bool {
        (try? visit.rest.access.requireSome(
            "fs:CreateRepository", below: Permission.repository("", "").resource, for: visit.caller)) != nil
    }

    private static func list(_ visit: Visit) throws -> WebPage {
        let search = visit.text("search")
        let found: ResultList<API.Repository>
        do {
            found = try visit.get(
                .listRepositories, [:],
                ["search": search.map { Key($0) }, "after": visit.text("after").map { Key($0) }, "amount": "100"])
        } catch let error as LakeError where error.code == .permissionDenied {
            found = ResultList([], hasMore: false) { $0.id }
        }
        let mounts: API.MountList? = visit.getIfAny(.listMounts)
        let rows = found.results.map { row($0, mounts?.mounts ?? [], visit) }
        let create: HTML? =
            mayCreate(visit) ? "<a class=\"button primary\" href=\"/repositories/create\">New repository</a>" : nil
        let none: HTML =
            search == nil
            ? Layout.empty(
                "No repository yet",
                "A repository holds branches of data. Make one, with sample data to look around in.")
            : Layout.empty("Nothing found", "No repository's name holds “\(search ?? "")”.")
        return WebPage(
            "Repositories", place: "repositories",
            """
            <div class="bar"><h1>Repositories</h1><form method="get" class="search" role="search" data-search><label><span class="hidden">Search by name</span><input type="search" name="search" value="\(search ?? "")" placeholder="Search by name"></label></form>\(create)</div>
            <div id="list">\(rows.isEmpty ? none : table(rows))\(Layout.more(Link(["repositories"], ["search": search.map { Key($0) }, "after": Key(found.pagination.nextOffset)]), found.pagination.hasMore, visit))</div>
            """)
    }

    private static func table(_ rows: [HTML]) -> HTML {
        """
        \(Layout.table("Repositories", "<th>Name</th><th>Default branch</th><th>Last commit</th><th class=\"number\">Uncommitted</th><th>Mounted at</th>", rows))
        """
    }

    private static func row(_ repository: API.Repository, _ mounts: [API.Mount], _ visit: Visit) -> HTML {
        let id = RepositoryID(repository.id)
        let names: Visit.Names = [.repository: repository.id, .commitId: repository.defaultBranch]
        var last: HTML = "<span class=\"faint\">–</span>"
        if let commit: API.Commit = visit.getIfAny(.getCommit, names) {
            last =
                Show.commit(commit, of: id)
        }
        let counted = ChangePages.count(of: repository.defaultBranch, in: id, visit, most: 100)
        let uncommitted: HTML? = counted.map {
            $0.count == 0
                ? "<span class=\"faint\">0</span>"
                : "<a href=\"\(Link(id, "changes", query: ["ref": Key(repository.defaultBranch)]))\">\($0.count)\("+", if: $0.hasMore)</a>"
        }
        let places = mounts.filter { $0.repository == repository.id }.map {
            "<code>\(Show.name($0.directory))</code>" as HTML
        }
        return """
            <tr><th scope="row"><a href="\(Link(id, "objects"))" data-open>\(repository.id)</a>\(" <span class=\"badge\">read-only</span>", if: repository.readOnly == true)</th><td>\(repository.defaultBranch)</td><td>\(last)</td><td class="number">\(uncommitted)</td><td>\(places.joined(by: "<br>"))</td></tr>
            """
    }

    private static func form(_ visit: Visit) -> HTML {
        let stores = visit.rest.settings.stores
        let choice: HTML? =
            stores.count > 1
            ? "<label>Store <select name=\"storage_id\">\(stores.map { "<option value=\"\($0.id)\">\($0.id.isEmpty ? $0.type : $0.id)</option>" as HTML })</select></label>"
            : nil
        return """
            <section class="card narrow"><h1>New repository</h1><form method="post" action="/repositories/create">\(Layout.token(visit))
            <label>Name <input name="name" required pattern="[a-z0-9][a-z0-9\\-]{2,62}" title="3 to 63 lower-case letters, digits and hyphens" spellcheck="false" autocapitalize="off"></label>
            <label>Storage namespace <input name="storage_namespace" placeholder="\(stores[0].scheme)://the-name" spellcheck="false"><small>Where its data is kept. Empty: a folder of its name.</small></label>\(choice)
            <label>Default branch <input name="default_branch" value="main"></label>
            <label class="check"><input type="checkbox" name="sample_data"> With sample data</label>
            <label class="check"><input type="checkbox" name="read_only"> Read-only</label>
            <button class="primary">Create</button></form></section>
            """
    }
}
