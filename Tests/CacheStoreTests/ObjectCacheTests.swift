import Foundations
import Glibc
import LakeTestSupport
import Synchronization
import Testing
import Versioning

@testable import CacheStore

/// Objects that are elsewhere, kept in part or whole on the local disk.
@Suite struct ObjectCacheTests {
    private static let block = ObjectCache.blockBytes

    /// Objects elsewhere, and how often and how much was asked of them.
    private final class Elsewhere: Sendable {
        let bytes: [UInt8]
        let asked = Mutex<[Range<Int64>]>([])
        init(_ count: Int64, seed: UInt64 = 1) {
            var random = SeededRandom(seed: seed)
            bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        }
        var size: Int64 { Int64(bytes.count) }
        func fetch(_ range: Range<Int64>) -> [UInt8] {
            asked.withLock { $0.append(range) }
            return slice(range)
        }
        func slice(_ range: Range<Int64>) -> [UInt8] {
            Array(bytes[Int(range.lowerBound)..<Int(min(range.upperBound, size))])
        }
        var count: Int { asked.withLock { $0.count } }
    }

    @Test func whatWasReadIsThere() throws {
        let folder = TemporaryFolder()
        let cache = try ObjectCache(folder: folder.path, limitBytes: 100 << 20)
        let object = Elsewhere(5 * Self.block + 17)
        var random = SeededRandom(seed: 2)
        for _ in 0..<300 {
            let start = Int64(random.next() % UInt64(object.size))
            let range = start..<start + 1 + Int64(random.next() % 100_000)
            #expect(try cache.read("a", size: object.size, range, fetch: object.fetch) == object.slice(range))
        }
        #expect(object.count <= 6, "what is there is fetched again")
        let piece = try #require(try cache.file("a", size: object.size))
        defer { piece.close() }
        #expect(try piece.read(0..<object.size) == object.bytes)
        #expect(try cache.file("b", size: 1) == nil)
        #expect(try cache.read("a", size: object.size, object.size..<object.size + 5, fetch: object.fetch).isEmpty)
    }

    @Test func whoReadsInOrderIsReadAheadOf() throws {
        let folder = TemporaryFolder()
        let cache = try ObjectCache(folder: folder.path, limitBytes: 100 << 20)
        let object = Elsewhere(16 << 20)
        var position: Int64 = 0
        while position < object.size {
            #expect(
                try cache.read("a", size: object.size, position..<position + 65536, fetch: object.fetch)
                    == object.slice(position..<position + 65536))
            position += 65536
        }
        #expect(object.count <= 8)
        // Who jumps is not.
        let other = Elsewhere(16 << 20, seed: 3)
        for block in [40, 3, 20, 50, 9] as [Int64] {
            _ = try cache.read("b", size: other.size, block * Self.block..<block * Self.block + 10, fetch: other.fetch)
        }
        #expect(other.asked.withLock { $0.allSatisfy { $0.upperBound - $0.lowerBound == Self.block } })
    }

    /// A process that was killed leaves parts; those are believed as far as they were written.
    @Test func partsAreTakenUp() throws {
        let folder = TemporaryFolder()
        let object = Elsewhere(8 * Self.block)
        _ = try ObjectCache(folder: folder.path, limitBytes: 100 << 20).read(
            "a", size: object.size, 3 * Self.block..<4 * Self.block, fetch: object.fetch)
        // Half a block, as a write that was cut off leaves it.
        let name = try #require(try Folder.names(of: folder.path).first { $0.hasSuffix(".part") })
        let file = unsafe open(folder.path + "/" + name, O_WRONLY)
        #expect(unsafe pwrite(file, [UInt8](repeating: 7, count: 8192), 8192, off_t(5 * Self.block)) == 8192)
        close(file)
        let cache = try ObjectCache(folder: folder.path, limitBytes: 100 << 20)
        let before = object.count
        #expect(
            try cache.read("a", size: object.size, 3 * Self.block..<4 * Self.block, fetch: object.fetch)
                == object.slice(3 * Self.block..<4 * Self.block))
        #expect(object.count == before)
        #expect(try cache.read("a", size: object.size, 0..<object.size, fetch: object.fetch) == object.bytes)
    }

    /// After the machine went down only whole files are believed.
    @Test func partsOfAnotherBootGo() throws {
        let folder = TemporaryFolder()
        let part = Elsewhere(8 * Self.block)
        let whole = Elsewhere(100, seed: 4)
        let first = try ObjectCache(folder: folder.path, limitBytes: 100 << 20)
        _ = try first.read("part", size: part.size, 0..<10, fetch: part.fetch)
        _ = try first.read("whole", size: whole.size, 0..<100, fetch: whole.fetch)
        let file = unsafe open(folder.path + "/.boot", O_WRONLY | O_TRUNC)
        #expect(unsafe write(file, "other", 5) == 5)
        close(file)
        let cache = try ObjectCache(folder: folder.path, limitBytes: 100 << 20)
        _ = try cache.read("part", size: part.size, 0..<10, fetch: part.fetch)
        _ = try cache.read("whole", size: whole.size, 0..<10, fetch: whole.fetch)
        #expect((part.count, whole.count) == (2, 1))
    }

    @Test func whatWasNotUsedForLongestMakesRoom() throws {
        let folder = TemporaryFolder()
        let cache = try ObjectCache(folder: folder.path, limitBytes: 10 * Self.block)
        let objects = (0..<20).map { Elsewhere(Self.block, seed: $0) }
        for (index, object) in objects.enumerated() {
            _ = try cache.read("\(index)", size: object.size, 0..<10, fetch: object.fetch)
            _ = try cache.read("0", size: objects[0].size, 0..<10, fetch: objects[0].fetch)
        }
        #expect(cache.counters.bytes <= 10 * Int(Self.block))
        #expect(objects[0].count == 1, "what is used again and again went")
        _ = try cache.read("1", size: objects[1].size, 0..<10, fetch: objects[1].fetch)
        #expect(objects[1].count == 2)
        // A smaller one makes room at its start.
        let small = try ObjectCache(folder: folder.path, limitBytes: 2 * Self.block)
        #expect(small.counters.bytes <= 2 * Int(Self.block))
    }

    @Test func whatFailsIsNotKept() throws {
        struct Broken: Error {}
        let folder = TemporaryFolder()
        let cache = try ObjectCache(folder: folder.path, limitBytes: 100 << 20)
        let object = Elsewhere(1000)
        #expect(throws: Broken.self) { try cache.read("a", size: 1000, 0..<10) { _ in throw Broken() } }
        expectFailure(.dataGone) { try cache.read("a", size: 1000, 0..<10) { _ in [1, 2, 3] } }
        #expect(try cache.read("a", size: 1000, 0..<1000, fetch: object.fetch) == object.bytes)
    }

    @Test func manyReadersAtOnce() throws {
        let folder = TemporaryFolder()
        let cache = try ObjectCache(folder: folder.path, limitBytes: 3 << 20)
        let objects = (0..<6).map { Elsewhere(1 << 20, seed: $0 + 10) }
        let wrong = Atomic<Int>(0)
        let threads = (0..<8).map { thread in
            Thread(name: "reader") {
                var random = SeededRandom(seed: UInt64(thread))
                for _ in 0..<200 {
                    let index = Int(random.next() % 6)
                    let start = Int64(random.next() % (1 << 20))
                    let range = start..<min(start + 50_000, 1 << 20)
                    if (try? cache.read("\(index)", size: 1 << 20, range, fetch: objects[index].fetch))
                        != objects[index].slice(range)
                    {
                        wrong.add(1, ordering: .relaxed)
                    }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(wrong.load(ordering: .relaxed) == 0)
    }
}
