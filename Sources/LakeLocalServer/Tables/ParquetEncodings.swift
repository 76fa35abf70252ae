/// The names of parquet.thrift's `Encoding`.
enum ParquetEncoding: Int64 {
    case plain = 0
    case plainDictionary = 2
    case runs = 3
    case bitPacked = 4
    case deltaBinaryPacked = 5
    case deltaLengthByteArray = 6
    case deltaByteArray = 7
    case dictionary = 8
    case byteStreamSplit = 9

    /// As in parquet.thrift; the code itself if it is not known.
    static func name(_ code: Int64) -> String {
        switch Self(rawValue: code) {
        case .plain: "PLAIN"
        case .plainDictionary: "PLAIN_DICTIONARY"
        case .runs: "RLE"
        case .bitPacked: "BIT_PACKED"
        case .deltaBinaryPacked: "DELTA_BINARY_PACKED"
        case .deltaLengthByteArray: "DELTA_LENGTH_BYTE_ARRAY"
        case .deltaByteArray: "DELTA_BYTE_ARRAY"
        case .dictionary: "RLE_DICTIONARY"
        case .byteStreamSplit: "BYTE_STREAM_SPLIT"
        case nil: "encoding \(code)"
        }
    }
}

/// The distinct values that pages of a chunk refer to: plain ones, found by their places.
struct ParquetDictionary {
    private let bytes: ArraySlice<UInt8>
    private let physical: ParquetPhysicalType
    private let width: Int
    /// Where byte arrays begin, behind their lengths, and end: a length is four bytes, so there is no gap to tell.
    private var starts: [UInt32] = []
    let count: Int

    /// - Parameter count: what the page's head claims.
    init(_ bytes: [UInt8], count: Int, of node: ParquetSchema.Node) throws(ParquetError) {
        guard let physical = node.physical, physical != .boolean else {
            throw ParquetError("the column \(node.path) cannot have a dictionary")
        }
        self.bytes = bytes[...]
        self.physical = physical
        self.count = count
        width = physical.width(length: node.length) ?? 0
        let tooMany = ParquetError("a dictionary of \(bytes.count) bytes claims to have \(count) values")
        if physical == .byteArray {
            guard count <= bytes.count / 4 else { throw tooMany }
            starts.reserveCapacity(count + 1)
            var position = 0
            for _ in 0..<count {
                let length = Int(ParquetValue.littleEndian(bytes[position...].prefix(4)))
                guard bytes.count - position >= 4, length <= bytes.count - position - 4 else { throw tooMany }
                starts.append(UInt32(truncatingIfNeeded: position + 4))
                position += 4 + length
            }
            starts.append(UInt32(truncatingIfNeeded: position + 4))
        } else {
            guard width > 0, count <= bytes.count / width else { throw tooMany }
        }
    }

    /// - Throws: `ParquetError` if there is no value at `index`.
    func value(at index: UInt32) throws(ParquetError) -> ParquetValue {
        guard index < count else {
            throw ParquetError("a page refers to the value \(index) of a dictionary that has \(count)")
        }
        let index = Int(index)
        if physical == .byteArray { return .bytes(bytes[Int(starts[index])..<Int(starts[index + 1]) - 4]) }
        guard let value = ParquetValue(fixed: bytes[index * width..<(index + 1) * width], physical) else {
            throw ParquetError("a dictionary has values of another type")
        }
        return value
    }
}

/// The values of one page, one after the other, however they are encoded. Source: "Encodings" of
/// apache/parquet-format.
struct ParquetValueReader {
    private enum Source {
        case plain(ArraySlice<UInt8>, width: Int)
        case plainByteArrays(ArraySlice<UInt8>)
        /// A bit each, from the lowest up.
        case plainBooleans(ArraySlice<UInt8>, bit: Int)
        case booleanRuns(ParquetRunReader)
        case indices(ParquetRunReader, ParquetDictionary)
        case differences(ParquetDeltaReader)
        case lengths(ParquetDeltaLengthReader)
        case beginnings(ParquetDeltaBytesReader)
        /// The first bytes of all values, then their second ones, and so on.
        case streams(ArraySlice<UInt8>, width: Int, next: Int)
        /// While one of the others is worked on: a value of two owners would be copied when it changes.
        case taken
    }

    private var source: Source
    private let physical: ParquetPhysicalType
    private let length: Int
    private let budget: ParquetBudget

    /// - Parameter most: values that there can be, of the page's head.
    /// - Parameter dictionary: the chunk's, if it has one; asked for only if the page refers to it.
    init(
        _ bytes: ArraySlice<UInt8>, encoding code: Int64, most: Int, of node: ParquetSchema.Node,
        dictionary: () throws -> ParquetDictionary?, _ budget: ParquetBudget
    ) throws {
        guard let physical = node.physical else { throw ParquetError("the column \(node.path) is no leaf") }
        self.physical = physical
        self.budget = budget
        length = node.length
        let width = physical.width(length: node.length)
        switch (ParquetEncoding(rawValue: code), physical) {
        case (.plain, .boolean): source = .plainBooleans(bytes, bit: 0)
        case (.plain, .byteArray): source = .plainByteArrays(bytes)
        case (.plain, _): source = .plain(bytes, width: width ?? 0)
        case (.runs, .boolean):
            let size = ParquetValue.littleEndian(bytes.prefix(4))
            guard bytes.count >= 4, size <= UInt64(bytes.count - 4) else {
                throw ParquetError("a page's runs are larger than the page")
            }
            source = .booleanRuns(ParquetRunReader(bytes.dropFirst(4).prefix(Int(size)), width: 1))
        case (.plainDictionary, _), (.dictionary, _):
            guard let dictionary = try dictionary() else {
                throw ParquetError("a page of the column \(node.path) refers to a dictionary that is not there")
            }
            guard let bits = bytes.first, bits <= 32 else {
                throw ParquetError("a page of the column \(node.path) has indices of no width, or one over 32 bits")
            }
            source = .indices(ParquetRunReader(bytes.dropFirst(), width: Int(bits)), dictionary)
        case (.deltaBinaryPacked, .int32), (.deltaBinaryPacked, .int64):
            source = .differences(try ParquetDeltaReader(bytes, most: most))
        case (.deltaLengthByteArray, .byteArray): source = .lengths(try ParquetDeltaLengthReader(bytes, most: most))
        case (.deltaByteArray, .byteArray), (.deltaByteArray, .fixedByteArray):
            source = .beginnings(try ParquetDeltaBytesReader(bytes, most: most))
        case (.byteStreamSplit, _):
            guard let width, physical != .int96 else { fallthrough }
            source = .streams(bytes, width: width, next: 0)
        default:
            throw ParquetError(
                "the column \(node.path) of type \(physical.name) has a page with \(ParquetEncoding.name(code)), "
                    + "which cannot be read")
        }
    }

    private static let endsEarly = ParquetError("a page has fewer values than it claims")

    private func fixed(_ bytes: ArraySlice<UInt8>) throws(ParquetError) -> ParquetValue {
        guard let value = ParquetValue(fixed: bytes, physical) else { throw Self.endsEarly }
        return value
    }

    /// The next value. After an error the reader is of no more use.
    mutating func next() throws(ParquetError) -> ParquetValue {
        let current = source
        source = .taken
        switch current {
        case .plain(let bytes, let width):
            guard bytes.count >= width else { throw Self.endsEarly }
            source = .plain(bytes.dropFirst(width), width: width)
            return try fixed(bytes.prefix(width))
        case .plainByteArrays(var bytes):
            let value = try Self.takeByteArray(&bytes)
            source = .plainByteArrays(bytes)
            return .bytes(value)
        case .plainBooleans(let bytes, let bit):
            let index = bytes.startIndex + bit >> 3
            guard index < bytes.endIndex else { throw Self.endsEarly }
            source = .plainBooleans(bytes, bit: bit + 1)
            return .boolean(bytes[index] >> UInt8(bit & 7) & 1 == 1)
        case .booleanRuns(var runs):
            let value = try runs.next()
            source = .booleanRuns(runs)
            return .boolean(value == 1)
        case .indices(var runs, let dictionary):
            let index = try runs.next()
            source = .indices(runs, dictionary)
            return try dictionary.value(at: index)
        case .differences(var reader):
            let value = try reader.next()
            source = .differences(reader)
            // Differences of 32 bits wrap around in 32 bits.
            return .integer(physical == .int32 ? Int64(Int32(truncatingIfNeeded: value)) : value)
        case .lengths(var reader):
            let value = try reader.next()
            source = .lengths(reader)
            return .bytes(value)
        case .beginnings(let reader):
            return try nextOfBeginnings(reader)
        case .streams(let bytes, let width, let next):
            let count = bytes.count / width
            guard next < count else { throw Self.endsEarly }
            source = .streams(bytes, width: width, next: next + 1)
            if width > 16 { try budget.spend(decodedBytes: width) }
            return try fixed((0..<width).map { bytes[bytes.startIndex + $0 * count + next] }[...])
        case .taken: throw Self.endsEarly
        }
    }

    private mutating func nextOfBeginnings(_ reader: consuming ParquetDeltaBytesReader) throws(ParquetError)
        -> ParquetValue
    {
        var reader = reader
        let value = try reader.next(budget)
        source = .beginnings(reader)
        guard physical == .byteArray || value.count == length else {
            throw ParquetError("a value has \(value.count) bytes instead of \(length)")
        }
        return .bytes(value)
    }

    private static func takeByteArray(_ bytes: inout ArraySlice<UInt8>) throws(ParquetError) -> ArraySlice<UInt8> {
        let size = ParquetValue.littleEndian(bytes.prefix(4))
        guard bytes.count >= 4, size <= UInt64(bytes.count - 4) else { throw endsEarly }
        let value = bytes.dropFirst(4).prefix(Int(size))
        bytes = bytes.dropFirst(4 + Int(size))
        return value
    }

    /// Passes over `count` values, at once where the encoding allows.
    mutating func skip(_ count: Int) throws(ParquetError) {
        guard count > 0 else { return }
        let current = source
        source = .taken
        switch current {
        case .plain(let bytes, let width):
            // A count has 31 bits, as has a width.
            guard count * width <= bytes.count else { throw Self.endsEarly }
            source = .plain(bytes.dropFirst(count * width), width: width)
        case .plainBooleans(let bytes, let bit): source = .plainBooleans(bytes, bit: bit + count)
        case .streams(let bytes, let width, let next): source = .streams(bytes, width: width, next: next + count)
        case .booleanRuns(var runs):
            try runs.skip(count)
            source = .booleanRuns(runs)
        case .indices(var runs, let dictionary):
            try runs.skip(count)
            source = .indices(runs, dictionary)
        case .plainByteArrays(var bytes):
            try budget.spend(values: count)
            for _ in 0..<count { _ = try Self.takeByteArray(&bytes) }
            source = .plainByteArrays(bytes)
        case .differences(var reader):
            try budget.spend(values: count)
            for _ in 0..<count { _ = try reader.next() }
            source = .differences(reader)
        case .lengths(var reader):
            try budget.spend(values: count)
            for _ in 0..<count { _ = try reader.next() }
            source = .lengths(reader)
        case .beginnings(var reader):
            try budget.spend(values: count)
            for _ in 0..<count { try reader.skip() }
            source = .beginnings(reader)
        case .taken: throw Self.endsEarly
        }
    }
}
