/// What the end of a Parquet file tells of the rest: where each column's chunk of each row group is.
/// Source: parquet.thrift of apache/parquet-format.
///
///     FileMetaData    2 schema   3 rows   4 row groups   5 key-value metadata   6 created by   8 encryption
///     RowGroup        1 column chunks, one for each leaf, in their order   3 rows
///     ColumnChunk     1 path of another file   3 ColumnMetaData   8 encryption
///     ColumnMetaData  1 type   2 encodings   4 codec   5 values   6 bytes   7 compressed bytes
///                     9 data pages' offset   11 dictionary page's offset   12 Statistics
///     Statistics      1 maximum, 2 minimum (deprecated)   3 nulls   5 maximum   6 minimum
struct ParquetMetadata {
    /// One column of one row group: pages that follow one another.
    struct Chunk {
        fileprivate(set) var type: Int64 = -1
        fileprivate(set) var codec: Int64 = 0
        /// Values and nulls, of a list as many as it has items.
        fileprivate(set) var valueCount: Int64 = 0
        fileprivate(set) var bytes: Int64 = 0
        fileprivate(set) var compressedBytes: Int64 = 0
        fileprivate(set) var dataOffset: Int64 = 0
        fileprivate(set) var dictionaryOffset: Int64 = 0
        /// The pages lie in another file, as those of a `_metadata` file do.
        fileprivate(set) var isElsewhere = false
        fileprivate(set) var isEncrypted = false

        /// Where the first page begins. Some writers set the dictionary's offset to 0, or behind the data, if there is none.
        var start: Int64 {
            dictionaryOffset > 0 && dictionaryOffset < dataOffset ? dictionaryOffset : dataOffset
        }
    }

    /// Some rows that lie together.
    struct RowGroup {
        let firstRow: Int64
        let rowCount: Int64
        /// One for each leaf.
        let chunks: [Chunk]
    }

    /// What all chunks of a column tell together.
    struct Summary {
        fileprivate(set) var codecs: Set<Int64> = []
        fileprivate(set) var encodings: Set<Int64> = []
        fileprivate(set) var bytes: Int64 = 0
        fileprivate(set) var compressedBytes: Int64 = 0
        /// Nil if a chunk does not tell.
        fileprivate(set) var nullCount: Int64? = 0
        fileprivate(set) var minimum = ParquetBound(isLower: true)
        fileprivate(set) var maximum = ParquetBound(isLower: false)
    }

    let schema: ParquetSchema
    /// The sum of the row groups'.
    private(set) var rowCount: Int64 = 0
    private(set) var rowGroups: [RowGroup] = []
    /// One for each leaf.
    private(set) var summaries: [Summary]
    private(set) var createdBy = ""
    private(set) var keyValues: [(key: String, value: String)] = []

    /// More than any file holds; sums of rows and of what pages claim to have stay far from overflowing.
    private static let mostRows: Int64 = 1 << 60
    /// Row groups, and column chunks of all of them: 64 MB of memory. Real files of 16 MiB of metadata have a quarter.
    private static let mostChunks = 1_000_000

    /// - Parameter dataEnd: where the metadata begins; no page reaches further.
    init(_ metadata: [UInt8], dataEnd: Int64, limits: ParquetFile.Limits) throws(ParquetError) {
        let unreadable = "the Parquet file's metadata cannot be read"
        var elements: [ParquetSchemaElement] = []
        var declaredRows: Int64?
        var groupsAt: Int?
        var keyValues: [(key: String, value: String)] = []
        var createdBy = ""
        var reader = ThriftReader(metadata)
        do throws(ThriftReader.Malformed) {
            try reader.structure { reader, field, kind throws(ThriftReader.Malformed) in
                switch (field, kind) {
                case (2, ThriftReader.list): try ParquetSchemaElement.append(to: &elements, from: &reader)
                case (3, 4...6): declaredRows = try reader.integer()
                case (4, ThriftReader.list):
                    // Read when the schema is known, wherever that stands.
                    groupsAt = reader.position
                    try reader.skip(kind)
                case (5, ThriftReader.list):
                    try reader.items(of: ThriftReader.structure) { reader throws(ThriftReader.Malformed) in
                        let pair = try Self.keyValue(&reader, limits)
                        if keyValues.count < limits.keyValues { keyValues.append(pair) }
                    }
                case (6, 8): createdBy = ParquetText.shortened(try reader.bytes(), characters: limits.characters)
                default: try reader.skip(kind)
                }
            }
        } catch { throw ParquetError(error, otherwise: unreadable) }
        schema = try ParquetSchema(elements, limits: limits)
        summaries = Array(repeating: Summary(), count: schema.leaves.count)
        self.keyValues = keyValues
        self.createdBy = createdBy
        if let groupsAt {
            reader = ThriftReader(metadata, at: groupsAt)
            do throws(ThriftReader.Malformed) {
                try reader.items(of: ThriftReader.structure) { reader throws(ThriftReader.Malformed) in
                    try readRowGroup(&reader)
                }
            } catch { throw ParquetError(error, otherwise: unreadable) }
        }
        // Some writers declare 0; what the row groups have can be read, whatever else is declared.
        rowCount = rowGroups.last.map { $0.firstRow + $0.rowCount } ?? 0
        guard declaredRows ?? 0 >= 0 else {
            throw ParquetError("the Parquet file claims to have \(declaredRows ?? 0) rows")
        }
        try checkChunks(dataEnd: dataEnd)
    }

    private static func keyValue(
        _ reader: inout ThriftReader, _ limits: ParquetFile.Limits
    ) throws(ThriftReader.Malformed) -> (key: String, value: String) {
        var pair = (key: "", value: "")
        try reader.structure { reader, field, kind throws(ThriftReader.Malformed) in
            guard kind == 8, field == 1 || field == 2 else { return try reader.skip(kind) }
            let text = ParquetText.shortened(try reader.bytes(), characters: limits.keyValueCharacters)
            if field == 1 { pair.key = text } else { pair.value = text }
        }
        return pair
    }

    private mutating func readRowGroup(_ reader: inout ThriftReader) throws(ThriftReader.Malformed) {
        let leafCount = schema.leaves.count
        var chunks: [Chunk] = []
        var rows: Int64 = -1
        // Chunks are read after `summaries` was taken out, since a closure cannot change what it is a part of.
        var summaries = summaries
        self.summaries = []
        let nodes = schema.leaves.map { schema.nodes[$0] }
        try reader.structure { reader, field, kind throws(ThriftReader.Malformed) in
            switch (field, kind) {
            case (1, ThriftReader.list):
                chunks.reserveCapacity(leafCount)
                try reader.items(of: ThriftReader.structure) { reader throws(ThriftReader.Malformed) in
                    guard chunks.count < leafCount else {
                        throw ThriftReader.Malformed(reason: "a row group has more columns than the schema")
                    }
                    let chunk = try Self.chunk(&reader, nodes[chunks.count], &summaries[chunks.count])
                    chunks.append(chunk)
                }
            case (3, 4...6): rows = try reader.integer()
            default: try reader.skip(kind)
            }
        }
        self.summaries = summaries
        guard chunks.count == leafCount else {
            throw ThriftReader.Malformed(reason: "a row group has \(chunks.count) columns, and the schema \(leafCount)")
        }
        guard (rowGroups.count + 1) * max(1, leafCount) <= Self.mostChunks else {
            throw ThriftReader.Malformed(reason: "the Parquet file has more than \(Self.mostChunks) column chunks")
        }
        let firstRow = rowGroups.last.map { $0.firstRow + $0.rowCount } ?? 0
        guard rows >= 0, rows <= Self.mostRows - firstRow else {
            throw ThriftReader.Malformed(reason: "a row group claims to have \(rows) rows")
        }
        rowGroups.append(RowGroup(firstRow: firstRow, rowCount: rows, chunks: chunks))
    }

    private static func chunk(
        _ reader: inout ThriftReader, _ node: ParquetSchema.Node, _ summary: inout Summary
    ) throws(ThriftReader.Malformed) -> Chunk {
        var chunk = Chunk()
        var hasMetadata = false
        var statistics = ParquetStatistics()
        try reader.structure { reader, field, kind throws(ThriftReader.Malformed) in
            switch (field, kind) {
            case (1, 8): chunk.isElsewhere = try !reader.bytes().isEmpty
            case (3, ThriftReader.structure):
                hasMetadata = true
                try reader.structure { reader, field, kind throws(ThriftReader.Malformed) in
                    switch (field, kind) {
                    case (1, 5): chunk.type = try reader.integer()
                    case (2, ThriftReader.list):
                        try reader.items { reader throws(ThriftReader.Malformed) in
                            let encoding = try reader.integer()
                            if summary.encodings.count < 32 { summary.encodings.insert(encoding) }
                        }
                    case (4, 5): chunk.codec = try reader.integer()
                    case (5, 6): chunk.valueCount = try reader.integer()
                    case (6, 6): chunk.bytes = try reader.integer()
                    case (7, 6): chunk.compressedBytes = try reader.integer()
                    case (9, 6): chunk.dataOffset = try reader.integer()
                    case (11, 6): chunk.dictionaryOffset = try reader.integer()
                    case (12, ThriftReader.structure): try statistics.read(from: &reader)
                    default: try reader.skip(kind)
                    }
                }
            case (8, ThriftReader.structure):
                chunk.isEncrypted = true
                try reader.skip(kind)
            default: try reader.skip(kind)
            }
        }
        guard chunk.isEncrypted || (hasMetadata && chunk.type == node.physical.map { Int64($0.rawValue) }) else {
            throw ThriftReader.Malformed(
                reason: "a chunk of the column \(node.path) is not of the column's type, or tells nothing of itself")
        }
        if summary.codecs.count < 32 { summary.codecs.insert(chunk.codec) }
        summary.bytes = Self.sum(summary.bytes, chunk.bytes)
        summary.compressedBytes = Self.sum(summary.compressedBytes, chunk.compressedBytes)
        summary.nullCount = summary.nullCount.flatMap { sum in statistics.nullCount.map { Self.sum(sum, $0) } }
        if chunk.valueCount > 0, statistics.nullCount != chunk.valueCount {
            let (lower, upper) = statistics.bounds(of: node)
            summary.minimum.widen(to: lower, node)
            summary.maximum.widen(to: upper, node)
        }
        return chunk
    }

    /// Sizes that are only shown: a sum that makes no sense must not stop the reading.
    private static func sum(_ left: Int64, _ right: Int64) -> Int64 {
        let (sum, isOver) = left.addingReportingOverflow(right)
        return isOver ? Int64.max : sum
    }

    /// No chunk reaches out of the file or into another: a file of few bytes that claims the same ones a thousand times
    /// would cost as much as a large one.
    private func checkChunks(dataEnd: Int64) throws(ParquetError) {
        var ranges: [(start: Int64, end: Int64)] = []
        for group in rowGroups {
            for (chunk, leaf) in zip(group.chunks, schema.leaves) where !chunk.isElsewhere && !chunk.isEncrypted {
                let path = schema.nodes[leaf].path
                guard chunk.valueCount >= 0, chunk.compressedBytes >= 0, chunk.bytes >= 0 else {
                    throw ParquetError("a chunk of the column \(path) claims a negative size")
                }
                guard schema.nodes[leaf].repetitionLevel > 0 || chunk.valueCount == group.rowCount else {
                    throw ParquetError(
                        "a chunk of the column \(path) has \(chunk.valueCount) values, its row group \(group.rowCount)")
                }
                guard chunk.valueCount > 0 else { continue }
                guard chunk.start >= 4, chunk.compressedBytes <= dataEnd, chunk.start <= dataEnd - chunk.compressedBytes
                else {
                    throw ParquetError("a chunk of the column \(path) lies outside of the Parquet file")
                }
                ranges.append((chunk.start, chunk.start + chunk.compressedBytes))
            }
        }
        ranges.sort { $0.start < $1.start }
        for (one, next) in zip(ranges, ranges.dropFirst()) where next.start < one.end {
            throw ParquetError("two column chunks of the Parquet file overlap")
        }
    }
}
