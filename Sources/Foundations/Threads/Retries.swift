import Glibc
import Synchronization

/// Makes calls again that failed for a while only, as `StoreError.isTransient` says: after growing waits, and only as
/// long as the budget lasts that all callers share, so that an engine that is down is not asked many times as often as
/// one that is well. Safe from any thread; a caller is held while it waits.
package final class Retries: Sendable {
    package struct Pace: Sendable {
        /// Times that one call is made at most.
        package var tries = 5
        /// Milliseconds before the second time; twice as long before each other, each cut by chance.
        package var wait: UInt32 = 50
        package var longestWait: UInt32 = 2000
        /// Repetitions that the budget holds at most; each call that succeeds at once gives a tenth of one back.
        package var budget = 100
        package init() {}
    }

    private let pace: Pace
    /// Tenths of repetitions that are left.
    private let left: Atomic<Int>

    package init(_ pace: Pace = Pace()) {
        self.pace = pace
        left = Atomic(pace.budget * 10)
    }

    package func run<Result>(_ body: () throws(StoreError) -> Result) throws(StoreError) -> Result {
        var attempt = 1
        while true {
            do throws(StoreError) {
                let result = try body()
                if attempt == 1 { giveBack() }
                return result
            } catch {
                guard error.isTransient, attempt < pace.tries, take() else { throw error }
                let longest = min(pace.wait << UInt32(attempt - 1), pace.longestWait)
                usleep(UInt32.random(in: longest / 2...longest) * 1000)
                attempt += 1
            }
        }
    }

    private func giveBack() {
        // Seldom anything is missing: then it costs one read.
        guard left.load(ordering: .relaxed) < pace.budget * 10 else { return }
        left.add(1, ordering: .relaxed)
    }

    private func take() -> Bool {
        guard left.subtract(10, ordering: .relaxed).newValue >= 0 else {
            left.add(10, ordering: .relaxed)
            return false
        }
        return true
    }
}
