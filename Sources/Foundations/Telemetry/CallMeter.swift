import Synchronization

/// How often the calls of a store were made, how long they took, and how many failed. Safe from any thread.
package final class CallMeter: Sendable {
    /// What was counted of one kind of call.
    package struct Count: Sendable {
        package var calls = 0, failures = 0
        package var microseconds: Int64 = 0
    }

    package let names: [String]
    /// In parts, so that threads seldom meet at one.
    private let parts: [Part]
    private final class Part: Sendable {
        let counts: Mutex<[Count]>
        init(_ count: Int) { counts = Mutex([Count](repeating: Count(), count: count)) }
    }

    package init(_ names: [String]) {
        self.names = names
        parts = (0..<16).map { _ in Part(names.count) }
    }

    package func add(_ call: Int, since began: Int64, isFailure: Bool) {
        let took = Timestamp.monotonicMicroseconds() - began
        parts[threadShard(of: parts.count)].counts.withLock {
            $0[call].calls += 1
            $0[call].microseconds += took
            if isFailure { $0[call].failures += 1 }
        }
    }

    /// Who asks under a condition, or for what may be gone, is answered.
    private static func isFailure(_ error: StoreError) -> Bool {
        error.code != .preconditionFailed && error.code != .notFound
    }

    package func measure<Result>(_ call: Int, _ body: () throws(StoreError) -> Result) throws(StoreError)
        -> Result
    {
        let began = Timestamp.monotonicMicroseconds()
        do throws(StoreError) {
            let result = try body()
            add(call, since: began, isFailure: false)
            return result
        } catch {
            add(call, since: began, isFailure: Self.isFailure(error))
            throw error
        }
    }

    /// As `measure`, of a call that is done when the closure that `begin` is given is called.
    package func measure(
        _ call: Int, then done: @escaping @Sendable (StoreError?) -> Void,
        _ begin: (@escaping @Sendable (StoreError?) -> Void) -> Void
    ) {
        let began = Timestamp.monotonicMicroseconds()
        begin { [self] error in
            add(call, since: began, isFailure: error.map(Self.isFailure) ?? false)
            done(error)
        }
    }

    /// All there was so far, by name.
    package var counts: [(name: String, count: Count)] {
        var sum = [Count](repeating: Count(), count: names.count)
        for part in parts {
            for (index, one) in part.counts.withLock({ $0 }).enumerated() {
                sum[index].calls += one.calls
                sum[index].failures += one.failures
                sum[index].microseconds += one.microseconds
            }
        }
        return Array(zip(names, sum))
    }
}
