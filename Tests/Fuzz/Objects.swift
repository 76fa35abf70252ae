import Foundations
import Synchronization

@testable import Versioning

/// Objects in memory, a thousand at most: what fuzzed requests store is of no interest to anyone.
final class FuzzedObjects: ObjectStore {
    private let all = Mutex<[ObjectLocation: [UInt8]]>([:])

    private final class Writer: ObjectWriter {
        private let store: FuzzedObjects, location: ObjectLocation
        private var bytes: [UInt8] = []
        init(_ store: FuzzedObjects, _ location: ObjectLocation) { (self.store, self.location) = (store, location) }
        func write(_ bytes: UnsafeRawBufferPointer) { self.bytes.append(contentsOf: bytes) }
        func finish(_ durability: Durability) -> Int64 {
            store.all.withLock { [bytes, location] all in
                if all.count > 1000 { all.removeAll() }
                all[location] = bytes
            }
            return Int64(bytes.count)
        }
        func abort() {}
    }

    let capabilities = ObjectStoreCapabilities(schemes: ["mem"])
    func makeWriter(_ location: ObjectLocation) -> any ObjectWriter { Writer(self, location) }
    func read(_ location: ObjectLocation, _ range: Range<Int64>) throws(StoreError) -> [UInt8] {
        guard let bytes = all.withLock({ $0[location] }) else { throw StoreError(.notFound, "\(location)") }
        return Array(bytes[min(bytes.count, Int(range.lowerBound))..<min(bytes.count, Int(clamping: range.upperBound))])
    }
    func head(_ location: ObjectLocation) -> StoredObject? {
        all.withLock { $0[location].map { StoredObject(location: location, byteCount: Int64($0.count), modified: 0) } }
    }
    func remove(_ location: ObjectLocation) { all.withLock { $0[location] = nil } }
    func copy(_ source: ObjectLocation, to destination: ObjectLocation) throws(StoreError) -> Int64 {
        let bytes = try read(source, 0..<Int64.max)
        all.withLock { $0[destination] = bytes }
        return Int64(bytes.count)
    }
    func list(_ prefix: ObjectLocation, after: String?, limit: Int) -> [StoredObject] { [] }
}
