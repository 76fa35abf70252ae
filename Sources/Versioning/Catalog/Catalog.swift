package import Foundations
import Synchronization

/// A page of a listing.
package struct Page<Item: Sendable>: Sendable {
    package let items: [Item]
    package let hasMore: Bool
    package init(items: [Item], hasMore: Bool) {
        self.items = items
        self.hasMore = hasMore
    }

    /// From one item more than was asked for.
    init(_ found: [Item], limit: Int) {
        items = Array(found.prefix(limit))
        hasMore = found.count > limit
    }
}

/// The versioning core as the doors see it: repositories, refs, objects, commits, merges by name.
/// Every change of stored data goes through here. Safe from any thread; methods block until they are done.
package final class Catalog: Sendable {
    package let committed: CommittedStore
    package let events = ChangeFeed()
    /// Mounts that hold closed files back.
    package let unsettled = Unsettled()
    package let refs: RefStore
    package var objects: any ObjectStore { committed.objects }
    package var store: any KeyValueStore { refs.store }
    let addresses = AddressProvider()
    let fresh: FreshObjects
    let late: LateRemovals
    /// Repositories as read a short while ago: another process may change them.
    private let repositories = ReadWriteLock<[RepositoryID: (repository: Repository, read: Timestamp)]>([:])
    private static let repositoriesKept = 1000
    /// Committed entries that were looked up, or nil for what was not there.
    let entries = ShardedCache<CommittedName, Entry?>(budget: 8 << 20)
    private static let repositoryLifetimeSeconds: Int64 = 5
    /// Tries of a compare-and-set on a contended branch (`lakefs-formats.md` 7.2).
    static let tries = 10
    private let isCleaning = Atomic<Bool>(false)
    /// Runs what nobody waits for: imports, dumps, restores, deletions.
    let tasks: WorkerPool
    /// Names this process in records of tasks.
    let instanceID = XID.make()
    /// Imports that this process runs.
    let imports = Mutex<Set<String>>([])
    /// Those of other processes: what they told last, and since when, by `Timestamp.monotonicMilliseconds`.
    let importsOfOthers = Mutex<[String: (updated: Timestamp, since: Int64)]>([:])
    /// Orders commits, merges and other moves of a branch, and the making of repositories.
    let turns = TurnQueue()
    /// Bytes of records on a page; one that has more ends early, and says that there is more.
    static let largestPage = 1 << 20
    /// Branches that this process is compacting.
    let compactions = Mutex<Set<Key>>([])
    /// Instances of repositories whose records this process is removing.
    let removals = Mutex<Set<String>>([])
    private let stopping = Atomic<Bool>(false)
    /// Counts entries that were staged, and removals, for who watches the server.
    let staged = Atomic<Int>(0)
    package var stagedCount: Int { staged.load(ordering: .relaxed) }
    /// Looked at by long loops.
    var isStopping: Bool { stopping.load(ordering: .relaxed) }

    /// Who runs hooks around changes of refs; nil for nobody.
    let hooks: (any HookRunner)?

    /// No other process works on this store: what none of this one's threads does, nobody does.
    package let isAlone: Bool
    /// Between this process and the others on the store.
    private let changes: ChangeLog?

    /// - Parameters:
    ///   - tasks: threads for long operations that nobody waits for; the owner stops it after `stop()`.
    ///   - isAlone: whether this is the only process on the store. Where there are others, `recover` begins to tell them
    ///     what this one does, and to read what they do, at that pace.
    package init(
        store: any KeyValueStore, committed: CommittedStore, tasks: WorkerPool, isAlone: Bool = true,
        pace: ChangeLog.Pace = ChangeLog.Pace(), hooks: (any HookRunner)? = nil
    ) {
        self.isAlone = isAlone
        self.hooks = hooks
        fresh = FreshObjects(isKept: isAlone)
        refs = RefStore(store, isAlone: isAlone)
        let (events, repositories) = (events, repositories)
        changes =
            isAlone
            ? nil
            : ChangeLog(store, process: instanceID, pace: pace) { change in
                if change.branch == nil {
                    repositories.write { known in
                        if let id = change.repository { known[id] = nil } else { known.removeAll() }
                    }
                }
                events.publish(change)
            }
        late = LateRemovals(store, committed.objects)
        self.committed = committed
        self.tasks = tasks
    }

    /// Asks long operations to end; they can be started again later.
    package func stop() { stopping.store(true, ordering: .relaxed) }

    /// Ends what is about to be removed, and tells the last changes. To be called when nobody writes any more, while the
    /// stores are open.
    package func finish() {
        late.finish()
        giveUpLeases()
        changes?.stop()
    }

    /// Tells everyone who keeps copies of a change that was made, in this process and, soon, in the others.
    func publish(_ change: Change) {
        changes?.add(change)
        events.publish(change)
    }

    /// Whether a process that has begun something will not end it any more.
    func isGone(_ process: String) throws -> Bool {
        guard process != instanceID else { return false }
        return try changes?.isGone(process) ?? true
    }

    /// Lets other processes know of this one.
    func appear() throws { try changes?.appear() }

    /// To be called before a repository's refs or uncommitted changes are changed.
    func enter(_ repository: RepositoryID) throws { try changes?.enter(repository) }

    /// What lakeFS's servers of this format write, and look for.
    private static let schemaVersion = 4

    /// Takes the store as one of lakeFS's format, noting the format in an empty one. Call before anything else.
    /// - Throws: `.unavailable` if another format is in it. Source: `lakefs-formats.md` 5.2.
    package func checkSchema() throws {
        let partition = Partition("kv-internal-metadata")
        let key = Key("kv/schema/version")
        if try store.trySet(Array(String(Self.schemaVersion).utf8), for: key, in: partition, if: .absent) { return }
        let found = String(decoding: try store.value(for: key, in: partition) ?? [], as: UTF8.self)
        guard found == String(Self.schemaVersion) else {
            throw LakeError(
                .unavailable,
                "the key-value store has schema version '\(found)', this program's is \(Self.schemaVersion): migrate it with lakeFS first, or use a newer lakefuse"
            )
        }
    }

    /// Asks either store for something small.
    /// - Throws: why one does not answer.
    package func checkEngines() throws {
        guard let repository = try refs.repositories(prefix: "", after: "", limit: 1).first else { return }
        do { _ = try objects.read(repository.namespace.location("_lakefs/dummy"), 0..<1) } catch let error as StoreError
            where error.code == .notFound
        {}
    }

    /// Work that a crash left behind: dropped staging tokens are emptied, deleted repositories removed, imports ended.
    package func recover() {
        changes?.start()
        cleanUp()
        takeUpWhatIsLeft()
    }

    /// Goes on with what other processes left: deletions of repositories, imports that are to be ended.
    package func takeUpWhatIsLeft() {
        tasks.run { [self] in
            var after = ""
            while !isStopping, let page = try? refs.repositories(prefix: "", after: after, limit: 1000),
                let last = page.last
            {
                for repository in page {
                    if repository.state == .inDeletion {
                        removeInBackground(repository)
                    } else {
                        try? failAbandonedImports(in: repository)
                    }
                }
                after = last.id.text
            }
        }
    }

    /// Empties staging tokens that were dropped a while ago, in the background. To be called now and then.
    package func cleanUp() {
        guard !isCleaning.exchange(true, ordering: .acquiring) else { return }
        committed.pool.run { [self] in
            defer { isCleaning.store(false, ordering: .releasing) }
            try? refs.dropPending()
        }
    }

    // MARK: repositories

    /// - Throws: `.notFound(.repository)`, also of one that is being deleted.
    package func repository(_ id: RepositoryID) throws -> Repository {
        let now = Timestamp.now()
        if let known = repositories.read({ $0[id] }), now.seconds - known.read.seconds < Self.repositoryLifetimeSeconds
        {
            return known.repository
        }
        guard let found = try refs.repository(id) else { throw LakeError.notFound(.repository, id) }
        guard found.state == .active else {
            throw LakeError(.notFound(.repository), "repository \(id) is being deleted")
        }
        repositories.write { known in
            if known.count >= Self.repositoriesKept { known.removeAll() }
            known[id] = (found, now)
        }
        return found
    }

    /// The repository, if it may be written to.
    func writableRepository(_ id: RepositoryID, force: Bool) throws -> Repository {
        let repository = try repository(id)
        guard force || !repository.isReadOnly else {
            throw LakeError(.readOnlyRepository, "repository \(id) is read-only: pass force to write all the same")
        }
        try enter(id)
        return repository
    }

    /// - Parameter isOpen: whether the one who asks may see it.
    package func listRepositories(
        prefix: String, after: String, limit: Int, matching search: String = "",
        where isOpen: (Repository) throws -> Bool = { _ in true }
    ) throws -> Page<Repository> {
        try gather(after: after, limit: limit, next: \.id.text) { position, count in
            try refs.repositories(prefix: prefix, after: position, limit: count)
        } where: {
            try $0.state == .active && (search.isEmpty || $0.id.text.contains(search)) && isOpen($0)
        }
    }

    /// A page of those items that are wanted, read from as many pages as it takes.
    func gather<Item: Sendable>(
        after: String, limit: Int, next: (Item) -> String, _ read: (_ after: String, _ limit: Int) throws -> [Item],
        where isWanted: (Item) throws -> Bool
    ) rethrows -> Page<Item> {
        var found: [Item] = []
        var position = after
        while found.count <= limit {
            let page = try read(position, limit + 1)
            found += try page.filter(isWanted)
            guard page.count == limit + 1 else { break }
            position = next(page.last!)
        }
        return Page(found, limit: limit)
    }

    /// The file that marks a namespace as in use. Source: `lakefs-formats.md` 1.1.
    private static let dummy = Array("this is dummy data - created by lakeFS to check accessibility".utf8)

    /// Creates a repository with one commit and its default branch; a bare one with neither.
    package func createRepository(
        _ id: RepositoryID, storageNamespace: String, defaultBranch: BranchName, isReadOnly: Bool = false,
        isBare: Bool = false, schemes: Set<String>, storageID: String = "",
        mayShare: (RepositoryID) -> Bool = { _ in false }
    ) throws -> Repository {
        try id.check()
        try defaultBranch.check()
        guard let namespace = StorageNamespace(storageNamespace, store: storageID) else {
            throw LakeError(
                .invalidValue, "storage namespace '\(storageNamespace)' is not valid: give a URI such as local://name")
        }
        guard schemes.contains(namespace.scheme) else {
            throw LakeError(
                .invalidValue,
                "storage namespace '\(storageNamespace)' does not fit the block store of this server: use \(schemes.sorted().map { $0 + "://" }.joined(separator: " or "))"
            )
        }
        try Self.checkDepth(of: namespace)
        return try turns.withTurn(of: "repositories") {
            try makeRepository(
                id, namespace, storageNamespace, defaultBranch, isReadOnly: isReadOnly, isBare: isBare,
                mayShare: mayShare)
        }
    }

    /// A namespace is a path of folders where objects are files.
    private static func checkDepth(of namespace: StorageNamespace) throws {
        let parts = namespace.path.split(separator: "/", omittingEmptySubsequences: false)
        guard namespace.path.utf8.count <= 512, parts.count <= 32, parts.allSatisfy({ $0.utf8.count <= 255 }) else {
            throw LakeError(
                .invalidValue,
                "storage namespace '\(namespace.path.prefix(80))…' is too long: 512 bytes in 32 parts of 255 at most")
        }
    }

    /// Refuses a namespace on, in or around another repository's: what either writes or collects would be the other's. A
    /// bare repository may be on one: what it is made for is to take over what was written there.
    private func checkOverlap(of namespace: StorageNamespace, mayShare: (RepositoryID) -> Bool) throws {
        var after = ""
        while true {
            let page = try refs.repositories(prefix: "", after: after, limit: 1000)
            for other in page where other.state == .active {
                guard let theirs = try? other.namespace, theirs.scheme == namespace.scheme,
                    theirs.store == namespace.store
                else { continue }
                let own = Key(namespace.path + "/")
                let their = Key(theirs.path + "/")
                if own == their, mayShare(other.id) { continue }
                guard !own.hasPrefix(their), !their.hasPrefix(own) else {
                    throw LakeError(
                        .invalidValue,
                        "storage namespace \(namespace) is in use already: it is, holds or lies in that of another repository"
                    )
                }
            }
            guard page.count == 1000, let last = page.last else { return }
            after = last.id.text
        }
    }

    private func makeRepository(
        _ id: RepositoryID, _ namespace: StorageNamespace, _ storageNamespace: String, _ defaultBranch: BranchName,
        isReadOnly: Bool, isBare: Bool, mayShare: (RepositoryID) -> Bool
    ) throws -> Repository {
        if let old = try refs.repository(id) {
            // A name whose repository is being deleted is free as soon as that is done.
            guard old.state == .inDeletion, try waitForRemoval(of: old) else {
                throw LakeError(.alreadyExists(.repository), "repository \(id): not unique")
            }
        }
        try checkOverlap(of: namespace) { isBare && mayShare($0) }
        if !isBare && !isReadOnly {
            for marker in ["dummy", "_lakefs/dummy"] where try objects.size(of: namespace.location(marker)) != nil {
                throw LakeError(
                    .invalidValue, "storage namespace \(storageNamespace) is in use already: found \(marker) in it")
            }
            // Another server may be about to take it.
            guard try objects.putIfAbsent(Self.dummy, at: namespace.location("_lakefs/dummy")) else {
                throw LakeError(
                    .invalidValue, "storage namespace \(storageNamespace) is in use already: found _lakefs/dummy in it")
            }
        }
        var repository = Repository(
            id: id, storageNamespace: storageNamespace, defaultBranch: defaultBranch, creationDate: .now(),
            instanceUID: XID.make(), isReadOnly: isReadOnly)
        repository.storageID = namespace.store
        if !isBare {
            let commit = Commit(
                committer: "", message: "Repository created", creationDate: repository.creationDate, metaRangeID: "",
                parents: [], generation: 1)
            let commitID = try refs.addCommit(commit, in: repository)
            _ = try refs.setBranch(
                Branch(
                    id: defaultBranch, commitID: commitID, stagingToken: RefStore.newToken(repository, defaultBranch)),
                in: repository, if: .absent)
        }
        guard try refs.setRepository(repository, if: .absent) else {
            throw LakeError(.alreadyExists(.repository), "repository \(id): not unique")
        }
        return repository
    }

    /// Removes a repository's records; its objects stay where they are. It is gone for readers at once.
    package func deleteRepository(_ id: RepositoryID, force: Bool) throws {
        var repository = try writableRepository(id, force: force)
        repository.state = .inDeletion
        guard try refs.setRepository(repository, if: .present) else { throw LakeError.notFound(.repository, id) }
        repositories.write { known in known[id] = nil }
        publish(Change(repository: id, branch: nil, kind: .removed))
        removeInBackground(repository)
    }

    // MARK: repository metadata

    /// Bytes of a repository's metadata.
    private static let largestMetadata = 256 << 10

    private static let metadataKey = Key("repo-metadata")

    package func repositoryMetadata(_ id: RepositoryID) throws -> Metadata {
        let repository = try repository(id)
        var metadata = Metadata()
        guard let bytes = try store.value(for: Self.metadataKey, in: repository.partition) else { return metadata }
        try readProtobuf(bytes) { if $0.number == 1 { metadata.pairs.append(try $0.pair()) } }
        return metadata
    }

    package func updateRepositoryMetadata(_ id: RepositoryID, force: Bool, _ change: (inout Metadata) throws -> Void)
        throws
    {
        let repository = try writableRepository(id, force: force)
        for _ in 0..<Self.tries {
            let old = try store.value(for: Self.metadataKey, in: repository.partition)
            var metadata = try repositoryMetadata(id)
            try change(&metadata)
            guard metadata.byteCount <= Self.largestMetadata else {
                throw LakeError(
                    .invalidValue,
                    "the metadata of a repository may have \(Self.largestMetadata) bytes: these have \(metadata.byteCount)"
                )
            }
            var writer = ProtobufWriter()
            writer.map(1, metadata)
            if try store.trySet(
                writer.bytes, for: Self.metadataKey, in: repository.partition, if: old.map { .matches($0) } ?? .absent)
            {
                return
            }
        }
        throw LakeError(.tooManyTries, "the metadata of \(id) keeps changing: try again")
    }
}

/// Names for new objects. Source: `lakefs-formats.md` 1.2.
final class AddressProvider: Sendable {
    private let state = Mutex<(partition: String, since: Int64, count: Int)>(("", 0, 0))
    /// Objects in one partition, and its longest life in seconds.
    private static let partitionSize = 50_000, partitionSeconds: Int64 = 3600

    /// A fresh address, `data/<partition>/<name>`.
    func next() -> String {
        let now = Timestamp.now().seconds
        let partition = state.withLock { state in
            state.count += 1
            if state.partition.isEmpty || state.count > Self.partitionSize || now - state.since > Self.partitionSeconds
            {
                state = (XID.makeDescending(), now, 1)
            }
            return state.partition
        }
        return "data/\(partition)/\(XID.make())"
    }
}
