import Foundations

/// Writes a metarange: records and whole ranges in ascending order, ranges uploaded in parallel.
/// Nothing is visible under its id before everything below it is durable. Source: `lakefs-formats.md` 4.3.
package final class MetaRangeWriter {
    private let properties: [(String, String)]
    private let store: CommittedStore
    private let namespace: StorageNamespace
    /// Ranges on their way to the object store.
    private let uploads: PoolTasks
    private let ranges: RangeList
    private let writer: RangeWriter

    /// Ranges written and copied so far.
    private final class RangeList { var all: [CommittedRange] = [] }

    /// - Parameter properties: further user properties of every table (refs dumps have them).
    package init(store: CommittedStore, namespace: StorageNamespace, properties: [(String, String)] = []) {
        self.store = store
        self.namespace = namespace
        self.properties = properties
        let uploads = PoolTasks(store.pool)
        let ranges = RangeList()
        self.uploads = uploads
        self.ranges = ranges
        writer = RangeWriter(store, properties: properties) { finished in
            ranges.all.append(finished.range)
            try uploads.start { try store.store(finished, in: namespace) }
        }
    }

    deinit { uploads.drain() }

    /// Adds a record behind everything added so far.
    package func add(_ key: [UInt8], _ envelope: [UInt8]) throws {
        unsafe try key.withUnsafeBytes { key in unsafe try envelope.withUnsafeBytes { unsafe try writer.add(key, $0) } }
    }

    /// Takes over a block as it is stored; false if its records have to be added one by one. See `TableWriter.take`.
    func take(_ block: Block, stored: ArraySlice<UInt8>, indexKey: [UInt8]) throws -> Bool {
        try writer.take(block, stored: stored, indexKey: indexKey)
    }

    /// Adds a whole range, unopened. What is being written ends before it.
    package func add(_ range: CommittedRange) throws {
        try writer.close()
        ranges.all.append(range)
    }

    /// Writes the metarange when all ranges are stored, and returns its id.
    package func finish() throws -> String {
        try writer.close()
        try uploads.waitForAll()
        return try store.putMetaRange(ranges.all, properties: properties, in: namespace)
    }
}

extension CommittedStore {
    /// Bytes of a metarange that stays in memory when it was written: some two hundred ranges, ten million entries.
    private static let largestKeptOpen = 64 << 10

    /// Stores a metarange of these ranges, all of which are stored already, and returns its id.
    func putMetaRange(_ ranges: [CommittedRange], properties: [(String, String)] = [], in namespace: StorageNamespace)
        throws -> String
    {
        let table = TableWriter(type: "metaranges", properties: properties)
        for range in ranges.sorted(by: { $0.maxKey < $1.maxKey }) { try table.add(range.maxKey.bytes, range.encoded) }
        let summary = table.finish()
        try objects.put(summary.bytes, at: Self.location(of: summary.id, in: namespace))
        if summary.bytes.count <= Self.largestKeptOpen { keepOpen(summary, in: namespace) }
        return summary.id
    }
}
