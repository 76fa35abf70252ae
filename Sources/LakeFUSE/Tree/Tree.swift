import CacheStore
import Glibc
import Synchronization
import Versioning

/// A ref as a tree of files and folders: what the kernel's requests are answered from. Safe from any thread.
///
/// Paths map to nodes only while the kernel knows them. Files written here and not yet published are found here first;
/// everything else is asked of the catalog, so the tree shows what the other doors show.
final class Tree: Sendable {
    struct State {
        var nodes: [UInt64: Node] = [:]
        var numbers: [Key: UInt64] = [:]
        var next: UInt64 = 2
        /// Files with a name here that were never published, by folder: listings must show them.
        var unpublished: [Key: Set<Key>] = [:]
    }

    static let root: UInt64 = 1
    let catalog: Catalog
    let repository: String
    let ref: String
    let isReadOnly: Bool
    private let staging: WriteStaging
    let state: Mutex<State>
    /// Our number in the change feed: what we change ourselves, we know.
    let origin = Atomic<Int>(-1)
    /// Read by publishes, written by renames of folders, which move many files at once.
    private let moving = ReadWriteLock()
    /// Makes the kernel forget a path; set by the mount.
    let shadowed = Mutex<(@Sendable (Key) -> Void)?>(nil)
    /// Files that have bytes to publish.
    private let dirty = Mutex<[UInt64: Node]>([:])

    init(catalog: Catalog, repository: String, ref: String, isReadOnly: Bool, staging: WriteStaging) {
        self.catalog = catalog
        self.repository = repository
        self.ref = ref
        self.isReadOnly = isReadOnly
        self.staging = staging
        let root = Node(number: Self.root, path: Key([]), entry: nil, isFolder: true, attributes: Attributes())
        root.lookups = 1
        var state = State()
        state.nodes[Self.root] = root
        state.numbers[root.path] = Self.root
        self.state = Mutex(state)
    }

    private var objects: any ObjectStore { catalog.objects }
    private var writer: Int { origin.load(ordering: .relaxed) }

    /// What a staged file of `node` is to become.
    func purpose(_ node: Node) -> StagedFile.Purpose { purpose(path(of: node)) }

    private func purpose(_ path: Key) -> StagedFile.Purpose {
        StagedFile.Purpose(repository: repository, branch: ref, path: path, newAddress: { [catalog] in catalog.newAddress() })
    }

    func path(of node: Node) -> Key { state.withLock { _ in node.path } }
    func entry(of node: Node) -> Entry? { state.withLock { _ in node.entry } }
    func writing(of node: Node) -> StagedFile? { state.withLock { _ in node.writing } }
    func target(of node: Node) -> String? { state.withLock { _ in node.attributes.target } }
    private func isUnlinked(_ node: Node) -> Bool { state.withLock { _ in node.isUnlinked } }

    func node(_ number: UInt64) throws -> Node {
        guard let node = state.withLock({ $0.nodes[number] }) else { throw Errno(ESTALE) }
        return node
    }

    private func requireWritable() throws { if isReadOnly { throw Errno(EROFS) } }

    // MARK: looking up

    private func resolve() throws -> ResolvedRef { try catalog.resolve(ref, in: repository) }

    /// - Parameter near: a path in it that was just there, to look beside first.
    private func hasChildren(_ folder: Key, near: Key? = nil, _ resolved: ResolvedRef) throws -> Bool {
        if state.withLock({ state in state.unpublished.contains { $0.key == folder || $0.key.hasPrefix(Paths.prefix(folder)) } }) { return true }
        return try catalog.hasObjects(under: Paths.prefix(folder), near: near, at: resolved)
    }

    /// The node of a name in a folder; one more look-up of the kernel's if `counts`.
    /// - Throws: `ENOENT`.
    func lookup(_ parent: UInt64, _ name: [UInt8], counts: Bool = true) throws -> Node {
        guard name.count <= 255 else { throw Errno(ENAMETOOLONG) }
        let folder = try node(parent)
        guard !isUnlinked(folder) else { throw Errno(ENOENT) }
        let path = Paths.join(path(of: folder), name)
        let known = state.withLock { state -> Node? in
            guard let number = state.numbers[path], let node = state.nodes[number] else { return nil }
            if counts { node.lookups += 1 }
            return node
        }
        if let known { return known }
        let resolved = try resolve()
        if try hasChildren(path, resolved) {
            let marker = try catalog.find(Paths.prefix(path), at: resolved)
            return adopt(path, entry: nil, isFolder: true, marker.map { Attributes($0.metadata) } ?? Attributes(), counts: counts)
        }
        guard let entry = try catalog.find(path, at: resolved) else { throw Errno(ENOENT) }
        return adopt(path, entry: entry, isFolder: false, Attributes(entry.metadata), counts: counts)
    }

    /// The node of a path, made if there is none.
    @discardableResult
    func adopt(_ path: Key, entry: Entry?, isFolder: Bool, _ attributes: Attributes, counts: Bool) -> Node {
        state.withLock { state in
            if let number = state.numbers[path], let node = state.nodes[number], node.isFolder == isFolder {
                if counts { node.lookups += 1 }
                return node
            }
            let node = Node(number: state.next, path: path, entry: entry, isFolder: isFolder, attributes: attributes)
            if counts { node.lookups = 1 }
            state.next += 1
            state.nodes[node.number] = node
            state.numbers[path] = node.number
            return node
        }
    }

    func forget(_ number: UInt64, _ count: UInt64) {
        state.withLock { state in
            guard number != Self.root, let node = state.nodes[number] else { return }
            node.lookups -= min(count, node.lookups)
            guard node.lookups == 0, node.writing?.isDirty != true else { return }
            state.nodes[number] = nil
            if state.numbers[node.path] == number { state.numbers[node.path] = nil }
        }
    }

    // MARK: attributes

    func attributes(_ node: Node) -> stat {
        var info = stat()
        let (entry, attributes, writing, isUnlinked, changed) = state.withLock { _ in (node.entry, node.attributes, node.writing, node.isUnlinked, node.changed) }
        let facts = writing?.facts
        let kind = node.isFolder ? S_IFDIR : attributes.target != nil ? S_IFLNK : S_IFREG
        info.st_ino = ino_t(node.number)
        info.st_mode = kind | mode_t(attributes.target != nil ? 0o777 : attributes.mode ?? (node.isFolder ? 0o755 : 0o644))
        info.st_nlink = isUnlinked ? 0 : node.isFolder ? 2 : 1
        info.st_uid = attributes.owner ?? getuid()
        info.st_gid = attributes.group ?? getgid()
        let size = node.isFolder ? 4096 : attributes.target.map { Int64($0.utf8.count) } ?? facts?.size ?? entry?.size ?? 0
        info.st_size = off_t(size)
        info.st_blksize = 1 << 17
        info.st_blocks = blkcnt_t(size / 512 + (size % 512 > 0 ? 1 : 0))
        // A file that is being written has the time of its last write.
        let time = attributes.modified ?? (writing?.isDirty == true ? facts?.modified : nil) ?? entry?.lastModified ?? changed
        info.st_mtim = timespec(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds))
        info.st_ctim = info.st_mtim
        info.st_atim = info.st_mtim
        return info
    }

    /// Changes permissions, owner or time; publishes them with the entry.
    func change(_ node: Node, _ change: (inout Attributes) -> Void) throws {
        try requireWritable()
        try node.publishing.withLock { _ in
            let (isPending, path, entry, attributes) = state.withLock { _ in
                change(&node.attributes)
                return (node.writing?.isDirty == true || node.isUnlinked, node.path, node.entry, node.attributes)
            }
            guard !isPending, node.number != Self.root else { return }  // Published with the bytes, or nowhere.
            if node.isFolder {
                state.withLock { _ in node.hasBareMarker = false }
                try stage([(Paths.prefix(path), marker(attributes))])
            } else if var entry {
                attributes.write(into: &entry.metadata, isFolder: false)
                try stage([(path, entry)])
                state.withLock { [entry] _ in node.entry = entry }
            }
        }
    }

    private func marker(_ attributes: Attributes) -> Entry {
        var entry = Entry(address: "", lastModified: .now(), size: 0, eTag: "d41d8cd98f00b204e9800998ecf8427e", contentType: "application/x-directory")
        attributes.write(into: &entry.metadata, isFolder: true)
        return entry
    }

    /// Stages entries; those without bytes yet get an empty object of their own.
    private func stage(_ changes: [(path: Key, entry: Entry?)], _ durability: Durability = .eventual) throws {
        var changes = changes
        for index in changes.indices where changes[index].entry?.address == "" {
            let upload = try catalog.upload(to: catalog.repository(repository))
            try upload.finish()
            changes[index].entry!.address = upload.address
        }
        try catalog.stage(changes, on: ref, in: repository, durability, origin: writer)
        noteChange(in: Set(changes.map { Paths.split($0.path).folder }))
    }

    /// Something came into or went from these folders.
    func noteChange(in folders: Set<Key>) {
        let now = Timestamp.now()
        state.withLock { state in for folder in folders { if let number = state.numbers[folder] { state.nodes[number]?.changed = now } } }
    }

    // MARK: listing

    /// One page of a folder after a key, and where the next begins; nil at the end.
    func list(_ folder: Node, after: Key, limit: Int) throws -> (items: [(name: [UInt8], isFolder: Bool, entry: Entry?)], next: Key?) {
        var query = Catalog.ListQuery()
        query.prefix = Paths.prefix(path(of: folder))
        query.delimiter = "/"
        query.after = after
        query.limit = limit
        let page = try catalog.list(resolve(), query), start = query.prefix.count
        var items: [(name: [UInt8], isFolder: Bool, entry: Entry?)] = [], folders: Set<Key> = []
        for item in page.items {
            switch item {
            case .commonPrefix(let path):
                let name = Array(path.bytes[start...].dropLast())
                guard Paths.isName(name) else { continue }
                folders.insert(Key(name))
                items.append((name, true, nil))
            case .object(let path, let entry):
                let name = Array(path.bytes[start...])
                if Paths.isName(name) { items.append((name, false, entry)) }
            }
        }
        // With both `a` and `a/b` the folder wins (mount.md section 1).
        if !folders.isEmpty { items.removeAll { !$0.isFolder && folders.contains(Key($0.name)) } }
        return (items, page.hasMore ? page.items.last?.path : nil)
    }

    /// Names of files in a folder that only this mount knows yet.
    func unpublished(in folder: Node) -> [[UInt8]] { state.withLock { ($0.unpublished[folder.path] ?? []).map { Paths.split($0).name } } }

    private func setUnpublished(_ path: Key, _ isUnpublished: Bool) {
        let folder = Paths.split(path).folder
        state.withLock { state in
            if isUnpublished {
                state.unpublished[folder, default: []].insert(path)
            } else {
                state.unpublished[folder]?.remove(path)
                if state.unpublished[folder]?.isEmpty == true { state.unpublished[folder] = nil }
            }
        }
    }

    // MARK: making and removing

    /// Fails if the name is taken.
    private func requireAbsent(_ parent: UInt64, _ name: [UInt8]) throws {
        do {
            _ = try lookup(parent, name, counts: false)
        } catch let error as Errno where error.number == ENOENT {
            return
        }
        throw Errno(EEXIST)
    }

    func makeFile(_ parent: UInt64, _ name: [UInt8], mode: UInt32) throws -> Node {
        try requireWritable()
        let path = Paths.join(path(of: try node(parent)), name)
        try requireAbsent(parent, name)
        try Self.check(path)
        _ = try catalog.checkWritable(ref, in: repository)
        let file = try StagedFile(staging, purpose(path))
        var attributes = Attributes()
        attributes.mode = mode & 0o7777
        let node = adopt(path, entry: nil, isFolder: false, attributes, counts: true)
        state.withLock { _ in node.writing = file }
        setUnpublished(path, true)
        noteChange(in: [Paths.split(path).folder])
        dirty.withLock { $0[node.number] = node }
        return node
    }

    private static func check(_ path: Key) throws { if path.count > 1023 || Paths.split(path).name.count > 255 { throw Errno(ENAMETOOLONG) } }

    func makeFolder(_ parent: UInt64, _ name: [UInt8], mode: UInt32) throws -> Node {
        try requireWritable()
        let folder = try node(parent), path = Paths.join(path(of: folder), name)
        try requireAbsent(parent, name)
        try Self.check(path)
        var attributes = Attributes()
        attributes.mode = mode & 0o7777
        try stage([(Paths.prefix(path), marker(attributes))] + fill(folder))
        let node = adopt(path, entry: nil, isFolder: true, attributes, counts: true)
        var plain = Metadata()
        attributes.write(into: &plain, isFolder: true)
        state.withLock { _ in node.hasBareMarker = plain.isEmpty }
        return node
    }

    func makeLink(_ parent: UInt64, _ name: [UInt8], target: String) throws -> Node {
        try requireWritable()
        let folder = try node(parent), path = Paths.join(path(of: folder), name)
        try requireAbsent(parent, name)
        try Self.check(path)
        var attributes = Attributes(), entry = Entry(address: "", lastModified: .now(), size: 0, eTag: "d41d8cd98f00b204e9800998ecf8427e", contentType: "application/octet-stream")
        attributes.target = target
        attributes.write(into: &entry.metadata, isFolder: false)
        try stage([(path, entry)] + fill(folder))
        return adopt(path, entry: entry, isFolder: false, attributes, counts: true)
    }

    /// A second name for a file: another entry of the same object, and from then on a file of its own
    /// (`mount.md` section 1: a hard link commits as two entries with one physical address).
    func makeHardLink(_ number: UInt64, _ parent: UInt64, _ name: [UInt8]) throws -> Node {
        try requireWritable()
        let source = try node(number), folder = try node(parent), path = Paths.join(path(of: folder), name)
        guard !source.isFolder else { throw Errno(EPERM) }
        try requireAbsent(parent, name)
        try Self.check(path)
        return try source.publishing.withLock { _ in
            try publishAlone(source, .eventual, onlyUnopened: false)
            let (found, attributes, isUnlinked) = state.withLock { _ in (source.entry, source.attributes, source.isUnlinked) }
            guard let entry = found, !isUnlinked else { throw Errno(ENOENT) }
            try stage([(path, entry)] + fill(folder))
            return adopt(path, entry: entry, isFolder: false, attributes, counts: true)
        }
    }

    /// The marker of a folder goes when something is in it: the change that says so, if it has one of ours.
    private func fill(_ folder: Node) -> [(path: Key, entry: Entry?)] {
        state.withLock { _ in
            guard folder.hasBareMarker else { return [] }
            folder.hasBareMarker = false
            return [(Paths.prefix(folder.path), nil)]
        }
    }

    /// A folder that has nothing left in it, now that `removed` is gone, gets its marker back, so that it stays.
    private func keep(_ folder: Key, without removed: Key) throws {
        guard !folder.isEmpty, try !hasChildren(folder, near: removed, resolve()) else { return }
        let (node, attributes) = state.withLock { state in
            let node = state.numbers[folder].flatMap { state.nodes[$0] }
            return (node, node?.attributes ?? Attributes())
        }
        try stage([(Paths.prefix(folder), marker(attributes))])
        state.withLock { _ in node?.hasBareMarker = true }
    }

    /// Takes a node's name away; handles keep it.
    private func detach(_ node: Node) {
        setUnpublished(path(of: node), false)
        noteChange(in: [Paths.split(path(of: node)).folder])
        _ = dirty.withLock { $0.removeValue(forKey: node.number) }
        let file = state.withLock { state -> StagedFile? in
            node.isUnlinked = true
            if state.numbers[node.path] == node.number { state.numbers[node.path] = nil }
            return node.writing
        }
        file?.unregister()
    }

    func unlink(_ parent: UInt64, _ name: [UInt8]) throws {
        try requireWritable()
        let node = try lookup(parent, name, counts: false)
        guard !node.isFolder else { throw Errno(EISDIR) }
        let path = try node.publishing.withLock { _ in
            let (path, isPublished) = state.withLock { _ in (node.path, node.entry != nil) }
            if isPublished { try stage([(path, nil)]) }
            detach(node)
            return path
        }
        try keep(Paths.split(path).folder, without: path)
    }

    func removeFolder(_ parent: UInt64, _ name: [UInt8]) throws {
        try requireWritable()
        let node = try lookup(parent, name, counts: false)
        guard node.isFolder else { throw Errno(ENOTDIR) }
        guard try isEmpty(node) else { throw Errno(ENOTEMPTY) }
        let path = path(of: node)
        try stage([(Paths.prefix(path), nil)])
        detach(node)
        try keep(Paths.split(path).folder, without: path)
    }

    /// Nothing but its marker is in it.
    private func isEmpty(_ folder: Node) throws -> Bool {
        if !unpublished(in: folder).isEmpty { return false }
        return try list(folder, after: Paths.prefix(path(of: folder)), limit: 1).items.isEmpty
    }

    /// Files that one rename of a folder may take along: they are staged in one transaction.
    private static let mostRenamed = 1_000_000

    func rename(_ parent: UInt64, _ name: [UInt8], to newParent: UInt64, _ newName: [UInt8], replaces: Bool) throws {
        try requireWritable()
        let node = try lookup(parent, name, counts: false), target = try self.node(newParent)
        let path = path(of: node), newPath = Paths.join(self.path(of: target), newName)
        try Self.check(newPath)
        guard path != newPath else { return }
        if node.isFolder, newPath.hasPrefix(Paths.prefix(path)) { throw Errno(EINVAL) }
        var replaced: Node?
        do { replaced = try lookup(newParent, newName, counts: false) } catch let error as Errno where error.number == ENOENT {}
        if let replaced {
            guard replaces else { throw Errno(EEXIST) }
            if replaced.isFolder && !node.isFolder { throw Errno(EISDIR) }
            if !replaced.isFolder && node.isFolder { throw Errno(ENOTDIR) }
            if replaced.isFolder, try !isEmpty(replaced) { throw Errno(ENOTEMPTY) }
        }
        if node.isFolder { try renameFolder(node, to: newPath, replaced, into: target) } else { try renameFile(node, to: newPath, replaced, into: target) }
        try keep(Paths.split(path).folder, without: path)
    }

    private func renameFile(_ node: Node, to newPath: Key, _ replaced: Node?, into target: Node) throws {
        try node.publishing.withLock { _ in
            try publishAlone(node, .eventual, onlyUnopened: false)
            let (path, entry) = state.withLock { _ in (node.path, node.entry) }
            try stage([(path, nil), (newPath, entry)] + fill(target))
            if let replaced { detach(replaced) }
            state.withLock { state in
                state.numbers[path] = nil
                node.path = newPath
                state.numbers[newPath] = node.number
            }
        }
    }

    private func renameFolder(_ node: Node, to newPath: Key, _ replaced: Node?, into target: Node) throws {
        let old = Paths.prefix(path(of: node)), new = Paths.prefix(newPath)
        moving.writeLock()
        defer { moving.unlock() }
        for file in dirty.withLock({ Array($0.values) }) where path(of: file).hasPrefix(old) {
            try file.publishing.withLock { _ in try publishAlone(file, .eventual, onlyUnopened: false) }
        }
        var changes: [(path: Key, entry: Entry?)] = replaced == nil ? [] : [(new, nil)]
        var query = Catalog.ListQuery()
        query.prefix = old
        query.limit = 1000
        let resolved = try resolve()
        while true {
            let page = try catalog.list(resolved, query)
            for case .object(let path, let entry) in page.items {
                changes.append((path, nil))
                changes.append((Key(new.bytes + path.bytes.dropFirst(old.count)), entry))
            }
            guard page.hasMore, let last = page.items.last else { break }
            guard changes.count < 2 * Self.mostRenamed else { throw Errno(EXDEV) }
            query.after = last.path
        }
        try stage(changes + fill(target))
        if let replaced { detach(replaced) }
        state.withLock { state in
            for inner in Array(state.nodes.values) where !inner.isUnlinked && (inner === node || inner.path.hasPrefix(old)) {
                if state.numbers[inner.path] == inner.number { state.numbers[inner.path] = nil }
                inner.path = inner === node ? newPath : Key(new.bytes + inner.path.bytes.dropFirst(old.count))
                state.numbers[inner.path] = inner.number
            }
        }
    }

    // MARK: bytes

    /// Where a file's bytes are read from.
    enum Source {
        case staged(StagedFile)
        case object(ObjectLocation, size: Int64)
        case empty
    }

    func source(_ node: Node) throws -> Source {
        let (entry, writing) = state.withLock { _ in (node.entry, node.writing) }
        if let writing { return .staged(writing) }
        guard let entry else { return .empty }
        return .object(try entry.location(in: catalog.repository(repository).namespace), size: entry.size)
    }

    /// Whether the object that a handle opened is what the file still is.
    func isCurrent(_ location: ObjectLocation?, _ node: Node) throws -> Bool {
        guard let entry = entry(of: node), let location else { return false }
        return try entry.location(in: catalog.repository(repository).namespace) == location
    }

    /// The file's bytes as a local file that can be written; copied from the object the first time.
    func writable(_ node: Node, truncates: Bool = false) throws -> StagedFile {
        try requireWritable()
        if let writing = state.withLock({ _ in node.writing }) {
            if truncates { try writing.truncate(0, purpose(node)) }
            return writing
        }
        _ = try catalog.checkWritable(ref, in: repository)
        let entry = entry(of: node), source = truncates || entry == nil ? nil : (objects, try entry!.location(in: catalog.repository(repository).namespace), entry!.size)
        let file = try StagedFile(staging, purpose(node), copying: source)
        let chosen = state.withLock { _ -> StagedFile in
            if let other = node.writing { return other }
            node.writing = file
            return file
        }
        dirty.withLock { $0[node.number] = node }
        return chosen
    }

    /// Written again after it was published: it is to be published once more.
    func noteWrite(_ node: Node) {
        let isUnlinked = state.withLock { _ in
            node.attributes.modified = nil
            return node.isUnlinked
        }
        if !isUnlinked { dirty.withLock { $0[node.number] = node } }
    }

    /// Makes what was written an object and an entry of the branch, in one step for all who look (`mount.md` section 1).
    /// - Parameter onlyUnopened: not while someone has the file open for writing, who will publish it.
    func publish(_ node: Node, _ durability: Durability, onlyUnopened: Bool = false) throws {
        moving.readLock()
        defer { moving.unlock() }
        try node.publishing.withLock { _ in try publishAlone(node, durability, onlyUnopened: onlyUnopened) }
    }

    /// Publishes while the caller sees to it that nobody else publishes, renames or unlinks the node.
    private func publishAlone(_ node: Node, _ durability: Durability, onlyUnopened: Bool) throws {
        guard let file = writing(of: node), !isUnlinked(node) else { return }
        let namespace = try catalog.repository(repository).namespace
        guard let written = try file.freeze(objects, in: namespace, durability, if: { !onlyUnopened || node.writers.load(ordering: .acquiring) == 0 }) else {
            if durability == .durable { try synchronize() }
            return
        }
        let (path, old, attributes, folder) = state.withLock { state in
            (node.path, node.entry, node.attributes, state.numbers[Paths.split(node.path).folder].flatMap { state.nodes[$0] })
        }
        // The time of the last write, not of the publish: a file must not look newer for having been closed.
        var entry = Entry(address: written.address, lastModified: written.modified, size: written.size, eTag: Hex.text(written.md5), metadata: old?.metadata ?? [:], contentType: old?.contentType ?? "application/octet-stream")
        attributes.write(into: &entry.metadata, isFolder: false)
        try stage([(path, entry)] + (folder.map { fill($0) } ?? []), durability)
        let isShadowed = state.withLock { [entry] state in
            node.entry = entry
            return state.numbers[path] != node.number
        }
        // Another door wrote the path meanwhile and it got another node: that one shows what is no more.
        if isShadowed { shadowed.withLock { $0 }?(path) }
        file.noteStaged(written)
        if !file.isDirty { _ = dirty.withLock { $0.removeValue(forKey: node.number) } }
        setUnpublished(path, false)
    }

    /// The last handle is closed: the staged bytes are the object's now.
    func close(_ node: Node) throws {
        try publish(node, .eventual, onlyUnopened: true)
        // Let go outside the lock: its descriptor is closed with it.
        let file = state.withLock { _ -> StagedFile? in
            guard node.writers.load(ordering: .acquiring) == 0, node.writing?.isDirty != true || node.isUnlinked else { return nil }
            defer { node.writing = nil }
            return node.writing
        }
        _ = consume file
    }

    /// A handle that writes was opened; before anything is written or cut through it.
    func beginWriting(_ node: Node) { node.writers.add(1, ordering: .acquiringAndReleasing) }

    /// It was closed.
    func endWriting(_ node: Node) throws {
        node.writers.subtract(1, ordering: .acquiringAndReleasing)
        try close(node)
    }

    /// Publishes all that was written. Returns the first error.
    func publishAll(_ durability: Durability) -> (any Error)? {
        var failure: (any Error)?
        for node in dirty.withLock({ Array($0.values) }) {
            do { try publish(node, durability) } catch { failure = failure ?? error }
        }
        return failure
    }

    /// Makes durable what was published.
    func synchronize() throws {
        try objects.synchronize()
        try catalog.store.write([], .durable)
    }
}

/// pthread_rwlock(3): many readers or one writer, over calls that may block.
@safe private final class ReadWriteLock: @unchecked Sendable {
    // May be used from any thread by its contract; the pointer never changes.
    private let handle: UnsafeMutablePointer<pthread_rwlock_t>

    init() {
        unsafe handle = .allocate(capacity: 1)
        unsafe pthread_rwlock_init(handle, nil)
    }

    deinit {
        unsafe pthread_rwlock_destroy(handle)
        unsafe handle.deallocate()
    }

    func readLock() { unsafe pthread_rwlock_rdlock(handle) }
    func writeLock() { unsafe pthread_rwlock_wrlock(handle) }
    func unlock() { unsafe pthread_rwlock_unlock(handle) }
}
