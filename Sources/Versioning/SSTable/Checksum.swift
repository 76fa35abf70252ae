import CChecksum

/// CRC-32C as tables store it (`lakefs-formats.md` 2.2).
enum BlockChecksum {
    /// Of the stored bytes and the compression byte behind them, masked.
    static func masked(_ bytes: UnsafeRawBufferPointer, type: UInt8) -> UInt32 {
        var crc: UInt32 = ~0
        if bytes.count > 0 {
            // ISA-L takes a mutable pointer but only reads.
            crc = unsafe crc32_iscsi(UnsafeMutablePointer(mutating: bytes.baseAddress!.assumingMemoryBound(to: UInt8.self)), Int32(bytes.count), ~0)
        }
        var type = type
        crc = unsafe ~crc32_iscsi(&type, 1, crc)
        return ((crc >> 15) | (crc << 17)) &+ 0xa282_ead8
    }
}
