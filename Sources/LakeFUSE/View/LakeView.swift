import Synchronization
import Versioning

/// What a tree stands on: one ref of a lake, as it is at the moment of each call. Every method may be called from any thread,
/// and blocks its caller. Source: `architecture.md`, "The mount stands on a port".
protocol LakeView: Sendable {
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
    func commitID() throws -> String
    /// What keeps the ref from being written to, as an error.
    func checkWritable() throws
    /// Values and removals (nil) in one step.
    /// - Parameter expected: paths that must still show these addresses.
    /// - Throws: `.preconditionFailed` if one does not; nothing was written then.
    func stage(_ changes: [(path: Key, entry: Entry?)], _ durability: Durability, expecting expected: [Catalog.Expected]) throws
    /// The object of an entry as an open local file; nil if it has to be read. Whoever gets it closes it.
    func open(_ entry: Entry) throws -> FilePiece?
    /// Bytes of an entry's object, cut at its end.
    func read(_ entry: Entry, _ range: Range<Int64>) throws -> [UInt8]
    /// Where an entry's object lies: the same for the same bytes.
    func location(_ entry: Entry) throws -> ObjectLocation
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
    var objects: any ObjectStore { get }
}

/// A ref of the catalog in this process.
final class CatalogView: LakeView {
    private let catalog: Catalog
    private let repository: String, ref: String
    /// Our number in the change feed: what we change ourselves, we know.
    let origin = Atomic<Int>(-1)

    init(_ catalog: Catalog, repository: String, ref: String) {
        self.catalog = catalog
        self.repository = repository
        self.ref = ref
    }

    /// As it is: what trees hold back is not settled for themselves.
    private func resolve() throws -> ResolvedRef { try catalog.resolve(ref, in: catalog.repository(repository)) }

    func find(_ path: Key) throws -> Entry? { try catalog.find(path, at: resolve()) }
    func hasObjects(under prefix: Key, near: Key?) throws -> Bool { try catalog.hasObjects(under: prefix, near: near, at: resolve()) }
    func list(_ query: Catalog.ListQuery) throws -> Page<Listing> { try catalog.list(resolve(), query) }
    func committed(_ path: Key) throws -> Entry? {
        try catalog.find(path, at: catalog.resolve(commitID(), in: catalog.repository(repository)))
    }
    func commitID() throws -> String { try resolve().commitID }
    func checkWritable() throws { _ = try catalog.checkWritable(ref, in: repository) }
    func stage(_ changes: [(path: Key, entry: Entry?)], _ durability: Durability, expecting expected: [Catalog.Expected]) throws {
        try catalog.stage(changes, on: ref, in: repository, durability, origin: origin.load(ordering: .relaxed), expecting: expected)
    }
    func location(_ entry: Entry) throws -> ObjectLocation { try entry.location(in: catalog.repository(repository).namespace) }
    func open(_ entry: Entry) throws -> FilePiece? { try catalog.objects.file(location(entry)) }
    func read(_ entry: Entry, _ range: Range<Int64>) throws -> [UInt8] { try catalog.objects.read(location(entry), range) }
    func newAddress() -> String { catalog.newAddress() }
    func adopt(file path: String, as address: String, _ durability: Durability) throws {
        _ = try catalog.objects.adopt(file: path, as: catalog.repository(repository).namespace.location(address), durability)
    }
    func makeEmpty() throws -> String {
        let upload = try catalog.upload(to: catalog.repository(repository))
        try upload.finish()
        catalog.share(upload.address)
        return upload.address
    }
    func synchronizeObjects() throws { try catalog.objects.synchronize() }
    func synchronize() throws {
        try catalog.objects.synchronize()
        try catalog.store.write([], .durable)
    }
    func capacity() -> (total: Int64, free: Int64, available: Int64)? { catalog.objects.capacity() }
    var objects: any ObjectStore { catalog.objects }
}
