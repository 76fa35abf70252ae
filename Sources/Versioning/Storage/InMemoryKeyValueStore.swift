package import Foundations
import Synchronization

/// A key-value store in memory: for tests and for servers that forget.
package final class InMemoryKeyValueStore: KeyValueStore {
    /// A sorted array of keys beside their values, a partition: small enough for tests, right by construction.
    private struct Table {
        var keys: [Key] = []
        var values: [Key: [UInt8]] = [:]

        func firstIndex(from: Key) -> Int {
            var low = 0
            var high = keys.count
            while low < high {
                let middle = (low + high) / 2
                if keys[middle] < from { low = middle + 1 } else { high = middle }
            }
            return low
        }

        mutating func set(_ value: [UInt8], for key: Key) {
            if values.updateValue(value, forKey: key) == nil { keys.insert(key, at: firstIndex(from: key)) }
        }

        mutating func remove(_ key: Key) {
            if values.removeValue(forKey: key) != nil { keys.remove(at: firstIndex(from: key)) }
        }
    }

    private let tables = Mutex<[Partition: Table]>([:])

    package init() {}

    package func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]? {
        tables.withLock { $0[partition]?.values[key] }
    }

    package func set(
        _ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?, _ durability: Durability
    ) throws(StoreError) {
        let isAllowed = tables.withLock { tables in
            let isAllowed = condition?.allows(tables[partition]?.values[key]) ?? true
            if isAllowed { tables[partition, default: Table()].set(value, for: key) }
            return isAllowed
        }
        guard isAllowed else {
            throw StoreError(.preconditionFailed, "\(partition)/\(key) was changed by another writer")
        }
    }

    package func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError) {
        let failed = tables.withLock { tables -> Key? in
            for case .require(let partition, let key, let condition) in batch
            where !condition.allows(tables[partition]?.values[key]) { return key }
            for mutation in batch {
                switch mutation {
                case .require: break
                case .set(let partition, let key, let value): tables[partition, default: Table()].set(value, for: key)
                case .remove(let partition, let key): tables[partition]?.remove(key)
                }
            }
            return nil
        }
        if let failed { throw StoreError(.preconditionFailed, "\(failed) was changed by another writer") }
    }

    package func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(
        key: Key, value: [UInt8]
    )] {
        tables.withLock { tables in
            guard let table = tables[partition] else { return [] }
            let start = from.map(table.firstIndex(from:)) ?? 0
            let stop = end.map(table.firstIndex(from:)) ?? table.keys.count
            return table.keys[start..<max(start, min(stop, start + limit))].map { ($0, table.values[$0]!) }
        }
    }

    package func removeAll(in partition: Partition) throws(StoreError) {
        _ = tables.withLock { $0.removeValue(forKey: partition) }
    }

    package func partitions() throws(StoreError) -> [Partition] {
        tables.withLock { tables in tables.filter { !$0.value.keys.isEmpty }.keys.sorted { $0.name < $1.name } }
    }
}
