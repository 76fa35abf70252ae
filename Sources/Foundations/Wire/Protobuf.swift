/// Writes the protobuf wire format: fields in ascending order, default values left out
/// (`lakefs-formats.md` 3.4; protobuf.dev, "Encoding").
package struct ProtobufWriter {
    package private(set) var bytes: [UInt8] = []
    package init() {}

    package mutating func varint(_ value: UInt64) { bytes.append(varint: value) }
    private mutating func tag(_ field: Int, _ wire: UInt64) { varint(UInt64(field) << 3 | wire) }

    package mutating func integer(_ field: Int, _ value: Int64) {
        guard value != 0 else { return }
        tag(field, 0)
        varint(UInt64(bitPattern: value))
    }

    package mutating func bool(_ field: Int, _ value: Bool) { integer(field, value ? 1 : 0) }

    /// A string or bytes field; left out when empty.
    package mutating func bytes(_ field: Int, _ value: [UInt8]) {
        if !value.isEmpty { always(field, value) }
    }

    package mutating func string(_ field: Int, _ value: String) { bytes(field, Array(value.utf8)) }

    /// A field that is written even when empty: elements of lists, map entries, messages that are set.
    package mutating func always(_ field: Int, _ value: [UInt8]) {
        tag(field, 2)
        varint(UInt64(value.count))
        bytes += value
    }

    package mutating func strings(_ field: Int, _ values: [String]) {
        for value in values { always(field, Array(value.utf8)) }
    }

    package mutating func message(_ field: Int, _ build: (inout ProtobufWriter) -> Void) {
        var inner = ProtobufWriter()
        build(&inner)
        always(field, inner.bytes)
    }

    package mutating func time(_ field: Int, _ value: Timestamp?) {
        guard let value else { return }
        message(field) {
            $0.integer(1, value.seconds)
            $0.integer(2, Int64(value.nanoseconds))
        }
    }
}

/// One field as it stands in a message.
@usableFromInline
package struct ProtobufField {
    package let number: Int
    /// The value of a varint or fixed-width field.
    @usableFromInline package let integer: UInt64
    /// The bytes of a length-delimited field.
    @usableFromInline package let bytes: ArraySlice<UInt8>

    package init(number: Int, integer: UInt64, bytes: ArraySlice<UInt8>) {
        self.number = number
        self.integer = integer
        self.bytes = bytes
    }

    @inlinable package var string: String { String(decoding: bytes, as: UTF8.self) }
    @inlinable package var signed: Int64 { Int64(bitPattern: integer) }
    @inlinable package var array: [UInt8] { Array(bytes) }
}

@usableFromInline
package enum ProtobufError: Error { case malformed }

/// The fields of `message`, in the order they stand, given to `take`. Unknown ones are the caller's to pass over.
package func readProtobuf(_ message: some Collection<UInt8>, _ take: (ProtobufField) throws -> Void) throws {
    try readProtobuf(ArraySlice(Array(message)), take)
}

package func readProtobuf(_ message: [UInt8], _ take: (ProtobufField) throws -> Void) throws {
    try readProtobuf(message[...], take)
}

package func readProtobuf(_ message: ArraySlice<UInt8>, _ take: (ProtobufField) throws -> Void) throws {
    var position = message.startIndex
    while position < message.endIndex {
        guard let tag = message.varint(at: &position), tag >> 3 > 0, tag >> 3 < 1 << 29 else {
            throw ProtobufError.malformed
        }
        let number = Int(tag >> 3)
        switch tag & 7 {
        case 0:
            guard let value = message.varint(at: &position) else { throw ProtobufError.malformed }
            try take(ProtobufField(number: number, integer: value, bytes: []))
        case 2:
            guard let length = message.varint(at: &position), length <= UInt64(message.endIndex - position) else {
                throw ProtobufError.malformed
            }
            let end = position + Int(length)
            try take(ProtobufField(number: number, integer: 0, bytes: message[position..<end]))
            position = end
        case 1, 5:
            let width = tag & 7 == 1 ? 8 : 4
            guard message.endIndex - position >= width else { throw ProtobufError.malformed }
            var value: UInt64 = 0
            for index in 0..<width { value |= UInt64(message[position + index]) << UInt64(8 * index) }
            position += width
            try take(ProtobufField(number: number, integer: value, bytes: []))
        default: throw ProtobufError.malformed
        }
    }
}

/// As `readProtobuf`, with nothing made of the fields: their tags, the values of varints, and the bytes of what has a
/// length. Fields of fixed width are passed over.
@inlinable @inline(__always)
package func scanProtobuf(
    _ message: UnsafeRawBufferPointer,
    _ take: (_ tag: UInt64, _ value: UInt64, _ field: UnsafeRawBufferPointer) throws -> Void
) throws {
    let nothing = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
    var position = 0
    while position < message.count {
        guard let tag = unsafe message.varint(at: &position) else { throw ProtobufError.malformed }
        switch tag & 7 {
        case 0:
            guard let value = unsafe message.varint(at: &position) else { throw ProtobufError.malformed }
            unsafe try take(tag, value, nothing)
        case 2:
            guard let length = unsafe message.varint(at: &position), length <= UInt64(message.count - position) else {
                throw ProtobufError.malformed
            }
            let end = position + Int(length)
            unsafe try take(tag, 0, UnsafeRawBufferPointer(rebasing: message[position..<end]))
            position = end
        case 1, 5:
            position += tag & 7 == 1 ? 8 : 4
            guard position <= message.count else { throw ProtobufError.malformed }
        default: throw ProtobufError.malformed
        }
    }
}

/// A map entry: field 1 is the key, field 2 the value.
package func protobufPair(_ message: UnsafeRawBufferPointer) throws -> (key: [UInt8], value: [UInt8]) {
    var (key, value): ([UInt8], [UInt8]) = ([], [])
    unsafe try scanProtobuf(message) { tag, _, field in
        if tag == 0x0a { key = unsafe Array(field) }
        if tag == 0x12 { value = unsafe Array(field) }
    }
    return (key, value)
}

extension Timestamp {
    /// From a message `google.protobuf.Timestamp`.
    package init(protobuf message: UnsafeRawBufferPointer) throws {
        self.init(seconds: 0)
        unsafe try scanProtobuf(message) { tag, value, _ in
            if tag == 0x08 { seconds = Int64(bitPattern: value) }
            if tag == 0x10 { nanoseconds = Int32(min(max(0, Int64(bitPattern: value)), 999_999_999)) }
        }
    }
}

extension ProtobufField {
    package func pair() throws -> (key: [UInt8], value: [UInt8]) {
        unsafe try bytes.withUnsafeBytes { unsafe try protobufPair($0) }
    }

    package func time() throws -> Timestamp {
        unsafe try bytes.withUnsafeBytes { unsafe try Timestamp(protobuf: $0) }
    }
}

extension [UInt8] {
    /// Base-128, least significant group first.
    @inlinable package mutating func append(varint value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        append(UInt8(rest))
    }

    /// Go's signed varint.
    @inlinable package mutating func append(zigzag value: Int64) {
        append(varint: UInt64(bitPattern: (value << 1) ^ (value >> 63)))
    }

    @inlinable package mutating func append(littleEndian value: UInt32) {
        unsafe Swift.withUnsafeBytes(of: value.littleEndian) { unsafe append(contentsOf: $0) }
    }

    /// Decimal digits; `value` is not negative.
    @inlinable package mutating func append(decimal value: Int) {
        if value < 10 { return append(UInt8(48 + value)) }
        unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            var rest = UInt(value)
            var start = 20
            while rest > 0 {
                start -= 1
                unsafe digits[start] = UInt8(48 + rest % 10)
                rest /= 10
            }
            unsafe append(contentsOf: digits[start...])
        }
    }
}

extension RandomAccessCollection<UInt8> where Index == Int {
    /// The varint at `position`, which moves behind it; nil if it is cut off or longer than 64 bits.
    @inlinable package func varint(at position: inout Int) -> UInt64? {
        var result: UInt64 = 0
        var shift: UInt64 = 0
        while position < endIndex {
            let byte = self[position]
            position += 1
            if shift == 63 && byte > 1 { return nil }
            result |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return result }
            shift += 7
            if shift > 63 { return nil }
        }
        return nil
    }
}
