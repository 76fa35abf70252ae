import CacheStore
import CLinux
import Glibc
import Synchronization
import Versioning

/// The bytes of a file that is being written in a mount: a local file until it is published, then an object that is never
/// written again; the next write begins a new local file with its bytes (copy on write).
///
/// `lock` is the file's own, as an inode's is: it is held over its reads and writes, never over anything of the core.
final class StagedFile: @unchecked Sendable {
    private let staging: WriteStaging
    private let lock = Mutex<State>(State())

    private struct State {
        var name = ""
        var descriptor: Int32 = -1
        /// Written since it was last published.
        var isDirty = false
        /// The file behind the descriptor is an object now.
        var isFrozen = false
        /// MD5 of the first `hashed` bytes, while they come in order.
        var hash: HashBox? = HashBox()
        var hashed: Int64 = 0
    }

    /// Reachable only through the state, under its lock.
    private final class HashBox: @unchecked Sendable {
        var hash = Hash(.md5)
    }

    /// Begins with no bytes.
    init(_ staging: WriteStaging, _ record: WriteStaging.Record) throws {
        self.staging = staging
        let (name, descriptor) = try staging.make(record)
        lock.withLock {
            $0.name = name
            $0.descriptor = descriptor
            $0.isDirty = true
        }
    }

    deinit {
        lock.withLock { state in
            guard state.descriptor >= 0 else { return }
            close(state.descriptor)
            if !state.isFrozen { staging.forget(state.name) }
        }
    }

    var isDirty: Bool { lock.withLock { $0.isDirty } }

    var size: Int64 {
        lock.withLock { state in
            var info = stat()
            return unsafe fstat(state.descriptor, &info) == 0 ? Int64(info.st_size) : 0
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
    private func thaw(_ state: inout State, _ record: WriteStaging.Record) throws {
        guard state.isFrozen else { return }
        let (name, descriptor) = try staging.make(record)
        do { try Self.copy(state.descriptor, 0, nil, to: descriptor) } catch {
            close(descriptor)
            staging.forget(name)
            throw error
        }
        close(state.descriptor)
        state.name = name
        state.descriptor = descriptor
        state.isFrozen = false
    }

    /// Copies bytes by the kernel, shared where the disk can; all of them unless `count` is given.
    private static func copy(_ source: Int32, _ start: Int64, _ count: Int64?, to target: Int32) throws {
        var offset = CLongLong(start), rest = count ?? .max
        while rest > 0 {
            let copied = unsafe lake_copy_file_range(source, &offset, target, nil, Int(min(rest, 1 << 30)))
            if copied < 0 && errno == EINTR { continue }
            guard copied >= 0 else { throw Errno(errno) }
            if copied == 0 { return }
            rest -= Int64(copied)
        }
    }

    /// Takes over the bytes of an object, before anything is written.
    func load(_ objects: any ObjectStore, _ location: ObjectLocation, _ size: Int64) throws {
        try lock.withLock { state in
            state.hash = nil
            if let piece = try objects.file(location) {
                defer { close(piece.descriptor) }
                return try Self.copy(piece.descriptor, piece.offset, piece.byteCount, to: state.descriptor)
            }
            var position: Int64 = 0
            while position < size {
                let bytes = try objects.read(location, position..<min(position + 1 << 20, size))
                guard !bytes.isEmpty else { throw Errno(EIO) }
                let count = unsafe bytes.withUnsafeBytes { unsafe pwrite(state.descriptor, $0.baseAddress, $0.count, off_t(position)) }
                guard count == bytes.count else { throw Errno(errno) }
                position += Int64(count)
            }
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64, _ record: WriteStaging.Record) throws -> Int {
        try lock.withLock { state in
            try thaw(&state, record)
            let count = unsafe pwrite(state.descriptor, bytes.baseAddress, bytes.count, off_t(offset))
            guard count >= 0 else { throw Errno(errno) }
            if let box = state.hash, offset == state.hashed {
                unsafe box.hash.update(UnsafeRawBufferPointer(rebasing: bytes[..<count]))
                state.hashed += Int64(count)
            } else if count > 0 {
                state.hash = nil
            }
            state.isDirty = true
            return count
        }
    }

    func truncate(_ size: Int64, _ record: WriteStaging.Record) throws {
        try lock.withLock { state in
            try thaw(&state, record)
            guard ftruncate(state.descriptor, off_t(size)) == 0 else { throw Errno(errno) }
            state.hash = size == 0 ? HashBox() : nil
            state.hashed = 0
            state.isDirty = true
        }
    }

    /// fallocate(2) without flags: room, and the size if that grows.
    func allocate(_ offset: Int64, _ length: Int64, _ record: WriteStaging.Record) throws {
        try lock.withLock { state in
            try thaw(&state, record)
            let status = posix_fallocate(state.descriptor, off_t(offset), off_t(length))
            guard status == 0 else { throw Errno(status) }
            state.hash = nil
            state.isDirty = true
        }
    }

    /// What was written becomes an object at `location`. Nil if there is nothing new, or if `isWanted` says no: asked under
    /// the file's lock, so that nobody can begin to write it anew in between.
    func freeze(_ objects: any ObjectStore, as location: ObjectLocation, _ durability: Durability, if isWanted: () -> Bool) throws -> (size: Int64, md5: [UInt8])? {
        try lock.withLock { state in
            guard state.isDirty, isWanted() else { return nil }
            let size = try objects.adopt(file: staging.path(state.name), as: location, durability)
            state.isFrozen = true
            state.isDirty = false
            if let box = state.hash, state.hashed == size {
                // Whatever is written next is copied, so the hash is of no more use.
                state.hash = nil
                return (size, box.hash.finish())
            }
            state.hash = nil
            return (size, try Self.hash(state.descriptor))
        }
    }

    /// The index need not know of the file any more: its entry is staged.
    func forget() {
        let name = lock.withLock { $0.name }
        staging.forget(name)
    }

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
