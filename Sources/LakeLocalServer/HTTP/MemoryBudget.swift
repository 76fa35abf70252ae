import Synchronization

/// Bytes that requests under way may hold in memory, all of them together: bodies that are read whole, and answers that
/// wait for their reader. Where it is used up, requests are answered 503 `SlowDown` instead of being read. Safe from
/// any thread.
package final class MemoryBudget: Sendable {
    /// `limits.memory_bytes`.
    package let limitBytes: Int
    private let used = Atomic<Int>(0)

    package init(limitBytes: Int) { self.limitBytes = limitBytes }

    /// Bytes that are reserved now.
    package var usedBytes: Int { used.load(ordering: .relaxed) }

    fileprivate func take(_ count: Int) -> Bool {
        let (_, after) = used.add(count, ordering: .relaxed)
        if after <= limitBytes { return true }
        used.subtract(count, ordering: .relaxed)
        return false
    }

    fileprivate func give(_ count: Int) { used.subtract(count, ordering: .relaxed) }

    /// A share of the budget, given back when it goes away. Used by one thread at a time.
    package struct Share: ~Copyable {
        private let budget: MemoryBudget
        private var count = 0

        package init(of budget: MemoryBudget) { self.budget = budget }

        /// False, and nothing taken, if the budget has no room for `count` more bytes.
        package mutating func grow(by count: Int) -> Bool {
            guard budget.take(count) else { return false }
            self.count += count
            return true
        }

        deinit { budget.give(count) }
    }
}
