import CacheStore
import Foundations
import Glibc
import Synchronization
import Versioning

/// What a mount is to tell the kernel: what it keeps of these is wrong.
enum Notice: Sendable {
    /// A name in a folder, whether it is there or not; and what had no other name than this, and has it no more.
    case name(folder: UInt64, [UInt8], lost: UInt64? = nil)
    /// A folder's or file's facts and bytes, and a folder's listing.
    case node(UInt64)
    /// All names that the kernel was told are not there.
    case absentNames
    /// Something that who watches is to hear of: told behind what the kernel is to forget of it.
    case event(Event)
}

/// Something that others did to a name.
struct Event: Sendable {
    let folder: UInt64, name: [UInt8]
    /// What had the name before, as far as that was known.
    var was: Node.Kind?
}

/// What other doors change of the branch, as it comes from the catalog's change feed: told to the tree and to the
/// kernel, in order, by a thread of its own. A thread that answers a request must not notify (`mount.md`, "Invalidation
/// without deadlock").
final class Feed: Sendable {
    private enum Item: Sendable {
        case change(Change.Kind)
        /// A reply may be older than a change that was told already.
        case recheck(folder: UInt64, [UInt8])
    }

    private struct State {
        var queue: [(item: Item, done: CountingSemaphore)] = []
        var isStopping = false
        /// The queue was full: everything is told instead.
        var overflow: [CountingSemaphore] = []
    }

    private let state = Mutex(State())
    private let signal = CountingSemaphore()
    private let thread = Mutex<Thread?>(nil)
    private static let limit = 10_000

    /// Begins to follow the lake.
    func start(_ tree: Tree) {
        let thread = Thread(name: "tree-feed") { [self, weak tree] in
            while true {
                signal.wait()
                let (items, overflow, isStopping) = state.withLock { state in
                    defer {
                        state.queue = []
                        state.overflow = []
                    }
                    return (state.queue, state.overflow, state.isStopping)
                }
                for (item, done) in items {
                    if !isStopping, let tree {
                        switch item {
                        case .change(let kind): tree.apply(kind)
                        case .recheck(let folder, let name): tree.recheck(name, in: folder)
                        }
                    }
                    done.post()
                }
                if !overflow.isEmpty {
                    if !isStopping { tree?.apply(.everything) }
                    for done in overflow { done.post() }
                }
                if isStopping { return }
            }
        }
        self.thread.withLock { $0 = thread }
        let take: @Sendable (Change.Kind) -> CountingSemaphore? = { [weak tree] kind in
            guard let tree else { return nil }
            return tree.take(kind)
        }
        let settle: @Sendable (Key?) -> Void = { [weak tree] path in tree?.settle(path) }
        tree.view.follow(take, settling: tree.isReadOnly ? nil : settle)
    }

    /// What to wait for until the kernel was told; nil if the tree ends.
    fileprivate func enqueue(_ kind: Change.Kind) -> CountingSemaphore? { enqueue(Item.change(kind)) }

    private func enqueue(_ item: Item) -> CountingSemaphore? {
        let done = CountingSemaphore()
        let isStopping = state.withLock { state in
            if state.isStopping { return true }
            if state.queue.count < Self.limit { state.queue.append((item, done)) } else { state.overflow.append(done) }
            return false
        }
        guard !isStopping else { return nil }
        signal.post()
        return done
    }

    /// A reply about a name may be older than a change that was told already.
    func recheck(_ name: [UInt8], in folder: UInt64) { _ = enqueue(.recheck(folder: folder, name)) }

    func stop(_ tree: Tree) {
        tree.view.unfollow()
        state.withLock { $0.isStopping = true }
        signal.post()
        thread.withLock { $0 }?.join()
    }
}

extension Tree {
    // MARK: names that others took

    /// Nothing is known by this node's names any more.
    func loseNames(of node: Node) { state.withLock { loseNames(of: node, &$0) } }

    /// Another door has its names now: who has it open keeps it. Under the lock.
    func loseNames(of node: Node, _ state: inout State) {
        for name in node.names {
            if name.folder.children[name.name] === node { name.folder.children[name.name] = nil }
            name.folder.version += 1
        }
        let folders = node.names.map(\.folder)
        for path in node.published ?? [] { state.hidden.remove(path, node) }
        node.names = []
        node.published = []
        state.unwritten[node.number] = node
        if state.dirty.removeValue(forKey: node.number) != nil { hold.add(-1) }
        for folder in folders { Self.release(folder, &state) }
    }

    func tell(_ notices: [Notice]) {
        let all = listeners.withLock { Array($0.values) }
        for listener in all { for notice in notices { listener(notice) } }
    }

    /// Tells the mounts but one of what that one did itself; the notices are made only if there are others.
    func tell(_ make: @autoclosure () -> [Notice], except own: Int) {
        let others = listeners.withLock { listeners in
            listeners.count > 1 ? listeners.filter { $0.key != own }.map(\.value) : []
        }
        guard !others.isEmpty else { return }
        let notices = make()
        for listener in others { for notice in notices { listener(notice) } }
    }

    /// What those who watch a file are to hear of its change.
    func events(_ node: Node) -> [Notice] {
        state.withLock { _ in
            node.names.map { .event(Event(folder: $0.folder.number, name: $0.name.bytes, was: node.kind)) }
        }
    }

    /// What has a name, as far as it is known.
    func kind(of name: [UInt8], in folder: UInt64) -> Node.Kind? {
        state.withLock { $0.nodes[folder]?.children[Key(name)]?.kind }
    }

    fileprivate func take(_ change: Change.Kind) -> CountingSemaphore? {
        if case .committed = change { return nil }
        if case .removed = change { isGone.store(true, ordering: .releasing) }
        generation.add(1, ordering: .sequentiallyConsistent)
        return feed.enqueue(change)
    }

    /// A reply was made from what was read at `generation`; if something changed since, what the kernel keeps of it
    /// goes.
    func recheck(_ generation: UInt64, _ name: [UInt8], in folder: UInt64) {
        guard self.generation.load(ordering: .sequentiallyConsistent) != generation else { return }
        feed.recheck(name, in: folder)
    }

    fileprivate func recheck(_ name: [UInt8], in number: UInt64) {
        let place = state.withLock { state in
            state.nodes[number].flatMap { folder in Self.base(folder).map { (folder, Paths.join($0, name)) } }
        }
        if let (folder, path) = place, isUpToDate(Key(name), in: folder, path),
            (try? view.hasObjects(under: Paths.prefix(path), near: nil)) == false
        {
            return
        }
        let notices = state.withLock { state -> [Notice] in
            guard let folder = state.nodes[number], let child = folder.children[Key(name)] else {
                return [.name(folder: number, name)]
            }
            drop(child, Key(name), in: folder, &state)
            return Self.notices(child, Key(name), in: folder)
        }
        tell(notices)
    }

    /// What to tell of a name that was a node's, and may be no more. Under the lock.
    private static func notices(_ node: Node, _ name: Key, in folder: Node) -> [Notice] {
        guard folder.children[name] !== node else { return [.name(folder: folder.number, name.bytes)] }
        return [
            .name(folder: folder.number, name.bytes, lost: node.names.isEmpty ? node.number : nil),
            .event(Event(folder: folder.number, name: name.bytes, was: node.kind)),
        ]
    }

    /// Forgets a name that shows what the branch had; what was changed here stays, and its publish is the later change.
    /// Under the lock.
    private func drop(_ node: Node, _ name: Key, in folder: Node, _ state: inout State) {
        guard !node.isFolder, state.dirty[node.number] == nil, node.file == nil, node.kind.isCommittable else { return }
        guard node.names.count > 1 else { return loseNames(of: node, &state) }
        // One of several: the others are as they were.
        let path = Self.path(Node.Name(folder: folder, name: name))
        node.names.removeAll { $0.folder === folder && $0.name == name }
        node.published?.removeAll { $0 == path }
        state.hidden.remove(path, node)
        folder.children[name] = nil
        folder.version += 1
        state.unwritten[node.number] = node
    }

    // MARK: changes

    /// How many differing keys are told one by one before everything is told instead.
    private static let mostKeys = 10_000

    /// Another door changed the branch.
    func apply(_ kind: Change.Kind) {
        switch kind {
        case .keys(let keys): for key in keys { apply(key) }
        case .moved(let old, let new):
            let keys: [Key]?
            do { keys = try view.differing(old, new, most: Self.mostKeys) } catch { return applyAll() }
            guard let keys else { return applyAll() }
            for key in keys { apply(key) }
        case .everything: applyAll()
        case .removed:
            discard()
            applyAll()
        case .committed: break
        }
    }

    /// One step down to where a key lies in the tree.
    private enum Walk {
        case done([Notice])
        case unknown([Notice])
        case into(Node, base: Key)
    }

    /// Makes the kernel forget what a key's change made wrong: the name of the file, and of folders that came or went.
    private func apply(_ key: Key) {
        var (folder, base) = state.withLock { state in
            // Folders that were renamed here and hold the key.
            state.moved.values.compactMap { node -> (Node, Key)? in
                guard case .at(let base) = node.base, key.hasPrefix(Paths.prefix(base)) else { return nil }
                return (node, base)
            }.max { $0.1.count < $1.1.count } ?? (state.nodes[Self.root]!, Key([]))
        }
        let rest = Array(key.bytes.dropFirst(base.isEmpty ? 0 : base.count + 1))
        var parts = rest.split(separator: Paths.slash, omittingEmptySubsequences: false).map { Key(Array($0)) }
        if parts.last?.isEmpty == true { parts.removeLast() }  // A folder's marker.
        tell([.node(folder.number)])
        for (index, part) in parts.enumerated() {
            let isLast = index == parts.count - 1
            let path = Paths.join(base, part.bytes)
            let exists = try? view.hasObjects(under: Paths.prefix(path), near: nil)
            if isLast, exists != true, !Paths.isMarker(key) {
                if let notices = grow(part, in: folder, path) { return tell(notices) }
                if isUpToDate(part, in: folder, path) {
                    state.withLock { _ in Self.noteChange(in: folder) }
                    return tell([.node(folder.number), .event(Event(folder: folder.number, name: part.bytes))])
                }
            }
            let step = state.withLock { state -> Walk in
                Self.noteChange(in: folder)
                let notices: [Notice] = [.name(folder: folder.number, part.bytes), .node(folder.number)]
                // The kernel may have it as a name that is not there.
                guard let known = folder.children[part] else { return .unknown(notices) }
                if known.isFolder, !isLast || Paths.isMarker(key) {
                    if known.base == .none, known.published?.isEmpty != false {
                        known.base = .natural  // The branch has one of that name now.
                        state.unwritten[known.number] = known
                        return .into(known, base: path)
                    }
                    guard known.base == .natural else { return .done(notices) }
                    if exists == true || state.dirty[known.number] != nil || !known.children.isEmpty {
                        if isLast { state.unwritten[known.number] = known }
                        return .into(known, base: path)
                    }
                    loseNames(of: known, &state)
                    return .done(Self.notices(known, part, in: folder) + [.node(folder.number)])
                }
                // A file where a folder was, or the other way round.
                if known.isFolder {
                    if exists != true, known.children.isEmpty, state.dirty[known.number] == nil {
                        loseNames(of: known, &state)
                    }
                } else {
                    drop(known, part, in: folder, &state)
                }
                return .done(Self.notices(known, part, in: folder) + [.node(folder.number)])
            }
            switch step {
            case .done(let notices):
                tell(notices)
                return tell(leaveEmpty(from: folder))
            case .unknown(let notices):
                // A folder that nobody has looked at is new if there is nothing in it but this.
                let isOther = !isLast && exists == true && !isAlone(key, under: Paths.prefix(path))
                let event = Event(
                    folder: folder.number, name: part.bytes, was: !isLast && exists == false ? .folder : nil)
                return tell(isOther ? notices : notices + [.event(event)])
            case .into(let inner, let path):
                tell([.node(folder.number), .node(inner.number)])
                (folder, base) = (inner, path)
            }
        }
        guard Paths.isMarker(key), let marker = try? view.find(key) else { return }
        // What a folder is was changed.
        state.withLock { state in
            guard state.dirty[folder.number] == nil else { return }
            folder.entry = marker
            folder.attributes = Attributes(marker.metadata)
        }
        tell([.node(folder.number)])
    }

    /// Whether a file is known as the branch has it: it was looked up after the change that is being told.
    private func isUpToDate(_ name: Key, in folder: Node, _ path: Key) -> Bool {
        let known = state.withLock { _ in
            folder.children[name].flatMap { $0.isFolder || $0.file != nil ? nil : $0.entry }
        }
        guard let known, let entry = try? view.find(path) else { return false }
        return entry == known
    }

    /// Folders go with the last that was in them, where nobody made them.
    private func leaveEmpty(from lowest: Node) -> [Notice] {
        var notices: [Notice] = []
        var folder = lowest
        while true {
            let place = state.withLock { state -> (name: Node.Name, base: Key)? in
                guard folder.base == .natural, folder.children.isEmpty, state.dirty[folder.number] == nil,
                    let base = Self.base(folder)
                else { return nil }
                return folder.names.first.map { ($0, base) }
            }
            guard let place, (try? view.hasObjects(under: Paths.prefix(place.base), near: nil)) == false else {
                return notices
            }
            let isGone = state.withLock { state in
                guard folder.names.first == place.name, folder.children.isEmpty, state.dirty[folder.number] == nil
                else { return false }
                loseNames(of: folder, &state)
                Self.noteChange(in: place.name.folder)
                return true
            }
            guard isGone else { return notices }
            let above = place.name.folder
            let name = place.name.name.bytes
            notices += [
                .name(folder: above.number, name, lost: folder.number), .node(above.number),
                .event(Event(folder: above.number, name: name, was: .folder)),
            ]
            folder = above
        }
    }

    private func isAlone(_ key: Key, under prefix: Key) -> Bool {
        var query = Catalog.ListQuery()
        query.prefix = prefix
        query.limit = 2
        guard let page = try? view.list(query) else { return false }
        return page.items.count == 1 && page.items[0].path == key
    }

    /// Larger files are not compared.
    private static let mostCompared: Int64 = 64 << 20

    /// A file that somebody has open was appended to by another door: it is the same file, only longer, so that who
    /// follows it sees what comes (tail(1)). Returns what to tell; nil if it is not so.
    private func grow(_ name: Key, in folder: Node, _ path: Key) -> [Notice]? {
        func isSame(_ node: Node, _ state: State) -> Bool {
            !node.isFolder && node.handles > 0 && node.file == nil && node.names.count == 1
                && state.dirty[node.number] == nil
        }
        let found = state.withLock { state -> (Node, Entry)? in
            guard let node = folder.children[name], isSame(node, state), let entry = node.entry else { return nil }
            return (node, entry)
        }
        guard let (node, old) = found, old.size <= Self.mostCompared, let new = try? view.find(path),
            new.size > old.size, (try? isBeginning(old, of: new, path)) == true
        else { return nil }
        return state.withLock { state in
            guard folder.children[name] === node, isSame(node, state), node.entry?.address == old.address else {
                return nil
            }
            node.entry = new
            node.attributes = Attributes(new.metadata)
            node.content += 1
            return [.node(node.number)]
        }
    }

    private func isBeginning(_ old: Entry, of new: Entry, _ path: Key) throws -> Bool {
        let pieces = (try view.open(old, at: path), try view.open(new, at: path))
        defer {
            pieces.0?.close()
            pieces.1?.close()
        }
        var position: Int64 = 0
        while position < old.size {
            let range = position..<min(position + 1 << 20, old.size)
            let bytes = try (
                pieces.0.map { try $0.read(range) } ?? view.read(old, at: path, range),
                pieces.1.map { try $0.read(range) } ?? view.read(new, at: path, range)
            )
            guard bytes.0 == bytes.1, Int64(bytes.0.count) == range.upperBound - range.lowerBound else { return false }
            position = range.upperBound
        }
        return true
    }

    /// Everything that is known of the branch may be wrong.
    private func applyAll() {
        let nodes = state.withLock { state in
            state.nodes.values.filter { $0.number != Self.root && !$0.names.isEmpty }.map { ($0, path: Self.path($0)) }
        }.sorted { $0.path > $1.path }
        var notices: [Notice] = [.absentNames, .node(Self.root)]
        for (node, _) in nodes {
            let base = state.withLock { _ in node.isFolder ? Self.base(node) : nil }
            let exists = base.flatMap { try? view.hasObjects(under: Paths.prefix($0), near: nil) } ?? true
            state.withLock { state in
                guard let name = node.names.first else { return }
                if node.isFolder {
                    node.version += 1
                    if exists || state.dirty[node.number] != nil || !node.children.isEmpty {
                        notices.append(.node(node.number))
                        return
                    }
                    loseNames(of: node, &state)
                } else {
                    drop(node, name.name, in: name.folder, &state)
                }
                if node.names.isEmpty {
                    notices.append(.name(folder: name.folder.number, name.name.bytes))
                    notices.append(.event(Event(folder: name.folder.number, name: name.name.bytes, was: node.kind)))
                }
            }
        }
        state.withLock { $0.nodes[Self.root]?.version += 1 }
        tell(notices)
    }
}
