/// Integers as differences. Source: "Encodings" of apache/parquet-format, "DELTA_BINARY_PACKED".
///
///     head     varint block size | varint miniblocks of a block | varint count of all | zigzag first number
///     block    zigzag least difference | bits of a difference: a byte for each miniblock | miniblocks
///
/// Miniblocks behind the last number are left out, their bytes of bits are not.
struct ParquetDeltaReader {
    private let bytes: ArraySlice<UInt8>
    private var position: Int
    private let miniblocks: Int
    private let miniblockCount: Int
    /// Numbers that are left, of those that the head claims.
    private(set) var left: Int
    private var value: Int64
    private var isFirst = true
    private var least: Int64 = 0
    private var widthsAt = 0
    private var miniblock: Int
    private var width = 0
    private var inMiniblock = 0
    private var dataAt = 0
    private var bit = 0

    /// Larger blocks than any writer's: they have 128 or 256 numbers.
    private static let mostBlock: UInt64 = 1 << 20

    /// - Parameter most: numbers that there can be, the page's.
    init(_ bytes: ArraySlice<UInt8>, most: Int) throws(ParquetError) {
        self.bytes = bytes
        position = bytes.startIndex
        guard let block = ParquetRunReader.varint(bytes, &position),
            let miniblocks = ParquetRunReader.varint(bytes, &position),
            let total = ParquetRunReader.varint(bytes, &position),
            let first = Self.zigzag(bytes, &position),
            1...Self.mostBlock ~= block, 1...block ~= miniblocks, block % miniblocks == 0,
            (block / miniblocks) % 8 == 0
        else { throw ParquetError("a page's differences have a head that makes no sense") }
        guard total <= UInt64(max(0, most)) else {
            throw ParquetError("a page of \(most) values claims to have \(total) differences")
        }
        self.miniblocks = Int(miniblocks)
        miniblockCount = Int(block / miniblocks)
        left = Int(total)
        value = first
        miniblock = Int(miniblocks)
    }

    private static func zigzag(_ bytes: ArraySlice<UInt8>, _ position: inout Int) -> Int64? {
        ParquetRunReader.varint(bytes, &position).map { Int64(bitPattern: $0 >> 1) ^ -Int64(bitPattern: $0 & 1) }
    }

    /// The next miniblock, at the end of the last.
    private mutating func advance() throws(ParquetError) {
        if miniblock == miniblocks {
            guard let least = Self.zigzag(bytes, &position), bytes.endIndex - position >= miniblocks else {
                throw ParquetError("a page's differences end early")
            }
            self.least = least
            widthsAt = position
            position += miniblocks
            miniblock = 0
        }
        width = Int(bytes[widthsAt + miniblock])
        guard width <= 64 else { throw ParquetError("a page has differences of \(width) bits") }
        miniblock += 1
        inMiniblock = miniblockCount
        dataAt = position
        bit = 0
        // The last one may be cut short: some writers end with the last number.
        let needed = (min(left, miniblockCount) * width + 7) / 8
        guard needed <= bytes.endIndex - position else { throw ParquetError("a page's differences end early") }
        position = min(bytes.endIndex, position + miniblockCount * width / 8)
    }

    /// The next number.
    mutating func next() throws(ParquetError) -> Int64 {
        guard left > 0 else { throw ParquetError("a page has fewer differences than values") }
        if isFirst {
            isFirst = false
        } else {
            if inMiniblock == 0 { try advance() }
            let difference = ParquetRunReader.bits64(bytes, at: dataAt, bit: bit, width: width)
            bit += width
            inMiniblock -= 1
            value = value &+ least &+ Int64(bitPattern: difference)
        }
        left -= 1
        return value
    }

    /// What lies behind all numbers. Reads their heads alone.
    func rest() throws(ParquetError) -> ArraySlice<UInt8> {
        var reader = self
        reader.left = max(0, left - (isFirst ? 1 : 0))
        while reader.left > 0 {
            if reader.inMiniblock == 0 { try reader.advance() }
            let step = min(reader.left, reader.inMiniblock)
            reader.left -= step
            reader.inMiniblock -= step
        }
        return bytes[reader.position...]
    }
}

/// Byte arrays: all their lengths, then all their bytes. Source: "Encodings", "DELTA_LENGTH_BYTE_ARRAY".
struct ParquetDeltaLengthReader {
    private var lengths: ParquetDeltaReader
    private var rest: ArraySlice<UInt8>

    /// - Parameter most: byte arrays that there can be, the page's.
    init(_ bytes: ArraySlice<UInt8>, most: Int) throws(ParquetError) {
        lengths = try ParquetDeltaReader(bytes, most: most)
        rest = try lengths.rest()
    }

    /// The next byte array, a part of the page.
    mutating func next() throws(ParquetError) -> ArraySlice<UInt8> {
        let length = try lengths.next()
        guard 0...Int64(rest.count) ~= length else {
            throw ParquetError("a value of \(length) bytes ends behind its page")
        }
        let value = rest.prefix(Int(length))
        rest = rest.dropFirst(Int(length))
        return value
    }
}

/// Byte arrays of which each begins as the last did. Source: "Encodings", "DELTA_BYTE_ARRAY".
///
///     lengths of the common beginnings: differences | the ends: lengths as differences, bytes
struct ParquetDeltaBytesReader {
    private var prefixes: ParquetDeltaReader
    private var suffixes: ParquetDeltaLengthReader
    private var value: [UInt8] = []

    /// - Parameter most: byte arrays that there can be, the page's.
    init(_ bytes: ArraySlice<UInt8>, most: Int) throws(ParquetError) {
        prefixes = try ParquetDeltaReader(bytes, most: most)
        suffixes = try ParquetDeltaLengthReader(try prefixes.rest(), most: most)
    }

    /// Passes over a byte array; one that is not kept is changed in place, at the cost of its end alone.
    mutating func skip() throws(ParquetError) {
        let common = try prefixes.next()
        let suffix = try suffixes.next()
        guard 0...Int64(value.count) ~= common else {
            throw ParquetError("a value begins with \(common) bytes of one that has \(value.count)")
        }
        value.removeLast(value.count - Int(common))
        value += suffix
    }

    /// The next byte array. Each is a copy, so a few bytes in the file may become many here.
    mutating func next(_ budget: ParquetBudget) throws(ParquetError) -> ArraySlice<UInt8> {
        try skip()
        try budget.spend(decodedBytes: value.count)
        return value[...]
    }
}
