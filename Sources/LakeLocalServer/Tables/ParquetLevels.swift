/// Runs of equal numbers and packed numbers, mixed. Source: "Encodings" of apache/parquet-format, "RLE".
///
///     run       varint count << 1        the number, in as many bytes as its bits take
///     packed    varint groups << 1 | 1   groups of eight numbers, each of `width` bits, from the lowest bit up
struct ParquetRunReader {
    private let bytes: ArraySlice<UInt8>
    private let width: Int
    private var position: Int
    private var repeated: UInt32 = 0
    private var repeatedLeft = 0
    private var packedLeft = 0
    /// Bits from `packedStart` to the next packed number.
    private var packedStart = 0
    private var packedBit = 0

    /// - Parameter width: bits of a number, at most 32.
    init(_ bytes: ArraySlice<UInt8>, width: Int) {
        self.bytes = bytes
        self.width = min(max(0, width), 32)
        position = bytes.startIndex
    }

    /// More numbers than a page can have.
    private static let mostCount = UInt64(UInt32.max)

    private mutating func refill() throws(ParquetError) {
        while repeatedLeft == 0, packedLeft == 0 {
            guard let head = Self.varint(bytes, &position) else {
                throw ParquetError("a page's levels or indices end early")
            }
            let count = min(head >> 1, Self.mostCount)
            if head & 1 == 0 {
                let size = (width + 7) / 8
                guard bytes.endIndex - position >= size else {
                    throw ParquetError("a page's levels or indices end early")
                }
                repeated = UInt32(truncatingIfNeeded: ParquetValue.littleEndian(bytes[position..<position + size]))
                position += size
                repeatedLeft = Int(count)
            } else {
                let room = bytes.endIndex - position
                packedStart = position
                packedBit = 0
                let wanted = Int(count) * width  // Bytes: eight numbers of `width` bits.
                // The last group may be cut short: some writers end with the last number.
                packedLeft = wanted <= room ? Int(count) * 8 : room * 8 / width
                position += min(wanted, room)
            }
        }
    }

    private func packed() -> UInt32 {
        Self.bits(bytes, at: packedStart, bit: packedBit, width: width)
    }

    /// The next number.
    mutating func next() throws(ParquetError) -> UInt32 {
        if repeatedLeft == 0, packedLeft == 0 { try refill() }
        if repeatedLeft > 0 {
            repeatedLeft -= 1
            return repeated
        }
        let number = packed()
        packedLeft -= 1
        packedBit += width
        return number
    }

    /// Passes over `count` numbers, a run at a time.
    mutating func skip(_ count: Int) throws(ParquetError) {
        var left = count
        while left > 0 {
            if repeatedLeft == 0, packedLeft == 0 { try refill() }
            let step = min(left, repeatedLeft + packedLeft)  // One of the two is zero.
            if repeatedLeft > 0 {
                repeatedLeft -= step
            } else {
                packedLeft -= step
                packedBit += step * width
            }
            left -= step
        }
    }

    /// Passes over `count` numbers, and tells how many of them are `wanted`.
    mutating func skip(_ count: Int, counting wanted: UInt32, _ budget: ParquetBudget) throws(ParquetError) -> Int {
        var left = count
        var found = 0
        while left > 0 {
            if repeatedLeft == 0, packedLeft == 0 { try refill() }
            if repeatedLeft > 0 {
                let step = min(left, repeatedLeft)
                if repeated == wanted { found += step }
                repeatedLeft -= step
                left -= step
                continue
            }
            let step = min(left, packedLeft)
            try budget.spend(values: step)
            for _ in 0..<step {
                if packed() == wanted { found += 1 }
                packedBit += width
            }
            packedLeft -= step
            left -= step
        }
        return found
    }

    /// The number of `width` bits that begins `bit` bits behind `start`, from the lowest bit up; bits behind the end are 0.
    static func bits(_ bytes: ArraySlice<UInt8>, at start: Int, bit: Int, width: Int) -> UInt32 {
        UInt32(truncatingIfNeeded: bits64(bytes, at: start, bit: bit, width: min(width, 32)))
    }

    /// As `bits`, of up to 64.
    static func bits64(_ bytes: ArraySlice<UInt8>, at start: Int, bit: Int, width: Int) -> UInt64 {
        guard width > 0 else { return 0 }
        var index = start + bit >> 3
        var result: UInt64 = 0
        var have = 0
        var skipped = bit & 7
        while have < width {
            guard index < bytes.endIndex else { break }
            result |= UInt64(bytes[index] >> UInt8(skipped)) << UInt64(have)
            have += 8 - skipped
            skipped = 0
            index += 1
        }
        return width >= 64 ? result : result & (1 << UInt64(width) - 1)
    }

    /// A number of seven bits to the byte; nil if it does not end, or is longer than 64 bits.
    static func varint(_ bytes: ArraySlice<UInt8>, _ position: inout Int) -> UInt64? {
        var result: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 64, by: 7) {
            guard position < bytes.endIndex else { return nil }
            let byte = bytes[position]
            position += 1
            result |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return result }
        }
        return nil
    }
}

/// The definition or repetition levels of a page.
struct ParquetLevelReader {
    private enum Encoding {
        /// None are written: all are 0.
        case none
        case runs
        /// The older encoding: packed from the highest bit down.
        case packed
    }

    private let encoding: Encoding
    private let most: UInt8
    private let width: Int
    private var runs: ParquetRunReader
    private let packed: ArraySlice<UInt8>
    private var bit = 0

    private init(_ encoding: Encoding, _ bytes: ArraySlice<UInt8>, most: UInt8) {
        self.encoding = encoding
        self.most = most
        width = 8 - most.leadingZeroBitCount
        runs = ParquetRunReader(bytes, width: width)
        packed = bytes
    }

    /// Levels of a page of version 2: runs without their length.
    /// - Parameter most: the greatest level that there can be.
    init(_ bytes: ArraySlice<UInt8>, most: UInt8) {
        self.init(most == 0 ? .none : .runs, bytes, most: most)
    }

    /// Takes the levels off the front of a page of version 1.
    ///
    ///     RLE (3)           length: 4 bytes, little-endian | runs
    ///     BIT_PACKED (4)    as many bytes as `count` levels take
    init(
        takingFrom bytes: inout ArraySlice<UInt8>, encoding: Int64, most: UInt8, count: Int
    ) throws(ParquetError) {
        guard most > 0 else {
            self.init(.none, [], most: most)
            return
        }
        switch encoding {
        case 3:
            let size = ParquetValue.littleEndian(bytes.prefix(4))
            guard bytes.count >= 4, size <= UInt64(bytes.count - 4) else {
                throw ParquetError("a page's levels are larger than the page")
            }
            self.init(.runs, bytes.dropFirst(4).prefix(Int(size)), most: most)
            bytes = bytes.dropFirst(4 + Int(size))
        case 4:
            // The count has 31 bits, a level's width has three.
            let size = (count * (8 - most.leadingZeroBitCount) + 7) / 8
            guard size <= bytes.count else { throw ParquetError("a page's levels are larger than the page") }
            self.init(.packed, bytes.prefix(size), most: most)
            bytes = bytes.dropFirst(size)
        default:
            throw ParquetError("a page's levels have an encoding \(encoding)")
        }
    }

    /// The next level.
    mutating func next() throws(ParquetError) -> UInt8 {
        var level: UInt8 = 0
        switch encoding {
        case .none: return 0
        case .runs: level = UInt8(clamping: try runs.next())
        case .packed:
            for place in bit..<bit + width {
                let index = packed.startIndex + place >> 3
                guard index < packed.endIndex else { throw ParquetError("a page's levels or indices end early") }
                level = level << 1 | (packed[index] >> UInt8(7 - place & 7)) & 1
            }
            bit += width
        }
        guard level <= most else { throw ParquetError("a page has a level \(level): \(most) is the most here") }
        return level
    }

    /// Passes over `count` levels, and tells how many of them are the greatest: how many values there are.
    mutating func skip(_ count: Int, _ budget: ParquetBudget) throws(ParquetError) -> Int {
        switch encoding {
        case .none: return count
        case .runs: return try runs.skip(count, counting: UInt32(most), budget)
        case .packed:
            try budget.spend(values: count)
            var found = 0
            for _ in 0..<count where try next() == most { found += 1 }
            return found
        }
    }
}
