/// The head of a page. Source: parquet.thrift, `PageHeader`.
///
///     PageHeader            1 kind   2 bytes   3 compressed bytes   4 CRC-32   5, 7, 8 by kind
///     DataPageHeader    5   1 values   2 encoding   3 definition levels' encoding   4 repetition levels' encoding
///     DictionaryPage…   7   1 values   2 encoding
///     DataPageHeaderV2  8   1 values   2 nulls   3 rows   4 encoding   5 definition levels' bytes
///                           6 repetition levels' bytes   7 is compressed
///
///     data page, version 1      compressed: repetition levels | definition levels | values
///     data page, version 2      repetition levels | definition levels | compressed: values
///     dictionary page           compressed: plain values
///
/// Each of the levels is left out if a column has but one level of them.
struct ParquetPageHeader {
    /// What a page holds, by the codes of `PageType`.
    enum Kind: Int64 { case data, index, dictionary, dataVersion2 }

    private(set) var kind: Kind?
    private(set) var bytes: Int64 = -1
    private(set) var compressedBytes: Int64 = -1
    private(set) var checksum: Int64?
    /// Values and nulls; of a dictionary, its entries.
    private(set) var valueCount: Int64 = -1
    /// Of a page of version 2 alone.
    private(set) var rowCount: Int64?
    private(set) var encoding: Int64 = -1
    private(set) var definitionEncoding: Int64 = 3
    private(set) var repetitionEncoding: Int64 = 3
    private(set) var definitionBytes: Int64 = 0
    private(set) var repetitionBytes: Int64 = 0
    private(set) var isCompressed = true

    /// Reads the head that begins where the reader stands.
    init(from reader: inout ThriftReader) throws(ThriftReader.Malformed) {
        var header = Self()
        var code: Int64 = -1
        try reader.structure { reader, field, kind throws(ThriftReader.Malformed) in
            switch (field, kind) {
            case (1, 5): code = try reader.integer()
            case (2, 5): header.bytes = try reader.integer()
            case (3, 5): header.compressedBytes = try reader.integer()
            case (4, 5): header.checksum = try reader.integer()
            case (5, ThriftReader.structure) where code == 0:
                try header.readFields(from: &reader) { header, field, value in
                    switch field {
                    case 1: header.valueCount = value
                    case 2: header.encoding = value
                    case 3: header.definitionEncoding = value
                    case 4: header.repetitionEncoding = value
                    default: break
                    }
                }
            case (7, ThriftReader.structure) where code == 2:
                try header.readFields(from: &reader) { header, field, value in
                    if field == 1 { header.valueCount = value } else if field == 2 { header.encoding = value }
                }
            case (8, ThriftReader.structure) where code == 3:
                try header.readFields(from: &reader) { header, field, value in
                    switch field {
                    case 1: header.valueCount = value
                    case 3: header.rowCount = value
                    case 4: header.encoding = value
                    case 5: header.definitionBytes = value
                    case 6: header.repetitionBytes = value
                    case 7: header.isCompressed = value != 0
                    default: break
                    }
                }
            default: try reader.skip(kind)
            }
        }
        header.kind = Kind(rawValue: code)
        self = header
    }

    private init() {}

    /// Integers and flags of an inner structure; all else is passed over.
    private mutating func readFields(
        from reader: inout ThriftReader, _ set: (inout Self, Int16, Int64) -> Void
    ) throws(ThriftReader.Malformed) {
        var header = self
        try reader.structure { reader, field, kind throws(ThriftReader.Malformed) in
            switch kind {
            case 1, 2: set(&header, field, kind == 1 ? 1 : 0)
            case 4...6: set(&header, field, try reader.integer())
            default: try reader.skip(kind)
            }
        }
        self = header
    }

    /// - Parameter room: bytes of the chunk behind the head.
    /// - Throws: `ParquetError` if a number of the head makes no sense.
    func check(room: Int64, limits: ParquetFile.Limits) throws(ParquetError) {
        guard bytes >= 0, compressedBytes >= 0 else { throw ParquetError("a page claims a negative size") }
        guard compressedBytes <= room else {
            throw ParquetError("a page of \(compressedBytes) bytes reaches out of its column chunk")
        }
        guard bytes <= limits.pageBytes else {
            throw ParquetError("a page claims to have \(bytes) bytes: \(limits.pageBytes) at most are read")
        }
        guard kind != .some(.index), kind != nil else { return }
        guard 0...Int64(Int32.max) ~= valueCount else {
            throw ParquetError("a page claims to have \(valueCount) values")
        }
        guard kind == .dataVersion2 else { return }
        guard let rowCount, 0...valueCount ~= rowCount else {
            throw ParquetError("a page of \(valueCount) values claims to have \(rowCount ?? -1) rows")
        }
        guard definitionBytes >= 0, repetitionBytes >= 0, definitionBytes <= bytes, repetitionBytes <= bytes,
            definitionBytes + repetitionBytes <= min(bytes, compressedBytes)
        else { throw ParquetError("a page's levels are larger than the page") }
    }
}

/// A data page: its levels, and its values behind them.
struct ParquetPage {
    /// Values and nulls.
    let valueCount: Int
    var repetitions: ParquetLevelReader
    var definitions: ParquetLevelReader
    /// The values, decoded when the first is wanted: a page of nulls need not have any.
    let values: ArraySlice<UInt8>

    /// - Parameter body: the page as it lies in the file.
    /// - Throws: `ParquetError` if the page is not as its head says.
    init(
        _ header: ParquetPageHeader, body: [UInt8], of node: ParquetSchema.Node, compression: ParquetCompression
    ) throws(ParquetError) {
        valueCount = Int(header.valueCount)
        // Both are at most `pageBytes` and no more than the body, as `check` has seen to.
        let (repetitionBytes, definitionBytes) = (Int(header.repetitionBytes), Int(header.definitionBytes))
        if header.kind == .dataVersion2 {
            let levelBytes = repetitionBytes + definitionBytes
            guard levelBytes <= body.count else { throw ParquetError("a page's levels are larger than the page") }
            let rest = body[levelBytes...]
            repetitions = ParquetLevelReader(
                body[..<repetitionBytes], most: node.repetitionLevel)
            definitions = ParquetLevelReader(body[repetitionBytes..<levelBytes], most: node.definition)
            let count = Int(header.bytes) - levelBytes
            values = header.isCompressed ? try compression.decompress(rest, count: count)[...] : rest
            return
        }
        let data = try compression.decompress(body[...], count: Int(header.bytes))
        var rest = data[...]
        repetitions = try ParquetLevelReader(
            takingFrom: &rest, encoding: header.repetitionEncoding, most: node.repetitionLevel, count: valueCount)
        definitions = try ParquetLevelReader(
            takingFrom: &rest, encoding: header.definitionEncoding, most: node.definition, count: valueCount)
        values = rest
    }
}
