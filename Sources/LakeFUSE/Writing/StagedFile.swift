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
        let md5: [UInt8]
        /// Of the last write.
        let modified: Timestamp
    }

    /// What the file is to become, as far as it is known when it is made.
    struct Purpose: Sendable {
        let repository: String
        let branch: String
        let path: Key
        let newAddress: @Sendable () -> String
    }

    private struct State {
        var name = ""
        var address = ""
        var descriptor: Int32 = -1
        /// The file behind the descriptor is an object now.
        var isFrozen = false
        /// Frozen, and no entry names it yet: staging it failed, or has not happened.
        var unstaged: Frozen?
        /// MD5 of the first `hashed` bytes, while they come in order.
        var hash: HashBox? = HashBox()
        var hashed: Int64 = 0
    }

    /// Reachable only through the state, under its lock.
    private final class HashBox: @unchecked Sendable {
        var hash = Hash(.md5)
    }

    private let staging: WriteStaging
    private let lock = Mutex<State>(State())
    private let hasNews = Atomic<Bool>(true)

    /// Something was written that no entry names yet. Takes no lock.
    var isDirty: Bool { hasNews.load(ordering: .acquiring) }

    /// Begins with no bytes, or with those of an object.
    init(_ staging: WriteStaging, _ purpose: Purpose, copying source: (objects: any ObjectStore, location: ObjectLocation, size: Int64)? = nil) throws {
        self.staging = staging
        let (name, descriptor) = try staging.make(), address = purpose.newAddress()
        do {
            if let source { try Self.load(source.objects, source.location, source.size, into: descriptor) }
            try staging.register(name, Self.record(purpose, address))
        } catch {
            close(descriptor)
            staging.forget(name)
            throw error
        }
        lock.withLock { state in
            state.name = name
            state.address = address
            state.descriptor = descriptor
            if source != nil { state.hash = nil }
        }
        // A copy has nothing to publish until it is written; an empty file is new.
        hasNews.store(source == nil, ordering: .releasing)
    }

    private static func record(_ purpose: Purpose, _ address: String) -> WriteStaging.Record {
        WriteStaging.Record(repository: purpose.repository, branch: purpose.branch, path: purpose.path, address: address)
    }

    deinit {
        lock.withLock { state in
            guard state.descriptor >= 0 else { return }
            close(state.descriptor)
            if !state.isFrozen { staging.forget(state.name) }
        }
    }

    /// Size and time of change, as they are now.
    var facts: (size: Int64, modified: Timestamp) {
        lock.withLock { state in
            var info = stat()
            guard unsafe fstat(state.descriptor, &info) == 0 else { return (0, .now()) }
            return (Int64(info.st_size), Timestamp(seconds: Int64(info.st_mtim.tv_sec), nanoseconds: Int32(info.st_mtim.tv_nsec)))
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
            try Self.copy(state.descriptor, 0, to: descriptor)
            try staging.register(name, Self.record(purpose, address))
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

    /// Copies bytes by the kernel, shared where the disk can.
    private static func copy(_ source: Int32, _ start: Int64, to target: Int32) throws {
        var offset = CLongLong(start)
        while true {
            let copied = unsafe lake_copy_file_range(source, &offset, target, nil, 1 << 30)
            if copied < 0 && errno == EINTR { continue }
            guard copied >= 0 else { throw Errno(errno) }
            if copied == 0 { return }
        }
    }

    private static func load(_ objects: any ObjectStore, _ location: ObjectLocation, _ size: Int64, into descriptor: Int32) throws {
        if let piece = try objects.file(location) {
            defer { close(piece.descriptor) }
            guard piece.byteCount == size else { throw Errno(EIO) }  // Damaged: a copy would make it what it is not.
            return try copy(piece.descriptor, piece.offset, to: descriptor)
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
            let count = unsafe pwrite(state.descriptor, bytes.baseAddress, bytes.count, off_t(offset))
            guard count >= 0 else { throw Errno(errno) }
            if let box = state.hash, offset == state.hashed {
                unsafe box.hash.update(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
                state.hashed += Int64(count)
            } else if count > 0 {
                state.hash = nil
            }
            hasNews.store(true, ordering: .releasing)
            return count
        }
    }

    func truncate(_ size: Int64, _ purpose: Purpose) throws {
        try lock.withLock { state in
            try thaw(&state, purpose)
            guard ftruncate(state.descriptor, off_t(size)) == 0 else { throw Errno(errno) }
            state.hash = size == 0 ? HashBox() : nil
            state.hashed = 0
            hasNews.store(true, ordering: .releasing)
        }
    }

    /// fallocate(2) without flags: room, and the size if that grows.
    func allocate(_ offset: Int64, _ length: Int64, _ purpose: Purpose) throws {
        try lock.withLock { state in
            try thaw(&state, purpose)
            let status = posix_fallocate(state.descriptor, off_t(offset), off_t(length))
            guard status == 0 else { throw Errno(status) }
            state.hash = nil
            hasNews.store(true, ordering: .releasing)
        }
    }

    /// What was written becomes an object. Nil if there is nothing new, or if `isWanted` says no: asked under the file's
    /// lock, so that nobody can begin to write it anew in between. Given again until `noteStaged` tells of its entry.
    func freeze(_ objects: any ObjectStore, in namespace: StorageNamespace, _ durability: Durability, if isWanted: () -> Bool) throws -> Frozen? {
        try lock.withLock { state in
            guard hasNews.load(ordering: .acquiring), isWanted() else { return nil }
            if state.isFrozen { return state.unstaged }
            var info = stat()
            guard unsafe fstat(state.descriptor, &info) == 0 else { throw Errno(errno) }
            let size = Int64(info.st_size), md5: [UInt8]
            if let box = state.hash, state.hashed == size { md5 = box.hash.finish() } else { md5 = try Self.hash(state.descriptor) }
            // Whatever is written next is copied, so the hash is of no more use.
            state.hash = nil
            _ = try objects.adopt(file: staging.path(state.name), as: namespace.location(state.address), durability)
            state.isFrozen = true
            let modified = Timestamp(seconds: Int64(info.st_mtim.tv_sec), nanoseconds: Int32(info.st_mtim.tv_nsec))
            let frozen = Frozen(name: state.name, address: state.address, size: size, md5: md5, modified: modified)
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
    func unregister() { staging.unregister(lock.withLock { $0.name }) }

    static func hash(_ descriptor: Int32) throws -> [UInt8] {
        var hash = Hash(.md5), position: Int64 = 0
        unsafe try withUnsafeTemporaryAllocation(byteCount: 1 << 18, alignment: 16) { buffer in
            while true {
                let count = unsafe pread(descriptor, buffer.baseAddress, buffer.count, off_t(position))
                guard count >= 0 else { throw Errno(errno) }
                if count == 0 { return }
                unsafe hash.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                position += Int64(count)
            }
        }
        return hash.finish()
    }
}
