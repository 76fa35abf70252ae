import Foundations
import Glibc
import Versioning

/// Bytes on their way between two connections that do not go at one pace: a file without a name in the system's folder
/// for such. Used by one thread at a time.
final class Spool: @unchecked Sendable {  // One thread at a time, as its users promise.
    private var descriptor: Int32
    private(set) var byteCount: Int64 = 0

    init() throws {
        let folder = unsafe getenv("TMPDIR").map { unsafe String(cString: $0) } ?? "/tmp"
        var path = Array((folder + "/lakefuse-XXXXXX").utf8CString)
        descriptor = unsafe mkstemp(&path)
        guard descriptor >= 0 else {
            throw LakeError(
                .unavailable, unsafe "cannot make a temporary file in \(folder): \(String(cString: strerror(errno)))")
        }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        unsafe unlink(path)
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    func write(_ bytes: UnsafeRawBufferPointer) throws {
        guard unsafe writeWhole(bytes, to: descriptor, at: byteCount) else {
            throw LakeError(
                errno == ENOSPC ? .noSpace : .unavailable,
                unsafe "cannot keep a body in a temporary file: \(String(cString: strerror(errno)))")
        }
        byteCount += Int64(bytes.count)
    }

    /// Reads on from an offset into a buffer; how many bytes there were, 0 at the end.
    func read(at offset: Int64, into buffer: UnsafeMutableRawBufferPointer) -> Int {
        max(0, unsafe pread(descriptor, buffer.baseAddress!, buffer.count, off_t(offset)))
    }

    /// The bytes as a file that whoever takes it closes; nothing is to be written any more.
    func take() -> FilePiece {
        defer { descriptor = -1 }
        return FilePiece(descriptor: descriptor, offset: 0, byteCount: byteCount)
    }
}
