package import Foundations

/// How far an import is. Source: `lakefs-formats.md` 5.6, 7.13.
package struct ImportStatus: Sendable, Equatable {
    package var id: String
    package var isCompleted = false
    package var updated: Timestamp
    /// Objects found so far.
    package var progress: Int64 = 0
    /// The new commit's metarange; empty until there is one.
    package var metaRangeID = ""
    package var commit: (id: CommitID, commit: Commit)?
    /// Why it ended without a commit; empty otherwise.
    package var error = ""

    /// Nothing more happens to it.
    package var hasEnded: Bool { isCompleted || !error.isEmpty }

    init(id: String) {
        self.id = id
        updated = .now()
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(id: "")
        updated = Timestamp(seconds: 0)
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: id = field.string
            case 2: isCompleted = field.integer != 0
            case 3: updated = try field.time()
            case 4: progress = field.signed
            case 5: metaRangeID = field.string
            case 6:
                let commit = try Commit(decoding: field.array)
                self.commit = (commit.id, commit)
            case 7: error = field.string
            default: break
            }
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, id)
        writer.bool(2, isCompleted)
        writer.time(3, updated)
        writer.integer(4, progress)
        writer.string(5, metaRangeID)
        if let commit { writer.always(6, commit.commit.encoded) }
        writer.string(7, error)
        return writer.bytes
    }

    package static func == (left: ImportStatus, right: ImportStatus) -> Bool { left.encoded == right.encoded }
}

extension RefStore {
    private func key(_ id: String) -> Key { Key("imports/\(id)") }

    /// An import's status and the bytes it was read as: what a compare-and-set needs.
    func importStatus(_ id: String, in repository: Repository) throws -> (status: ImportStatus, bytes: [UInt8])? {
        guard let bytes = try store.value(for: key(id), in: repository.partition) else { return nil }
        return (try decode("import \(id)") { try ImportStatus(decoding: bytes) }, bytes)
    }

    /// False if the condition does not hold.
    func setImportStatus(_ status: ImportStatus, in repository: Repository, if condition: Precondition)
        throws(StoreError) -> Bool
    {
        try store.trySet(status.encoded, for: key(status.id), in: repository.partition, if: condition)
    }

    func importStatuses(in repository: Repository) throws -> [ImportStatus] {
        try store.page(of: repository.partition, prefix: "imports/", limit: 1000).map { record in
            try decode("import \(record.key)") { try ImportStatus(decoding: record.value) }
        }
    }
}
