package import Foundations

/// A proposal to merge one branch into another, and what became of it. Source: `lakefs-formats.md` 5.6.
package struct PullRequest: Sendable, Equatable {
    package enum Status: Int64, Sendable { case open, closed, merged }

    package var id: String
    package var status = Status.open
    package var creationDate: Timestamp
    package var title: String
    package var author: String
    package var description: String
    package var source: BranchName
    package var destination: BranchName
    /// The merge's commit; nil until there is one.
    package var commitID: CommitID?
    /// When it was closed or merged.
    package var closedDate: Timestamp?

    init(
        id: String, creationDate: Timestamp, title: String, author: String, description: String, source: BranchName,
        destination: BranchName
    ) {
        self.id = id
        self.creationDate = creationDate
        self.title = title
        self.author = author
        self.description = description
        self.source = source
        self.destination = destination
    }

    /// Bytes of title and description: pull requests are listed by the thousand.
    private static let largestTexts = 16 << 10

    /// - Throws: `.invalidValue` if it says more than a pull request may.
    func checkSize() throws {
        let count = title.utf8.count + description.utf8.count
        guard count <= Self.largestTexts else {
            throw LakeError(
                .invalidValue,
                "the title and description of a pull request may have \(Self.largestTexts) bytes: these have \(count)")
        }
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(
            id: "", creationDate: Timestamp(seconds: 0), title: "", author: "", description: "", source: "",
            destination: "")
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: id = field.string
            case 2: status = Status(rawValue: field.signed) ?? .open
            case 3: creationDate = try field.time()
            case 4: title = field.string
            case 5: author = field.string
            case 6: description = field.string
            case 7: source = BranchName(field.string)
            case 8: destination = BranchName(field.string)
            case 9: commitID = CommitID(field.string)
            case 10: closedDate = try field.time()
            default: break
            }
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, id)
        writer.integer(2, status.rawValue)
        writer.time(3, creationDate)
        writer.string(4, title)
        writer.string(5, author)
        writer.string(6, description)
        writer.string(7, source.text)
        writer.string(8, destination.text)
        if let commitID { writer.always(9, Array(commitID.text.utf8)) }
        writer.time(10, closedDate)
        return writer.bytes
    }
}

extension RefStore {
    /// Where the newest pull request of a pair of branches is told, for all repositories.
    static let pulls = Partition("pulls")

    private func key(_ id: String) -> Key { Key("pulls/\(id)") }

    /// A pull request and the bytes it was read as: what a compare-and-set needs.
    func pull(_ id: String, in repository: Repository) throws -> (pull: PullRequest, bytes: [UInt8])? {
        guard let bytes = try store.value(for: key(id), in: repository.partition) else { return nil }
        return (try decode("pull request \(id)") { try PullRequest(decoding: bytes) }, bytes)
    }

    /// False if the condition does not hold.
    func setPull(_ pull: PullRequest, in repository: Repository, if condition: Precondition?) throws(StoreError) -> Bool
    {
        try store.trySet(pull.encoded, for: key(pull.id), in: repository.partition, if: condition)
    }

    /// Notes the pull request under its branches.
    func indexPull(_ pull: PullRequest, in repository: Repository) throws {
        var index = ProtobufWriter()
        index.string(1, pull.id)
        try store.set(
            index.bytes, for: Key("repos/\(repository.partition)/\(pull.source)/\(pull.destination)"), in: Self.pulls)
    }

    func pulls(in repository: Repository, prefix: String, after: String, limit: Int) throws -> [PullRequest] {
        try page(repository.partition, "pulls/", prefix: prefix, after: after, limit: limit).map { record in
            try decode("pull request \(record.key)") { try PullRequest(decoding: record.value) }
        }
    }
}
