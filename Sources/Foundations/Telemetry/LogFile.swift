import Glibc
import Synchronization

/// The log's file, which is turned when it is large. Its descriptor is the same for ever: another file takes the old
/// one's place behind it (dup2(2)), so that nobody who writes has to wait.
final class LogFile: Sendable {
    let path: String
    let descriptor: Int32
    private let mostBytes: Int64, kept: Int
    private let byteCount: Atomic<Int64>
    private let isTurning = Atomic<Bool>(false)

    /// - Parameters:
    ///   - mostBytes: after which it is turned; 0 for never.
    ///   - kept: how many that were turned stay.
    init(_ path: String, mostBytes: Int64, kept: Int) throws {
        self.path = path
        self.mostBytes = mostBytes
        self.kept = kept
        descriptor = try Self.open(path)
        byteCount = Atomic(Self.size(of: descriptor))
    }

    private static func open(_ path: String) throws -> Int32 {
        let file = unsafe Glibc.open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard file >= 0 else {
            throw LakeError(
                .invalidValue, unsafe "cannot write the log to \(path): \(String(cString: strerror(errno)))")
        }
        return file
    }

    private static func size(of descriptor: Int32) -> Int64 {
        var info = stat()
        return unsafe fstat(descriptor, &info) == 0 ? Int64(info.st_size) : 0
    }

    /// Goes on in the file that is at the path now.
    func reopen() throws {
        let file = try Self.open(path)
        defer { close(file) }
        guard dup2(file, descriptor) == descriptor else {
            throw LakeError(.unavailable, unsafe "cannot turn the log: \(String(cString: strerror(errno)))")
        }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        byteCount.store(Self.size(of: descriptor), ordering: .relaxed)
    }

    /// To be called when so many bytes were written to the descriptor.
    func wrote(_ count: Int) {
        guard count > 0, mostBytes > 0,
            byteCount.add(Int64(count), ordering: .relaxed).newValue >= mostBytes,
            isTurning.compareExchange(expected: false, desired: true, ordering: .acquiring).exchanged
        else { return }
        defer { isTurning.store(false, ordering: .releasing) }
        guard byteCount.load(ordering: .relaxed) >= mostBytes else { return }
        // A log that cannot be turned goes on where it is, and is tried again as many bytes later.
        var number = 1
        while number < kept, unsafe access("\(path).\(number)", F_OK) == 0 { number += 1 }
        while number > 1 {
            unsafe rename("\(path).\(number - 1)", "\(path).\(number)")
            number -= 1
        }
        if kept > 0 { unsafe rename(path, path + ".1") } else { unsafe unlink(path) }
        do { try reopen() } catch { byteCount.store(0, ordering: .relaxed) }
    }
}
