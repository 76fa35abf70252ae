import CLinux
import CacheStore
import Foundations
import Glibc
import Synchronization
import Versioning

/// The working tree of a ref: inodes and their names, what they are on the branch, and what was changed of them and is
/// not on the branch yet. One for each ref that is mounted, shared by all its mounts; what the kernel asks is answered
/// from here.
///
/// Everything that was changed is in memory and, some milliseconds later, in the index (`WriteStaging`); everything
/// else is asked of the view when somebody looks for it. Publishing takes changes to the branch (`Tree+Publishing`).
/// Safe from any thread: the state's lock is held for memory work alone. Source: `mount.md` section 2.
final class Tree: Sendable {
    struct State {
        var nodes: [UInt64: Node] = [:]
        /// Paths of the branch that do not show by themselves.
        var hidden = Hidden()
        /// What the branch does not have yet.
        var dirty: [UInt64: Node] = [:]
        /// Folders that were renamed: what nobody changed of them lies elsewhere.
        var moved: [UInt64: Node] = [:]
        /// What the index does not have yet, and what it has of things that the branch has taken, but perhaps not to
        /// disk.
        var unwritten: [UInt64: Node] = [:]
        var settled: [UInt64: Node] = [:]
        /// Working files that nobody wants any more: they go when the index says so on disk. Those that the index still
        /// names, and those that it does not, though perhaps not on disk.
        var dropped: [WorkingFile] = [], unnamed: [WorkingFile] = []
        /// Counts publishes: what was read of the branch before one ended may show what was hidden until then.
        var publishes: UInt64 = 0
        /// When something was last done, in milliseconds, and how much has been.
        var active: Int64 = 0, actions: UInt64 = 0
    }

    static let root: UInt64 = 1
    let id: WriteStaging.TreeID
    let isReadOnly: Bool
    let view: any LakeView
    let staging: WriteStaging
    let state: Mutex<State>
    /// Read by all who look at the branch and change names, written while what lies in a renamed folder moves on the
    /// branch.
    let moving = MovingLock()
    /// One publish at a time; held over I/O, never by a request of the kernel.
    let publishing = Mutex<Void>(())
    /// One writer of the index at a time: rows go in the order in which things happened.
    let indexing = Mutex<Void>(())
    /// Rows or objects were written that are not durable yet.
    let hasUnsyncedRows = Atomic<Bool>(false), hasUnsyncedBytes = Atomic<Bool>(false),
        hasUnsyncedObjects = Atomic<Bool>(false)
    /// Held over the sync of the branch: who comes second waits for it.
    let syncing = Mutex<Void>(())
    /// The branch is gone. Another one may come by its name: what is written here is nothing of that one.
    let isGone = Atomic<Bool>(false)
    /// Counts changes by other doors: a reply that was made from what was read before one must not be cached for ever.
    let generation = Atomic<UInt64>(0)
    /// What folders show whose time nobody knows.
    let begun: Timestamp
    let keeper = Keeper()
    let feed = Feed()
    /// Those who are to hear what others change: the mounts.
    let listeners = Mutex<[Int: @Sendable (Notice) -> Void]>([:])
    /// What was changed here and elsewhere, and what became of it, in words.
    let conflicts = Mutex<[String]>([])
    /// Why publishing failed last, in words.
    let failure = Mutex<String?>(nil)
    let hold: Hold
    /// Whether what is quiet is published by itself.
    let publishesByItself: Bool

    /// - Parameter begun: what folders show whose time nobody knows.
    init(
        _ view: any LakeView, repository: RepositoryID, ref: String, isReadOnly: Bool, staging: WriteStaging,
        begun: Timestamp = .now(), publishesByItself: Bool = true
    ) {
        id = WriteStaging.TreeID(repository: repository, branch: BranchName(ref))
        self.view = view
        self.publishesByItself = publishesByItself
        self.isReadOnly = isReadOnly
        self.staging = staging
        self.begun = begun
        hold = Hold(view)
        let root = Node(number: Self.root, kind: .folder)
        root.lookups = 1
        root.base = .at(Key([]))
        var state = State()
        state.nodes[Self.root] = root
        self.state = Mutex(state)
    }

    // MARK: who may

    /// What the user of a mount may do: a tree shows names to who may list, and bytes to who may read them.
    struct Rights: Sendable {
        let user: String
        let allows: @Sendable (Permission) -> Bool
        /// Whether the user may do everything to all objects.
        let isFree: @Sendable () -> Bool
        static let all = Rights(user: "", allows: { _ in true }, isFree: { true })
    }

    /// Lets pass what the mount's user may do to a path, as every door asks it.
    /// - Throws: `EACCES`.
    func require(_ action: String, _ path: Key, _ rights: Rights) throws {
        guard rights.allows(.object(action, id.repository, path)) else { throw Errno(EACCES) }
    }

    func requireWritable() throws { if isReadOnly { throw Errno(EROFS) } }

    /// Before a file is opened for writing, or its facts are changed.
    func requireChangeable(_ node: Node, _ rights: Rights) throws {
        try requireWritable()
        let path = path(of: node)
        if node.number != Self.root { try require("WriteObject", node.isFolder ? Paths.prefix(path) : path, rights) }
    }

    /// Before a file's bytes are read.
    func requireReadable(_ node: Node, _ rights: Rights) throws {
        if !node.isFolder { try require("ReadObject", path(of: node), rights) }
    }

    // MARK: nodes and paths

    func node(_ number: UInt64) throws -> Node {
        guard let node = state.withLock({ $0.nodes[number] }) else { throw Errno(ESTALE) }
        return node
    }

    func path(of node: Node) -> Key { state.withLock { _ in Self.path(node) } }

    /// What a node is called, by the first of its names. Under the lock.
    static func path(_ node: Node) -> Key {
        guard let name = node.names.first else { return Key([]) }
        return path(name)
    }

    static func path(_ name: Node.Name) -> Key { Paths.join(path(name.folder), name.name.bytes) }

    /// Where the branch has what nobody changed of a folder; nil for nowhere. Under the lock.
    static func base(_ folder: Node) -> Key? {
        switch folder.base {
        case .none: return nil
        case .at(let path): return path
        case .natural:
            guard let name = folder.names.first else { return nil }
            return base(name.folder).map { Paths.join($0, name.name.bytes) }
        }
    }

    /// The paths that the branch has a node under; a folder's without a slash. Under the lock.
    static func published(_ node: Node) -> [Key] {
        if let published = node.published { return published }
        guard node.entry != nil, let name = node.names.first, let base = base(name.folder) else { return [] }
        return [Paths.join(base, name.name.bytes)]
    }

    /// From now on the names that the branch has a node under are its own to say: what shows here is not what is there.
    static func materialize(_ node: Node, _ state: inout State) {
        guard node.published == nil else { return }
        node.published = published(node)
        for path in node.published! { state.hidden.insert(path, node) }
    }

    /// The number that a path is known by: the same each time (FNV-1a), or the next that no other node has. Numbers
    /// have 56 bits: above them mounts say which of their trees they mean.
    static func freeNumber(for path: Key, in state: State) -> UInt64 {
        var number = number(for: path)
        while state.nodes[number] != nil { number = max((number + 1) & (.max >> 8), 2) }
        return number
    }

    static func number(for path: Key) -> UInt64 {
        var hash: UInt64 = 14_695_981_039_346_656_037
        for byte in path.bytes { hash = (hash ^ UInt64(byte)) &* 1_099_511_628_211 }
        return max(hash >> 8, 2)
    }

    // MARK: looking up

    /// The node of a name in a folder; one more look-up of the kernel's if `counts`.
    /// - Throws: `ENOENT`.
    func lookup(_ parent: UInt64, _ name: [UInt8], counts: Bool = true) throws -> Node {
        guard let found = try find(parent, name, counts: counts) else { throw Errno(ENOENT) }
        return found
    }

    /// What is known of a name without asking the branch.
    private enum Known {
        case node(Node)
        case absent
        case atBranch(path: Key, version: UInt64)
    }

    private func known(_ parent: UInt64, _ key: Key, counts: Bool) throws -> (folder: Node, Known) {
        try state.withLock { state in
            guard let folder = state.nodes[parent] else { throw Errno(ESTALE) }
            guard folder.isFolder else { throw Errno(ENOTDIR) }
            if let child = folder.children[key] {
                if counts { child.lookups += 1 }
                return (folder, .node(child))
            }
            if let absent = folder.absent, absent.version == folder.version, absent.name == key {
                return (folder, .absent)
            }
            guard let base = Self.base(folder) else { return (folder, .absent) }
            let path = Paths.join(base, key.bytes)
            return (folder, state.hidden.contains(path) ? .absent : .atBranch(path: path, version: folder.version))
        }
    }

    /// How often a look-up begins anew when the folder changes under it, before what was read last is believed.
    private static let mostTries = 100

    /// As `lookup`; nil if the name is not there.
    func find(_ parent: UInt64, _ name: [UInt8], counts: Bool = false) throws -> Node? {
        guard name.count <= 255 else { throw Errno(ENAMETOOLONG) }
        let key = Key(name)
        moving.readLock()
        defer { moving.unlock() }
        for _ in 0..<Self.mostTries {
            let (folder, found) = try known(parent, key, counts: counts)
            guard case .atBranch(let path, let version) = found else {
                if case .node(let node) = found { return node }
                return nil
            }
            // With both `a` and `a/b` the folder wins (mount.md section 1).
            let isFolder = try path.count < 1024 && view.hasObjects(under: Paths.prefix(path), near: nil)
            let entry = try view.find(isFolder ? Paths.prefix(path) : path)
            let result = state.withLock { state -> Node?? in
                guard folder.version == version else { return .none }
                guard isFolder || entry != nil else {
                    folder.absent = (key, version)
                    return .some(nil)
                }
                return .some(Self.adopt(key, in: folder, isFolder: isFolder, entry, counts: counts, &state))
            }
            if let result { return result }
        }
        throw Errno(EAGAIN)
    }

    /// A natural node, made if there is none. Under the lock.
    static func adopt(_ name: Key, in folder: Node, isFolder: Bool, _ entry: Entry?, counts: Bool, _ state: inout State)
        -> Node
    {
        if let child = folder.children[name] {
            if counts { child.lookups += 1 }
            return child
        }
        let attributes = entry.map { Attributes($0.metadata) } ?? Attributes()
        let kind: Node.Kind = isFolder ? .folder : attributes.target != nil ? .link : .file
        let path = Paths.join(path(folder), name.bytes)
        let node = Node(number: freeNumber(for: path, in: state), kind: kind, entry: entry, attributes: attributes)
        node.names = [Node.Name(folder: folder, name: name)]
        if counts { node.lookups = 1 }
        state.nodes[node.number] = node
        folder.children[name] = node
        return node
    }

    /// A page of a listing was handed out with a file's facts.
    /// - Parameter version: of the folder when the page was read.
    /// - Returns: nil if the folder has changed since.
    func adopt(_ name: Key, in folder: Node, _ entry: Entry, ifVersion version: UInt64) -> Node? {
        state.withLock { state in
            guard folder.version == version else { return nil }
            return Self.adopt(name, in: folder, isFolder: false, entry, counts: true, &state)
        }
    }

    /// The kernel forgot a node as often as it was told of it. Returns which, if it knows nothing of it any more.
    @discardableResult
    func forget(_ number: UInt64, _ count: UInt64) -> ObjectIdentifier? {
        state.withLock { state in
            guard let node = state.nodes[number] else { return nil }
            guard number != Self.root else {
                node.lookups = max(1, node.lookups - min(count, node.lookups))
                return nil
            }
            node.lookups -= min(count, node.lookups)
            defer { Self.release(node, &state) }
            return node.lookups == 0 ? ObjectIdentifier(node) : nil
        }
    }

    /// Whether the kernel knows nothing of it, and nothing is open.
    var isForgotten: Bool {
        state.withLock { state in
            !state.nodes.values.contains { $0.lookups > ($0.number == Self.root ? 1 : 0) || $0.handles > 0 }
        }
    }

    /// The kernel is told of the root under a name, once more.
    func noteRootLookup() { state.withLock { $0.nodes[Self.root]!.lookups += 1 } }

    /// Removes what is not wanted at once, whatever the index says: there is no room to write it.
    func removeDropped() {
        for file in state.withLock({ state in
            defer { (state.dropped, state.unnamed) = ([], []) }
            return state.dropped + state.unnamed
        }) { file.drop() }
    }

    func isNamed(_ node: Node) -> Bool { state.withLock { _ in !node.names.isEmpty } }

    /// The names in a folder that are known.
    func childNames(of number: UInt64) -> [Key] {
        state.withLock { $0.nodes[number].map { Array($0.children.keys) } ?? [] }
    }

    /// Lets go of a node of which nothing is to be kept, and of the folders above it. Under the lock.
    static func release(_ node: Node, _ state: inout State) {
        guard node.number != root, node.lookups == 0, node.handles == 0, !node.isChosen, node.children.isEmpty,
            state.dirty[node.number] == nil, state.unwritten[node.number] == nil,
            state.settled[node.number] == nil, state.nodes[node.number] === node
        else { return }
        // What the branch cannot say by itself stays while it has a name.
        guard
            node.names.isEmpty || (!node.isPinned && node.published == nil && node.base == .natural && node.file == nil)
        else { return }
        state.nodes[node.number] = nil
        for name in node.names {
            if name.folder.children[name.name] === node { name.folder.children[name.name] = nil }
            release(name.folder, &state)
        }
    }

    /// Begins to follow the branch, and to keep what is written.
    func start() {
        feed.start(self)
        if !isReadOnly { keeper.start(self) }
    }

    /// Whether the branch has all of it.
    var isEmpty: Bool {
        state.withLock { state in
            state.dirty.isEmpty && state.unwritten.isEmpty && !state.nodes.values.contains { $0.isStored }
        }
    }

    /// Ends what `start` began: the tree is used no more. What the branch does not have stays in the index.
    func stop() {
        keeper.stop()
        feed.stop(self)
        if !isGone.load(ordering: .acquiring), !isReadOnly {
            do {
                try writeRows()
                try staging.synchronize()
            } catch {
                Log.error(
                    "the index of a mounted branch could not be written",
                    ["branch": id.branch.text, "reason": LakeError(error).message])
            }
        }
        state.withLock { state in
            // What nodes hold of each other.
            for node in state.nodes.values {
                node.children = [:]
                node.names = []
                node.storedNames = []
            }
            state = State()
        }
    }

    // MARK: facts

    /// What stat(2) tells of a node.
    struct Facts {
        /// Whether it says itself whose it is, and who may do what; else these are the defaults.
        var hasOwner: Bool, hasMode: Bool
        var number: UInt64
        var kind: Node.Kind
        /// Permission bits.
        var mode: UInt32
        var links: Int
        var owner: UInt32, group: UInt32
        var size: Int64
        /// In units of 512 bytes.
        var blocks: Int64
        var device: UInt64
        var accessed: Timestamp, modified: Timestamp, changed: Timestamp
    }

    func facts(_ node: Node) -> Facts {
        var attempt = 0
        while true {
            attempt += 1
            let (file, closed) = state.withLock { _ in (node.file, node.writers == 0 ? node.closed : nil) }
            // What nobody writes is as it was closed.
            let status = closed ?? file?.status
            let blocks = file != nil && (closed == nil || closed!.size > 1 << 20) ? file?.blocks : nil
            if let found = facts(node, ifFile: file, status, blocks), file == nil || status != nil || attempt > 100 {
                return found
            }
            node.io.withLock { _ in }  // It is becoming an object.
        }
    }

    /// Nil if its bytes are in another file by now.
    private func facts(_ node: Node, ifFile file: WorkingFile?, _ status: Node.Closed?, _ blocks: Int64?) -> Facts? {
        state.withLock { _ -> Facts? in
            guard node.file === file else { return nil }
            let kind = node.kind
            let attributes = node.attributes
            var mode = kind == .link ? 0o777 : attributes.mode ?? (kind == .folder ? 0o755 : 0o644)
            // The kernel may have written by itself.
            if let unless = node.strippedUnless, unless != status { mode = Self.stripped(mode) }
            let size =
                kind == .folder
                ? 4096 : attributes.target.map { Int64($0.count) } ?? status?.size ?? node.entry?.size ?? 0
            let modified =
                status?.modified ?? attributes.modified ?? (kind == .folder ? node.filled : nil) ?? node.entry?
                .lastModified ?? node.changed ?? begun
            // The last write, if nobody set the time after it, is a change too.
            let written = status.map(\.modified).flatMap { $0 == attributes.modified ? nil : $0 }
            let changed = max(node.changed ?? written ?? modified, written ?? node.changed ?? modified)
            return Facts(
                hasOwner: attributes.owner != nil, hasMode: attributes.mode != nil || kind == .link,
                // How many folders are in a folder nobody counts: 1 says so.
                number: node.number, kind: kind, mode: mode,
                links: node.isFolder ? (node.names.isEmpty && node.number != Self.root ? 0 : 1) : node.names.count,
                owner: attributes.owner ?? getuid(), group: attributes.group ?? getgid(), size: size,
                blocks: blocks ?? (size + 511) / 512, device: node.device,
                accessed: node.accessed ?? modified, modified: modified, changed: changed)
        }
    }

    /// A file that somebody wrote to runs as its owner no more, nor as its group if that may run it (chmod(2)).
    static func stripped(_ mode: UInt32) -> UInt32 { mode & (mode & 0o010 != 0 ? ~0o6000 : ~0o4000) }

    func target(of node: Node) -> [UInt8]? { state.withLock { _ in node.attributes.target } }
    func entry(of node: Node) -> Entry? { state.withLock { _ in node.entry } }
    func file(of node: Node) -> WorkingFile? { state.withLock { _ in node.file } }

    /// What of a node is to be changed; nil leaves it.
    struct NewFacts {
        var mode: UInt32?, owner: UInt32?, group: UInt32?
        var accessed: Timestamp?, modified: Timestamp?
    }

    /// Changes permissions, owner or times.
    func change(_ node: Node, _ new: NewFacts, _ rights: Rights = .all) throws {
        try requireChangeable(node, rights)
        try view.checkWritable()
        try node.io.withLock { _ in
            // The working file has the time itself: who writes next moves it on.
            if new.modified != nil || new.accessed != nil, let file = file(of: node) {
                try file.using { try WorkingFile.setTimes($0, accessed: new.accessed, modified: new.modified) }
            }
            let status = file(of: node)?.status
            state.withLock { state in
                if let mode = new.mode { node.attributes.mode = mode }
                if let owner = new.owner { node.attributes.owner = owner }
                if let group = new.group { node.attributes.group = group }
                // A file that was given away runs as nobody (chown(2)).
                if new.owner != nil || new.group != nil, new.mode == nil, !node.isFolder,
                    let mode = node.attributes.mode
                {
                    node.attributes.mode = Self.stripped(mode)
                }
                if let modified = new.modified { node.attributes.modified = modified }
                if let accessed = new.accessed { node.accessed = accessed }
                node.changed = .now()
                // Who sets a time has not written: what was closed is still closed.
                if new.modified != nil, let status, let closed = node.closed,
                    node.writers == 0 || status.size == closed.size
                {
                    let wasPublished = closed == node.publishedClose
                    node.closed = Node.Closed(size: status.size, modified: status.modified)
                    if wasPublished { node.publishedClose = node.closed }
                }
                note(node, &state)
            }
        }
        wake()
    }

    /// A node was changed: the index is to have it, and the branch. Under the lock.
    func note(_ node: Node, _ state: inout State) {
        node.edits += 1
        node.refusal = nil
        state.unwritten[node.number] = node
        state.active = Timestamp.monotonicMilliseconds()
        state.actions += 1
        guard node.number != Self.root, node.kind.isCommittable else { return }
        if state.dirty.updateValue(node, forKey: node.number) == nil { hold.add(1) }
    }

    /// Something came into or went from a folder. Under the lock.
    static func noteChange(in folder: Node) {
        folder.version += 1
        folder.filled = .now()
        folder.changed = folder.filled
        folder.attributes.modified = nil  // A time that was set holds until something changes.
    }

    func wake() { keeper.wake() }
}

/// pthread_rwlock(3): many readers or one writer, over calls that may block.
@safe final class MovingLock: @unchecked Sendable {
    // May be used from any thread by its contract; the pointer never changes.
    private let handle: UnsafeMutablePointer<pthread_rwlock_t>

    init() {
        unsafe handle = .allocate(capacity: 1)
        // Who moves a folder must not wait for ever behind those who look.
        unsafe lake_rwlock_init(handle)
    }

    deinit {
        unsafe pthread_rwlock_destroy(handle)
        unsafe handle.deallocate()
    }

    func readLock() { unsafe pthread_rwlock_rdlock(handle) }
    func writeLock() { unsafe pthread_rwlock_wrlock(handle) }
    func unlock() { unsafe pthread_rwlock_unlock(handle) }
}

/// How much a tree holds back, as the lake counts it: taken back when the tree ends.
final class Hold: Sendable {
    private let view: any LakeView
    private let count = Atomic<Int>(0)

    init(_ view: any LakeView) { self.view = view }

    deinit { view.hold(-count.load(ordering: .relaxed)) }

    /// How much that is.
    var held: Int { count.load(ordering: .relaxed) }

    func add(_ number: Int) {
        count.add(number, ordering: .relaxed)
        view.hold(number)
    }
}
