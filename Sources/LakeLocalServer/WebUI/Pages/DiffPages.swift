import Foundations
import LakeAPI
import Versioning

/// What is different in one object between two refs.
enum DiffPages {
    private static let mostText: Int64 = 512 << 10, mostRows: Int64 = 4 << 20
    /// Lines around a change.
    private static let context = 3, mostLines = 2000, mostRowsShown = 500

    static func object(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let (left, right) = (visit.text("left") ?? "", visit.text("right") ?? "")
        let path = visit.key("path")
        let before = try ObjectFile.find(path, at: left, visit)
        let after = try ObjectFile.find(path, at: right, visit)
        let branch = right.contains(where: { "@~^$".contains($0) }) ? nil : right
        return WebPage(
            "\(String(decoding: path.bytes.split(separator: 0x2f).last ?? [], as: UTF8.self)) · difference", id,
            left == "\(right)@" ? .changes : .compare, ref: branch,
            """
            <h1>\(Show.name(path))</h1><p class="faint">Between \(side(left, before, visit)) and \(side(right, after, visit)).</p>
            \(view(before, after, left, right, visit))
            """)
    }

    private static func side(_ ref: String, _ file: ObjectFile?, _ visit: Visit) -> HTML {
        let short = ref.count == 64 ? Show.short(ref) : ref
        guard let file else { return "<strong>\(short)</strong> (not there)" }
        return
            "<a href=\"\(Link(visit.repository, "object", query: ["ref": Key(ref), "path": file.path]))\">\(short)</a> (\(Show.sizeText(file.size)))"
    }

    private static func view(
        _ before: ObjectFile?, _ after: ObjectFile?, _ left: String, _ right: String, _ visit: Visit
    ) -> HTML {
        guard let either = after ?? before else {
            return Layout.empty("Not there", "Neither of them has an object of this path.")
        }
        if let before, let after, before.entry.eTag == after.entry.eTag, before.size == after.size {
            return Layout.empty("The same bytes", "Only its metadata, type or time is different.")
        }
        do {
            switch try either.kind() {
            case .image: return images(before, after, left, right, visit)
            case .delimited: return try rows(before, after)
            case .parquet: return try parquet(before, after)
            case .text, .markdown, .notebook, .map, .lines: return try texts(before, after)
            case .binary, .pdf, .video: return sizes(before, after)
            }
        } catch {
            return
                "<p class=\"error\"><span class=\"reason\">\(PageError(error).message)</span></p>\(sizes(before, after))"
        }
    }

    private static func sizes(_ before: ObjectFile?, _ after: ObjectFile?) -> HTML {
        func row(_ name: String, _ file: ObjectFile?) -> HTML {
            "<tr><th scope=\"row\">\(name)</th><td class=\"number\">\(file.map { Show.size($0.size) })</td><td><code>\(file?.entry.eTag ?? "–")</code></td><td>\(file.map { Show.time($0.entry.lastModified) })</td></tr>"
        }
        return
            "<table><thead><tr><th>Side</th><th class=\"number\">Size</th><th>Checksum</th><th>Modified</th></tr></thead><tbody>\(row("before", before))\(row("after", after))</tbody></table>"
    }

    private static func images(
        _ before: ObjectFile?, _ after: ObjectFile?, _ left: String, _ right: String, _ visit: Visit
    ) -> HTML {
        func picture(_ file: ObjectFile?, _ ref: String, _ name: String) -> HTML {
            guard let file else { return "<figure><figcaption>\(name): not there</figcaption></figure>" }
            return
                "<figure><img src=\"\(Link(visit.repository, "raw", query: ["ref": Key(ref), "path": file.path]))\" alt=\"\(name)\"><figcaption>\(name), \(Show.sizeText(file.size))</figcaption></figure>"
        }
        return "<div class=\"sides\">\(picture(before, left, "before"))\(picture(after, right, "after"))</div>"
    }

    // MARK: texts

    private static func lines(_ file: ObjectFile?) throws -> [Substring] {
        guard let file else { return [] }
        guard file.size <= mostText else {
            throw PageError(
                400, "The object has \(Show.sizeText(file.size)): texts up to \(mostText >> 10) KiB are compared here.")
        }
        return ObjectFile.lines(String(decoding: try file.bytes(0..<file.size), as: UTF8.self))
    }

    private static func texts(_ before: ObjectFile?, _ after: ObjectFile?) throws -> HTML {
        let (old, new) = (try lines(before), try lines(after))
        // Bytes are compared: to a `String` some that differ are alike.
        guard let all = TextDiff.lines(old.map { Array($0.utf8) }, new.map { Array($0.utf8) }) else {
            return Layout.empty("Too different", "The two have too little in common for a comparison by lines.")
        }
        guard all.contains(where: { if case .same = $0 { false } else { true } }) else {
            return Layout.empty("The same lines", "Only how they end is different.")
        }
        var keeps = [Bool](repeating: false, count: all.count)
        for (index, line) in all.enumerated() {
            if case .same = line { continue }
            for near in max(0, index - context)...min(all.count - 1, index + context) { keeps[near] = true }
        }
        var html = HTML()
        var shown = 0
        var isGap = false
        for (index, line) in all.enumerated() {
            guard keeps[index], shown < mostLines else {
                isGap = true
                continue
            }
            if isGap { html += "<tr class=\"gap\"><td colspan=\"3\">⋯</td></tr>" }
            isGap = false
            shown += 1
            switch line {
            case .same(let a, let b):
                html +=
                    "<tr><td class=\"at\">\(a + 1)</td><td class=\"at\">\(b + 1)</td><td><code>\(old[a])</code></td></tr>"
            case .removed(let a):
                html +=
                    "<tr class=\"removed\"><td class=\"at\">\(a + 1)</td><td class=\"at\"></td><td><code><span class=\"hidden\">removed </span>\(old[a])</code></td></tr>"
            case .added(let b):
                html +=
                    "<tr class=\"added\"><td class=\"at\"></td><td class=\"at\">\(b + 1)</td><td><code><span class=\"hidden\">added </span>\(new[b])</code></td></tr>"
            }
        }
        let (added, removed) = all.reduce((0, 0)) { count, line in
            switch line {
            case .added: (count.0 + 1, count.1)
            case .removed: (count.0, count.1 + 1)
            case .same: count
            }
        }
        return """
            <p class="counts"><span class="badge added">\(Show.count(added, "line")) added</span> <span class="badge removed">\(Show.count(removed, "line")) removed</span></p>
            <div class="scroll" tabindex="0" role="region" aria-label="Differences"><table class="diff"><tbody>\(html)</tbody></table></div>\(shown >= mostLines ? "<p class=\"faint\">The first \(mostLines) lines are shown.</p>" as HTML : nil)
            """
    }

    // MARK: tables

    private struct Rows {
        var header: [String] = []
        var rows: [[String]] = []
    }

    private static func read(_ file: ObjectFile?) throws -> Rows? {
        guard let file else { return nil }
        guard file.size <= mostRows else {
            throw PageError(
                400, "The table has \(Show.sizeText(file.size)): up to \(mostRows >> 20) MiB are compared here.")
        }
        let bytes = try file.bytes(0..<file.size)
        let delimiter = LineTable.delimiter(of: bytes)
        let found = LineTable.rows(bytes[...], delimiter, isWhole: true, most: .max).map(\.cells)
        return Rows(header: found.first ?? [], rows: Array(found.dropFirst()))
    }

    /// The first column, or the first two…, whose cells name every row of both sides.
    private static func key(_ sides: [Rows]) -> Int? {
        guard let width = sides.map(\.header.count).min(), width > 0 else { return nil }
        for count in 1...min(3, width)
        where sides.allSatisfy({ side in
            Set(side.rows.map { $0.prefix(count).joined(separator: "\u{1f}") }).count == side.rows.count
        }) { return count }
        return nil
    }

    private static func rows(_ before: ObjectFile?, _ after: ObjectFile?) throws -> HTML {
        let (old, new) = (try read(before) ?? Rows(), try read(after) ?? Rows())
        let sides = [old, new].filter { !$0.header.isEmpty }
        guard sides.count < 2 || old.header.prefix(1) == new.header.prefix(1), let count = key(sides) else {
            return
                "<p class=\"faint\">No column names the rows of both sides: they are compared as lines.</p>\(try texts(before, after))"
        }
        func keyed(_ side: Rows) -> [String: [String]] {
            Dictionary(side.rows.map { ($0.prefix(count).joined(separator: "\u{1f}"), $0) }) { $1 }
        }
        let (oldRows, newRows) = (keyed(old), keyed(new))
        let header = new.header.isEmpty ? old.header : new.header
        let oldPlace = Dictionary(old.header.enumerated().map { ($1, $0) }) { first, _ in first }
        let order =
            new.rows.map { $0.prefix(count).joined(separator: "\u{1f}") }
            + old.rows.map { $0.prefix(count).joined(separator: "\u{1f}") }.filter { newRows[$0] == nil }
        var html = HTML()
        var (added, removed, changed, shown) = (0, 0, 0, 0)
        for name in order {
            let (a, b) = (oldRows[name], newRows[name])
            func cells(_ row: [String]) -> HTML { "\(row.map { "<td>\(TablePage.cut($0))</td>" as HTML })" }
            var row: HTML?
            switch (a, b) {
            case (nil, let b?):
                added += 1
                if shown < mostRowsShown { row = "<tr class=\"added\"><td>added</td>\(cells(b))</tr>" }
            case (let a?, nil):
                removed += 1
                if shown < mostRowsShown { row = "<tr class=\"removed\"><td>removed</td>\(cells(a))</tr>" }
            case (let a?, let b?):
                guard a != b || old.header != new.header else { continue }
                changed += 1
                guard shown < mostRowsShown else { continue }
                let parts = header.indices.map { index -> HTML in
                    let now = index < b.count ? b[index] : ""
                    let then = oldPlace[header[index]].flatMap { $0 < a.count ? a[$0] : nil } ?? ""
                    return now == then
                        ? "<td>\(TablePage.cut(now))</td>"
                        : "<td class=\"changed\"><del>\(TablePage.cut(then))</del> <ins>\(TablePage.cut(now))</ins></td>"
                }
                row = "<tr><td>changed</td>\(parts)</tr>"
            default: continue
            }
            if shown < mostRowsShown, let row {
                html += row
                shown += 1
            }
        }
        let columns: HTML? =
            old.header == new.header || sides.count < 2
            ? nil : "<p>Columns were <code>\(old.header.joined(separator: ", "))</code>.</p>"
        return """
            <p class="counts"><span class="badge added">\(Show.count(added, "row")) added</span> <span class="badge changed">\(Show.count(changed, "row")) changed</span> <span class="badge removed">\(Show.count(removed, "row")) removed</span> <span class="faint">by \(header.prefix(count).joined(separator: ", "))</span></p>\(columns)
            <div class="scroll" tabindex="0" role="region" aria-label="Differences"><table class="cells"><thead><tr><th>Change</th>\(header.map { "<th>\($0)</th>" as HTML })</tr></thead><tbody>\(html)</tbody></table></div>\(shown < added + removed + changed ? "<p class=\"faint\">The first 500 are shown.</p>" as HTML : nil)
            """
    }

    private static func parquet(_ before: ObjectFile?, _ after: ObjectFile?) throws -> HTML {
        let sides = try [before, after].map { try $0.map { try ParquetTable($0).summary } }
        let (old, new) = (sides[0], sides[1])
        var names = (old?.columns ?? []).map(\.name)
        names += (new?.columns ?? []).map(\.name).filter { !names.contains($0) }
        let rows = names.map { name -> HTML in
            let (a, b) = (old?.columns.first { $0.name == name }, new?.columns.first { $0.name == name })
            func cell(_ a: String?, _ b: String?) -> HTML {
                a == b
                    ? "<td>\(b ?? "")</td>"
                    : "<td class=\"changed\">\(a.map { "<del>\($0)</del> " as HTML })\(b.map { "<ins>\($0)</ins>" as HTML })</td>"
            }
            return
                "<tr><th scope=\"row\">\(name)</th>\(cell(a?.type, b?.type))\(cell(a?.nulls, b?.nulls))\(cell(a?.range, b?.range))</tr>"
        }
        func count(_ summary: ParquetTable.Summary?) -> HTML {
            summary.map { "\(Show.grouped($0.rowCount))" } ?? "none"
        }
        return """
            <p class="counts">Rows: <del>\(count(old))</del> <ins>\(count(new))</ins></p>
            <div class="scroll" tabindex="0" role="region" aria-label="Columns"><table class="cells"><thead><tr><th>Column</th><th>Type</th><th>Nulls</th><th>From, to</th></tr></thead><tbody>\(rows)</tbody></table></div>
            """
    }
}
