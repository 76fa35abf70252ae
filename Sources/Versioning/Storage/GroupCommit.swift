import Synchronization

/// Many threads' writes made durable together: whoever comes first applies all that wait with one sync, and wakes their
/// callers; whoever comes meanwhile waits for the next turn. The one pattern behind SQLite's writer and the syncs of new
/// objects (`style.md` section 7). There is no thread of its own to wake: a lone caller's write is a plain call.
package final class GroupCommit<Item: Sendable, Outcome: Sendable>: Sendable {
    private final class Waiter: Sendable {
        let item: Item
        let outcome = Mutex<Outcome?>(nil)
        /// Posted when there is an outcome, or when it is this caller's turn to apply.
        let wake = CountingSemaphore()
        init(_ item: Item) { self.item = item }
    }

    private struct State {
        var waiting: [Waiter] = []
        /// Someone applies, or was told to.
        var isBusy = false
        var isStopping = false
        /// Posted when nobody is busy any more, for `stop`.
        var idle: CountingSemaphore?
    }

    private let state = Mutex(State())
    private let limit: Int
    private let apply: @Sendable ([Item]) -> [Outcome]

    /// - Parameters:
    ///   - limit: items in one batch; what waits beyond it is the next batch.
    ///   - apply: gets a batch and returns one outcome for each item, in order. Runs on one caller's thread at a time.
    package init(limit: Int = 4096, apply: @escaping @Sendable ([Item]) -> [Outcome]) {
        self.limit = limit
        self.apply = apply
    }

    /// Blocks until `item` was applied, and returns its outcome; nil after `stop`.
    package func submit(_ item: Item) -> Outcome? {
        let waiter = Waiter(item)
        let turn: Bool? = state.withLock { state in
            guard !state.isStopping else { return nil }
            state.waiting.append(waiter)
            defer { state.isBusy = true }
            return !state.isBusy
        }
        guard let isFirst = turn else { return nil }
        if !isFirst {
            waiter.wake.wait()
            if let outcome = waiter.outcome.withLock({ $0 }) { return outcome }
        }
        return applyBatch(with: waiter)
    }

    /// Applies what waits, `own` first among it, and passes the turn on.
    private func applyBatch(with own: Waiter) -> Outcome? {
        let batch = state.withLock { state in
            let batch = Array(state.waiting.prefix(limit))
            state.waiting.removeFirst(batch.count)
            return batch
        }
        let outcomes = apply(batch.map(\.item))
        let (next, idle) = state.withLock { state -> (Waiter?, CountingSemaphore?) in
            state.isBusy = !state.waiting.isEmpty
            return (state.waiting.first, state.isBusy ? nil : state.idle)
        }
        next?.wake.post()
        idle?.post()
        var result: Outcome?
        for (waiter, outcome) in zip(batch, outcomes) {
            if waiter === own {
                result = outcome
                continue
            }
            waiter.outcome.withLock { $0 = outcome }
            waiter.wake.post()
        }
        return result
    }

    /// Lets what waits be applied, and takes nothing more. Call once.
    package func stop() {
        let idle: CountingSemaphore? = state.withLock { state in
            state.isStopping = true
            guard state.isBusy else { return nil }
            let idle = CountingSemaphore()
            state.idle = idle
            return idle
        }
        idle?.wait()
    }
}
