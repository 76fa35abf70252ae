/// Writes ranges one after the other, each ending where lakeFS would end it (`lakefs-formats.md` 4.2).
/// Used by one thread at a time.
final class RangeWriter {
    private let parameters: CommittedStore.Parameters
    private let properties: [(String, String)]
    private let store: (TableWriter.Summary) throws -> Void
    private var open: TableWriter?

    /// - Parameters:
    ///   - properties: further user properties of every table (refs dumps have them).
    ///   - store: is given each range when it ends.
    init(_ parameters: CommittedStore.Parameters, properties: [(String, String)] = [], store: @escaping (TableWriter.Summary) throws -> Void) {
        self.parameters = parameters
        self.properties = properties
        self.store = store
    }

    private var table: TableWriter {
        if let open { return open }
        let made = TableWriter(type: "ranges", properties: properties)
        open = made
        return made
    }

    /// Adds a record behind everything added so far.
    func add(_ key: UnsafeRawBufferPointer, _ envelope: UnsafeRawBufferPointer) throws {
        let table = table
        unsafe table.add(key, envelope)
        if unsafe parameters.breaks(after: key, estimatedSize: table.estimatedSize) { try close() }
    }

    /// Takes a block of another range as it is stored; false if its records have to be added one by one. See `TableWriter.take`.
    func take(_ block: Block, stored: ArraySlice<UInt8>, indexKey: [UInt8]) throws -> Bool {
        unsafe try table.take(block, stored: stored, indexKey: indexKey) { [parameters] key, size in unsafe parameters.breaks(after: key, estimatedSize: size) }
    }

    /// Ends the range that is being written, if any.
    func close() throws {
        guard let table = open else { return }
        open = nil
        if table.isEmpty { return }
        try store(table.finish())
    }
}
