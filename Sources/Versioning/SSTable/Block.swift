import Foundations
import Glibc

/// The last bytes of a table; read first.
///
///     offset  size  field
///     0       1     checksum kind (1 = CRC-32C)
///     1       40    metaindex handle, index handle: varint offset + length, zero padded
///     41      4     format version, little-endian
///     45      8     magic
///
/// LevelDB's, 48 bytes, has the handles at offset 0 and no kind and version. Source: `lakefs-formats.md` 2.8.
struct Footer: Equatable {
    static let rocksDBMagic: [UInt8] = [0xf7, 0xcf, 0xf4, 0x85, 0xb7, 0x41, 0xe2, 0x88]
    private static let pebbleMagic: [UInt8] = [0xf0, 0x9f, 0xaa, 0xb3, 0xf0, 0x9f, 0xaa, 0xb3]
    private static let levelDBMagic: [UInt8] = [0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb]
    static let byteCount = 53
    private static let levelDBByteCount = 48

    var index: BlockHandle
    var metaindex: BlockHandle

    /// - Parameter tail: the last 53 bytes of the file, or the whole file if it is shorter.
    init(tail: [UInt8]) throws(SSTableError) {
        guard tail.count >= Self.levelDBByteCount else {
            throw .truncated(expected: Self.levelDBByteCount, found: tail.count)
        }
        let magic = Array(tail.suffix(8))
        var position: Int
        switch magic {
        case Self.levelDBMagic: position = tail.count - Self.levelDBByteCount
        case Self.rocksDBMagic, Self.pebbleMagic:
            guard tail.count == Self.byteCount else { throw .truncated(expected: Self.byteCount, found: tail.count) }
            let version = tail[41..<45].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            guard tail[0] == 1 else { throw .unsupported("checksum kind \(tail[0])") }
            guard magic == Self.rocksDBMagic ? version == 2 : (1...3).contains(version) else {
                throw .unsupported("format version \(version)")
            }
            position = 1
        default: throw .badMagic
        }
        guard let metaindex = BlockHandle(tail, &position), let index = BlockHandle(tail, &position) else {
            throw .malformed("footer handles")
        }
        self.index = index
        self.metaindex = metaindex
    }
}

/// Where a block lies: `length` bytes at `offset`, and a trailer of 5 behind.
struct BlockHandle: Equatable, Hashable {
    var offset: UInt64
    var length: UInt64

    init?(_ bytes: [UInt8], _ position: inout Int) {
        guard let offset = bytes.varint(at: &position), let length = bytes.varint(at: &position) else { return nil }
        self.offset = offset
        self.length = length
    }
}

/// A decoded block: immutable, shared by all who read it.
@safe final class Block: @unchecked Sendable {
    // Written once, by the initialiser; read-only from then on.
    let base: UnsafePointer<UInt8>
    let count: Int
    /// Where the entries end and the restart offsets begin.
    let entriesEnd: Int
    let restartCount: Int

    /// Takes `count` bytes that were allocated for it, or gives them back if they are no block.
    init(taking base: UnsafeMutablePointer<UInt8>, count: Int) throws(SSTableError) {
        var restarts = 0
        var error: SSTableError?
        if count < 8 {
            error = .truncated(expected: 8, found: count)
        } else {
            restarts = unsafe Self.word(base, count - 4)
            if restarts < 1 || restarts > (count - 4) / 4 {
                error = .malformed("restart count \(restarts)")
            } else {
                let end = count - 4 - 4 * restarts
                for index in 0..<restarts where unsafe Self.word(base, end + 4 * index) > end {
                    error = .malformed("restart offset")
                }
            }
        }
        if let error {
            unsafe base.deallocate()
            throw error
        }
        unsafe self.base = unsafe UnsafePointer(base)
        self.count = count
        entriesEnd = count - 4 - 4 * restarts
        restartCount = restarts
    }

    deinit { unsafe base.deallocate() }

    private static func word(_ bytes: UnsafePointer<UInt8>, _ offset: Int) -> Int {
        unsafe Int(UInt32(littleEndian: UnsafeRawPointer(bytes).loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
    }

    func restart(_ index: Int) -> Int { unsafe Self.word(base, entriesEnd + 4 * index) }

}

/// Walks the entries of one block. Keys are as stored: internal keys carry their trailer.
struct BlockCursor {
    let block: Block
    private var next = 0
    private(set) var key: [UInt8] = []
    private(set) var value: Range<Int> = 0..<0

    init(_ block: Block) { self.block = block }

    var isAtEnd: Bool { next >= block.entriesEnd }
    var valueBytes: [UInt8] { unsafe Array(valueBuffer) }
    /// Lives as long as the block.
    var valueBuffer: UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: block.base + value.lowerBound, count: value.count)
    }

    /// The varint at `position`, which moves behind it; -1 if it is cut off or does not fit a block.
    @inline(__always)
    private static func varint(_ base: UnsafePointer<UInt8>, _ position: inout Int, _ end: Int) -> Int {
        guard position < end else { return -1 }
        let first = unsafe base[position]
        position += 1
        if first < 0x80 { return Int(first) }
        var result = Int(first & 0x7f)
        var shift = 7
        while position < end, shift < 35 {
            let byte = unsafe base[position]
            position += 1
            result |= Int(byte & 0x7f) << shift
            if byte < 0x80 { return result }
            shift += 7
        }
        return -1
    }

    /// Goes to the next entry; false at the end.
    mutating func advance() throws(SSTableError) -> Bool {
        let end = block.entriesEnd
        let base = unsafe block.base
        guard next < end else { return false }
        var position = next
        let shared = unsafe Self.varint(base, &position, end)
        let unshared = unsafe Self.varint(base, &position, end)
        let length = unsafe Self.varint(base, &position, end)
        guard shared >= 0, unshared >= 0, length >= 0, shared <= key.count, unshared <= end - position,
            length <= end - position - unshared
        else { throw .malformed("block entry") }
        key.removeLast(key.count - shared)
        unsafe key.append(contentsOf: UnsafeRawBufferPointer(start: base + position, count: unshared))
        value = position + unshared..<position + unshared + length
        next = value.upperBound
        return true
    }

    /// Goes to the first entry whose user key (its key without `trailer` bytes) is not below `target`; false if there
    /// is none.
    mutating func seek(_ target: [UInt8], trailer: Int) throws(SSTableError) -> Bool {
        // The last restart whose key is below the target, by halves.
        var low = 0
        var high = block.restartCount - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if try restartKey(middle, trailer: trailer, precedes: target) { low = middle } else { high = middle - 1 }
        }
        next = block.restart(low)
        key.removeAll(keepingCapacity: true)
        while try advance() {
            guard key.count >= trailer else { throw .malformed("key without trailer") }
            if order(to: target, trailer: trailer) >= 0 { return true }
        }
        return false
    }

    /// Whether the whole key at a restart lies below `target`.
    private func restartKey(_ index: Int, trailer: Int, precedes target: [UInt8]) throws(SSTableError) -> Bool {
        var position = block.restart(index)
        let end = block.entriesEnd
        let shared = unsafe Self.varint(block.base, &position, end)
        let unshared = unsafe Self.varint(block.base, &position, end)
        let length = unsafe Self.varint(block.base, &position, end)
        guard shared == 0, unshared >= trailer, length >= 0, unshared <= end - position else {
            throw .malformed("restart")
        }
        return unsafe compare(UnsafeRawBufferPointer(start: block.base + position, count: unshared - trailer), target)
            < 0
    }

    /// Negative, zero or positive: how the user key under the cursor compares with `target`.
    func order(to target: [UInt8], trailer: Int) -> Int {
        unsafe key.withUnsafeBytes { own in
            unsafe compare(UnsafeRawBufferPointer(rebasing: own[..<(own.count - trailer)]), target)
        }
    }
}

/// Negative, zero or positive, as `memcmp` and then the lengths say.
@inline(__always)
func compare(_ left: UnsafeRawBufferPointer, _ right: [UInt8]) -> Int {
    unsafe right.withUnsafeBytes { unsafe compare(left, $0) }
}

@inline(__always)
func compare(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Int {
    let shared = min(left.count, right.count)
    if shared > 0 {
        let order = unsafe memcmp(left.baseAddress!, right.baseAddress!, shared)
        if order != 0 { return Int(order) }
    }
    return left.count - right.count
}
