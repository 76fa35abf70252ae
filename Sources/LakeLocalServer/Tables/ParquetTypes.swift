/// How a leaf's values lie in the pages. The codes are those of parquet.thrift's `Type`.
enum ParquetPhysicalType: UInt8, Sendable {
    case boolean, int32, int64, int96, float, double, byteArray, fixedByteArray

    /// Nil for a type that is not known.
    init?(code: Int64) {
        guard let small = UInt8(exactly: code) else { return nil }
        self.init(rawValue: small)
    }

    /// As in parquet.thrift.
    var name: String {
        switch self {
        case .boolean: "BOOLEAN"
        case .int32: "INT32"
        case .int64: "INT64"
        case .int96: "INT96"
        case .float: "FLOAT"
        case .double: "DOUBLE"
        case .byteArray: "BYTE_ARRAY"
        case .fixedByteArray: "FIXED_LEN_BYTE_ARRAY"
        }
    }

    /// Bytes of one plain value; nil for booleans (a bit) and byte arrays (their length is written before them).
    /// - Parameter length: of a fixed byte array, from the schema.
    func width(length: Int) -> Int? {
        switch self {
        case .boolean, .byteArray: nil
        case .int32, .float: 4
        case .int64, .double: 8
        case .int96: 12
        case .fixedByteArray: length
        }
    }
}

/// What the unit of a time or timestamp is.
enum ParquetTimeUnit: Int64, Sendable {
    case milliseconds = 1_000
    case microseconds = 1_000_000
    case nanoseconds = 1_000_000_000

    /// As Arrow writes it.
    var name: String {
        switch self {
        case .milliseconds: "ms"
        case .microseconds: "us"
        case .nanoseconds: "ns"
        }
    }

    /// Decimals of a second.
    var digits: Int {
        switch self {
        case .milliseconds: 3
        case .microseconds: 6
        case .nanoseconds: 9
        }
    }
}

/// What the values of a leaf mean, or the children of a group. Source: "LogicalTypes" of apache/parquet-format.
enum ParquetLogicalType: Equatable, Sendable {
    case string, enumeration, json, bson, uuid, date, float16, interval, null, list, map
    case decimal(precision: Int, scale: Int)
    case time(ParquetTimeUnit, isUTC: Bool)
    case timestamp(ParquetTimeUnit, isUTC: Bool)
    case integer(bits: Int, isSigned: Bool)
    /// Known by name only: its values are shown as what they lie in.
    case other(String)

    /// The older annotation, `ConvertedType`; nil if it is not known.
    init?(converted: Int64, precision: Int64, scale: Int64) {
        switch converted {
        case 0: self = .string
        case 1, 2: self = .map
        case 3: self = .list
        case 4: self = .enumeration
        case 5: self = .decimal(precision: Int(clamping: precision), scale: Int(clamping: scale))
        case 6: self = .date
        case 7: self = .time(.milliseconds, isUTC: true)
        case 8: self = .time(.microseconds, isUTC: true)
        case 9: self = .timestamp(.milliseconds, isUTC: true)
        case 10: self = .timestamp(.microseconds, isUTC: true)
        case 11...14: self = .integer(bits: 8 << Int(converted - 11), isSigned: false)
        case 15...18: self = .integer(bits: 8 << Int(converted - 15), isSigned: true)
        case 19: self = .json
        case 20: self = .bson
        case 21: self = .interval
        default: return nil
        }
    }

    /// The newer annotation, the union `LogicalType`; nil if it is empty or not known.
    static func read(from reader: inout ThriftReader) throws(ThriftReader.Malformed) -> ParquetLogicalType? {
        var result: ParquetLogicalType?
        try reader.structure { reader, field, kind throws(ThriftReader.Malformed) in
            guard kind == ThriftReader.structure else { return try reader.skip(kind) }
            var first: Int64 = 0
            var second: Int64 = 0
            var isFlag = false
            var unit: ParquetTimeUnit?
            try reader.structure { reader, inner, kind throws(ThriftReader.Malformed) in
                switch (inner, kind) {
                case (1, 3): first = Int64(Int8(bitPattern: try reader.byte()))
                case (1, 4...6): first = try reader.integer()
                case (2, 4...6): second = try reader.integer()
                case (1, 1...2), (2, 1...2): isFlag = kind == 1
                case (2, ThriftReader.structure) where field == 7 || field == 8:
                    try reader.structure { reader, choice, kind throws(ThriftReader.Malformed) in
                        unit = choice == 1 ? .milliseconds : choice == 2 ? .microseconds : .nanoseconds
                        try reader.skip(kind)
                    }
                default: try reader.skip(kind)
                }
            }
            switch field {
            case 1: result = .string
            case 2: result = .map
            case 3: result = .list
            case 4: result = .enumeration
            case 5: result = .decimal(precision: Int(clamping: second), scale: Int(clamping: first))
            case 6: result = .date
            case 7: result = unit.map { .time($0, isUTC: isFlag) }
            case 8: result = unit.map { .timestamp($0, isUTC: isFlag) }
            case 10: result = .integer(bits: Int(first), isSigned: isFlag)
            case 11: result = .null
            case 12: result = .json
            case 13: result = .bson
            case 14: result = .uuid
            case 15: result = .float16
            case 16: result = .other("variant")
            case 17: result = .other("geometry")
            case 18: result = .other("geography")
            default: break
            }
        }
        return result
    }

    /// Whether values of `physical` can mean this; an annotation that does not fit is ignored, as readers are told to.
    func fits(_ physical: ParquetPhysicalType?, length: Int) -> Bool {
        guard let physical else {
            switch self {
            case .list, .map, .other: return true
            default: return false
            }
        }
        switch self {
        case .string, .enumeration, .json, .bson: return physical == .byteArray || physical == .fixedByteArray
        case .uuid: return physical == .fixedByteArray && length == 16
        case .float16: return physical == .fixedByteArray && length == 2
        case .interval: return physical == .fixedByteArray && length == 12
        case .date: return physical == .int32
        case .time(.milliseconds, _): return physical == .int32
        case .time, .timestamp: return physical == .int64
        case .integer(let bits, _):
            return physical == .int32 && [8, 16, 32].contains(bits) || physical == .int64 && bits == 64
        case .decimal(let precision, let scale):
            guard 1...1_000 ~= precision, 0...precision ~= scale else { return false }
            return [.int32, .int64, .byteArray, .fixedByteArray].contains(physical)
        case .null, .other: return true
        case .list, .map: return false
        }
    }

    /// How people write it, near to Arrow's names.
    var text: String {
        switch self {
        case .string: "string"
        case .enumeration: "enum"
        case .json: "json"
        case .bson: "bson"
        case .uuid: "uuid"
        case .date: "date"
        case .float16: "float16"
        case .interval: "interval"
        case .null: "null"
        case .list: "list"
        case .map: "map"
        case .decimal(let precision, let scale): "decimal(\(precision),\(scale))"
        case .time(let unit, let isUTC): isUTC ? "time[\(unit.name), UTC]" : "time[\(unit.name)]"
        case .timestamp(let unit, let isUTC): isUTC ? "timestamp[\(unit.name), UTC]" : "timestamp[\(unit.name)]"
        case .integer(let bits, let isSigned): (isSigned ? "int" : "uint") + "\(bits)"
        case .other(let name): name
        }
    }
}
