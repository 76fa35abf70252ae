import CacheStore
import CFUSE
import Glibc
import Synchronization
import Versioning

/// One mount: a libfuse session over a tree, the thread of its loop, and the thread that tells the kernel what changed.
@safe final class Mount: @unchecked Sendable {
    // The session is made in `init` and destroyed once its loop has ended; libfuse's functions on it are thread-safe.
    private let session: OpaquePointer
    let tree: Tree
    let directory: String
    private let notifier: Notifier
    private let context: Operations.Context
    private let loop = Mutex<Thread?>(nil)
    private let hasEnded = Atomic<Bool>(false)
    /// Counts foreign changes: a reply made from what was read before one must not be cached for ever.
    let generation = Atomic<UInt64>(0)
    let handles = Mutex<(next: UInt64, all: [UInt64: Handle])>((1, [:]))

    /// Threads that answer requests.
    private static let threads: UInt32 = 8

    /// What an open file or folder is.
    enum Handle {
        case file(Node, OpenFile)
        case folder(Node, FolderReader)
    }

    /// - Parameter passthrough: whether the kernel may read files by itself where it can.
    init(tree: Tree, directory: String, name: String, passthrough: Bool = true) throws {
        self.tree = tree
        self.directory = directory
        var options = "fsname=\(name),subtype=lakefuse,default_permissions"
        if tree.isReadOnly { options += ",ro" }
        if getuid() == 0 { options += ",allow_other" }
        var operations = Operations.table
        // libfuse copies arguments and table; the strings live until then.
        let words: [UnsafeMutablePointer<CChar>?] = unsafe ["lakefuse", "-o", options].map { (word: String) in unsafe strdup(word) }
        defer { unsafe words.forEach { unsafe free($0) } }
        var pointers: [UnsafeMutablePointer<CChar>?] = unsafe words + [nil]
        let notifier = Notifier(), context = Operations.Context(KernelFeatures(wantsPassthrough: passthrough && tree.isReadOnly))
        self.context = context
        self.notifier = notifier
        let made = unsafe pointers.withUnsafeMutableBufferPointer { pointers in
            var arguments = unsafe fuse_args(argc: 3, argv: pointers.baseAddress, allocated: 0)
            return unsafe fuse_session_new(&arguments, &operations, MemoryLayout<fuse_lowlevel_ops>.size, Unmanaged.passUnretained(context).toOpaque())
        }
        guard let made = unsafe made else { throw LakeError(.unavailable, "FUSE does not start for \(directory)") }
        unsafe session = unsafe made
        guard unsafe fuse_session_mount(session, directory) == 0 else {
            unsafe fuse_session_destroy(session)
            throw LakeError(.unavailable, "cannot mount on \(directory): is /dev/fuse here, and may this user mount?")
        }
        var io = KernelFeatures.io
        _ = unsafe fuse_session_custom_io(session, &io, fuse_session_fd(session))  // It copies them; the descriptor stays its own.
    }

    /// Bytes from which a file is lent to the kernel: for smaller ones that takes longer than reading them.
    private static let leastLent: Int64 = 256 << 10

    /// Files that the kernel reads by itself: the number that it knows each by, and for how many handles.
    private let lent = Mutex<[UInt64: (number: Int32, handles: Int)]>([:])

    /// Has the kernel read an open file by itself, if it is to; nil if it asks us. All handles of one file at one time must be alike,
    /// down to the number: so only where nobody writes. The system call under the lock does not wait.
    func lend(_ open: OpenFile, of node: Node) -> Int32? {
        guard context.features.hasPassthrough, open.descriptor >= 0, open.size >= Self.leastLent else { return nil }
        return lent.withLock { lent in
            if let known = lent[node.number] {
                lent[node.number] = (known.number, known.handles + 1)
                open.isLent.store(true, ordering: .relaxed)
                return known.number
            }
            guard let number = unsafe KernelFeatures.lend(open.descriptor, to: fuse_session_fd(session)) else { return nil }
            lent[node.number] = (number, 1)
            open.isLent.store(true, ordering: .relaxed)
            return number
        }
    }

    func takeBack(_ open: OpenFile, of node: Node) {
        guard open.isLent.load(ordering: .relaxed) else { return }
        lent.withLock { lent in
            guard let known = lent[node.number] else { return }
            lent[node.number] = known.handles > 1 ? (known.number, known.handles - 1) : nil
            if known.handles == 1 { unsafe KernelFeatures.takeBack(known.number, from: fuse_session_fd(session)) }
        }
    }

    /// Begins to answer, and to follow the change feed. `ended` runs when the mount is gone, however it went.
    func start(_ ended: @escaping @Sendable () -> Void) {
        unsafe context.mount = self
        notifier.start(self)
        let origin = tree.catalog.events.subscribe { number in { [weak self] change in self?.take(change, own: number) } }
        tree.origin.store(origin, ordering: .relaxed)
        let held = tree.isReadOnly ? nil : tree.catalog.unsettled.add(repository: tree.repository, branch: tree.ref) { [weak self] in self?.tree.settle() }
        tree.shadowed.withLock { shadowed in
            shadowed = { [weak self] path in
                self?.generation.add(1, ordering: .sequentiallyConsistent)
                _ = self?.notifier.enqueue(.change(.keys([path])))
            }
        }
        let thread = Thread(name: "fuse-loop") { [self] in
            _ = unsafe lake_fuse_loop(session, Self.threads)
            tree.catalog.events.unsubscribe(origin)
            if let held { tree.catalog.unsettled.remove(held) }
            notifier.stop()
            _ = tree.publishAll(.durable)
            hasEnded.store(true, ordering: .releasing)
            ended()
        }
        loop.withLock { $0 = thread }
    }

    static func inUse(_ directory: String) -> LakeError { LakeError(.invalidValue, "\(directory) is in use: close what is open in it, and leave it") }

    /// Publishes everything and ends the mount.
    /// - Parameter places: all folders that it is mounted on.
    /// - Throws: `LakeError` if something is still open in it (unless `forced`), or cannot be published.
    func stop(at places: [String], forced: Bool) throws {
        if let failure = tree.publishAll(.durable) { if !forced { throw LakeError(LakeError(failure).code, "cannot unmount \(directory): \(LakeError(failure).message)") } }
        try? tree.synchronize()
        for place in places where !hasEnded.load(ordering: .acquiring) {
            if unsafe umount2(place, 0) == 0 { continue }
            guard forced || errno != EBUSY else { throw Self.inUse(place) }
            // Aborting the connection ends the loop even if something is open. Who may not do it has fusermount3 do it.
            if unsafe umount2(place, Int32(MNT_FORCE) | Int32(MNT_DETACH)) != 0 { unsafe fuse_session_unmount(session) }
        }
    }

    /// Waits for the loop, then lets go of the session. Whoever comes second does nothing.
    func join() {
        let thread = loop.withLock { thread in
            defer { thread = nil }
            return thread
        }
        guard let thread else { return }
        thread.join()
        unsafe fuse_session_destroy(session)
    }

    // MARK: changes by others

    private func take(_ change: Change, own: Int) -> CountingSemaphore? {
        guard change.origin != own, change.repository == tree.repository, change.branch == nil || change.branch == tree.ref else { return nil }
        if case .committed = change.kind { return nil }
        if case .removed = change.kind { tree.noteGone() }
        tree.changes.add(1, ordering: .sequentiallyConsistent)
        generation.add(1, ordering: .sequentiallyConsistent)
        return notifier.enqueue(.change(change.kind))
    }

    /// A reply was made from what was read at `generation`; if something changed since, what the kernel keeps of it goes.
    func recheck(_ generation: UInt64, parent: UInt64, name: [UInt8]) {
        guard self.generation.load(ordering: .sequentiallyConsistent) != generation, let folder = try? tree.node(parent) else { return }
        // Our own node of the name may be as old as the reply: both go.
        _ = notifier.enqueue(.change(.keys([Paths.join(tree.path(of: folder), name)])))
    }

    fileprivate func invalidate(name: [UInt8], in parent: UInt64) {
        unsafe name.withUnsafeBytes { bytes in _ = unsafe fuse_lowlevel_notify_inval_entry(session, fuse_ino_t(parent), bytes.assumingMemoryBound(to: CChar.self).baseAddress, bytes.count) }
    }

    fileprivate func invalidate(_ number: UInt64) { unsafe fuse_lowlevel_notify_inval_inode(session, fuse_ino_t(number), 0, 0) }

    /// Makes the kernel forget what a key's change made wrong: the name of the file, and of folders that came or went.
    fileprivate func invalidate(key: Key) {
        var folder = Tree.root, path: [UInt8] = [], parts = key.bytes.split(separator: Paths.slash, omittingEmptySubsequences: false).map(Array.init)
        if parts.last?.isEmpty == true { parts.removeLast() }  // A folder's marker.
        for (index, part) in parts.enumerated() {
            path += (index == 0 ? [] : [Paths.slash]) + part
            let here = Key(path)
            let known = tree.state.withLock { state in state.numbers[here].flatMap { state.nodes[$0] } }
            guard let known else {
                // The kernel may have it as a name that is not there.
                return invalidate(name: part, in: folder)
            }
            tree.noteChange(in: [Paths.split(here).folder])
            invalidate(folder)
            let isLast = index == parts.count - 1
            if known.isFolder, !isLast || key.bytes.last == Paths.slash {
                if exists(folder: here) {
                    folder = known.number
                    continue
                }
            }
            // What is written here stays: its publish is the later change.
            if !known.isFolder, tree.writing(of: known)?.isDirty == true { return }
            tree.loseName(here, of: known)
            return invalidate(name: part, in: folder)
        }
    }

    private func exists(folder: Key) -> Bool {
        var query = Catalog.ListQuery()
        query.prefix = Paths.prefix(folder)
        query.limit = 1
        guard let resolved = try? tree.resolve(), let page = try? tree.catalog.list(resolved, query) else { return false }
        return !page.items.isEmpty
    }

    /// Everything the kernel has may be wrong.
    fileprivate func invalidateAll() {
        let nodes = tree.state.withLock { state in state.nodes.values.filter { $0.number != Tree.root && !$0.isUnlinked }.sorted { $0.path > $1.path } }
        for node in nodes {
            if node.isFolder && exists(folder: tree.path(of: node)) {
                invalidate(node.number)
                continue
            }
            if tree.writing(of: node)?.isDirty == true { continue }
            for path in tree.state.withLock({ _ in node.paths }) {
                tree.loseName(path, of: node)
                if let parent = tree.state.withLock({ $0.numbers[Paths.split(path).folder] }) { invalidate(name: Paths.split(path).name, in: parent) }
            }
        }
        // Names that are cached as absent belong to no node.
        for name in absent.withLock({ names in
            defer { names = [] }
            return names
        }) { invalidate(name: name.name, in: name.parent) }
    }

    /// Names that the kernel was told are not there, as far as they are kept track of.
    struct AbsentName: Hashable { let parent: UInt64, name: [UInt8] }
    private let absent = Mutex<Set<AbsentName>>([])
    /// Beyond this the kernel is not told to remember.
    private static let mostAbsent = 20_000

    /// Whether the kernel may remember that a name is not there.
    func mayCacheAbsence(_ name: [UInt8], in parent: UInt64) -> Bool {
        absent.withLock { names in
            guard names.count < Self.mostAbsent else { return false }
            names.insert(AbsentName(parent: parent, name: name))
            return true
        }
    }

    /// How many differing keys are told one by one before everything is invalidated instead.
    private static let mostKeys = 10_000

    fileprivate func invalidate(_ kind: Change.Kind) {
        switch kind {
        case .keys(let keys): for key in keys { invalidate(key: key) }
        case .moved(let old, let new):
            var keys: [Key] = []
            do {
                let namespace = try tree.catalog.repository(tree.repository).namespace, committed = tree.catalog.committed
                let diff = MetaRangeDiff(try committed.cursor(old, in: namespace), try committed.cursor(new, in: namespace))
                while let difference = try diff.next() {
                    keys.append(difference.key)
                    if keys.count > Self.mostKeys { return invalidateAll() }
                }
            } catch { return invalidateAll() }
            for key in keys { invalidate(key: key) }
        case .everything, .removed: invalidateAll()
        case .committed: break
        }
    }

    /// Tells the kernel of changes, in order, from a thread of its own: a thread that answers a request must not
    /// (`mount.md`, "Invalidation without deadlock").
    private final class Notifier: Sendable {
        enum Item: Sendable {
            case change(Change.Kind)
        }

        private struct State {
            var queue: [(item: Item, done: CountingSemaphore)] = []
            var isStopping = false
            /// The queue was full: everything is invalidated instead.
            var overflow: [CountingSemaphore] = []
        }

        private let state = Mutex(State())
        private let signal = CountingSemaphore()
        private let thread = Mutex<Thread?>(nil)
        private static let limit = 10_000

        func start(_ mount: Mount) {
            let thread = Thread(name: "fuse-notify") { [self, weak mount] in
                while true {
                    signal.wait()
                    let (items, overflow, isStopping) = state.withLock { state in
                        defer {
                            state.queue = []
                            state.overflow = []
                        }
                        return (state.queue, state.overflow, state.isStopping)
                    }
                    if isStopping {
                        for item in items { item.done.post() }
                        for done in overflow { done.post() }
                        return
                    }
                    for (item, done) in items {
                        switch item {
                        case .change(let kind): mount?.invalidate(kind)
                        }
                        done.post()
                    }
                    if !overflow.isEmpty {
                        mount?.invalidateAll()
                        for done in overflow { done.post() }
                    }
                }
            }
            self.thread.withLock { $0 = thread }
        }

        /// What to wait for until the kernel was told; nil if the mount ends.
        func enqueue(_ item: Item) -> CountingSemaphore? {
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

        func stop() {
            state.withLock { $0.isStopping = true }
            signal.post()
            let thread = thread.withLock { thread in
                defer { thread = nil }
                return thread
            }
            thread?.join()
        }
    }
}

/// An open file: where a reader finds the bytes it opened.
final class OpenFile: @unchecked Sendable {
    /// Written only while the file is being opened; -1 if the bytes are not in a local file.
    let descriptor: Int32
    let location: ObjectLocation?
    let size: Int64
    let isWriter: Bool
    /// It reads what is being written, or was when it was opened.
    let readsStaged: Bool
    /// The kernel reads it by itself.
    let isLent = Atomic<Bool>(false)

    init(descriptor: Int32, location: ObjectLocation?, size: Int64, isWriter: Bool, readsStaged: Bool = false) {
        self.readsStaged = readsStaged
        self.descriptor = descriptor
        self.location = location
        self.size = size
        self.isWriter = isWriter
    }

    deinit { if descriptor >= 0 { close(descriptor) } }
}

/// A folder being read: pages by offset, so that memory does not follow the folder's size.
final class FolderReader: Sendable {
    typealias Item = (name: [UInt8], isFolder: Bool, entry: Entry?)
    private struct State {
        /// Where each page begins; the last one that is known may not have been read.
        var starts: [Key] = [Key([])]
        var page: [Item] = []
        var pageNumber = -1
        var isLast = false
        /// Items before each page.
        var counts: [Int] = [0]
        /// The tree's count of changes before the page was read.
        var changes: UInt64 = 0
    }
    private let state = Mutex(State())
    private static let pageSize = 1000

    /// Forgets what was read.
    func restart() { state.withLock { $0 = State() } }

    /// Whether nothing has changed since the page was read that items come from now.
    func isCurrent(_ tree: Tree) -> Bool { state.withLock { $0.changes } == tree.changes.load(ordering: .sequentiallyConsistent) }

    /// The item at an index; nil at the end. Files that are not published yet follow the listed ones.
    func item(_ index: Int, _ folder: Node, _ tree: Tree) throws -> Item? {
        try state.withLock { state in
            while true {
                if state.pageNumber >= 0 {
                    let first = state.counts[state.pageNumber]
                    if index >= first, index < first + state.page.count { return state.page[index - first] }
                    if index >= first, state.isLast { return nil }
                    if index >= first {
                        try read(state.pageNumber + 1, &state, folder, tree)
                        continue
                    }
                }
                try read(state.counts.lastIndex { $0 <= index } ?? 0, &state, folder, tree)
            }
        }
    }

    private func read(_ number: Int, _ state: inout State, _ folder: Node, _ tree: Tree) throws {
        state.changes = tree.changes.load(ordering: .sequentiallyConsistent)
        let (items, next) = try tree.list(folder, after: state.starts[number], limit: Self.pageSize)
        state.page = items
        state.pageNumber = number
        state.isLast = next == nil
        if let next, state.starts.count == number + 1 {
            state.starts.append(next)
            state.counts.append(state.counts[number] + items.count)
        }
        if next == nil {
            let known = Set(items.map { Key($0.name) })
            for name in tree.unpublished(in: folder) where !known.contains(Key(name)) { state.page.append((name, false, nil)) }
        }
    }
}
