import CacheStore
import Foundations
import LakeTestSupport
import Synchronization
import Testing
import Versioning

@Suite struct RecordCacheTests {
    @Test(arguments: [1, 2, 3]) func isAStoreLikeAnyOther(seed: UInt64) throws {
        // So small that it is full all the time.
        try checkKeyValueStore(
            RecordCache(InMemoryKeyValueStore(), budgetBytes: 16 * 400, caching: { $0 != Partition("other") }),
            seed: seed)
    }

    /// Many threads count up by compare-and-set, and never read less than they were told of before.
    @Test func nobodySeesAnOlderValue() throws {
        let folder = TemporaryFolder()
        let database = try SQLiteStore(path: folder.path + "/lake.db")
        let store = RecordCache(database, caching: { _ in true })
        let partition = Partition("p")
        let told = Atomic<Int>(0)
        @Sendable func number(_ bytes: [UInt8]?) -> Int {
            bytes.flatMap { Int(String(decoding: $0, as: UTF8.self)) } ?? 0
        }
        let threads = (0..<6).map { _ in
            Thread(name: "counter") {
                for _ in 0..<150 {
                    do {
                        let least = told.load(ordering: .acquiring)
                        let old = try store.value(for: "k", in: partition)
                        let value = number(old)
                        if value < least { Issue.record("\(value) was read after \(least) was told") }
                        if try store.trySet(
                            Array(String(value + 1).utf8), for: "k", in: partition,
                            if: old.map { .matches($0) } ?? .absent, .eventual)
                        {
                            told.max(value + 1, ordering: .acquiringAndReleasing)
                        }
                    } catch { Issue.record(error) }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(number(try store.value(for: "k", in: partition)) == told.load(ordering: .acquiring))
        database.close()
    }
}
