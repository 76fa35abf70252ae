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
        /// Files with a name here that were never published, by folder: listings must show them.
        var unpublished: [Key: Set<Key>] = [:]
    }

    static let root: UInt64 = 1
    let catalog: Catalog
    let repository: String
    let ref: String
    let isReadOnly: Bool
    /// Whom the tree is shown to, and what they may do: it shows names to who may list, and bytes to who may read them.
    let user: String
    let allows: @Sendable (Permission) -> Bool
    let staging: WriteStaging
    let state: Mutex<State>
    /// Our number in the change feed: what we change ourselves, we know.
    let origin = Atomic<Int>(-1)
    /// Read by publishes, written by renames of folders, which move many files at once.
    let moving = MovingLock()
    /// Makes the kernel forget a path; set by the mount.
    let shadowed = Mutex<(@Sendable (Key) -> Void)?>(nil)
    /// Files that have bytes to publish.
    let dirty = Mutex<[UInt64: Node]>([:])
    /// Those that were closed, and whose publishing waits.
    let held = Mutex<[UInt64: Node]>([:])
    /// Counts changes, by this mount and by others: what was read before one may be wrong after it.
    let changes = Atomic<UInt64>(0)
    /// The branch is gone. Another one may come by its name: what is written here is nothing of that one.
    let isGone = Atomic<Bool>(false)

    /// - Parameters:
    ///   - recovered: files of the branch that were being written when the server died.
    ///   - allows: what `user` may do.
    init(catalog: Catalog, repository: String, ref: String, isReadOnly: Bool, staging: WriteStaging, user: String = "", recovered: [(name: String, record: WriteStaging.Record)] = [],
         allows: @escaping @Sendable (Permission) -> Bool = { _ in true }) {
        self.user = user
        self.allows = allows
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
        for (name, record) in recovered { recover(name, record) }
    }

    /// Shows a file as it was when the server died; it is published when somebody has opened it for writing and closed it.
    private func recover(_ name: String, _ record: WriteStaging.Record) {
        do {
            let file = try StagedFile(staging, recovering: name, record), entry = try catalog.find(record.path, at: resolve())
            let node = adopt(record.path, entry: entry, isFolder: false, Attributes(record.metadata), counts: false)
            state.withLock { state in
                node.writing = file
                node.isRecovered = true
                for other in record.others where other != record.path {
                    node.others.insert(other)
                    state.numbers[other] = node.number
                }
            }
            for path in [record.path] + record.others { setUnpublished(path, true) }
            dirty.withLock { $0[node.number] = node }
        } catch {
            Log.error("a file that was being written when the server died cannot be shown", ["path": record.path.description, "reason": "\(error)"])
        }
    }

    /// The branch was deleted: nothing that is open here is written to another of its name.
    func noteGone() { isGone.store(true, ordering: .releasing) }

    var objects: any ObjectStore { catalog.objects }
    private var writer: Int { origin.load(ordering: .relaxed) }

    /// What a staged file of `node` is to become.
    func purpose(_ node: Node) -> StagedFile.Purpose {
        let (path, others, entry, attributes, isUnlinked) = state.withLock { _ in (node.path, node.others, node.entry, node.attributes, node.isUnlinked) }
        var purpose = purpose(path, entry, attributes)
        purpose.others = others.sorted()
        purpose.isNamed = !isUnlinked
        return purpose
    }

    func purpose(_ path: Key, _ entry: Entry?, _ attributes: Attributes) -> StagedFile.Purpose {
        var metadata = entry?.metadata ?? [:]
        attributes.write(into: &metadata, isFolder: false)
        return StagedFile.Purpose(repository: repository, branch: ref, path: path, metadata: metadata, newAddress: { [catalog] in catalog.newAddress() })
    }

    func path(of node: Node) -> Key { state.withLock { _ in node.path } }
    func entry(of node: Node) -> Entry? { state.withLock { _ in node.entry } }
    func writing(of node: Node) -> StagedFile? { state.withLock { _ in node.writing } }
    func target(of node: Node) -> [UInt8]? { state.withLock { _ in node.attributes.target } }
    func isUnlinked(_ node: Node) -> Bool { state.withLock { _ in node.isUnlinked } }

    func node(_ number: UInt64) throws -> Node {
        guard let node = state.withLock({ $0.nodes[number] }) else { throw Errno(ESTALE) }
        return node
    }

    func requireWritable() throws { if isReadOnly { throw Errno(EROFS) } }

    /// Lets pass what the mount's user may do to a path, as every door asks it.
    /// - Throws: `EACCES`.
    func require(_ action: String, _ path: Key) throws { guard allows(.object(action, repository, path)) else { throw Errno(EACCES) } }

    /// Before a file is opened for writing.
    func requireChangeable(_ node: Node) throws {
        try requireWritable()
        try require("WriteObject", path(of: node))
    }

    /// Before a file's bytes are read.
    func requireReadable(_ node: Node) throws { if !node.isFolder { try require("ReadObject", path(of: node)) } }

    // MARK: looking up

    /// The ref as it is: what is held back here is not settled for ourselves.
    func resolve() throws -> ResolvedRef { try catalog.resolve(ref, in: catalog.repository(repository)) }

    /// - Parameter near: a path in it that was just there, to look beside first.
    func hasChildren(_ folder: Key, near: Key? = nil, _ resolved: ResolvedRef) throws -> Bool {
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
            let node = Node(number: Self.freeNumber(for: path, in: state), path: path, entry: entry, isFolder: isFolder, attributes: attributes)
            if counts { node.lookups = 1 }
            state.nodes[node.number] = node
            state.numbers[path] = node.number
            return node
        }
    }

    /// The number that a path is known by: the same each time the kernel comes to know it (FNV-1a).
    static func number(for path: Key) -> UInt64 {
        var hash: UInt64 = 14_695_981_039_346_656_037
        for byte in path.bytes { hash = (hash ^ UInt64(byte)) &* 1_099_511_628_211 }
        return max(hash >> 1, 2)
    }

    /// The same, or the next that no other node has: one that was renamed, or is still open.
    private static func freeNumber(for path: Key, in state: State) -> UInt64 {
        var number = number(for: path)
        while state.nodes[number] != nil { number = max((number + 1) & (.max >> 1), 2) }
        return number
    }

    func forget(_ number: UInt64, _ count: UInt64) {
        state.withLock { state in
            guard number != Self.root, let node = state.nodes[number] else { return }
            node.lookups -= min(count, node.lookups)
            // That several names are one file is known here alone.
            guard node.lookups == 0, node.writing?.isDirty != true, node.others.isEmpty else { return }
            state.nodes[number] = nil
            if state.numbers[node.path] == number { state.numbers[node.path] = nil }
        }
    }

    // MARK: attributes

    /// What stat(2) tells of a node.
    struct Facts {
        enum Kind { case file, folder, link }
        var number: UInt64
        var kind: Kind
        /// Permission bits.
        var mode: UInt32
        var links: Int
        var owner: UInt32, group: UInt32
        var size: Int64
        var modified: Timestamp
    }

    func facts(_ node: Node) -> Facts {
        let (entry, attributes, writing, isUnlinked, changed, links) = state.withLock { _ in (node.entry, node.attributes, node.writing, node.isUnlinked, node.changed, 1 + node.others.count) }
        let written = writing?.facts, kind: Facts.Kind = node.isFolder ? .folder : attributes.target != nil ? .link : .file
        // How many folders are in a folder nobody counts: 1 says so.
        return Facts(
            number: node.number, kind: kind, mode: kind == .link ? 0o777 : attributes.mode ?? (kind == .folder ? 0o755 : 0o644), links: isUnlinked ? 0 : node.isFolder ? 1 : links,
            owner: attributes.owner ?? getuid(), group: attributes.group ?? getgid(),
            size: kind == .folder ? 4096 : attributes.target.map { Int64($0.count) } ?? written?.size ?? entry?.size ?? 0,
            // A file that is being written has the time of its last write.
            modified: attributes.modified ?? (writing?.isDirty == true ? written?.modified : nil) ?? entry?.lastModified ?? changed)
    }

    /// Changes permissions, owner or time; publishes them with the entry.
    func change(_ node: Node, _ change: (inout Attributes) -> Void) throws {
        try requireWritable()
        if node.number != Self.root { try require("WriteObject", node.isFolder ? Paths.prefix(path(of: node)) : path(of: node)) }
        moving.readLock()
        defer { moving.unlock() }
        try node.publishing.withLock { _ in
            let (old, isPending, paths, entry, attributes) = state.withLock { state in
                let old = node.attributes, paths = node.paths.filter { state.numbers[$0] == node.number }
                change(&node.attributes)
                // Another door's file has its name now: it is one that only handles show.
                return (old, node.writing?.isDirty == true || node.isUnlinked || paths.isEmpty, paths, node.entry, node.attributes)
            }
            guard !isPending, node.number != Self.root else {
                // Published with the bytes, or nowhere.
                if let file = writing(of: node), !isUnlinked(node) { try file.note(purpose(node)) }
                return
            }
            do {
                if node.isFolder {
                    state.withLock { _ in node.hasBareMarker = false }
                    try stage([(Paths.prefix(paths[0]), marker(of: paths[0], attributes))], inside: false)
                } else if var entry {
                    attributes.write(into: &entry.metadata, isFolder: false)
                    try stage(paths.map { [entry] in ($0, entry) }, inside: false, expecting: paths.map { [entry] in ($0, entry.address) })
                    state.withLock { [entry] _ in node.entry = entry }
                }
            } catch {
                // What was refused must not look as if it had been done.
                state.withLock { _ in node.attributes = old }
                throw error
            }
        }
    }

    /// A folder's marker with these attributes: one that is there keeps its bytes, whoever stored them.
    func marker(of path: Key, _ attributes: Attributes) throws -> Entry {
        guard var entry = try catalog.find(Paths.prefix(path), at: resolve()) else { return marker(attributes) }
        attributes.write(into: &entry.metadata, isFolder: true)
        return entry
    }

    func marker(_ attributes: Attributes) -> Entry {
        var entry = Entry(address: "", lastModified: .now(), size: 0, eTag: "d41d8cd98f00b204e9800998ecf8427e", contentType: "application/x-directory")
        attributes.write(into: &entry.metadata, isFolder: true)
        return entry
    }

    /// Stages entries; those without bytes yet get an empty object of their own.
    /// - Parameters:
    ///   - inside: whether names come or go: their folders have changed then.
    ///   - expected: what the branch must still have, for what was read of it to be written again.
    /// - Returns: what was staged.
    /// - Throws: `ESTALE` if it has something else there now: another door was faster.
    @discardableResult
    func stage(_ changes: [(path: Key, entry: Entry?)], _ durability: Durability = .eventual, inside: Bool = true, expecting expected: [Catalog.Expected] = []) throws -> [(path: Key, entry: Entry?)] {
        guard !isGone.load(ordering: .acquiring) else { throw Errno(EIO) }
        var changes = changes
        for index in changes.indices where changes[index].entry?.address == "" {
            let upload = try catalog.upload(to: catalog.repository(repository))
            try upload.finish()
            changes[index].entry!.address = upload.address
        }
        do {
            try catalog.stage(changes, on: ref, in: repository, durability, origin: writer, expecting: expected)
        } catch let error as LakeError where error.code == .preconditionFailed {
            throw Errno(ESTALE)
        }
        self.changes.add(1, ordering: .sequentiallyConsistent)
        // A marker is the folder itself: what changes then is the one above.
        if inside { noteChange(in: Set(changes.map { Paths.split($0.path.bytes.last == Paths.slash ? Key($0.path.bytes.dropLast()) : $0.path).folder })) }
        return changes
    }

    /// Something came into or went from these folders.
    func noteChange(in folders: Set<Key>) {
        let now = Timestamp.now()
        state.withLock { state in
            for folder in folders {
                guard let number = state.numbers[folder], let node = state.nodes[number] else { continue }
                node.changed = now
                node.attributes.modified = nil  // A time that was set holds until something changes.
            }
        }
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

    func setUnpublished(_ path: Key, _ isUnpublished: Bool) {
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
}

/// pthread_rwlock(3): many readers or one writer, over calls that may block.
@safe final class MovingLock: @unchecked Sendable {
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
