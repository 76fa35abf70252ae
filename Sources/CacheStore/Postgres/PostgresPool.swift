import Foundations
import Synchronization
import Versioning

/// Connections to one database, lent to one thread at a time. A broken one is given up, an old one renewed.
final class PostgresPool: Sendable {
    struct Limits: Sendable {
        var mostOpen = 25, mostIdle = 25
        var lifetimeSeconds: Int64 = 300
    }

    /// A connection on its way between threads.
    private struct Lent: @unchecked Sendable { let connection: PostgresConnection }
    private struct State {
        var idle: [Lent] = []
        /// Counts connections for their names.
        var made = 0
        /// The last failure to connect: who asks within a moment gets it too.
        var failure: (error: StoreError, at: Int64)?
    }

    private let address: String
    private let limits: Limits
    private let name: String
    private let state = Mutex(State())
    private let free: CountingSemaphore
    /// How long one waits for a connection where all are lent.
    private static let patienceMilliseconds = 30_000
    private static let failureMilliseconds: Int64 = 100

    /// - Parameters:
    ///   - address: libpq's connection string.
    ///   - name: begins the names that the server shows: unlike any other process's.
    init(_ address: String, name: String, limits: Limits) {
        self.address = address
        self.name = name
        self.limits = limits
        free = CountingSemaphore()
        for _ in 0..<limits.mostOpen { free.post() }
    }

    /// Runs `body` with a connection of its own.
    func with<Result, Failure: Error>(_ body: (PostgresConnection) throws(Failure) -> Result) throws -> Result {
        guard free.wait(milliseconds: Self.patienceMilliseconds) else {
            throw StoreError(
                .away,
                "all \(limits.mostOpen) connections to PostgreSQL are in use: raise database.postgres.max_open_connections",
                isTransient: true)
        }
        defer { free.post() }
        let lent = try Lent(connection: take())
        defer {
            if !lent.connection.isBroken {
                state.withLock { if $0.idle.count < limits.mostIdle { $0.idle.append(lent) } }
            }
        }
        return try body(lent.connection)
    }

    private func take() throws(StoreError) -> PostgresConnection {
        let now = Timestamp.monotonicMilliseconds()
        while let lent = state.withLock({ $0.idle.popLast() }) {
            guard now - lent.connection.opened < limits.lifetimeSeconds * 1000 else { continue }
            return lent.connection
        }
        let (number, failure) = state.withLock { state in
            state.made += 1
            return (state.made, state.failure)
        }
        if let failure, now - failure.at < Self.failureMilliseconds { throw failure.error }
        do throws(StoreError) {
            let made = try open(number)
            state.withLock { $0.failure = nil }
            return made
        } catch {
            // A server that is down is not asked by everybody at once; what waits unused is of the same server.
            state.withLock { state in
                state.failure = (error, Timestamp.monotonicMilliseconds())
                state.idle = []
            }
            throw error
        }
    }

    private func open(_ number: Int) throws(StoreError) -> PostgresConnection {
        let made = try PostgresConnection(address, name: "\(name)-\(number)")
        do throws(PostgresFailure) {
            // Every statement here goes by the key: what few rows make look cheap is not, where there are many.
            _ = try made.run(
                [
                    "SET client_min_messages = error", "SET enable_seqscan = off", "SET enable_bitmapscan = off",
                    "SET enable_sort = off", "SET plan_cache_mode = force_generic_plan", "SET jit = off",
                    "SET default_transaction_isolation = 'read committed'", "SET synchronous_commit = on",
                ].map { PostgresStatement($0, []) })
        } catch { throw StoreError(.away, error.message, isTransient: true) }
        return made
    }

    /// Ends idle connections.
    func close() { state.withLock { $0.idle = [] } }
}
