import CSQLite
import Foundations
import Versioning

/// One open `sqlite3 *` with its prepared statements. Used by one thread at a time; closed when it goes away.
@safe final class Connection {
    private let handle: OpaquePointer
    private var statements: [String: OpaquePointer] = unsafe [:]

    /// - Parameter vfs: the layer that reads and writes the file; nil for the system's own.
    /// - Throws: `.unavailable` if the file cannot be opened or made.
    init(path: String, vfs: String? = PageChecksums.name) throws(StoreError) {
        PageChecksums.register()
        var handle: OpaquePointer?
        // NOMUTEX: a connection belongs to one thread at a time, which its pool sees to (sqlite.org/threadsafe.html).
        let status = unsafe sqlite3_open_v2(
            path, &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, vfs)
        guard status == SQLITE_OK, let opened = unsafe handle else {
            let message = unsafe String(cString: sqlite3_errmsg(handle))
            unsafe sqlite3_close_v2(handle)  // SQLite returns a handle even when open fails.
            throw StoreError(.unavailable, "the database cannot be opened: \(message)")
        }
        unsafe self.handle = unsafe opened
        unsafe sqlite3_busy_timeout(opened, 10_000)
        // Counts for a file that has no pages yet; others keep what they have.
        if vfs == PageChecksums.name { try reserve(PageChecksums.reservedBytes) }
    }

    /// Asks for free bytes at the end of every page of a database that is still empty, or is written anew.
    func reserve(_ bytes: Int32) throws(StoreError) {
        var bytes = bytes
        guard unsafe sqlite3_file_control(handle, "main", SQLITE_FCNTL_RESERVE_BYTES, &bytes) == SQLITE_OK else {
            throw failure("room for checksums")
        }
    }

    deinit {
        unsafe statements.values.forEach { _ = unsafe sqlite3_finalize($0) }
        unsafe sqlite3_close_v2(handle)
    }

    /// The error that SQLite reported last, as ours.
    private func failure(_ what: String) -> StoreError {
        let code = unsafe sqlite3_errcode(handle)
        if unsafe sqlite3_extended_errcode(handle) == PageChecksums.damaged {
            return StoreError(
                .corrupt, "a page of the database is damaged: its checksum is wrong. 'lakefuse check' tells which")
        }
        let message = unsafe String(cString: sqlite3_errmsg(handle))
        let kind: StoreError.Code =
            switch code {
            case SQLITE_FULL: .noSpace
            case SQLITE_CORRUPT, SQLITE_NOTADB: .corrupt
            default: .unavailable
            }
        // A full disk often shows as an I/O error of the log.
        let isFull =
            unsafe code == SQLITE_FULL
            || ((code == SQLITE_IOERR || code == SQLITE_CANTOPEN) && sqlite3_system_errno(handle) == 28)
        return StoreError(isFull ? .noSpace : kind, "the database: \(message)", isTransient: code == SQLITE_BUSY)
    }

    /// Runs SQL that returns nothing.
    func execute(_ sql: String) throws(StoreError) {
        guard unsafe sqlite3_exec(handle, sql, nil, nil, nil) == SQLITE_OK else { throw failure(sql) }
    }

    /// One prepared statement, made once for each text.
    private func statement(_ sql: String) throws(StoreError) -> OpaquePointer {
        if let known = unsafe statements[sql] { return unsafe known }
        var prepared: OpaquePointer?
        guard
            unsafe sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &prepared, nil) == SQLITE_OK,
            let made = unsafe prepared
        else { throw failure(sql) }
        unsafe statements[sql] = unsafe prepared
        return unsafe made
    }

    /// A value of a statement's parameter.
    enum Value {
        case bytes([UInt8])
        case integer(Int64)
    }

    /// Runs `sql` with `values` and hands every row to `row`. Returns how many rows it changed.
    @discardableResult
    func run(_ sql: String, _ values: [Value], row: (Row) -> Void = { _ in }) throws(StoreError) -> Int {
        let statement = unsafe try statement(sql)
        defer {
            unsafe sqlite3_reset(statement)
            unsafe sqlite3_clear_bindings(statement)
        }
        // The arrays live until the statement has run, so SQLite need not copy them: `bind` nests their scopes.
        let status = unsafe bind(statement, values[...], 1, row)
        guard status == SQLITE_DONE else { throw failure(sql) }
        return unsafe Int(sqlite3_changes(handle))
    }

    private func bind(_ statement: OpaquePointer, _ values: ArraySlice<Value>, _ index: Int32, _ row: (Row) -> Void)
        -> Int32
    {
        guard let value = values.first else {
            while true {
                let status = unsafe sqlite3_step(statement)
                guard status == SQLITE_ROW else { return status }
                unsafe row(Row(statement: statement))
            }
        }
        switch value {
        case .integer(let number):
            unsafe sqlite3_bind_int64(statement, index, number)
            return unsafe bind(statement, values.dropFirst(), index + 1, row)
        case .bytes(let bytes):
            return unsafe bytes.withUnsafeBytes { pointer in
                unsafe lake_bind_blob_static(statement, index, pointer.baseAddress, Int32(pointer.count))
                return unsafe bind(statement, values.dropFirst(), index + 1, row)
            }
        }
    }

    /// The row under a running statement; valid only inside the closure it is given to.
    @safe struct Row {
        fileprivate let statement: OpaquePointer

        func bytes(_ column: Int32) -> [UInt8] {
            let count = unsafe Int(sqlite3_column_bytes(statement, column))
            guard count > 0, let pointer = unsafe sqlite3_column_blob(statement, column) else { return [] }
            return unsafe Array(UnsafeRawBufferPointer(start: pointer, count: count))
        }

        func integer(_ column: Int32) -> Int64 { unsafe sqlite3_column_int64(statement, column) }
    }
}
