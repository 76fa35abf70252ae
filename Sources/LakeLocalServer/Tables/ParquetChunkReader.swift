/// Where the file's bytes come from: one function, whose answers are not believed either.
struct ParquetSource {
    let size: Int64
    let read: (Int64, Int) throws -> [UInt8]

    /// Exactly `count` bytes from `offset` on.
    func bytes(at offset: Int64, count: Int, _ budget: ParquetBudget?) throws -> [UInt8] {
        guard offset >= 0, count >= 0, Int64(count) <= size, offset <= size - Int64(count) else {
            throw ParquetError("\(count) bytes at \(offset) lie outside of the Parquet file of \(size) bytes")
        }
        try budget?.spend(readBytes: count)
        guard count > 0 else { return [] }
        let bytes = try read(offset, count)
        guard bytes.count == count else {
            throw ParquetError("the Parquet file gave \(bytes.count) bytes at \(offset) instead of \(count)")
        }
        return bytes
    }
}

/// What was read of a leaf for some rows.
struct ParquetLeafRows {
    private(set) var definitions: [UInt8] = []
    private(set) var repetitions: [UInt8] = []
    /// Nil where the definition level says that there is none.
    private(set) var values: [ParquetValue?] = []
    /// Where each row begins in the three above.
    private(set) var starts: [Int] = []
    /// Rows that have more values than are kept.
    private var isCut: [Bool] = []

    /// Bytes that an entry takes, about: of a value, two levels, a row.
    static let entryBytes = 56

    fileprivate mutating func beginRow() {
        starts.append(values.count)
        isCut.append(false)
    }

    fileprivate mutating func append(definition: UInt8, repetition: UInt8, _ value: ParquetValue?) {
        definitions.append(definition)
        repetitions.append(repetition)
        values.append(value)
    }

    fileprivate mutating func cutRow() { if !isCut.isEmpty { isCut[isCut.count - 1] = true } }

    fileprivate var countOfRow: Int { values.count - (starts.last ?? 0) }

    /// Whether a row has more entries than were kept.
    func isCut(_ row: Int) -> Bool { isCut.indices.contains(row) && isCut[row] }

    /// The entries of a row.
    func entries(of row: Int) -> Range<Int> {
        guard row >= 0, row < starts.count else { return 0..<0 }
        return starts[row]..<(row + 1 < starts.count ? starts[row + 1] : values.count)
    }
}

/// Reads some rows of one column chunk: page by page, and no page that it can pass over.
struct ParquetChunkReader {
    private let source: ParquetSource
    private let node: ParquetSchema.Node
    private let chunk: ParquetMetadata.Chunk
    private let compression: ParquetCompression
    private let budget: ParquetBudget
    private var position: Int64
    /// Where the last page begins before, and ends.
    private let end: Int64
    private let pageEnd: Int64
    /// Bytes ahead: heads are short and of unknown length, and small pages follow.
    private var window: [UInt8] = []
    private var windowStart: Int64 = 0
    private var valuesSeen: Int64 = 0
    private var dictionary: ParquetDictionary?
    private var dictionaryPage: (header: ParquetPageHeader, at: Int64)?

    /// A head has some 50 bytes, and statistics, which may hold two values; one that does not fit is tried once more.
    private static let ahead = 64 << 10
    private static let farAhead = 1 << 20

    /// - Throws: `ParquetError` if the chunk cannot be read at all.
    init(
        _ source: ParquetSource, _ chunk: ParquetMetadata.Chunk, of node: ParquetSchema.Node, _ budget: ParquetBudget
    ) throws(ParquetError) {
        guard !chunk.isElsewhere else {
            throw ParquetError("the column \(node.path) lies in another file than its metadata")
        }
        guard !chunk.isEncrypted else { throw ParquetError("the column \(node.path) is encrypted") }
        guard let compression = ParquetCompression(rawValue: chunk.codec) else {
            throw ParquetError("the column \(node.path) is compressed with an unknown codec \(chunk.codec)")
        }
        guard compression != .lzo, compression != .brotli else {
            throw ParquetError(
                "the column \(node.path) is compressed with \(ParquetCompression.name(chunk.codec)), "
                    + "which cannot be read here")
        }
        self.source = source
        self.node = node
        self.chunk = chunk
        self.compression = compression
        self.budget = budget
        position = chunk.start
        // The metadata's check has looked at the offsets of chunks that have values alone.
        end = chunk.valueCount > 0 ? chunk.start + chunk.compressedBytes : position
        // Old writers left a head out of the size (PARQUET-816): as in arrow, the last page may end 100 bytes later.
        pageEnd = min(end + (chunk.valueCount > 0 ? 100 : 0), source.size - Int64(ParquetFooter.tailBytes))
    }

    private mutating func header() throws -> ParquetPageHeader {
        var wanted = Self.ahead
        while true {
            let offset = position - windowStart
            if offset >= 0, offset < Int64(window.count) {
                var reader = ThriftReader(window, at: Int(offset))
                if let header = try? ParquetPageHeader(from: &reader) {
                    position = windowStart + Int64(reader.position)
                    return header
                }
                // It may lie across the window's end: one that begins here is tried, and then a larger one.
                if windowStart + Int64(window.count) >= pageEnd || (offset == 0 && window.count > Self.ahead) { break }
                if offset == 0 { wanted = Self.farAhead }
            }
            window = try source.bytes(at: position, count: Int(min(Int64(wanted), pageEnd - position)), budget)
            windowStart = position
        }
        throw ParquetError("a page of the column \(node.path) has a head that cannot be read")
    }

    /// The bytes of a page, whose head is checked.
    private func body(_ header: ParquetPageHeader, at offset: Int64) throws -> [UInt8] {
        try budget.spend(decodedBytes: Int(header.bytes))
        let count = Int(header.compressedBytes)
        // A page may be larger when compressed, but not by much.
        guard count <= budget.limits.pageBytes &+ budget.limits.pageBytes / 8 &+ 65_536 else {
            throw ParquetError("a page claims to have \(count) compressed bytes")
        }
        let ahead = offset - windowStart
        let bytes =
            ahead >= 0 && ahead <= Int64(window.count) - Int64(count)
            ? Array(window.dropFirst(Int(ahead)).prefix(count))
            : try source.bytes(at: offset, count: count, budget)
        if let checksum = header.checksum, !ParquetCompression.matches(bytes, checksum: checksum) {
            throw ParquetError("a page of the column \(node.path) is damaged: its checksum does not fit")
        }
        return bytes
    }

    /// The head of the next data page and where its bytes are, which have been passed over; nil if there are no more.
    private mutating func nextDataPage() throws -> (header: ParquetPageHeader, at: Int64)? {
        while position < end, valuesSeen < chunk.valueCount {
            try budget.spendPage()
            let header = try header()
            try header.check(room: pageEnd - position, limits: budget.limits)
            let at = position
            position += header.compressedBytes
            switch header.kind {
            case .data, .dataVersion2:
                valuesSeen += header.valueCount
                return (header, at)
            case .dictionary:
                guard dictionaryPage == nil else {
                    throw ParquetError("the column \(node.path) has two dictionaries in a chunk")
                }
                dictionaryPage = (header, at)
            case .index, nil: continue  // Readers pass over pages that they do not know.
            }
        }
        return nil
    }

    private mutating func loadDictionary() throws -> ParquetDictionary? {
        if let dictionary { return dictionary }
        guard let (header, at) = dictionaryPage else { return nil }
        guard [0, 2].contains(header.encoding) else {
            throw ParquetError("a dictionary has \(ParquetEncoding.name(header.encoding)), which cannot be read")
        }
        let bytes = try compression.decompress(try body(header, at: at)[...], count: Int(header.bytes))
        let loaded = try ParquetDictionary(bytes, count: Int(header.valueCount), of: node)
        dictionary = loaded
        return loaded
    }

    private mutating func open(
        _ header: ParquetPageHeader, at: Int64
    ) throws -> (page: ParquetPage, values: ParquetValueReader?) {
        (try ParquetPage(header, body: try body(header, at: at), of: node, compression: compression), nil)
    }

    private mutating func next(
        _ values: inout ParquetValueReader?, of page: ParquetPage, _ header: ParquetPageHeader, skipping: inout Int
    ) throws -> ParquetValue {
        if values == nil {
            values = try ParquetValueReader(
                page.values, encoding: header.encoding, most: page.valueCount, of: node,
                dictionary: { try loadDictionary() }, budget)
        }
        try values?.skip(skipping)
        skipping = 0
        guard let value = try values?.next() else { throw ParquetError("a page has no values") }
        return value
    }

    /// Appends `rows` of the chunk, counted from its own first row.
    /// - Parameter rows: no more than its row group has.
    mutating func read(_ rows: Range<Int64>, into result: inout ParquetLeafRows) throws {
        guard !rows.isEmpty else { return }
        if node.repetitionLevel == 0 {
            try readFlat(rows, &result)
        } else {
            try readRepeated(rows, &result)
        }
    }

    private var endsEarly: ParquetError {
        ParquetError("a chunk of the column \(node.path) has fewer rows than it claims")
    }

    /// A value or null for each row: whole pages are passed over by their heads.
    private mutating func readFlat(_ rows: Range<Int64>, _ result: inout ParquetLeafRows) throws {
        var row: Int64 = 0
        while row < rows.upperBound {
            guard let (header, at) = try nextDataPage() else { throw endsEarly }
            let first = row
            row += header.valueCount
            if row <= rows.lowerBound { continue }
            var (page, values) = try open(header, at: at)
            let skipped = Int(max(0, rows.lowerBound - first))
            var pending = try page.definitions.skip(skipped, budget)
            for _ in 0..<Int(min(row, rows.upperBound) - first) - skipped {
                let definition = try page.definitions.next()
                try budget.hold(bytes: ParquetLeafRows.entryBytes)
                result.beginRow()
                let value =
                    definition == node.definition ? try next(&values, of: page, header, skipping: &pending) : nil
                result.append(definition: definition, repetition: 0, value)
            }
        }
    }

    /// Rows of any number of values. Pages of version 2 tell their rows and begin with one; those of version 1 do not, and
    /// a row may go on in the next, so the first level behind the last row is looked at.
    private mutating func readRepeated(_ rows: Range<Int64>, _ result: inout ParquetLeafRows) throws {
        var row: Int64 = -1
        pages: while let (header, at) = try nextDataPage() {
            if header.kind == .dataVersion2, let count = header.rowCount {
                if row + 1 >= rows.upperBound { break }
                if row + 1 + count <= rows.lowerBound {
                    row += count
                    continue
                }
            }
            var (page, values) = try open(header, at: at)
            var pending = 0
            try budget.spend(values: page.valueCount)
            for _ in 0..<page.valueCount {
                let repetition = try page.repetitions.next()
                let definition = try page.definitions.next()
                let isThere = definition == node.definition
                if repetition == 0 {
                    row += 1
                    if row >= rows.upperBound { break pages }
                    if row >= rows.lowerBound { result.beginRow() }
                } else if row < 0 {
                    throw ParquetError("a chunk of the column \(node.path) begins inside of a row")
                }
                guard row >= rows.lowerBound else {
                    if isThere { pending += 1 }
                    continue
                }
                guard result.countOfRow < budget.limits.valuesPerCell else {
                    result.cutRow()
                    if isThere { pending += 1 }
                    continue
                }
                try budget.hold(bytes: ParquetLeafRows.entryBytes)
                result.append(
                    definition: definition, repetition: repetition,
                    isThere ? try next(&values, of: page, header, skipping: &pending) : nil)
            }
        }
        guard row >= rows.upperBound - 1 else { throw endsEarly }
    }
}
