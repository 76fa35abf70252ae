import Foundations
import LakeAPI

/// A value of Lua, as it passes between a script's process and the server's.
enum LuaValue: Sendable, Equatable {
    case null
    case flag(Bool)
    case number(Double)
    case bytes([UInt8])
    /// Pairs in any order.
    /// - Parameter isList: was a list of JSON, or is marked as one by `array`: it stays one though it be empty.
    case pairs([Pair], isList: Bool)

    struct Pair: Sendable, Equatable { let key, value: LuaValue }

    static func text(_ text: String) -> LuaValue { .bytes(Array(text.utf8)) }
    static func table(_ members: [String: LuaValue]) -> LuaValue {
        .pairs(members.map { Pair(key: .text($0.key), value: $0.value) }, isList: false)
    }
    static func list(_ items: [LuaValue]) -> LuaValue {
        .pairs(items.enumerated().map { Pair(key: .number(Double($0 + 1)), value: $1) }, isList: true)
    }

    var array: [UInt8]? { if case .bytes(let bytes) = self { bytes } else { nil } }
    var text: String? { array.map { String(decoding: $0, as: UTF8.self) } }
    var number: Double? { if case .number(let number) = self { number } else { nil } }
    var pairs: [Pair]? { if case .pairs(let pairs, _) = self { pairs } else { nil } }

    subscript(name: String) -> LuaValue { pairs?.last { $0.key == .text(name) }?.value ?? .null }

    /// What a message about a value calls it.
    var kind: String {
        switch self {
        case .null: "nil"
        case .flag: "boolean"
        case .number: "number"
        case .bytes: "string"
        case .pairs: "table"
        }
    }

    /// Items in order where keys are 1, 2, 3…; nil where they are not, and for an empty table that is no list.
    var items: [LuaValue]? {
        guard case .pairs(let pairs, let isList) = self else { return nil }
        guard !pairs.isEmpty else { return isList ? [] : nil }
        var items = [LuaValue?](repeating: nil, count: pairs.count)
        for pair in pairs {
            guard case .number(let number) = pair.key, let index = Int(exactly: number),
                (1...pairs.count).contains(index)
            else { return nil }
            items[index - 1] = pair.value
        }
        return items.contains { $0 == nil } ? nil : items.map { $0! }
    }
}

extension LuaValue {
    init(_ json: JSONValue) {
        switch json {
        case .null: self = .null
        case .flag(let flag): self = .flag(flag)
        case .integer(let number): self = .number(Double(number))
        case .number(let number): self = .number(number)
        case .text(let text): self = .text(text)
        case .list(let items): self = .list(items.map { LuaValue($0) })
        case .object(let members): self = .table(members.mapValues { LuaValue($0) })
        }
    }

    /// As JSON; nil for a table whose keys are neither texts nor 1, 2, 3….
    var json: JSONValue? {
        switch self {
        case .null: return .null
        case .flag(let flag): return .flag(flag)
        case .number(let number):
            if let whole = Int64(exactly: number), whole.magnitude < 1 << 53 { return .integer(whole) }
            return .number(number)
        case .bytes(let bytes): return .text(String(decoding: bytes, as: UTF8.self))
        case .pairs(let pairs, _):
            if let items {
                let list = items.compactMap(\.json)
                return list.count == items.count ? .list(list) : nil
            }
            var members: [String: JSONValue] = [:]
            for pair in pairs {
                let name: String
                switch pair.key {
                case .bytes(let bytes): name = String(decoding: bytes, as: UTF8.self)
                case .number(let number): name = Int64(exactly: number).map(String.init) ?? String(number)
                default: return nil
                }
                guard let value = pair.value.json else { return nil }
                members[name] = value
            }
            return .object(members)
        }
    }
}

/// Values as bytes: a letter for the kind, then numbers in eight bytes, lengths in four, all little-endian.
///
///     n        nil
///     t, f     true, false
///     d        a number: IEEE 754
///     s        bytes: their count, they
///     p, l     a table, one that is a list: the count of pairs, each key and value
enum LuaWire {
    struct Malformed: Error {}

    static func append(_ value: LuaValue, to bytes: inout [UInt8]) {
        switch value {
        case .null: bytes.append(UInt8(ascii: "n"))
        case .flag(let flag): bytes.append(UInt8(ascii: flag ? "t" : "f"))
        case .number(let number):
            bytes.append(UInt8(ascii: "d"))
            append(number.bitPattern, 8, &bytes)
        case .bytes(let text):
            bytes.append(UInt8(ascii: "s"))
            append(UInt64(text.count), 4, &bytes)
            bytes += text
        case .pairs(let pairs, let isList):
            bytes.append(UInt8(ascii: isList ? "l" : "p"))
            append(UInt64(pairs.count), 4, &bytes)
            for pair in pairs {
                append(pair.key, to: &bytes)
                append(pair.value, to: &bytes)
            }
        }
    }

    private static func append(_ number: UInt64, _ count: Int, _ bytes: inout [UInt8]) {
        for index in 0..<count { bytes.append(UInt8(truncatingIfNeeded: number >> (8 * UInt64(index)))) }
    }

    static func read(_ bytes: [UInt8]) throws(Malformed) -> LuaValue {
        var position = 0
        let value = try read(bytes, &position, depth: 0)
        guard position == bytes.count else { throw Malformed() }
        return value
    }

    /// Tables within each other.
    static let deepest = 128

    private static func number(_ bytes: [UInt8], _ position: inout Int, _ count: Int) throws(Malformed) -> UInt64 {
        guard bytes.count - position >= count else { throw Malformed() }
        defer { position += count }
        return (0..<count).reduce(0) { $0 | UInt64(bytes[position + $1]) << (8 * UInt64($1)) }
    }

    private static func read(_ bytes: [UInt8], _ position: inout Int, depth: Int) throws(Malformed) -> LuaValue {
        guard position < bytes.count, depth <= deepest else { throw Malformed() }
        let kind = bytes[position]
        position += 1
        switch kind {
        case UInt8(ascii: "n"): return .null
        case UInt8(ascii: "t"): return .flag(true)
        case UInt8(ascii: "f"): return .flag(false)
        case UInt8(ascii: "d"): return .number(Double(bitPattern: try number(bytes, &position, 8)))
        case UInt8(ascii: "s"):
            let count = Int(try number(bytes, &position, 4))
            guard bytes.count - position >= count else { throw Malformed() }
            defer { position += count }
            return .bytes(Array(bytes[position..<position + count]))
        case UInt8(ascii: "p"), UInt8(ascii: "l"):
            let count = Int(try number(bytes, &position, 4))
            guard count <= (bytes.count - position) / 2 else { throw Malformed() }
            var pairs: [LuaValue.Pair] = []
            pairs.reserveCapacity(count)
            for _ in 0..<count {
                let key = try read(bytes, &position, depth: depth + 1)
                pairs.append(LuaValue.Pair(key: key, value: try read(bytes, &position, depth: depth + 1)))
            }
            return .pairs(pairs, isList: kind == UInt8(ascii: "l"))
        default: throw Malformed()
        }
    }
}
