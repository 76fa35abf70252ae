import Synchronization

/// Many threads' writes made durable together: whoever comes first applies all that wait with one sync, and wakes their
/// callers; whoever comes meanwhile waits for the next turn. The one pattern behind SQLite's writer, the syncs of new
/// objects and what is asked of a database together (`style.md` section 7). There is no thread of its own to wake: a
/// lone caller's write is a plain call.
package final class GroupCommit<Item: Sendable, Outcome: Sendable>: Sendable {
    private final class Waiter: Sendable {
        let item: Item
        let outcome = Mutex<Outcome?>(nil)
        /// Posted when there is an outcome, and when it is this caller's turn to apply.
        let wake = CountingSemaphore()
        /// Changed under the lock.
        let hasTurn = Atomic<Bool>(false)
        /// Called with the outcome, for a caller that does not wait.
        let done: (@Sendable (Outcome?) -> Void)?

        init(_ item: Item, _ done: (@Sendable (Outcome?) -> Void)? = nil) {
            self.item = item
            self.done = done
        }
    }

    private struct State {
        var waiting: [Waiter] = []
        /// How many apply, or were told to.
        var busy = 0
        var isStopping = false
        /// Posted when nobody is busy any more, for `stop`.
        var idle: CountingSemaphore?
    }

    private let state = Mutex(State())
    private let limit: Int
    private let width: @Sendable () -> Int
    private let apply: @Sendable ([Item]) -> [Outcome]
    /// Takes the turns of callers that do not wait.
    private let executor: WorkerPool?

    /// - Parameters:
    ///   - limit: items in one batch; what waits beyond it is the next batch.
    ///   - executor: for `submit(_:then:)`, one thread where there is one turn; its owner stops it after this.
    ///   - width: how many batches may be applied at once: more than one where what takes time is the way there.
    ///   - apply: gets a batch and returns one outcome for each item, in order.
    package init(
        limit: Int = 4096, executor: WorkerPool? = nil, width: @escaping @Sendable () -> Int = { 1 },
        apply: @escaping @Sendable ([Item]) -> [Outcome]
    ) {
        self.limit = limit
        self.width = width
        self.executor = executor
        self.apply = apply
    }

    /// True if it is the waiter's turn already, nil after `stop`.
    private func enter(_ waiter: Waiter) -> Bool? {
        state.withLock { state in
            guard !state.isStopping else { return nil }
            state.waiting.append(waiter)
            guard state.busy < max(1, width()) else { return false }
            state.busy += 1
            waiter.hasTurn.store(true, ordering: .relaxed)
            return true
        }
    }

    /// Blocks until `item` was applied, and returns its outcome; nil after `stop`.
    package func submit(_ item: Item) -> Outcome? {
        let waiter = Waiter(item)
        guard let isFirst = enter(waiter) else { return nil }
        if isFirst, let outcome = takeTurn(waiter) { return outcome }
        while true {
            waiter.wake.wait()
            // A turn is taken even if another one has applied this item meanwhile: it was this caller's to pass on.
            if waiter.hasTurn.load(ordering: .acquiring), let outcome = takeTurn(waiter) { return outcome }
            if let outcome = waiter.outcome.withLock({ $0 }) { return outcome }
        }
    }

    /// As `submit`, but does not wait: `done` gets the outcome on another thread, which it must not hold up.
    package func submit(_ item: Item, then done: @escaping @Sendable (Outcome?) -> Void) {
        guard let isFirst = enter(Waiter(item, done)) else { return done(nil) }
        if isFirst { executor!.run { [self] in _ = takeTurn(nil) } }
    }

    /// Applies what waits, `own` first among it, and passes the turn on.
    /// - Parameter own: nil on the executor, which goes on while those come first who do not wait.
    private func takeTurn(_ own: Waiter?) -> Outcome? {
        var result: Outcome?
        while true {
            let batch = state.withLock { state in
                own?.hasTurn.store(false, ordering: .relaxed)
                let batch = Array(state.waiting.prefix(limit))
                state.waiting.removeFirst(batch.count)
                return batch
            }
            let outcomes = batch.isEmpty ? [] : apply(batch.map(\.item))
            let (next, idle) = state.withLock { state -> (Waiter?, CountingSemaphore?) in
                // Who has been given a turn already takes what waits along.
                let next = state.waiting.first { !$0.hasTurn.load(ordering: .relaxed) }
                if let next { next.hasTurn.store(true, ordering: .releasing) } else { state.busy -= 1 }
                return (next, state.busy == 0 ? state.idle : nil)
            }
            let goesOn = own == nil && next?.done != nil
            if let next, !goesOn {
                if next.done == nil { next.wake.post() } else { executor!.run { [self] in _ = takeTurn(nil) } }
            }
            for (waiter, outcome) in zip(batch, outcomes) {
                if waiter === own {
                    result = outcome
                } else if let done = waiter.done {
                    done(outcome)
                } else {
                    waiter.outcome.withLock { $0 = outcome }
                    waiter.wake.post()
                }
            }
            idle?.post()
            guard goesOn else { return result }
        }
    }

    /// Lets what waits be applied, and takes nothing more. Call once.
    package func stop() {
        let idle: CountingSemaphore? = state.withLock { state in
            state.isStopping = true
            guard state.busy > 0 else { return nil }
            let idle = CountingSemaphore()
            state.idle = idle
            return idle
        }
        idle?.wait()
    }
}
