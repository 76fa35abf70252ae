import Foundations
import LakeAPI
import Transport
import Versioning

/// Folders of a ref.
enum DataPages {
    static let routes: [WebRoute] = [
        .page("objects", "~/objects") { visit in try folder(visit) },
        .part("objects.changes", "~/last-changes") { visit in try lastChanges(visit) },
        .part("objects.size", "~/size") { visit in
            let ref = try resolve(visit)
            try visit.require(.repository("ListObjects", visit.repository))
            let found = try visit.catalog.size(below: visit.key("path"), at: ref, most: 1_000_000)
            return visit.fragment(
                "<span>\(Show.sizeText(found.bytes))\("+", if: !found.isWhole) <span class=\"faint\">in \(Show.count(found.objects, "object", orMore: !found.isWhole))</span></span>"
            )
        },
        .form("objects.delete", "~/objects/delete") { visit in
            let ref = visit.field("ref")
            let paths = visit.fields("path").map { Key(URIEncoding.decode($0.description)) }
            guard !paths.isEmpty else { throw PageError(400, "No object is chosen: tick what is to be deleted.") }
            guard paths.count <= 1000 else {
                throw PageError(400, "\(paths.count) objects are chosen: 1,000 at most are deleted at once.")
            }
            for path in paths {
                try visit.answer(
                    .deleteObject, [.repository: visit.repository.text, .branch: ref], ["path": path])
            }
            return visit.see(
                Link(
                    visit.repository, "objects",
                    query: ["ref": Key(ref), "path": visit.fieldPath("folder")]),
                note: "\(Show.count(paths.count, "object")) deleted, uncommitted: reset brings them back.")
        },
        .form("objects.import", "~/import") { visit in
            let ref = visit.field("ref")
            try visit.answer(
                .importStart, [.repository: visit.repository.text, .branch: ref],
                body: API.ImportCreation(
                    paths: [
                        API.ImportLocation(
                            type: visit.field("type") == "object" ? "object" : "common_prefix",
                            path: visit.field("from"),
                            destination: visit.field("destination"))
                    ], commit: API.CommitCreation(message: visit.field("message"))))
            return visit.see(
                Link(visit.repository, "objects", query: ["ref": Key(ref)]),
                note: "The import runs: what it brings appears here in one step, when it is done.")
        },
    ]

    /// What a page is about, or the default branch.
    static func ref(_ visit: Visit) throws -> String {
        if let ref = visit.text("ref") { return ref }
        let repository: API.Repository = try visit.get(.getRepository, [.repository: visit.repository.text])
        return repository.defaultBranch
    }

    static func resolve(_ visit: Visit) throws -> ResolvedRef {
        try visit.catalog.resolve(ref(visit), in: visit.repository)
    }

    private static let perPage = 200
    /// Entries of a folder that are sorted by something other than their names; more are not.
    private static let mostSorted = 10_000

    private enum Order: String {
        case name, size, modified
    }

    /// Entries of the page, and whether there are more.
    private static func entries(_ visit: Visit, _ ref: ResolvedRef, _ order: Order) throws -> (
        Page<Listing>, isWhole: Bool
    ) {
        var query = Catalog.ListQuery()
        query.prefix = visit.key("path")
        query.delimiter = "/"
        query.after = visit.key("after")
        query.limit = perPage
        guard order != .name else { return (try visit.catalog.list(ref, query), true) }
        query.limit = 1000
        query.after = Key([])
        var all: [Listing] = []
        var isWhole = true
        while true {
            let page = try visit.catalog.list(ref, query)
            all += page.items
            guard page.hasMore, let last = page.items.last else { break }
            guard all.count < mostSorted else {
                isWhole = false
                break
            }
            query.after = last.path
        }
        func rank(_ item: Listing) -> Int64 {
            guard case .object(_, let entry) = item else { return .max }
            return order == .size ? entry.size : entry.lastModified.seconds
        }
        let sorted = all.sorted { (rank($0), $1.path) > (rank($1), $0.path) }
        return (Page(items: Array(sorted.prefix(1000)), hasMore: false), isWhole && sorted.count <= 1000)
    }

    private static func folder(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let name = try ref(visit)
        let path = visit.key("path")
        try visit.require(.repository("ListObjects", id))
        let ref = try visit.catalog.resolve(name, in: id)
        // lakeFS's links to objects look like those to folders.
        if !path.isEmpty, path.bytes.last != 0x2f {
            throw Elsewhere(Link(id, "object", query: ["ref": Key(name), "path": path]))
        }
        let order = Order(rawValue: visit.text("sort") ?? "") ?? .name
        let (page, isWhole) = try entries(visit, ref, order)
        let isBranch = ref.branch != nil
        let may = (
            write: isBranch && visit.may(.object("WriteObject", id, path)),
            delete: isBranch && visit.may(.object("DeleteObject", id, path))
        )
        let rows = page.items.map { row($0, name, path, id, mayDelete: may.delete) }
        let next = page.items.last?.path ?? Key([])
        let here = Link(id, "objects", query: ["ref": Key(name), "path": path])
        func head(_ label: String, _ by: Order) -> HTML {
            "<a href=\"\(here.with("sort", by == .name ? nil : Key(by.rawValue)))\"\(" aria-current=\"true\"", if: by == order)>\(label)</a>"
        }
        let list: HTML =
            rows.isEmpty
            ? Layout.empty(
                path.isEmpty ? "Nothing here yet" : "An empty folder",
                isBranch
                    ? "Drop files here, copy them to <code>\(Show.name(address(id, name, path)))</code>, or write them in a mount."
                    : "There are no objects under this path.")
            : """
            <form method="post" action="\(Link(id, "objects", "delete"))" data-ask="Delete the chosen objects? They stay in the last commit.">\(Layout.token(visit))<input type="hidden" name="ref" value="\(name)"><input type="hidden" name="folder" value="\(URIEncoding.encode(path.bytes))">
            \(Layout.table("Objects", "\(may.delete ? "<th><span class=\"hidden\">Choose</span></th>" as HTML : nil)<th>\(head("Name", .name))</th><th class=\"number\">\(head("Size", .size))</th><th>\(head("Modified", .modified))</th><th>Last commit</th>", rows, later: Link(id, "last-changes", query: ["ref": Key(name), "path": path, "after": visit.text("after") == nil ? nil : visit.key("after")])))
            \(isWhole ? nil : "<p class=\"faint\">This folder has more than \(Show.grouped(mostSorted)) entries: the first by name are sorted, the first 1,000 of them shown.</p>" as HTML)\(may.delete ? "<button class=\"danger\">Delete the chosen</button>" as HTML : nil)</form>
            """
        return WebPage(
            path.isEmpty ? "\(id) · \(name)" : "\(path.description) · \(id)", id, .objects, ref: name,
            isLive: isBranch,
            """
            <h1 class="hidden">Data of \(id)</h1><div class="bar">\(RepositoryPages.picker(visit, name, keeping: ["path": path.isEmpty ? nil : path]))\(crumbs(id, name, path))
            <div class="row">\(history(id, name, path))<a class="button" href="\(archive(id, name, path))" download>Download as zip</a>\(may.write ? upload(id, name, path, visit) : nil)</div></div>
            <div id="list" data-live\(may.write ? " data-drop=\"\(drop(id, name, path))\"" as HTML : nil)>\(list)\(Layout.more(here.with("after", next), page.hasMore, visit))</div>
            \(try readme(page.items, ref, visit))\(addresses(visit, name, path, isFolder: true))
            """)
    }

    /// Where files that are dropped go: REST's own address, to which the name is added.
    private static func drop(_ id: RepositoryID, _ branch: String, _ path: Key) -> Link {
        Link(["api", "v1", "repositories", id.text, "branches", branch, "objects"], ["path": path])
    }

    private static func archive(_ id: RepositoryID, _ ref: String, _ path: Key) -> Link {
        Link(
            ["api", "v1", "repositories", id.text, "refs", ref, "objects", "archive"],
            ["prefix": path.isEmpty ? nil : path])
    }

    static func history(_ id: RepositoryID, _ ref: String, _ path: Key) -> HTML {
        "<a class=\"button\" href=\"\(Link(id, "commits", query: ["ref": Key(ref), "path": path.isEmpty ? nil : path]))\">History</a>"
    }

    private static func upload(_ id: RepositoryID, _ branch: String, _ path: Key, _ visit: Visit) -> HTML {
        """
        <label class="button primary needs-script" hidden>Upload<input type="file" multiple class="hidden" data-upload="\(drop(id, branch, path))"></label>
        <details class="menu"><summary class="button">Import…</summary><form method="post" action="\(Link(id, "import"))" class="card">\(Layout.token(visit))<input type="hidden" name="ref" value="\(branch)">
        <p>Objects of an object store become entries of this branch, without being copied.</p><label>From <input name="from" required placeholder="s3://bucket/prefix/" spellcheck="false"></label>
        <label>As <select name="type"><option value="common_prefix">everything under it</option><option value="object">one object</option></select></label>
        <label>To <input name="destination" value="\(path.description)" spellcheck="false"></label><label>Commit message <input name="message" required value="Import"></label><button class="primary">Import</button></form></details>
        """
    }

    static func crumbs(_ id: RepositoryID, _ ref: String, _ path: Key) -> HTML {
        var parts: [HTML] = ["<a href=\"\(Link(id, "objects", query: ["ref": Key(ref)]))\">\(id)</a>"]
        let bytes = path.bytes
        var start = 0
        for (index, byte) in bytes.enumerated() where byte == 0x2f {
            parts.append(
                "<a href=\"\(Link(id, "objects", query: ["ref": Key(ref), "path": Key(Array(bytes[...index]))]))\">\(start == index ? "/" : Show.name(bytes[start..<index]))</a>"
            )
            start = index + 1
        }
        if start < bytes.count { parts.append("<span aria-current=\"page\">\(Show.name(bytes[start...]))</span>") }
        let up: HTML? = parts.count > 1 ? " data-up" : nil
        return
            "<nav aria-label=\"Path\" class=\"crumbs\"\(up)>\(parts.joined(by: " <span aria-hidden=\"true\">/</span> "))</nav>"
    }

    private static func row(_ item: Listing, _ ref: String, _ folder: Key, _ id: RepositoryID, mayDelete: Bool) -> HTML
    {
        let name = item.path.bytes.dropFirst(folder.count)
        let mark = Show.mark(item.path.bytes)
        switch item {
        case .commonPrefix(let path):
            return """
                <tr id="e\(mark)">\(mayDelete ? "<td></td>" as HTML : nil)<th scope="row"><a href="\(Link(id, "objects", query: ["ref": Key(ref), "path": path]))" data-open class="folder">\(Show.name(name))</a></th><td class="number"><a class="later" href="\(Link(id, "size", query: ["ref": Key(ref), "path": path]))" data-replace aria-label="Size of \(String(decoding: name, as: UTF8.self))">size?</a></td><td></td><td data-cell></td></tr>
                """
        case .object(let path, let entry):
            let choice: HTML? =
                mayDelete
                ? "<td><input type=\"checkbox\" name=\"path\" value=\"\(URIEncoding.encode(path.bytes))\" aria-label=\"Choose \(String(decoding: name, as: UTF8.self))\"></td>"
                : nil
            return """
                <tr id="e\(mark)">\(choice)<th scope="row"><a href="\(Link(id, "object", query: ["ref": Key(ref), "path": path]))" data-open>\(Show.name(name))</a></th><td class="number">\(Show.size(entry.size))</td><td>\(Show.time(entry.lastModified))</td><td data-cell></td></tr>
                """
        }
    }

    /// The last commit of each entry of a page of a folder: rows that the page puts into its table.
    private static func lastChanges(_ visit: Visit) throws -> Response {
        let id = visit.repository
        let name = try ref(visit)
        try visit.require(.repository("ListObjects", id), .repository("ReadCommit", id))
        let ref = try visit.catalog.resolve(name, in: id)
        let (page, _) = try entries(visit, ref, .name)
        var names = Set(page.items.map(\.path))
        var cells: [Key: HTML] = [:]
        if let branch = ref.branch {
            var query = Catalog.DiffQuery()
            query.prefix = visit.key("path")
            query.delimiter = "/"
            query.limit = 1000
            for change in try visit.catalog.diffUncommitted(branch.id, in: id, query).items
            where names.contains(change.path) {
                names.remove(change.path)
                cells[change.path] = "<span class=\"badge changed\">uncommitted</span>"
            }
        }
        for (path, made) in try visit.catalog.lastChanges(
            of: names, below: visit.key("path"), at: name, in: id, milliseconds: 1000)
        {
            cells[path] =
                Show.commit(visit.rest.message(made), of: id)
        }
        return visit.fragment(
            "\(page.items.map { item -> HTML in "<template data-for=\"e\(Show.mark(item.path.bytes))\">\(cells[item.path] ?? "<span class=\"faint\">older</span>")</template>" })"
        )
    }

    private static let largestReadme: Int64 = 64 << 10

    private static func readme(_ items: [Listing], _ ref: ResolvedRef, _ visit: Visit) throws -> HTML? {
        for case .object(let path, let entry) in items where entry.size <= largestReadme {
            let name = path.bytes.dropFirst(visit.key("path").count)
            guard String(decoding: name, as: UTF8.self).lowercased() == "readme.md",
                visit.may(.object("ReadObject", visit.repository, path))
            else { continue }
            let file = try ObjectFile(path, entry, in: ref.repository, visit)
            return
                "<section class=\"card prose\" aria-label=\"README\">\(Markdown.html(try file.bytes(0..<entry.size)))</section>"
        }
        return nil
    }

    private static func address(_ id: RepositoryID, _ ref: String, _ path: Key) -> String {
        "s3://\(id)/\(ref)/\(path.description)"
    }

    /// The addresses of what one looks at, and what would show the same elsewhere.
    static func addresses(_ visit: Visit, _ ref: String, _ path: Key, isFolder: Bool) -> HTML {
        let id = visit.repository
        let mounts: API.MountList? = visit.getIfAny(.listMounts)
        let mount = mounts?.mounts.first { $0.repository == id.text && $0.ref == ref }
        let uri = "lakefs://\(id)/\(ref)/\(path.description)"
        let command = "lakefuse fs \(isFolder ? "ls" : "cat") \(Show.quoted(uri))"
        let files: HTML =
            mount.map { Show.copied("As files", "\($0.directory)/\(path.description)") }
            ?? Show.copied("Mount it", "lakefuse mount \(Show.quoted("lakefs://\(id)/\(ref)")) DIRECTORY")
        return """
            <details class="card addresses"><summary>Where to find it elsewhere</summary><dl>\(files)\(Show.copied("S3", address(id, ref, path)))\(Show.copied("lakeFS", uri))\(Show.copied("Command", command))</dl></details>
            """
    }
}

/// A page that is at another address.
struct Elsewhere: Error {
    let link: Link
    init(_ link: Link) { self.link = link }
}
