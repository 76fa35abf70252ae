import CFUSE
import CacheStore
import Glibc
import Synchronization

/// What newer kernels offer and libfuse 3.14 does not ask for: agreed on by changing the one message that it sends for
/// that.
///
/// libfuse hands its reads and writes of /dev/fuse to us (fuse_session_custom_io). The request INIT says what the
/// kernel offers; in the answer to it these are set, where they were offered (linux/fuse.h, `struct fuse_init_out`):
///
///     word  of 32 bits, behind the 16 bytes of the header
///     3     flags: bit 18 parallel directory operations, bit 28 set-user-id bits are our business, bit 30 there are more flags
///     8     more flags: bit 5 (37 of all) passthrough
///     9     how deep stacked file systems may be: 1
///
/// Passthrough: the kernel reads an open file from the object's own file, without asking us (Linux 6.9 and later, as
/// root); it writes working files so, too.
final class KernelFeatures: @unchecked Sendable {
    // Written by the one thread that answers INIT, before any other request comes.
    private var initUnique: UInt64 = 0
    private var offered: UInt32 = 0, offeredMore: UInt32 = 0
    private let wantsPassthrough: Bool
    private let isPassthroughOn = Atomic<Bool>(false)

    private static let initOpcode: UInt32 = 26, parallelDirectories: UInt32 = 1 << 18, more: UInt32 = 1 << 30,
        passthrough: UInt32 = 1 << 5
    /// We take set-user-id bits away from what is written ourselves (FUSE_HANDLE_KILLPRIV_V2): the kernel need not ask
    /// before each write.
    private static let killsPrivileges: UInt32 = 1 << 28

    init(wantsPassthrough: Bool) { self.wantsPassthrough = wantsPassthrough }

    /// Whether the kernel reads files by itself that it is given.
    var hasPassthrough: Bool { isPassthroughOn.load(ordering: .acquiring) }

    /// The session's own reads and writes; its context must be `Operations.Context`.
    static let io: fuse_custom_io = {
        var io = fuse_custom_io()
        unsafe io.read = { descriptor, buffer, size, context in
            let count = unsafe Glibc.read(descriptor, buffer, size)
            unsafe features(context).noteRequest(UnsafeRawBufferPointer(start: buffer, count: max(0, count)))
            return count
        }
        unsafe io.writev = { descriptor, pieces, count, context in
            if let answer = unsafe features(context).patched(UnsafeBufferPointer(start: pieces, count: Int(count))) {
                return unsafe answer.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
            }
            return unsafe Glibc.writev(descriptor, pieces, count)
        }
        return io
    }()

    private static func features(_ context: UnsafeMutableRawPointer?) -> KernelFeatures {
        unsafe Unmanaged<Operations.Context>.fromOpaque(context!).takeUnretainedValue().features
    }

    /// How many requests of each kind came, by their numbers in linux/fuse.h.
    private let counts = RequestCounts()

    private static let names: [Int: String] = [
        1: "lookup", 2: "forget", 3: "getattr", 4: "setattr", 5: "readlink", 6: "symlink", 8: "mknod", 9: "mkdir",
        10: "unlink", 11: "rmdir", 12: "rename", 13: "link", 14: "open", 15: "read", 16: "write",
        17: "statfs", 18: "release", 20: "fsync", 21: "setxattr", 22: "getxattr", 23: "listxattr", 24: "removexattr",
        25: "flush", 27: "opendir", 28: "readdir", 29: "releasedir", 30: "fsyncdir",
        35: "create", 42: "batch_forget", 43: "fallocate", 44: "readdirplus", 45: "rename2", 46: "lseek",
        47: "copy_file_range",
    ]

    var requestCounts: [(name: String, count: Int)] {
        Self.names.compactMap { number, name in
            let count = counts.count(number)
            return count > 0 ? (name, count) : nil
        }.sorted { $0.name < $1.name }
    }

    private func noteRequest(_ request: UnsafeRawBufferPointer) {
        if request.count >= 8 { counts.add(Int(unsafe request.loadUnaligned(fromByteOffset: 4, as: UInt32.self))) }
        guard initUnique == 0, request.count >= 60,
            unsafe request.loadUnaligned(fromByteOffset: 4, as: UInt32.self) == Self.initOpcode
        else { return }
        unsafe initUnique = request.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
        unsafe offered = request.loadUnaligned(fromByteOffset: 52, as: UInt32.self)
        if offered & Self.more != 0 { unsafe offeredMore = request.loadUnaligned(fromByteOffset: 56, as: UInt32.self) }
    }

    /// The answer to INIT with more in it; nil for all others.
    private func patched(_ pieces: UnsafeBufferPointer<iovec>) -> [UInt8]? {
        guard initUnique != 0, initUnique != .max, pieces.count >= 2, let header = unsafe pieces[0].iov_base,
            unsafe pieces[0].iov_len == 16,
            unsafe header.loadUnaligned(fromByteOffset: 8, as: UInt64.self) == initUnique,
            unsafe header.loadUnaligned(fromByteOffset: 4, as: Int32.self) == 0
        else { return nil }
        initUnique = .max
        var bytes: [UInt8] = []
        for index in 0..<pieces.count {
            let piece = unsafe pieces[index]
            unsafe bytes += UnsafeRawBufferPointer(start: piece.iov_base, count: piece.iov_len)
        }
        guard bytes.count >= 16 + 40 else { return nil }
        func word(_ index: Int) -> UInt32 {
            unsafe bytes.withUnsafeBytes { unsafe $0.loadUnaligned(fromByteOffset: 16 + 4 * index, as: UInt32.self) }
        }
        func set(_ index: Int, _ value: UInt32) {
            unsafe bytes.withUnsafeMutableBytes {
                unsafe $0.storeBytes(of: value, toByteOffset: 16 + 4 * index, as: UInt32.self)
            }
        }
        set(3, word(3) | offered & (Self.parallelDirectories | Self.killsPrivileges))
        if wantsPassthrough, offered & Self.more != 0, offeredMore & Self.passthrough != 0 {
            set(3, word(3) | Self.more)
            set(8, word(8) | Self.passthrough)
            set(9, 1)
            isPassthroughOn.store(true, ordering: .releasing)
        }
        return bytes
    }

    /// Makes all names wrong that the kernel knows, at once (FUSE_NOTIFY_INC_EPOCH, protocol 7.44); false where it has
    /// no such thing.
    func increaseEpoch(_ session: Int32) -> Bool {
        // `struct fuse_out_header`: length, code, and no request that it answers.
        let message: [UInt32] = [16, 8, 0, 0]
        return unsafe message.withUnsafeBytes { unsafe Glibc.write(session, $0.baseAddress, $0.count) } == 16
    }

    /// Gives the kernel a file to read by itself (FUSE_DEV_IOC_BACKING_OPEN); nil where it does not take it.
    static func lend(_ descriptor: Int32, to session: Int32) -> Int32? {
        let number = lake_fuse_backing_open(session, descriptor)
        return number > 0 ? number : nil
    }

    static func takeBack(_ number: Int32, from session: Int32) { _ = lake_fuse_backing_close(session, number) }

    /// The answer to an open that the kernel carries on by itself (`struct fuse_open_out`).
    static func openAnswer(handle: UInt64, backing: Int32, needsFlush: Bool) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 16)
        unsafe bytes.withUnsafeMutableBytes { bytes in
            unsafe bytes.storeBytes(of: handle, toByteOffset: 0, as: UInt64.self)
            // FOPEN_PASSTHROUGH, FOPEN_NOFLUSH
            unsafe bytes.storeBytes(of: 1 << 7 | (needsFlush ? 0 : 1 << 5), toByteOffset: 8, as: UInt32.self)
            unsafe bytes.storeBytes(of: backing, toByteOffset: 12, as: Int32.self)
        }
        return bytes
    }

    /// What libfuse tells of a name, as the kernel wants it (`struct fuse_entry_out`): it has no answer to a create
    /// that says more.
    static func entryAnswer(_ entry: fuse_entry_param) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 128)
        unsafe bytes.withUnsafeMutableBytes { bytes in
            func put(_ value: UInt64, _ offset: Int) {
                unsafe bytes.storeBytes(of: value, toByteOffset: offset, as: UInt64.self)
            }
            func put(_ value: UInt32, _ offset: Int) {
                unsafe bytes.storeBytes(of: value, toByteOffset: offset, as: UInt32.self)
            }
            let info = entry.attr
            put(entry.ino, 0)
            put(entry.generation, 8)
            put(UInt64(entry.entry_timeout), 16)
            put(UInt64(entry.attr_timeout), 24)
            // `struct fuse_attr` from byte 40.
            put(UInt64(info.st_ino), 40)
            put(UInt64(info.st_size), 48)
            put(UInt64(info.st_blocks), 56)
            put(UInt64(bitPattern: Int64(info.st_atim.tv_sec)), 64)
            put(UInt64(bitPattern: Int64(info.st_mtim.tv_sec)), 72)
            put(UInt64(bitPattern: Int64(info.st_ctim.tv_sec)), 80)
            put(UInt32(info.st_atim.tv_nsec), 88)
            put(UInt32(info.st_mtim.tv_nsec), 92)
            put(UInt32(info.st_ctim.tv_nsec), 96)
            put(UInt32(info.st_mode), 100)
            put(UInt32(info.st_nlink), 104)
            put(UInt32(info.st_uid), 108)
            put(UInt32(info.st_gid), 112)
            put(UInt32(truncatingIfNeeded: info.st_rdev), 116)
            put(UInt32(info.st_blksize), 120)
        }
        return bytes
    }

    /// Linux 6.9 to 6.12 lose names of cached listings (`mount.md` section 4).
    static let hasBrokenDirectoryCache: Bool = {
        var info = utsname()
        guard unsafe uname(&info) == 0 else { return true }
        let release = unsafe withUnsafeBytes(of: info.release) {
            unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        let numbers = release.split(separator: ".").prefix(2).map { Int($0.prefix { $0.isNumber }) ?? 0 }
        return numbers.count == 2 && numbers[0] == 6 && (9...12).contains(numbers[1])
    }()
}

/// Counters of requests by kind. Safe from any thread.
final class RequestCounts: Sendable {
    private final class Counter: Sendable { let value = Atomic<Int>(0) }
    private let counters = (0..<64).map { _ in Counter() }

    func add(_ kind: Int) { if counters.indices.contains(kind) { counters[kind].value.add(1, ordering: .relaxed) } }
    func count(_ kind: Int) -> Int { counters[kind].value.load(ordering: .relaxed) }
}
