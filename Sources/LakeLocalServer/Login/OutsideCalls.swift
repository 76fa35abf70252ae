import Foundations
import Synchronization
import Versioning

/// Threads that wait for other systems: these take their time, and must not hold up what waits for nobody. Safe from
/// any thread.
package final class OutsideCalls: Sendable {
    private let pool: WorkerPool
    /// Requests that wait for a thread or run, by address.
    private let waiting = Mutex<[IPAddress?: Int]>([:])
    /// More of them, or of one address, are told to come again.
    private static let mostWaiting = 256, mostOfOneAddress = 32

    package init(width: Int = 8) { pool = WorkerPool(name: "outside", width: width) }

    /// - Parameter request: whose work it is.
    func run(
        for request: Request, _ work: @escaping @Sendable () throws -> Response,
        _ answer: @escaping @Sendable (Response) -> Void
    ) {
        let address = request.peer?.address
        let isAllowed = waiting.withLock { waiting in
            let own = waiting[address] ?? 0
            guard own < Self.mostOfOneAddress, waiting.values.reduce(0, +) < Self.mostWaiting else { return false }
            waiting[address] = own + 1
            return true
        }
        guard isAllowed else { return answer(REST.slowDown) }
        pool.run { [self] in
            let response: Response
            do { response = try work() } catch { response = Response(error) }
            waiting.withLock { waiting in
                let others = (waiting[address] ?? 1) - 1
                waiting[address] = others > 0 ? others : nil
            }
            answer(response)
        }
    }

    /// The same for a request without a body.
    func reception(for request: Request, _ work: @escaping @Sendable () throws -> Response) -> Reception {
        .later { [self] answer in run(for: request, work, answer) }
    }

    /// Ends the threads. Call once.
    package func stop() { pool.stop() }
}
