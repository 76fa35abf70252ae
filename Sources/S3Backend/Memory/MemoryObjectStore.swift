package import Foundations
import Synchronization
package import Versioning

/// Objects in memory: for tests and for servers that forget. Serves every scheme it is given.
package final class MemoryObjectStore: ObjectStore {
    private let objects = Mutex<[ObjectLocation: (bytes: [UInt8], modified: Int64)]>([:])

    private let openPrefixes: [String]
    package let capabilities: ObjectStoreCapabilities

    /// - Parameters:
    ///   - schemes: what it says to serve; it takes any.
    ///   - openPrefixes: beginnings of paths that entries may name by their full addresses; none by default.
    package init(schemes: [String] = ["mem"], openPrefixes: [String] = []) {
        self.openPrefixes = openPrefixes
        capabilities = ObjectStoreCapabilities(schemes: schemes)
    }

    package func isOpen(_ location: ObjectLocation) -> Bool {
        openPrefixes.contains { location.path.utf8.starts(with: $0.utf8) }
    }

    private final class Writer: ObjectWriter {
        private let store: MemoryObjectStore
        private let location: ObjectLocation
        private var bytes: [UInt8]? = []

        init(_ store: MemoryObjectStore, _ location: ObjectLocation) {
            self.store = store
            self.location = location
        }

        func write(_ piece: UnsafeRawBufferPointer) throws(StoreError) { unsafe bytes?.append(contentsOf: piece) }

        func finish(_ durability: Durability) throws(StoreError) -> Int64 {
            guard let whole = bytes else { throw StoreError(.invalid, "\(location) was finished or dropped before") }
            bytes = nil
            store.set(whole, at: location)
            return Int64(whole.count)
        }

        func abort() { bytes = nil }
    }

    private func set(_ bytes: [UInt8], at location: ObjectLocation) {
        objects.withLock { $0[location] = (bytes, Timestamp.now().seconds) }
    }

    private func bytes(_ location: ObjectLocation) throws(StoreError) -> [UInt8] {
        guard let object = objects.withLock({ $0[location] }) else {
            throw StoreError(.notFound, "\(location) is not there")
        }
        return object.bytes
    }

    package func putIfAbsent(_ bytes: [UInt8], at location: ObjectLocation) throws(StoreError) -> Bool {
        objects.withLock { objects in
            guard objects[location] == nil else { return false }
            objects[location] = (bytes, Timestamp.now().seconds)
            return true
        }
    }

    package func makeWriter(_ location: ObjectLocation) throws(StoreError) -> any ObjectWriter {
        Writer(self, location)
    }

    package func read(_ location: ObjectLocation, _ range: Range<Int64>) throws(StoreError) -> [UInt8] {
        let bytes = try bytes(location)
        let end = Int(min(range.upperBound, Int64(bytes.count)))
        return range.lowerBound >= end ? [] : Array(bytes[Int(range.lowerBound)..<end])
    }

    package func head(_ location: ObjectLocation) throws(StoreError) -> StoredObject? {
        objects.withLock { $0[location].map { Self.told(location, $0) } }
    }
    private static func told(_ location: ObjectLocation, _ object: (bytes: [UInt8], modified: Int64)) -> StoredObject {
        StoredObject(location: location, byteCount: Int64(object.bytes.count), modified: object.modified)
    }
    package func remove(_ location: ObjectLocation) throws(StoreError) {
        _ = objects.withLock { $0.removeValue(forKey: location) }
    }
    package func copy(_ source: ObjectLocation, to destination: ObjectLocation) throws(StoreError) -> Int64 {
        let bytes = try bytes(source)
        set(bytes, at: destination)
        return Int64(bytes.count)
    }

    package func list(_ prefix: ObjectLocation, after: String?, limit: Int) throws(StoreError) -> [StoredObject] {
        let below = Array((prefix.path + "/").utf8)
        let found = objects.withLock { objects in
            objects.filter { location, _ in
                location.scheme == prefix.scheme && Array(location.path.utf8).starts(with: below)
                    && after.map { Array($0.utf8).precedes(Array(location.path.utf8)) } ?? true
            }
        }
        return found.sorted { Array($0.key.path.utf8).precedes(Array($1.key.path.utf8)) }.prefix(limit)
            .map { Self.told($0.key, $0.value) }
    }
}
