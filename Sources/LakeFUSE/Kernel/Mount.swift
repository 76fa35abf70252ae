import CFUSE
import CacheStore
import Foundations
import Glibc
import Synchronization
import Versioning

/// What of the kernel's offers a mount takes; each can be switched off, and everything works without.
package struct Levers: Sendable {
    /// `mounts.passthrough`: the kernel reads and writes files by itself, where it can (Linux 6.9 and later, as root).
    package var passthrough = true
    /// `mounts.directory_cache`: the kernel keeps listings (not on Linux 6.9 to 6.12, where that is broken).
    package var directoryCache = true
    /// `mounts.read_ahead_kib`: how far the kernel reads ahead; 0 for its own choice.
    package var readAheadKiB = 4096
    /// `mounts.events`: inotify(7) tells what other doors change. The executable must know `Herald.command`.
    package var announcesEvents = false
    package init(announcesEvents: Bool = false) { self.announcesEvents = announcesEvents }
}

/// One mount: a libfuse session over a tree, and the thread of its loop. Beside the tree that it shows there may be
/// others: those that it showed before it was switched to another ref, and those that are browsed under `.lake/refs/`.
@safe final class Mount: @unchecked Sendable {
    // The session is made in `init` and destroyed once its loop has ended; libfuse's functions on it are thread-safe.
    private let session: OpaquePointer
    private let slots: Mutex<(current: Slot, all: [UInt64: Slot])>
    /// What the mount shows.
    var tree: Tree { slots.withLock { $0.current.tree } }
    let rights: Tree.Rights
    let isReadOnly: Bool
    /// Finds the tree of another ref of the repository: one to show, or one to look at only.
    let open: @Sendable (_ ref: String, _ isBrowsed: Bool) throws -> Tree
    /// Does something while no tree is closed that nobody seems to use.
    let whileNobodyCloses: @Sendable (_ body: () throws -> Void) throws -> Void
    let control = Control()
    let levers: Levers
    let options: MountOptions
    let directory: String
    let context: Operations.Context
    /// Tells those who watch what others change.
    let herald = Herald()
    private let loop = Mutex<Thread?>(nil)
    private let hasEnded = Atomic<Bool>(false)
    let handles = Mutex<(next: UInt64, all: [UInt64: Handle])>((1, [:]))
    /// Its number among those who hear what others change.
    let number: Int
    private static let count = Atomic<Int>(0)

    /// Threads that answer requests.
    private static let threads: UInt32 = 8

    /// What an open file or folder is.
    enum Handle {
        case file(OpenFile, Slot)
        case folder(Node, FolderReader, Slot)
        case control(ControlFile)
    }

    init(
        tree: Tree, rights: Tree.Rights, isReadOnly: Bool, directory: String, name: String, levers: Levers = Levers(),
        _ options: MountOptions = MountOptions(),
        open: @escaping @Sendable (_ ref: String, _ isBrowsed: Bool) throws -> Tree,
        whileNobodyCloses: @escaping @Sendable (_ body: () throws -> Void) throws -> Void
    ) throws {
        self.whileNobodyCloses = whileNobodyCloses
        if options.skipsOpen, !tree.isReadOnly {
            throw LakeError(.invalidValue, "no-open is for what never changes: a tag, a commit, or a branch with --pin")
        }
        let slot = try Slot(tree, index: 0, options, rights, makesRoot: !isReadOnly)
        slots = Mutex((slot, [0: slot]))
        self.open = open
        self.rights = rights
        self.isReadOnly = isReadOnly
        self.directory = directory
        self.levers = levers
        self.options = options
        number = Self.count.add(1, ordering: .relaxed).newValue
        var words = "fsname=\(name),subtype=lakefuse,default_permissions"
        if isReadOnly { words += ",ro" }
        if getuid() == 0 { words += ",allow_other,dev,suid" } else if options.allowsOthers { words += ",allow_other" }
        var operations = Operations.table
        // libfuse copies arguments and table; the strings live until then.
        let copies: [UnsafeMutablePointer<CChar>?] = unsafe ["lakefuse", "-o", words].map { (word: String) in
            unsafe strdup(word)
        }
        defer { unsafe copies.forEach { unsafe free($0) } }
        var pointers: [UnsafeMutablePointer<CChar>?] = unsafe copies + [nil]
        let context = Operations.Context(KernelFeatures(wantsPassthrough: levers.passthrough && !options.skipsOpen))
        self.context = context
        let made = unsafe pointers.withUnsafeMutableBufferPointer { pointers in
            var arguments = unsafe fuse_args(argc: 3, argv: pointers.baseAddress, allocated: 0)
            return unsafe fuse_session_new(
                &arguments, &operations, MemoryLayout<fuse_lowlevel_ops>.size,
                Unmanaged.passUnretained(context).toOpaque())
        }
        guard let made = unsafe made else { throw LakeError(.unavailable, "FUSE does not start for \(directory)") }
        unsafe session = unsafe made
        guard unsafe fuse_session_mount(session, directory) == 0 else {
            unsafe fuse_session_destroy(session)
            throw LakeError(.unavailable, "cannot mount on \(directory): is /dev/fuse here, and may this user mount?")
        }
        var io = KernelFeatures.io
        // It copies them; the descriptor stays its own.
        _ = unsafe fuse_session_custom_io(session, &io, fuse_session_fd(session))
    }

    // MARK: trees

    /// The tree that a number of the kernel's is of, and the number there. The root is always what the mount shows.
    func place(_ number: UInt64) throws -> (slot: Slot, local: UInt64) {
        if number == Tree.root, !options.prefix.isEmpty { try current.findRoot(rights, makes: !isReadOnly) }
        return try slots.withLock { slots in
            if number == Tree.root { return (slots.current, slots.current.root) }
            guard let slot = slots.all[number >> Slot.shift] else { throw Errno(ESTALE) }
            return (slot, number & (1 << Slot.shift - 1))
        }
    }

    var trees: [Tree] { everySlot.map(\.tree) }
    func uses(_ tree: Tree) -> Bool { slots.withLock { $0.all.values.contains { $0.tree === tree } } }
    var current: Slot { slots.withLock { $0.current } }
    private var everySlot: [Slot] { slots.withLock { Array($0.all.values) } }

    /// Shows a tree from now on: what is open keeps its bytes, everything else is looked up anew.
    func show(_ tree: Tree) throws {
        let slot = try add(tree, isShown: true)
        let old = slots.withLock { slots in
            defer { slots.current = slot }
            return slots.current
        }
        old.isRetired.store(true, ordering: .releasing)
        old.leaveRoot()
        forgetNames(of: old)
    }

    /// A slot for a tree; those that the kernel knows nothing of any more go.
    private func add(_ tree: Tree, isShown: Bool = false) throws -> Slot {
        var ended: [Slot] = []
        let options = isShown ? options : options.browsing
        let slot = try slots.withLock { slots in
            if let known = slots.all.values.first(where: {
                $0.tree === tree && $0.prefix == options.prefix && !$0.isRetired.load(ordering: .acquiring)
            }) {
                return known
            }
            for (index, slot) in slots.all
            where slot !== slots.current && slot.isRetired.load(ordering: .acquiring) && slot.tree.isForgotten {
                slots.all[index] = nil
                ended.append(slot)
            }
            guard let index = (0..<Control.index).first(where: { slots.all[$0] == nil }) else { throw Errno(ENFILE) }
            let slot = try Slot(
                tree, index: index, options, rights, makesRoot: isShown && !isReadOnly && !tree.isReadOnly)
            slots.all[index] = slot
            return slot
        }
        for slot in ended { leave(slot) }
        listen(to: slot)
        return slot
    }

    private func listen(to slot: Slot) {
        slot.tree.listeners.withLock {
            $0[number] = { [weak self, weak slot] notice in if let slot { self?.hear(notice, slot) } }
        }
    }

    private func leave(_ slot: Slot) {
        slot.tree.listeners.withLock { $0[number] = nil }
        if slot.tree.isReadOnly { slot.tree.stop() }
    }

    /// The root of a ref that is browsed. Trees that nobody looks at make room.
    func browse(_ ref: String) throws -> Slot { try browsing.withLock { _ in try browseAlone(ref) } }
    private let browsing = Mutex<Void>(())

    private func browseAlone(_ ref: String) throws -> Slot {
        if let known = browsed.withLock({ $0[ref] }), !known.isRetired.load(ordering: .acquiring) { return known }
        let slot = try add(open(ref, true))
        browsed.withLock { browsed in
            if browsed.count >= Self.mostBrowsed {
                for (name, other) in browsed where other.tree.isForgotten {
                    other.isRetired.store(true, ordering: .releasing)
                    browsed[name] = nil
                }
            }
            browsed[ref] = slot
        }
        return slot
    }
    private let browsed = Mutex<[String: Slot]>([:])

    /// The root of what has no name of its own in what is shown (`ShadowedView`), as it is now.
    func browseShadowed() throws -> Slot {
        try browsing.withLock { _ in
            let shown = tree
            let version = shown.generation.load(ordering: .sequentiallyConsistent)
            let now = Timestamp.monotonicMilliseconds()
            if let known = shadowed.withLock({ $0 }), known.of === shown, known.version == version,
                now - known.made < Self.shadowedMilliseconds
            {
                return known.slot
            }
            let made = Tree(
                try ShadowedView(shown.view), repository: shown.id.repository, ref: shown.id.branch.text,
                isReadOnly: true,
                staging: shown.staging, begun: shown.begun)
            made.start()
            let slot = try add(made)
            let old = shadowed.withLock { shadowed in
                defer { shadowed = (slot, shown, version, now) }
                return shadowed
            }
            old?.slot.isRetired.store(true, ordering: .releasing)
            return slot
        }
    }
    private let shadowed = Mutex<(slot: Slot, of: Tree, version: UInt64, made: Int64)?>(nil)
    /// How long what was found holds: what is written through the mount itself nobody counts.
    private static let shadowedMilliseconds: Int64 = 5000
    private static let mostBrowsed = 32

    /// Makes the kernel forget all names below the root.
    private func forgetNames(of old: Slot) {
        if unsafe context.features.increaseEpoch(fuse_session_fd(session)) {
            absent.withLock { $0 = [] }
        } else {
            hear(.absentNames, old)
            for name in old.tree.childNames(of: old.root) { invalidate(name: name.bytes, in: Tree.root) }
        }
        unsafe fuse_lowlevel_notify_inval_inode(session, fuse_ino_t(Tree.root), 0, 0)
    }

    // MARK: how the kernel uses open files

    /// What the kernel does with a file that is open here.
    private struct Use {
        /// The number by which it knows the file that it reads and writes by itself, and the contents that this is of.
        var number: Int32 = 0, content = 0, lent = 0
        /// Handles whose bytes are in its cache.
        var cached = 0
        /// What is in its cache may be old: it was written by handles that go past it.
        var isCacheOld = false
    }
    private let uses = Mutex<[ObjectIdentifier: Use]>([:])

    /// How the kernel is to use a handle.
    enum Way {
        /// By itself, from the file that it knows by this number.
        case lent(Int32)
        /// Through its cache; what it has there may be kept, or not.
        case cached(keeps: Bool)
        /// Past its cache.
        case direct
    }

    /// Bytes from which the object of a snapshot is lent to the kernel: for smaller ones that takes longer than reading
    /// them.
    private static let leastLent: Int64 = 256 << 10

    /// How the kernel is to use a handle. All handles of one file at one time must be alike (linux/fuse.h,
    /// FOPEN_PASSTHROUGH): those that it serves by itself, from one file, and those whose bytes it caches exclude each
    /// other. Objects are lent in snapshots alone: a reader must see what is written to the file later.
    func way(_ open: OpenFile, _ tree: Tree) -> Way {
        let node = open.node
        let key = ObjectIdentifier(node)
        let mayLend =
            context.features.hasPassthrough && open.descriptor >= 0
            && (open.isWorking || (tree.isReadOnly && (open.entry?.size ?? 0) >= Self.leastLent))
        return uses.withLock { uses in
            var use = uses[key] ?? Use()
            defer { uses[key] = use }
            if use.lent > 0 {
                guard mayLend, use.content == open.content else { return .direct }
            } else if !mayLend || use.cached > 0 {
                return cache(open, &use)
            } else {
                // The system call does not wait.
                guard let number = unsafe KernelFeatures.lend(open.descriptor, to: fuse_session_fd(session)) else {
                    return cache(open, &use)
                }
                use.number = number
                use.content = open.content
            }
            use.lent += 1
            use.isCacheOld = true
            open.isLent.store(true, ordering: .relaxed)
            tree.state.withLock { _ in node.lent += 1 }
            return .lent(use.number)
        }
    }

    private func cache(_ open: OpenFile, _ use: inout Use) -> Way {
        use.cached += 1
        open.isCached.store(true, ordering: .relaxed)
        defer { use.isCacheOld = false }
        return .cached(keeps: !use.isCacheOld)
    }

    /// A handle is closed.
    func takeBack(_ open: OpenFile, _ tree: Tree) {
        let node = open.node
        let key = ObjectIdentifier(node)
        let isLent = open.isLent.load(ordering: .relaxed)
        guard isLent || open.isCached.load(ordering: .relaxed) else { return }
        uses.withLock { uses in
            guard var use = uses[key] else { return }
            if isLent {
                use.lent -= 1
                tree.state.withLock { _ in node.lent -= 1 }
                if use.lent == 0 { unsafe KernelFeatures.takeBack(use.number, from: fuse_session_fd(session)) }
            } else {
                use.cached -= 1
            }
            uses[key] = use.lent > 0 || use.cached > 0 || use.isCacheOld ? use : nil
        }
    }

    /// The kernel forgot an inode, and with it what it had in its cache.
    func forget(_ number: UInt64, _ count: UInt64) {
        guard let (slot, local) = try? place(number) else { return }
        if let node = slot.tree.forget(local, count) {
            uses.withLock { uses in if let use = uses[node], use.lent == 0, use.cached == 0 { uses[node] = nil } }
        }
    }

    // MARK: begin and end

    /// Begins to answer. `ended` runs when the mount is gone, however it went.
    func start(_ ended: @escaping @Sendable () -> Void) {
        unsafe context.mount = self
        listen(to: current)
        let thread = Thread(name: "fuse-loop") { [self] in
            _ = unsafe lake_fuse_loop(session, Self.threads)
            for slot in everySlot where slot !== current { leave(slot) }
            current.tree.listeners.withLock { $0[number] = nil }
            // What the kernel no longer tells us of: cut off, it is not whole.
            for handle in handles.withLock({ handles in
                defer { handles.all = [:] }
                return Array(handles.all.values)
            }) { if case .file(let open, let slot) = handle { slot.tree.finish(open, closes: false) } }
            hasEnded.store(true, ordering: .releasing)
            herald.end()
            ended()
        }
        loop.withLock { $0 = thread }
        if levers.readAheadKiB > 0 { setReadAhead() }
        if levers.announcesEvents, !isReadOnly { herald.start(self) }
    }

    /// How far the kernel reads ahead of who reads in order (Documentation/ABI/testing/sysfs-class-bdi). Only root may
    /// set it.
    private func setReadAhead() {
        guard let status = FileStatus(path: directory) else { return }
        // makedev(3): the numbers lie in pieces.
        let device =
            "\((status.device >> 8) & 0xfff | (status.device >> 32) & ~0xfff):\(status.device & 0xff | (status.device >> 12) & ~0xff)"
        let file = unsafe Glibc.open("/sys/class/bdi/\(device)/read_ahead_kb", O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return }
        defer { close(file) }
        let text = "\(levers.readAheadKiB)"
        _ = unsafe write(file, text, text.utf8.count)  // It reads less far ahead then.
    }

    static func inUse(_ directory: String) -> LakeError {
        LakeError(.invalidValue, "\(directory) is in use: close what is open in it, and leave it")
    }

    /// Publishes everything and ends the mount.
    /// - Parameter places: all folders that it is mounted on.
    /// - Throws: `LakeError` if something is still open in it (unless `forced`), or cannot be published.
    func stop(at places: [String], forced: Bool) throws {
        do { try publish() } catch { if !forced { throw error } }
        try unmount(at: places, forced: forced)
    }

    /// Ends the mount, without publishing.
    func unmount(at places: [String], forced: Bool) throws {
        herald.pause()
        defer { herald.resume() }
        for place in places where !hasEnded.load(ordering: .acquiring) {
            if unsafe umount2(place, 0) == 0 { continue }
            guard forced || errno != EBUSY else { throw Self.inUse(place) }
            // Aborting the connection ends the loop even if something is open. Who may not do it has fusermount3 do it.
            if unsafe umount2(place, Int32(MNT_FORCE) | Int32(MNT_DETACH)) != 0 { unsafe fuse_session_unmount(session) }
        }
    }

    /// Makes what was closed entries of the branch, on disk.
    /// - Throws: `LakeError` that names the mount.
    func publish() throws {
        do {
            for tree in everySlot.map(\.tree) where !tree.isReadOnly && !tree.isGone.load(ordering: .acquiring) {
                try tree.publish(.closed, .durable)
                try tree.synchronizeRows()
            }
        } catch { throw LakeError(LakeError(error).code, "cannot unmount \(directory): \(LakeError(error).message)") }
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

    /// Names that the kernel was told are not there, as far as they are kept track of.
    struct AbsentName: Hashable { let parent: UInt64, name: Key }
    private let absent = Mutex<Set<AbsentName>>([])
    /// Beyond this the kernel is not told to remember.
    private static let mostAbsent = 20_000

    /// Whether the kernel may remember that a name is not there.
    func mayCacheAbsence(_ name: [UInt8], in parent: UInt64) -> Bool {
        // What never changes need not be kept track of.
        if current.tree.isReadOnly, parent >> Slot.shift == 0 { return true }
        return absent.withLock { names in
            let name = AbsentName(parent: parent, name: Key(name))
            guard names.count < Self.mostAbsent || names.contains(name) else { return false }
            names.insert(name)
            return true
        }
    }

    /// How the kernel knows a node of a slot: the root that it knows is that of what is shown.
    func number(_ local: UInt64, in slot: Slot) -> UInt64 {
        local == slot.root && slot === current ? Tree.root : slot.number(local)
    }

    private func hear(_ notice: Notice, _ slot: Slot) {
        guard !hasEnded.load(ordering: .acquiring) else { return }
        switch notice {
        case .name(let folder, let name, let lost):
            let folder = number(folder, in: slot)
            _ = absent.withLock { $0.remove(AbsentName(parent: folder, name: Key(name))) }
            invalidate(name: name, in: folder, lost: lost.map { slot.number($0) })
        case .node(let local):
            unsafe fuse_lowlevel_notify_inval_inode(session, fuse_ino_t(number(local, in: slot)), 0, 0)
        case .event(let event): if levers.announcesEvents, !isReadOnly { herald.note(event, slot) }
        case .absentNames:
            for name in absent.withLock({ names in
                defer { names = [] }
                return names
            }) { invalidate(name: name.name.bytes, in: name.parent) }
        }
    }

    /// - Parameter lost: the inode that had no other name: who watches it hears that it is gone (fuse_lowlevel.h,
    ///   notify_delete).
    func invalidate(name: [UInt8], in parent: UInt64, lost: UInt64? = nil) {
        unsafe name.withUnsafeBytes { bytes in
            let text = unsafe bytes.assumingMemoryBound(to: CChar.self).baseAddress
            if let lost {
                _ = unsafe fuse_lowlevel_notify_delete(session, fuse_ino_t(parent), fuse_ino_t(lost), text, bytes.count)
            } else {
                _ = unsafe fuse_lowlevel_notify_inval_entry(session, fuse_ino_t(parent), text, bytes.count)
            }
        }
    }
}
