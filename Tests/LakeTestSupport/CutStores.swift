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
package final class CutObjectStore<Base: ObjectStore>: ObjectStore {
    private let base: Base
    private let cut: Cut

    package init(_ base: Base, _ cut: Cut) {
        self.base = base
        self.cut = cut
    }

    private final class Writer: ObjectWriter {
        let base: any ObjectWriter
        let cut: Cut
        init(_ base: any ObjectWriter, _ cut: Cut) {
            self.base = base
            self.cut = cut
        }
        func write(_ bytes: UnsafeRawBufferPointer) throws(StoreError) { unsafe try base.write(bytes) }
        func finish(_ durability: Durability) throws(StoreError) -> Int64 {
            try cut.call { () throws(StoreError) in try base.finish(durability) }
        }
        func abort() { base.abort() }
    }

    package func makeWriter(_ location: ObjectLocation) throws(StoreError) -> any ObjectWriter {
        Writer(try cut.call { () throws(StoreError) in try base.makeWriter(location) }, cut)
    }
    package func read(_ location: ObjectLocation, _ range: Range<Int64>) throws(StoreError) -> [UInt8] {
        try cut.call { () throws(StoreError) in try base.read(location, range) }
    }
    package func head(_ location: ObjectLocation) throws(StoreError) -> StoredObject? {
        try cut.call { () throws(StoreError) in try base.head(location) }
    }
    package func remove(_ location: ObjectLocation) throws(StoreError) {
        try cut.call { () throws(StoreError) in try base.remove(location) }
    }
    package func copy(_ source: ObjectLocation, to destination: ObjectLocation) throws(StoreError) -> Int64 {
        try cut.call { () throws(StoreError) in try base.copy(source, to: destination) }
    }
    package func list(_ prefix: ObjectLocation, after: String?, limit: Int) throws(StoreError) -> [StoredObject] {
        try cut.call { () throws(StoreError) in try base.list(prefix, after: after, limit: limit) }
    }
    package func isOpen(_ location: ObjectLocation) -> Bool { base.isOpen(location) }

    package var capabilities: ObjectStoreCapabilities {
        let own = base.capabilities
        return ObjectStoreCapabilities(schemes: own.schemes, files: own.files.map { Files(base: $0, cut: cut) })
    }

    private struct Files: ObjectFiles {
        let base: any ObjectFiles
        let cut: Cut
        func makeWriter() throws(StoreError) -> any UnnamedObjectWriter {
            UnnamedWriter(try cut.call { () throws(StoreError) in try base.makeWriter() }, cut)
        }
        func join(_ parts: [ObjectLocation], to destination: ObjectLocation) throws(StoreError) -> Int64 {
            try cut.call { () throws(StoreError) in try base.join(parts, to: destination) }
        }
        func adopt(file path: String, as location: ObjectLocation, _ durability: Durability) throws(StoreError)
            -> Int64
        {
            try cut.call { () throws(StoreError) in try base.adopt(file: path, as: location, durability) }
        }
        func piece(_ location: ObjectLocation) throws(StoreError) -> FilePiece {
            try cut.call { () throws(StoreError) in try base.piece(location) }
        }
        func file(_ location: ObjectLocation) throws(StoreError) -> FilePiece {
            try cut.call { () throws(StoreError) in try base.file(location) }
        }
        func walk(_ prefix: ObjectLocation, _ body: (StoredObject) throws -> Void) throws {
            try cut.call { () throws(StoreError) in }
            try base.walk(prefix, body)
        }
        func capacity() -> (total: Int64, free: Int64, available: Int64)? { base.capacity() }
        func synchronize() throws(StoreError) { try cut.call { () throws(StoreError) in try base.synchronize() } }
        func synchronizeOrdered() throws(StoreError) {
            try cut.call { () throws(StoreError) in try base.synchronizeOrdered() }
        }
    }

    private final class UnnamedWriter: UnnamedObjectWriter {
        let base: any UnnamedObjectWriter
        let cut: Cut
        init(_ base: any UnnamedObjectWriter, _ cut: Cut) {
            self.base = base
            self.cut = cut
        }
        func write(_ bytes: UnsafeRawBufferPointer) throws(StoreError) { unsafe try base.write(bytes) }
        func finish(at location: ObjectLocation, _ durability: Durability) throws(StoreError) {
            try cut.call { () throws(StoreError) in try base.finish(at: location, durability) }
        }
        func abort() { base.abort() }
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
