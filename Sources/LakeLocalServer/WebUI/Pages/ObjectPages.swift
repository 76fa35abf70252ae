import Foundations
import LakeAPI
import Transport
import Versioning

/// One object of a ref, shown as what it is.
enum ObjectPages {
    static let routes: [WebRoute] = [
        .page("object", "~/object") { visit in try object(visit) },
        .part("object.raw", "~/raw") { visit in try raw(visit) },
    ]

    /// Bytes of a text, and of what else is read at once.
    private static let pieceBytes: Int64 = 256 << 10
    /// Lines of a text on a page.
    private static let mostLines = 3000
    private static let mostPictureBytes: Int64 = 32 << 20, mostWholeBytes: Int64 = 4 << 20

    private static func object(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let ref = try DataPages.ref(visit)
        let path = visit.key("path")
        try visit.require(.object("ReadObject", id, path))
        let resolved = try visit.catalog.resolve(ref, in: id)
        guard let entry = try visit.catalog.find(path, at: resolved) else {
            // It may be a folder whose slash got lost.
            let folder = Key(path.bytes + [0x2f])
            if try visit.may(.listObjects, [.repository: id.text, .ref: ref])
                && visit.catalog.hasObjects(under: folder, at: resolved)
            {
                throw Elsewhere(Link(id, "objects", query: ["ref": Key(ref), "path": folder]))
            }
            throw LakeError.notFound(.object, path)
        }
        let file = try ObjectFile(path, entry, in: resolved.repository, visit)
        let view = shown(file, ref, visit)
        let download = Link(["api", "v1", "repositories", id.text, "refs", ref, "objects"], ["path": path])
        let isBranch = resolved.branch != nil
        let delete: HTML? =
            isBranch && visit.may(.object("DeleteObject", id, path))
            ? Layout.button(
                "Delete", to: Link(id, "objects", "delete"), visit,
                fields: [
                    "ref": ref, "path": URIEncoding.encode(path.bytes),
                    "folder": URIEncoding.encode(folder(of: path).bytes),
                ],
                kind: "danger", asks: "Delete this object? It stays in the last commit.") : nil
        return WebPage(
            "\(file.name) · \(id)", id, .objects, ref: ref, isLive: isBranch,
            """
            <h1 class="hidden">\(file.name)</h1><div class="bar">\(RepositoryPages.picker(visit, ref, keeping: ["path": path]))\(DataPages.crumbs(id, ref, path))
            <div class="row">\(DataPages.history(id, ref, path))<a class="button" href="\(download)" download="\(file.name)">Download</a>\(delete)</div></div>
            <div id="object" data-live><dl class="facts"><div><dt>Size</dt><dd>\(Show.size(entry.size))</dd></div><div><dt>Modified</dt><dd>\(Show.time(entry.lastModified))</dd></div><div><dt>Type</dt><dd>\(entry.shownContentType)</dd></div><div><dt>Checksum</dt><dd><code>\(entry.eTag)</code></dd></div>\(metadata(entry))</dl>
            <section class="view" aria-label="Content">\(view)</section></div>\(question(visit, file, ref))\(DataPages.addresses(visit, ref, path, isFolder: false))
            """)
    }

    private static func folder(of path: Key) -> Key {
        Key(Array(path.bytes.prefix((path.bytes.lastIndex(of: 0x2f) ?? -1) + 1)))
    }

    private static func metadata(_ entry: Entry) -> HTML {
        let shown = ObjectFacts.shown(entry.metadata).sorted { $0.key < $1.key }
        return "\(shown.map { "<div><dt>\($0.key)</dt><dd>\(Show.name($0.value))</dd></div>" as HTML })"
    }

    /// The content, or why it is not shown.
    private static func shown(_ file: ObjectFile, _ ref: String, _ visit: Visit) -> HTML {
        do { return try view(file, ref, visit) } catch {
            let reason = PageError(error).message
            let bytes = try? hex(file, visit)  // The reason is told in its place.
            return "<p class=\"error\"><span class=\"reason\">\(reason)</span></p>\(bytes)"
        }
    }

    private static func view(_ file: ObjectFile, _ ref: String, _ visit: Visit) throws -> HTML {
        guard file.size > 0 else { return Layout.empty("An empty object", "It has no bytes.") }
        let raw = Link(visit.repository, "raw", query: ["ref": Key(ref), "path": file.path])
        switch try file.kind() {
        case .image:
            guard file.size <= mostPictureBytes else {
                throw PageError(
                    400, "The picture has \(Show.sizeText(file.size)): up to \(mostPictureBytes >> 20) MiB are shown.")
            }
            return "<p class=\"picture\"><img src=\"\(raw)\" alt=\"\(file.name)\"></p>"
        case .video: return "<video controls preload=\"metadata\" src=\"\(raw)\"></video>"
        case .pdf:
            return
                "<p><a class=\"button\" href=\"\(raw)\">Open the document by itself</a></p><object class=\"document\" aria-label=\"\(file.name)\" data=\"\(raw)\" type=\"application/pdf\"><p>This browser shows no documents within pages.</p></object>"
        case .markdown:
            let text = try text(file, visit)
            guard file.size <= pieceBytes, visit.text("as") != "text" else { return text }
            return
                "<p class=\"views\"><a href=\"\(self.here(visit).with("as", "text"))\">Source</a></p><div class=\"card prose\">\(Markdown.html(try file.bytes(0..<file.size)))</div>"
        case .notebook:
            guard file.size <= mostWholeBytes, visit.text("as") != "text" else { return try text(file, visit) }
            return try Notebook.html(try file.bytes(0..<file.size))
        case .map:
            guard file.size <= mostWholeBytes, visit.text("as") != "text" else { return try text(file, visit) }
            return "\(try GeoMap.html(try file.bytes(0..<file.size)))\(try text(file, visit))"
        case .delimited, .lines, .parquet: return try table(file, ref, visit)
        case .text: return try text(file, visit)
        case .binary: return try hex(file, visit)
        }
    }

    /// The page's own address without where in the object it begins.
    private static func here(_ visit: Visit) -> Link {
        Link(visit.repository, "object", query: ["ref": visit.text("ref").map { Key($0) }, "path": visit.key("path")])
    }

    /// Where the part of an object begins that is asked for.
    private static func start(_ visit: Visit, in file: ObjectFile) -> Int64 {
        min(max(0, Int64(visit.text("at") ?? "") ?? 0), file.size)
    }

    private static func pages(_ visit: Visit, _ start: Int64, next: Int64?, filter: String = "") -> HTML? {
        guard start > 0 || next != nil else { return nil }
        let here = here(visit).with("filter", filter.isEmpty ? nil : Key(filter))
        return """
            <nav class="pages" aria-label="Parts of the object">\(start > 0 ? "<a href=\"\(here)\">Beginning</a>" as HTML : nil)\(next.map { "<a rel=\"next\" href=\"\(here.with("at", Key("\($0)")))\">Next part</a>" as HTML })</nav>
            """
    }

    private static func text(_ file: ObjectFile, _ visit: Visit) throws -> HTML {
        let start = start(visit, in: file)
        var bytes = try file.bytes(start..<start + pieceBytes)[...]
        let isLast = start + Int64(bytes.count) >= file.size
        // The next part begins with a line, where there are lines.
        var count = 0
        let end = isLast ? nil : bytes.lastIndex(of: 0x0a)
        for index in bytes.indices where bytes[index] == 0x0a {
            count += 1
            if count == mostLines || index == end {
                bytes = bytes[...index]
                break
            }
        }
        let next = start + Int64(bytes.count) < file.size ? start + Int64(bytes.count) : nil
        if bytes.last == 0x0a { bytes.removeLast() }
        let lines = Highlight.lines(String(decoding: bytes, as: UTF8.self), file.language)
        let where_: HTML? =
            start > 0 || next != nil
            ? "<p class=\"faint\">From byte \(Show.grouped(start)) of \(Show.grouped(file.size)).</p>" : nil
        return """
            \(where_)<div class="scroll" tabindex="0" role="region" aria-label="Text"><pre class="code\(" numbered", if: start == 0)"><code>\(lines.map { "<span class=\"line\">\($0)\n</span>" as HTML })</code></pre></div>\(pages(visit, start, next: next))
            """
    }

    private static func hex(_ file: ObjectFile, _ visit: Visit) throws -> HTML {
        let start = start(visit, in: file) & ~15
        let bytes = try file.bytes(start..<start + 4096)
        let next = start + Int64(bytes.count) < file.size ? start + Int64(bytes.count) : nil
        var text = ""
        for row in stride(from: 0, to: bytes.count, by: 16) {
            let part = Array(bytes[row..<min(row + 16, bytes.count)])
            let offset = String(start + Int64(row), radix: 16)
            text += String(repeating: "0", count: max(0, 8 - offset.count)) + offset + "  "
            let digits = part.map { Hex.text([$0]) }.joined(separator: " ")
            text += digits + String(repeating: " ", count: 50 - digits.count)
            text += String(decoding: part.map { (0x20..<0x7f).contains($0) ? $0 : 0x2e }, as: UTF8.self) + "\n"
        }
        return
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Bytes\"><pre class=\"code\"><code>\(text)</code></pre></div>\(pages(visit, start, next: next))"
    }

    // MARK: tables

    private static func table(_ file: ObjectFile, _ ref: String, _ visit: Visit) throws -> HTML {
        var query = TableQuery()
        query.start = start(visit, in: file)
        query.filter = visit.text("filter") ?? ""
        let page: TablePage
        var facts: HTML?
        if try file.kind() == .parquet {
            let parquet = try ParquetTable(file)
            page = try parquet.page(query)
            facts = parquet.facts
        } else {
            page = try LineTable(size: file.size, format: file.kind() == .lines ? .json : .delimited) {
                try file.bytes($0)
            }.page(query)
        }
        let uri = "s3://\(visit.repository)/\(ref)/\(file.path.description)"
        let reader = try SQLProgram.reader(file.kind()) ?? "read_csv"
        let sql = "select * from \(reader)('\(uri.replacing("'", with: "''"))') limit 100;"
        return """
            <form class="search" method="get" role="search"><input type="hidden" name="ref" value="\(ref)">\(RepositoryPages.kept("path", file.path))<label><span class="hidden">Rows that hold</span><input type="search" name="filter" value="\(query.filter)" placeholder="Rows that hold…"></label><button>Filter</button> <span class="faint">\(page.rowCount.map { Show.grouped($0) + " rows" } ?? "")</span></form>
            \(page.note.map { "<p class=\"faint\">\($0)</p>" as HTML })
            \(cells(page))
            \(page.rows.isEmpty ? "<p class=\"faint\">No row\(" holds that", if: !query.filter.isEmpty) here.</p>" as HTML : nil)\(pages(visit, query.start, next: page.next, filter: query.filter))\(facts)
            <details class="card"><summary>Ask in DuckDB</summary><dl class="addresses">\(Show.copied("In DuckDB", sql))</dl></details>
            """
    }

    private static func cells(_ page: TablePage) -> HTML {
        let heads = page.columns.map { "<th scope=\"col\">\($0.name)<small>\($0.type)</small></th>" as HTML }
        let rows = page.rows.map { row -> HTML in
            let cells = page.columns.indices.map { index -> HTML in
                guard index < row.count, let cell = row[index] else { return "<td class=\"faint\">null</td>" }
                let isNumber =
                    ["integer", "number"].contains(page.columns[index].type)
                    || page.columns[index].type.hasPrefix("int")
                    || ["float", "double"].contains(page.columns[index].type)
                return "<td\(" class=\"number\"", if: isNumber)>\(cell)</td>"
            }
            return "<tr>\(cells)</tr>"
        }
        return """
            <div class="scroll" tabindex="0" role="region" aria-label="Rows"><table class="cells"><thead><tr>\(heads)</tr></thead><tbody>\(rows)</tbody></table></div>
            """
    }

    /// The box for a question in SQL, with the answer to what was asked.
    private static func question(_ visit: Visit, _ file: ObjectFile, _ ref: String) -> HTML? {
        // A page that looks whether something changed does not ask again.
        guard SQLProgram.path != nil, visit.request.header(Visit.part) == nil, file.size > 0,
            let kind = try? file.kind(), SQLProgram.reader(kind) != nil  // What cannot be read is told above.
        else { return nil }
        let asked = visit.text("sql")
        var answer: HTML?
        if let asked {
            do {
                let page = try SQLProgram.answer(asked, about: file)
                answer =
                    "\(page.note.map { "<p class=\"faint\">\($0)</p>" as HTML })\(page.rows.isEmpty ? "<p class=\"faint\">No row.</p>" : cells(page))"
            } catch {
                answer =
                    "<pre class=\"error output\" tabindex=\"0\" role=\"group\" aria-label=\"What is wrong\">\(PageError(error).message)</pre>"
            }
        }
        return """
            <section class="card" id="sql" aria-label="SQL"><form method="get" action="#sql"><input type="hidden" name="ref" value="\(ref)">\(RepositoryPages.kept("path", file.path))<label>Ask with SQL <textarea name="sql" rows="3" spellcheck="false" required maxlength="\(SQLProgram.longestQuestion)">\(asked ?? "select count(*) from object")</textarea></label><p class="row"><button>Ask</button> <span class="faint">The object is the table <code>object</code>. DuckDB answers, for up to 20 seconds.</span></p></form>\(answer)</section>
            """
    }

    // MARK: as it is

    /// Types that pages show in place, by suffix: nothing of them runs, see the policies.
    private static let types: [String: String] = [
        "png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp",
        "svg": "image/svg+xml", "avif": "image/avif", "ico": "image/x-icon", "bmp": "image/bmp",
        "pdf": "application/pdf", "mp4": "video/mp4", "webm": "video/webm",
    ]

    /// An object's bytes with a type by which it is shown. What it holds can do nothing: it has no scripts, no origin of
    /// its own, and loads nothing.
    private static func raw(_ visit: Visit) throws -> Response {
        let path = visit.key("path")
        let ref = try DataPages.ref(visit)
        var response = try visit.answer(.getObject, [.repository: visit.repository.text, .ref: ref], ["path": path])
        let suffix = path.description.split(separator: ".").last.map { $0.lowercased() } ?? ""
        guard
            let type = types[suffix]
                ?? types.values.first(where: { type in
                    response.headers.contains { $0.name == "Content-Type" && $0.value == type }
                })
        else {
            throw PageError(400, "This is shown as text only: download it to see it as it is.")
        }
        let kept: Set = ["ETag", "Last-Modified", "Content-Range", "Accept-Ranges"]
        // A browser's reader of documents runs in a process of its own, and not in a sandbox of ours.
        let policy =
            type == "application/pdf"
            ? "default-src 'none'; object-src 'self'; plugin-types application/pdf"
            : "sandbox; default-src 'none'; style-src 'unsafe-inline'"
        response.headers =
            response.headers.filter { kept.contains($0.name) } + [
                ("Content-Type", type), ("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", policy),
                ("Content-Disposition", "inline"), ("Cache-Control", "private, no-cache"),
            ]
        return response
    }
}
