import CLinux
import CacheStore
import Foundations
import Glibc
import Synchronization
import Versioning

/// The bytes of a file that is being written, or is not published yet: a local file, written in place, by us or by the
/// kernel itself (`mount.md` section 2). Safe from any thread; what becomes of it is the tree's to say.
final class WorkingFile: Sendable {
    /// Its name in the staging folder, and the address of the object that it is to become.
    let name: String, address: String
    private let staging: WriteStaging
    /// Open while somebody uses it: never a descriptor for each inode.
    private let open: Mutex<(descriptor: Int32, users: Int)>
    /// As it was when it was copied from an object: if it still is, there is nothing to publish.
    private let copied = Mutex<Node.Closed?>(nil)

    /// A new file without bytes; used by who made it, until `release`.
    init(_ staging: WriteStaging, address: String) throws {
        let (name, descriptor) = try staging.make()
        self.staging = staging
        self.name = name
        self.address = address
        open = Mutex((descriptor, 1))
    }

    /// One that an earlier process left.
    /// - Throws: `ENOENT` if it is not there: it has become an object.
    init(_ staging: WriteStaging, recovering name: String, address: String) throws {
        self.staging = staging
        self.name = name
        self.address = address
        open = Mutex((-1, 0))
        guard unsafe access(staging.path(name), F_OK) == 0 else { throw Errno(errno) }
    }

    deinit { open.withLock { if $0.descriptor >= 0 { close($0.descriptor) } } }

    var path: String { staging.path(name) }

    /// Its descriptor, valid until `release`.
    func use() throws -> Int32 {
        try open.withLock { open in
            if open.descriptor < 0 {
                open.descriptor = unsafe Glibc.open(staging.path(name), O_RDWR | O_CLOEXEC)
                guard open.descriptor >= 0 else { throw Errno(errno) }
            }
            open.users += 1
            return open.descriptor
        }
    }

    func release() {
        open.withLock { open in
            open.users -= 1
            guard open.users == 0 else { return }
            close(open.descriptor)
            open.descriptor = -1
        }
    }

    func using<Result>(_ body: (Int32) throws -> Result) throws -> Result {
        let descriptor = try use()
        defer { release() }
        return try body(descriptor)
    }

    /// What the file system says of it now; nil if it is not there.
    private var look: FileStatus? {
        open.withLock { $0.descriptor >= 0 ? FileStatus($0.descriptor) : FileStatus(path: path) }
    }

    /// Size and time of the last write, now.
    var status: Node.Closed? { look.map { Node.Closed(size: $0.size, modified: $0.modified) } }

    /// Bytes on disk, in units of 512.
    var blocks: Int64 { look?.blocks ?? 0 }

    /// Whether nothing was written since it was copied from an object.
    var isCopy: Bool { copied.withLock { $0 != nil && $0 == status } }

    /// Takes an object's bytes, and the time that the file had.
    /// - Parameters:
    ///   - path: where the branch has it.
    ///   - opened: a descriptor of the object, if there is one: it may have gone since.
    func copy(_ view: any LakeView, _ entry: Entry, at path: Key?, opened: Int32, modified: Timestamp) throws {
        try using { descriptor in
            try Self.load(view, entry, path, opened, into: descriptor)
            try Self.setTimes(descriptor, accessed: nil, modified: modified)
        }
        copied.withLock { $0 = status }
    }

    /// Takes another working file's bytes, and its time.
    func copy(_ other: WorkingFile, modified: Timestamp) throws {
        try using { target in
            try other.using { try Self.copyBytes($0, to: target) }
            try Self.setTimes(target, accessed: nil, modified: modified)
        }
        copied.withLock { $0 = status }
    }

    private static func load(
        _ view: any LakeView, _ entry: Entry, _ path: Key?, _ opened: Int32, into descriptor: Int32
    ) throws {
        if opened >= 0 { return try copyBytes(opened, to: descriptor) }  // Its length was compared when it was opened.
        if let piece = try view.open(entry, at: path) {
            defer { piece.close() }
            // Damaged: a copy would make it what it is not.
            guard piece.byteCount == entry.size else { throw Errno(EIO) }
            return try copyBytes(piece.descriptor, to: descriptor)  // Objects of the local store are whole files.
        }
        var position: Int64 = 0
        while position < entry.size {
            let bytes = try view.read(entry, at: path, position..<min(position + 1 << 20, entry.size))
            guard !bytes.isEmpty else { throw Errno(EIO) }
            let count = unsafe bytes.withUnsafeBytes {
                unsafe pwrite(descriptor, $0.baseAddress, $0.count, off_t(position))
            }
            guard count == bytes.count else { throw Errno(count < 0 ? errno : EIO) }
            position += Int64(count)
        }
    }

    /// All bytes of one file into another that is empty: shared where the file system can, else its data without its
    /// holes.
    static func copyBytes(_ source: Int32, to target: Int32) throws {
        if lake_clone(source, target) == 0 { return }
        guard let size = FileStatus(source)?.size, ftruncate(target, off_t(size)) == 0 else { throw Errno(errno) }
        var extents = Extents(source, size: size)
        var run = extents.run(from: 0)
        while !run.isEmpty {
            var from = run.lowerBound
            var to = from
            while from < run.upperBound {
                let count = unsafe lake_copy_file_range(source, &from, target, &to, Int(run.upperBound - from))
                guard count > 0 else { throw Errno(count < 0 ? errno : EIO) }
            }
            run = extents.run(from: run.upperBound)
        }
    }

    /// utimensat(2); nil leaves a time as it is.
    static func setTimes(_ descriptor: Int32, accessed: Timestamp?, modified: Timestamp?) throws {
        func time(_ value: Timestamp?) -> timespec {
            value.map { timespec(tv_sec: Int($0.seconds), tv_nsec: Int($0.nanoseconds)) }
                ?? timespec(tv_sec: 0, tv_nsec: Int(UTIME_OMIT))
        }
        let times = [time(accessed), time(modified)]
        guard unsafe futimens(descriptor, times) == 0 else { throw Errno(errno) }
    }

    /// Nobody wants its bytes any more.
    func drop() { staging.remove(name) }
}

private let UTIME_OMIT = 0x3fff_fffe  // sys/stat.h; a macro that Swift does not see in every libc.
