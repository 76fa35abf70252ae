package import Foundations
import Synchronization

/// A key-value store that answers for some records as they were a moment ago: where other processes write too, and it is
/// soon enough to see that within the moment. What this process writes it sees at once. A thread that may not wait gets
/// what is known, and else is told so (`Waiting`).
package final class BriefCache<Base: KeyValueStore>: KeyValueStore {
    private struct Name: Hashable { let partition: Partition, key: Key }
    private struct State {
        var known: [Name: (value: [UInt8]?, read: Int64)] = [:]
        /// Counts writes: what was read before one may be old.
        var version: UInt64 = 0
    }
    private let base: Base
    private let milliseconds: Int64
    private let isCached: @Sendable (Partition, Key) -> Bool
    private let state = ReadWriteLock(State())
    /// Beyond it all are forgotten.
    private static var most: Int { 10_000 }

    /// - Parameters:
    ///   - milliseconds: how old a record may be.
    ///   - isCached: whether a record is kept.
    package init(_ base: Base, milliseconds: Int64, caching isCached: @escaping @Sendable (Partition, Key) -> Bool) {
        self.base = base
        self.milliseconds = milliseconds
        self.isCached = isCached
    }

    package var capabilities: KeyValueCapabilities { base.capabilities }

    package func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]? {
        guard isCached(partition, key) else {
            try Waiting.begin()
            return try base.value(for: key, in: partition)
        }
        let name = Name(partition: partition, key: key)
        let now = Timestamp.monotonicMilliseconds()
        let (known, version) = state.read { ($0.known[name], $0.version) }
        if let known, now - known.read < milliseconds { return known.value }
        try Waiting.begin()
        let value = try base.value(for: key, in: partition)
        state.write { state in
            guard state.version == version else { return }
            if state.known.count >= Self.most { state.known.removeAll(keepingCapacity: true) }
            state.known[name] = (value, now)
        }
        return value
    }

    package func values(for names: [(partition: Partition, key: Key)]) throws(StoreError) -> [[UInt8]?] {
        try Waiting.begin()
        return try base.values(for: names)
    }

    package func values(
        for names: [(partition: Partition, key: Key)],
        then done: @escaping @Sendable (Result<[[UInt8]?], StoreError>) -> Void
    ) { base.values(for: names, then: done) }

    /// Before a write and after it: a reader in between may have read what was.
    private func forget(_ batch: [Mutation]) {
        let names: [Name] = batch.compactMap { mutation in
            switch mutation {
            case .set(let partition, let key, _), .remove(let partition, let key), .require(let partition, let key, _):
                isCached(partition, key) ? Name(partition: partition, key: key) : nil
            }
        }
        guard !names.isEmpty else { return }
        state.write { state in
            state.version &+= 1
            for name in names { state.known[name] = nil }
        }
    }

    package func set(
        _ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?, _ durability: Durability
    ) throws(StoreError) {
        try Waiting.begin()
        let batch: [Mutation] = [.set(partition, key, value)]
        forget(batch)
        defer { forget(batch) }
        try base.set(value, for: key, in: partition, if: condition, durability)
    }

    package func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError) {
        try Waiting.begin()
        forget(batch)
        defer { forget(batch) }
        try base.write(batch, durability)
    }

    package func write(
        _ batch: [Mutation], _ durability: Durability, then done: @escaping @Sendable (StoreError?) -> Void
    ) {
        forget(batch)
        base.write(batch, durability) { [self] error in
            forget(batch)
            done(error)
        }
    }

    package func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(
        key: Key, value: [UInt8]
    )] {
        try Waiting.begin()
        return try base.page(of: partition, from: from, before: end, limit: limit)
    }

    package func removeAll(in partition: Partition) throws(StoreError) {
        try Waiting.begin()
        defer {
            state.write { state in
                state.version &+= 1
                state.known.removeAll()
            }
        }
        try base.removeAll(in: partition)
    }

    package func partitions() throws(StoreError) -> [Partition] {
        try Waiting.begin()
        return try base.partitions()
    }
    package func announce() { base.announce() }
    package func listen(_ heard: @escaping @Sendable () -> Void) -> Bool { base.listen(heard) }
}
