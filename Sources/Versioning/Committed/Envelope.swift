package import Foundations
import Glibc

/// The value of a table's record: an identity and the data it stands for.
///
///     zigzag varint length · identity · zigzag varint length · data
///
/// Kept as the bytes it was read as: what is carried from table to table is copied, never encoded again.
/// Source: `lakefs-formats.md` 3.1.
package struct Envelope: Sendable {
    package let bytes: [UInt8]
    private let identityRange: Range<Int>
    private let dataRange: Range<Int>

    /// - Throws: `SSTableError.malformed` if the lengths do not fit.
    package init(decoding bytes: [UInt8]) throws(SSTableError) {
        var position = 0
        identityRange = try Self.part(bytes, &position)
        dataRange = try Self.part(bytes, &position)
        self.bytes = bytes
    }

    package init(identity: [UInt8], data: [UInt8]) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(identity.count + data.count + 6)
        bytes.append(zigzag: Int64(identity.count))
        identityRange = bytes.count..<bytes.count + identity.count
        bytes += identity
        bytes.append(zigzag: Int64(data.count))
        dataRange = bytes.count..<bytes.count + data.count
        bytes += data
        self.bytes = bytes
    }

    private static func part(_ bytes: [UInt8], _ position: inout Int) throws(SSTableError) -> Range<Int> {
        guard let raw = bytes.varint(at: &position), raw & 1 == 0, raw >> 1 <= UInt64(bytes.count - position) else {
            throw .malformed("value envelope")
        }
        let range = position..<position + Int(raw >> 1)
        position = range.upperBound
        return range
    }

    package var identity: ArraySlice<UInt8> { bytes[identityRange] }
    package var data: ArraySlice<UInt8> { bytes[dataRange] }

    /// Whether two encoded values have the same identity.
    static func haveSameIdentity(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) throws(SSTableError)
        -> Bool
    {
        let l = unsafe try identity(left)
        let r = unsafe try identity(right)
        return unsafe l.count == r.count && (l.count == 0 || memcmp(l.baseAddress!, r.baseAddress!, l.count) == 0)
    }

    private static func identity(_ bytes: UnsafeRawBufferPointer) throws(SSTableError) -> UnsafeRawBufferPointer {
        var position = 0
        var raw = 0
        var shift = 0
        while position < bytes.count, shift < 35 {
            let byte = unsafe bytes[position]
            position += 1
            raw |= Int(byte & 0x7f) << shift
            if byte < 0x80 {
                guard raw & 1 == 0, raw >> 1 <= bytes.count - position else { break }
                return unsafe UnsafeRawBufferPointer(rebasing: bytes[position..<position + raw >> 1])
            }
            shift += 7
        }
        throw .malformed("value envelope")
    }

    package func hasIdentity(of other: Envelope) -> Bool { identity.elementsEqual(other.identity) }
}

/// One range of a metarange: a table of entries, found by its greatest key. Source: `lakefs-formats.md` 3.3.
/// A class, because walks look at it for every record: one reference to count, not three.
package final class CommittedRange: Sendable {
    package let id: String
    package let minKey: Key
    package let maxKey: Key
    package let estimatedSize: Int64
    package let count: Int64

    package init(id: String, minKey: Key, maxKey: Key, estimatedSize: Int64, count: Int64) {
        self.id = id
        self.minKey = minKey
        self.maxKey = maxKey
        self.estimatedSize = estimatedSize
        self.count = count
    }

    /// What a table that was just written is.
    convenience init(_ summary: TableWriter.Summary) {
        self.init(
            id: summary.id, minKey: summary.minKey, maxKey: summary.maxKey, estimatedSize: Int64(summary.estimatedSize),
            count: Int64(summary.count))
    }

    package convenience init(decoding value: [UInt8]) throws {
        let envelope = try Envelope(decoding: value)
        var minKey = Key([])
        var maxKey = Key([])
        var size: Int64 = 0
        var count: Int64 = 0
        try readProtobuf(envelope.data) { field in
            switch field.number {
            case 1: minKey = Key(field.array)
            case 2: maxKey = Key(field.array)
            case 3: size = min(max(0, field.signed), Entry.largestSize)
            case 4: count = min(max(0, field.signed), Entry.largestSize)
            default: break
            }
        }
        self.init(
            id: String(decoding: envelope.identity, as: UTF8.self), minKey: minKey, maxKey: maxKey, estimatedSize: size,
            count: count)
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.bytes(1, minKey.bytes)
        writer.bytes(2, maxKey.bytes)
        writer.integer(3, estimatedSize)
        writer.integer(4, count)
        return Envelope(identity: Array(id.utf8), data: writer.bytes).bytes
    }
}
