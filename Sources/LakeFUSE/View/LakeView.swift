import Foundations
import Synchronization
import Versioning

/// What a tree stands on: one ref of a lake, as it is at the moment of each call. Every method may be called from any
/// thread, and blocks its caller. Source: `architecture.md`, "The mount stands on a port".
protocol LakeView: Sendable {
    /// Whether other processes look at the lake, who cannot ask this one to publish first.
    var isShared: Bool { get }
    /// The entry of a path, or nil.
    func find(_ path: Key) throws -> Entry?
    /// Whether there is anything under a prefix.
    /// - Parameter near: where to look first: beside something that was just there.
    func hasObjects(under prefix: Key, near: Key?) throws -> Bool
    /// One page of objects and common prefixes, in byte order.
    func list(_ query: Catalog.ListQuery) throws -> Page<Listing>
    /// The entry of a path in the commit that the ref stands on, whatever was changed since.
    func committed(_ path: Key) throws -> Entry?
    /// The id of that commit.
    func commitID() throws -> CommitID
    /// What keeps the ref from being written to, as an error.
    func checkWritable() throws
    /// Values and removals (nil) in one step; a lake elsewhere takes them one by one, what is new before what goes.
    /// - Parameter expected: paths that must still show these addresses.
    /// - Returns: the entries that the lake made of them where they are not the same, by the addresses that were given.
    /// - Throws: `.preconditionFailed` if one does not; nothing was written then.
    func stage(
        _ changes: [(path: Key, entry: Entry?)], _ durability: Durability, expecting expected: [Catalog.Expected]
    ) throws -> [String: Entry]
    /// The object of an entry as an open local file; nil if it has to be read. Whoever gets it closes it.
    /// - Parameter path: where the branch has it; nil if nowhere.
    func open(_ entry: Entry, at path: Key?) throws -> FilePiece?
    /// Bytes of an entry's object, cut at its end.
    func read(_ entry: Entry, at path: Key?, _ range: Range<Int64>) throws -> [UInt8]
    /// Where an entry's object lies, for people.
    func location(_ entry: Entry) throws -> String
    /// The address of an object that is about to come.
    func newAddress() -> String
    /// Takes a finished local file as the object of an address; it is gone from its old place then.
    func adopt(file path: String, as address: String, _ durability: Durability) throws
    /// Makes an object without bytes. Returns its address, which may be named any number of times.
    func makeEmpty() throws -> String
    /// Makes all objects durable that were adopted.
    func synchronizeObjects() throws
    /// Makes durable what was staged, and before it the objects.
    func synchronize() throws
    /// Bytes in all, free, and free to who is not root; nil where there is no such bound.
    func capacity() -> (total: Int64, free: Int64, available: Int64)?

    // MARK: what others do

    /// Whether the lake may be out of reach for a while.
    var isElsewhere: Bool { get }
    /// What others wrote since a path was read is not written over: every publish says what it believes is there.
    /// Without it the last writer wins, as on a disk.
    var conflicts: ConflictRule? { get }
    /// Begins to tell what others change, and has `settle` called before they look.
    /// - Parameter take: returns what to wait for until those were told whom it concerns; nil if nobody is.
    func follow(
        _ take: @escaping @Sendable (Change.Kind) -> CountingSemaphore?, settling settle: (@Sendable (Key?) -> Void)?)
    func unfollow()
    /// How much more a tree holds back; less, if negative.
    func hold(_ number: Int)
    /// The keys that differ between two states of the committed data, in order; nil if they are more than `most`.
    func differing(_ old: String, _ new: String, most: Int) throws -> [Key]?

    // MARK: versions

    /// Names of branches and tags.
    func refs() throws -> [String]
    /// The newest commits of the ref.
    func log(_ limit: Int) throws -> [LoggedCommit]
    /// A page of the changes that are not committed.
    func changes(after: Key, limit: Int) throws -> Page<PathChange>
    /// Commits what is on the branch. Returns the commit's id.
    func commit(_ message: String, by user: String) throws -> CommitID
    /// Counters of its own, for people.
    func counters() -> [(String, Int)]
}

/// What becomes of a file that was changed here, and by others since it was read.
package enum ConflictRule: String, Sendable {
    /// Theirs stays, and ours is kept beside it as `NAME.conflict-USER-TIME`.
    case keep
    /// Ours is written over theirs; theirs is taken, and ours dropped.
    case mine, theirs
}

struct LoggedCommit: Sendable {
    let id: CommitID, committer: String, date: Timestamp, message: String
}

struct PathChange: Sendable {
    let path: Key
    let kind: Difference.Kind
}

extension LakeView {
    var isShared: Bool { false }
}

/// A ref of the catalog in this process.
final class CatalogView: LakeView {
    private let catalog: Catalog
    private let repository: RepositoryID, ref: String
    /// What the ref is where it is one.
    private var branch: BranchName { BranchName(ref) }
    /// Our numbers in the change feed (what we change ourselves, we know) and among those who hold something back.
    private let subscriptions = Mutex<(feed: Int, held: Int?)?>(nil)

    init(_ catalog: Catalog, repository: RepositoryID, ref: String) {
        self.catalog = catalog
        self.repository = repository
        self.ref = ref
    }

    var isShared: Bool { !catalog.isAlone }

    /// As it is: what trees hold back is not settled for themselves.
    private func resolve() throws -> ResolvedRef { try catalog.resolve(ref, in: catalog.repository(repository)) }

    func find(_ path: Key) throws -> Entry? { try catalog.find(path, at: resolve()) }
    func hasObjects(under prefix: Key, near: Key?) throws -> Bool {
        try catalog.hasObjects(under: prefix, near: near, at: resolve())
    }
    func list(_ query: Catalog.ListQuery) throws -> Page<Listing> { try catalog.list(resolve(), query) }
    func committed(_ path: Key) throws -> Entry? {
        try catalog.find(path, at: catalog.resolve(commitID().text, in: catalog.repository(repository)))
    }
    func commitID() throws -> CommitID { try resolve().commitID }
    func checkWritable() throws { _ = try catalog.checkWritable(branch, in: repository) }
    func stage(
        _ changes: [(path: Key, entry: Entry?)], _ durability: Durability, expecting expected: [Catalog.Expected]
    ) throws -> [String: Entry] {
        try catalog.stage(
            changes, on: branch, in: repository, durability, origin: subscriptions.withLock { $0?.feed } ?? -1,
            expecting: expected)
        return [:]
    }
    private func place(_ entry: Entry) throws -> ObjectLocation {
        try entry.location(in: catalog.repository(repository).namespace)
    }
    func location(_ entry: Entry) throws -> String { try place(entry).description }
    func open(_ entry: Entry, at path: Key?) throws -> FilePiece? { try catalog.objects.file(place(entry)) }
    func read(_ entry: Entry, at path: Key?, _ range: Range<Int64>) throws -> [UInt8] {
        try catalog.objects.read(place(entry), range)
    }
    func newAddress() -> String { catalog.newAddress() }
    func adopt(file path: String, as address: String, _ durability: Durability) throws {
        _ = try catalog.objects.adopt(
            file: path, as: catalog.repository(repository).namespace.location(address), durability)
    }
    func makeEmpty() throws -> String {
        let upload = try catalog.beginUpload(in: catalog.repository(repository))
        try upload.keep()
        return upload.address
    }
    func synchronizeObjects() throws { try catalog.objects.synchronize() }
    func synchronize() throws {
        try catalog.objects.synchronize()
        try catalog.store.write([], .durable)
    }
    func capacity() -> (total: Int64, free: Int64, available: Int64)? { catalog.objects.capacity() }

    var isElsewhere: Bool { false }
    var conflicts: ConflictRule? { nil }
    func follow(
        _ take: @escaping @Sendable (Change.Kind) -> CountingSemaphore?, settling settle: (@Sendable (Key?) -> Void)?
    ) {
        let repository = repository
        let branch = branch
        let feed = catalog.events.subscribe { own in
            { change in
                guard change.origin != own, change.repository == nil || change.repository == repository,
                    change.branch == nil || change.branch == branch
                else { return nil }
                return take(change.kind)
            }
        }
        let held = settle.map { catalog.unsettled.add(repository: repository, branch: branch, $0) }
        subscriptions.withLock { $0 = (feed, held) }
    }
    func unfollow() {
        guard
            let (feed, held) = subscriptions.withLock({ subscriptions in
                defer { subscriptions = nil }
                return subscriptions
            })
        else { return }
        catalog.events.unsubscribe(feed)
        if let held { catalog.unsettled.remove(held) }
    }
    func hold(_ number: Int) { catalog.unsettled.hold(number) }
    func differing(_ old: String, _ new: String, most: Int) throws -> [Key]? {
        let namespace = try catalog.repository(repository).namespace
        let committed = catalog.committed
        let diff = MetaRangeDiff(try committed.cursor(old, in: namespace), try committed.cursor(new, in: namespace))
        var keys: [Key] = []
        while let difference = try diff.next() {
            guard keys.count < most else { return nil }
            keys.append(difference.key)
        }
        return keys
    }

    func refs() throws -> [String] {
        try catalog.listBranches(repository, prefix: "", after: "", limit: 10_000, showHidden: true).items.map(
            \.id.text)
            + catalog.listTags(repository, prefix: "", after: "", limit: 10_000).items.map(\.id)
    }
    func log(_ limit: Int) throws -> [LoggedCommit] {
        var query = Catalog.LogQuery()
        query.limit = limit
        return try catalog.log(ref, in: repository, query).items.map {
            LoggedCommit(id: $0, committer: $1.committer, date: $1.creationDate, message: $1.message)
        }
    }
    func changes(after: Key, limit: Int) throws -> Page<PathChange> {
        var query = Catalog.DiffQuery()
        query.limit = limit
        query.after = after
        let page = try catalog.diffUncommitted(branch, in: repository, query)
        return Page(items: page.items.map { PathChange(path: $0.path, kind: $0.kind) }, hasMore: page.hasMore)
    }
    func commit(_ message: String, by user: String) throws -> CommitID {
        try catalog.commit(CommitRequest(committer: user, message: message), on: branch, in: repository).id
    }
    func counters() -> [(String, Int)] { [] }
}
