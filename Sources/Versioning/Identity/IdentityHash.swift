import Foundations

/// lakeFS's way of hashing structured values into an identity. Source: `lakefs-formats.md` 3.5.
/// The bytes are gathered first: feeding OpenSSL a few at a time costs more than hashing them.
package struct IdentityHash {
    private var pending: [UInt8] = []

    package init() { pending.reserveCapacity(256) }

    /// What is hashed so far, for a hash that began with something else.
    package var bytes: [UInt8] { pending }

    package mutating func int64(_ value: Int64) {
        pending.append(0x02)
        pending.append(0x08)
        rawInteger(value)
    }

    package mutating func string(_ text: String) { string(Array(text.utf8)) }

    package mutating func string(_ bytes: [UInt8]) {
        pending.append(0x01)
        int64(Int64(bytes.count))
        pending += bytes
    }

    package mutating func strings(_ items: [String]) {
        pending.append(0x03)
        int64(Int64(items.count))
        for item in items { string(item) }
    }

    /// A map; its keys are hashed in byte order.
    package mutating func map(_ pairs: Metadata) {
        pending.append(0x04)
        int64(Int64(pairs.count))
        for pair in pairs.sorted {
            string(pair.key)
            string(pair.value)
        }
    }

    package mutating func identity(_ identity: [UInt8]) {
        pending.append(0x05)
        pending.append(0x00)
        int64(Int64(identity.count))
        pending += identity
    }

    /// The SHA-256 of all that was given.
    package consuming func finish() -> [UInt8] { Hash.digest(.sha256, pending) }

    private mutating func rawInteger(_ value: Int64) {
        let bits = UInt64(bitPattern: value)
        for shift in stride(from: 56, through: 0, by: -8) {
            pending.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift)))
        }
    }
}

/// Names and values that users attach to objects and commits, as bytes, in the order they were written. Equal maps have
/// the same pairs in any order; the order is kept because stored bytes keep it (`lakefs-formats.md` 3.4).
package struct Metadata: Sendable, Equatable, ExpressibleByDictionaryLiteral {
    package var pairs: [(key: [UInt8], value: [UInt8])]

    package init(_ pairs: [(key: [UInt8], value: [UInt8])] = []) { self.pairs = pairs }
    package init(dictionaryLiteral elements: (String, String)...) {
        pairs = elements.map { (Array($0.0.utf8), Array($0.1.utf8)) }
    }
    /// Sorted by key, as we store what is new.
    package init(_ dictionary: [String: String]) {
        pairs = dictionary.map { (Array($0.key.utf8), Array($0.value.utf8)) }.sorted { $0.key.precedes($1.key) }
    }

    package var count: Int { pairs.count }
    /// Bytes of all keys and values.
    var byteCount: Int { pairs.reduce(0) { $0 + $1.key.count + $1.value.count } }
    package var isEmpty: Bool { pairs.isEmpty }
    package var sorted: [(key: [UInt8], value: [UInt8])] {
        pairs.count < 2 ? pairs : pairs.sorted { $0.key.precedes($1.key) }
    }
    package var dictionary: [String: String] {
        Dictionary(pairs.map { (String(decoding: $0.key, as: UTF8.self), String(decoding: $0.value, as: UTF8.self)) }) {
            $1
        }
    }

    package subscript(key: String) -> String? {
        get { self[bytes: key].map { String(decoding: $0, as: UTF8.self) } }
        set { self[bytes: key] = newValue.map { Array($0.utf8) } }
    }

    /// A value that need not be text.
    package subscript(bytes key: String) -> [UInt8]? {
        get {
            let wanted = Array(key.utf8)
            return pairs.last { $0.key == wanted }?.value
        }
        set {
            let wanted = Array(key.utf8)
            pairs.removeAll { $0.key == wanted }
            guard let newValue else { return }
            let place = pairs.firstIndex { wanted.precedes($0.key) } ?? pairs.count
            pairs.insert((wanted, newValue), at: place)
        }
    }

    package static func == (left: Metadata, right: Metadata) -> Bool {
        left.count == right.count
            && zip(left.sorted, right.sorted).allSatisfy { $0.key == $1.key && $0.value == $1.value }
    }
}

extension ProtobufWriter {
    /// A `map<string, string>`.
    mutating func map(_ field: Int, _ value: Metadata) {
        for pair in value.pairs {
            message(field) {
                $0.always(1, pair.key)
                $0.always(2, pair.value)
            }
        }
    }
}
