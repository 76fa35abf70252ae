/// What a chunk tells of its values.
struct ParquetStatistics {
    private(set) var nullCount: Int64?
    private var minimum: ArraySlice<UInt8>?
    private var maximum: ArraySlice<UInt8>?
    private var oldMinimum: ArraySlice<UInt8>?
    private var oldMaximum: ArraySlice<UInt8>?

    /// Reads the structure `Statistics`.
    mutating func read(from reader: inout ThriftReader) throws(ThriftReader.Malformed) {
        var result = Self()
        try reader.structure { reader, field, kind throws(ThriftReader.Malformed) in
            switch (field, kind) {
            case (1, 8): result.oldMaximum = try reader.bytes()
            case (2, 8): result.oldMinimum = try reader.bytes()
            case (3, 6): result.nullCount = try reader.integer()
            case (5, 8): result.maximum = try reader.bytes()
            case (6, 8): result.minimum = try reader.bytes()
            default: try reader.skip(kind)
            }
        }
        if let count = result.nullCount, count < 0 { result.nullCount = nil }
        self = result
    }

    /// The least and the greatest value, nil if not told. The older fields were compared as signed numbers whatever the
    /// column means, so they are right for signed numbers alone.
    func bounds(of node: ParquetSchema.Node) -> (lower: ParquetValue?, upper: ParquetValue?) {
        var (lower, upper) = (minimum, maximum)
        if lower == nil, upper == nil, ParquetOrder(node) == .signed { (lower, upper) = (oldMinimum, oldMaximum) }
        return (lower.flatMap { ParquetValue(plain: $0, node) }, upper.flatMap { ParquetValue(plain: $0, node) })
    }
}

/// How the values of a column are compared. Source: parquet.thrift, `ColumnOrder`.
enum ParquetOrder {
    case signed, unsigned, bytes, signedBytes, none

    /// The order of a leaf's values; `none` if the format defines none, or one that is not known here.
    init(_ node: ParquetSchema.Node) {
        switch (node.physical, node.logical) {
        case (.int96, _), (nil, _), (_, .interval), (_, .other), (_, .float16), (_, .null): self = .none
        case (_, .integer(_, isSigned: false)): self = .unsigned
        case (.byteArray, .decimal), (.fixedByteArray, .decimal): self = .signedBytes
        case (.byteArray, _), (.fixedByteArray, _): self = .bytes
        default: self = .signed
        }
    }

    /// Nil if the two cannot be compared.
    func precedes(_ left: ParquetValue, _ right: ParquetValue) -> Bool? {
        switch (self, left, right) {
        case (.none, _, _): nil
        case (.signed, .boolean(let left), .boolean(let right)): !left && right
        case (.signed, .integer(let left), .integer(let right)): left < right
        case (.unsigned, .integer(let left), .integer(let right)): UInt64(bitPattern: left) < UInt64(bitPattern: right)
        case (.signed, .float(let left), .float(let right)): left.isNaN || right.isNaN ? nil : left < right
        case (.signed, .double(let left), .double(let right)): left.isNaN || right.isNaN ? nil : left < right
        case (.bytes, .bytes(let left), .bytes(let right)): left.lexicographicallyPrecedes(right)
        case (.signedBytes, .bytes(let left), .bytes(let right)):
            // Of equal length, two's complement is in the order of bytes but for the sign's.
            if left.count != right.count {
                nil
            } else if let a = left.first, let b = right.first, a != b {
                Int8(bitPattern: a) < Int8(bitPattern: b)
            } else {
                left.lexicographicallyPrecedes(right)
            }
        default: nil
        }
    }
}

/// The least or the greatest value of all chunks of a column, as far as all of them tell theirs.
struct ParquetBound {
    private let isLower: Bool
    private var isUnknown = false
    private var found: ParquetValue?

    /// - Parameter isLower: whether the least is wanted.
    init(isLower: Bool) { self.isLower = isLower }

    /// Nil if there is none, or a chunk does not tell.
    var value: ParquetValue? { isUnknown ? nil : found }

    /// One more chunk's.
    mutating func widen(to value: ParquetValue?, _ node: ParquetSchema.Node) {
        guard !isUnknown else { return }
        guard let value else { return isUnknown = true }
        guard let known = found else { return found = value }
        guard let isLess = ParquetOrder(node).precedes(isLower ? value : known, isLower ? known : value) else {
            return isUnknown = true
        }
        if isLess { found = value }
    }
}
