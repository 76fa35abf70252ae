import Foundations
import Synchronization

/// Branches with so many uncommitted changes that reading them is slow: a million removals stand between a listing and
/// its answer. Their sealed tokens are laid over the commit once, in the background, into a metarange that readers look
/// at in place of both. Nothing of it is part of lakeFS's data: the branch keeps its tokens, commits and diffs take
/// them as ever, and whoever does not know of the compaction reads the same.
///
///     partition lakefuse-compacted: <repository partition>/<branch> → 1 commit · 2 tokens … · 3 metarange
struct Compaction: Sendable, Equatable {
    var commitID: CommitID
    /// Those that went in, newest first.
    var tokens: [StagingToken]
    var metaRange: String

    init(commitID: CommitID, tokens: [StagingToken], metaRange: String) {
        self.commitID = commitID
        self.tokens = tokens
        self.metaRange = metaRange
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(commitID: "", tokens: [], metaRange: "")
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: commitID = CommitID(field.string)
            case 2: tokens.append(StagingToken(field.string))
            case 3: metaRange = field.string
            default: break
            }
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, commitID.text)
        writer.strings(2, tokens.map(\.text))
        writer.string(3, metaRange)
        return writer.bytes
    }

    static let partition = Partition("lakefuse-compacted")
    static func key(_ branch: BranchName, in repository: Repository) -> Key { Key("\(repository.partition)/\(branch)") }

    /// Whether this is what lies below a branch's newer tokens. Sealed tokens do not change, so it need not say more.
    func fits(_ branch: Branch) -> Bool {
        commitID == branch.commitID && !tokens.isEmpty && branch.sealedTokens.suffix(tokens.count) == tokens[...]
    }
}

extension Catalog {
    /// What a ref shows: changes, newest token first, over a metarange.
    func view(of ref: ResolvedRef) throws -> (tokens: [StagingToken], metaRange: String) {
        guard let branch = ref.branch, !branch.sealedTokens.isEmpty, !ref.tokens.isEmpty,
            let bytes = try store.value(for: Compaction.key(branch.id, in: ref.repository), in: Compaction.partition),
            let compaction = try? Compaction(decoding: bytes), compaction.fits(branch)
        else { return (ref.tokens, try metaRange(of: ref)) }
        return (Array(ref.tokens.dropLast(compaction.tokens.count)), compaction.metaRange)
    }

    /// Removals that a listing may meet before it asks for a compaction: some milliseconds.
    static let mostRemovalsMet = 3000
    /// Sealed tokens that a branch may have: each is looked into by every read.
    private static let mostSealedTokens = 3

    /// Asks for a compaction if a listing was slow for want of one.
    func considerCompaction(of ref: ResolvedRef, removalsMet: Int, tokens: [StagingToken]) {
        guard let branch = ref.branch, removalsMet > Self.mostRemovalsMet || tokens.count > Self.mostSealedTokens + 1
        else { return }
        let name = Compaction.key(branch.id, in: ref.repository)
        guard compactions.withLock({ $0.insert(name).inserted }) else { return }
        tasks.run { [self] in
            defer { _ = compactions.withLock { $0.remove(name) } }
            try? compact(branch.id, in: ref.repository)  // Only speed is lost; the next slow listing asks again.
        }
    }

    /// Lays all that is staged on a branch over its commit, for readers.
    func compact(_ id: BranchName, in repository: Repository) throws {
        let (_, branch) = try updateBranch(id, in: repository, .eventual) { branch in
            if try hasStaged(tokens: [branch.stagingToken]) { seal(&branch, in: repository) }
        }
        guard !branch.sealedTokens.isEmpty else { return }
        var changes = StagingCursor(store, tokens: branch.sealedTokens)
        let made = try committed.apply(
            &changes, to: metaRange(of: branch.commitID, in: repository), in: repository.namespace)
        let compaction = Compaction(commitID: branch.commitID, tokens: branch.sealedTokens, metaRange: made.metaRange)
        try store.set(compaction.encoded, for: Compaction.key(id, in: repository), in: Compaction.partition)
    }

    /// Has the changes under a branch's old tokens removed, and what was made of them.
    func drop(_ tokens: [StagingToken], of branch: Branch, in repository: Repository) throws {
        let changes = dropping(tokens, of: branch, in: repository)
        if !changes.isEmpty { try store.writeMany(changes, .eventual) }
        dropped()
    }

    /// What has that done, for who does it together with what takes the tokens from the branch. From now on they are
    /// kept for a while.
    func dropping(_ tokens: [StagingToken], of branch: Branch, in repository: Repository) -> [Mutation] {
        let compacted: [Mutation] =
            branch.sealedTokens.isEmpty
            ? [] : [.remove(Compaction.partition, Compaction.key(branch.id, in: repository))]
        refs.noteDropped(tokens.map(\.partition))
        return RefStore.dropping(tokens.map(\.partition)) + compacted
    }

    /// To be called when that is done.
    func dropped() {
        // Where there are others, one of them looks now and then.
        if isAlone { cleanUp() }
    }
}
