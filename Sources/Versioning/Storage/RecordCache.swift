/// A key-value store whose small, hot records (refs, settings, users) are answered from memory.
///
/// Right only where no other process writes: every write of this one passes through here and drops what is known of its key
/// before its caller goes on; while a key is being written, readers ask the store itself. So nobody sees an older value than
/// the store would show.
package final class RecordCache<Base: KeyValueStore>: KeyValueStore {
    private let base: Base
    private let isCached: @Sendable (Partition) -> Bool
    private let shards: [Shard]

    private struct Name: Hashable { let partition: Partition, key: Key }

    /// A part of the cache with a lock of its own, so that threads seldom meet at one.
    private final class Shard: Sendable {
        private struct State {
            /// Nil for a record that is known not to be there.
            var values: [Name: [UInt8]?] = [:]
            var cost = 0
            /// Counts drops: what was read before one may be old.
            var version: UInt64 = 0
            /// How many writes of a key are under way: until they are told of, nobody knows which value is the newest.
            var writing: [Name: Int] = [:]
        }
        private let state = ReadWriteLock(State())
        private let budgetBytes: Int
        init(budgetBytes: Int) { self.budgetBytes = budgetBytes }

        func value(_ name: Name) -> (known: [UInt8]??, version: UInt64) {
            state.read { state in (state.writing.isEmpty || state.writing[name] == nil ? state.values[name] : nil, state.version) }
        }

        func keep(_ value: [UInt8]?, for name: Name, readAt version: UInt64) {
            state.write { state in
                guard state.version == version, state.writing[name] == nil else { return }
                // Full: it begins anew. What is hot is back at once.
                let cost = 128 + name.key.count + (value?.count ?? 0)
                if state.cost + cost > budgetBytes {
                    state.values.removeAll(keepingCapacity: true)
                    state.cost = 0
                }
                if state.values.updateValue(value, forKey: name) == nil { state.cost += cost }
            }
        }

        func begin(_ name: Name) { state.write { $0.writing[name, default: 0] += 1 } }

        /// Ends a write that was begun.
        func drop(_ name: Name) {
            state.write { state in
                state.version &+= 1
                state.values.removeValue(forKey: name)
                if let count = state.writing[name] { state.writing[name] = count > 1 ? count - 1 : nil }
            }
        }

        func dropAll(_ isMeant: (Partition) -> Bool) {
            state.write { state in
                state.version &+= 1
                state.values = state.values.filter { !isMeant($0.key.partition) }
            }
        }
    }

    /// - Parameters:
    ///   - budgetBytes: records to keep.
    ///   - isCached: whether a partition's records are kept.
    package init(_ base: Base, budgetBytes: Int = 4 << 20, caching isCached: @escaping @Sendable (Partition) -> Bool) {
        self.base = base
        self.isCached = isCached
        let count = 16
        shards = (0..<count).map { _ in Shard(budgetBytes: budgetBytes / count) }
    }

    private func shard(_ name: Name) -> Shard {
        var hasher = Hasher()
        name.hash(into: &hasher)
        return shards[Int(UInt(bitPattern: hasher.finalize()) % UInt(shards.count))]
    }

    private func begin(_ key: Key, in partition: Partition) {
        guard isCached(partition) else { return }
        let name = Name(partition: partition, key: key)
        shard(name).begin(name)
    }

    private func drop(_ key: Key, in partition: Partition) {
        guard isCached(partition) else { return }
        let name = Name(partition: partition, key: key)
        shard(name).drop(name)
    }

    package func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]? {
        guard isCached(partition) else { return try base.value(for: key, in: partition) }
        let name = Name(partition: partition, key: key), shard = shard(name)
        let (known, version) = shard.value(name)
        if let known { return known }
        let value = try base.value(for: key, in: partition)
        shard.keep(value, for: name, readAt: version)
        return value
    }

    package func set(_ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?, _ durability: Durability) throws(StoreError) {
        begin(key, in: partition)
        // Also after a failure: what is known here may be why a condition did not hold.
        defer { drop(key, in: partition) }
        try base.set(value, for: key, in: partition, if: condition, durability)
    }

    private func forEach(_ batch: [Mutation], _ body: (Key, Partition) -> Void) {
        for mutation in batch {
            switch mutation {
            case .set(let partition, let key, _), .remove(let partition, let key): body(key, partition)
            }
        }
    }

    package func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError) {
        forEach(batch) { begin($0, in: $1) }
        defer { forEach(batch) { drop($0, in: $1) } }
        try base.write(batch, durability)
    }

    package func write(_ batch: [Mutation], _ durability: Durability, then done: @escaping @Sendable (StoreError?) -> Void) {
        forEach(batch) { begin($0, in: $1) }
        base.write(batch, durability) { [self] error in
            forEach(batch) { drop($0, in: $1) }
            done(error)
        }
    }

    package func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(key: Key, value: [UInt8])] {
        try base.page(of: partition, from: from, before: end, limit: limit)
    }

    package func removeAll(in partition: Partition) throws(StoreError) {
        defer { if isCached(partition) { for shard in shards { shard.dropAll { $0 == partition } } } }
        try base.removeAll(in: partition)
    }

    package func partitions() throws(StoreError) -> [Partition] { try base.partitions() }
}
