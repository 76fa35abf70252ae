package import Foundations
import Glibc
import Synchronization

/// Where committed data lies: ranges and metaranges as tables in an object store, by content id.
/// Source: `lakefs-formats.md` sections 1, 4 and 7. Safe from any thread.
package final class CommittedStore: Sendable {
    /// Where ranges break (`lakefs-formats.md` 4.2).
    package struct Parameters: Sendable {
        /// Bytes; smaller ranges never break.
        package var minRangeSizeBytes = 0
        /// Bytes; a range that reaches this breaks.
        package var maxRangeSizeBytes = 20 * 1024 * 1024
        /// A range breaks after about this many entries, where a key's hash says so.
        package var raggednessEntries: UInt64 = 50_000
        package init() {}

        func breaks(after key: UnsafeRawBufferPointer, estimatedSize: Int) -> Bool {
            if estimatedSize < minRangeSizeBytes { return false }
            if estimatedSize >= maxRangeSizeBytes { return true }
            var hash: UInt64 = 14_695_981_039_346_656_037
            for index in 0..<key.count { hash = unsafe (hash ^ UInt64(key[index])) &* 1_099_511_628_211 }
            return hash % raggednessEntries == 0
        }
    }

    package let objects: any ObjectStore
    package let pool: WorkerPool
    let parameters: Parameters
    private let blocks: BlockCache
    /// Open tables: an index and properties each, small ones whole.
    private let tables = LRUCache<ObjectLocation, TableReader>(budget: tableBytes)
    private static let tableBytes = 32 << 20
    /// Tables that are open at once, at most: each may be a file of a process that has a thousand.
    private static let mostTables = 400

    private func keep(_ table: TableReader, at location: ObjectLocation) {
        tables.insert(table, for: location, cost: max(table.byteCost, Self.tableBytes / Self.mostTables))
    }

    /// - Parameter cacheBytes: decoded blocks to keep.
    package init(objects: any ObjectStore, pool: WorkerPool, cacheBytes: Int, parameters: Parameters = Parameters()) {
        self.objects = objects
        self.pool = pool
        self.parameters = parameters
        blocks = BlockCache(budgetBytes: cacheBytes)
    }

    /// How often blocks that were looked for were in memory, and how often not.
    package var cacheCounters: (hits: Int, misses: Int) { blocks.blocks.counters }

    /// A table in the object store; where that is a file here it stays open, for reading a block takes less than
    /// opening it.
    private final class StoredTable: TableSource {
        let objects: any ObjectStore
        let location: ObjectLocation
        let byteCount: Int64
        private let file: FilePiece?

        init(objects: any ObjectStore, location: ObjectLocation, byteCount: Int64) throws(StoreError) {
            self.objects = objects
            self.location = location
            self.byteCount = byteCount
            file = try objects.piece(location)
        }

        deinit { if let file { close(file.descriptor) } }

        func read(_ range: Range<Int64>) throws -> [UInt8] {
            let bytes = if let file { try file.read(range) } else { try objects.read(location, range) }
            guard bytes.count == Int(range.upperBound - range.lowerBound) else {
                throw SSTableError.truncated(expected: range.count, found: bytes.count)
            }
            return bytes
        }
    }

    static func location(of id: String, in namespace: StorageNamespace) -> ObjectLocation {
        namespace.location("_lakefs/" + id)
    }

    /// Opens a range or metarange.
    /// - Parameter range: what the metarange says of it; nil for a metarange.
    /// - Throws: `LakeError` `.corrupt` naming it if it is not there (a commit names it, so it must be), or its bytes
    ///   are no table, or another one.
    package func table(_ id: String, in namespace: StorageNamespace, as range: CommittedRange? = nil) throws
        -> TableReader
    {
        let location = Self.location(of: id, in: namespace)
        if let open = tables[location] { return open }
        return try wrap(id) {
            guard let size = try objects.size(of: location) else {
                throw LakeError(.corrupt, "table \(id) is missing from \(namespace)")
            }
            let table = try TableReader(
                name: id, source: try StoredTable(objects: objects, location: location, byteCount: size), cache: blocks)
            try Self.check(table, range)
            keep(table, at: location)
            return table
        }
    }

    /// Bytes of tables whose id is computed when they are opened: reading them is hardly more than opening them. Every
    /// query begins with a metarange, of which there are few.
    private static let largestHashedRange: Int64 = 16 << 10, largestHashedMetaRange: Int64 = 1 << 20

    /// Whether a table is the one that its name says; of larger ones only what can be told from their ends. `lakefuse
    /// check` reads all.
    private static func check(_ table: TableReader, _ range: CommittedRange?) throws {
        if table.byteCount <= (range == nil ? largestHashedMetaRange : largestHashedRange) {
            let id = try table.contentID()
            guard id == table.name else { throw SSTableError.otherTable(id) }
        } else if let range {
            // Properties of old tables may lack these, or hold nonsense as their ends: so the records are looked at.
            let first = table.cursor()
            let last = table.cursor()
            guard table.number("count").map({ $0 == range.count }) ?? true,
                table.number("estimated_size_bytes").map({ $0 == range.estimatedSize }) ?? true,
                try first.advance(), first.order(to: range.minKey.bytes) == 0, try last.seek(range.maxKey.bytes),
                last.order(to: range.maxKey.bytes) == 0, try !last.advance()
            else { throw SSTableError.otherTable("?") }
        }
    }

    /// Keeps a table open that was just written: it is looked at next.
    func keepOpen(_ summary: TableWriter.Summary, in namespace: StorageNamespace) {
        guard let table = try? TableReader(name: summary.id, source: MemoryTable(summary.bytes), cache: blocks) else {
            return
        }
        keep(table, at: Self.location(of: summary.id, in: namespace))
    }

    /// Whether the object store holds this range or metarange; asked of the store each time.
    package func exists(_ id: String, in namespace: StorageNamespace) throws -> Bool {
        guard id.utf8.count == 64, Hex.bytes(id.utf8) != nil else { return false }
        return try objects.size(of: Self.location(of: id, in: namespace)) != nil
    }

    /// Walks a metarange from record to record, or in leaps: its blocks come through the cache.
    package func cursor(_ metaRange: String, in namespace: StorageNamespace) throws -> MetaRangeCursor {
        try MetaRangeCursor(store: self, namespace: namespace, metaRange: metaRange, isScan: false)
    }

    /// Walks a metarange whole, or most of it: ranges are read ahead, past the cache.
    package func scan(_ metaRange: String, in namespace: StorageNamespace) throws -> MetaRangeCursor {
        try MetaRangeCursor(store: self, namespace: namespace, metaRange: metaRange, isScan: true)
    }

    /// The record of `key`, or nil: one block of the metarange, one of a range. Source: `lakefs-formats.md` 7.1.
    package func record(_ key: Key, metaRange: String, in namespace: StorageNamespace) throws -> Envelope? {
        guard !metaRange.isEmpty else { return nil }
        return try wrap(metaRange) {
            let ranges = try table(metaRange, in: namespace).cursor()
            guard try ranges.seek(key.bytes) else { return nil }
            let range = try CommittedRange(decoding: ranges.value)
            guard !(key < range.minKey) else { return nil }
            return try wrap(range.id) {
                try table(range.id, in: namespace, as: range).value(for: key.bytes).map { try Envelope(decoding: $0) }
            }
        }
    }

    /// Keys that are looked up on the calling thread; more are shared with the pool.
    private static let fewKeys = 64

    /// The records of keys in ascending order, nil where there is none: one block of a range each, many at once.
    /// Not to be called by a thread of the pool.
    func records(_ keys: [Key], metaRange: String, in namespace: StorageNamespace) throws -> [Envelope?] {
        guard keys.count > Self.fewKeys else { return try find(keys[...], metaRange: metaRange, in: namespace) }
        let starts = Array(stride(from: 0, to: keys.count, by: Self.fewKeys))
        let found = Mutex([[Envelope?]](repeating: [], count: starts.count))
        let tasks = PoolTasks(pool)
        defer { tasks.drain() }
        for (index, start) in starts.enumerated() {
            try tasks.start { [self] in
                let records = try find(
                    keys[start..<min(start + Self.fewKeys, keys.count)], metaRange: metaRange, in: namespace)
                found.withLock { $0[index] = records }
            }
        }
        try tasks.waitForAll()
        return found.withLock { $0.flatMap { $0 } }
    }

    private func find(_ keys: ArraySlice<Key>, metaRange: String, in namespace: StorageNamespace) throws -> [Envelope?]
    {
        let cursor = try cursor(metaRange, in: namespace)
        return try keys.map { key in
            try cursor.seek(key)
            if cursor.isAtHead, cursor.range!.minKey == key { try cursor.next() }
            return try cursor.hasRecord && cursor.order(to: key.bytes) == 0 ? cursor.envelope() : nil
        }
    }

    /// The first range whose greatest key is not below `key`.
    func range(reaching key: Key, metaRange: String, in namespace: StorageNamespace) throws -> CommittedRange? {
        guard !metaRange.isEmpty else { return nil }
        return try wrap(metaRange) {
            let ranges = try table(metaRange, in: namespace).cursor()
            return try ranges.seek(key.bytes) ? CommittedRange(decoding: ranges.value) : nil
        }
    }

    /// Runs `body`, naming `table` in what it finds damaged.
    func wrap<Result>(_ table: String, _ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let error as SSTableError {
            throw LakeError(.corrupt, "table \(table) is damaged: \(error)", cause: error)
        } catch let error as StoreError where error.code == .notFound {
            throw LakeError(.corrupt, "table \(table) is missing", cause: error)
        } catch is ProtobufError {
            throw LakeError(.corrupt, "table \(table) holds a record that is no message")
        }
    }
}
