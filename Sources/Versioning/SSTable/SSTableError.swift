/// Why bytes are no table. The reader's callers turn it into `StoreError.corrupt`, naming the table.
package enum SSTableError: Error, Sendable, Equatable {
    case truncated(expected: Int, found: Int)
    case badMagic
    case unsupported(String)
    case badChecksum(offset: UInt64)
    case malformed(String)
}
