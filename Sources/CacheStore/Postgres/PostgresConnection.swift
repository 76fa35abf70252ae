import CPostgres
import Foundations
import Glibc
import Versioning

/// A value that a statement is given, in PostgreSQL's binary form (PostgreSQL 15, "Frontend/Backend Protocol").
enum PostgresValue {
    case bytes([UInt8])
    case text(String)
    /// An `int8`.
    case integer(Int64)
    /// A `bytea[]`.
    case list([[UInt8]])

    /// Object id of `bytea`, of the list's elements.
    private static let bytea: UInt32 = 17

    func append(to wire: inout [UInt8]) {
        switch self {
        case .bytes(let bytes): wire += bytes
        case .text(let text): wire += text.utf8
        case .integer(let number): wire.append(bigEndian: UInt64(bitPattern: number))
        case .list(let items):
            // One dimension, no nulls, the elements' type, how many, counted from 1.
            for word in [items.isEmpty ? 0 : 1, 0, Self.bytea] { wire.append(bigEndian: word) }
            guard !items.isEmpty else { return }
            for word in [UInt32(items.count), 1] { wire.append(bigEndian: word) }
            for item in items {
                wire.append(bigEndian: UInt32(item.count))
                wire += item
            }
        }
    }
}

extension [UInt8] {
    fileprivate mutating func append(bigEndian number: some FixedWidthInteger) {
        unsafe Swift.withUnsafeBytes(of: number.bigEndian) { unsafe append(contentsOf: $0) }
    }
}

/// One statement of a round trip: prepared on a connection when it is met there first.
struct PostgresStatement {
    let sql: String
    var values: [PostgresValue]
    init(_ sql: String, _ values: [PostgresValue]) {
        self.sql = sql
        self.values = values
    }
}

/// What became of one statement.
struct PostgresResult {
    /// In binary form; nil for a null.
    var rows: [[[UInt8]?]] = []
    /// Rows that were written.
    var affected = 0
}

/// Why a round trip failed.
struct PostgresFailure: Error {
    enum Kind {
        /// A statement was refused, and with it all of the round trip. The code is PostgreSQL's ("Error Codes").
        case refused(state: String, statement: Int)
        /// There was no answer, or not all of it: what was asked may have been done, or may not.
        case lost
    }
    let kind: Kind
    let message: String

    /// The same may succeed in another try: nothing was done.
    var isContention: Bool {
        if case .refused(let state, _) = kind { ["40001", "40P01", "55P03"].contains(state) } else { false }
    }
}

/// A connection to PostgreSQL over libpq. Used by one thread at a time.
@safe final class PostgresConnection {
    private let handle: OpaquePointer
    /// Statements that are prepared on it, by their names.
    private var prepared: [String: String] = [:]
    private var preparedCount = 0
    /// By `Timestamp.monotonicMilliseconds`.
    let opened = Timestamp.monotonicMilliseconds()
    private(set) var isBroken = false
    /// What the server calls this connection: no other has it.
    let name: String
    /// How long an answer may take.
    private static let patienceMilliseconds = 60_000

    /// - Parameters:
    ///   - address: libpq's connection string; it may name a password.
    ///   - name: what the server shows of it.
    init(_ address: String, name: String) throws(StoreError) {
        self.name = name
        // What the string says goes before what stands before it; what stands behind it goes before the string.
        let defaults: [(String, String)] = [
            ("connect_timeout", "5"), ("keepalives_idle", "10"), ("keepalives_interval", "5"),
            ("tcp_user_timeout", "15000"), ("dbname", address), ("application_name", name),
        ]
        var names = unsafe defaults.map { unsafe UnsafePointer(strdup($0.0)) }
        var values = unsafe defaults.map { unsafe UnsafePointer(strdup($0.1)) }
        unsafe names.append(nil)
        unsafe values.append(nil)
        defer {
            unsafe names.forEach { unsafe free(UnsafeMutablePointer(mutating: $0)) }
            unsafe values.forEach { unsafe free(UnsafeMutablePointer(mutating: $0)) }
        }
        guard let handle = unsafe PQconnectdbParams(names, values, 1) else {
            throw StoreError(.unavailable, "no memory for a connection to PostgreSQL")
        }
        unsafe self.handle = unsafe handle
        guard unsafe PQstatus(handle) == CONNECTION_OK else {
            let words = unsafe Self.line(String(cString: PQerrorMessage(handle)))
            throw StoreError(.away, "PostgreSQL cannot be reached: \(words)", isTransient: true)
        }
        unsafe PQenterPipelineMode(handle)
    }

    deinit { unsafe PQfinish(handle) }

    /// The process id of the server's side.
    var serverProcess: Int32 { unsafe PQbackendPID(handle) }
    /// The server's version, as 150004 for 15.4.
    var serverVersion: Int32 { unsafe PQserverVersion(handle) }

    /// A message of several lines as one.
    static func line(_ text: String) -> String {
        text.split(whereSeparator: \.isNewline).map { $0.drop { $0 == " " || $0 == "\t" } }.joined(separator: ", ")
    }

    private func lost(_ what: String = "") -> PostgresFailure {
        isBroken = true
        let words = unsafe Self.line(String(cString: PQerrorMessage(handle)))
        return PostgresFailure(
            kind: .lost,
            message: "the connection to PostgreSQL was lost: \(words.isEmpty ? what : words)")
    }

    /// Runs statements in one round trip and one transaction: all are done, or none is.
    func run(_ statements: [PostgresStatement]) throws(PostgresFailure) -> [PostgresResult] {
        guard !isBroken else { throw PostgresFailure(kind: .lost, message: "the connection to PostgreSQL is lost") }
        var expected: [Step] = []
        for (index, statement) in statements.enumerated() {
            if prepared[statement.sql] == nil {
                preparedCount += 1
                let name = "s\(preparedCount)"
                guard unsafe PQsendPrepare(handle, name, statement.sql, 0, nil) == 1 else { throw lost() }
                prepared[statement.sql] = name
                expected.append(.preparation(of: index))
            }
            guard send(statement) else { throw lost() }
            expected.append(.statement(index))
        }
        guard unsafe PQpipelineSync(handle) == 1 else { throw lost() }
        let end = Timestamp.monotonicMilliseconds() + Int64(Self.patienceMilliseconds)
        var results = [PostgresResult](repeating: PostgresResult(), count: statements.count)
        var failure: PostgresFailure?
        for step in expected {
            while let answer = try next(until: end) {
                switch step {
                case .preparation(of: let index): if !answer.isDone { prepared[statements[index].sql] = nil }
                case .statement(let index): if answer.isDone { results[index] = answer.result }
                }
                if !answer.isDone, answer.status != PGRES_PIPELINE_ABORTED {
                    let refusal = try refusal(answer, of: step.index)
                    failure = failure ?? refusal
                }
            }
        }
        // The answer to the sync: only then the transaction is over.
        guard let last = try next(until: end) else { throw lost("it ended amid an answer") }
        if last.status != PGRES_PIPELINE_SYNC {
            // What fails when the transaction ends, such as a conflict that shows only then.
            let refusal = try refusal(last, of: 0)
            failure = failure ?? refusal
            while try next(until: end) != nil {}
            _ = try next(until: end)
        }
        if let failure { throw failure }
        return results
    }

    /// Why something was not done; one without a code is libpq's own, and one of the shutting down comes when the end of
    /// a transaction may have been reached.
    private func refusal(_ answer: Answer, of statement: Int) throws(PostgresFailure) -> PostgresFailure {
        guard let state = answer.field("C"), !state.hasPrefix("57P0") else { throw lost() }
        return PostgresFailure(
            kind: .refused(state: state, statement: statement),
            message: "PostgreSQL: \(Self.line(answer.field("M") ?? "")) (\(state))")
    }

    /// What is asked in one go.
    private enum Step {
        case preparation(of: Int)
        case statement(Int)
        var index: Int {
            switch self {
            case .preparation(of: let index), .statement(let index): index
            }
        }
    }

    private func send(_ statement: PostgresStatement) -> Bool {
        var wire: [UInt8] = []
        var starts: [Int] = []
        var lengths: [Int32] = []
        for value in statement.values {
            starts.append(wire.count)
            value.append(to: &wire)
            lengths.append(Int32(wire.count - starts.last!))
        }
        wire.append(0)  // An empty value needs an address too: none means null.
        let formats = [Int32](repeating: 1, count: starts.count)
        return unsafe wire.withUnsafeBufferPointer { buffer in
            let pointers = unsafe starts.map { start -> UnsafePointer<CChar>? in
                unsafe UnsafeRawPointer(buffer.baseAddress! + start).assumingMemoryBound(to: CChar.self)
            }
            return unsafe PQsendQueryPrepared(
                handle, prepared[statement.sql]!, Int32(starts.count), pointers, lengths, formats, 1) == 1
        }
    }

    /// The next answer; nil between two statements.
    private func next(until end: Int64) throws(PostgresFailure) -> Answer? {
        while true {
            let unsent = unsafe PQflush(handle)
            guard unsent >= 0 else { throw lost() }
            if unsent == 0, unsafe PQisBusy(handle) == 0 { return unsafe PQgetResult(handle).map { unsafe Answer($0) } }
            guard wait(forSending: unsent == 1, until: end) else { throw lost("it did not answer in time") }
            guard unsafe PQconsumeInput(handle) == 1 else { throw lost() }
        }
    }

    /// False when the time is over.
    private func wait(forSending: Bool, until end: Int64) -> Bool {
        let left = end - Timestamp.monotonicMilliseconds()
        guard left > 0 else { return false }
        var watched = pollfd(
            fd: unsafe PQsocket(handle), events: Int16(POLLIN) | (forSending ? Int16(POLLOUT) : 0), revents: 0)
        return unsafe poll(&watched, 1, Int32(left)) != 0
    }

    /// What the server says of one statement.
    @safe private final class Answer {
        private let pointer: OpaquePointer
        init(_ pointer: OpaquePointer) { unsafe self.pointer = pointer }
        deinit { unsafe PQclear(pointer) }

        var status: ExecStatusType { unsafe PQresultStatus(pointer) }
        var isDone: Bool { status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK }
        /// A field of an error, by its letter (PostgreSQL, "Error and Notice Message Fields").
        func field(_ letter: Unicode.Scalar) -> String? {
            unsafe PQresultErrorField(pointer, Int32(UInt8(ascii: letter))).map { unsafe String(cString: $0) }
        }

        var result: PostgresResult {
            var result = PostgresResult()
            let (rows, columns) = unsafe (PQntuples(pointer), PQnfields(pointer))
            result.affected = unsafe Int(String(cString: PQcmdTuples(pointer))) ?? 0
            result.rows.reserveCapacity(Int(rows))
            for row in 0..<rows { result.rows.append((0..<columns).map { bytes(row, $0) }) }
            return result
        }

        private func bytes(_ row: Int32, _ column: Int32) -> [UInt8]? {
            guard unsafe PQgetisnull(pointer, row, column) == 0 else { return nil }
            return unsafe [UInt8](
                UnsafeRawBufferPointer(
                    start: PQgetvalue(pointer, row, column), count: Int(PQgetlength(pointer, row, column))))
        }
    }

    /// Waits for a notification on the channel that was listened to.
    /// - Returns: true if there was one, false after the time; nil if the connection is lost.
    func awaitNotification(milliseconds: Int) -> Bool? {
        var heard = takeNotifications()
        if !heard {
            _ = wait(forSending: false, until: Timestamp.monotonicMilliseconds() + Int64(milliseconds))
            guard unsafe PQconsumeInput(handle) == 1 else {
                isBroken = true
                return nil
            }
            heard = takeNotifications()
        }
        return heard
    }

    private func takeNotifications() -> Bool {
        var heard = false
        while let notification = unsafe PQnotifies(handle) {
            unsafe PQfreemem(notification)
            heard = true
        }
        return heard
    }
}
