import Synchronization

/// Turns for those who would change the same thing at once: first come, first served, one at a time for each name. What
/// it orders may take long and do I/O; it is no lock on data, and other processes know nothing of it: right stays what
/// a compare-and-set says, this keeps one process from failing against itself. Safe from any thread.
package final class TurnQueue: Sendable {
    /// Who waits for each name, in order; a name that is there has someone at work.
    private let waiting = Mutex<[Key: [CountingSemaphore]]>([:])

    package init() {}

    /// How many wait for a turn now.
    package func waitingCount(of name: Key) -> Int { waiting.withLock { $0[name]?.count ?? 0 } }

    /// Runs `body` when all that came before with this name have ended. `body` must not ask for a turn of the same
    /// name.
    package func withTurn<Result>(of name: Key, _ body: () throws -> Result) rethrows -> Result {
        let turn: CountingSemaphore? = waiting.withLock { waiting in
            guard waiting[name] != nil else {
                waiting[name] = []
                return nil
            }
            let turn = CountingSemaphore()
            waiting[name]!.append(turn)
            return turn
        }
        turn?.wait()
        defer {
            let next: CountingSemaphore? = waiting.withLock { waiting in
                guard waiting[name]?.isEmpty == false else {
                    waiting[name] = nil
                    return nil
                }
                return waiting[name]!.removeFirst()
            }
            next?.post()
        }
        return try body()
    }
}
