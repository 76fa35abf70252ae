/// Thrift's compact protocol, as far as Parquet's metadata needs it. Source: its specification, "Thrift Compact protocol"
/// (apache/thrift).
///
///     structure   field*, 0
///     field       delta of the number << 4 | kind     (delta 0: the number follows, as an integer)
///     kinds       1 true   2 false   3 byte   4, 5, 6 integer   7 double   8 bytes   9 list   10 set   11 map
///                 12 structure   13 uuid
///     integer     zigzag varint
///     bytes       varint length, bytes
///     list        count << 4 | kind of the items     (count 15: a varint count follows)
///
/// Every item of a list takes a byte at least, so no count is believed that is more than the bytes that are left.
struct ThriftReader {
    /// The bytes are no such structure, or one that is refused.
    struct Malformed: Error {
        /// Says what is refused; nil if the bytes make no sense at all.
        var reason: String?
    }

    static let list: UInt8 = 9
    static let structure: UInt8 = 12
    /// Deeper ones are refused: reading recurses.
    private static let mostDepth = 64

    private let data: [UInt8]
    private(set) var position: Int
    private var depth = 0

    /// - Parameter position: where reading begins; nothing can be read behind the end.
    init(_ data: [UInt8], at position: Int = 0) {
        self.data = data
        self.position = min(max(0, position), data.count)
    }

    /// What was read since `start`, a position of before.
    func bytesRead(since start: Int) -> ArraySlice<UInt8> {
        data[min(max(0, start), position)..<position]
    }

    /// One byte: an integer of eight bits is not encoded further.
    mutating func byte() throws(Malformed) -> UInt8 {
        guard position < data.count else { throw Malformed() }
        defer { position += 1 }
        return data[position]
    }

    private mutating func varint() throws(Malformed) -> UInt64 {
        var result: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 64, by: 7) {
            let byte = try byte()
            result |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return result }
        }
        throw Malformed()
    }

    /// An integer of 16, 32 or 64 bits: they are written alike.
    mutating func integer() throws(Malformed) -> Int64 {
        let value = try varint()
        return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
    }

    /// Bytes or text.
    mutating func bytes() throws(Malformed) -> ArraySlice<UInt8> {
        let count = try varint()
        guard count <= UInt64(data.count - position) else { throw Malformed() }
        defer { position += Int(count) }
        return data[position..<position + Int(count)]
    }

    /// - Parameter body: reads a field's value, or skips it.
    mutating func structure(_ body: (inout ThriftReader, Int16, UInt8) throws(Malformed) -> Void) throws(Malformed) {
        depth += 1
        defer { depth -= 1 }
        guard depth < Self.mostDepth else { throw Malformed() }
        var field: Int16 = 0
        while true {
            let head = try byte()
            if head == 0 { return }
            if head >> 4 == 0 {
                field = Int16(truncatingIfNeeded: try integer())
            } else {
                field &+= Int16(head >> 4)
            }
            try body(&self, field, head & 15)
        }
    }

    /// - Parameter kind: what the items must be, if there are any.
    /// - Parameter body: reads one item; it must take a byte at least.
    mutating func items(
        of kind: UInt8? = nil, _ body: (inout ThriftReader) throws(Malformed) -> Void
    ) throws(Malformed) {
        let (count, found) = try listHead()
        if let kind, count > 0, kind != found { throw Malformed() }
        for _ in 0..<count { try body(&self) }
    }

    private mutating func listHead() throws(Malformed) -> (count: Int, kind: UInt8) {
        let head = try byte()
        let count = head >> 4 == 15 ? try varint() : UInt64(head >> 4)
        guard count <= UInt64(data.count - position) else { throw Malformed() }
        return (Int(count), head & 15)
    }

    private mutating func advance(_ count: Int) throws(Malformed) {
        guard data.count - position >= count else { throw Malformed() }
        position += count
    }

    /// Passes over a value of a field.
    mutating func skip(_ kind: UInt8) throws(Malformed) {
        depth += 1
        defer { depth -= 1 }
        guard depth < Self.mostDepth else { throw Malformed() }
        switch kind {
        case 1, 2: break  // True and false: they are in the kind.
        case 3: _ = try byte()
        case 4, 5, 6: _ = try varint()
        case 7: try advance(8)
        case 8: _ = try bytes()
        case 9, 10:
            let (count, kind) = try listHead()
            for _ in 0..<count { if kind <= 2 { _ = try byte() } else { try skip(kind) } }
        case 11:
            let count = try varint()
            guard count <= UInt64(data.count - position) else { throw Malformed() }
            guard count > 0 else { return }
            let kinds = try byte()
            for _ in 0..<count {
                // Flags take a byte here, as in lists.
                for kind in [kinds >> 4, kinds & 15] { if kind <= 2 { _ = try byte() } else { try skip(kind) } }
            }
        case 12: try structure { reader, _, kind throws(Malformed) in try reader.skip(kind) }
        case 13: try advance(16)
        default: throw Malformed()
        }
    }
}
