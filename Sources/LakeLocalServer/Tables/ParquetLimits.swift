/// What is wrong with a Parquet file, or why it is not read: a sentence for people.
struct ParquetError: Error, Equatable, CustomStringConvertible {
    let message: String

    /// - Parameter message: without a full stop, as it may go on.
    init(_ message: String) { self.message = message }

    /// The sentence of a structure that could not be read, or `otherwise`.
    init(_ malformed: ThriftReader.Malformed, otherwise: String) { message = malformed.reason ?? otherwise }

    var description: String { message }
}

extension ParquetFile {
    /// How much of a file is believed, read and kept. A file is made by others: none of its numbers is taken for granted.
    struct Limits: Sendable {
        /// Bytes of metadata at the end. A million column chunks take some 60 MB, which no preview should wait for.
        var footerBytes = 16 << 20
        /// Bytes of one page, decompressed. Writers make pages of 1 MiB; dictionaries may be larger.
        var pageBytes = 64 << 20
        /// Leaf columns.
        var columns = 10_000
        /// Groups within groups. Levels are kept in a byte and reading recurses.
        var schemaDepth = 64
        /// Rows of one call.
        var rows = 1_000
        /// Characters (Unicode scalars) of a cell; longer ones end with an ellipsis.
        var characters = 1_000
        /// Bytes of binary cells that are shown, as two digits each.
        var binaryBytes = 32
        /// Values and nulls of one leaf column that a nested cell is made of; the rest of it is passed over.
        var valuesPerCell = 512
        /// Characters of the file's own key-value metadata, each, and how many of those are kept.
        var keyValueCharacters = 2_000
        var keyValues = 1_000
        /// Bytes of all pages of one call, decompressed, and of the cells that come of them.
        var decodedBytes = 128 << 20
        /// Bytes read from the file in one call.
        var readBytes = 512 << 20
        /// Pages walked in one call, whether decompressed or skipped.
        var pages = 100_000
        /// Values walked one by one in one call, of pages that tell no quicker way. 100 million take about a second.
        var values = 100_000_000
    }
}

/// What one call has used of its limits. One call owns it; it is a class since every column's reader draws on it.
final class ParquetBudget {
    let limits: ParquetFile.Limits
    private var pages = 0
    private var readBytes = 0
    private var decodedBytes = 0
    private var values = 0
    private var heldBytes = 0

    /// Nothing is used yet.
    init(_ limits: ParquetFile.Limits) { self.limits = limits }

    private static func add(_ amount: Int, to used: inout Int, most: Int, _ what: String) throws(ParquetError) {
        let (sum, isOver) = used.addingReportingOverflow(amount)
        guard amount >= 0, !isOver, sum <= most else {
            throw ParquetError("these rows take more than \(most) \(what): ask for fewer rows or columns")
        }
        used = sum
    }

    /// One more page has been walked.
    func spendPage() throws(ParquetError) { try Self.add(1, to: &pages, most: limits.pages, "pages") }

    /// Bytes are about to be read from the file.
    func spend(readBytes count: Int) throws(ParquetError) {
        try Self.add(count, to: &readBytes, most: limits.readBytes, "bytes of the Parquet file")
    }

    /// Bytes are about to be decompressed, copied or given out.
    func spend(decodedBytes count: Int) throws(ParquetError) {
        try Self.add(count, to: &decodedBytes, most: limits.decodedBytes, "decoded bytes")
    }

    /// Values are about to be walked one by one.
    func spend(values count: Int) throws(ParquetError) {
        try Self.add(count, to: &values, most: limits.values, "values of the Parquet file to walk over")
    }

    /// Bytes are kept until `releaseHeld`: the values of the field that is being read.
    func hold(bytes count: Int) throws(ParquetError) {
        try Self.add(count, to: &heldBytes, most: limits.decodedBytes, "bytes at once")
    }

    /// The field's cells are made, its values are gone.
    func releaseHeld() { heldBytes = 0 }
}
