import CLinux
import CacheStore
import Foundations
import Glibc
import Synchronization
import Versioning

/// An open file: where a reader finds the bytes it opened.
final class OpenFile: Sendable {
    /// Where bytes come from, and which of the node's contents they are.
    fileprivate enum Source {
        case working(WorkingFile, descriptor: Int32)
        /// An object as a local file, or (-1) one that is read through the view.
        case object(Entry, descriptor: Int32)
        case nothing
    }
    let node: Node
    let isWriter: Bool
    fileprivate let source = Mutex<(source: Source, content: Int)>((.nothing, -1))
    /// The kernel reads and writes it by itself; or it keeps the bytes in its cache. Set once, before anybody uses it.
    let isLent = Atomic<Bool>(false), isCached = Atomic<Bool>(false)

    init(_ node: Node, isWriter: Bool) {
        self.node = node
        self.isWriter = isWriter
    }

    deinit { Self.close(source.withLock { $0.source }) }

    fileprivate static func close(_ source: Source) {
        switch source {
        case .working(let file, _): file.release()
        case .object(_, let descriptor): if descriptor >= 0 { Glibc.close(descriptor) }
        case .nothing: break
        }
    }

    /// The descriptor behind it, if it is a local file.
    var descriptor: Int32 {
        source.withLock { current in
            switch current.source {
            case .working(_, let descriptor): descriptor
            case .object(_, let descriptor): descriptor
            case .nothing: -1
            }
        }
    }

    /// Which of the node's contents it is of.
    var content: Int { source.withLock { $0.content } }

    /// Whether its bytes are in a working file.
    var isWorking: Bool { source.withLock { current in if case .working = current.source { true } else { false } } }

    /// The object that it was opened on, if it is one.
    var entry: Entry? {
        source.withLock { current in if case .object(let entry, _) = current.source { entry } else { nil } }
    }
}

/// Files of a tree as programs use them: opened, read, written, closed.
extension Tree {
    /// Larger files are copied when somebody writes to them, not when they open them for writing.
    private static let copiedWhenOpened: Int64 = 256 << 20

    /// Opens a file.
    /// - Parameter caller: who opens it for writing.
    /// - Throws: `ESTALE` if its object has gone since it was looked up: the kernel looks it up again.
    func open(_ node: Node, writes: Bool, truncates: Bool = false, caller: Owner = .server, _ rights: Rights = .all)
        throws -> OpenFile
    {
        if writes {
            try requireChangeable(node, rights)
            guard !isGone.load(ordering: .acquiring) else { throw Errno(EIO) }
            try view.checkWritable()
        }
        guard node.kind == .file else { throw Errno(node.isFolder ? EISDIR : ENXIO) }
        let handle = OpenFile(node, isWriter: writes)
        begin(node, writes: writes)
        do {
            try node.io.withLock { _ in
                if writes {
                    try setAside(node, truncates: truncates)
                    try makeWritable(node, truncates: truncates, ifUpTo: Self.copiedWhenOpened)
                    if caller.user != 0 { mayStrip(node, now: truncates) }
                }
                try connect(handle)
            }
        } catch {
            finish(handle)
            throw error
        }
        return handle
    }

    /// The handle of a file that was just made.
    func openMade(_ node: Node) throws -> OpenFile {
        let handle = OpenFile(node, isWriter: true)
        do {
            try node.io.withLock { _ in try connect(handle) }
            file(of: node)?.release()  // Its maker's.
        } catch {
            finish(handle)
            throw error
        }
        return handle
    }

    private func begin(_ node: Node, writes: Bool) {
        state.withLock { _ in
            node.handles += 1
            guard writes else { return }
            node.writers += 1
            node.isRecovered = false  // Somebody has taken it up, and will close it.
        }
    }

    /// Somebody who is not root writes to a file, or has cut it.
    private func mayStrip(_ node: Node, now: Bool) {
        let status = file(of: node)?.status
        state.withLock { _ in
            guard let mode = node.attributes.mode, mode & 0o6000 != 0 else { return }
            if now { node.attributes.mode = Self.stripped(mode) } else { node.strippedUnless = status }
        }
    }

    /// Finds the bytes of a handle as they are now. Under the node's `io`.
    private func connect(_ handle: OpenFile) throws {
        let (file, entry, content) = state.withLock { _ in (handle.node.file, handle.node.entry, handle.node.content) }
        let found: OpenFile.Source
        if let file {
            found = .working(file, descriptor: try file.use())
        } else if let entry {
            found = .object(entry, descriptor: try openObject(entry, of: handle.node))
        } else {
            found = .nothing
        }
        let old = handle.source.withLock { current in
            defer { current = (found, content) }
            return current.source
        }
        OpenFile.close(old)
    }

    /// Where the branch has a file; nil if nowhere.
    private func branchPath(of node: Node) -> Key? { state.withLock { _ in Self.published(node).first } }

    private func openObject(_ entry: Entry, of node: Node) throws -> Int32 {
        let piece: FilePiece?
        do { piece = try view.open(entry, at: branchPath(of: node)) } catch let error as StoreError
            where error.code == .notFound
        {
            // Replaced by another door since it was looked up: the kernel looks it up again, and finds the new one.
            loseNames(of: node)
            throw Errno(ESTALE)
        }
        guard let piece else { return -1 }
        guard piece.byteCount == entry.size else {
            Log.error("an object is damaged: it has not as many bytes as its entry says", ["object": entry.address])
            piece.close()
            throw Errno(EIO)
        }
        return piece.descriptor
    }

    /// Sees to it that a file's bytes are in a working file. Under the node's `io`.
    /// - Parameter most: larger ones are left for when somebody writes.
    /// - Parameter opened: a descriptor of the object, for when that has gone since: with its name, or for a newer
    ///   one's sake.
    private func makeWritable(_ node: Node, truncates: Bool = false, ifUpTo most: Int64 = .max, opened: Int32 = -1)
        throws
    {
        let (file, entry) = state.withLock { _ in (node.file, node.entry) }
        if let file {
            guard truncates else { return }
            try file.using { guard ftruncate($0, 0) == 0 else { throw Errno(errno) } }
            return
        }
        if let entry, !truncates, entry.size > most { return }
        let made = try WorkingFile(staging, address: view.newAddress())
        do {
            if let entry, !truncates {
                try made.copy(view, entry, at: branchPath(of: node), opened: opened, modified: facts(node).modified)
            }
        } catch {
            made.release()
            made.drop()
            throw error
        }
        made.release()
        state.withLock { Self.begin(made, of: node, &$0) }
        wake()
    }

    /// A node's bytes are in another working file from now on. Under the lock.
    private static func begin(_ file: WorkingFile, of node: Node, _ state: inout State) {
        node.file = file
        node.content += 1
        node.closed = nil
        node.publishedClose = nil
        state.unwritten[node.number] = node
    }

    /// Files up to this size are copied when they are opened for writing again before they were published; larger ones
    /// are written in place: what was closed of them before is only in the tree then.
    private static let largestCopy: Int64 = 1 << 20

    /// What was closed and is not published is kept as it is, when somebody begins to write to the file again. Under
    /// the node's `io`.
    private func setAside(_ node: Node, truncates: Bool) throws {
        guard state.withLock({ _ in node.file != nil && node.closed != nil && node.closed != node.publishedClose })
        else { return }
        waitForRelease(of: node, but: 1)
        let found = state.withLock { _ -> (file: WorkingFile, closed: Node.Closed, isAlone: Bool)? in
            guard let file = node.file, let closed = node.closed, closed != node.publishedClose, node.whole == nil,
                !node.names.isEmpty
            else { return nil }
            return (file, closed, node.writers == 1 && node.lent == 0)
        }
        guard let found, found.file.status == found.closed,
            (truncates && found.isAlone) || found.closed.size <= Self.largestCopy
        else { return }
        let copy = try WorkingFile(staging, address: view.newAddress())
        var isTaken = false
        defer {
            copy.release()
            if !isTaken { copy.drop() }
        }
        if !truncates || !found.isAlone { try copy.copy(found.file, modified: found.closed.modified) }
        // Others have it open, or the kernel has not told yet that they have closed it: they go on with the file that
        // they have.
        guard found.isAlone || (found.file.status == found.closed && copy.status == found.closed) else { return }
        state.withLock { state in
            guard node.file === found.file, node.closed == found.closed else { return }
            isTaken = true
            node.whole = Node.Whole(file: found.isAlone ? found.file : copy, closed: found.closed)
            if found.isAlone { Self.begin(copy, of: node, &state) } else { state.unwritten[node.number] = node }
        }
    }

    /// Where a handle's bytes are, brought up to date.
    private func current(_ handle: OpenFile) throws -> OpenFile.Source {
        let content = state.withLock { _ in handle.node.content }
        let (source, own) = handle.source.withLock { $0 }
        if own == content { return source }
        return try handle.node.io.withLock { _ in
            try connect(handle)
            return handle.source.withLock { $0.source }
        }
    }

    /// Reads up to a buffer's bytes. Returns how many there were.
    func read(_ handle: OpenFile, into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws -> Int {
        switch try current(handle) {
        case .nothing: return 0
        case .working(_, let descriptor):
            let count = unsafe pread(descriptor, buffer.baseAddress, buffer.count, off_t(offset))
            guard count >= 0 else { throw Errno(errno) }
            return count
        case .object(let entry, let descriptor):
            let wanted = min(Int64(buffer.count), max(0, entry.size - offset))
            guard wanted > 0 else { return 0 }
            if descriptor >= 0 {
                let count = unsafe pread(descriptor, buffer.baseAddress, Int(wanted), off_t(offset))
                guard count >= 0 else { throw Errno(errno) }
                // Cut since it was opened: what the kernel is not given it would show as zeros.
                guard Int64(count) >= wanted else { throw Errno(EIO) }
                return count
            }
            let bytes = try view.read(entry, at: branchPath(of: handle.node), offset..<offset + wanted)
            guard Int64(bytes.count) == wanted else { throw Errno(EIO) }
            unsafe buffer.copyBytes(from: bytes)
            return bytes.count
        }
    }

    /// The descriptor of a handle's working file, which is made if there is none yet.
    private func writable(_ handle: OpenFile) throws -> Int32 {
        guard handle.isWriter else { throw Errno(EBADF) }
        if case .working(_, let descriptor) = try current(handle) { return descriptor }
        return try handle.node.io.withLock { _ in
            try makeWritable(handle.node, opened: handle.descriptor)
            try connect(handle)
            return handle.descriptor
        }
    }

    func write(_ handle: OpenFile, _ bytes: UnsafeRawBufferPointer, at offset: Int64) throws -> Int {
        guard offset <= Entry.largestSize - Int64(bytes.count) else { throw Errno(EFBIG) }
        let count = unsafe pwrite(try writable(handle), bytes.baseAddress, bytes.count, off_t(offset))
        guard count >= 0 else { throw Errno(errno) }
        return count
    }

    /// truncate(2), ftruncate(2).
    func truncate(_ node: Node, _ size: Int64, caller: Owner = .server, _ rights: Rights = .all) throws {
        guard node.kind == .file else { throw Errno(node.isFolder ? EISDIR : EINVAL) }
        guard size >= 0, size <= Entry.largestSize else { throw Errno(EFBIG) }
        // As if it were opened, cut and closed; who has it open for writing will say himself when it is whole.
        let handle = try open(node, writes: true, truncates: size == 0, caller: caller, rights)
        defer { finish(handle) }
        if size > 0 {
            guard ftruncate(try writable(handle), off_t(size)) == 0 else { throw Errno(errno) }
        }
    }

    /// fallocate(2).
    func allocate(_ handle: OpenFile, mode: Int32, _ offset: Int64, _ length: Int64) throws {
        guard length <= Entry.largestSize, offset <= Entry.largestSize - length else { throw Errno(EFBIG) }
        guard lake_fallocate(try writable(handle), mode, offset, length) == 0 else { throw Errno(errno) }
    }

    /// lseek(2) with SEEK_DATA or SEEK_HOLE.
    func seek(_ handle: OpenFile, _ offset: Int64, whence: Int32) throws -> Int64 {
        _ = try current(handle)
        let descriptor = handle.descriptor
        guard descriptor >= 0 else { throw Errno(EOPNOTSUPP) }
        let found = lseek(descriptor, off_t(offset), whence)
        guard found >= 0 else { throw Errno(errno) }
        return Int64(found)
    }

    /// copy_file_range(2): by the kernel, from file to file. Returns how many bytes there were.
    func copyRange(_ source: OpenFile, _ offset: Int64, to target: OpenFile, _ targetOffset: Int64, _ length: Int)
        throws -> Int
    {
        _ = try current(source)
        let from = source.descriptor
        let to = try writable(target)
        guard from >= 0 else { throw Errno(EXDEV) }
        var start = offset
        var end = targetOffset
        let count = unsafe lake_copy_file_range(from, &start, to, &end, length)
        guard count >= 0 else { throw Errno(errno) }
        return count
    }

    /// One of the descriptors of a file that writes was closed; there may be others, in children say (close(2),
    /// fuse_lowlevel.h, flush).
    func flush(_ handle: OpenFile) { if handle.isWriter { noteClosed(handle.node) } }

    /// Milliseconds within which two writes may have the same time (4 with 250 ticks a second).
    private static let clockTick: Int64 = 20

    /// What a file is now is whole, as far as who wrote it says.
    /// - Parameter byLast: nothing is said if there is another writer: the kernel lets go of a handle some time after it
    ///   was closed, when the next one may be amid writing.
    func noteClosed(_ node: Node, byLast: Bool = false) {
        guard let file = file(of: node), let status = file.status else { return }
        let isUnwritten = file.isCopy
        let isNew = state.withLock { state in
            guard node.file === file, !node.isRecovered, !byLast || node.writers == 1 else { return false }
            if node.closed == status {
                // Written again within one tick of the clock, it would look the same.
                let now = Timestamp.now()
                let age =
                    (now.seconds - status.modified.seconds) * 1000 + Int64(
                        now.nanoseconds - status.modified.nanoseconds) / 1_000_000
                guard age < Self.clockTick, node.publishedClose == status else { return false }
                node.publishedClose = nil
            }
            if node.closed == nil, isUnwritten { return false }  // Opened for writing, and not written to.
            Self.dropWhole(of: node, &state)
            if let unless = node.strippedUnless, unless != status, let mode = node.attributes.mode {
                node.attributes.mode = Self.stripped(mode)
            }
            node.strippedUnless = nil
            if node.attributes.modified != status.modified { node.attributes.modified = nil }
            node.closed = status
            node.touched = Timestamp.monotonicMilliseconds()
            guard !node.names.isEmpty else { return false }
            note(node, &state)
            return true
        }
        if isNew { wake() }
    }

    /// A handle is closed for good.
    /// - Parameter closes: whether the file is whole then, if nobody else writes to it.
    func finish(_ handle: OpenFile, closes: Bool = true) {
        let node = handle.node
        if handle.isWriter, closes { noteClosed(node, byLast: true) }
        node.io.withLock { _ in letGo(handle) }
        wake()
    }

    /// Takes a handle off its node, and with the last one a working file that nobody wants any more. Under the node's
    /// `io`.
    private func letGo(_ handle: OpenFile) {
        let node = handle.node
        let isCopy = handle.isWriter && file(of: node)?.isCopy == true
        state.withLock { state in
            node.handles -= 1
            if handle.isWriter { node.writers -= 1 }
            defer { Self.release(node, &state) }
            guard let file = node.file else { return }
            let isUnwanted = node.handles == 0 && node.names.isEmpty
            // The object has the same bytes: a working file that nobody wrote to is let go of.
            let isUnwritten =
                node.writers == 0 && isCopy && node.closed == nil && (node.entry != nil || node.whole != nil)
                && node.lent == 0
            guard isUnwanted || isUnwritten else { return }
            node.file = isUnwanted ? nil : node.whole?.file
            node.closed = isUnwanted ? nil : node.whole?.closed
            if !isUnwanted { node.whole = nil }
            node.content += 1
            state.unwritten[node.number] = node
            state.dropped.append(file)
        }
    }

    /// Makes a file's bytes and all that was done before durable (fsync(2)). It does not publish: who is still writing
    /// has not said that the file is whole.
    func synchronize(_ node: Node) throws {
        if let file = file(of: node) { try file.using { guard fdatasync($0) == 0 else { throw Errno(errno) } } }
        try synchronizeRows()
    }

    /// Makes the names durable, and what was published.
    func synchronizeRows() throws {
        try writeRows(.durable)
        if hasUnsyncedRows.exchange(false, ordering: .acquiringAndReleasing) {
            do { try staging.synchronize() } catch {
                hasUnsyncedRows.store(true, ordering: .releasing)
                throw error
            }
        }
        try synchronizeBranch()
    }
}
