package import Foundations

/// Writes one table to the bytes that lakeFS would write; they can be taken out of memory as they come (`takeWritten`).
/// Source: `lakefs-formats.md` section 2.
package final class TableWriter {
    static let blockSize = 4096
    /// 90 % of the block size, rounded up.
    static let blockSizeThreshold = (blockSize * 90 + 99) / 100
    private static let setTrailer: [UInt8] = [1, 0, 0, 0, 0, 0, 0, 0]
    private static let separatorTrailer: [UInt8] = [0x11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]

    /// What a finished table is.
    package struct Summary: Sendable {
        /// The table's id: 64 hex digits over its records and its type (`lakefs-formats.md` 4.1).
        package let id: String
        /// The file, or what was not taken out of memory before.
        package let bytes: [UInt8]
        package let count: Int
        package let minKey: Key
        package let maxKey: Key
        package let estimatedSize: Int
    }

    private let userProperties: [(String, String)]
    /// Whether index partitions end as they did before January 2023, when the real handle length was counted (2.6).
    private let usesOldIndexRule: Bool
    /// What is written and not taken out yet, and how much was taken out before.
    private var file: [UInt8] = []
    private var takenBytes = 0
    /// Bytes of the table so far.
    private var fileSize: Int { takenBytes + file.count }
    private var data = BlockBuilder(restartInterval: 16)
    private var index = BlockBuilder(restartInterval: 1)
    private var partitions: [(lastKey: [UInt8], block: [UInt8])] = []
    private var lastUserKey: [UInt8] = []
    private var firstUserKey: [UInt8] = []
    private var count = 0, dataBlocks = 0, rawKeySize = 0, rawValueSize = 0
    private var hash = Hash(.sha256)
    private var unhashed: [UInt8] = []
    /// Where blocks are compressed before they go to the file.
    private var scratch: [UInt8] = []

    /// - Parameters:
    ///   - type: `ranges` or `metaranges`.
    ///   - properties: further user properties, hashed into the id (refs dumps have them).
    package init(type: String, properties: [(String, String)] = [], oldIndexRule: Bool = false) {
        userProperties = [("type", type)] + properties
        usesOldIndexRule = oldIndexRule
    }

    /// The size that decides where ranges break (2.9); 8 for an empty table.
    package var estimatedSize: Int { fileSize + data.estimate + index.estimate }

    /// Adds a record.
    /// - Throws: `.malformed` if its key does not lie behind all others: records come from tables, and those may be
    ///   damaged.
    package func add(_ key: [UInt8], _ value: [UInt8]) throws {
        try unsafe key.withUnsafeBytes { key in try unsafe value.withUnsafeBytes { try unsafe add(key, $0) } }
    }

    package func add(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) throws(SSTableError) {
        guard unsafe count == 0 || compare(key, lastUserKey) > 0 else { throw .malformed("keys that do not ascend") }
        if data.isFull(beforeKeySize: key.count + 8, valueSize: value.count) { unsafe finishDataBlock(next: key) }
        unsafe Self.setTrailer.withUnsafeBytes { unsafe data.add(key, trailer: $0, value: value) }
        if count == 0 { firstUserKey = unsafe Array(key) }
        lastUserKey.removeAll(keepingCapacity: true)
        unsafe lastUserKey.append(contentsOf: key)
        count += 1
        rawKeySize += key.count + 8
        rawValueSize += value.count
        unsafe Self.appendHashed(key, value, to: &unhashed)
        if unhashed.count >= 32768 { hashPending() }
    }

    /// User properties that are set when the table is closed, and so are no part of its id (4.1).
    static let unhashedProperties: Set<String> = ["min_key", "max_key", "count", "estimated_size_bytes"]

    /// A record as the table's id is hashed over (4.1): both lengths in decimal.
    static func appendHashed(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, to bytes: inout [UInt8]) {
        bytes.reserveCapacity(bytes.count + key.count + value.count + 42)
        bytes.append(decimal: key.count)
        unsafe bytes.append(contentsOf: key)
        bytes.append(0x7c)
        bytes.append(decimal: value.count)
        unsafe bytes.append(contentsOf: value)
        bytes.append(0x7c)
    }

    private func hashPending() {
        hash.update(unhashed)
        unhashed.removeAll(keepingCapacity: true)
    }

    /// Takes what is written out of memory, if it is at least so many bytes: the beginning of the file, or what follows
    /// what was taken before.
    func takeWritten(atLeast byteCount: Int, _ take: (UnsafeRawBufferPointer) throws -> Void) rethrows {
        guard file.count >= byteCount else { return }
        unsafe try file.withUnsafeBytes(take)
        takenBytes += file.count
        file.removeAll(keepingCapacity: true)
    }

    // MARK: blocks of another table

    package var isEmpty: Bool { count == 0 }

    /// Takes over a block of another table as it is stored: what writing its records would give, without compressing
    /// them again.
    ///
    /// That is so if the other table's blocks end as ours do, and the record that follows the block is the same in
    /// both. Refused if a block is open here that goes on.
    /// - Parameters:
    ///   - stored: with its trailer.
    ///   - indexKey: the key of its index entry, as it is stored.
    ///   - breaks: tells whether a range ends after a record of that key at that size; the block is refused if any
    ///     does.
    /// - Returns: false if it was refused; nothing was taken then.
    func take(
        _ block: Block, stored: ArraySlice<UInt8>, indexKey: [UInt8], breaks: (UnsafeRawBufferPointer, Int) -> Bool
    ) throws -> Bool {
        if !data.isEmpty {
            var first = BlockCursor(block)
            guard try first.advance(), first.key.count >= 8 else {
                throw SSTableError.malformed("block without records")
            }
            guard data.isFull(beforeKeySize: first.key.count, valueSize: first.value.count) else { return false }
            unsafe first.key.withUnsafeBytes {
                unsafe finishDataBlock(next: UnsafeRawBufferPointer(rebasing: $0[..<($0.count - 8)]))
            }
        }
        let mark = unhashed.count
        let largest = fileSize + block.count + index.estimate
        var cursor = BlockCursor(block)
        var records = 0
        var keyBytes = 0
        var valueBytes = 0
        var isFirst = true
        var doesBreak = false
        var isAscending = true
        while try cursor.advance() {
            guard cursor.key.count >= 8 else { throw SSTableError.malformed("key without trailer") }
            unsafe cursor.key.withUnsafeBytes { stored in
                let key = unsafe UnsafeRawBufferPointer(rebasing: stored[..<(stored.count - 8)])
                if isFirst {
                    isAscending = unsafe count == 0 || compare(key, lastUserKey) > 0
                    if count == 0 { firstUserKey = unsafe Array(key) }
                    isFirst = false
                }
                // Sizes within the block lie below its end's: `largest` errs on the side of refusing.
                doesBreak = unsafe doesBreak || breaks(key, largest)
                unsafe Self.appendHashed(key, cursor.valueBuffer, to: &unhashed)
                keyBytes += stored.count
            }
            guard isAscending else { throw SSTableError.malformed("keys that do not ascend") }
            if doesBreak {
                unhashed.removeLast(unhashed.count - mark)
                return false
            }
            records += 1
            valueBytes += cursor.value.count
        }
        guard records > 0 else { return false }
        lastUserKey.removeAll(keepingCapacity: true)
        lastUserKey.append(contentsOf: cursor.key.dropLast(8))
        count += records
        rawKeySize += keyBytes
        rawValueSize += valueBytes
        if unhashed.count >= 32768 { hashPending() }
        let offset = fileSize
        file += stored
        dataBlocks += 1
        addIndexEntry(indexKey, (offset, stored.count - TableReader.blockTrailer))
        return true
    }

    // MARK: writing

    /// Writes a block with its trailer and returns its handle.
    private func write(_ block: UnsafeRawBufferPointer, compressed: Bool) -> (offset: Int, length: Int) {
        let offset = fileSize
        var isPacked = false
        if compressed {
            let bound = Snappy.bound(block.count)
            if scratch.count < bound { scratch = [UInt8](repeating: 0, count: bound) }
            unsafe scratch.withUnsafeMutableBufferPointer { scratch in
                let length = unsafe Snappy.compress(block, into: scratch.baseAddress!)
                if length < block.count - block.count / 8 {
                    unsafe append(UnsafeRawBufferPointer(start: scratch.baseAddress, count: length), type: 1)
                    isPacked = true
                }
            }
        }
        if !isPacked { unsafe append(block, type: 0) }
        return (offset, fileSize - offset - TableReader.blockTrailer)
    }

    private func append(_ stored: UnsafeRawBufferPointer, type: UInt8) {
        unsafe file.append(contentsOf: stored)
        file.append(type)
        unsafe file.append(littleEndian: BlockChecksum.masked(stored, type: type))
    }

    private static func encode(_ handle: (offset: Int, length: Int)) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.append(varint: UInt64(handle.offset))
        bytes.append(varint: UInt64(handle.length))
        return bytes
    }

    private func finishDataBlock(next: UnsafeRawBufferPointer?) {
        let handle = unsafe data.finish { unsafe write($0, compressed: true) }
        dataBlocks += 1
        let separator = unsafe next.map { unsafe Self.separator(lastUserKey, Array($0)) } ?? Self.successor(lastUserKey)
        let isShorter = separator.count <= lastUserKey.count && lastUserKey.precedes(separator)
        let key = isShorter ? separator + Self.separatorTrailer : lastUserKey + Self.setTrailer
        addIndexEntry(key, handle)
    }

    private func addIndexEntry(_ key: [UInt8], _ handle: (offset: Int, length: Int)) {
        let value = Self.encode(handle)
        // The real writer reserves 20 bytes for a handle here, whatever it takes.
        if index.isFull(beforeKeySize: key.count, valueSize: usesOldIndexRule ? value.count : 20) {
            let lastKey = index.lastKey
            partitions.append((lastKey, index.finish()))
        }
        index.add(key, shareLimit: key.count - 8, value: value)
    }

    /// A short key k with a <= k < b (2.5).
    static func separator(_ a: [UInt8], _ b: [UInt8]) -> [UInt8] {
        let shorter = min(a.count, b.count)
        var i = 0
        while i < shorter && a[i] == b[i] { i += 1 }
        guard i < shorter, a[i] < b[i] else { return a }
        if i < b.count - 1 || a[i] + 1 < b[i] { return Array(a[..<i]) + [a[i] + 1] }
        for j in a.indices[(i + 1)...] where a[j] != 0xff { return Array(a[..<j]) + [a[j] + 1] }
        return a
    }

    /// A short key not below a (2.5).
    static func successor(_ a: [UInt8]) -> [UInt8] {
        for j in a.indices where a[j] != 0xff { return Array(a[..<j]) + [a[j] + 1] }
        return a
    }

    /// Ends the table; the writer is of no use afterwards.
    package func finish() -> Summary {
        let estimated = estimatedSize
        if count == 0 {
            let handle = unsafe data.finish { unsafe write($0, compressed: true) }
            dataBlocks = 1
            addIndexEntry([255, 0, 0, 0, 0, 0, 0, 0], handle)
        } else {
            unsafe finishDataBlock(next: nil)
        }
        let dataSize = fileSize
        let indexHandle: (offset: Int, length: Int)
        let indexSize: Int
        var topLevelSize = 0
        var partitionCount = 0
        if partitions.isEmpty {
            let block = index.finish()
            indexSize = block.count + 5
            indexHandle = unsafe block.withUnsafeBytes { unsafe write($0, compressed: true) }
        } else {
            let lastKey = index.lastKey
            partitions.append((lastKey, index.finish()))
            partitionCount = partitions.count
            var top = BlockBuilder(restartInterval: 1)
            var sum = 0
            for partition in partitions {
                sum += partition.block.count
                let handle = unsafe partition.block.withUnsafeBytes { unsafe write($0, compressed: true) }
                top.add(partition.lastKey, shareLimit: partition.lastKey.count - 8, value: Self.encode(handle))
            }
            let block = top.finish()
            topLevelSize = block.count
            indexSize = sum + block.count + 5
            indexHandle = unsafe block.withUnsafeBytes { unsafe write($0, compressed: true) }
        }

        var properties = userProperties.map { (Array($0.0.utf8), Array($0.1.utf8)) }
        func text(_ name: String, _ value: [UInt8]) { properties.append((Array(name.utf8), value)) }
        func number(_ name: String, _ value: Int) {
            var bytes: [UInt8] = []
            bytes.append(varint: UInt64(value))
            text("rocksdb." + name, bytes)
        }
        func fixed(_ name: String, _ value: UInt32, width: Int) {
            var bytes: [UInt8] = []
            bytes.append(littleEndian: value)
            text("rocksdb." + name, bytes + [UInt8](repeating: 0, count: width - 4))
        }
        func word(_ name: String, _ value: String) { text("rocksdb." + name, Array(value.utf8)) }
        text("count", Array(String(count).utf8))
        text("estimated_size_bytes", Array(String(estimated).utf8))
        text("min_key", firstUserKey)
        text("max_key", lastUserKey)
        fixed("block.based.table.index.type", partitionCount == 0 ? 0 : 2, width: 4)
        word("block.based.table.prefix.filtering", "0")
        word("block.based.table.whole.key.filtering", "0")
        number("column.family.id", 2_147_483_647)
        word("comparator", "leveldb.BytewiseComparator")
        word("compression", "Snappy")
        word(
            "compression_options",
            "window_bits=-14; level=32767; strategy=0; max_dict_bytes=0; zstd_max_train_bytes=0; enabled=0; ")
        number("creation.time", 0)
        number("data.size", dataSize)
        number("deleted.keys", 0)
        fixed("external_sst_file.global_seqno", 0, width: 8)
        fixed("external_sst_file.version", 2, width: 4)
        for name in ["filter.size", "fixed.key.length", "format.version", "index.key.is.user.key"] { number(name, 0) }
        if partitionCount > 0 {
            number("index.partitions", partitionCount)
            number("top-level.index.size", topLevelSize)
        }
        number("index.size", indexSize)
        number("index.value.is.delta.encoded", 0)
        number("merge.operands", 0)
        word("merge.operator", "pebble.concatenate")
        number("num.data.blocks", dataBlocks)
        number("num.entries", count)
        number("num.range-deletions", 0)
        number("oldest.key.time", 0)
        word("prefix.extractor.name", "nullptr")
        word("property.collectors", "[static]")
        number("raw.key.size", rawKeySize)
        number("raw.value.size", rawValueSize)
        var propertyBlock = BlockBuilder(restartInterval: Int(Int32.max))
        for (name, value) in properties.sorted(by: { $0.0.precedes($1.0) }) {
            propertyBlock.add(name, shareLimit: name.count, value: value)
        }
        let propertyHandle = unsafe propertyBlock.finish { unsafe write($0, compressed: false) }

        var metaindex = BlockBuilder(restartInterval: 1)
        let name = Array("rocksdb.properties".utf8)
        metaindex.add(name, shareLimit: name.count, value: Self.encode(propertyHandle))
        let metaindexHandle = unsafe metaindex.finish { unsafe write($0, compressed: false) }

        var footer: [UInt8] = [1]
        footer += Self.encode(metaindexHandle)
        footer += Self.encode(indexHandle)
        footer += [UInt8](repeating: 0, count: 41 - footer.count)
        footer.append(littleEndian: 2)
        footer += Footer.rocksDBMagic
        file += footer

        hashPending()
        var tail = IdentityHash()
        tail.map(Metadata(userProperties.map { (Array($0.0.utf8), Array($0.1.utf8)) }))
        hash.update(tail.bytes)
        return Summary(
            id: Hex.text(hash.finish()), bytes: file, count: count, minKey: Key(firstUserKey), maxKey: Key(lastUserKey),
            estimatedSize: estimated)
    }
}
