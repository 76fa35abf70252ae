import CChecksum

/// CRC-32C (RFC 3720, 12.1).
package enum CRC32C {
    /// The sum of two runs of bytes, one behind the other.
    package static func sum(_ bytes: UnsafeRawBufferPointer, then more: UnsafeRawBufferPointer) -> UInt32 {
        unsafe ~update(update(~0, bytes), more)
    }

    fileprivate static func update(_ crc: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
        guard bytes.count > 0 else { return crc }
        // ISA-L takes a mutable pointer but only reads.
        return unsafe crc32_iscsi(
            UnsafeMutablePointer(mutating: bytes.baseAddress!.assumingMemoryBound(to: UInt8.self)), Int32(bytes.count),
            crc)
    }
}

/// CRC-32C as tables store it (`lakefs-formats.md` 2.2).
enum BlockChecksum {
    /// Of the stored bytes and the compression byte behind them, masked.
    static func masked(_ bytes: UnsafeRawBufferPointer, type: UInt8) -> UInt32 {
        let crc = unsafe withUnsafeBytes(of: type) { unsafe CRC32C.sum(bytes, then: $0) }
        return ((crc >> 15) | (crc << 17)) &+ 0xa282_ead8
    }
}
