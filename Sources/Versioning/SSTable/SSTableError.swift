import Foundations

/// Why bytes are no table, or not the one that their name says. `CommittedStore.wrap` turns it into `LakeError`'s
/// `.corrupt`, naming the table.
package enum SSTableError: Error, Sendable, Equatable {
    case truncated(expected: Int, found: Int)
    case badMagic
    case unsupported(String)
    case badChecksum(offset: UInt64)
    case malformed(String)
    /// A table that is whole, and another one: its content has this id.
    case otherTable(String)
}
