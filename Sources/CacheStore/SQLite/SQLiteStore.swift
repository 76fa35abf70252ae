import CSQLite
package import Foundations
import Glibc
import Synchronization
package import Versioning

/// The key-value store in one SQLite file: the embedded default.
///
/// One connection writes, one thread at a time: whoever has the turn takes all waiting writes into one transaction with
/// one sync. Readers run beside it on connections of their own (WAL). Schema: one table, clustered by (partition, key).
package final class SQLiteStore: KeyValueStore {
    /// One caller's write, applied as a whole or not at all.
    private enum Write: Sendable {
        case batch([Mutation])
        case conditional(Partition, Key, [UInt8], Precondition)
        case dropSome(Partition)
    }

    private struct Request: Sendable {
        let write: Write
        let durability: Durability
    }

    /// What became of one write: nothing, an error, or (for `dropSome`) how many rows went.
    private enum Outcome: Sendable {
        case done(Int)
        case failed(StoreError)
    }

    private static let schemaVersion: Int64 = 1
    /// Rows that one step of `removeAll` takes, so that other writers come in between.
    private static let dropStep = 5000

    package let capabilities: KeyValueCapabilities
    private let path: String
    private let readers = (0..<readerShards).map { _ in ReaderPool() }
    private let writer: GroupCommit<Request, Outcome>
    /// Writes for callers that do not wait.
    private let executor = WorkerPool(name: "sqlite-writer", width: 1)
    private let syncTimer: SyncTimer

    /// Idle connections in parts, so that threads seldom wait for each other to take one.
    private static let readerShards = 16

    private final class ReaderPool: Sendable {
        let idle = Mutex<[Reader]>([])
    }

    /// A lent connection: moved in and out of the pool, used by one thread between.
    private struct Reader: @unchecked Sendable { let connection: Connection }

    /// Opens the file, making it if there is none.
    /// - Parameter beforeSync: runs before writes are made durable: the objects that they name must be so first. Is told
    ///   whether writes that were `.eventual` are among them.
    /// - Parameter syncsByItself: what was written as `.eventual` is made durable within a second; otherwise the caller
    ///   sees to it.
    /// - Throws: `.refused` if a newer version of this program wrote it.
    package init(
        path: String, syncsByItself: Bool = true, beforeSync: (@Sendable (Bool) throws(StoreError) -> Void)? = nil
    ) throws(StoreError) {
        self.path = path
        capabilities = KeyValueCapabilities(syncsObjects: beforeSync != nil)
        try PageChecksums.convert(path)
        let connection = try Self.open(path, cacheKiB: 8000)
        var version: Int64 = 0
        try connection.run("PRAGMA user_version", []) { version = $0.integer(0) }
        guard version <= Self.schemaVersion else {
            throw StoreError(
                .refused,
                "the database has schema version \(version), newer than this program's \(Self.schemaVersion): use a newer lakefuse"
            )
        }
        // Nothing is written to a file that has it all: it may be that there is no room.
        if version < Self.schemaVersion {
            try connection.execute(
                """
                CREATE TABLE IF NOT EXISTS kv (partition BLOB NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (partition, key)) WITHOUT ROWID;
                PRAGMA user_version = \(Self.schemaVersion)
                """)
        }
        // Used by whoever has the turn, from here on: the closure below is its only user.
        let owned = Reader(connection: connection)
        let timer = SyncTimer()
        syncTimer = timer
        writer = GroupCommit(executor: executor) { requests in
            SQLiteStore.apply(requests, on: owned.connection, timer, beforeSync)
        }
        if syncsByItself {
            timer.start { [writer] in _ = writer.submit(Request(write: .batch([]), durability: .durable)) }
        }
    }

    /// - Parameter cacheKiB: pages that the connection keeps. Little for readers: there may be one a thread, and any
    ///   write makes them forget.
    private static func open(_ path: String, cacheKiB: Int = 1000) throws(StoreError) -> Connection {
        let connection = try Connection(path: path)
        try connection.execute(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -\(cacheKiB); PRAGMA mmap_size = 0; PRAGMA wal_autocheckpoint = 4000"
        )
        return connection
    }

    /// Ends the writer after what waits. Call once; no method may be called afterwards.
    package func close() {
        syncTimer.stop()
        _ = writer.submit(Request(write: .batch([]), durability: .durable))
        writer.stop()
        executor.stop()
        for pool in readers { pool.idle.withLock { $0 = [] } }
        // All of it is in the one file then, for who copies it. What this cannot do, the next open does.
        try? Self.open(path).execute("PRAGMA wal_checkpoint(TRUNCATE)")
    }

    // MARK: writing

    /// One transaction for all requests. A request that fails leaves the others untouched.
    private static func apply(
        _ requests: [Request], on connection: Connection, _ timer: SyncTimer,
        _ beforeSync: ((Bool) throws(StoreError) -> Void)?
    ) -> [Outcome] {
        let isDurable = requests.contains { $0.durability == .durable }
        do throws(StoreError) {
            // A commit in WAL mode syncs the log only with FULL, and then everything before it too; NORMAL still syncs
            // around checkpoints (sqlite.org/pragma.html#pragma_synchronous).
            try connection.execute(isDurable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL")
            // Bytes before the entries that name them: what was written without a sync becomes durable with this
            // commit.
            if isDurable {
                try beforeSync?(timer.hasUnsynced || requests.contains { $0.durability == .eventual })
            }
            try connection.execute("BEGIN IMMEDIATE")
            var outcomes: [Outcome] = []
            for request in requests { outcomes.append(try apply(request.write, on: connection)) }
            // An empty transaction writes nothing and so syncs nothing: touch a page when someone waits for the sync.
            if isDurable && timer.hasUnsynced { try connection.execute("PRAGMA user_version = \(schemaVersion)") }
            try connection.execute("COMMIT")
            timer.noteCommit(isDurable: isDurable)
            return outcomes
        } catch {
            try? connection.execute("ROLLBACK")
            return requests.map { _ in .failed(error) }
        }
    }

    private static func apply(_ write: Write, on connection: Connection) throws(StoreError) -> Outcome {
        switch write {
        case .batch(let mutations):
            for case .require(let partition, let key, let condition) in mutations {
                var value: [UInt8]?
                try connection.run(
                    "SELECT value FROM kv WHERE partition = ?1 AND key = ?2",
                    [.bytes(partition.name.bytes), .bytes(key.bytes)]
                ) { value = $0.bytes(0) }
                if !condition.allows(value) {
                    return .failed(StoreError(.preconditionFailed, "\(partition)/\(key) was changed by another writer"))
                }
            }
            for mutation in mutations {
                switch mutation {
                case .require: break
                case .set(let partition, let key, let value):
                    try connection.run(
                        "INSERT INTO kv VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = excluded.value",
                        [.bytes(partition.name.bytes), .bytes(key.bytes), .bytes(value)])
                case .remove(let partition, let key):
                    try connection.run(
                        "DELETE FROM kv WHERE partition = ?1 AND key = ?2",
                        [.bytes(partition.name.bytes), .bytes(key.bytes)])
                }
            }
            return .done(mutations.count)
        case .conditional(let partition, let key, let value, let condition):
            let names: [Connection.Value] = [.bytes(partition.name.bytes), .bytes(key.bytes), .bytes(value)]
            let changed =
                switch condition {
                case .absent: try connection.run("INSERT INTO kv VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING", names)
                case .present: try connection.run("UPDATE kv SET value = ?3 WHERE partition = ?1 AND key = ?2", names)
                case .matches(let old):
                    try connection.run(
                        "UPDATE kv SET value = ?3 WHERE partition = ?1 AND key = ?2 AND value = ?4",
                        names + [.bytes(old)])
                }
            return changed == 1
                ? .done(1)
                : .failed(StoreError(.preconditionFailed, "\(partition)/\(key) was changed by another writer"))
        case .dropSome(let partition):
            // A table without row ids has no DELETE … LIMIT: the last key of the step bounds it.
            var last: [UInt8]?
            try connection.run(
                "SELECT key FROM kv WHERE partition = ?1 ORDER BY key LIMIT 1 OFFSET \(dropStep)",
                [.bytes(partition.name.bytes)]
            ) { last = $0.bytes(0) }
            if let last {
                return .done(
                    try connection.run(
                        "DELETE FROM kv WHERE partition = ?1 AND key < ?2",
                        [.bytes(partition.name.bytes), .bytes(last)]))
            }
            return .done(try connection.run("DELETE FROM kv WHERE partition = ?1", [.bytes(partition.name.bytes)]))
        }
    }

    private func submit(_ write: Write, _ durability: Durability) throws(StoreError) -> Int {
        guard let outcome = writer.submit(Request(write: write, durability: durability)) else {
            throw StoreError(.unavailable, "the store is closed")
        }
        switch outcome {
        case .done(let count): return count
        case .failed(let error): throw error
        }
    }

    package func set(
        _ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?, _ durability: Durability
    ) throws(StoreError) {
        _ = try submit(
            condition.map { .conditional(partition, key, value, $0) } ?? .batch([.set(partition, key, value)]),
            durability)
    }

    package func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError) {
        _ = try submit(.batch(batch), durability)
    }

    package func write(
        _ batch: [Mutation], _ durability: Durability, then done: @escaping @Sendable (StoreError?) -> Void
    ) {
        writer.submit(Request(write: .batch(batch), durability: durability)) { outcome in
            switch outcome {
            case .done: done(nil)
            case .failed(let error): done(error)
            case nil: done(StoreError(.unavailable, "the store is closed"))
            }
        }
    }

    package func removeAll(in partition: Partition) throws(StoreError) {
        while try submit(.dropSome(partition), .eventual) >= Self.dropStep {}
    }

    /// Makes everything durable that was written as `.eventual`.
    package func synchronize() throws(StoreError) { _ = try submit(.batch([]), .durable) }

    // MARK: reading

    private func read<Result>(_ body: (Connection) throws(StoreError) -> Result) throws(StoreError) -> Result {
        let reader: Reader
        let pool = readers[threadShard(of: Self.readerShards)]
        if let idle = pool.idle.withLock({ $0.popLast() }) {
            reader = idle
        } else {
            reader = Reader(connection: try Self.open(path))
        }
        // A connection whose statement failed is as good as new after its reset.
        defer { pool.idle.withLock { $0.append(reader) } }
        return try body(reader.connection)
    }

    package func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]? {
        try read { connection throws(StoreError) in
            var value: [UInt8]?
            try connection.run(
                "SELECT value FROM kv WHERE partition = ?1 AND key = ?2",
                [.bytes(partition.name.bytes), .bytes(key.bytes)]
            ) { value = $0.bytes(0) }
            return value
        }
    }

    package func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(
        key: Key, value: [UInt8]
    )] {
        try read { connection throws(StoreError) in
            var rows: [(key: Key, value: [UInt8])] = []
            var values: [Connection.Value] = [
                .bytes(partition.name.bytes), .bytes(from?.bytes ?? []), .integer(Int64(limit)),
            ]
            if let end { values.append(.bytes(end.bytes)) }
            let sql =
                "SELECT key, value FROM kv WHERE partition = ?1 AND key >= ?2 \(end == nil ? "" : "AND key < ?4 ")ORDER BY key LIMIT ?3"
            try connection.run(sql, values) { rows.append((Key($0.bytes(0)), $0.bytes(1))) }
            return rows
        }
    }

    /// Compares the file with its checksums and its own structure; one line for each fault, none for a file that is
    /// right. Pages that are still in the log alone are not among them. Nobody may write meanwhile.
    package func faults() throws(StoreError) -> [String] {
        var found = try PageChecksums.damagedPages(of: path).map {
            "page \($0) of the database is damaged: its checksum is wrong"
        }
        guard found.isEmpty else { return found }
        let connection = try Self.open(path)
        try connection.run("PRAGMA integrity_check(100)", []) { row in
            let line = String(decoding: row.bytes(0), as: UTF8.self)
            if line != "ok" { found.append("the database is damaged: \(line)") }
        }
        return found
    }

    package func partitions() throws(StoreError) -> [Partition] {
        try read { connection throws(StoreError) in
            var names: [Partition] = []
            try connection.run("SELECT DISTINCT partition FROM kv ORDER BY partition", []) {
                names.append(Partition(Key($0.bytes(0))))
            }
            return names
        }
    }
}

/// Sees to it that what was written without a sync is synced within a second.
private final class SyncTimer: Sendable {
    private struct State { var hasUnsynced = false, isStopping = false }
    private let state = Mutex(State())
    private let wake = CountingSemaphore()
    private let thread = Mutex<Thread?>(nil)
    private static let delayMilliseconds = 500

    var hasUnsynced: Bool { state.withLock { $0.hasUnsynced } }

    func start(_ synchronize: @escaping @Sendable () -> Void) {
        let thread = Thread(name: "sqlite-sync") { [self] in
            while true {
                wake.wait()
                // A sync that fails is tried again.
                repeat {
                    if state.withLock({ $0.isStopping }) { return }
                    usleep(UInt32(Self.delayMilliseconds) * 1000)
                    if hasUnsynced { synchronize() }
                } while hasUnsynced
            }
        }
        self.thread.withLock { $0 = thread }
    }

    func noteCommit(isDurable: Bool) {
        let isFirst = state.withLock { state in
            defer { state.hasUnsynced = !isDurable }
            return !isDurable && !state.hasUnsynced
        }
        if isFirst { wake.post() }
    }

    func stop() {
        state.withLock { $0.isStopping = true }
        wake.post()
        thread.withLock { $0 }?.join()
    }
}
