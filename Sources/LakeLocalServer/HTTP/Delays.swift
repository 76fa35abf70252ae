import Foundations
import Synchronization
import Versioning

/// Does things later, on one thread of its own: answers that are held back. What it does must not block. Started when
/// it is first needed, stopped by its owner; what waits then is done at once.
package final class Delays: Sendable {
    private struct Item {
        let due: Int64
        let work: @Sendable () -> Void
    }

    private struct State {
        /// The next one last.
        var items: [Item] = []
        var thread: Thread?
        var isStopping = false
    }

    private let state = Mutex(State())
    private let wake = CountingSemaphore()

    package init() {}

    /// Runs `work` after so many milliseconds, at once after `stop`.
    package func run(after milliseconds: Int, _ work: @escaping @Sendable () -> Void) {
        let due = Timestamp.monotonicMilliseconds() + Int64(milliseconds)
        let isTaken = state.withLock { state in
            guard !state.isStopping else { return false }
            let place = state.items.firstIndex { $0.due <= due } ?? state.items.count
            state.items.insert(Item(due: due, work: work), at: place)
            if state.thread == nil { state.thread = Thread(name: "delays") { [self] in loop() } }
            return true
        }
        if isTaken { wake.post() } else { work() }
    }

    private func loop() {
        while true {
            let now = Timestamp.monotonicMilliseconds()
            let (due, next, isStopping) = state.withLock { state -> ([Item], Int64?, Bool) in
                var due: [Item] = []
                while let item = state.items.last, item.due <= now || state.isStopping {
                    due.append(item)
                    state.items.removeLast()
                }
                return (due, state.items.last?.due, state.isStopping)
            }
            for item in due { item.work() }
            if isStopping { return }
            if let next { _ = wake.wait(milliseconds: Int(max(1, next - now))) } else { wake.wait() }
        }
    }

    /// Call once.
    package func stop() {
        let thread = state.withLock { state in
            state.isStopping = true
            return { () -> Thread? in
                defer { state.thread = nil }
                return state.thread
            }()
        }
        wake.post()
        thread?.join()
    }
}
