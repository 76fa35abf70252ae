import Foundations

/// A Parquet file as pages show it.
struct ParquetTable {
    struct Summary: Sendable {
        struct Column: Sendable { let name: String, type: String, nulls: String, range: String }
        let rowCount: Int64
        let columns: [Column]
    }
    init(_ file: ObjectFile) throws { throw PageError(501, "not yet") }
    func page(_ query: TableQuery) throws -> TablePage { TablePage() }
    var facts: HTML { "" }
    var summary: Summary { Summary(rowCount: 0, columns: []) }
}
