import CZstd

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
        guard tail.count >= Self.levelDBByteCount else { throw .truncated(expected: Self.levelDBByteCount, found: tail.count) }
        let magic = Array(tail.suffix(8))
        var position: Int
        switch magic {
        case Self.levelDBMagic: position = tail.count - Self.levelDBByteCount
        case Self.rocksDBMagic, Self.pebbleMagic:
            guard tail.count == Self.byteCount else { throw .truncated(expected: Self.byteCount, found: tail.count) }
            let version = tail[41..<45].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            guard tail[0] == 1 else { throw .unsupported("checksum kind \(tail[0])") }
            guard magic == Self.rocksDBMagic ? version == 2 : (1...3).contains(version) else { throw .unsupported("format version \(version)") }
            position = 1
        default: throw .badMagic
        }
        guard let metaindex = BlockHandle(tail, &position), let index = BlockHandle(tail, &position) else { throw .malformed("footer handles") }
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
final class Block: Sendable {
    let bytes: [UInt8]
    /// Where the entries end and the restart offsets begin.
    let entriesEnd: Int
    let restartCount: Int

    init(_ bytes: [UInt8]) throws(SSTableError) {
        guard bytes.count >= 8 else { throw .truncated(expected: 8, found: bytes.count) }
        let count = Self.word(bytes, bytes.count - 4)
        guard count >= 1, count <= (bytes.count - 4) / 4 else { throw .malformed("restart count \(count)") }
        entriesEnd = bytes.count - 4 - 4 * count
        restartCount = count
        self.bytes = bytes
        for index in 0..<count where restart(index) > entriesEnd { throw .malformed("restart offset") }
    }

    private static func word(_ bytes: [UInt8], _ offset: Int) -> Int {
        Int(bytes[offset]) | Int(bytes[offset + 1]) << 8 | Int(bytes[offset + 2]) << 16 | Int(bytes[offset + 3]) << 24
    }

    func restart(_ index: Int) -> Int { Self.word(bytes, entriesEnd + 4 * index) }
}

/// Walks the entries of one block. Keys are as stored: internal keys carry their trailer.
struct BlockCursor {
    private let block: Block
    private var next = 0
    private(set) var key: [UInt8] = []
    private(set) var value: Range<Int> = 0..<0

    init(_ block: Block) { self.block = block }

    var valueBytes: [UInt8] { Array(block.bytes[value]) }
    var valueSlice: ArraySlice<UInt8> { block.bytes[value] }

    /// Goes to the next entry; false at the end.
    mutating func advance() throws(SSTableError) -> Bool {
        guard next < block.entriesEnd else { return false }
        var position = next
        let entries = block.bytes[0..<block.entriesEnd]
        guard let shared = entries.varint(at: &position), let unshared = entries.varint(at: &position), let length = entries.varint(at: &position),
            shared <= UInt64(key.count), unshared <= UInt64(block.entriesEnd - position), length <= UInt64(block.entriesEnd - position - Int(unshared))
        else { throw .malformed("block entry") }
        key.removeSubrange(Int(shared)...)
        key.append(contentsOf: entries[position..<position + Int(unshared)])
        value = position + Int(unshared)..<position + Int(unshared) + Int(length)
        next = value.upperBound
        return true
    }

    /// Goes to the first entry whose user key (its key without `trailer` bytes) is not below `target`; false if there is none.
    mutating func seek(_ target: [UInt8], trailer: Int) throws(SSTableError) -> Bool {
        // The last restart whose key is below the target, by halves.
        var low = 0, high = block.restartCount - 1
        while low < high {
            let middle = (low + high + 1) / 2
            var probe = BlockCursor(block)
            probe.next = block.restart(middle)
            guard try probe.advance(), probe.key.count >= trailer else { throw .malformed("restart") }
            if Array(probe.key.dropLast(trailer)).precedes(target) { low = middle } else { high = middle - 1 }
        }
        next = block.restart(low)
        key.removeAll(keepingCapacity: true)
        while try advance() {
            guard key.count >= trailer else { throw .malformed("key without trailer") }
            if !userKeyPrecedes(target, trailer) { return true }
        }
        return false
    }

    private func userKeyPrecedes(_ target: [UInt8], _ trailer: Int) -> Bool {
        let count = key.count - trailer
        return unsafe key.withUnsafeBytes { own in
            unsafe target.withUnsafeBytes { other in
                unsafe UnsafeRawBufferPointer(rebasing: own[..<count]).lexicographicallyPrecedes(other)
            }
        }
    }
}

/// Where a table's bytes come from.
package protocol TableSource: Sendable {
    var byteCount: Int64 { get }
    /// Exactly the bytes of `range`, or an error.
    func read(_ range: Range<Int64>) throws -> [UInt8]
}

/// A table in memory: for tests.
package struct MemoryTable: TableSource {
    let bytes: [UInt8]
    package init(_ bytes: [UInt8]) { self.bytes = bytes }
    package var byteCount: Int64 { Int64(bytes.count) }
    package func read(_ range: Range<Int64>) throws -> [UInt8] { Array(bytes[Int(range.lowerBound)..<Int(range.upperBound)]) }
}

/// What decoded blocks are cached under: the table's id and the block's offset.
package struct BlockName: Hashable, Sendable {
    let table: String
    let offset: UInt64
}

/// Decoded blocks under a byte budget, shared by all tables of a process.
package struct BlockCache: Sendable {
    let blocks: LRUCache<BlockName, AnyBlock>
    /// - Parameter budgetBytes: decoded bytes to keep.
    package init(budgetBytes: Int) { blocks = LRUCache(budget: budgetBytes) }
    package struct AnyBlock: Sendable { let block: Block }
}

/// An open table: its footer and index are read once, blocks come through the cache. Safe from any thread.
package final class TableReader: Sendable {
    /// A block larger than this is no block of ours: values are at most 40 MiB each (`lakefs-formats.md` 3.1).
    private static let largestBlock = 128 << 20

    /// Distinguishes the table in the cache: its content id.
    let name: String
    private let source: any TableSource
    private let cache: BlockCache
    private let topIndex: Block
    private let hasPartitions: Bool
    /// User and built-in properties.
    package let properties: [String: [UInt8]]

    /// - Throws: `SSTableError` if the bytes are no table of the supported kinds.
    package init(name: String, source: any TableSource, cache: BlockCache) throws {
        self.name = name
        self.source = source
        self.cache = cache
        let size = source.byteCount
        let footer = try Footer(tail: source.read(max(0, size - Int64(Footer.byteCount))..<size))
        let metaindex = try Self.load(footer.metaindex, from: source)
        var properties: [String: [UInt8]] = [:]
        var metaCursor = BlockCursor(metaindex)
        while try metaCursor.advance() {
            guard metaCursor.key == Array("rocksdb.properties".utf8) else { continue }
            var position = 0
            guard let handle = BlockHandle(metaCursor.valueBytes, &position) else { throw SSTableError.malformed("properties handle") }
            var cursor = BlockCursor(try Self.load(handle, from: source))
            while try cursor.advance() { properties[String(decoding: cursor.key, as: UTF8.self)] = cursor.valueBytes }
        }
        if let comparator = properties["rocksdb.comparator"], !comparator.isEmpty, comparator != Array("leveldb.BytewiseComparator".utf8) {
            throw SSTableError.unsupported("comparator \(String(decoding: comparator, as: UTF8.self))")
        }
        hasPartitions = properties["rocksdb.block.based.table.index.type"]?.first == 2
        self.properties = properties
        topIndex = try Self.load(footer.index, from: source)
    }

    /// Reads, checks and decodes a block.
    private static func load(_ handle: BlockHandle, from source: any TableSource) throws -> Block {
        guard handle.length <= UInt64(largestBlock), handle.offset <= UInt64(source.byteCount), handle.length + 5 <= UInt64(source.byteCount) - handle.offset else {
            throw SSTableError.malformed("block handle beyond the file")
        }
        let start = Int64(handle.offset), stored = try source.read(start..<start + Int64(handle.length) + 5)
        let contents = stored.dropLast(5), type = stored[stored.count - 5]
        let sum = stored.suffix(4).reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        guard BlockChecksum.masked(contents, type: type) == sum else { throw SSTableError.badChecksum(offset: handle.offset) }
        switch type {
        case 0: return try Block(Array(contents))
        case 1: return try Block(Snappy.decompress(contents, limit: largestBlock))
        case 7:
            var position = contents.startIndex
            guard let length = contents.varint(at: &position), length <= UInt64(largestBlock) else { throw SSTableError.malformed("zstd length") }
            let frame = contents[position...]
            var written = 0
            let decoded = unsafe [UInt8](unsafeUninitializedCapacity: Int(length)) { target, count in
                written = unsafe frame.withUnsafeBufferPointer { unsafe ZSTD_decompress(target.baseAddress, target.count, $0.baseAddress, $0.count) }
                count = ZSTD_isError(written) == 0 ? written : 0
            }
            guard ZSTD_isError(written) == 0, decoded.count == Int(length) else { throw SSTableError.malformed("zstd data") }
            return try Block(decoded)
        default: throw SSTableError.unsupported("compression \(type)")
        }
    }

    fileprivate func block(_ handle: BlockHandle) throws -> Block {
        let name = BlockName(table: name, offset: handle.offset)
        if let cached = cache.blocks[name] { return cached.block }
        let block = try Self.load(handle, from: source)
        cache.blocks.insert(.init(block: block), for: name, cost: block.bytes.count + 128)
        return block
    }

    package func cursor() -> TableCursor { TableCursor(self) }

    /// The value of `key`, or nil.
    package func value(for key: [UInt8]) throws -> [UInt8]? {
        var cursor = cursor()
        guard try cursor.seek(key), cursor.key == key else { return nil }
        return cursor.value
    }

    fileprivate var indexCursor: BlockCursor { BlockCursor(topIndex) }
    fileprivate var isTwoLevel: Bool { hasPartitions }
}

/// Walks a table's records in key order. A value: copying it remembers the place.
package struct TableCursor {
    private let table: TableReader
    private var top: BlockCursor
    private var partition: BlockCursor?
    private var data: BlockCursor?

    fileprivate init(_ table: TableReader) {
        self.table = table
        top = table.indexCursor
    }

    /// The record's user key.
    package private(set) var key: [UInt8] = []
    package var value: [UInt8] { data!.valueBytes }
    package var valueSlice: ArraySlice<UInt8> { data!.valueSlice }

    private mutating func take() throws {
        guard let stored = data?.key, stored.count >= 8 else { throw SSTableError.malformed("key without trailer") }
        key = Array(stored.dropLast(8))
    }

    /// Opens the block that the index cursor stands on.
    private func open(_ cursor: BlockCursor) throws -> BlockCursor {
        var position = 0
        guard let handle = BlockHandle(cursor.valueBytes, &position) else { throw SSTableError.malformed("index entry") }
        return BlockCursor(try table.block(handle))
    }

    private mutating func nextDataBlock() throws -> Bool {
        while true {
            if table.isTwoLevel {
                if var current = partition, try current.advance() {
                    partition = current
                    data = try open(current)
                    return true
                }
                guard try top.advance() else { return false }
                partition = try open(top)
            } else {
                guard try top.advance() else { return false }
                data = try open(top)
                return true
            }
        }
    }

    /// Goes to the next record, or to the first one; false at the end.
    package mutating func advance() throws -> Bool {
        while true {
            if data != nil, try data!.advance() {
                try take()
                return true
            }
            guard try nextDataBlock() else {
                data = nil
                return false
            }
        }
    }

    /// Goes to the first record with a key not below `target`; false if there is none.
    package mutating func seek(_ target: [UInt8]) throws -> Bool {
        top = table.indexCursor
        partition = nil
        data = nil
        guard try top.seek(target, trailer: 8) else { return false }
        if table.isTwoLevel {
            var inner = try open(top)
            guard try inner.seek(target, trailer: 8) else { return try advance() }
            partition = inner
            data = try open(inner)
        } else {
            data = try open(top)
        }
        if try data!.seek(target, trailer: 8) {
            try take()
            return true
        }
        return try advance()
    }
}
