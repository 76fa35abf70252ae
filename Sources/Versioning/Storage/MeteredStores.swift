package import Foundations

/// A key-value store whose calls are counted.
package final class MeteredKeyValueStore<Base: KeyValueStore>: KeyValueStore {
    private enum Call: Int { case get, set, write, scan, removeAll, partitions }
    private let base: Base
    package let meter = CallMeter(["get", "set", "write", "scan", "remove_all", "partitions"])

    package init(_ base: Base) { self.base = base }

    package var capabilities: KeyValueCapabilities { base.capabilities }

    private func measure<Result>(_ call: Call, _ body: () throws(StoreError) -> Result) throws(StoreError) -> Result {
        try meter.measure(call.rawValue, body)
    }

    package func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]? {
        try measure(.get) { () throws(StoreError) in try base.value(for: key, in: partition) }
    }
    package func set(
        _ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?, _ durability: Durability
    ) throws(StoreError) {
        try measure(.set) { () throws(StoreError) in
            try base.set(value, for: key, in: partition, if: condition, durability)
        }
    }
    package func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError) {
        try measure(.write) { () throws(StoreError) in try base.write(batch, durability) }
    }
    package func write(
        _ batch: [Mutation], _ durability: Durability, then done: @escaping @Sendable (StoreError?) -> Void
    ) { meter.measure(Call.write.rawValue, then: done) { base.write(batch, durability, then: $0) } }
    package func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(
        key: Key, value: [UInt8]
    )] {
        try measure(.scan) { () throws(StoreError) in
            try base.page(of: partition, from: from, before: end, limit: limit)
        }
    }
    package func removeAll(in partition: Partition) throws(StoreError) {
        try measure(.removeAll) { () throws(StoreError) in try base.removeAll(in: partition) }
    }
    package func partitions() throws(StoreError) -> [Partition] {
        try measure(.partitions) { () throws(StoreError) in try base.partitions() }
    }
}

/// An object store whose calls are counted: one that is to write an object when it is finished, its files' too.
package final class MeteredObjectStore: ObjectStore {
    fileprivate enum Call: Int { case put, read, head, list, remove, copy, join, adopt, open, sync }
    private let base: any ObjectStore
    package let meter = CallMeter([
        "put", "read", "head", "list", "remove", "copy", "join", "adopt", "open", "sync",
    ])
    package let capabilities: ObjectStoreCapabilities

    package init(_ base: any ObjectStore) {
        self.base = base
        let own = base.capabilities
        capabilities = ObjectStoreCapabilities(
            schemes: own.schemes, files: own.files.map { [meter] in Files($0, meter) })
    }

    private func measure<Result>(_ call: Call, _ body: () throws(StoreError) -> Result) throws(StoreError) -> Result {
        try meter.measure(call.rawValue, body)
    }

    private final class Writer: ObjectWriter {
        let base: any ObjectWriter
        let meter: CallMeter
        init(_ base: any ObjectWriter, _ meter: CallMeter) {
            self.base = base
            self.meter = meter
        }
        func write(_ bytes: UnsafeRawBufferPointer) throws(StoreError) { unsafe try base.write(bytes) }
        func finish(_ durability: Durability) throws(StoreError) -> Int64 {
            try meter.measure(Call.put.rawValue) { () throws(StoreError) in try base.finish(durability) }
        }
        var finishesAtOnce: Bool { base.finishesAtOnce }
        func abort() { base.abort() }
    }

    private final class UnnamedWriter: UnnamedObjectWriter {
        let base: any UnnamedObjectWriter
        let meter: CallMeter
        init(_ base: any UnnamedObjectWriter, _ meter: CallMeter) {
            self.base = base
            self.meter = meter
        }
        func write(_ bytes: UnsafeRawBufferPointer) throws(StoreError) { unsafe try base.write(bytes) }
        func finish(at location: ObjectLocation, _ durability: Durability) throws(StoreError) {
            try meter.measure(Call.put.rawValue) { () throws(StoreError) in
                try base.finish(at: location, durability)
            }
        }
        func abort() { base.abort() }
    }

    package func put(_ bytes: [UInt8], at location: ObjectLocation, _ durability: Durability) throws(StoreError) {
        try measure(.put) { () throws(StoreError) in try base.put(bytes, at: location, durability) }
    }
    package func makeWriter(_ location: ObjectLocation) throws(StoreError) -> any ObjectWriter {
        Writer(try base.makeWriter(location), meter)
    }
    package func read(_ location: ObjectLocation, _ range: Range<Int64>) throws(StoreError) -> [UInt8] {
        try measure(.read) { () throws(StoreError) in try base.read(location, range) }
    }
    package func head(_ location: ObjectLocation) throws(StoreError) -> StoredObject? {
        try measure(.head) { () throws(StoreError) in try base.head(location) }
    }
    package func list(_ prefix: ObjectLocation, after: String?, limit: Int) throws(StoreError) -> [StoredObject] {
        try measure(.list) { () throws(StoreError) in try base.list(prefix, after: after, limit: limit) }
    }
    package func remove(_ location: ObjectLocation) throws(StoreError) {
        try measure(.remove) { () throws(StoreError) in try base.remove(location) }
    }
    package func copy(_ source: ObjectLocation, to destination: ObjectLocation) throws(StoreError) -> Int64 {
        try measure(.copy) { () throws(StoreError) in try base.copy(source, to: destination) }
    }
    package func isOpen(_ location: ObjectLocation) -> Bool { base.isOpen(location) }

    private final class Files: ObjectFiles {
        let base: any ObjectFiles
        let meter: CallMeter
        init(_ base: any ObjectFiles, _ meter: CallMeter) {
            self.base = base
            self.meter = meter
        }

        private func measure<Result>(_ call: Call, _ body: () throws(StoreError) -> Result) throws(StoreError)
            -> Result
        { try meter.measure(call.rawValue, body) }

        func makeWriter() throws(StoreError) -> any UnnamedObjectWriter {
            UnnamedWriter(try base.makeWriter(), meter)
        }
        func join(_ parts: [ObjectLocation], to destination: ObjectLocation) throws(StoreError) -> Int64 {
            try measure(.join) { () throws(StoreError) in try base.join(parts, to: destination) }
        }
        func adopt(file path: String, as location: ObjectLocation, _ durability: Durability) throws(StoreError)
            -> Int64
        { try measure(.adopt) { () throws(StoreError) in try base.adopt(file: path, as: location, durability) } }
        func piece(_ location: ObjectLocation) throws(StoreError) -> FilePiece {
            try measure(.open) { () throws(StoreError) in try base.piece(location) }
        }
        func file(_ location: ObjectLocation) throws(StoreError) -> FilePiece {
            try measure(.open) { () throws(StoreError) in try base.file(location) }
        }
        func walk(_ prefix: ObjectLocation, _ body: (StoredObject) throws -> Void) throws {
            try base.walk(prefix, body)
        }
        func capacity() -> (total: Int64, free: Int64, available: Int64)? { base.capacity() }
        func synchronize() throws(StoreError) {
            try measure(.sync) { () throws(StoreError) in try base.synchronize() }
        }
        func synchronizeOrdered() throws(StoreError) {
            try measure(.sync) { () throws(StoreError) in try base.synchronizeOrdered() }
        }
    }
}
