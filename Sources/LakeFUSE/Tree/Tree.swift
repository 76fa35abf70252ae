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
    private let allows: @Sendable (Permission) -> Bool
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
    /// Those that were closed, and whose publishing waits.
    private let held = Mutex<[UInt64: Node]>([:])
    /// Counts changes, by this mount and by others: what was read before one may be wrong after it.
    let changes = Atomic<UInt64>(0)
    /// The branch is gone. Another one may come by its name: what is written here is nothing of that one.
    private let isGone = Atomic<Bool>(false)

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
            state.withLock { _ in
                node.writing = file
                node.isRecovered = true
            }
            setUnpublished(record.path, true)
            dirty.withLock { $0[node.number] = node }
        } catch {
            Log.error("a file that was being written when the server died cannot be shown", ["path": record.path.description, "reason": "\(error)"])
        }
    }

    /// The branch was deleted: nothing that is open here is written to another of its name.
    func noteGone() { isGone.store(true, ordering: .releasing) }

    private var objects: any ObjectStore { catalog.objects }
    private var writer: Int { origin.load(ordering: .relaxed) }

    /// What a staged file of `node` is to become.
    func purpose(_ node: Node) -> StagedFile.Purpose {
        let (path, entry, attributes) = state.withLock { _ in (node.path, node.entry, node.attributes) }
        return purpose(path, entry, attributes)
    }

    private func purpose(_ path: Key, _ entry: Entry?, _ attributes: Attributes) -> StagedFile.Purpose {
        var metadata = entry?.metadata ?? [:]
        attributes.write(into: &metadata, isFolder: false)
        return StagedFile.Purpose(repository: repository, branch: ref, path: path, metadata: metadata, newAddress: { [catalog] in catalog.newAddress() })
    }

    func path(of node: Node) -> Key { state.withLock { _ in node.path } }
    func entry(of node: Node) -> Entry? { state.withLock { _ in node.entry } }
    func writing(of node: Node) -> StagedFile? { state.withLock { _ in node.writing } }
    func target(of node: Node) -> [UInt8]? { state.withLock { _ in node.attributes.target } }
    private func isUnlinked(_ node: Node) -> Bool { state.withLock { _ in node.isUnlinked } }

    func node(_ number: UInt64) throws -> Node {
        guard let node = state.withLock({ $0.nodes[number] }) else { throw Errno(ESTALE) }
        return node
    }

    private func requireWritable() throws { if isReadOnly { throw Errno(EROFS) } }

    /// Lets pass what the mount's user may do to a path, as every door asks it.
    /// - Throws: `EACCES`.
    private func require(_ action: String, _ path: Key) throws { guard allows(.object(action, repository, path)) else { throw Errno(EACCES) } }

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
        try node.publishing.withLock { _ in
            let (old, isPending, paths, entry, attributes) = state.withLock { _ in
                let old = node.attributes
                change(&node.attributes)
                return (old, node.writing?.isDirty == true || node.isUnlinked, node.paths, node.entry, node.attributes)
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
                    try stage(paths.map { [entry] in ($0, entry) }, inside: false)
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
    private func marker(of path: Key, _ attributes: Attributes) throws -> Entry {
        guard var entry = try catalog.find(Paths.prefix(path), at: resolve()) else { return marker(attributes) }
        attributes.write(into: &entry.metadata, isFolder: true)
        return entry
    }

    private func marker(_ attributes: Attributes) -> Entry {
        var entry = Entry(address: "", lastModified: .now(), size: 0, eTag: "d41d8cd98f00b204e9800998ecf8427e", contentType: "application/x-directory")
        attributes.write(into: &entry.metadata, isFolder: true)
        return entry
    }

    /// Stages entries; those without bytes yet get an empty object of their own.
    /// - Parameter inside: whether names come or go: their folders have changed then.
    private func stage(_ changes: [(path: Key, entry: Entry?)], _ durability: Durability = .eventual, inside: Bool = true) throws {
        guard !isGone.load(ordering: .acquiring) else { throw Errno(EIO) }
        var changes = changes
        for index in changes.indices where changes[index].entry?.address == "" {
            let upload = try catalog.upload(to: catalog.repository(repository))
            try upload.finish()
            changes[index].entry!.address = upload.address
        }
        try catalog.stage(changes, on: ref, in: repository, durability, origin: writer)
        self.changes.add(1, ordering: .sequentiallyConsistent)
        // A marker is the folder itself: what changes then is the one above.
        if inside { noteChange(in: Set(changes.map { Paths.split($0.path.bytes.last == Paths.slash ? Key($0.path.bytes.dropLast()) : $0.path).folder })) }
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

    /// Who makes something: it is theirs, and their group's; in a folder with the set-group-id bit the folder's group's (mkdir(2)).
    struct Owner {
        let user: UInt32, group: UInt32
        static var server: Owner { Owner(user: getuid(), group: getgid()) }
    }

    private func attributes(_ owner: Owner, in folder: Node, mode: UInt32, isFolder: Bool) -> Attributes {
        let above = state.withLock { _ in folder.attributes }, inherits = (above.mode ?? 0) & UInt32(S_ISGID) != 0
        var attributes = Attributes()
        attributes.mode = (mode & 0o7777) | (inherits && isFolder ? UInt32(S_ISGID) : 0)
        attributes.owner = owner.user
        attributes.group = inherits ? above.group ?? getgid() : owner.group
        return attributes
    }

    func makeFile(_ parent: UInt64, _ name: [UInt8], mode: UInt32, owner: Owner = .server) throws -> Node {
        try requireWritable()
        let folder = try node(parent), path = Paths.join(path(of: folder), name)
        try requireAbsent(parent, name)
        try Self.check(path)
        try require("WriteObject", path)
        _ = try catalog.checkWritable(ref, in: repository)
        let attributes = attributes(owner, in: folder, mode: mode, isFolder: false), file = try StagedFile(staging, purpose(path, nil, attributes))
        let node = adopt(path, entry: nil, isFolder: false, attributes, counts: true)
        state.withLock { _ in node.writing = file }
        setUnpublished(path, true)
        changes.add(1, ordering: .sequentiallyConsistent)
        noteChange(in: [Paths.split(path).folder])
        dirty.withLock { $0[node.number] = node }
        return node
    }

    private static func check(_ path: Key) throws { if path.count > 1023 || Paths.split(path).name.count > 255 { throw Errno(ENAMETOOLONG) } }

    func makeFolder(_ parent: UInt64, _ name: [UInt8], mode: UInt32, owner: Owner = .server) throws -> Node {
        try requireWritable()
        let folder = try node(parent), path = Paths.join(path(of: folder), name)
        try requireAbsent(parent, name)
        try Self.check(path)
        try require("WriteObject", Paths.prefix(path))
        let attributes = attributes(owner, in: folder, mode: mode, isFolder: true)
        try stage([(Paths.prefix(path), marker(attributes))] + fill(folder))
        let node = adopt(path, entry: nil, isFolder: true, attributes, counts: true)
        var plain = Metadata()
        attributes.write(into: &plain, isFolder: true)
        state.withLock { _ in node.hasBareMarker = plain.isEmpty }
        return node
    }

    func makeLink(_ parent: UInt64, _ name: [UInt8], target: [UInt8], owner: Owner = .server) throws -> Node {
        try requireWritable()
        let folder = try node(parent), path = Paths.join(path(of: folder), name)
        try requireAbsent(parent, name)
        try Self.check(path)
        try require("WriteObject", path)
        var attributes = attributes(owner, in: folder, mode: 0o777, isFolder: false), entry = Entry(address: "", lastModified: .now(), size: 0, eTag: "d41d8cd98f00b204e9800998ecf8427e", contentType: "application/octet-stream")
        attributes.target = target
        attributes.write(into: &entry.metadata, isFolder: false)
        try stage([(path, entry)] + fill(folder))
        return adopt(path, entry: entry, isFolder: false, attributes, counts: true)
    }

    /// A second name for a file. On the branch it is another entry of the same object (`mount.md` section 1); here it is the same
    /// file for as long as the mount lives.
    func makeHardLink(_ number: UInt64, _ parent: UInt64, _ name: [UInt8]) throws -> Node {
        try requireWritable()
        let source = try node(number), folder = try node(parent), path = Paths.join(path(of: folder), name)
        guard !source.isFolder else { throw Errno(EPERM) }
        try requireAbsent(parent, name)
        try Self.check(path)
        try requireReadable(source)
        try require("WriteObject", path)
        return try source.publishing.withLock { _ in
            let (entry, isUnlinked) = state.withLock { _ in (source.entry, source.isUnlinked) }
            guard !isUnlinked else { throw Errno(ENOENT) }
            if let entry {
                catalog.share(entry)
                try stage([(path, entry)] + fill(folder))
            } else {
                // Nobody closed it yet: it is published under both names.
                setUnpublished(path, true)
                changes.add(1, ordering: .sequentiallyConsistent)
                noteChange(in: [Paths.split(path).folder])
            }
            state.withLock { state in
                source.others.insert(path)
                source.lookups += 1
                state.numbers[path] = source.number
            }
            return source
        }
    }

    /// Nothing is known by this node's names any more.
    func loseNames(of node: Node) { for path in state.withLock({ _ in node.paths }) { loseName(path, of: node) } }

    /// Another door wrote a path: the node that was known by it is that file no more.
    func loseName(_ path: Key, of node: Node) {
        if takeName(path, from: node) { return }
        state.withLock { state in if state.numbers[path] == node.number { state.numbers[path] = nil } }
    }

    /// Takes one of several names away from a file; false if it is its only one.
    private func takeName(_ path: Key, from node: Node) -> Bool {
        let isTaken = state.withLock { state in
            guard !node.others.isEmpty else { return false }
            if node.others.remove(path) == nil, node.path == path { node.path = node.others.removeFirst() }
            if state.numbers[path] == node.number { state.numbers[path] = nil }
            return true
        }
        if isTaken { setUnpublished(path, false) }
        return isTaken
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
        changes.add(1, ordering: .sequentiallyConsistent)
        setUnpublished(path(of: node), false)
        noteChange(in: [Paths.split(path(of: node)).folder])
        release(node)
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
        let path = Paths.join(path(of: try self.node(parent)), name)
        try require("DeleteObject", path)
        try node.publishing.withLock { _ in
            if state.withLock({ _ in node.entry != nil }) { try stage([(path, nil)]) }
            if !takeName(path, from: node) { detach(node) }
        }
        try keep(Paths.split(path).folder, without: path)
    }

    func removeFolder(_ parent: UInt64, _ name: [UInt8]) throws {
        try requireWritable()
        let node = try lookup(parent, name, counts: false)
        guard node.isFolder else { throw Errno(ENOTDIR) }
        guard try isEmpty(node) else { throw Errno(ENOTEMPTY) }
        let path = path(of: node)
        try require("DeleteObject", Paths.prefix(path))
        try stage([(Paths.prefix(path), nil)])
        detach(node)
        try keep(Paths.split(path).folder, without: path)
    }

    /// Nothing but its marker is in it, and that holds no bytes. Keys that cannot be files count: they are somebody's.
    private func isEmpty(_ folder: Node) throws -> Bool {
        if !unpublished(in: folder).isEmpty { return false }
        var query = Catalog.ListQuery()
        query.prefix = Paths.prefix(path(of: folder))
        query.limit = 2
        return try catalog.list(resolve(), query).items.allSatisfy { item in
            guard case .object(let path, let entry) = item else { return false }
            return path == query.prefix && entry.size == 0
        }
    }

    /// Files that one rename of a folder may take along: they are staged in one transaction.
    private static let mostRenamed = 1_000_000

    func rename(_ parent: UInt64, _ name: [UInt8], to newParent: UInt64, _ newName: [UInt8], replaces: Bool) throws {
        try requireWritable()
        let node = try lookup(parent, name, counts: false), target = try self.node(newParent)
        let path = Paths.join(self.path(of: try self.node(parent)), name), newPath = Paths.join(self.path(of: target), newName)
        try Self.check(newPath)
        guard path != newPath else { return }
        if node.isFolder, newPath.hasPrefix(Paths.prefix(path)) { throw Errno(EINVAL) }
        var replaced: Node?
        do { replaced = try lookup(newParent, newName, counts: false) } catch let error as Errno where error.number == ENOENT {}
        if let replaced {
            guard replaces else { throw Errno(EEXIST) }
            if replaced === node { return }  // Two names of one file: nothing is to be done (rename(2)).
            if replaced.isFolder && !node.isFolder { throw Errno(EISDIR) }
            if !replaced.isFolder && node.isFolder { throw Errno(ENOTDIR) }
            if replaced.isFolder, try !isEmpty(replaced) { throw Errno(ENOTEMPTY) }
        }
        // What is under a folder is asked for key by key, when they are known.
        if !node.isFolder {
            try require("DeleteObject", path)
            try require("WriteObject", newPath)
        }
        if node.isFolder { try renameFolder(node, to: newPath, replaced, into: target) } else { try renameFile(node, from: path, to: newPath, replaced, into: target) }
        try keep(Paths.split(path).folder, without: path)
    }

    private func renameFile(_ node: Node, from path: Key, to newPath: Key, _ replaced: Node?, into target: Node) throws {
        try node.publishing.withLock { _ in
            // What is being written stays what it is: nobody has closed it, and it is published under its new name then.
            let entry = state.withLock { _ in node.entry }
            if let entry {
                try stage([(path, nil), (newPath, entry)] + fill(target))
            } else {
                if let replaced, state.withLock({ _ in replaced.entry != nil }) { try stage([(newPath, nil)]) }
                changes.add(1, ordering: .sequentiallyConsistent)
                noteChange(in: [Paths.split(path).folder, Paths.split(newPath).folder])
            }
            if let replaced, !takeName(newPath, from: replaced) { detach(replaced) }
            let wasUnpublished = isUnpublished(path)
            if wasUnpublished { setUnpublished(path, false) }
            state.withLock { state in
                if state.numbers[path] == node.number { state.numbers[path] = nil }
                if node.path == path { node.path = newPath } else {
                    node.others.remove(path)
                    node.others.insert(newPath)
                }
                state.numbers[newPath] = node.number
            }
            if wasUnpublished { setUnpublished(newPath, true) }
            if let file = writing(of: node) { try file.note(purpose(node)) }
        }
    }

    private func isUnpublished(_ path: Key) -> Bool { state.withLock { $0.unpublished[Paths.split(path).folder]?.contains(path) == true } }

    private func renameFolder(_ node: Node, to newPath: Key, _ replaced: Node?, into target: Node) throws {
        let old = Paths.prefix(path(of: node)), new = Paths.prefix(newPath)
        moving.writeLock()
        defer { moving.unlock() }
        var changes: [(path: Key, entry: Entry?)] = replaced == nil ? [] : [(new, nil)]
        var query = Catalog.ListQuery()
        query.prefix = old
        query.limit = 1000
        let resolved = try resolve()
        while true {
            let page = try catalog.list(resolved, query)
            for case .object(let path, let entry) in page.items {
                let moved = Key(new.bytes + path.bytes.dropFirst(old.count))
                guard moved.count <= 1024 else { throw Errno(ENAMETOOLONG) }
                try require("DeleteObject", path)
                try require("WriteObject", moved)
                changes.append((path, nil))
                changes.append((moved, entry))
            }
            guard page.hasMore, let last = page.items.last else { break }
            guard changes.count < 2 * Self.mostRenamed else { throw Errno(EXDEV) }
            query.after = last.path
        }
        try stage(changes + fill(target))
        if let replaced { detach(replaced) }
        let renamed = state.withLock { state -> [Node] in
            func moved(_ path: Key, _ inner: Node) -> Key {
                guard inner === node || path.hasPrefix(old) else { return path }
                if state.numbers[path] == inner.number { state.numbers[path] = nil }
                let new = inner === node ? newPath : Key(new.bytes + path.bytes.dropFirst(old.count))
                state.numbers[new] = inner.number
                return new
            }
            var renamed: [Node] = []
            for inner in Array(state.nodes.values) where !inner.isUnlinked && (inner === node || inner.path.hasPrefix(old) || inner.others.contains { $0.hasPrefix(old) }) {
                inner.path = moved(inner.path, inner)
                inner.others = Set(inner.others.map { moved($0, inner) })
                renamed.append(inner)
            }
            for (folder, paths) in state.unpublished where folder == Key(old.bytes.dropLast()) || folder.hasPrefix(old) {
                state.unpublished[folder] = nil
                let place = folder.hasPrefix(old) ? Key(new.bytes + folder.bytes.dropFirst(old.count)) : newPath
                state.unpublished[place] = Set(paths.map { Key(new.bytes + $0.bytes.dropFirst(old.count)) })
            }
            return renamed
        }
        for inner in renamed { if let file = writing(of: inner) { try file.note(purpose(inner)) } }
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
    /// - Parameter opened: a descriptor of the object, for when that has gone since: with its name, or for a newer one's sake.
    func writable(_ node: Node, truncates: Bool = false, opened: Int32 = -1) throws -> StagedFile {
        try requireWritable()
        if let writing = state.withLock({ _ in node.writing }) {
            if truncates { try writing.truncate(0, purpose(node)) }
            return writing
        }
        try require("WriteObject", path(of: node))
        _ = try catalog.checkWritable(ref, in: repository)
        let entry = entry(of: node), source = truncates || entry == nil ? nil : (objects, try entry!.location(in: catalog.repository(repository).namespace), entry!.size)
        let file = try StagedFile(staging, purpose(node), copying: source, opened: opened)
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

    /// Bytes of a file that is published at every close without counting how often.
    private static let smallBytes: Int64 = 8 << 20

    /// One of the descriptors of a file that writes was closed; there may be others, in children say (close(2), fuse_lowlevel.h,
    /// flush). A large file is not published again and again by that: less than twice the time since it was last as that took, or
    /// a second, it waits for the last of them.
    func flush(_ node: Node) throws {
        let (last, file) = state.withLock { _ in (node.published, node.writing) }
        if let file, file.isDirty, let last, file.facts.size > Self.smallBytes, Timestamp.monotonicMilliseconds() - last.at < max(1000, 2 * last.took) {
            let isFirst = held.withLock { $0.updateValue(node, forKey: node.number) == nil }
            if isFirst { catalog.unsettled.hold() }
            return
        }
        let begun = Timestamp.monotonicMilliseconds()
        try publish(node, .eventual)
        let ended = Timestamp.monotonicMilliseconds()
        state.withLock { _ in node.published = (ended, ended - begun) }
    }

    /// Publishes what was closed and held back: somebody looks.
    func settle() {
        for node in held.withLock({ Array($0.values) }) {
            do { try publish(node, .eventual) } catch { Log.error("a file that was closed in a mount could not be published", ["path": path(of: node).description, "reason": LakeError(error).message]) }
        }
    }

    /// Nothing of a file is held back any more: it was published, or has no name.
    private func release(_ node: Node) { if held.withLock({ $0.removeValue(forKey: node.number) != nil }) { catalog.unsettled.release() } }

    /// Publishes while the caller sees to it that nobody else publishes, renames or unlinks the node.
    private func publishAlone(_ node: Node, _ durability: Durability, onlyUnopened: Bool) throws {
        guard let file = writing(of: node), !isUnlinked(node) else { return }
        let namespace = try catalog.repository(repository).namespace
        if file.isDirty, !onlyUnopened || node.writers.load(ordering: .acquiring) == 0 { try file.note(purpose(node), isClosed: true) }
        guard let written = try file.freeze(objects, in: namespace, durability, if: { !onlyUnopened || node.writers.load(ordering: .acquiring) == 0 }) else {
            if durability == .durable { try synchronize() }
            return
        }
        let (path, paths, old, attributes, folders) = state.withLock { state in
            (node.path, node.paths, node.entry, node.attributes, node.paths.compactMap { state.numbers[Paths.split($0).folder].flatMap { state.nodes[$0] } })
        }
        // The time of the last write, not of the publish: a file must not look newer for having been closed.
        var entry = Entry(address: written.address, lastModified: written.modified, size: written.size, eTag: written.eTag, metadata: old?.metadata ?? [:], contentType: old?.contentType ?? "application/octet-stream")
        attributes.write(into: &entry.metadata, isFolder: false)
        if paths.count > 1 { catalog.share(entry) }
        try stage(paths.map { [entry] in ($0, entry) } + folders.flatMap { fill($0) }, durability, inside: false)
        let isShadowed = state.withLock { [entry] state in
            node.entry = entry
            return state.numbers[path] != node.number
        }
        // Another door wrote the path meanwhile and it got another node: that one shows what is no more.
        if isShadowed { shadowed.withLock { $0 }?(path) }
        file.noteStaged(written)
        if !file.isDirty { _ = dirty.withLock { $0.removeValue(forKey: node.number) } }
        release(node)
        for path in paths { setUnpublished(path, false) }
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
    func beginWriting(_ node: Node) {
        node.writers.add(1, ordering: .acquiringAndReleasing)
        let recovered = state.withLock { _ -> StagedFile? in
            defer { node.isRecovered = false }
            return node.isRecovered ? node.writing : nil
        }
        recovered?.takeUp()
    }

    /// Makes a file's bytes and all that was done before durable (fsync(2)). It does not publish: who is still writing has not said
    /// that the file is whole.
    func synchronize(_ node: Node) throws {
        if let file = writing(of: node), file.isDirty, try file.synchronize() { return try synchronizeStore() }
        try synchronize()
    }

    private func synchronizeStore() throws { try catalog.store.write([], .durable) }

    /// It was closed.
    func endWriting(_ node: Node) throws {
        node.writers.subtract(1, ordering: .acquiringAndReleasing)
        try close(node)
    }

    /// Publishes all that was written. Returns the first error.
    func publishAll(_ durability: Durability) -> (any Error)? {
        if isGone.load(ordering: .acquiring) {
            // Its branch was deleted, and with it all that was not committed.
            for node in dirty.withLock({ Array($0.values) }) {
                Log.warning("a file that was written in a mount goes with its deleted branch", ["path": path(of: node).description])
                writing(of: node)?.unregister()
                release(node)
            }
            dirty.withLock { $0 = [:] }
            return nil
        }
        var failure: (any Error)?
        for node in dirty.withLock({ Array($0.values) }) where !state.withLock({ _ in node.isRecovered }) {
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
