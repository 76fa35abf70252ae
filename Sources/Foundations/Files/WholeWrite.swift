import Glibc

/// Writes all bytes at an offset of a file (pwrite(2)). False if that cannot be; `errno` says why, and some may be
/// written.
package func writeWhole(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32, at offset: Int64) -> Bool {
    var done = 0
    while done < bytes.count {
        let count = unsafe pwrite(
            descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + off_t(done))
        if count < 0 && errno == EINTR { continue }
        guard count > 0 else { return false }
        done += count
    }
    return true
}
