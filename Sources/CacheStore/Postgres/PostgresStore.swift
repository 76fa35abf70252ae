package import Foundations
import Glibc
import Synchronization
package import Versioning

/// The key-value store in PostgreSQL: lakeFS's table, for many servers on one lake.
///
/// What many threads ask at once goes in one round trip: keys of one partition in one statement, a key that several ask
/// for once. Writes share transactions, and so syncs, as far as they do not touch the same keys. Their statements are
/// sorted by key, so that two transactions never wait for each other. How many round trips are under way at once follows
/// from how long they take. Source: `lakefs-formats.md` 6.1.
package final class PostgresStore: KeyValueStore {
    package struct Settings: Sendable {
        /// libpq's connection string, with a password in it or in the environment; `lakefskv_table` names the table.
        package var address = ""
        package var mostOpenConnections = 25, mostIdleConnections = 25
        package var lifetimeSeconds: Int64 = 300
        package init() {}
    }

    package let capabilities = KeyValueCapabilities(
        mostChanges: 5000, isShared: true, requiresCheaply: true, readsLater: true)

    private struct Name: Hashable, Sendable { let partition: Partition, key: Key }
    private struct Request: Sendable {
        let batch: [Mutation]
        let durability: Durability
    }

    private let pool: PostgresPool
    private let table: PostgresTable
    private let listener: PostgresListener
    private let readers: GroupCommit<[Name], Result<[[UInt8]?], StoreError>>
    private let writer: GroupCommit<Request, StoreError?>
    /// Writes for callers that do not wait.
    private let executor = WorkerPool(name: "postgres-writer", width: writers)
    /// Reads for callers that do not wait.
    private let askers = WorkerPool(name: "postgres-reader", width: writers)
    /// Reads are made again that were not answered: they change nothing.
    private let retries = Retries()
    /// Microseconds of a round trip, lately.
    private let pace = Pace()

    /// Transactions under way at most.
    private static let writers = 8
    /// Rows that one step of `removeAll` takes, so that other writers come in between.
    private static let dropStep: Int64 = 5000
    /// Changes in one transaction of several callers.
    private static let mostTogether = 2000

    /// Connects, and makes the table if there is none.
    /// - Throws: `.unavailable` if there is no server, `.refused` if it cannot be used.
    package init(_ settings: Settings) throws(StoreError) {
        let (address, name) = try Self.parse(settings.address)
        let pool = PostgresPool(
            address, name: "lakefuse-\(XID.make())",
            limits: .init(
                mostOpen: max(2, settings.mostOpenConnections), mostIdle: settings.mostIdleConnections,
                lifetimeSeconds: settings.lifetimeSeconds))
        var table = PostgresTable(name)
        do { try pool.with { connection throws(StoreError) in try table.setUp(connection) } } catch {
            throw error as! StoreError
        }
        self.pool = pool
        self.table = table
        listener = PostgresListener(address, channel: "lakefuse_\(name)")
        let most = max(1, settings.mostOpenConnections / 2)
        let (pace, retries, askers) = (pace, retries, askers)
        readers = GroupCommit(limit: 512, executor: askers, width: { pace.width(most: most) }) { [table] asked in
            Self.read(asked, table, pool, pace, retries)
        }
        writer = GroupCommit(limit: 512, executor: executor, width: { pace.width(most: min(most, Self.writers)) }) {
            [table] requests in Self.apply(requests, table, pool)
        }
    }

    /// Takes lakeFS's parameter of the table out of the connection string, which libpq would refuse.
    static func parse(_ text: String) throws(StoreError) -> (address: String, table: String) {
        let parameter = "lakefskv_table="
        guard let range = text.firstRange(of: parameter) else { return (text, "kv") }
        let name = text[range.upperBound...].prefix { !" &#".contains($0) }
        guard !name.isEmpty, name.utf8.count <= 50 else {
            throw StoreError(.refused, "lakefskv_table in database.postgres.connection_string names no table")
        }
        var before = text[..<range.lowerBound]
        var behind = text[name.endIndex...]
        if behind.first == "&" || behind.first == " " {
            behind = behind.dropFirst()
        } else if "?& ".contains(before.last ?? "x") {
            before = before.dropLast()
        }
        return (String(before + behind), String(name))
    }

    /// Ends its connections. Call once, when nobody asks any more.
    package func close() {
        listener.stop()
        writer.stop()
        readers.stop()
        executor.stop()
        askers.stop()
        pool.close()
    }

    /// How many round trips may be under way at once: few where they are short, so that more goes in each.
    private final class Pace: Sendable {
        private let microseconds = Atomic<Int>(500)

        func note(_ taken: Int64) {
            let known = microseconds.load(ordering: .relaxed)
            microseconds.store(known + (Int(min(taken, 1_000_000)) - known) / 16, ordering: .relaxed)
        }

        func width(most: Int) -> Int { min(most, 1 + microseconds.load(ordering: .relaxed) / 700) }
    }

    private static func error(_ failure: PostgresFailure) -> StoreError {
        switch failure.kind {
        case .lost: StoreError(.away, failure.message, isTransient: true)
        case .refused("53100", _):
            StoreError(.noSpace, "\(failure.message): the disk of the database is full")
        case .refused: StoreError(.unavailable, failure.message, isTransient: failure.isContention)
        }
    }

    /// One round trip that changes nothing that two of it would not: made again if it is not answered.
    private static func ask(_ statements: [PostgresStatement], _ pool: PostgresPool, _ retries: Retries)
        throws(StoreError) -> [PostgresResult]
    {
        try retries.run { () throws(StoreError) in
            do {
                return try pool.with { connection throws(PostgresFailure) in try connection.run(statements) }
            } catch {
                throw (error as? PostgresFailure).map(Self.error) ?? error as! StoreError
            }
        }
    }

    private func ask(_ statement: PostgresStatement) throws(StoreError) -> PostgresResult {
        try Self.ask([statement], pool, retries)[0]
    }

    // MARK: reading

    package func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]? {
        try values(for: [(partition, key)])[0]
    }

    package func values(for names: [(partition: Partition, key: Key)]) throws(StoreError) -> [[UInt8]?] {
        guard !names.isEmpty else { return [] }
        guard let answer = readers.submit(names.map { Name(partition: $0.partition, key: $0.key) }) else {
            throw StoreError(.unavailable, "the store is closed")
        }
        return try answer.get()
    }

    package func values(
        for names: [(partition: Partition, key: Key)],
        then done: @escaping @Sendable (Result<[[UInt8]?], StoreError>) -> Void
    ) {
        readers.submit(names.map { Name(partition: $0.partition, key: $0.key) }) { answer in
            done(answer ?? .failure(StoreError(.unavailable, "the store is closed")))
        }
    }

    /// One round trip for what many ask.
    private static func read(
        _ asked: [[Name]], _ table: PostgresTable, _ pool: PostgresPool, _ pace: Pace, _ retries: Retries
    ) -> [Result<[[UInt8]?], StoreError>] {
        var wanted: [Partition: [Key]] = [:]
        var seen: Set<Name> = []
        for name in asked.joined() where seen.insert(name).inserted {
            wanted[name.partition, default: []].append(name.key)
        }
        let groups = Array(wanted)
        let statements = groups.map { partition, keys in
            keys.count == 1
                ? PostgresStatement(
                    "SELECT key, value FROM \(table.part(of: partition)) WHERE partition_key = $1 AND key = $2",
                    [.bytes(partition.name.bytes), .bytes(keys[0].bytes)])
                : PostgresStatement(
                    "SELECT key, value FROM \(table.part(of: partition)) WHERE partition_key = $1 AND key = ANY ($2::bytea[])",
                    [.bytes(partition.name.bytes), .list(keys.map(\.bytes))])
        }
        do throws(StoreError) {
            let begun = Timestamp.monotonicMicroseconds()
            let results = try ask(statements, pool, retries)
            pace.note(Timestamp.monotonicMicroseconds() - begun)
            var values: [Name: [UInt8]] = [:]
            for ((partition, _), result) in zip(groups, results) {
                for row in result.rows {
                    values[Name(partition: partition, key: Key(row[0] ?? []))] = row[1] ?? []
                }
            }
            return asked.map { .success($0.map { values[$0] }) }
        } catch {
            return asked.map { _ in .failure(error) }
        }
    }

    package func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(
        key: Key, value: [UInt8]
    )] {
        let sql =
            "SELECT key, value FROM \(table.part(of: partition)) WHERE partition_key = $1 AND key >= $2 \(end == nil ? "" : "AND key < $4 ")ORDER BY key LIMIT $3"
        let values: [PostgresValue] =
            [.bytes(partition.name.bytes), .bytes(from?.bytes ?? []), .integer(Int64(limit))]
            + (end.map { [.bytes($0.bytes)] } ?? [])
        return try ask(PostgresStatement(sql, values)).rows.map { (Key($0[0] ?? []), $0[1] ?? []) }
    }

    package func partitions() throws(StoreError) -> [Partition] {
        let sql = "SELECT DISTINCT partition_key FROM \(PostgresTable.quote(table.name)) ORDER BY partition_key"
        return try ask(PostgresStatement(sql, [])).rows.map { Partition(Key($0[0] ?? [])) }
    }

    // MARK: writing

    package func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError) {
        guard !batch.isEmpty else { return }
        guard let outcome = writer.submit(Request(batch: batch, durability: durability)) else {
            throw StoreError(.unavailable, "the store is closed")
        }
        if let outcome { throw outcome }
    }

    package func write(
        _ batch: [Mutation], _ durability: Durability, then done: @escaping @Sendable (StoreError?) -> Void
    ) {
        guard !batch.isEmpty else { return done(nil) }
        writer.submit(Request(batch: batch, durability: durability)) { outcome in
            done(outcome ?? StoreError(.unavailable, "the store is closed"))
        }
    }

    package func removeAll(in partition: Partition) throws(StoreError) {
        let part = table.part(of: partition)
        let statement = PostgresStatement(
            "DELETE FROM \(part) WHERE partition_key = $1 AND key IN (SELECT key FROM \(part) WHERE partition_key = $1 ORDER BY key LIMIT $2)",
            [.bytes(partition.name.bytes), .integer(Self.dropStep)])
        while try ask(statement).affected == Int(Self.dropStep) {}
    }

    /// Applies requests in as few transactions as their keys allow.
    private static func apply(_ requests: [Request], _ table: PostgresTable, _ pool: PostgresPool) -> [StoreError?] {
        var outcomes = [StoreError?](repeating: nil, count: requests.count)
        var left = Array(requests.indices)
        while !left.isEmpty {
            var plan = PostgresPlan(table)
            var chosen: [Int] = []
            for index in left where chosen.isEmpty || plan.count + requests[index].batch.count <= mostTogether {
                let isFirst = chosen.isEmpty
                switch plan.add(requests[index].batch, as: index) {
                case .added: chosen.append(index)
                case .contradiction:
                    // No store can hold what it requires.
                    outcomes[index] = PostgresPlan.changed
                    chosen.append(index)
                case .later: if isFirst { preconditionFailure("a plan takes its first request") }
                }
            }
            left.removeAll(where: chosen.contains)
            run(&plan, requests, table, pool, &outcomes)
        }
        return outcomes
    }

    /// Runs what is planned; those whose requirements do not hold are left out, and the others tried again.
    private static func run(
        _ plan: inout PostgresPlan, _ requests: [Request], _ table: PostgresTable, _ pool: PostgresPool,
        _ outcomes: inout [StoreError?]
    ) {
        var tries = 0
        while !plan.members.isEmpty {
            let isEventual = plan.members.allSatisfy { requests[$0].durability != .durable }
            let (statements, owners) = plan.statements(isEventual: isEventual)
            do {
                _ = try pool.with { connection throws(PostgresFailure) in
                    do throws(PostgresFailure) { return try connection.run(statements) } catch {
                        if case .lost = error.kind { throw PostgresFailure(kind: .lost, message: connection.name) }
                        throw error
                    }
                }
                return
            } catch let failure as PostgresFailure {
                switch failure.kind {
                case .refused("22012", let index), .refused("23505", let index):
                    for member in owners[index] { outcomes[member] = PostgresPlan.changed }
                    plan.drop(owners[index])
                case .refused where failure.isContention && tries < 20: break
                case .refused:
                    for member in plan.members { outcomes[member] = error(failure) }
                    return
                case .lost:
                    let done = PostgresAftermath(table, pool).find(plan, connection: failure.message)
                    for member in plan.members {
                        switch done[member] {
                        case .done: plan.drop([member])
                        case .notDone where tries < 3: break
                        case .unknown(let error)?:
                            outcomes[member] = error
                            plan.drop([member])
                        default:
                            outcomes[member] = StoreError(
                                .away, "the connection to PostgreSQL was lost amid a write", isTransient: true)
                            plan.drop([member])
                        }
                    }
                }
            } catch {
                // No connection: nothing was asked.
                for member in plan.members { outcomes[member] = error as? StoreError }
                return
            }
            tries += 1
            if tries > 1 { sleep(milliseconds: Int.random(in: 0...min(200, 1 << tries))) }
        }
    }

    // MARK: notifications

    package func announce() {
        // Who does not hear it looks by himself, a little later.
        _ = try? ask(PostgresStatement("SELECT pg_notify('\(listener.channel)', '')", []))
    }

    package func listen(_ heard: @escaping @Sendable () -> Void) -> Bool {
        listener.start(heard)
        return true
    }
}
