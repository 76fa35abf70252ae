import CChecksum

/// CRC-32C as tables store it (`lakefs-formats.md` 2.2).
enum BlockChecksum {
    /// Of the stored bytes and the compression byte behind them, masked.
    static func masked(_ bytes: ArraySlice<UInt8>, type: UInt8) -> UInt32 {
        var crc = unsafe bytes.withUnsafeBufferPointer { pointer -> UInt32 in
            guard pointer.count > 0 else { return ~0 }
            // ISA-L takes a mutable pointer but only reads.
            return unsafe crc32_iscsi(UnsafeMutablePointer(mutating: pointer.baseAddress!), Int32(pointer.count), ~0)
        }
        var type = type
        crc = unsafe ~crc32_iscsi(&type, 1, crc)
        return ((crc >> 15) | (crc << 17)) &+ 0xa282_ead8
    }
}
