package import Foundations

// The records of refs as lakeFS stores them. Source: `lakefs-formats.md` 5.6.

/// A repository, and where its records and objects lie.
package struct Repository: Sendable, Equatable {
    package enum State: Int64, Sendable { case active, inDeletion }

    package var id: RepositoryID { didSet { partition = Self.partition(id, instanceUID) } }
    /// As it was given, for showing.
    package var storageNamespace: String { didSet { parse() } }
    private var parsedNamespace: StorageNamespace?
    package var defaultBranch: BranchName
    package var creationDate: Timestamp
    package var state = State.active
    package var instanceUID: String { didSet { partition = Self.partition(id, instanceUID) } }
    package var isReadOnly = false
    /// The store that its objects are in, where a server has several.
    package var storageID = "" { didSet { parse() } }

    private mutating func parse() { parsedNamespace = StorageNamespace(storageNamespace, store: storageID) }

    package var namespace: StorageNamespace {
        get throws {
            guard let namespace = parsedNamespace else {
                throw LakeError(.corrupt, "repository \(id) has no valid storage namespace: \(storageNamespace)")
            }
            return namespace
        }
    }

    /// The partition of branches, commits, tags and settings.
    package private(set) var partition: Partition

    private static func partition(_ id: RepositoryID, _ instanceUID: String) -> Partition {
        Partition("\(id)-\(instanceUID)")
    }

    package init(
        id: RepositoryID, storageNamespace: String, defaultBranch: BranchName, creationDate: Timestamp,
        instanceUID: String,
        isReadOnly: Bool = false
    ) {
        self.id = id
        self.storageNamespace = storageNamespace
        parsedNamespace = StorageNamespace(storageNamespace)
        self.defaultBranch = defaultBranch
        self.creationDate = creationDate
        self.instanceUID = instanceUID
        partition = Self.partition(id, instanceUID)
        self.isReadOnly = isReadOnly
    }

    package init(decoding bytes: [UInt8]) throws {
        self.init(id: "", storageNamespace: "", defaultBranch: "", creationDate: Timestamp(seconds: 0), instanceUID: "")
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: id = RepositoryID(field.string)
            case 2: storageNamespace = field.string
            case 3: defaultBranch = BranchName(field.string)
            case 4: creationDate = try field.time()
            case 5: state = State(rawValue: field.signed) ?? .active
            case 6: instanceUID = field.string
            case 7: isReadOnly = field.integer != 0
            case 8: storageID = field.string
            default: break
            }
        }
    }

    package var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, id.text)
        writer.string(2, storageNamespace)
        writer.string(3, defaultBranch.text)
        writer.time(4, creationDate)
        writer.integer(5, state.rawValue)
        writer.string(6, instanceUID)
        writer.bool(7, isReadOnly)
        writer.string(8, storageID)
        return writer.bytes
    }
}

/// A branch: a commit, and the tokens under which its uncommitted changes lie.
package struct Branch: Sendable, Equatable {
    package var id: BranchName
    package var commitID: CommitID
    package var stagingToken: StagingToken
    /// Tokens that a commit has closed and not yet taken; the newest first.
    package var sealedTokens: [StagingToken] = []
    package var isHidden = false

    /// The order in which uncommitted changes decide: the first that has a key wins.
    package var tokens: [StagingToken] { [stagingToken] + sealedTokens }

    package init(id: BranchName, commitID: CommitID, stagingToken: StagingToken, isHidden: Bool = false) {
        self.id = id
        self.commitID = commitID
        self.stagingToken = stagingToken
        self.isHidden = isHidden
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(id: "", commitID: "", stagingToken: "")
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: id = BranchName(field.string)
            case 2: commitID = CommitID(field.string)
            case 3: stagingToken = StagingToken(field.string)
            case 4: sealedTokens.append(StagingToken(field.string))
            case 5: isHidden = field.integer != 0
            default: break
            }
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, id.text)
        writer.string(2, commitID.text)
        writer.string(3, stagingToken.text)
        writer.strings(4, sealedTokens.map(\.text))
        writer.bool(5, isHidden)
        return writer.bytes
    }
}

/// A name for a commit that does not move.
package struct Tag: Sendable, Equatable {
    package var id: String
    package var commitID: CommitID

    package init(id: String, commitID: CommitID) {
        self.id = id
        self.commitID = commitID
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(id: "", commitID: "")
        try readProtobuf(bytes) { field in
            if field.number == 1 { id = field.string } else if field.number == 2 { commitID = CommitID(field.string) }
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, id)
        writer.string(2, commitID.text)
        return writer.bytes
    }
}

/// One commit. Its id follows from its content.
package struct Commit: Sendable, Equatable {
    package var committer: String
    package var message: String
    package var creationDate: Timestamp
    /// Empty for the commit that a repository begins with.
    package var metaRangeID: String
    package var metadata: Metadata
    package var parents: [CommitID]
    package var version: Int32 = 1
    package var generation: Int32

    package init(
        committer: String, message: String, creationDate: Timestamp, metaRangeID: String, metadata: Metadata = [:],
        parents: [CommitID], generation: Int32
    ) {
        self.committer = committer
        self.message = message
        self.creationDate = creationDate
        self.metaRangeID = metaRangeID
        self.metadata = metadata
        self.parents = parents
        self.generation = generation
    }

    /// The greatest number of ancestors in a row that a commit from outside may claim: no history is as long, and
    /// adding to it cannot overflow.
    static let largestGeneration: Int32 = 1 << 30

    /// Bytes of message and metadata that a commit may have: commits are read by the thousand.
    static let largestTexts = 256 << 10

    /// Bytes of message and metadata.
    var byteCount: Int { message.utf8.count + metadata.byteCount }

    /// - Throws: `.invalidValue` if it says more than a commit may.
    func checkSize() throws {
        guard byteCount <= Self.largestTexts else {
            throw LakeError(
                .invalidValue, "the commit's message and metadata have \(byteCount) bytes: \(Self.largestTexts) at most"
            )
        }
    }

    /// 64 hex digits. Source: `lakefs-formats.md` 4.4.
    package var id: CommitID {
        var parentsHash = IdentityHash()
        parentsHash.strings(parents.map(\.text))
        var hash = IdentityHash()
        hash.string("commit:v1")
        hash.string(committer)
        hash.string(message)
        hash.string(metaRangeID)
        hash.int64(creationDate.seconds)
        hash.map(metadata)
        hash.identity(parentsHash.finish())
        return CommitID(Hex.text(hash.finish()))
    }

    package init(decoding bytes: [UInt8]) throws {
        self.init(
            committer: "", message: "", creationDate: Timestamp(seconds: 0), metaRangeID: "", parents: [], generation: 0
        )
        version = 0
        try readProtobuf(bytes) { field in
            switch field.number {
            case 2: committer = field.string
            case 3: message = field.string
            case 4: creationDate = try field.time()
            case 5: metaRangeID = field.string
            case 6: metadata.pairs.append(try field.pair())
            case 7: parents.append(CommitID(field.string))
            case 8: version = Int32(truncatingIfNeeded: field.signed)
            case 9: generation = Int32(truncatingIfNeeded: field.signed)
            default: break
            }
        }
    }

    package var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, id.text)
        writer.string(2, committer)
        writer.string(3, message)
        writer.time(4, creationDate)
        writer.string(5, metaRangeID)
        writer.map(6, metadata)
        writer.strings(7, parents.map(\.text))
        writer.integer(8, Int64(version))
        writer.integer(9, Int64(generation))
        return writer.bytes
    }
}
