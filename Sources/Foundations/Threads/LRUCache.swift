public import Synchronization

/// A map that forgets what was used longest ago when its cost passes a bound. Safe from any thread.
@usableFromInline
package final class LRUCache<Name: Hashable & Sendable, Value: Sendable>: Sendable {
    @usableFromInline
    final class Node {
        @usableFromInline let name: Name
        @usableFromInline var value: Value
        @usableFromInline var cost: Int
        @usableFromInline unowned(unsafe) var newer: Node?
        @usableFromInline unowned(unsafe) var older: Node?
        @inlinable
        init(_ name: Name, _ value: Value, _ cost: Int) {
            self.name = name
            self.value = value
            self.cost = cost
        }
    }

    /// Nodes are reachable only through this state, and only under its lock; the dictionary owns them, the links do
    /// not.
    @usableFromInline
    struct State: @unchecked Sendable {
        @inlinable init() {}

        @usableFromInline var nodes: [Name: Node] = [:]
        @usableFromInline unowned(unsafe) var newest: Node?
        @usableFromInline unowned(unsafe) var oldest: Node?
        @usableFromInline var cost = 0
        @usableFromInline var hits = 0, misses = 0

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
    }

    @usableFromInline let state: Mutex<State> = Mutex(State())
    @usableFromInline let budget: Int

    /// - Parameter budget: the sum of costs to keep; the unit is the caller's (bytes, entries).
    @inlinable package init(budget: Int) { self.budget = budget }

    /// How often what was looked for was there, and how often it was not.
    @inlinable package var counters: (hits: Int, misses: Int) { state.withLock { ($0.hits, $0.misses) } }

    @inlinable package subscript(name: Name) -> Value? {
        state.withLock { state in
            guard let node = state.nodes[name] else {
                state.misses += 1
                return nil
            }
            state.hits += 1
            if unsafe state.newest !== node {
                state.unlink(node)
                state.push(node)
            }
            return node.value
        }
    }

    @inlinable package func insert(_ value: Value, for name: Name, cost: Int = 1) {
        state.withLock { state in
            if let old = state.nodes.removeValue(forKey: name) {
                state.cost -= old.cost
                state.unlink(old)
            }
            let node = Node(name, value, cost)
            state.nodes[name] = node
            state.push(node)
            state.cost += cost
            while state.cost > budget, let last = unsafe state.oldest, last !== node {
                state.unlink(last)
                state.nodes.removeValue(forKey: last.name)
                state.cost -= last.cost
            }
        }
    }

    @inlinable package func remove(_ name: Name) {
        state.withLock { state in
            guard let node = state.nodes.removeValue(forKey: name) else { return }
            state.cost -= node.cost
            state.unlink(node)
        }
    }

    @inlinable package func removeAll() { state.withLock { $0 = State() } }
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
