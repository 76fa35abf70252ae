import FoundationEssentials
import Foundations
import LakeTestSupport
import Synchronization
import Testing
import Versioning

@testable import CacheStore

@Suite struct CachedObjectStoreTests {
    /// Objects that are made up by their names, and a count of what is asked for.
    private final class Far: ObjectStore {
        struct Asked { var requests = 0, bytes = 0 }
        let asked = Mutex(Asked())
        let isDown = Atomic<Bool>(false)
        let size: Int64
        let content: [UInt8]
        init(size: Int64) {
            self.size = size
            content = (0..<Int(size)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 12) }
        }
        var capabilities: ObjectStoreCapabilities { ObjectStoreCapabilities(schemes: ["far"]) }

        func read(_ location: ObjectLocation, _ range: Range<Int64>) throws(StoreError) -> [UInt8] {
            if isDown.load(ordering: .relaxed) { throw StoreError(.away, "down") }
            let range = min(range.lowerBound, size)..<min(range.upperBound, size)
            asked.withLock {
                $0.requests += 1
                $0.bytes += range.count
            }
            return Array(content[Int(range.lowerBound)..<Int(range.upperBound)])
        }
        func put(_ bytes: [UInt8], at location: ObjectLocation, _ durability: Durability) throws(StoreError) {}
        func makeWriter(_ location: ObjectLocation) throws(StoreError) -> any ObjectWriter {
            throw StoreError(.invalid, "not here")
        }
        func head(_ location: ObjectLocation) throws(StoreError) -> StoredObject? {
            StoredObject(location: location, byteCount: size, modified: 0)
        }
        func list(_ prefix: ObjectLocation, after: String?, limit: Int) throws(StoreError) -> [StoredObject] { [] }
        func remove(_ location: ObjectLocation) throws(StoreError) {}
        func copy(_ source: ObjectLocation, to destination: ObjectLocation) throws(StoreError) -> Int64 { 0 }
    }

    private static func object(_ number: Int) -> ObjectLocation {
        ObjectLocation(scheme: "far", path: "bucket/ns/data/aaaaaaaaaaaaaaaaaaaa/bbbbbbbbbbbbbbbbbb\(number + 10)")
    }

    @Test func whatWasReadIsHere() throws {
        let folder = TemporaryFolder()
        let far = Far(size: 2_500_000)
        var store = try CachedObjectStore(far, folder: folder.path + "/blocks", limitBytes: 1 << 30)
        let location = Self.object(1)
        var random = SeededRandom(seed: 4)
        for _ in 0..<100 {
            let start = Int64.random(in: 0..<2_500_000, using: &random)
            let range = start..<min(start + Int64.random(in: 1...900_000, using: &random), 2_500_000)
            let wanted = Array(far.content[Int(range.lowerBound)..<Int(range.upperBound)])
            #expect(try store.read(location, range) == wanted)
        }
        #expect(try store.read(location, 2_499_990..<3_000_000).count == 10)
        #expect(try store.read(location, 2_500_000..<3_000_000) == [])
        #expect(far.asked.withLock { $0.bytes } <= 2_500_000)
        store.close()
        // A new start finds it on the disk, though the store is down.
        store = try CachedObjectStore(far, folder: folder.path + "/blocks", limitBytes: 1 << 30)
        defer { store.close() }
        far.isDown.store(true, ordering: .relaxed)
        #expect(try store.read(location, 100..<2_400_000) == Array(far.content[100..<2_400_000]))
        expectFailure(.away) { try store.read(Self.object(2), 0..<10) }
        far.isDown.store(false, ordering: .relaxed)
        #expect(try store.read(Self.object(2), 0..<10) == Array(far.content[0..<10]))
    }

    /// What may change is read each time.
    @Test func onlyWhatNeverChangesIsKept() throws {
        let folder = TemporaryFolder()
        let far = Far(size: 100)
        let store = try CachedObjectStore(far, folder: folder.path + "/blocks", limitBytes: 1 << 30)
        defer { store.close() }
        for path in ["bucket/other/key", "bucket/ns/_lakefs/retention/gc/rules/config.json", "bucket/ns/data/a/b"] {
            let location = ObjectLocation(scheme: "far", path: path)
            let before = far.asked.withLock { $0.requests }
            for _ in 0..<3 { _ = try store.read(location, 0..<100) }
            #expect(far.asked.withLock { $0.requests } == before + 3, "\(path)")
        }
        let table = ObjectLocation(
            scheme: "far", path: "bucket/ns/_lakefs/" + String(repeating: "0123456789abcdef", count: 4))
        let before = far.asked.withLock { $0.requests }
        for _ in 0..<3 { _ = try store.read(table, 0..<100) }
        #expect(far.asked.withLock { $0.requests } == before + 1)
    }

    /// A file that ends early or was changed is never given out.
    @Test func damagedBlocksAreFetchedAnew() throws {
        let folder = TemporaryFolder()
        let far = Far(size: 300_000)
        for damage in 0..<4 {
            let path = folder.path + "/blocks\(damage)"
            var store = try CachedObjectStore(far, folder: path, limitBytes: 1 << 30)
            _ = try store.read(Self.object(1), 0..<300_000)
            store.close()
            let file = try #require(
                FileManager.default.subpathsOfDirectory(atPath: path).first { $0.utf8.count > 20 })
            var bytes = try Data(contentsOf: URL(filePath: "\(path)/\(file)"))
            switch damage {
            case 0: bytes.removeLast(1000)
            case 1: bytes[bytes.startIndex + 200_000] ^= 1
            case 2: bytes = Data()
            default: bytes[bytes.startIndex + 12] ^= 1
            }
            try bytes.write(to: URL(filePath: "\(path)/\(file)"))
            store = try CachedObjectStore(far, folder: path, limitBytes: 1 << 30)
            defer { store.close() }
            #expect(try store.read(Self.object(1), 0..<300_000) == Array(far.content[0..<300_000]))
        }
    }

    /// The budget holds, and one who reads everything once does not drive out what others read again and again.
    @Test func oneScanDoesNotFlush() throws {
        let folder = TemporaryFolder()
        let far = Far(size: 1 << 20)
        // Nothing in memory: all that counts is on the disk.
        let store = try CachedObjectStore(
            far, folder: folder.path + "/blocks", limitBytes: 24 << 20, memoryBytes: 1)
        defer { store.close() }
        for _ in 0..<4 { for hot in 0..<12 { _ = try store.read(Self.object(hot), 0..<1000) } }
        for cold in 20..<85 { _ = try store.read(Self.object(cold), 0..<1000) }
        #expect(store.counters.bytes <= 24 << 20)
        let before = far.asked.withLock { $0.requests }
        for hot in 0..<12 { _ = try store.read(Self.object(hot), 0..<1000) }
        #expect(far.asked.withLock { $0.requests } - before <= 3, "what is hot stayed")
    }

    /// Who reads in order is not kept waiting, and asks in large pieces; many at once fetch each block once.
    @Test func readersInOrderAreServedAhead() throws {
        let folder = TemporaryFolder()
        let far = Far(size: 40 << 20)
        let store = try CachedObjectStore(far, folder: folder.path + "/blocks", limitBytes: 1 << 30)
        defer { store.close() }
        let threads = (0..<3).map { _ in
            Thread(name: "reader") {
                var position: Int64 = 0
                while position < 40 << 20 {
                    do {
                        let bytes = try store.read(Self.object(1), position..<position + 131_072)
                        #expect(bytes == Array(far.content[Int(position)..<Int(position) + 131_072]))
                    } catch { Issue.record(error) }
                    position += 131_072
                }
            }
        }
        for thread in threads { thread.join() }
        let asked = far.asked.withLock { $0 }
        #expect(asked.bytes <= 60 << 20, "\(asked.bytes)")
        #expect(asked.requests < 40, "\(asked.requests) requests")
    }
}
