import Foundations
import Versioning

/// What an SSTable of lakeFS's holds: entries of a range, or ranges of a metarange. Source: `lakefs-formats.md` sections 2, 3.
struct TableContents {
    let head: [String]
    private let reader: TableReader
    private let isMetaRange: Bool

    /// - Throws: `SSTableError` if the bytes are no table.
    init(_ bytes: [UInt8]) throws {
        do {
            reader = try TableReader(name: "", source: MemoryTable(bytes), cache: BlockCache(budgetBytes: 1 << 20))
        } catch { throw CommandError("this is no SSTable of a lake, or a damaged one", hint: "\(error)") }
        isMetaRange = reader.properties["type"].map { String(decoding: $0, as: UTF8.self) } == "metaranges"
        head =
            isMetaRange
            ? ["Range ID", "Min key", "Max key", "Count", "Estimated size"]
            : ["Path", "Size", "Checksum", "Modified time", "Physical address", "Content type"]
    }

    /// Gives every row to `take`, until that returns false.
    func each(_ take: ([String]) throws -> Bool) throws {
        let cursor = reader.cursor()
        while try cursor.advance() {
            let row: [String]
            if isMetaRange {
                let range = try CommittedRange(decoding: cursor.value)
                row = [
                    range.id, range.minKey.description, range.maxKey.description, "\(range.count)",
                    "\(range.estimatedSize)",
                ]
            } else {
                let entry = try Entry(decoding: Envelope(decoding: cursor.value).data)
                row = [
                    String(decoding: cursor.key, as: UTF8.self), "\(entry.size)", entry.eTag,
                    Output.time(entry.lastModified.seconds), entry.address, entry.contentType,
                ]
            }
            guard try take(row) else { return }
        }
    }
}
