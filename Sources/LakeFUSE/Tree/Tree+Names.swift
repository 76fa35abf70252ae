import CacheStore
import Glibc
import Synchronization
import Versioning

/// The names of a tree: made, removed, moved.
extension Tree {
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
        moving.readLock()
        defer { moving.unlock() }
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
        let staged = try stage([(path, entry)] + fill(folder))
        return adopt(path, entry: staged[0].entry, isFolder: false, attributes, counts: true)
    }

    /// A second name for a file. On the branch it is another entry of the same object (`mount.md` section 1); here it is the same
    /// file for as long as the mount lives.
    func makeHardLink(_ number: UInt64, _ parent: UInt64, _ name: [UInt8]) throws -> Node {
        try requireWritable()
        moving.readLock()
        defer { moving.unlock() }
        let source = try node(number), folder = try node(parent), path = Paths.join(path(of: folder), name)
        guard !source.isFolder else { throw Errno(EPERM) }
        try requireAbsent(parent, name)
        try Self.check(path)
        try requireReadable(source)
        try require("WriteObject", path)
        return try source.publishing.withLock { _ in
            guard !isUnlinked(source) else { throw Errno(ENOENT) }
            let emptied = fill(folder)
            let isStaged = try restage(source, at: self.path(of: source)) { [(path, $0)] + emptied }
            if !isStaged {
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
            if let file = writing(of: source) { try file.note(purpose(source)) }
            return source
        }
    }

    /// Stages what names a file's object anew, if it has one: the one that the branch has under `path`, whoever put it there.
    /// - Returns: false if there is none yet: nobody has closed the file.
    private func restage(_ node: Node, at path: Key, _ changes: (Entry) -> [(path: Key, entry: Entry?)]) throws -> Bool {
        for _ in 0..<5 {
            guard let entry = entry(of: node) else { return false }
            do {
                try stage(changes(entry), expecting: [(path, entry.address)])
                return true
            } catch let error as Errno where error.number == ESTALE {
                let current = try catalog.find(path, at: resolve())
                try state.withLock { _ in
                    let isDirty = node.writing?.isDirty == true
                    guard current != nil || isDirty else { throw Errno(ESTALE) }
                    node.entry = current
                    if let current, !isDirty { node.attributes = Attributes(current.metadata) }
                }
            }
        }
        throw Errno(ESTALE)
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
    func fill(_ folder: Node) -> [(path: Key, entry: Entry?)] {
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
        moving.readLock()
        defer { moving.unlock() }
        let node = try lookup(parent, name, counts: false)
        guard !node.isFolder else { throw Errno(EISDIR) }
        let path = Paths.join(path(of: try self.node(parent)), name)
        try require("DeleteObject", path)
        try node.publishing.withLock { _ in
            if state.withLock({ _ in node.entry != nil }) { try stage([(path, nil)]) }
            if takeName(path, from: node) {
                // What is being written has another name now, after a crash too.
                if let file = writing(of: node), file.isDirty { try file.note(purpose(node)) }
            } else {
                detach(node)
            }
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

    /// Holds what would publish one of two files meanwhile, always in the same order.
    private func holding<Result>(_ node: Node, _ other: Node?, _ body: () throws -> Result) rethrows -> Result {
        guard let other else { return try node.publishing.withLock { _ in try body() } }
        let (first, second) = node.number < other.number ? (node, other) : (other, node)
        return try first.publishing.withLock { _ in try second.publishing.withLock { _ in try body() } }
    }

    private func renameFile(_ node: Node, from path: Key, to newPath: Key, _ replaced: Node?, into target: Node) throws {
        moving.readLock()
        defer { moving.unlock() }
        try holding(node, replaced) {
            let emptied = fill(target)
            // What is being written stays what it is: nobody has closed it, and it is published under its new name then.
            if try !restage(node, at: path, { [(path, nil), (newPath, $0)] + emptied }) {
                let gone: [(path: Key, entry: Entry?)] = replaced.map { replaced in state.withLock { _ in replaced.entry != nil } ? [(newPath, nil)] : [] } ?? []
                if !(gone + emptied).isEmpty { try stage(gone + emptied) }
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

    private static let mostTriesOfFolders = 8

    /// What moves the entries of a folder, and what the branch has of them.
    private func moves(from old: Key, to new: Key) throws -> (changes: [(path: Key, entry: Entry?)], expected: [Catalog.Expected]) {
        var changes: [(path: Key, entry: Entry?)] = [], expected: [Catalog.Expected] = [], query = Catalog.ListQuery()
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
                expected.append((path, entry.address))
            }
            guard page.hasMore, let last = page.items.last else { return (changes, expected) }
            guard changes.count < 2 * Self.mostRenamed else { throw Errno(EXDEV) }
            query.after = last.path
        }
    }

    private func renameFolder(_ node: Node, to newPath: Key, _ replaced: Node?, into target: Node) throws {
        let old = Paths.prefix(path(of: node)), new = Paths.prefix(newPath)
        moving.writeLock()
        defer { moving.unlock() }
        let emptied = fill(target)
        for attempt in 1... {
            let (changes, expected) = try moves(from: old, to: new)
            do {
                try stage((replaced == nil ? [] : [(new, nil)]) + changes + emptied, expecting: expected)
                break
            } catch let error as Errno where error.number == ESTALE {
                // Another door wrote into the folder meanwhile: what it wrote is to move too.
                if attempt == Self.mostTriesOfFolders { throw Errno(EBUSY) }
            }
        }
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
}
