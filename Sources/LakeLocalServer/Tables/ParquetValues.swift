/// One value of a leaf, as it lies in the file; what it means is its column's.
enum ParquetValue {
    case boolean(Bool)
    /// Of 32 or 64 bits, sign-extended.
    case integer(Int64)
    case float(Float)
    case double(Double)
    /// A part of a page, or of the metadata.
    case bytes(ArraySlice<UInt8>)
    /// INT96: nanoseconds of a day, and the Julian day.
    case legacyTimestamp(nanoseconds: Int64, julianDay: Int32)

    /// A value that fills `bytes`, as in statistics; nil if it does not fit.
    init?(plain bytes: ArraySlice<UInt8>, _ node: ParquetSchema.Node) {
        switch node.physical {
        case nil: return nil
        case .byteArray: self = .bytes(bytes)
        case .boolean:
            guard bytes.count == 1, let byte = bytes.first else { return nil }
            self = .boolean(byte != 0)
        case .some(let physical):
            guard let width = physical.width(length: node.length), bytes.count == width,
                let value = Self(fixed: bytes, physical)
            else { return nil }
            self = value
        }
    }

    /// A value of fixed width. Nil if `bytes` are not as many as `physical` takes, or it has no fixed width.
    init?(fixed bytes: ArraySlice<UInt8>, _ physical: ParquetPhysicalType) {
        switch (physical, bytes.count) {
        case (.int32, 4): self = .integer(Int64(Int32(truncatingIfNeeded: Self.littleEndian(bytes))))
        case (.int64, 8): self = .integer(Int64(bitPattern: Self.littleEndian(bytes)))
        case (.float, 4): self = .float(Float(bitPattern: UInt32(truncatingIfNeeded: Self.littleEndian(bytes))))
        case (.double, 8): self = .double(Double(bitPattern: Self.littleEndian(bytes)))
        case (.int96, 12):
            self = .legacyTimestamp(
                nanoseconds: Int64(bitPattern: Self.littleEndian(bytes.prefix(8))),
                julianDay: Int32(truncatingIfNeeded: Self.littleEndian(bytes.suffix(4))))
        case (.fixedByteArray, _): self = .bytes(bytes)
        default: return nil
        }
    }

    /// The number that up to eight bytes are.
    static func littleEndian(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        var result: UInt64 = 0
        var shift: UInt64 = 0
        for byte in bytes.prefix(8) {
            result |= UInt64(byte) << shift
            shift += 8
        }
        return result
    }

    /// The value as people read it.
    func cell(_ node: ParquetSchema.Node, limits: ParquetFile.Limits) -> ParquetFile.Cell {
        switch self {
        case .boolean(let value): return .boolean(value)
        // Not with the sign and payload that Swift would add.
        case .float(let value): return .number(value.isNaN ? "nan" : "\(value)")
        case .double(let value): return .number(value.isNaN ? "nan" : "\(value)")
        case .legacyTimestamp(let nanoseconds, let julianDay):
            return .text(ParquetText.timestamp(julianDay: julianDay, nanoseconds: nanoseconds))
        case .integer(let value): return Self.cell(value, node)
        case .bytes(let bytes): return Self.cell(bytes, node, limits)
        }
    }

    private static func cell(_ value: Int64, _ node: ParquetSchema.Node) -> ParquetFile.Cell {
        switch node.logical {
        case .date: .text(ParquetText.date(daysSince1970: value))
        case .time(let unit, let isUTC):
            ParquetText.time(value, unit).map { .text(isUTC ? $0 + "Z" : $0) } ?? .number("\(value)")
        case .timestamp(let unit, let isUTC): .text(ParquetText.timestamp(value, unit) + (isUTC ? "Z" : ""))
        case .decimal(_, let scale): .number(ParquetText.decimal("\(value)", scale: scale))
        case .integer(_, isSigned: false):
            // Those of 32 bits were sign-extended.
            .number(
                node.physical == .int32
                    ? "\(UInt32(truncatingIfNeeded: value))" : "\(UInt64(bitPattern: value))")
        case .null: .null
        default: .number("\(value)")
        }
    }

    private static func cell(
        _ bytes: ArraySlice<UInt8>, _ node: ParquetSchema.Node, _ limits: ParquetFile.Limits
    ) -> ParquetFile.Cell {
        switch node.logical {
        case .string, .enumeration, .json:
            return .text(ParquetText.shortened(bytes, characters: limits.characters))
        case .uuid: return .text(ParquetText.uuid(bytes))
        case .decimal(_, let scale):
            guard let digits = ParquetText.integer(bigEndian: bytes) else { break }
            return .number(ParquetText.decimal(digits, scale: scale))
        case .float16:
            let value = Float16(bitPattern: UInt16(truncatingIfNeeded: littleEndian(bytes)))
            return .number(value.isNaN ? "nan" : "\(value)")
        case .interval:
            return .text(
                ParquetText.interval(
                    months: littleEndian(bytes.prefix(4)), days: littleEndian(bytes.dropFirst(4).prefix(4)),
                    milliseconds: littleEndian(bytes.suffix(4))))
        case .null: return .null
        default: break
        }
        return .binary(
            prefix: ParquetText.hexadecimal(bytes.prefix(max(0, limits.binaryBytes))), byteCount: bytes.count)
    }
}
