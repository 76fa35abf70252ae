import CacheStore
import CLinux
import Glibc
import Synchronization
import Versioning

/// The bytes of a file that is being written in a mount: a local file until it is published, then an object that is never
/// written again; the next write begins a new local file with its bytes (copy on write).
///
/// `lock` is the file's own, as an inode's is: it is held over its reads and writes, never over anything of the core, and
/// never taken while the tree's lock is held.
final class StagedFile: Sendable {
    /// What the bytes became: an object that an entry is to name.
    struct Frozen: Sendable {
        let name: String
        let address: String
        let size: Int64
        let eTag: String
        /// Of the last write.
        let modified: Timestamp
    }

    /// What the file is to become, as far as it is known when it is made.
    struct Purpose: Sendable {
        let repository: String
        let branch: String
        let path: Key
        /// The other names of a file that was linked.
        var others: [Key] = []
        /// It has a name: a crash is to bring it back.
        var isNamed = true
        /// Mode, owner and the like, as entries have them.
        let metadata: Metadata
        let newAddress: @Sendable () -> String
    }

    private struct State {
        var name = ""
        var address = ""
        var descriptor: Int32 = -1
        /// The file behind the descriptor is an object now.
        var isFrozen = false
        /// Taken up after a crash, and not closed since: it stays for the next start.
        var isAbandoned = false
        /// The file has no name: nothing of it is to be kept.
        var isUnnamed = false
        /// Frozen, and no entry names it yet: staging it failed, or has not happened.
        var unstaged: Frozen?
        /// The tag of the first bytes, while they come in order.
        var tag: TagBox? = TagBox()
    }

    /// Reachable only through the state, under its lock.
    private final class TagBox: @unchecked Sendable {
        var tag = EntityTag()
    }

    private let staging: WriteStaging
    private let lock = Mutex<State>(State())
    private let hasNews = Atomic<Bool>(true)

    /// Something was written that no entry names yet. Takes no lock.
    var isDirty: Bool { hasNews.load(ordering: .acquiring) }

    /// Begins with no bytes, or with those of an object.
    init(_ staging: WriteStaging, _ purpose: Purpose, copying source: (objects: any ObjectStore, location: ObjectLocation, size: Int64)? = nil, opened: Int32 = -1) throws {
        self.staging = staging
        let (name, descriptor) = try staging.make(), address = purpose.newAddress()
        do {
            if let source { try Self.load(source.objects, source.location, source.size, opened, into: descriptor) }
            if purpose.isNamed { try staging.register(name, Self.record(purpose, address)) }
        } catch {
            close(descriptor)
            staging.forget(name)
            throw error
        }
        lock.withLock { state in
            state.name = name
            state.address = address
            state.descriptor = descriptor
            if source != nil { state.tag = nil }
        }
        // A copy has nothing to publish until it is written; an empty file is new.
        hasNews.store(source == nil, ordering: .releasing)
    }

    /// Takes up what a crash left: a file that was being written.
    init(_ staging: WriteStaging, recovering name: String, _ record: WriteStaging.Record) throws {
        self.staging = staging
        let descriptor = unsafe open(staging.path(name), O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw Errno(errno) }
        lock.withLock { state in
            state.name = name
            state.address = record.address
            state.descriptor = descriptor
            state.tag = nil
            state.isAbandoned = true
        }
    }

    private static func record(_ purpose: Purpose, _ address: String, closed: Timestamp? = nil) -> WriteStaging.Record {
        WriteStaging.Record(repository: purpose.repository, branch: purpose.branch, path: purpose.path, address: address, metadata: purpose.metadata, closed: closed, others: purpose.others)
    }

    deinit {
        lock.withLock { state in
            guard state.descriptor >= 0 else { return }
            close(state.descriptor)
            // What was closed and could not be published waits for the next start.
            if !state.isFrozen && !state.isAbandoned && (!isDirty || state.isUnnamed) { staging.forget(state.name) }
        }
    }

    /// Somebody has it open and will close it, or does not want it: it is a file like others again.
    func takeUp() { lock.withLock { $0.isAbandoned = false } }

    /// Makes the bytes durable where they are (fsync(2)); false if they are an object already.
    func synchronize() throws -> Bool {
        let descriptor: Int32? = try lock.withLock { state in
            guard !state.isFrozen else { return nil }
            let own = fcntl(state.descriptor, F_DUPFD_CLOEXEC, 0)
            guard own >= 0 else { throw Errno(errno) }
            return own
        }
        guard let descriptor else { return false }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw Errno(errno) }
        try staging.synchronize()
        return true
    }

    /// The file is to become this now: a crash brings it back so.
    /// - Parameter isClosed: whether somebody closed it, and a crash publishes it.
    func note(_ purpose: Purpose, isClosed: Bool = false) throws {
        let (name, address) = lock.withLock { ($0.isFrozen ? nil : $0.name, $0.address) }
        if let name { try staging.register(name, Self.record(purpose, address, closed: isClosed ? facts.modified : nil)) }
    }

    /// Size and time of change, as they are now.
    var facts: (size: Int64, modified: Timestamp) {
        lock.withLock { state in
            guard let status = FileStatus(state.descriptor) else { return (0, .now()) }
            return (status.size, status.modified)
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws -> Int {
        try lock.withLock { state in
            let count = unsafe pread(state.descriptor, buffer.baseAddress, buffer.count, off_t(offset))
            guard count >= 0 else { throw Errno(errno) }
            return count
        }
    }

    /// A new file with the bytes of the frozen one.
    private func thaw(_ state: inout State, _ purpose: Purpose) throws {
        guard state.isFrozen else { return }
        let (name, descriptor) = try staging.make(), address = purpose.newAddress()
        do {
            try Self.copy(state.descriptor, to: descriptor)
            if purpose.isNamed { try staging.register(name, Self.record(purpose, address)) }
        } catch {
            close(descriptor)
            staging.forget(name)
            throw error
        }
        close(state.descriptor)
        state.name = name
        state.address = address
        state.descriptor = descriptor
        state.isFrozen = false
    }

    /// Copies a file by the kernel: shared where the disk can (ioctl_ficlone(2)), and else without its holes.
    private static func copy(_ source: Int32, to target: Int32) throws {
        if lake_clone(source, target) == 0 { return }
        guard let status = FileStatus(source), ftruncate(target, off_t(status.size)) == 0 else { throw Errno(errno) }
        var extents = Extents(source, size: status.size), run = extents.run(from: 0)
        while !run.isEmpty {
            var from = CLongLong(run.lowerBound), to = from
            while from < run.upperBound {
                let copied = unsafe lake_copy_file_range(source, &from, target, &to, Int(min(run.upperBound - from, 1 << 30)))
                if copied < 0 && errno == EINTR { continue }
                guard copied > 0 else { throw Errno(copied == 0 ? EIO : errno) }
            }
            run = extents.run(from: run.upperBound)
        }
    }

    private static func load(_ objects: any ObjectStore, _ location: ObjectLocation, _ size: Int64, _ opened: Int32, into descriptor: Int32) throws {
        if opened >= 0 { return try copy(opened, to: descriptor) }  // Its length was compared when it was opened.
        if let piece = try objects.file(location) {
            defer { close(piece.descriptor) }
            guard piece.byteCount == size else { throw Errno(EIO) }  // Damaged: a copy would make it what it is not.
            return try copy(piece.descriptor, to: descriptor)  // Objects of the local store are whole files.
        }
        var position: Int64 = 0
        while position < size {
            let bytes = try objects.read(location, position..<min(position + 1 << 20, size))
            guard !bytes.isEmpty else { throw Errno(EIO) }
            let count = unsafe bytes.withUnsafeBytes { unsafe pwrite(descriptor, $0.baseAddress, $0.count, off_t(position)) }
            guard count == bytes.count else { throw Errno(errno) }
            position += Int64(count)
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64, _ purpose: Purpose) throws -> Int {
        try lock.withLock { state in
            try thaw(&state, purpose)
            guard offset <= Entry.largestSize - Int64(bytes.count) else { throw Errno(EFBIG) }
            let count = unsafe pwrite(state.descriptor, bytes.baseAddress, bytes.count, off_t(offset))
            guard count >= 0 else { throw Errno(errno) }
            if let box = state.tag, offset == box.tag.byteCount {
                unsafe box.tag.update(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
            } else if count > 0 {
                state.tag = nil
            }
            hasNews.store(true, ordering: .releasing)
            return count
        }
    }

    func truncate(_ size: Int64, _ purpose: Purpose) throws {
        try lock.withLock { state in
            guard size <= Entry.largestSize else { throw Errno(EFBIG) }
            try thaw(&state, purpose)
            guard ftruncate(state.descriptor, off_t(size)) == 0 else { throw Errno(errno) }
            state.tag = size == 0 ? TagBox() : nil
            hasNews.store(true, ordering: .releasing)
        }
    }

    /// fallocate(2) without flags: room, and the size if that grows.
    func allocate(_ offset: Int64, _ length: Int64, _ purpose: Purpose) throws {
        try lock.withLock { state in
            guard length <= Entry.largestSize, offset <= Entry.largestSize - length else { throw Errno(EFBIG) }
            try thaw(&state, purpose)
            let status = posix_fallocate(state.descriptor, off_t(offset), off_t(length))
            guard status == 0 else { throw Errno(status) }
            state.tag = nil
            hasNews.store(true, ordering: .releasing)
        }
    }

    /// What was written becomes an object. Nil if there is nothing new, or if `isWanted` says no: asked under the file's
    /// lock, so that nobody can begin to write it anew in between. Given again until `noteStaged` tells of its entry.
    func freeze(_ objects: any ObjectStore, in namespace: StorageNamespace, _ durability: Durability, if isWanted: () -> Bool) throws -> Frozen? {
        try lock.withLock { state in
            guard hasNews.load(ordering: .acquiring), isWanted() else { return nil }
            if state.isFrozen { return state.unstaged }
            guard let status = FileStatus(state.descriptor) else { throw Errno(errno) }
            let size = status.size, eTag: String
            if let box = state.tag, box.tag.byteCount == size { eTag = box.tag.finish() } else { eTag = try EntityTag.of(state.descriptor, size: size) }
            // Whatever is written next is copied, so the tag is of no more use.
            state.tag = nil
            _ = try objects.adopt(file: staging.path(state.name), as: namespace.location(state.address), durability)
            state.isFrozen = true
            let frozen = Frozen(name: state.name, address: state.address, size: size, eTag: eTag, modified: status.modified)
            state.unstaged = frozen
            return frozen
        }
    }

    /// An entry names what was frozen.
    func noteStaged(_ frozen: Frozen) {
        lock.withLock { state in
            guard state.unstaged?.name == frozen.name else { return }
            state.unstaged = nil
            // Written again meanwhile, it has news again.
            if state.isFrozen { hasNews.store(false, ordering: .releasing) }
        }
        staging.forget(frozen.name)
    }

    /// The file has no name any more: a crash must not bring it back.
    func unregister() {
        let name = lock.withLock { state in
            state.isUnnamed = true
            return state.name
        }
        staging.unregister(name)
    }
}
