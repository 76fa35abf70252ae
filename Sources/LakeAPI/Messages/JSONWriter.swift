import Foundations
import Versioning

/// What can be written as JSON.
package protocol JSONWritable {
    func write(to json: inout JSONWriter)
}

extension String: JSONWritable {
    package func write(to json: inout JSONWriter) { json.text(self) }
}

extension Bool: JSONWritable {
    package func write(to json: inout JSONWriter) { json.flag(self) }
}

extension Int: JSONWritable {
    package func write(to json: inout JSONWriter) { json.integer(Int64(self)) }
}

extension Int64: JSONWritable {
    package func write(to json: inout JSONWriter) { json.integer(self) }
}

extension Array: JSONWritable where Element: JSONWritable {
    package func write(to json: inout JSONWriter) {
        json.array { json in for item in self { item.write(to: &json) } }
    }
}

extension Dictionary: JSONWritable where Key == String, Value: JSONWritable {
    package func write(to json: inout JSONWriter) { json.map(self) }
}

/// Writes JSON field by field: `JSONEncoder` took most of an answer's time (`style.md` section 8). Names are given as
/// they are sent, in their order.
package struct JSONWriter {
    package private(set) var bytes: [UInt8] = []
    private var needsComma = false

    package init(reserving byteCount: Int = 512) { bytes.reserveCapacity(byteCount) }

    private mutating func separate() {
        if needsComma { bytes.append(0x2c) }
        needsComma = true
    }

    package mutating func object(_ body: (inout JSONWriter) throws -> Void) rethrows { try nested(0x7b, 0x7d, body) }
    package mutating func array(_ body: (inout JSONWriter) throws -> Void) rethrows { try nested(0x5b, 0x5d, body) }

    private mutating func nested(_ open: UInt8, _ close: UInt8, _ body: (inout JSONWriter) throws -> Void) rethrows {
        separate()
        bytes.append(open)
        needsComma = false
        try body(&self)
        bytes.append(close)
        needsComma = true
    }

    /// The name of a member; its value is written next.
    package mutating func name(_ name: StaticString) {
        separate()
        bytes.append(0x22)
        unsafe bytes.append(contentsOf: UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
        bytes.append(0x22)
        bytes.append(0x3a)
        needsComma = false
    }

    package mutating func integer(_ value: Int64) {
        separate()
        if value < 0 {
            bytes.append(contentsOf: String(value).utf8)
        } else {
            bytes.append(decimal: Int(value))
        }
    }

    /// Infinities and what is no number JSON has not: they are null.
    package mutating func number(_ value: Double) {
        guard value.isFinite else { return null() }
        separate()
        bytes.append(contentsOf: "\(value)".utf8)
    }

    package mutating func flag(_ value: Bool) {
        separate()
        bytes.append(contentsOf: (value ? "true" : "false").utf8)
    }

    package mutating func text(_ value: String) {
        var value = value
        separate()
        bytes.append(0x22)
        value.withUTF8 { unsafe escaped(UnsafeRawBufferPointer($0)) }
        bytes.append(0x22)
    }

    /// Text of which the first part is given as bytes: valid UTF-8, both.
    package mutating func text(_ prefix: [UInt8], _ rest: String) {
        var rest = rest
        separate()
        bytes.append(0x22)
        unsafe prefix.withUnsafeBytes { unsafe escaped($0) }
        rest.withUTF8 { unsafe escaped(UnsafeRawBufferPointer($0)) }
        bytes.append(0x22)
    }

    package mutating func null() {
        separate()
        bytes.append(contentsOf: "null".utf8)
    }

    package mutating func member(_ name: StaticString, _ value: some JSONWritable) {
        self.name(name)
        value.write(to: &self)
    }

    /// A member whose name is known only when it is written.
    package mutating func member(named name: String, _ value: some JSONWritable) {
        text(name)
        bytes.append(0x3a)
        needsComma = false
        value.write(to: &self)
    }

    /// A member that is left out where there is no value.
    mutating func memberIfPresent(_ name: StaticString, _ value: (some JSONWritable)?) {
        if let value { member(name, value) }
    }

    mutating func memberOrNull(_ name: StaticString, _ value: (some JSONWritable)?) {
        self.name(name)
        if let value { value.write(to: &self) } else { null() }
    }

    /// A map, sorted by its names.
    fileprivate mutating func map<Value: JSONWritable>(_ map: [String: Value]) {
        object { json in
            for (key, value) in map.sorted(by: { $0.key < $1.key }) { json.member(named: key, value) }
        }
    }

    private static let digits = Array("0123456789abcdef".utf8)

    /// RFC 8259, section 7: quotes, backslashes and controls are escaped, all else stands as it is.
    private mutating func escaped(_ text: UnsafeRawBufferPointer) {
        var start = 0
        for index in 0..<text.count {
            let byte = unsafe text[index]
            guard byte < 0x20 || byte == 0x22 || byte == 0x5c else { continue }
            unsafe bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: text[start..<index]))
            start = index + 1
            bytes.append(0x5c)
            switch byte {
            case 0x22, 0x5c: bytes.append(byte)
            case 0x0a: bytes.append(0x6e)
            case 0x0d: bytes.append(0x72)
            case 0x09: bytes.append(0x74)
            default: bytes += [0x75, 0x30, 0x30, Self.digits[Int(byte >> 4)], Self.digits[Int(byte & 15)]]
            }
        }
        unsafe bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: text[start...]))
    }

    /// One page of a listing. Source: the API's `Pagination`.
    package static func list<Item>(
        _ items: [Item], hasMore: Bool, next: (Item) -> String, _ write: (inout JSONWriter, Item) throws -> Void
    ) rethrows -> [UInt8] {
        var json = JSONWriter(reserving: 256 + items.count * 300)
        try json.object { json in
            json.member("pagination", API.Pagination(of: items, hasMore: hasMore, next: next))
            json.name("results")
            try json.array { json in
                for item in items { try write(&json, item) }
            }
        }
        return json.bytes
    }
}
