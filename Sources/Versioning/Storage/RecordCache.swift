package import Foundations

/// A key-value store whose small, hot records (refs, settings, users) are answered from memory.
///
/// Right only where no other process writes: every write of this one passes through here and drops what is known of its
/// key before its caller goes on; while a key is being written, readers ask the store itself. So nobody sees an older
/// value than the store would show.
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
            /// Writes of a key that are under way: until they are told of, nobody knows which value is the newest.
            var writing: [Name: Writing] = [:]

            private static func cost(_ name: Name, _ value: [UInt8]?) -> Int {
                128 + name.key.count + (value?.count ?? 0)
            }

            mutating func keep(_ value: [UInt8]?, for name: Name, _ budgetBytes: Int) {
                remove(name)
                let cost = Self.cost(name, value)
                if self.cost + cost > budgetBytes {
                    // Full: it begins anew. What is hot is back at once.
                    values.removeAll(keepingCapacity: true)
                    self.cost = 0
                }
                values.updateValue(value, forKey: name)
                self.cost += cost
            }

            mutating func remove(_ name: Name) {
                if let value = values.removeValue(forKey: name) { cost -= Self.cost(name, value) }
            }
        }
        private struct Writing {
            var count = 1
            /// Two were under way at once: who knows which came last.
            var isContended = false
        }
        private let state = ReadWriteLock(State())
        private let budgetBytes: Int
        init(budgetBytes: Int) { self.budgetBytes = budgetBytes }

        func value(_ name: Name) -> (known: [UInt8]??, version: UInt64) {
            state.read { state in
                (state.writing.isEmpty || state.writing[name] == nil ? state.values[name] : nil, state.version)
            }
        }

        func keep(_ value: [UInt8]?, for name: Name, readAt version: UInt64) {
            state.write { state in
                guard state.version == version, state.writing[name] == nil else { return }
                state.keep(value, for: name, budgetBytes)
            }
        }

        func begin(_ name: Name) {
            state.write { state in
                if state.writing[name] == nil {
                    state.writing[name] = Writing()
                } else {
                    state.writing[name]!.count += 1
                    state.writing[name]!.isContended = true
                }
            }
        }

        /// Ends a write that was begun. What was written is known then, unless another write was under way beside it.
        /// - Parameter value: the key's value now, nil for none; nil for a write that failed.
        func end(_ name: Name, _ value: [UInt8]??) {
            state.write { state in
                state.version &+= 1
                state.remove(name)
                guard var writing = state.writing[name] else { return }
                writing.count -= 1
                state.writing[name] = writing.count > 0 ? writing : nil
                guard !writing.isContended, let value else { return }
                state.keep(value, for: name, budgetBytes)
            }
        }

        func forget(_ name: Name) {
            state.write { state in
                state.version &+= 1
                state.remove(name)
            }
        }

        func dropAll(_ isMeant: (Partition) -> Bool) {
            state.write { state in
                state.version &+= 1
                for name in state.values.keys.filter({ isMeant($0.partition) }) { state.remove(name) }
                for name in state.writing.keys where isMeant(name.partition) { state.writing[name]!.isContended = true }
            }
        }
    }

    private let emptiness = Emptiness()

    /// - Parameters:
    ///   - budgetBytes: records to keep.
    ///   - isCached: whether a partition's records are kept.
    package init(_ base: Base, budgetBytes: Int = 4 << 20, caching isCached: @escaping @Sendable (Partition) -> Bool) {
        self.base = base
        self.isCached = isCached
        let count = 16
        shards = (0..<count).map { _ in Shard(budgetBytes: budgetBytes / count) }
    }

    package var capabilities: KeyValueCapabilities { base.capabilities }

    private func shard(_ name: Name) -> Shard {
        var hasher = Hasher()
        name.hash(into: &hasher)
        return shards[Int(UInt(bitPattern: hasher.finalize()) % UInt(shards.count))]
    }

    private func begin(_ key: Key, in partition: Partition, isRemoval: Bool = false) {
        guard isCached(partition) else {
            if !isRemoval { emptiness.fill(partition) }
            return
        }
        let name = Name(partition: partition, key: key)
        shard(name).begin(name)
    }

    private func end(_ key: Key, in partition: Partition, _ value: [UInt8]??) {
        guard isCached(partition) else { return }
        let name = Name(partition: partition, key: key)
        shard(name).end(name, value)
    }

    private func forget(_ key: Key, in partition: Partition) {
        guard isCached(partition) else { return }
        let name = Name(partition: partition, key: key)
        shard(name).forget(name)
    }

    package func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]? {
        guard isCached(partition) else {
            let (isEmpty, version) = emptiness.known(partition)
            if isEmpty == true { return nil }
            let value = try base.value(for: key, in: partition)
            if isEmpty == nil {
                let first = try value == nil ? base.page(of: partition, from: nil, before: nil, limit: 1) : []
                let isEmpty = value == nil && first.isEmpty
                emptiness.keep(partition, isEmpty: isEmpty, readAt: version)
            }
            return value
        }
        let name = Name(partition: partition, key: key)
        let shard = shard(name)
        let (known, version) = shard.value(name)
        if let known { return known }
        let value = try base.value(for: key, in: partition)
        shard.keep(value, for: name, readAt: version)
        return value
    }

    package func set(
        _ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?, _ durability: Durability
    ) throws(StoreError) {
        begin(key, in: partition)
        do throws(StoreError) {
            try base.set(value, for: key, in: partition, if: condition, durability)
            end(key, in: partition, value)
        } catch {
            // What is known here may be why a condition did not hold.
            end(key, in: partition, nil)
            throw error
        }
    }

    private func begin(_ batch: [Mutation]) {
        for mutation in batch {
            switch mutation {
            case .set(let partition, let key, _): begin(key, in: partition)
            case .remove(let partition, let key): begin(key, in: partition, isRemoval: true)
            case .require: break  // Only looked at.
            }
        }
    }

    private func end(_ batch: [Mutation], isDone: Bool) {
        for mutation in batch {
            switch mutation {
            case .set(let partition, let key, let value): end(key, in: partition, isDone ? .some(value) : nil)
            case .remove(let partition, let key): end(key, in: partition, isDone ? .some(nil) : nil)
            // What is known here may be why it did not hold.
            case .require(let partition, let key, _): if !isDone { forget(key, in: partition) }
            }
        }
    }

    package func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError) {
        begin(batch)
        do throws(StoreError) {
            try base.write(batch, durability)
            end(batch, isDone: true)
        } catch {
            end(batch, isDone: false)
            throw error
        }
    }

    package func write(
        _ batch: [Mutation], _ durability: Durability, then done: @escaping @Sendable (StoreError?) -> Void
    ) {
        begin(batch)
        base.write(batch, durability) { [self] error in
            end(batch, isDone: error == nil)
            done(error)
        }
    }

    package func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(
        key: Key, value: [UInt8]
    )] {
        try base.page(of: partition, from: from, before: end, limit: limit)
    }

    package func removeAll(in partition: Partition) throws(StoreError) {
        defer { if isCached(partition) { for shard in shards { shard.dropAll { $0 == partition } } } }
        try base.removeAll(in: partition)
    }

    package func partitions() throws(StoreError) -> [Partition] { try base.partitions() }
}

/// Which of the partitions that are not cached hold nothing: most staging tokens of branches that are read.
private final class Emptiness: Sendable {
    private struct State {
        /// Those that were written to are not empty, whatever became of that.
        private(set) var known: [Partition: Bool] = [:]
        private(set) var version: UInt64 = 0
        /// Beyond it all are forgotten.
        private static let most = 10_000

        mutating func set(_ partition: Partition, isEmpty: Bool) {
            if known.count >= Self.most {
                known.removeAll()
                version &+= 1
            }
            known[partition] = isEmpty
        }
    }
    private let state = ReadWriteLock(State())

    func known(_ partition: Partition) -> (isEmpty: Bool?, version: UInt64) {
        state.read { ($0.known[partition], $0.version) }
    }

    /// What was found, if nobody has written to it since.
    func keep(_ partition: Partition, isEmpty: Bool, readAt version: UInt64) {
        state.write { state in
            guard state.version == version, state.known[partition] == nil else { return }
            state.set(partition, isEmpty: isEmpty)
        }
    }

    /// Somebody is about to write to it.
    func fill(_ partition: Partition) {
        guard known(partition).isEmpty != false else { return }
        state.write { $0.set(partition, isEmpty: false) }
    }
}
