import Synchronization

/// Many threads' writes made durable together: one thread takes all that wait, applies them with one sync, and wakes
/// their callers. The one pattern behind SQLite's writer and the syncs of new objects (`style.md` section 7).
package final class GroupCommit<Item: Sendable, Outcome: Sendable>: Sendable {
    private final class Waiter: Sendable {
        let item: Item
        let outcome = Mutex<Outcome?>(nil)
        let done = CountingSemaphore()
        init(_ item: Item) { self.item = item }
    }

    /// What the callers and the owning thread share.
    private final class Queue: Sendable {
        private let state = Mutex<(waiting: [Waiter], isStopping: Bool)>(([], false))
        let signal = CountingSemaphore()

        /// False if the owner stops.
        func append(_ waiter: Waiter) -> Bool {
            let isStopping = state.withLock { state in
                if !state.isStopping { state.waiting.append(waiter) }
                return state.isStopping
            }
            if !isStopping { signal.post() }
            return !isStopping
        }

        /// All that waits, up to `limit`, perhaps none; nil when the owner is to stop.
        func next(limit: Int) -> [Waiter]? {
            signal.wait()
            return state.withLock { state in
                let batch = Array(state.waiting.prefix(limit))
                state.waiting.removeFirst(batch.count)
                return batch.isEmpty && state.isStopping ? nil : batch
            }
        }

        func stop() {
            state.withLock { $0.isStopping = true }
            signal.post()
        }
    }

    private let queue = Queue()
    private let thread: Mutex<Thread?> = Mutex(nil)

    /// - Parameters:
    ///   - limit: items in one batch; what waits beyond it is the next batch.
    ///   - apply: gets a batch on the owning thread and returns one outcome for each item, in order.
    package init(name: String, limit: Int = 4096, apply: @escaping @Sendable ([Item]) -> [Outcome]) {
        let thread = Thread(name: name) { [queue] in
            while let batch = queue.next(limit: limit) {
                if batch.isEmpty { continue }  // Its items went with an earlier batch.
                for (waiter, outcome) in zip(batch, apply(batch.map(\.item))) {
                    waiter.outcome.withLock { $0 = outcome }
                    waiter.done.post()
                }
            }
        }
        self.thread.withLock { $0 = thread }
    }

    /// Blocks until `item` was applied, and returns its outcome; nil if the owner has stopped.
    package func submit(_ item: Item) -> Outcome? {
        let waiter = Waiter(item)
        guard queue.append(waiter) else { return nil }
        waiter.done.wait()
        return waiter.outcome.withLock { $0 }
    }

    /// Applies what waits, then ends the thread. Call once.
    package func stop() {
        queue.stop()
        let thread = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        thread?.join()
    }
}
