import Glibc

/// Walks a table's records in key order. Used by one thread at a time.
package final class TableCursor {
    /// An entry of the index: a key that ends a block, and where the block lies.
    struct IndexEntry {
        /// As it is stored, trailer included.
        let key: [UInt8]
        let handle: BlockHandle
    }

    private let table: TableReader
    private var window: TableReader.ReadAhead?
    private var top: BlockCursor
    private var partition: BlockCursor?
    private var data: BlockCursor?
    /// The index entry of the block behind the current one, if it was looked at.
    private var peeked: IndexEntry?
    /// That block, if it was looked into.
    private var peekedBlock: Block?

    /// - Parameter window: reads ahead and past the cache; nil to go through the cache.
    init(_ table: TableReader, window: TableReader.ReadAhead?) {
        self.table = table
        self.window = window
        top = BlockCursor(table.topIndex)
    }

    /// Length of an internal key's trailer.
    private static let trailer = 8

    // MARK: the record under the cursor

    /// The record's user key.
    package var key: [UInt8] { Array(data!.key.dropLast(Self.trailer)) }
    package var value: [UInt8] { data!.valueBytes }
    /// Lives until the cursor moves.
    var valueBuffer: UnsafeRawBufferPointer { unsafe data!.valueBuffer }

    /// Whether the open block has no more records, or none is open.
    var isAtBlockEnd: Bool { data?.isAtEnd ?? true }

    /// Negative, zero or positive: how the record's key compares with `key`.
    package func order(to key: [UInt8]) -> Int { data!.order(to: key, trailer: Self.trailer) }

    func order(to other: TableCursor) -> Int {
        unsafe withKey { own in unsafe other.withKey { unsafe compare(own, $0) } }
    }

    func withKey<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        unsafe try data!.key.withUnsafeBytes { key in
            unsafe try body(UnsafeRawBufferPointer(rebasing: key[..<(key.count - Self.trailer)]))
        }
    }

    // MARK: moving

    private func block(_ handle: BlockHandle) throws -> Block {
        window == nil ? try table.block(handle) : try window!.block(handle)
    }

    private static func entry(_ cursor: BlockCursor) throws -> IndexEntry {
        var position = 0
        guard let handle = BlockHandle(cursor.valueBytes, &position), cursor.key.count >= trailer else {
            throw SSTableError.malformed("index entry")
        }
        return IndexEntry(key: cursor.key, handle: handle)
    }

    /// The index entry of the next data block, or nil.
    func peek() throws -> IndexEntry? {
        if let peeked { return peeked }
        while true {
            if table.isTwoLevel {
                if partition != nil, try partition!.advance() {
                    peeked = try Self.entry(partition!)
                    return peeked
                }
                guard try top.advance() else { return nil }
                // Partitions are read again and again: they stay in the cache.
                partition = BlockCursor(try table.block(Self.entry(top).handle))
            } else {
                guard try top.advance() else { return nil }
                peeked = try Self.entry(top)
                return peeked
            }
        }
    }

    /// Opens the next data block, standing before its first record; nil at the end of the table.
    func nextBlock() throws -> (entry: IndexEntry, block: Block)? {
        guard let entry = try peek() else {
            data = nil
            return nil
        }
        let block = try peekedBlock ?? block(entry.handle)
        peeked = nil
        peekedBlock = nil
        data = BlockCursor(block)
        return (entry, block)
    }

    /// The first key of the block behind the current one; nil at the end of the table.
    func firstKeyOfNextBlock() throws -> [UInt8]? {
        guard let entry = try peek() else { return nil }
        let next = try peekedBlock ?? block(entry.handle)
        peekedBlock = next
        var cursor = BlockCursor(next)
        guard try cursor.advance(), cursor.key.count >= Self.trailer else {
            throw SSTableError.malformed("block without records")
        }
        return Array(cursor.key.dropLast(Self.trailer))
    }

    /// A block with its trailer, as it is stored. Only for cursors that read ahead.
    func stored(_ handle: BlockHandle) throws -> ArraySlice<UInt8> { try window!.stored(handle) }

    /// Goes to the next record of the block that is open; false at its end.
    func advanceInBlock() throws -> Bool {
        guard data != nil, try data!.advance() else { return false }
        guard data!.key.count >= Self.trailer else { throw SSTableError.malformed("key without trailer") }
        return true
    }

    /// Goes to the next record, or to the first one; false at the end.
    package func advance() throws -> Bool {
        while true {
            if try advanceInBlock() { return true }
            guard try nextBlock() != nil else { return false }
        }
    }

    /// Goes to the first record with a key not below `target`; false if there is none.
    package func seek(_ target: [UInt8]) throws -> Bool {
        if try seekInBlock(target) { return true }
        top = BlockCursor(table.topIndex)
        partition = nil
        data = nil
        peeked = nil
        peekedBlock = nil
        guard try top.seek(target, trailer: Self.trailer) else { return false }
        if table.isTwoLevel {
            var inner = BlockCursor(try table.block(Self.entry(top).handle))
            let isFound = try inner.seek(target, trailer: Self.trailer)
            partition = inner
            guard isFound else { return try advance() }
            data = BlockCursor(try block(Self.entry(inner).handle))
        } else {
            data = BlockCursor(try block(Self.entry(top).handle))
        }
        if try data!.seek(target, trailer: Self.trailer) { return true }
        return try advance()
    }

    /// Goes ahead within the open block, if the target lies in it: behind the record under the cursor, and not behind
    /// the last one.
    private func seekInBlock(_ target: [UInt8]) throws -> Bool {
        guard data != nil, data!.key.count >= Self.trailer, data!.order(to: target, trailer: Self.trailer) < 0 else {
            return false
        }
        var cursor = data!
        guard try cursor.seek(target, trailer: Self.trailer) else { return false }
        data = cursor
        return true
    }

    // MARK: two tables beside each other

    /// Whether the next block of both holds the same bytes; false at the end of either. Both read ahead.
    /// Compares what is stored, so nothing is decoded.
    private static func haveEqualNextBlocks(_ left: TableCursor, _ right: TableCursor) throws -> Bool {
        guard let a = try left.peek(), let b = try right.peek(), a.handle.length == b.handle.length else {
            return false
        }
        return unsafe try left.stored(a.handle).withUnsafeBytes { l in
            unsafe try right.stored(b.handle).withUnsafeBytes { r in
                // The checksum first: it tells most of them apart.
                unsafe l.count == r.count && memcmp(l.baseAddress! + l.count - 4, r.baseAddress! + r.count - 4, 4) == 0
                    && memcmp(l.baseAddress!, r.baseAddress!, l.count) == 0
            }
        }
    }

    /// Passes over blocks that both tables hold with the same bytes, if both cursors stand at the end of a block.
    static func skipEqualBlocks(_ left: TableCursor, _ right: TableCursor) throws {
        guard left.isAtBlockEnd, right.isAtBlockEnd else { return }
        while try haveEqualNextBlocks(left, right) {
            left.passPeeked()
            right.passPeeked()
        }
    }

    /// Takes over a block as it is stored, with its index entry's key; false if it has to be read record by record.
    typealias TakeBlock = (_ block: Block, _ stored: ArraySlice<UInt8>, _ indexKey: [UInt8]) throws -> Bool

    /// Hands blocks that both tables hold with the same bytes, and the same key behind them, to `take`, if both cursors
    /// stand at the end of a block. A block that it refuses is the open one of both then.
    static func takeEqualBlocks(_ left: TableCursor, _ right: TableCursor, _ take: TakeBlock) throws {
        guard left.isAtBlockEnd, right.isAtBlockEnd, left.table.hasOurBlocks, right.table.hasOurBlocks else { return }
        while try haveEqualNextBlocks(left, right), let (entry, block) = try left.nextBlock() {
            right.passPeeked()
            right.data = BlockCursor(block)
            guard let follower = try left.firstKeyOfNextBlock() else { return }
            guard try haveEqualNextBlocks(left, right) || right.firstKeyOfNextBlock() == follower,
                try take(block, left.stored(entry.handle), entry.key)
            else { return }
            left.passBlock()
            right.passBlock()
        }
    }

    /// Leaves the block behind that was looked at.
    private func passPeeked() {
        data = nil
        peeked = nil
        peekedBlock = nil
    }

    /// Leaves the rest of the open block behind.
    func passBlock() { data = nil }
}
