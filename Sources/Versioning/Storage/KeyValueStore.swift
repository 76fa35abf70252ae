package import Foundations

/// What must hold for a conditional write.
package enum Precondition: Sendable, Hashable {
    /// There is no such key.
    case absent
    /// The key is there, whatever its value.
    case present
    /// The key has exactly these bytes as its value: those read before, never re-encoded ones.
    case matches([UInt8])
}

extension Precondition {
    package func allows(_ value: [UInt8]?) -> Bool {
        switch self {
        case .absent: value == nil
        case .present: value != nil
        case .matches(let bytes): value == bytes
        }
    }
}

/// One change of a batch, or what must hold for all of it.
package enum Mutation: Sendable {
    case set(Partition, Key, [UInt8])
    case remove(Partition, Key)
    /// Holds of the key before the batch, or nothing of the batch is done.
    case require(Partition, Key, Precondition)

    package var isRemoval: Bool { if case .remove = self { true } else { false } }
}

/// How long a write waits.
package enum Durability: Sendable {
    /// Until a crash of the machine cannot undo it.
    case durable
    /// Until every reader sees it; durable within a second, and at the latest with the next durable write.
    case eventual
    /// Of an object: not longer than what names it. It is durable before any record that is written durably afterwards,
    /// if the key-value store sees to that (`KeyValueCapabilities.syncsObjects`).
    case ordered
}

/// The name of a key-value partition: records of one partition are stored and listed together.
package struct Partition: Hashable, Sendable, CustomStringConvertible {
    package var name: Key
    package init(_ name: some StringProtocol) { self.name = Key(name) }
    package init(_ name: Key) { self.name = name }
    package var description: String { name.description }
}

/// What a key-value store can do beyond the port.
package struct KeyValueCapabilities: Sendable {
    /// What is durable of a store includes the objects that were finished as `.ordered` before.
    package var syncsObjects = false
    /// Changes and requirements that one `write` takes at most: 100 on DynamoDB.
    package var mostChanges = Int.max
    /// Other processes may write to it at any time, and each call is a round trip.
    package var isShared = false
    /// Many writes at once may require the same of one record without failing each other.
    package var requiresCheaply = true
    /// Reads that nobody waits for hold no thread of who asks.
    package var readsLater = false
    package init(
        syncsObjects: Bool = false, mostChanges: Int = .max, isShared: Bool = false, requiresCheaply: Bool = true,
        readsLater: Bool = false
    ) {
        self.syncsObjects = syncsObjects
        self.mostChanges = mostChanges
        self.isShared = isShared
        self.requiresCheaply = requiresCheaply
        self.readsLater = readsLater
    }
}

/// Ordered bytes under a partition: where refs, commits, staging and settings live.
/// Every method may be called from any thread at any time, and blocks its caller until it is done.
/// Reads are consistent: they see every write that was acknowledged before. Source: `lakefs-formats.md` section 6.
package protocol KeyValueStore: Sendable {
    var capabilities: KeyValueCapabilities { get }

    /// The value of `key`, or nil if there is none. Absence is not an error.
    func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]?

    /// The values of several keys, in their order, in as few round trips as the engine has for it. Not a snapshot.
    func values(for names: [(partition: Partition, key: Key)]) throws(StoreError) -> [[UInt8]?]

    /// As `values`, but does not wait where the capabilities say so: `done` is called from any thread, perhaps before this
    /// returns. It must not block.
    func values(
        for names: [(partition: Partition, key: Key)],
        then done: @escaping @Sendable (Result<[[UInt8]?], StoreError>) -> Void)

    /// Stores `value` only if `condition` holds at the moment of the write.
    /// Returns when it is as durable as asked; calls from many threads share one sync.
    /// - Throws: `.preconditionFailed` if it does not hold; nothing was written then.
    func set(
        _ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?, _ durability: Durability)
        throws(StoreError)

    /// Applies all changes, in order, or none. There may be `capabilities.mostChanges` of them.
    /// - Throws: `.preconditionFailed` if something that the batch requires does not hold.
    func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError)

    /// As `write`, but does not wait: `done` is called when the batch is as durable as asked, or with what went wrong;
    /// from any thread, perhaps before this returns. It must not block.
    func write(_ batch: [Mutation], _ durability: Durability, then done: @escaping @Sendable (StoreError?) -> Void)

    /// Up to `limit` entries with `key >= from` (and below `end`, if given), in unsigned byte order.
    func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(
        key: Key, value: [UInt8]
    )]

    /// Removes every record of a partition, in steps that let other writers in between. Not atomic; may be repeated.
    func removeAll(in partition: Partition) throws(StoreError)

    /// The names of all partitions, in byte order. For dumps and tests; may read everything.
    func partitions() throws(StoreError) -> [Partition]

    /// Tells other processes on the store that there is something to read. Best effort: they look now and then anyway.
    func announce()

    /// Calls `heard` when another process has announced something, from a thread of the store's own, until that is
    /// closed. False where the engine has no such thing.
    func listen(_ heard: @escaping @Sendable () -> Void) -> Bool
}

extension KeyValueStore {
    package var capabilities: KeyValueCapabilities { KeyValueCapabilities() }

    /// For engines to which a change of one record is a batch as any other.
    package func set(
        _ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?, _ durability: Durability
    ) throws(StoreError) {
        try write(
            (condition.map { [.require(partition, key, $0)] } ?? []) + [.set(partition, key, value)], durability)
    }

    package func values(for names: [(partition: Partition, key: Key)]) throws(StoreError) -> [[UInt8]?] {
        var values: [[UInt8]?] = []
        for (partition, key) in names { values.append(try value(for: key, in: partition)) }
        return values
    }

    package func values(
        for names: [(partition: Partition, key: Key)],
        then done: @escaping @Sendable (Result<[[UInt8]?], StoreError>) -> Void
    ) { done(Result { () throws(StoreError) in try values(for: names) }) }

    package func announce() {}

    package func listen(_ heard: @escaping @Sendable () -> Void) -> Bool { false }

    package func set(_ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition? = nil)
        throws(StoreError)
    {
        try set(value, for: key, in: partition, if: condition, .durable)
    }

    package func write(
        _ batch: [Mutation], _ durability: Durability, then done: @escaping @Sendable (StoreError?) -> Void
    ) {
        do throws(StoreError) {
            try write(batch, durability)
            done(nil)
        } catch {
            done(error)
        }
    }

    /// Applies any number of changes, in order, each done or not if it fails amid them: may be repeated.
    package func writeMany(_ changes: [Mutation], _ durability: Durability) throws(StoreError) {
        let most = capabilities.mostChanges
        guard changes.count > most else { return try write(changes, durability) }
        var start = 0
        while start < changes.count {
            let end = min(start + most, changes.count)
            try write(Array(changes[start..<end]), durability)
            start = end
        }
    }

    /// As `set`, but tells a condition that does not hold by its result: false, and nothing was written.
    package func trySet(
        _ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?,
        _ durability: Durability = .durable
    ) throws(StoreError) -> Bool {
        do throws(StoreError) {
            try set(value, for: key, in: partition, if: condition, durability)
            return true
        } catch {
            if error.code == .preconditionFailed { return false }
            throw error
        }
    }

    /// As `write`, but tells what it requires and does not hold by its result: false, and nothing was written.
    package func tryWrite(_ batch: [Mutation], _ durability: Durability) throws(StoreError) -> Bool {
        do throws(StoreError) {
            try write(batch, durability)
            return true
        } catch {
            if error.code == .preconditionFailed { return false }
            throw error
        }
    }

    /// Removes `key`; nothing happens if it is not there.
    package func remove(_ key: Key, in partition: Partition) throws(StoreError) {
        try write([.remove(partition, key)], .durable)
    }

    /// Up to `limit` entries whose keys start with `prefix`, beginning at `from` if that lies behind it.
    package func page(of partition: Partition, prefix: Key, from: Key? = nil, limit: Int) throws(StoreError) -> [(
        key: Key, value: [UInt8]
    )] {
        let start = from.map { max($0, prefix) } ?? prefix
        return try page(of: partition, from: start, before: prefix.upperBound, limit: limit)
    }
}

/// Walks a partition in key order, page by page. Not a snapshot: later pages may show later writes.
package struct PartitionCursor {
    private let store: any KeyValueStore
    private let partition: Partition
    private let end: Key?
    private let pageSize: Int
    private var page: [(key: Key, value: [UInt8])] = []
    private var position = 0
    private var next: Key?
    private var isExhausted = false

    /// - Parameter pageSize: records a page; the first page is a tenth of it, so that short answers stay cheap.
    package init(
        _ store: any KeyValueStore, _ partition: Partition, from: Key? = nil, before end: Key? = nil,
        pageSize: Int = 1000
    ) {
        self.store = store
        self.partition = partition
        self.end = end
        self.pageSize = pageSize
        next = from
    }

    /// The record under the cursor, or nil at the end.
    package mutating func current() throws(StoreError) -> (key: Key, value: [UInt8])? {
        if position < page.count { return page[position] }
        guard !isExhausted else { return nil }
        let limit = page.isEmpty ? max(pageSize / 10, 1) : pageSize
        page = try store.page(of: partition, from: next, before: end, limit: limit)
        position = 0
        isExhausted = page.count < limit
        if let last = page.last { next = last.key.successor }
        return page.first
    }

    package mutating func advance() { position += 1 }

    /// Goes to the first record with `key >= target`; never backwards.
    package mutating func seek(_ target: Key) throws(StoreError) {
        while position < page.count {
            if !(page[position].key < target) { return }
            if let last = page.last, last.key < target {
                position = page.count
                break
            }
            // The target lies in this page: halve towards it.
            var low = position
            var high = page.count - 1
            while low < high {
                let middle = (low + high) / 2
                if page[middle].key < target { low = middle + 1 } else { high = middle }
            }
            position = low
            return
        }
        guard !isExhausted else { return }
        if next.map({ $0 < target }) ?? true { next = target }
        page = []
        position = 0
    }
}
