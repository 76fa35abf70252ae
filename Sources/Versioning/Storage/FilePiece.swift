package import Foundations
import Glibc

/// An object as a piece of a local file that the kernel can send by itself.
/// Whoever is given one owns the descriptor and closes it.
package struct FilePiece: Sendable {
    package let descriptor: Int32
    package let offset: Int64
    package let byteCount: Int64
    package init(descriptor: Int32, offset: Int64, byteCount: Int64) {
        self.descriptor = descriptor
        self.offset = offset
        self.byteCount = byteCount
    }

    /// The bytes of `range`, counted from the piece's beginning and cut at its end (pread(2)).
    package func read(_ range: Range<Int64>) throws(StoreError) -> [UInt8] {
        let start = range.lowerBound
        let end = min(range.upperBound, byteCount)
        guard end > start else { return [] }
        var failed: Int32 = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: Int(end - start)) { buffer, count in
            while count < buffer.count {
                let got = unsafe pread(
                    descriptor, buffer.baseAddress! + count, buffer.count - count, off_t(offset + start) + off_t(count))
                if got < 0 && errno == EINTR { continue }
                if got <= 0 {
                    failed = got < 0 ? errno : 0
                    return
                }
                count += got
            }
        }
        if failed != 0 {
            throw StoreError(.unavailable, unsafe "cannot read a file: \(String(cString: strerror(failed)))")
        }
        return bytes
    }

    /// Closes the descriptor; the piece is used no more.
    package func close() { Glibc.close(descriptor) }

    /// The MD5 of all its bytes.
    package func md5() throws(StoreError) -> [UInt8] {
        var hash = Hash(.md5)
        var position: Int64 = 0
        while position < byteCount {
            let piece = try read(position..<min(position + 1 << 20, byteCount))
            guard !piece.isEmpty else { throw StoreError(.corrupt, "a file was cut while it was read") }
            unsafe piece.withUnsafeBytes { unsafe hash.update($0) }
            position += Int64(piece.count)
        }
        return hash.finish()
    }
}
