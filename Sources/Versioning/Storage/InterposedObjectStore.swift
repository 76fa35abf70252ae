package import Foundations

/// The calls of an object store as one sees them who stands between it and its callers.
package enum ObjectStoreCall: Int, Sendable, CaseIterable {
    case put, read, head, list, remove, copy, join, adopt, open, sync
    /// A writer is made; what it writes is a `put` when it is finished.
    case begin
    /// Everything below a prefix is gone through, with what its caller does of each object.
    case walk

    var name: String { "\(self)" }
}

/// Who stands between a store and its callers: one that counts calls, makes them again, or makes them fail.
package protocol ObjectStoreGuard: Sendable {
    /// Makes one call of the store: `body`.
    func make<Result>(_ call: ObjectStoreCall, _ body: () throws(StoreError) -> Result) throws(StoreError) -> Result
}

/// An object store with someone between it and its callers.
package final class InterposedObjectStore<Guard: ObjectStoreGuard>: ObjectStore {
    private let base: any ObjectStore
    private let between: Guard
    package let capabilities: ObjectStoreCapabilities

    package init(_ base: any ObjectStore, _ between: Guard) {
        self.base = base
        self.between = between
        let own = base.capabilities
        capabilities = ObjectStoreCapabilities(
            schemes: own.schemes, files: own.files.map { Files(base: $0, between: between) },
            presigner: own.presigner)
    }

    package func put(_ bytes: [UInt8], at location: ObjectLocation, _ durability: Durability) throws(StoreError) {
        try between.make(.put) { () throws(StoreError) in try base.put(bytes, at: location, durability) }
    }
    package func putIfAbsent(_ bytes: [UInt8], at location: ObjectLocation) throws(StoreError) -> Bool {
        try between.make(.put) { () throws(StoreError) in try base.putIfAbsent(bytes, at: location) }
    }
    package func makeWriter(_ location: ObjectLocation) throws(StoreError) -> any ObjectWriter {
        let writer = try between.make(.begin) { () throws(StoreError) in try base.makeWriter(location) }
        return Writer(writer, between)
    }
    package func read(_ location: ObjectLocation, _ range: Range<Int64>) throws(StoreError) -> [UInt8] {
        try between.make(.read) { () throws(StoreError) in try base.read(location, range) }
    }
    package func head(_ location: ObjectLocation) throws(StoreError) -> StoredObject? {
        try between.make(.head) { () throws(StoreError) in try base.head(location) }
    }
    package func list(_ prefix: ObjectLocation, after: String?, limit: Int) throws(StoreError) -> [StoredObject] {
        try between.make(.list) { () throws(StoreError) in try base.list(prefix, after: after, limit: limit) }
    }
    package func remove(_ location: ObjectLocation) throws(StoreError) {
        try between.make(.remove) { () throws(StoreError) in try base.remove(location) }
    }
    package func copy(_ source: ObjectLocation, to destination: ObjectLocation) throws(StoreError) -> Int64 {
        try between.make(.copy) { () throws(StoreError) in try base.copy(source, to: destination) }
    }
    package func join(_ parts: [ObjectLocation], to destination: ObjectLocation) throws(StoreError) -> Int64 {
        try between.make(.join) { () throws(StoreError) in try base.join(parts, to: destination) }
    }
    package func isOpen(_ location: ObjectLocation) -> Bool { base.isOpen(location) }

    private final class Writer: ObjectWriter {
        private let base: any ObjectWriter
        private let between: Guard
        init(_ base: any ObjectWriter, _ between: Guard) {
            self.base = base
            self.between = between
        }
        func write(_ bytes: UnsafeRawBufferPointer) throws(StoreError) { unsafe try base.write(bytes) }
        func finish(_ durability: Durability) throws(StoreError) -> Int64 {
            try between.make(.put) { () throws(StoreError) in try base.finish(durability) }
        }
        var finishesAtOnce: Bool { base.finishesAtOnce }
        func abort() { base.abort() }
    }

    private final class UnnamedWriter: UnnamedObjectWriter {
        private let base: any UnnamedObjectWriter
        private let between: Guard
        init(_ base: any UnnamedObjectWriter, _ between: Guard) {
            self.base = base
            self.between = between
        }
        func write(_ bytes: UnsafeRawBufferPointer) throws(StoreError) { unsafe try base.write(bytes) }
        func finish(at location: ObjectLocation, _ durability: Durability) throws(StoreError) {
            try between.make(.put) { () throws(StoreError) in try base.finish(at: location, durability) }
        }
        func abort() { base.abort() }
    }

    private struct Files: ObjectFiles {
        let base: any ObjectFiles
        let between: Guard

        func makeWriter() throws(StoreError) -> any UnnamedObjectWriter {
            let writer = try between.make(.begin) { () throws(StoreError) in try base.makeWriter() }
            return UnnamedWriter(writer, between)
        }
        func join(_ parts: [ObjectLocation], to destination: ObjectLocation) throws(StoreError) -> Int64 {
            try between.make(.join) { () throws(StoreError) in try base.join(parts, to: destination) }
        }
        func adopt(file path: String, as location: ObjectLocation, _ durability: Durability) throws(StoreError)
            -> Int64
        {
            try between.make(.adopt) { () throws(StoreError) in try base.adopt(file: path, as: location, durability) }
        }
        func piece(_ location: ObjectLocation) throws(StoreError) -> FilePiece {
            try between.make(.open) { () throws(StoreError) in try base.piece(location) }
        }
        func file(_ location: ObjectLocation) throws(StoreError) -> FilePiece {
            try between.make(.open) { () throws(StoreError) in try base.file(location) }
        }
        func walk(_ prefix: ObjectLocation, _ body: (StoredObject) throws -> Void) throws {
            try between.make(.walk) { () throws(StoreError) in }
            try base.walk(prefix, body)
        }
        func capacity() -> (total: Int64, free: Int64, available: Int64)? { base.capacity() }
        func synchronize() throws(StoreError) {
            try between.make(.sync) { () throws(StoreError) in try base.synchronize() }
        }
        func synchronizeOrdered() throws(StoreError) {
            try between.make(.sync) { () throws(StoreError) in try base.synchronizeOrdered() }
        }
    }
}

/// Counts calls: one that is to write an object when it is finished, its files' too.
extension CallMeter: ObjectStoreGuard {
    package static func ofObjects() -> CallMeter {
        CallMeter(ObjectStoreCall.allCases.filter { $0.rawValue < ObjectStoreCall.begin.rawValue }.map(\.name))
    }

    package func make<Result>(_ call: ObjectStoreCall, _ body: () throws(StoreError) -> Result) throws(StoreError)
        -> Result
    { call.rawValue < names.count ? try measure(call.rawValue, body) : try body() }
}

/// Makes calls again that failed for a while only.
extension Retries: ObjectStoreGuard {
    package func make<Result>(_ call: ObjectStoreCall, _ body: () throws(StoreError) -> Result) throws(StoreError)
        -> Result
    { try run(body) }
}
