import CZstd
import Foundations

/// Where a table's bytes come from.
package protocol TableSource: Sendable {
    var byteCount: Int64 { get }
    /// Exactly the bytes of `range`, or an error.
    func read(_ range: Range<Int64>) throws -> [UInt8]
}

/// A table in memory.
package struct MemoryTable: TableSource {
    let bytes: [UInt8]
    package init(_ bytes: [UInt8]) { self.bytes = bytes }
    package var byteCount: Int64 { Int64(bytes.count) }
    package func read(_ range: Range<Int64>) throws -> [UInt8] {
        Array(bytes[Int(range.lowerBound)..<Int(range.upperBound)])
    }
}

/// What decoded blocks are cached under: the table's id and the block's offset.
package struct BlockName: Hashable, Sendable {
    let table: String
    let offset: UInt64
}

/// Decoded blocks under a byte budget, shared by all tables of a process.
package struct BlockCache: Sendable {
    /// In parts: a listing of many prefixes looks a block up for each, and many listings at once waited for one lock
    /// more than they worked.
    let blocks: ShardedCache<BlockName, AnyBlock>
    /// - Parameter budgetBytes: decoded bytes to keep.
    package init(budgetBytes: Int) { blocks = ShardedCache(budget: budgetBytes) }
    package struct AnyBlock: Sendable { let block: Block }
}

/// An open table: its footer and index are read once, blocks come through the cache. Safe from any thread.
package final class TableReader: Sendable {
    /// A block larger than this is no block of ours: values are at most 40 MiB each (`lakefs-formats.md` 3.1).
    private static let largestBlock = 128 << 20
    /// What is read of a table's end at once, and the size of tables that are kept in memory: metaranges of some ten
    /// ranges.
    private static let tailBytes: Int64 = 16 << 10
    /// Bytes behind a block: its compression and checksum.
    static let blockTrailer = 5

    /// Distinguishes the table in the cache: its content id.
    let name: String
    private let source: any TableSource
    private let cache: BlockCache
    let topIndex: Block
    let isTwoLevel: Bool
    /// User and built-in properties.
    package let properties: [String: [UInt8]]

    /// - Throws: `SSTableError` if the bytes are no table of the supported kinds.
    package init(name: String, source: any TableSource, cache: BlockCache) throws {
        self.name = name
        self.cache = cache
        let size = source.byteCount
        let tailStart = max(0, size - Self.tailBytes)
        // Footer, properties and index in one piece; of a small table all of it.
        let tail = try source.read(tailStart..<size)
        self.source = tailStart == 0 ? MemoryTable(tail) : source
        let footer = try Footer(tail: tail.suffix(Footer.byteCount).map { $0 })
        func load(_ handle: BlockHandle) throws -> Block {
            let range = try Self.range(of: handle, in: source)
            guard range.lowerBound >= tailStart else {
                return try Self.decode(source.read(range)[...], at: handle.offset)
            }
            return try Self.decode(
                tail[Int(range.lowerBound - tailStart)..<Int(range.upperBound - tailStart)], at: handle.offset)
        }
        var properties: [String: [UInt8]] = [:]
        var metaCursor = BlockCursor(try load(footer.metaindex))
        while try metaCursor.advance() {
            guard metaCursor.key == Array("rocksdb.properties".utf8) else { continue }
            var position = 0
            guard let handle = BlockHandle(metaCursor.valueBytes, &position) else {
                throw SSTableError.malformed("properties handle")
            }
            var cursor = BlockCursor(try load(handle))
            while try cursor.advance() { properties[String(decoding: cursor.key, as: UTF8.self)] = cursor.valueBytes }
        }
        if let comparator = properties["rocksdb.comparator"], !comparator.isEmpty,
            comparator != Array("leveldb.BytewiseComparator".utf8)
        {
            throw SSTableError.unsupported("comparator \(String(decoding: comparator, as: UTF8.self))")
        }
        isTwoLevel = properties["rocksdb.block.based.table.index.type"]?.first == 2
        self.properties = properties
        topIndex = try load(footer.index)
    }

    /// Bytes that it keeps in memory, about.
    var byteCost: Int { 4096 + topIndex.count + ((source as? MemoryTable)?.bytes.count ?? 0) }

    /// Whether the table's blocks end where our writer would end them: lakeFS's do, whose property collector has this
    /// name.
    var hasOurBlocks: Bool { properties["rocksdb.property.collectors"] == Array("[static]".utf8) }

    /// The bytes of a block with its trailer.
    private static func range(of handle: BlockHandle, in source: any TableSource) throws(SSTableError) -> Range<Int64> {
        guard handle.length <= UInt64(largestBlock), handle.offset <= UInt64(source.byteCount),
            handle.length + UInt64(blockTrailer) <= UInt64(source.byteCount) - handle.offset
        else {
            throw .malformed("block handle beyond the file")
        }
        return Int64(handle.offset)..<Int64(handle.offset + handle.length) + Int64(blockTrailer)
    }

    /// Checks and decodes a block with its trailer.
    private static func decode(_ stored: ArraySlice<UInt8>, at offset: UInt64) throws -> Block {
        unsafe try stored.withUnsafeBytes { bytes in
            let count = bytes.count - blockTrailer
            let type = unsafe bytes[count]
            let contents = unsafe UnsafeRawBufferPointer(rebasing: bytes[..<count])
            let sum = unsafe UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: count + 1, as: UInt32.self))
            #if !FUZZING  // Tests/Fuzz wants to see what is behind a right checksum.
            guard unsafe BlockChecksum.masked(contents, type: type) == sum else {
                throw SSTableError.badChecksum(offset: offset)
            }
            #endif
            let decoded: UnsafeMutablePointer<UInt8>
            let length: Int
            switch type {
            case 0:
                length = count
                unsafe decoded = .allocate(capacity: max(length, 1))
                if count > 0 {
                    unsafe UnsafeMutableRawPointer(decoded).copyMemory(from: contents.baseAddress!, byteCount: count)
                }
            case 1:
                var position = 0
                length = unsafe try Snappy.decompressedLength(contents, &position, limit: largestBlock)
                unsafe decoded = .allocate(capacity: max(length, 1))
                guard
                    unsafe Snappy.decompress(
                        contents, from: position, into: UnsafeMutableBufferPointer(start: decoded, count: length))
                else {
                    unsafe decoded.deallocate()
                    throw SSTableError.malformed("snappy data")
                }
            case 7:
                let bytes = unsafe Array(contents)
                var position = 0
                guard let declared = bytes.varint(at: &position), declared <= UInt64(largestBlock) else {
                    throw SSTableError.malformed("zstd length")
                }
                length = Int(declared)
                unsafe decoded = .allocate(capacity: max(length, 1))
                let written = unsafe bytes[position...].withUnsafeBufferPointer {
                    unsafe ZSTD_decompress(decoded, length, $0.baseAddress, $0.count)
                }
                guard ZSTD_isError(written) == 0, written == length else {
                    unsafe decoded.deallocate()
                    throw SSTableError.malformed("zstd data")
                }
            default: throw SSTableError.unsupported("compression \(type)")
            }
            return unsafe try Block(taking: decoded, count: length)
        }
    }

    /// A decoded block, from the cache or into it.
    func block(_ handle: BlockHandle) throws -> Block {
        let name = BlockName(table: name, offset: handle.offset)
        if let cached = cache.blocks[name] { return cached.block }
        let block = try Self.decode(source.read(Self.range(of: handle, in: source))[...], at: handle.offset)
        cache.blocks.insert(.init(block: block), for: name, cost: block.count + 128)
        return block
    }

    /// A walker for short ways: blocks come through the cache.
    package func cursor() -> TableCursor { TableCursor(self, window: nil) }

    /// A walker for the whole table: it reads ahead, and leaves the cache alone.
    func scan() -> TableCursor { TableCursor(self, window: ReadAhead(source)) }

    /// The value of `key`, or nil.
    package func value(for key: [UInt8]) throws -> [UInt8]? {
        let cursor = cursor()
        guard try cursor.seek(key), cursor.order(to: key) == 0 else { return nil }
        return cursor.value
    }

    /// The id that its content gives: what it must be stored under (`lakefs-formats.md` 4.1). Reads all of it.
    package func contentID() throws -> String {
        var hash = Hash(.sha256)
        var pending: [UInt8] = []
        let cursor = scan()
        while try cursor.advance() {
            unsafe cursor.withKey { key in unsafe TableWriter.appendHashed(key, cursor.valueBuffer, to: &pending) }
            if pending.count >= 32768 {
                hash.update(pending)
                pending.removeAll(keepingCapacity: true)
            }
        }
        hash.update(pending)
        let own = properties.filter {
            !$0.key.hasPrefix("rocksdb.") && !TableWriter.unhashedProperties.contains($0.key)
        }
        var tail = IdentityHash()
        tail.map(Metadata(own.sorted { Key($0.key) < Key($1.key) }.map { (Array($0.key.utf8), $0.value) }))
        hash.update(tail.bytes)
        return Hex.text(hash.finish())
    }

    /// A number among its properties, nil if it has none.
    func number(_ property: String) -> Int64? {
        properties[property].flatMap { Int64(String(decoding: $0, as: UTF8.self)) }
    }

    /// Bytes of the whole table.
    var byteCount: Int64 { source.byteCount }

    /// A piece of a table that was read at once.
    struct ReadAhead {
        private let source: any TableSource
        private var start: Int64 = 0
        private var bytes: [UInt8] = []
        /// Some fifty blocks as they are stored: a system call costs as much as decoding one.
        private static let windowBytes: Int64 = 128 << 10

        init(_ source: any TableSource) { self.source = source }

        /// A block with its trailer, as it is stored.
        mutating func stored(_ handle: BlockHandle) throws -> ArraySlice<UInt8> {
            let range = try TableReader.range(of: handle, in: source)
            if range.lowerBound < start || range.upperBound > start + Int64(bytes.count) {
                bytes = []
                bytes = try source.read(
                    range.lowerBound..<max(range.upperBound, min(source.byteCount, range.lowerBound + Self.windowBytes))
                )
                start = range.lowerBound
            }
            return bytes[Int(range.lowerBound - start)..<Int(range.upperBound - start)]
        }

        mutating func block(_ handle: BlockHandle) throws -> Block {
            try TableReader.decode(stored(handle), at: handle.offset)
        }
    }
}
