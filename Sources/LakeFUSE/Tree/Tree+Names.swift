import CacheStore
import Foundations
import Glibc
import Synchronization
import Versioning

/// The names of a tree: made, removed, moved. None of it makes an object or an entry: that is publishing's.
extension Tree {
    /// Who makes something: it is theirs, and their group's; in a folder with the set-group-id bit the folder's group's
    /// (mkdir(2)).
    struct Owner {
        let user: UInt32, group: UInt32
        static var server: Owner { Owner(user: getuid(), group: getgid()) }
    }

    private static func attributes(_ owner: Owner, in folder: Node, mode: UInt32, isFolder: Bool) -> Attributes {
        let above = folder.attributes
        let inherits = (above.mode ?? 0) & UInt32(S_ISGID) != 0
        var attributes = Attributes()
        attributes.mode = (mode & 0o7777) | (inherits && isFolder ? UInt32(S_ISGID) : 0)
        attributes.owner = owner.user
        attributes.group = inherits ? above.group ?? getgid() : owner.group
        return attributes
    }

    /// Bytes of the longest key.
    static let longestPath = 1023

    private static func check(_ path: Key, _ name: [UInt8]) throws {
        if path.count > longestPath || name.count > 255 { throw Errno(ENAMETOOLONG) }
    }

    /// The folder that a name is to be made in, and its path.
    private func place(_ parent: UInt64, _ name: [UInt8]) throws -> (folder: Node, path: Key) {
        try requireWritable()
        guard !isGone.load(ordering: .acquiring) else { throw Errno(EIO) }
        let folder = try node(parent)
        guard folder.isFolder else { throw Errno(ENOTDIR) }
        guard folder.number == Self.root || state.withLock({ _ in !folder.names.isEmpty }) else { throw Errno(ENOENT) }
        let path = state.withLock { _ in Paths.join(Self.path(folder), name) }
        try Self.check(path, name)
        return (folder, path)
    }

    /// The same, for a name that is not taken, by somebody who may write there.
    /// - Throws: `EEXIST`.
    private func freePlace(_ parent: UInt64, _ name: [UInt8], isFolder: Bool, _ rights: Rights) throws -> (
        folder: Node, path: Key
    ) {
        let (folder, path) = try place(parent, name)
        guard try find(parent, name) == nil else { throw Errno(EEXIST) }
        try require("WriteObject", isFolder ? Paths.prefix(path) : path, rights)
        return (folder, path)
    }

    /// Puts a node under one more name. Under the lock.
    private func put(_ node: Node, _ key: Key, in folder: Node, _ state: inout State) {
        node.names.append(Node.Name(folder: folder, name: key))
        node.lookups += 1
        folder.children[key] = node
        noteNames(in: folder, &state)
        note(node, &state)
    }

    /// Puts a new node under a name that is not taken. The kernel holds the folder's lock, so that it stays so but for
    /// other doors.
    /// - Throws: `EEXIST`.
    private func make(
        _ kind: Node.Kind, _ parent: UInt64, _ name: [UInt8], mode: UInt32, _ owner: Owner, _ rights: Rights,
        _ prepare: (Node) -> Void = { _ in }
    ) throws -> Node {
        let (folder, path) = try freePlace(parent, name, isFolder: kind == .folder, rights)
        let key = Key(name)
        try view.checkWritable()
        defer { wake() }
        moving.readLock()
        defer { moving.unlock() }
        return try state.withLock { state in
            guard folder.children[key] == nil else { throw Errno(EEXIST) }
            let node = Node(
                number: Self.freeNumber(for: path, in: state), kind: kind,
                attributes: Self.attributes(owner, in: folder, mode: mode, isFolder: kind == .folder))
            node.published = []
            if kind == .folder {
                node.base = .none
                node.filled = .now()
                node.mayBeEmpty = true
            }
            prepare(node)
            state.nodes[node.number] = node
            put(node, key, in: folder, &state)
            return node
        }
    }

    /// A folder's names have changed: so have its times, and perhaps whether it wants a marker. Under the lock.
    private func noteNames(in folder: Node, removed: Bool = false, _ state: inout State) {
        Self.noteChange(in: folder)
        state.unwritten[folder.number] = folder
        state.active = Timestamp.monotonicMilliseconds()
        if removed || Self.hasBareMarker(folder) { folder.mayBeEmpty = true }
        // A marker that says nothing goes when something is in the folder, and comes back when nothing is.
        if folder.mayBeEmpty { note(folder, &state) }
    }

    /// Makes a file; its caller has it open for writing: one more handle.
    func makeFile(_ parent: UInt64, _ name: [UInt8], mode: UInt32, owner: Owner = .server, _ rights: Rights = .all)
        throws -> Node
    {
        try requireWritable()
        let file = try WorkingFile(staging, address: view.newAddress())
        do {
            let node = try make(.file, parent, name, mode: mode, owner, rights) { node in
                node.file = file
                node.handles = 1
                node.writers = 1
            }
            return node
        } catch {
            file.release()
            file.drop()
            throw error
        }
    }

    func makeFolder(_ parent: UInt64, _ name: [UInt8], mode: UInt32, owner: Owner = .server, _ rights: Rights = .all)
        throws -> Node
    {
        try make(.folder, parent, name, mode: mode, owner, rights)
    }

    func makeLink(_ parent: UInt64, _ name: [UInt8], target: [UInt8], owner: Owner = .server, _ rights: Rights = .all)
        throws -> Node
    {
        try make(.link, parent, name, mode: 0o777, owner, rights) { node in
            node.attributes.target = target
            node.changed = .now()
        }
    }

    /// A pipe, socket or device: it stays in the tree (`mount.md` section 1).
    func makeSpecial(
        _ kind: Node.Kind, _ parent: UInt64, _ name: [UInt8], mode: UInt32, device: UInt64, owner: Owner = .server,
        _ rights: Rights = .all
    ) throws -> Node {
        try make(kind, parent, name, mode: mode, owner, rights) { node in
            node.device = device
            node.changed = .now()
        }
    }

    /// A second name for a file. On the branch it is another entry of the same object (`mount.md` section 1).
    func makeHardLink(_ number: UInt64, _ parent: UInt64, _ name: [UInt8], _ rights: Rights = .all) throws -> Node {
        let source = try node(number)
        let key = Key(name)
        guard !source.isFolder else { throw Errno(EPERM) }
        let (folder, _) = try freePlace(parent, name, isFolder: false, rights)
        try requireReadable(source, rights)
        try view.checkWritable()
        defer { wake() }
        moving.readLock()
        defer { moving.unlock() }
        return try state.withLock { state in
            guard folder.children[key] == nil else { throw Errno(EEXIST) }
            guard !source.names.isEmpty else { throw Errno(ENOENT) }
            Self.materialize(source, &state)
            source.changed = .now()
            put(source, key, in: folder, &state)
            return source
        }
    }

    // MARK: removing

    func unlink(_ parent: UInt64, _ name: [UInt8], _ rights: Rights = .all) throws {
        try requireWritable()
        let node = try lookup(parent, name, counts: false)
        guard !node.isFolder else { throw Errno(EISDIR) }
        let folder = try self.node(parent)
        let key = Key(name)
        try require("DeleteObject", state.withLock { _ in Paths.join(Self.path(folder), name) }, rights)
        try view.checkWritable()
        try remove(node, key, from: folder)
    }

    /// Takes a name from a node.
    private func remove(_ node: Node, _ key: Key, from folder: Node) throws {
        defer { wake() }
        moving.readLock()
        defer { moving.unlock() }
        try state.withLock { state in
            guard folder.children[key] === node else { throw Errno(ENOENT) }
            noteNames(in: folder, removed: true, &state)
            takeName(key, in: folder, from: node, &state)
        }
    }

    /// Takes a name from a node. Under the lock.
    private func takeName(_ key: Key, in folder: Node, from node: Node, _ state: inout State) {
        Self.materialize(node, &state)
        if node.isFolder, let base = Self.base(node) {
            // Its marker goes, if there is one, and until then the whole path does not show.
            state.hidden.insert(base, node)
            node.published = [base]
            state.moved[node.number] = nil
            node.base = .none
        }
        node.names.removeAll { $0.folder === folder && $0.name == key }
        folder.children[key] = nil
        node.changed = .now()
        note(node, &state)
        guard node.names.isEmpty else { return }
        // The branch never had it.
        if !node.isPlanned, node.published!.isEmpty || !node.kind.isCommittable { noteClean(node, &state) }
        Self.dropWhole(of: node, &state)
        guard node.handles == 0, let file = node.file else { return }
        node.file = nil
        state.dropped.append(file)
    }

    func removeFolder(_ parent: UInt64, _ name: [UInt8], _ rights: Rights = .all) throws {
        try requireWritable()
        let node = try lookup(parent, name, counts: false)
        let folder = try self.node(parent)
        guard node.isFolder else { throw Errno(ENOTDIR) }
        guard try isEmpty(node) else { throw Errno(ENOTEMPTY) }
        try require("DeleteObject", Paths.prefix(path(of: node)), rights)
        try view.checkWritable()
        try remove(node, Key(name), from: folder)
    }

    /// Nothing but its marker is in it, and that holds no bytes. Keys that cannot be files count: they are somebody's.
    private func isEmpty(_ folder: Node) throws -> Bool {
        let base: Key?? = state.withLock { _ in folder.children.isEmpty ? .some(Self.base(folder)) : .none }
        guard let base else { return false }
        if let entry = entry(of: folder), entry.size > 0 { return false }
        guard let base else { return true }
        return try !hasVisible(under: base)
    }

    /// Whether the branch has anything under a folder's path, but its marker, that shows.
    func hasVisible(under base: Key) throws -> Bool {
        var query = Catalog.ListQuery()
        query.prefix = Paths.prefix(base)
        query.limit = 10
        while true {
            let publishes = state.withLock { $0.publishes }
            let page = try view.list(query)
            let isVisible = state.withLock { state -> Bool? in
                let isVisible = page.items.contains { item in
                    guard case .object(let path, let entry) = item else { return true }
                    return path == query.prefix ? entry.size > 0 : !Self.isHidden(path, below: base, state)
                }
                return isVisible && state.publishes != publishes ? nil : isVisible
            }
            // What was hidden then may be gone from the branch now, and be hidden no more.
            guard let isVisible else { continue }
            if isVisible { return true }
            guard page.hasMore, let last = page.items.last else { return false }
            query.after = last.path
            query.limit = 1000
        }
    }

    /// Whether a path of the branch does not show by itself: it, or a folder that it lies in.
    static func isHidden(_ path: Key, below base: Key, _ state: State) -> Bool {
        guard !state.hidden.isEmpty else { return false }
        let bytes = path.bytes
        for index in bytes.indices where bytes[index] == Paths.slash && index > base.count {
            if state.hidden.contains(Key(Array(bytes[..<index]))) { return true }
        }
        return state.hidden.contains(path)
    }

    // MARK: moving

    func rename(
        _ parent: UInt64, _ name: [UInt8], to newParent: UInt64, _ newName: [UInt8], replaces: Bool,
        exchanges: Bool = false, _ rights: Rights = .all
    ) throws {
        let (target, newPath) = try place(newParent, newName)
        let folder = try self.node(parent)
        let node = try lookup(parent, name, counts: false)
        let replaced = try find(newParent, newName)
        let path = state.withLock { _ in Paths.join(Self.path(folder), name) }
        if replaced == nil, exchanges { throw Errno(ENOENT) }
        if let replaced {
            guard replaces || exchanges else { throw Errno(EEXIST) }
            if replaced === node { return }  // Two names of one file, or the same: nothing is to be done (rename(2)).
            if !exchanges {
                if replaced.isFolder && !node.isFolder { throw Errno(EISDIR) }
                if !replaced.isFolder && node.isFolder { throw Errno(ENOTDIR) }
                if replaced.isFolder, try !isEmpty(replaced) { throw Errno(ENOTEMPTY) }
            }
        }
        try requireMovable(node, from: path, to: newPath, rights)
        if exchanges, let replaced { try requireMovable(replaced, from: newPath, to: path, rights) }
        try view.checkWritable()
        try move(
            node, Node.Name(folder: folder, name: Key(name)), to: Node.Name(folder: target, name: Key(newName)),
            replaced, exchanges: exchanges)
        wake()
    }

    /// What the user of a mount may move, by every path that goes with it; and no path gets too long.
    private func requireMovable(_ node: Node, from old: Key, to new: Key, _ rights: Rights) throws {
        // What is under a folder is asked for key by key, when they are known.
        if !node.isFolder {
            try require("DeleteObject", old, rights)
            try require("WriteObject", new, rights)
        }
        guard node.isFolder else { return }
        let isFree = rights.isFree()
        try walk(node) { inner in
            guard new.count + inner.count <= Self.longestPath + 1 else { throw Errno(ENAMETOOLONG) }
            guard !isFree else { return }
            try require("DeleteObject", Key(old.bytes + inner.bytes), rights)
            try require("WriteObject", Key(new.bytes + inner.bytes), rights)
        } onlyIf: {
            !isFree || new.count > old.count + 200 || new.count > 600
        }
    }

    /// Gives all paths in a folder to `body`, as they follow its own: each begins with a slash.
    private func walk(_ folder: Node, _ body: (Key) throws -> Void, onlyIf isWanted: () -> Bool) throws {
        guard isWanted() else { return }
        var known: [Key] = []
        let base = state.withLock { state -> Key? in
            var open: [(Node, Key)] = [(folder, Key([]))]
            while let (node, path) = open.popLast() {
                for (name, child) in node.children {
                    let inner = Key(path.bytes + [Paths.slash] + name.bytes)
                    known.append(inner)
                    if child.isFolder { open.append((child, inner)) }
                }
            }
            return Self.base(folder)
        }
        for path in known { try body(path) }
        guard let base else { return }
        try eachVisible(under: base) { path, _ in try body(Key(Array(path.bytes[base.count...]))) }
    }

    /// Gives all that the branch has under a folder's path, and that shows by itself, to `body`, in byte order.
    func eachVisible(under base: Key, _ body: (Key, Entry) throws -> Void) throws {
        var query = Catalog.ListQuery()
        query.prefix = Paths.prefix(base)
        query.limit = 1000
        while true {
            let page = try view.list(query)
            for case .object(let path, let entry) in page.items
            where state.withLock({ !Self.isHidden(path, below: base, $0) }) { try body(path, entry) }
            guard page.hasMore, let last = page.items.last else { return }
            query.after = last.path
        }
    }

    private func move(_ node: Node, _ old: Node.Name, to new: Node.Name, _ replaced: Node?, exchanges: Bool) throws {
        moving.readLock()
        defer { moving.unlock() }
        try state.withLock { state in
            guard old.folder.children[old.name] === node, new.folder.children[new.name] === replaced else {
                throw Errno(EAGAIN)
            }
            for (moved, target) in [(node, new), (exchanges ? replaced : nil, old)] {
                // Nothing comes to lie in itself.
                var above: Node? = target.folder
                while let folder = above {
                    if folder === moved { throw Errno(EINVAL) }
                    above = folder.names.first?.folder
                }
            }
            detach(node, &state)
            if let replaced {
                if exchanges {
                    detach(replaced, &state)
                } else {
                    takeName(new.name, in: new.folder, from: replaced, &state)
                }
            }
            attach(node, old, new)
            if exchanges, let replaced { attach(replaced, new, old) } else { old.folder.children[old.name] = nil }
            new.folder.children[new.name] = node
            if exchanges { old.folder.children[old.name] = replaced }
            noteNames(in: old.folder, removed: !exchanges, &state)
            if new.folder !== old.folder { noteNames(in: new.folder, &state) }
            note(node, &state)
            if exchanges, let replaced { note(replaced, &state) }
        }
    }

    /// What the branch has of a node stays where it is while the node gets another name. Under the lock.
    private func detach(_ node: Node, _ state: inout State) {
        Self.materialize(node, &state)
        guard node.isFolder, node.base == .natural, let base = Self.base(node) else { return }
        node.base = .at(base)
        state.hidden.insert(base, node)
        state.moved[node.number] = node
    }

    private func attach(_ node: Node, _ old: Node.Name, _ new: Node.Name) {
        if let index = node.names.firstIndex(of: old) { node.names[index] = new }
        node.changed = .now()
    }
}
