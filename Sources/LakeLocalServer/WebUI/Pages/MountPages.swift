import Foundations
import LakeAPI
import Versioning

/// Where refs are mounted on the server's machine.
enum MountPages {
    static let routes: [WebRoute] = [
        .page("mounts", "/mounts") { visit in try mounts(visit) },
        .form("mounts.create", "/mounts") { visit in
            try visit.answer(
                .mount,
                body: API.Mount(
                    repository: visit.field("repository"), ref: visit.field("ref"), directory: visit.field("directory"),
                    readOnly: visit.isChecked("read_only")))
            return visit.see(Link(["mounts"]), note: "\(visit.field("ref")) is mounted at \(visit.field("directory")).")
        },
        .form("mounts.end", "/mounts/end") { visit in
            let directory = visit.fieldKey("directory")
            try visit.answer(.unmount, [:], ["directory": directory])
            return visit.see(Link(["mounts"]), note: "\(directory.description) is unmounted.")
        },
    ]

    private static func mounts(_ visit: Visit) throws -> WebPage {
        let found: API.MountList = try visit.get(.listMounts, [:], ["details": "true"])
        let mayChange = visit.may(.all("fs:MountOnServer"))
        let columns: HTML =
            "<th>Folder</th><th>Shows</th><th>For</th><th class=\"number\">Uncommitted</th><th class=\"number\">Not yet on the branch</th><th><span class=\"hidden\">Actions</span></th>"
        let rows = found.mounts.map { mount -> HTML in
            let id = RepositoryID(mount.repository)
            let staged = ChangePages.count(of: mount.ref, in: id, visit, most: 1000)
            let problems = mount.problems ?? []
            let told: HTML? =
                problems.isEmpty
                ? nil
                : "<ul class=\"problems\">\(problems.map { "<li class=\"reason\">\($0.trimmingPrefix("! "))</li>" as HTML })</ul>"
            return """
                <tr><th scope="row"><code>\(Show.name(mount.directory))</code> \(Show.copy(mount.directory, "the folder"))\(told)</th><td><a href="\(Link(id, "objects", query: ["ref": Key(mount.ref)]))" data-open>\(mount.repository) / \(mount.ref)</a>\(" <span class=\"badge\">read-only</span>", if: mount.readOnly == true)</td><td>\(mount.user ?? "")</td><td class="number">\(staged.map { "<a href=\"\(Link(id, "changes", query: ["ref": Key(mount.ref)]))\">\(Show.grouped($0.count))\("+", if: $0.hasMore)</a>" as HTML })</td><td class="number">\(pending(mount))</td><td>\(mayChange ? Layout.button("Unmount", to: Link(["mounts", "end"]), visit, fields: ["directory": mount.directory], kind: "quiet danger", asks: "Unmount \(mount.directory)? What was written there is published first.") : nil)</td></tr>
                """
        }
        let new: HTML? =
            mayChange
            ? """
            <details class="menu"><summary class="button primary">Mount…</summary><form method="post" action="/mounts" class="card">\(Layout.token(visit))<label>Repository <input name="repository" required spellcheck="false"></label><label>Branch, tag or commit <input name="ref" value="main" required spellcheck="false"></label><label>Empty folder on the server <input name="directory" required placeholder="/mnt/data" spellcheck="false"></label><label class="check"><input type="checkbox" name="read_only"> Read-only</label><button class="primary">Mount</button></form></details>
            """ : nil
        return WebPage(
            "Mounts", place: "mounts",
            """
            <div class="bar"><h1>Mounts</h1>\(new)</div><div id="list" data-live data-refresh="3000">\(rows.isEmpty ? Layout.empty("Nothing is mounted", "<code>lakefuse mount lakefs://repository/branch DIRECTORY</code> shows a branch as a folder.") : Layout.table("Mounts", columns, rows))</div>
            """)
    }

    /// What is in the mount's files and not on the branch.
    private static func pending(_ mount: API.Mount) -> HTML? {
        guard mount.readOnly != true else { return nil }
        var parts: [HTML] = []
        if let files = mount.unpublishedFiles, files > 0 {
            parts.append("\(Show.grouped(files)) (\(Show.size(mount.unpublishedBytes ?? 0)))")
        }
        if let open = mount.openFiles, open > 0 { parts.append("\(Show.grouped(open)) open") }
        return parts.isEmpty ? "<span class=\"faint\">nothing</span>" : "\(parts.first) \(parts.dropFirst().first)"
    }
}
