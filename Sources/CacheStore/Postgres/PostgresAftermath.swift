import Foundations
import Versioning

/// What became of writes whose connection was lost before they were answered. None is made a second time that may have
/// been made: another writer may have built on it.
struct PostgresAftermath {
    enum Outcome {
        case done, notDone
        case unknown(StoreError)
    }

    private let table: PostgresTable
    private let pool: PostgresPool
    /// How long the server is waited for: as long as a caller may be held up.
    private static let patienceMilliseconds: Int64 = 3000

    init(_ table: PostgresTable, _ pool: PostgresPool) {
        self.table = table
        self.pool = pool
    }

    /// Ends what the lost connection may still be doing, and looks.
    /// - Parameter connection: its name.
    func find(_ plan: PostgresPlan, connection: String) -> [Int: Outcome] {
        let end = Timestamp.monotonicMilliseconds() + Self.patienceMilliseconds
        var error = StoreError(.away, "PostgreSQL went away amid a write")
        while Timestamp.monotonicMilliseconds() < end {
            do {
                return try pool.with { lent throws(PostgresFailure) in
                    guard try isOver(connection, lent) else {
                        throw PostgresFailure(kind: .lost, message: "PostgreSQL still has a connection that was lost")
                    }
                    return try look(plan, lent)
                }
            } catch let failure as PostgresFailure {
                error.message = failure.message
            } catch {
                // Not there yet.
            }
            sleep(milliseconds: 50)
        }
        error.message += ": whether the write was made is not known"
        return Dictionary(uniqueKeysWithValues: plan.members.map { ($0, .unknown(error)) })
    }

    /// Whether the server knows nothing more of a connection; ends it otherwise.
    private func isOver(_ connection: String, _ lent: PostgresConnection) throws(PostgresFailure) -> Bool {
        try lent.run([
            PostgresStatement(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1::text",
                [.text(connection)])
        ])[0].rows.isEmpty
    }

    private func look(_ plan: PostgresPlan, _ lent: PostgresConnection) throws(PostgresFailure) -> [Int: Outcome] {
        var outcomes: [Int: Outcome] = [:]
        for member in plan.members {
            var values: [Partition: [Key: [UInt8]]] = [:]
            for (partition, key) in plan.names(of: member) {
                let found = try lent.run([
                    PostgresStatement(
                        "SELECT value FROM \(table.part(of: partition)) WHERE partition_key = $1 AND key = $2",
                        [.bytes(partition.name.bytes), .bytes(key.bytes)])
                ])[0].rows
                if let value = found.first { values[partition, default: [:]][key] = value[0] ?? [] }
            }
            switch plan.isDone(member, { values[$0]?[$1] }) {
            case true?: outcomes[member] = .done
            case false?: outcomes[member] = .notDone
            case nil:
                outcomes[member] = .unknown(
                    StoreError(
                        .away,
                        "the connection to PostgreSQL was lost amid a write, and whether it was made cannot be told: look, and try again"
                    ))
            }
        }
        return outcomes
    }
}
