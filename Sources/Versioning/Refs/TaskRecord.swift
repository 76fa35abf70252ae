package import Foundations

/// A long operation that was asked for, and how far it is. Source: `lakefs-formats.md` 5.3, 5.6.
package struct TaskRecord: Sendable, Equatable {
    /// Its operation is its raw value.
    package enum Kind: String, Sendable {
        case dump = "dump_refs", restore = "restore_refs"
        case commit, merge
        case collection = "gc_prepare_commits"
        /// What its ids begin with.
        var prefix: String {
            switch self {
            case .dump: "DR"
            case .restore: "RR"
            case .commit: "CO"
            case .merge: "ME"
            case .collection: "GCPC"
            }
        }
    }

    package var id: String
    package var isDone = false
    package var updated: Timestamp
    package var progress: Int64 = 0
    package var errorMessage = ""
    /// The HTTP status that tells the error; 0 if there is none.
    package var statusCode: Int64 = 0
    package var operation: String
    package var owner: String
    /// What the operation made: the refs that were dumped, or where a collection is prepared, as a message; the new
    /// commit's id; nil until it is done.
    var info: [UInt8]?

    init(id: String, updated: Timestamp, operation: String, owner: String) {
        self.id = id
        self.updated = updated
        self.operation = operation
        self.owner = owner
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(id: "", updated: Timestamp(seconds: 0), operation: "", owner: "")
        try readProtobuf(bytes) { field in
            if field.number == 2 { info = field.array }
            guard field.number == 1 else { return }
            try readProtobuf(field.bytes) { task in
                switch task.number {
                case 1: id = task.string
                case 2: isDone = task.integer != 0
                case 3: updated = try task.time()
                case 4: progress = task.signed
                case 5: errorMessage = task.string
                case 6: statusCode = task.signed
                case 7: operation = task.string
                case 8: owner = task.string
                default: break
                }
            }
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.message(1) {
            $0.string(1, id)
            $0.bool(2, isDone)
            $0.time(3, updated)
            $0.integer(4, progress)
            $0.string(5, errorMessage)
            $0.integer(6, statusCode)
            $0.string(7, operation)
            $0.string(8, owner)
        }
        if let info { writer.always(2, info) }
        return writer.bytes
    }

    /// A fresh id: the kind's prefix and 20 characters of nanoid's alphabet.
    static func makeID(_ kind: Kind) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-".utf8)
        return kind.prefix + String(decoding: randomBytes(20).map { alphabet[Int($0 & 63)] }, as: UTF8.self)
    }
}

extension RefStore {
    private func key(_ id: String) -> Key { Key("tasks/\(id)") }

    func task(_ id: String, in repository: Repository) throws -> TaskRecord? {
        guard let bytes = try store.value(for: key(id), in: repository.partition) else { return nil }
        return try decode("task \(id)") { try TaskRecord(decoding: bytes) }
    }

    /// - Parameter condition: `.present` where the repository may be gone, and its records with it.
    func setTask(_ task: TaskRecord, in repository: Repository, if condition: Precondition? = nil) throws {
        _ = try store.trySet(task.encoded, for: key(task.id), in: repository.partition, if: condition)
    }

    /// Seconds that records of what has ended stay.
    private static let endedSeconds: Int64 = 24 * 3600

    /// Removes records of tasks and imports that have not changed for a day.
    func removeEnded(in repository: Repository) throws {
        let oldest = Timestamp.now().seconds - Self.endedSeconds
        for record in try store.page(of: repository.partition, prefix: "tasks/", limit: 1000) {
            guard let task = try? TaskRecord(decoding: record.value), task.updated.seconds < oldest else { continue }
            try store.write([.remove(repository.partition, record.key)], .eventual)
        }
        for record in try store.page(of: repository.partition, prefix: "imports/", limit: 1000) {
            guard let status = try? ImportStatus(decoding: record.value), status.updated.seconds < oldest else {
                continue
            }
            try store.write([.remove(repository.partition, record.key)], .eventual)
        }
    }
}
