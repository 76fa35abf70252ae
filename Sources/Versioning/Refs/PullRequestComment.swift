package import Foundations

/// What somebody said of a pull request: at its top, or in reply to another comment. lakeFS keeps none; the record is
/// ours.
package struct PullRequestComment: Sendable, Equatable {
    package let id: String
    package let author: String
    package internal(set) var body: String
    /// The comment that this one replies to; empty at the top.
    package let parentID: String
    package let creationDate: Timestamp
    package internal(set) var updatedDate: Timestamp
    /// It says nothing any more, and stays for what replied to it.
    package internal(set) var isDeleted = false
    /// Who marked the thread as resolved; empty while nobody has.
    package internal(set) var resolver = ""

    init(id: String, author: String, body: String, parentID: String, creationDate: Timestamp) {
        self.id = id
        self.author = author
        self.body = body
        self.parentID = parentID
        self.creationDate = creationDate
        updatedDate = creationDate
    }

    private static let largestBody = 16 << 10

    /// - Throws: `.invalidValue` for one that is too long.
    func checkSize() throws {
        guard body.utf8.count <= Self.largestBody else {
            throw LakeError(
                .invalidValue,
                "a comment may have \(Self.largestBody) bytes: this has \(body.utf8.count)")
        }
    }

    init(decoding bytes: [UInt8]) throws {
        var (id, author, body, parentID, resolver) = ("", "", "", "", "")
        var (made, updated) = (Timestamp(seconds: 0), Timestamp(seconds: 0))
        var isDeleted = false
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: id = field.string
            case 2: author = field.string
            case 3: body = field.string
            case 4: parentID = field.string
            case 5: made = try field.time()
            case 6: updated = try field.time()
            case 7: isDeleted = field.integer != 0
            case 8: resolver = field.string
            default: break
            }
        }
        self.init(id: id, author: author, body: body, parentID: parentID, creationDate: made)
        updatedDate = updated
        self.isDeleted = isDeleted
        self.resolver = resolver
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, id)
        writer.string(2, author)
        writer.string(3, body)
        writer.string(4, parentID)
        writer.time(5, creationDate)
        writer.time(6, updatedDate)
        writer.bool(7, isDeleted)
        writer.string(8, resolver)
        return writer.bytes
    }
}

extension RefStore {
    private func folder(_ pull: String) -> String { "lakefuse_comments/\(pull)/" }
    private func key(_ id: String, of pull: String) -> Key { Key(folder(pull) + id) }

    func comment(_ id: String, of pull: String, in repository: Repository) throws -> (
        comment: PullRequestComment, bytes: [UInt8]
    )? {
        guard let bytes = try store.value(for: key(id, of: pull), in: repository.partition) else { return nil }
        return (try decode("comment \(id)") { try PullRequestComment(decoding: bytes) }, bytes)
    }

    /// False if the condition does not hold.
    func setComment(
        _ comment: PullRequestComment, of pull: String, in repository: Repository, if condition: Precondition
    ) throws(StoreError) -> Bool {
        try store.trySet(comment.encoded, for: key(comment.id, of: pull), in: repository.partition, if: condition)
    }

    /// In the order in which they were made: their ids begin with the time.
    func comments(of pull: String, in repository: Repository, after: String, limit: Int) throws -> [PullRequestComment]
    {
        try page(repository.partition, folder(pull), prefix: "", after: after, limit: limit).map { record in
            try decode("comment \(record.key)") { try PullRequestComment(decoding: record.value) }
        }
    }
}
