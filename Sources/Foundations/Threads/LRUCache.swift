public import Synchronization

/// A map that forgets what was not used for longest when its cost passes a bound. Safe from any thread; who finds what
/// it looks for waits for nobody: a use is a mark, which is looked at when room is to be made (the clock algorithm, or
/// second chance).
///
/// With one lock for every look-up, listings of 32 connections waited for it more than they worked (measured).
@usableFromInline
package final class LRUCache<Name: Hashable & Sendable, Value: Sendable>: Sendable {
    @usableFromInline
    final class Node {
        @usableFromInline let name: Name
        @usableFromInline let value: Value
        @usableFromInline let cost: Int
        /// Whether it was looked for since room was made the last time that it was the oldest.
        @usableFromInline let isUsed = Atomic<Bool>(false)
        @usableFromInline unowned(unsafe) var newer: Node?
        @usableFromInline unowned(unsafe) var older: Node?
        @inlinable
        init(_ name: Name, _ value: Value, _ cost: Int) {
            self.name = name
            self.value = value
            self.cost = cost
        }
    }

    /// Nodes are reachable only through this state, and but for their marks only under its lock; the dictionary owns
    /// them, the links do not.
    @usableFromInline
    struct State: @unchecked Sendable {
        @inlinable init() {}

        @usableFromInline var nodes: [Name: Node] = [:]
        @usableFromInline unowned(unsafe) var newest: Node?
        @usableFromInline unowned(unsafe) var oldest: Node?
        @usableFromInline var cost = 0

        @inlinable
        mutating func unlink(_ node: Node) {
            let newer = unsafe node.newer
            let older = unsafe node.older
            if let newer { unsafe newer.older = older } else { unsafe newest = older }
            if let older { unsafe older.newer = newer } else { unsafe oldest = newer }
            unsafe node.newer = nil
            unsafe node.older = nil
        }

        @inlinable
        mutating func push(_ node: Node) {
            unsafe node.older = unsafe newest
            unsafe newest?.newer = node
            unsafe newest = node
            if unsafe oldest == nil { unsafe oldest = node }
        }

        @inlinable
        mutating func remove(_ name: Name) {
            guard let node = nodes.removeValue(forKey: name) else { return }
            cost -= node.cost
            unlink(node)
        }

        /// Forgets what was not used for longest until no more than `budget` is left, but not `kept`.
        @inlinable
        mutating func shrink(to budget: Int, keeping kept: Node) {
            while cost > budget, nodes.count > 1, let last = unsafe oldest {
                if last === kept || last.isUsed.exchange(false, ordering: .relaxed) {
                    unlink(last)
                    push(last)
                } else {
                    remove(last.name)
                }
            }
        }
    }

    @usableFromInline let state = ReadWriteLock(State())
    @usableFromInline let budget: Int
    @usableFromInline let hits = Atomic<Int>(0), misses = Atomic<Int>(0)

    /// - Parameter budget: the sum of costs to keep; the unit is the caller's (bytes, entries).
    @inlinable package init(budget: Int) { self.budget = budget }

    /// How often what was looked for was there, and how often it was not.
    @inlinable package var counters: (hits: Int, misses: Int) {
        (hits.load(ordering: .relaxed), misses.load(ordering: .relaxed))
    }

    @inlinable package subscript(name: Name) -> Value? {
        state.read { state in
            guard let node = state.nodes[name] else {
                misses.add(1, ordering: .relaxed)
                return nil
            }
            hits.add(1, ordering: .relaxed)
            if !node.isUsed.load(ordering: .relaxed) { node.isUsed.store(true, ordering: .relaxed) }
            return node.value
        }
    }

    @inlinable package func insert(_ value: Value, for name: Name, cost: Int = 1) {
        state.write { state in
            state.remove(name)
            let node = Node(name, value, cost)
            state.nodes[name] = node
            state.push(node)
            state.cost += cost
            state.shrink(to: budget, keeping: node)
        }
    }

    @inlinable package func remove(_ name: Name) { state.write { $0.remove(name) } }

    @inlinable package func removeAll() { state.write { $0 = State() } }
}

/// The same in parts with a lock each, so that threads seldom meet at one.
@usableFromInline
package final class ShardedCache<Name: Hashable & Sendable, Value: Sendable>: Sendable {
    @usableFromInline let shards: [LRUCache<Name, Value>]

    /// - Parameter budget: of all parts together.
    @inlinable package init(budget: Int, parts: Int = 16) {
        shards = (0..<parts).map { _ in LRUCache(budget: budget / parts) }
    }

    /// How often what was looked for was there, and how often it was not.
    @inlinable package var counters: (hits: Int, misses: Int) {
        shards.reduce((0, 0)) { sum, shard in
            let own = shard.counters
            return (sum.0 + own.hits, sum.1 + own.misses)
        }
    }

    @inlinable func shard(_ name: Name) -> LRUCache<Name, Value> {
        var hasher = Hasher()
        name.hash(into: &hasher)
        return shards[Int(UInt(bitPattern: hasher.finalize()) % UInt(shards.count))]
    }

    @inlinable package subscript(name: Name) -> Value? { shard(name)[name] }

    @inlinable package func insert(_ value: Value, for name: Name, cost: Int) {
        shard(name).insert(value, for: name, cost: cost)
    }
}
