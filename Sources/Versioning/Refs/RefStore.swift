import Foundations
import Synchronization

/// Repositories, branches, tags and commits in the key-value store. Source: `lakefs-formats.md` 5.2, 5.3.
/// Safe from any thread.
package final class RefStore: Sendable {
    package let store: any KeyValueStore
    private let isAlone: Bool
    /// Commits never change. Most are some 500 bytes.
    private let commits = LRUCache<CommitName, Commit>(budget: 16 << 20)

    private func keep(_ commit: Commit, _ name: CommitName) {
        commits.insert(commit, for: name, cost: 500 + commit.byteCount)
    }

    /// Branches as they were read last: good as long as the store still has these bytes.
    private let branches = ShardedCache<QualifiedBranch, (bytes: [UInt8], branch: Branch)>(budget: 4000)

    /// Merge bases of commits, which never change either: to find one costs a walk over all that lies between.
    let mergeBases = LRUCache<CommitPair, CommitID>(budget: 4000)
    /// What long walks have read, by the number of commits.
    let graphs = LRUCache<Partition, CommitGraph>(budget: CommitGraph.mostCommits)
    struct CommitPair: Hashable { let partition: Partition, left: CommitID, right: CommitID }

    private struct CommitName: Hashable { let partition: Partition, id: CommitID }
    private struct QualifiedBranch: Hashable { let partition: Partition, id: BranchName }

    static let graveler = Partition("graveler")
    static let cleanupTokens = Partition("cleanup-tokens")

    /// - Parameter isAlone: whether this is the only process on the store.
    init(_ store: any KeyValueStore, isAlone: Bool = true) {
        self.store = store
        self.isAlone = isAlone
    }

    func decode<Value>(_ what: String, _ body: () throws -> Value) throws -> Value {
        do { return try body() } catch is ProtobufError {
            throw LakeError(.corrupt, "the stored record of \(what) is no message")
        }
    }

    // MARK: repositories

    func repository(_ id: RepositoryID) throws -> Repository? {
        guard let bytes = try store.value(for: Key("repos/\(id)"), in: Self.graveler) else { return nil }
        return try decode("repository \(id)") { try Repository(decoding: bytes) }
    }

    /// False if the condition does not hold.
    func setRepository(_ repository: Repository, if condition: Precondition?) throws(StoreError) -> Bool {
        try store.trySet(repository.encoded, for: Key("repos/\(repository.id)"), in: Self.graveler, if: condition)
    }

    func removeRepository(_ id: RepositoryID) throws { try store.remove(Key("repos/\(id)"), in: Self.graveler) }

    func repositories(prefix: String, after: String, limit: Int) throws -> [Repository] {
        try page(Self.graveler, "repos/", prefix: prefix, after: after, limit: limit).map { record in
            try decode("repository \(record.key)") { try Repository(decoding: record.value) }
        }
    }

    /// Records below a folder of keys, without what does not begin with `prefix` or does not follow `after`.
    func page(_ partition: Partition, _ folder: String, prefix: String, after: String, limit: Int) throws -> [(
        key: Key, value: [UInt8]
    )] {
        let from = after.isEmpty ? nil : Key(folder + after).successor
        return try store.page(of: partition, prefix: Key(folder + prefix), from: from, limit: limit)
    }

    // MARK: branches

    static func key(ofBranch id: BranchName) -> Key { Key("branches/\(id)") }

    /// A branch and the bytes it was read as: what a compare-and-set needs.
    func branch(_ id: BranchName, in repository: Repository) throws -> (branch: Branch, bytes: [UInt8])? {
        guard let bytes = try store.value(for: Self.key(ofBranch: id), in: repository.partition) else { return nil }
        let name = QualifiedBranch(partition: repository.partition, id: id)
        if let known = branches[name], known.bytes == bytes { return (known.branch, bytes) }
        let branch = try decode("branch \(id)") { try Branch(decoding: bytes) }
        branches.insert((bytes, branch), for: name, cost: 1)
        return (branch, bytes)
    }

    /// A branch as it was known last, where others may have moved it since: for those who have the store hold what they
    /// do against it. Read where it is not known, and where the store is near.
    func assumedBranch(_ id: BranchName, in repository: Repository) throws -> (branch: Branch, bytes: [UInt8])? {
        if isAssuming, let known = branches[QualifiedBranch(partition: repository.partition, id: id)] {
            return (known.branch, known.bytes)
        }
        return try branch(id, in: repository)
    }

    /// A branch as it was known last; nil where it is not.
    func knownBranch(_ id: BranchName, in repository: Repository) -> Branch? {
        branches[QualifiedBranch(partition: repository.partition, id: id)]?.branch
    }

    /// Whether the record of a branch still has the bytes that it was read as.
    func isKnown(_ branch: Branch, as bytes: [UInt8], in repository: Repository) -> Bool {
        branches[QualifiedBranch(partition: repository.partition, id: branch.id)].map {
            $0.bytes == bytes && $0.branch == branch
        } ?? false
    }

    /// Whether a write may require that its branch is what it is taken for, so that to read it first is not needed.
    var isAssuming: Bool { store.capabilities.isShared && store.capabilities.requiresCheaply }

    /// A branch, and what its tokens hold of one path: read in one go if the branch is as it was known last.
    func branch(_ id: BranchName, for path: Key, in repository: Repository) throws -> (
        branch: Branch, bytes: [UInt8], staged: StagedValues?
    )? {
        let name = QualifiedBranch(partition: repository.partition, id: id)
        guard store.capabilities.isShared, let known = branches[name] else {
            return try branch(id, in: repository).map { ($0.branch, $0.bytes, nil) }
        }
        let values = try store.values(
            for: [(repository.partition, Self.key(ofBranch: id))]
                + known.branch.tokens.map { (partition: $0.partition, key: path) })
        guard let bytes = values[0] else { return nil }
        if bytes == known.bytes {
            let staged = StagedValues(path: path, tokens: known.branch.tokens, values: Array(values.dropFirst()))
            return (known.branch, bytes, staged)
        }
        let branch = try decode("branch \(id)") { try Branch(decoding: bytes) }
        branches.insert((bytes, branch), for: name, cost: 1)
        return (branch, bytes, nil)
    }

    /// - Parameters:
    ///   - first: what the branch will name; may be there though the condition does not hold.
    ///   - last: what is done when the branch is what it is to be, and not else.
    /// - Returns: false if the condition does not hold.
    func setBranch(
        _ branch: Branch, in repository: Repository, if condition: Precondition?, _ durability: Durability = .durable,
        before first: [Mutation] = [], behind last: [Mutation] = []
    ) throws(StoreError) -> Bool {
        let (key, bytes) = (Self.key(ofBranch: branch.id), branch.encoded)
        let isDone: Bool
        if let condition, first.count + 2 + last.count <= store.capabilities.mostChanges {
            // In one step.
            let own: [Mutation] = [
                .require(repository.partition, key, condition), .set(repository.partition, key, bytes),
            ]
            isDone = try store.tryWrite(first + own + last, durability)
        } else if !first.isEmpty || !last.isEmpty {
            if !first.isEmpty { try store.writeMany(first, .eventual) }
            isDone = try store.trySet(bytes, for: key, in: repository.partition, if: condition, durability)
            if isDone, !last.isEmpty { try store.writeMany(last, .eventual) }
        } else {
            isDone = try store.trySet(bytes, for: key, in: repository.partition, if: condition, durability)
        }
        if isDone, store.capabilities.isShared {
            branches.insert(
                (bytes, branch), for: QualifiedBranch(partition: repository.partition, id: branch.id), cost: 1)
        }
        return isDone
    }

    /// What has a name, or would be hidden by it.
    func named(_ name: String, in repository: Repository) throws -> (
        branch: (branch: Branch, bytes: [UInt8])?, isTag: Bool, isCommit: Bool
    ) {
        let partition = repository.partition
        let found = try store.values(for: [
            (partition, Self.key(ofBranch: BranchName(name))), (partition, Key("tags/\(name)")),
            (partition, Key("commits/\(name)")),
        ])
        return (
            try found[0].map { bytes in
                (try decode("branch \(name)") { try Branch(decoding: bytes) }, bytes)
            }, found[1] != nil, found[2] != nil
        )
    }

    func removeBranch(_ id: BranchName, in repository: Repository) throws {
        try store.remove(Self.key(ofBranch: id), in: repository.partition)
    }

    func branches(in repository: Repository, prefix: String, after: String, limit: Int) throws -> [Branch] {
        try page(repository.partition, "branches/", prefix: prefix, after: after, limit: limit).map { record in
            try decode("branch \(record.key)") { try Branch(decoding: record.value) }
        }
    }

    // MARK: tags

    func tag(_ id: String, in repository: Repository) throws -> Tag? {
        guard let bytes = try store.value(for: Key("tags/\(id)"), in: repository.partition) else { return nil }
        return try decode("tag \(id)") { try Tag(decoding: bytes) }
    }

    /// False if the condition does not hold.
    func setTag(_ tag: Tag, in repository: Repository, if condition: Precondition?) throws(StoreError) -> Bool {
        try store.trySet(tag.encoded, for: Key("tags/\(tag.id)"), in: repository.partition, if: condition)
    }

    func removeTag(_ id: String, in repository: Repository) throws {
        try store.remove(Key("tags/\(id)"), in: repository.partition)
    }

    func tags(in repository: Repository, prefix: String, after: String, limit: Int) throws -> [Tag] {
        try page(repository.partition, "tags/", prefix: prefix, after: after, limit: limit).map { record in
            try decode("tag \(record.key)") { try Tag(decoding: record.value) }
        }
    }

    // MARK: commits

    func findCommit(_ id: CommitID, in repository: Repository) throws -> Commit? {
        let name = CommitName(partition: repository.partition, id: id)
        if let known = commits[name] { return known }
        guard let bytes = try store.value(for: Key("commits/\(id)"), in: repository.partition) else { return nil }
        let commit = try decode("commit \(id)") { try Commit(decoding: bytes) }
        keep(commit, name)
        return commit
    }

    /// - Throws: `.notFound(.commit)`.
    func commit(_ id: CommitID, in repository: Repository) throws -> Commit {
        guard let commit = try findCommit(id, in: repository) else { throw LakeError.notFound(.commit, id) }
        return commit
    }

    /// The commit that `prefix` begins the id of; nil if there is none or more than one.
    func commitID(startingWith prefix: String, in repository: Repository) throws -> CommitID? {
        let found = try store.page(of: repository.partition, prefix: Key("commits/\(prefix)"), limit: 2)
        guard found.count == 1 else { return nil }
        return CommitID(String(found[0].key.description.dropFirst("commits/".count)))
    }

    /// Stores a commit and returns its id; one that is there already is the same one.
    /// - Parameter durability: `.eventual` where a durable write that names the commit follows.
    func addCommit(_ commit: Commit, in repository: Repository, _ durability: Durability = .durable) throws -> CommitID
    {
        let (id, _) = addition(of: commit, in: repository)
        _ = try store.trySet(
            commit.encoded, for: Key("commits/\(id)"), in: repository.partition, if: .absent, durability)
        keep(commit, CommitName(partition: repository.partition, id: id))
        return id
    }

    /// What stores a commit, for who does so together with the record that names it.
    func addition(of commit: Commit, in repository: Repository) -> (id: CommitID, mutation: Mutation) {
        let id = commit.id
        // Whoever looks for it before it is there, such as hooks that are noted, finds what it will be.
        keep(commit, CommitName(partition: repository.partition, id: id))
        return (id, .set(repository.partition, Key("commits/\(id)"), commit.encoded))
    }

    /// Drops what is known of a repository that is gone.
    package func forget() {
        commits.removeAll()
        mergeBases.removeAll()
        graphs.removeAll()
    }

    // MARK: staging tokens

    /// Tokens that this process has written to, lately.
    private let written = LRUCache<StagingToken, Bool>(budget: 4000)
    func noteWritten(_ token: StagingToken) {
        if store.capabilities.isShared { written.insert(true, for: token, cost: 1) }
    }
    func hasWritten(_ token: StagingToken) -> Bool { written[token] ?? false }

    /// Whether a partition is that of a staging token: no other has a colon in its name, but those of imports.
    package static func isStaging(_ partition: Partition) -> Bool { partition.name.bytes.contains(0x3a) }

    static func newToken(_ repository: Repository, _ branch: BranchName) -> StagingToken {
        StagingToken("\(repository.id)-\(branch):\(randomUUID())")
    }

    private static let moveSuffix = ":move"
    /// A sealed token that holds nothing: as long as a branch has it, its head is about to move to content other than
    /// what is staged.
    static func newMove(_ repository: Repository, _ branch: BranchName) -> StagingToken {
        StagingToken(newToken(repository, branch).text + moveSuffix)
    }
    static func isMove(_ token: StagingToken) -> Bool { token.text.hasSuffix(moveSuffix) }

    /// What notes that `partitions` are to be emptied; `dropPending` does it, a while after `noteDropped`. Source:
    /// `lakefs-formats.md` 7.11.
    static func dropping(_ partitions: [Partition]) -> [Mutation] {
        partitions.map { .set(cleanupTokens, $0.name, Array("stub-value".utf8)) }
    }

    func markDropped(_ partitions: [Partition]) throws {
        guard !partitions.isEmpty else { return }
        noteDropped(partitions)
        try store.writeMany(Self.dropping(partitions), .eventual)
    }

    func noteDropped(_ partitions: [Partition]) {
        let now = Timestamp.now().seconds
        dropped.withLock { dropped in for partition in partitions { dropped[partition.name] = now } }
    }

    /// When this process dropped which tokens, or met those that others had dropped: readers may still hold a branch as
    /// it was before.
    private let dropped = Mutex<[Key: Int64]>([:])
    /// Seconds that a dropped token's changes stay readable: longer than any request reads one branch record.
    private static let graceSeconds: Int64 = 60

    /// Empties the partitions of tokens that were dropped a while ago. May run anywhere, any number of times.
    func dropPending() throws {
        let now = Timestamp.now().seconds
        for record in try store.page(of: Self.cleanupTokens, from: nil, before: nil, limit: 512) {
            let since = dropped.withLock { [isAlone] dropped in
                if dropped[record.key] == nil, !isAlone { dropped[record.key] = now }
                return dropped[record.key]
            }
            if let since, now - since < Self.graceSeconds { continue }
            _ = dropped.withLock { $0.removeValue(forKey: record.key) }
            try store.removeAll(in: Partition(record.key))
            try store.write([.remove(Self.cleanupTokens, record.key)], .eventual)
        }
    }
}
