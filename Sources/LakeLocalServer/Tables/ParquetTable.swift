import Foundations

/// A Parquet file as pages show it: read by ranges, a page of its rows at a time.
struct ParquetTable {
    /// What two files are compared by.
    struct Summary: Sendable {
        struct Column: Sendable {
            let name: String, type: String
            /// How many values are null, and between which the others lie; empty where the file does not tell.
            let nulls: String, range: String
        }
        let rowCount: Int64
        let columns: [Column]
    }

    private let file: ParquetFile

    /// - Throws: `PageError` that says what is wrong with the file.
    init(_ object: ObjectFile) throws {
        file = try Self.told {
            try ParquetFile(
                size: object.size, read: { offset, count in try object.bytes(offset..<offset + Int64(count)) })
        }
    }

    private static func told<Result>(_ work: () throws -> Result) throws -> Result {
        do { return try work() } catch let error as ParquetError { throw PageError(400, error.message) }
    }

    /// Rows that a filter looks at for one page.
    private static let mostLooked: Int64 = 20_000
    private static let step = 500

    func page(_ query: TableQuery) throws -> TablePage {
        var page = TablePage()
        page.rowCount = file.rowCount
        let fields = Array(file.fields.prefix(TablePage.mostColumns))
        page.columns = fields.map { .init(name: $0.name, type: $0.type) }
        if file.fields.count > fields.count { page.note = "The first \(fields.count) columns are shown." }
        let names = file.fields.count > fields.count ? fields.map(\.name) : nil
        var next = max(0, query.start)
        let end = next + Self.mostLooked
        while page.rows.count < TablePage.rowsPerPage, next < file.rowCount, next < end {
            let wanted = query.filter.isEmpty ? TablePage.rowsPerPage - page.rows.count : Self.step
            let rows = try Self.told { try file.rows(from: next, count: wanted, columns: names) }
            guard !rows.isEmpty else { break }
            for row in rows {
                guard page.rows.count < TablePage.rowsPerPage else { break }
                next += 1
                let texts = row.map(Self.text)
                if query.fits(texts) { page.rows.append(texts) }
            }
        }
        if next < file.rowCount { page.next = next }
        if !query.filter.isEmpty, next >= end, next < file.rowCount {
            page.note = "\(Show.grouped(Self.mostLooked)) rows were searched for this page."
        }
        return page
    }

    private static func text(_ cell: ParquetFile.Cell) -> String? {
        switch cell {
        case .null: nil
        case .text(let text), .number(let text), .nested(let text): TablePage.cut(text)
        case .boolean(let flag): flag ? "true" : "false"
        case .binary(let prefix, let count): "0x\(prefix)" + (count * 2 > prefix.utf8.count ? "… (\(count) bytes)" : "")
        }
    }

    /// The schema, for below the rows.
    var facts: HTML {
        let rows = file.columns.prefix(TablePage.mostColumns).map { column -> HTML in
            let range = Self.range(column)
            return
                "<tr><th scope=\"row\">\(column.name)</th><td>\(column.type)</td><td>\(column.isNullable ? "yes" : "no")</td><td class=\"number\">\(column.nullCount.map { Show.grouped($0) } ?? "")</td><td>\(range)</td><td class=\"number\">\(Show.size(column.compressedBytes))</td><td>\(column.compressions.joined(separator: ", "))</td></tr>"
        }
        return """
            <details class="card"><summary>Schema: \(Show.count(file.columns.count, "column")), \(Show.count(file.rowGroupCount, "row group"))</summary><p class="faint">\(file.createdBy)</p>
            <div class="scroll" tabindex="0" role="region" aria-label="Schema"><table class="cells"><thead><tr><th>Column</th><th>Type</th><th>Nullable</th><th class="number">Nulls</th><th>From, to</th><th class="number">Stored</th><th>Compression</th></tr></thead><tbody>\(Array(rows))</tbody></table></div></details>
            """
    }

    private static func range(_ column: ParquetFile.Column) -> String {
        guard let least = column.minimum, let most = column.maximum else { return "" }
        return "\(TablePage.cut(least)) … \(TablePage.cut(most))"
    }

    var summary: Summary {
        Summary(
            rowCount: file.rowCount,
            columns: file.columns.map {
                Summary.Column(
                    name: $0.name, type: $0.type, nulls: $0.nullCount.map { Show.grouped($0) } ?? "",
                    range: Self.range($0))
            })
    }
}
