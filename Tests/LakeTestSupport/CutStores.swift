package import Foundations
import Synchronization
package import Versioning

/// When a process dies: at its n-th call of a store, and every later call fails too.
package final class Cut: Sendable {
    private struct State {
        var calls = 0
        var limit: Int
        var isDead = false
    }
    private let state: Mutex<State>
    /// Whether the call at which it dies still has its effect, without being acknowledged.
    private let hasEffect: Bool

    package init(at limit: Int = .max, hasEffect: Bool = false) {
        state = Mutex(State(limit: limit))
        self.hasEffect = hasEffect
    }

    /// Calls so far.
    package var calls: Int { state.withLock { $0.calls } }
    package var isDead: Bool { state.withLock { $0.isDead } }

    private static let error = StoreError(.unavailable, "the process died")

    /// Runs one call of a store, unless the process is dead.
    func call<Result>(_ body: () throws(StoreError) -> Result) throws(StoreError) -> Result {
        let (isAlive, isLast) = state.withLock { state in
            guard !state.isDead else { return (false, false) }
            state.calls += 1
            state.isDead = state.calls >= state.limit
            return (true, state.isDead)
        }
        guard isAlive else { throw Self.error }
        guard isLast else { return try body() }
        if hasEffect { _ = try body() }
        throw Self.error
    }
}

/// A key-value store of a process that dies. What was written as `.eventual` and not made durable since is lost with
/// it.
package final class CutKeyValueStore: KeyValueStore {
    private let base: InMemoryKeyValueStore
    private let cut: Cut
    /// How to undo what is not durable yet, oldest first.
    private let undo = Mutex<[Mutation]>([])

    package init(_ base: InMemoryKeyValueStore, _ cut: Cut) {
        self.base = base
        self.cut = cut
    }

    /// What a power cut leaves: call when the process is dead.
    package func losePower() {
        for mutation in undo.withLock({ $0 }).reversed() { try? base.write([mutation], .durable) }
        undo.withLock { $0 = [] }
    }

    private func note(_ names: [(Partition, Key)], _ durability: Durability) throws(StoreError) {
        guard durability == .eventual else { return }
        for (partition, key) in names {
            let old = try base.value(for: key, in: partition)
            undo.withLock { $0.append(old.map { .set(partition, key, $0) } ?? .remove(partition, key)) }
        }
    }

    private func settle(_ durability: Durability) { if durability == .durable { undo.withLock { $0 = [] } } }

    package func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]? {
        try cut.call { () throws(StoreError) in try base.value(for: key, in: partition) }
    }

    package func set(
        _ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?, _ durability: Durability
    ) throws(StoreError) {
        try cut.call { () throws(StoreError) in
            try note([(partition, key)], durability)
            try base.set(value, for: key, in: partition, if: condition, durability)
            settle(durability)
        }
    }

    package func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError) {
        try cut.call { () throws(StoreError) in
            try note(
                batch.compactMap { mutation in
                    switch mutation {
                    case .set(let partition, let key, _), .remove(let partition, let key): (partition, key)
                    case .require: nil
                    }
                }, durability)
            try base.write(batch, durability)
            settle(durability)
        }
    }

    package func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(
        key: Key, value: [UInt8]
    )] {
        try cut.call { () throws(StoreError) in try base.page(of: partition, from: from, before: end, limit: limit) }
    }

    package func removeAll(in partition: Partition) throws(StoreError) {
        try cut.call { () throws(StoreError) in
            try note(
                try base.page(of: partition, from: nil, before: nil, limit: .max).map { (partition, $0.key) }, .eventual
            )
            try base.removeAll(in: partition)
        }
    }

    package func partitions() throws(StoreError) -> [Partition] {
        try cut.call { () throws(StoreError) in try base.partitions() }
    }
}

/// An object store of a process that dies. Objects that were not finished are not there.
package typealias CutObjectStore = InterposedObjectStore<Cut>

extension Cut: ObjectStoreGuard {
    package func make<Result>(_ call: ObjectStoreCall, _ body: () throws(StoreError) -> Result) throws(StoreError)
        -> Result
    { try self.call(body) }
}

/// An engine that now and then does not answer for a while.
package final class Outages: ObjectStoreGuard {
    private let calls = Atomic<Int>(0)
    private let every: Int

    /// - Parameter every: of so many calls the first one fails.
    package init(every: Int) { self.every = every }

    /// Calls so far.
    package var count: Int { calls.load(ordering: .relaxed) }

    package func make<Result>(_ call: ObjectStoreCall, _ body: () throws(StoreError) -> Result) throws(StoreError)
        -> Result
    {
        guard calls.add(1, ordering: .relaxed).oldValue % every != 0 else {
            throw StoreError(.unavailable, "slow down", isTransient: true)
        }
        return try body()
    }
}

/// A key-value store that takes so many changes at once, as DynamoDB does, and refuses more.
package final class BoundedKeyValueStore: KeyValueStore {
    private let base = InMemoryKeyValueStore()
    package let capabilities: KeyValueCapabilities

    package init(mostChanges: Int) { capabilities = KeyValueCapabilities(mostChanges: mostChanges) }

    package func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError) {
        guard batch.count <= capabilities.mostChanges else {
            throw StoreError(.invalid, "\(batch.count) changes at once are more than \(capabilities.mostChanges)")
        }
        try base.write(batch, durability)
    }
    package func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]? {
        try base.value(for: key, in: partition)
    }
    package func set(
        _ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?, _ durability: Durability
    ) throws(StoreError) { try base.set(value, for: key, in: partition, if: condition, durability) }
    package func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(
        key: Key, value: [UInt8]
    )] { try base.page(of: partition, from: from, before: end, limit: limit) }
    package func removeAll(in partition: Partition) throws(StoreError) { try base.removeAll(in: partition) }
    package func partitions() throws(StoreError) -> [Partition] { try base.partitions() }
}
