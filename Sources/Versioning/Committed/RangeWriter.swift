/// Writes ranges one after the other, each ending where lakeFS would end it (`lakefs-formats.md` 4.2).
/// A range's bytes go to the object store as they are made; it has its name, and is there, when it ends.
/// Used by one thread at a time.
final class RangeWriter {
    /// A range whose bytes are all written, without a name or a sync yet. Handed from thread to thread, used by one.
    struct Finished: @unchecked Sendable {
        let range: CommittedRange
        let object: any UnnamedObjectWriter
    }

    private let store: CommittedStore
    private let properties: [(String, String)]
    private let finish: (Finished) throws -> Void
    private var open: (table: TableWriter, object: any UnnamedObjectWriter)?

    /// Bytes to gather before they are written: few enough to stay in the processor's cache.
    private static let pieceBytes = 256 << 10

    /// - Parameters:
    ///   - properties: further user properties of every table (refs dumps have them).
    ///   - finish: is given each range when it ends, and stores it.
    init(_ store: CommittedStore, properties: [(String, String)] = [], finish: @escaping (Finished) throws -> Void) {
        self.store = store
        self.properties = properties
        self.finish = finish
    }

    deinit { open?.object.abort() }

    private func table() throws -> TableWriter {
        if let open { return open.table }
        let made = TableWriter(type: "ranges", properties: properties)
        open = (made, try store.objects.makeWriter())
        return made
    }

    /// Adds a record behind everything added so far.
    func add(_ key: UnsafeRawBufferPointer, _ envelope: UnsafeRawBufferPointer) throws {
        let table = try table()
        try unsafe table.add(key, envelope)
        if unsafe store.parameters.breaks(after: key, estimatedSize: table.estimatedSize) {
            try close()
        } else {
            try write(atLeast: Self.pieceBytes)
        }
    }

    /// Takes a block of another range as it is stored; false if its records have to be added one by one. See
    /// `TableWriter.take`.
    func take(_ block: Block, stored: ArraySlice<UInt8>, indexKey: [UInt8]) throws -> Bool {
        let parameters = store.parameters
        let isTaken = unsafe try table().take(block, stored: stored, indexKey: indexKey) { key, size in
            unsafe parameters.breaks(after: key, estimatedSize: size)
        }
        try write(atLeast: Self.pieceBytes)
        return isTaken
    }

    private func write(atLeast byteCount: Int) throws {
        guard let open else { return }
        unsafe try open.table.takeWritten(atLeast: byteCount) { unsafe try open.object.write($0) }
    }

    /// Ends the range that is being written, if any.
    func close() throws {
        guard let (table, object) = open else { return }
        open = nil
        guard !table.isEmpty else { return object.abort() }
        do {
            let summary = table.finish()
            unsafe try summary.bytes.withUnsafeBytes { unsafe try object.write($0) }
            try finish(Finished(range: CommittedRange(summary), object: object))
        } catch {
            object.abort()
            throw error
        }
    }
}

extension CommittedStore {
    /// Gives a finished range its name; it is durable then.
    func store(_ finished: RangeWriter.Finished, in namespace: StorageNamespace) throws {
        try finished.object.finish(at: Self.location(of: finished.range.id, in: namespace), .durable)
    }
}
