/// A Parquet file that is read by ranges: never the whole of it. Source: apache/parquet-format.
///
///     file         PAR1 | row group … | FileMetaData | its length: 4 bytes, little-endian | PAR1
///     row group    some rows: a column chunk for each leaf of the schema
///     chunk        dictionary page, if any | data page …
///     page         PageHeader | levels, and values encoded and compressed
///
/// `ParquetMetadata` reads the end, `ParquetChunkReader` walks the pages of a chunk, `ParquetPage` takes one apart,
/// `ParquetValueReader` decodes its values, `ParquetAssembly` makes cells of them. Nothing is changed after `init`.
struct ParquetFile {
    /// A leaf of the schema, and what all of its chunks tell together.
    struct Column: Equatable, Sendable {
        /// Names of the groups that it lies in and its own, with dots between them.
        let name: String
        /// `INT32`, `BYTE_ARRAY`…
        let physicalType: String
        /// `string`, `timestamp[us, UTC]`, `decimal(10,2)`…
        let type: String
        /// Whether it, or a group that it lies in, may be absent.
        let isNullable: Bool
        let compressions: [String]
        let encodings: [String]
        let compressedBytes: Int64
        let bytes: Int64
        /// Nil if the file does not tell.
        let nullCount: Int64?
        /// As text; nil if the file does not tell, or not what could be compared.
        let minimum: String?
        let maximum: String?
    }

    /// A field of a row: a leaf or a group of them.
    struct Field: Equatable, Sendable {
        let name: String
        /// As a column's, or `list<…>`, `map<…>`, `struct<…>`.
        let type: String
        let isNullable: Bool
    }

    /// A field's value in a row.
    enum Cell: Equatable, Sendable {
        case null
        /// Cut at the limit of characters, with an ellipsis then.
        case text(String)
        /// Digits, or `inf`, `-inf`, `nan`: not all numbers fit into one type.
        case number(String)
        case boolean(Bool)
        /// The first bytes in hexadecimal, and how many there are in all.
        case binary(prefix: String, byteCount: Int)
        /// JSON; no longer valid if it was cut at the limit of characters, with an ellipsis then.
        case nested(String)
    }

    let rowCount: Int64
    let rowGroupCount: Int
    let createdBy: String
    /// The file's own metadata; values cut.
    let keyValues: [(key: String, value: String)]
    let columns: [Column]
    /// What the cells of a row are, if no columns are chosen.
    let fields: [Field]

    private let source: ParquetSource
    private let limits: Limits
    private let schema: ParquetSchema
    private let rowGroups: [ParquetMetadata.RowGroup]

    /// Bytes of the end that are read first: the metadata of most files is in them.
    private static let endBytes = 64 << 10

    /// - Parameter read: gives exactly the bytes [offset, offset + count) of the file, or throws.
    /// - Throws: `ParquetError` if this is no Parquet file, or one that is refused; what `read` throws.
    init(size: Int64, read: @escaping (Int64, Int) throws -> [UInt8], limits: Limits = Limits()) throws {
        source = ParquetSource(size: size, read: read)
        self.limits = limits
        guard let fileBytes = Int(exactly: size), fileBytes >= 12 else {
            throw ParquetError("a file of \(size) bytes is no Parquet file")
        }
        let end = try source.bytes(
            at: Int64(max(0, fileBytes - Self.endBytes)), count: min(fileBytes, Self.endBytes), nil)
        let bytes = try ParquetFooter.size(
            tail: end.suffix(ParquetFooter.tailBytes), fileBytes: fileBytes,
            mostBytes: min(limits.footerBytes, ParquetFooter.mostBytes))
        let dataEnd = size - Int64(ParquetFooter.tailBytes) - Int64(bytes)
        let known = end.dropLast(ParquetFooter.tailBytes)
        let metadata = try ParquetMetadata(
            bytes <= known.count ? Array(known.suffix(bytes)) : try source.bytes(at: dataEnd, count: bytes, nil),
            dataEnd: dataEnd, limits: limits)
        let schema = metadata.schema
        self.schema = schema
        rowCount = metadata.rowCount
        rowGroups = metadata.rowGroups
        rowGroupCount = metadata.rowGroups.count
        createdBy = metadata.createdBy
        keyValues = metadata.keyValues
        fields = schema.fields.map { index in
            let node = schema.nodes[index]
            return Field(name: node.name, type: schema.typeText(index), isNullable: node.repetition == .optional)
        }
        columns = zip(schema.leaves, metadata.summaries).map { index, summary in
            Self.column(schema, index, summary, limits)
        }
    }

    private static func column(
        _ schema: ParquetSchema, _ index: Int, _ summary: ParquetMetadata.Summary, _ limits: Limits
    ) -> Column {
        let node = schema.nodes[index]
        var short = limits
        short.characters = min(100, limits.characters)
        func text(_ bound: ParquetBound) -> String? {
            switch bound.value?.cell(node, limits: short) {
            case nil, .null: nil
            case .text(let text), .number(let text), .nested(let text): text
            case .boolean(let value): value ? "true" : "false"
            case .binary(let prefix, let count):
                "0x" + prefix + (prefix.utf8.count < 2 * count ? "…" : "")
            }
        }
        return Column(
            name: node.path, physicalType: node.physical?.name ?? "", type: schema.typeText(index),
            isNullable: node.definition > node.repetitionLevel,
            compressions: summary.codecs.sorted().map(ParquetCompression.name),
            encodings: summary.encodings.sorted().map(ParquetEncoding.name),
            compressedBytes: summary.compressedBytes, bytes: summary.bytes, nullCount: summary.nullCount,
            minimum: text(summary.minimum), maximum: text(summary.maximum))
    }

    /// Rows as people read them: for each field one cell. Fewer than `count` at the end of the file.
    /// - Parameter count: at most the limit's.
    /// - Parameter columns: names of fields, in the order wanted; nil for all.
    /// - Throws: `ParquetError` if they cannot be read, or would take more than the limits; what `read` throws.
    func rows(from first: Int64, count: Int, columns: [String]? = nil) throws -> [[Cell]] {
        guard first >= 0, count >= 0 else { throw ParquetError("rows are counted from 0") }
        guard count <= limits.rows else { throw ParquetError("\(limits.rows) rows at most are read at once") }
        let chosen = try columns.map { try $0.map(index(ofField:)) } ?? schema.fields
        guard first < rowCount else { return [] }
        let rows = first..<first + min(Int64(count), rowCount - first)
        let budget = ParquetBudget(limits)
        var result = [[Cell]](repeating: [], count: rows.count)
        for field in chosen {
            let cells = try read(field, rows, budget)
            for (row, cell) in cells.enumerated() {
                try budget.spend(decodedBytes: Self.bytes(cell))
                result[row].append(cell)
            }
            budget.releaseHeld()
        }
        return result
    }

    private func index(ofField name: String) throws(ParquetError) -> Int {
        guard let index = schema.fields.first(where: { schema.nodes[$0].name == name }) else {
            throw ParquetError("the Parquet file has no column \(name)")
        }
        return index
    }

    private func read(_ field: Int, _ rows: Range<Int64>, _ budget: ParquetBudget) throws -> [Cell] {
        let leaves = try schema.nodes[field].leaves.map { leaf in
            var result = ParquetLeafRows()
            for group in rowGroups {
                // Ends before it begins if the group has none of the rows.
                let begin = max(rows.lowerBound, group.firstRow) - group.firstRow
                let end = min(rows.upperBound, group.firstRow + group.rowCount) - group.firstRow
                guard begin < end else { continue }
                var reader = try ParquetChunkReader(
                    source, group.chunks[leaf], of: schema.nodes[schema.leaves[leaf]], budget)
                try reader.read(begin..<end, into: &result)
            }
            return result
        }
        var assembly = ParquetAssembly(schema, field: field, leaves: leaves, limits: limits)
        return try (0..<rows.count).map { try assembly.cell(row: $0) }
    }

    /// What a cell takes in memory, about.
    private static func bytes(_ cell: Cell) -> Int {
        switch cell {
        case .null, .boolean: 32
        case .text(let text), .number(let text), .nested(let text), .binary(let text, _): 32 + text.utf8.count
        }
    }
}
