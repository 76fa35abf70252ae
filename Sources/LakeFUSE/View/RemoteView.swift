import CacheStore
import Foundations
import Glibc
import LakeAPI
import Synchronization
import Versioning

/// A ref of a lakeFS-compatible server elsewhere, through its REST API. Listings are kept (`RemoteListings`) until
/// others change something (`RemoteWatch`), bytes in a cache of blocks on the local disk; what was written here is
/// uploaded when it is published. What is cached can be read while the server does not answer, and what is written
/// waits.
final class RemoteView: LakeView {
    /// What the views of a mount share.
    struct Store: Sendable {
        let cache: ObjectCache
        let records: SQLiteStore
        /// The folder of files that wait to be uploaded.
        let outgoing: String
        let pool: WorkerPool
        var conflicts = ConflictRule.keep
        /// Milliseconds between two looks at what others changed.
        var interval = 1000
    }

    private let remote: Remote
    private let store: Store
    private let isBranch: Bool
    private let listings: RemoteListings
    private let watch: RemoteWatch
    /// What a publish that did not get to its end did: objects by the address that they had here, and what paths were
    /// given.
    private let uploaded = Mutex<[String: API.ObjectStats]>([:])
    private let given = Mutex<[Key: (entry: Entry, object: API.ObjectStats)]>([:])
    private static let pending = "pending/", empty = "pending/empty"

    init(_ remote: Remote, isBranch: Bool, _ store: Store) {
        self.remote = remote
        self.store = store
        self.isBranch = isBranch
        listings = RemoteListings(remote, records: store.records)
        watch = RemoteWatch(remote, listings, interval: store.interval)
    }

    // MARK: names

    private func look(_ path: Key) throws -> (entry: Entry?, isFolder: Bool) {
        let folder = Paths.folder(of: path)
        if let found = try listings.page(folder).look(path) { return found }
        return try remote.ask { client in
            let entry = try client.stat(path, at: remote.ref, in: remote.repository).map { Entry($0) }
            return (
                entry,
                try !RemoteListings.page(
                    client.objects(
                        at: remote.ref, in: remote.repository, prefix: Paths.prefix(path), delimiter: "",
                        after: Key([]), amount: 1)
                ).items.isEmpty
            )
        }
    }

    private func isUTF8(_ key: Key) -> Bool { String(validating: key.bytes, as: UTF8.self) != nil }

    func find(_ path: Key) throws -> Entry? {
        guard isUTF8(path) else { return nil }
        guard Paths.isMarker(path) else { return try look(path).entry }
        // A folder's marker is the first of what is in it.
        guard case .object(path, let entry)? = try listings.page(path).items.first else { return nil }
        return entry
    }

    func hasObjects(under prefix: Key, near: Key?) throws -> Bool {
        guard isUTF8(prefix) else { return false }
        return try prefix.isEmpty ? !listings.page(prefix).items.isEmpty : look(Paths.trimmed(prefix)).isFolder
    }

    func list(_ query: Catalog.ListQuery) throws -> Page<Listing> {
        guard isUTF8(query.prefix) else { return Page(items: [], hasMore: false) }
        if !query.delimiter.isEmpty {
            let page = try listings.page(query.prefix, after: query.after)
            return Page(items: page.items, hasMore: page.hasMore)
        }
        do {
            let page = try RemoteListings.page(
                remote.ask {
                    try $0.objects(
                        at: remote.ref, in: remote.repository, prefix: query.prefix, delimiter: "", after: query.after,
                        amount: query.limit)
                })
            return Page(items: page.items, hasMore: page.hasMore)
        } catch let error as LakeError where error.code == .unavailable {
            let found = try listings.flat(query.prefix, after: query.after, limit: query.limit)
            return Page(items: found, hasMore: found.count == query.limit)
        }
    }

    func committed(_ path: Key) throws -> Entry? {
        let commit = try commitID().text
        return try remote.ask { try $0.stat(path, at: commit, in: remote.repository).map { Entry($0) } }
    }

    func commitID() throws -> CommitID {
        guard isBranch else { return CommitID(remote.ref) }
        let known = watch.head
        if !known.isEmpty { return CommitID(known) }
        guard let head = try remote.ask({ try $0.head(of: remote.ref, in: remote.repository) }) else {
            throw LakeError(.dataGone, "branch '\(remote.ref)' is gone")
        }
        return CommitID(head)
    }

    /// The server says so when it is written to.
    func checkWritable() throws {}

    // MARK: bytes

    /// What the same bytes are known by.
    private static func identity(_ address: String, _ eTag: String) -> String { "\(address) \(eTag)" }
    private func outgoing(_ address: String) -> String { "\(store.outgoing)/\(address.dropFirst(Self.pending.count))" }

    /// Objects up to this size are fetched whole when they are opened: the kernel reads them by itself then.
    private static let fetchedWhole: Int64 = 1 << 20

    func open(_ entry: Entry, at path: Key?) throws -> FilePiece? {
        if entry.address.hasPrefix(Self.pending), entry.address != Self.empty {
            let descriptor = unsafe Glibc.open(outgoing(entry.address), O_RDONLY | O_CLOEXEC)
            if descriptor >= 0, let status = FileStatus(descriptor) {
                return FilePiece(descriptor: descriptor, offset: 0, byteCount: status.size)
            }
        }
        guard entry.size > 0 else { return nil }
        let identity = Self.identity(entry.address, entry.eTag)
        if let whole = try store.cache.file(identity, size: entry.size) { return whole }
        guard entry.size <= Self.fetchedWhole, let path else { return nil }
        fetchAhead(of: path)
        _ = try read(entry, at: path, 0..<entry.size)
        return try store.cache.file(identity, size: entry.size)
    }

    /// Who reads the files of a folder one after the other: the folder, what was fetched ahead last, and how many at a
    /// time.
    private let ahead = Mutex<(folder: Key, last: Key, count: Int)>((Key([]), Key([]), 0))
    private static let mostAhead = 64, largestAhead: Int64 = 256 << 10

    /// Fetches the small files that come next in a folder, if the one before was asked for too.
    private func fetchAhead(of path: Key) {
        let folder = Paths.folder(of: path)
        let (last, count) = ahead.withLock { ahead in
            ahead =
                ahead.folder == folder
                ? (folder, ahead.last, min(max(4, 2 * ahead.count), Self.mostAhead)) : (folder, path, 0)
            return (max(ahead.last, path), ahead.count)
        }
        guard count > 0, let page = try? listings.page(folder) else { return }
        var next: [(path: Key, entry: Entry)] = []
        for case .object(let path, let entry) in page.items
        where path > last && next.count < count && entry.size > 0 && entry.size <= Self.largestAhead {
            next.append((path, entry))
        }
        guard let end = next.last?.path else { return }
        ahead.withLock { if $0.folder == folder { $0.last = max($0.last, end) } }
        // What fails is asked for again by who wants it.
        for (path, entry) in next {
            store.pool.run { [weak self] in _ = try? self?.read(entry, at: path, 0..<entry.size) }
        }
    }

    func read(_ entry: Entry, at path: Key?, _ range: Range<Int64>) throws -> [UInt8] {
        try store.cache.read(Self.identity(entry.address, entry.eTag), size: entry.size, range) { range in
            guard let path else { throw LakeError(.dataGone, "an object that no path has any more cannot be read") }
            // On the branch as it is; if that has another there by now, in the commit.
            for ref in isBranch ? [remote.ref, watch.head] : [remote.ref] where !ref.isEmpty {
                if let found = try remote.ask({ try $0.read(path, at: ref, in: remote.repository, range) }),
                    found.eTag == entry.eTag
                {
                    return found.bytes
                }
            }
            throw LakeError(.dataGone, "\(path) was replaced since it was opened")
        }
    }

    func location(_ entry: Entry) throws -> String { entry.address }
    func newAddress() -> String { Self.pending + XID.make() }

    func adopt(file path: String, as address: String, _ durability: Durability) throws {
        guard unsafe rename(path, outgoing(address)) == 0 else {
            throw LakeError(
                .unavailable,
                unsafe "cannot move \(path) to what waits to be uploaded: \(String(cString: strerror(errno)))")
        }
    }

    func makeEmpty() throws -> String { Self.empty }
    /// What waits lies on the disk of the working files, and is synced with them.
    func synchronizeObjects() throws {}
    func synchronize() throws {}
    func capacity() -> (total: Int64, free: Int64, available: Int64)? { nil }

    // MARK: writing

    func stage(
        _ changes: [(path: Key, entry: Entry?)], _ durability: Durability, expecting expected: [Catalog.Expected]
    ) throws -> [String: Entry] {
        for (path, _) in changes where !isUTF8(path) {
            throw LakeError(
                .invalidValue, "name '\(path)' is not UTF-8: a lake that is reached over REST cannot have it")
        }
        let expected = Dictionary(expected.map { ($0.path, $0.address) }) { $1 }
        let paths = changes.map(\.path)
        let done = Mutex<(made: [String: Entry], written: [Key: API.ObjectStats?])>(([:], [:]))
        watch.begin(paths)
        defer {
            watch.end(paths, done.withLock { $0.written })
            for path in paths { listings.forget(path) }
        }
        // The server is asked once before all of it is sent.
        _ = try remote.ask(insists: true) { try $0.head(of: remote.ref, in: remote.repository) }
        let tasks = PoolTasks(store.pool)
        do {
            for (address, group) in Dictionary(grouping: changes.filter { $0.entry != nil }, by: { $0.entry!.address })
            {
                // What has no bytes is not one object here.
                for group in address == Self.empty ? group.map({ [$0] }) : [group] {
                    try tasks.start { [self] in
                        let (entry, written) = try write(group.map { ($0.path, $0.entry!) }, expected)
                        done.withLock { done in
                            if let entry { done.made[address] = entry }
                            for (path, object) in written { done.written[path] = object }
                        }
                    }
                }
            }
            try tasks.waitForAll()
            try remove(changes.filter { $0.entry == nil }.map(\.path), expected) { paths in
                done.withLock { done in for path in paths { done.written[path] = .some(nil) } }
            }
        } catch {
            tasks.drain()
            throw error
        }
        uploaded.withLock { $0 = [:] }
        given.withLock { $0 = [:] }
        return done.withLock { $0.made }
    }

    /// - Throws: `.preconditionFailed` if a path does not show what it must.
    private func check(_ path: Key, _ expected: [Key: String?]) throws {
        guard let wanted = expected[path] else { return }
        guard try remote.ask({ try $0.stat(path, at: remote.ref, in: remote.repository) })?.physicalAddress == wanted
        else { throw LakeError(.preconditionFailed, "\(path) was changed elsewhere") }
    }

    /// Gives one object to all its paths.
    /// - Returns: its entry, if it was not on the server before; and what each path has now.
    private func write(_ group: [(path: Key, entry: Entry)], _ expected: [Key: String?]) throws -> (
        Entry?, [(Key, API.ObjectStats)]
    ) {
        let (first, entry) = group[0]
        let isPending = entry.address.hasPrefix(Self.pending)
        var known = entry.address == Self.empty ? nil : uploaded.withLock { $0[entry.address] }
        if known == nil {
            for (path, entry) in group where given.withLock({ $0[path]?.entry }) != entry { try check(path, expected) }
        }
        var object = API.ObjectStats(
            path: "", pathType: "object", physicalAddress: entry.address, checksum: entry.eTag,
            sizeBytes: entry.size, mtime: 0)
        if isPending {
            if known == nil { known = try upload(entry, to: first, isNew: expected[first] == .some(nil)) }
            object = known!
            if entry.address != Self.empty { uploaded.withLock { $0[entry.address] = object } }
        }
        var written: [(Key, API.ObjectStats)] = []
        var made: Entry?
        for (path, entry) in group {
            if let (known, object) = given.withLock({ $0[path] }), known == entry {
                written.append((path, object))
                if isPending { made = Entry(object) }
                continue
            }
            object.mtime = entry.lastModified.seconds
            object.metadata = Self.described(entry, isFolder: Paths.isMarker(path)).dictionary
            object.contentType = entry.contentType
            let isPlain = isPending && object.metadata?.isEmpty == true && path == first
            if !isPlain {
                object.mtime = try remote.ask(insists: true) {
                    try $0.stage(object, at: path, on: remote.ref, in: remote.repository)
                }.mtime
            }
            given.withLock { $0[path] = (entry, object) }
            written.append((path, object))
            if isPending, entry.address != Self.empty || group.count == 1 { made = Entry(object) }
        }
        if isPending, entry.address != Self.empty, entry.size > 0 {
            do {
                try store.cache.adopt(
                    file: outgoing(entry.address), as: Self.identity(object.physicalAddress, object.checksum),
                    size: entry.size)
            } catch {
                unsafe _ = unlink(outgoing(entry.address))  // It is read from the server then.
            }
        }
        return (entry.address == Self.empty ? nil : made, written)
    }

    /// An entry's metadata with the time of its last write: a server keeps the time at which it came.
    private static func described(_ entry: Entry, isFolder: Bool) -> Metadata {
        var metadata = entry.metadata
        guard !isFolder, metadata[Attributes.modifiedKey] == nil else { return metadata }
        metadata[Attributes.modifiedKey] = String(entry.lastModified.seconds)
        if entry.lastModified.nanoseconds > 0 {
            metadata[Attributes.nanosecondsKey] = String(entry.lastModified.nanoseconds)
        }
        return metadata
    }

    /// What is at a path, if it is what an entry was to bring there.
    private func uploaded(_ entry: Entry, at path: Key) throws -> API.ObjectStats? {
        guard let there = try remote.ask({ try $0.stat(path, at: remote.ref, in: remote.repository) }),
            there.checksum == entry.eTag, there.sizeBytes == entry.size
        else { return nil }
        return there
    }

    private func upload(_ entry: Entry, to path: Key, isNew: Bool) throws -> API.ObjectStats {
        var descriptor: Int32 = -1
        if entry.address != Self.empty {
            descriptor = unsafe Glibc.open(outgoing(entry.address), O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else {
                // A publish that a crash cut off has sent it.
                if let there = try uploaded(entry, at: path) { return there }
                throw LakeError(.invalidValue, "the bytes that \(path) was to have are gone")
            }
        }
        defer { if descriptor >= 0 { close(descriptor) } }
        let object: API.ObjectStats
        do {
            object = try remote.ask(insists: true) {
                try $0.upload(
                    descriptor, byteCount: descriptor < 0 ? 0 : entry.size, to: path, contentType: entry.contentType,
                    isNew: isNew, on: remote.ref, in: remote.repository)
            }
        } catch let error as LakeError where error.code == .preconditionFailed {
            // It was there: perhaps it is this one, and the answer to it was lost.
            guard let there = try uploaded(entry, at: path) else { throw error }
            object = there
        }
        guard entry.eTag.contains("-") || object.checksum.contains("-") || object.checksum == entry.eTag else {
            throw LakeError(.unavailable, "\(path) did not arrive as it was sent")
        }
        return object
    }

    private func remove(_ paths: [Key], _ expected: [Key: String?], _ done: ([Key]) -> Void) throws {
        let tasks = PoolTasks(store.pool)
        do {
            for path in paths where expected[path] != nil { try tasks.start { [self] in try check(path, expected) } }
            try tasks.waitForAll()
        } catch {
            tasks.drain()
            throw error
        }
        for start in stride(from: 0, to: paths.count, by: 1000) {
            let some = Array(paths[start..<min(start + 1000, paths.count)])
            try remote.ask(insists: true) { try $0.remove(some, on: remote.ref, in: remote.repository) }
            done(some)
        }
    }

    // MARK: what others do

    var isElsewhere: Bool { true }
    var conflicts: ConflictRule? { store.conflicts == .mine ? nil : store.conflicts }
    func follow(
        _ take: @escaping @Sendable (Change.Kind) -> CountingSemaphore?, settling settle: (@Sendable (Key?) -> Void)?
    ) { if isBranch { watch.start(take) } }
    func unfollow() { watch.stop() }
    /// Nobody else looks at the branch through this process.
    func hold(_ number: Int) {}
    func differing(_ old: String, _ new: String, most: Int) throws -> [Key]? { nil }

    // MARK: versions

    private static let mostRefs = 20_000

    func refs() throws -> [String] { try remote.ask { try $0.refNames(of: remote.repository, amount: Self.mostRefs) } }

    func log(_ limit: Int) throws -> [LoggedCommit] {
        guard let commits = try remote.ask({ try $0.log(remote.ref, in: remote.repository, amount: limit) }) else {
            throw LakeError(.dataGone, "\(remote.ref) is gone")
        }
        return commits.map {
            LoggedCommit(
                id: CommitID($0.id), committer: $0.committer, date: Timestamp(seconds: $0.creationDate),
                message: $0.message)
        }
    }

    func changes(after: Key, limit: Int) throws -> Page<PathChange> {
        guard
            let page = try remote.ask({
                try $0.changes(on: remote.ref, in: remote.repository, after: after.description, amount: limit)
            })
        else { throw LakeError(.dataGone, "branch '\(remote.ref)' is gone") }
        return Page(
            items: page.results.map {
                PathChange(
                    path: Key($0.path), kind: $0.type == "added" ? .added : $0.type == "removed" ? .removed : .changed)
            }, hasMore: page.pagination.hasMore)
    }

    func commit(_ message: String, by user: String) throws -> CommitID {
        CommitID(try remote.ask(insists: true) { try $0.commit(message, on: remote.ref, in: remote.repository) })
    }

    func counters() -> [(String, Int)] {
        let cache = store.cache.counters
        return [
            ("server_answers", remote.answers ? 1 : 0), ("cache_hits", cache.hits), ("cache_misses", cache.misses),
            ("cache_bytes", cache.bytes), ("fetched_bytes", cache.fetchedBytes),
        ]
    }
}
