import CacheStore
import Glibc
import LakeTestSupport
import Testing
import Versioning

@Suite struct KeyValueStoreTests {
    @Test(arguments: 1...5) func inMemory(seed: UInt64) throws { try checkKeyValueStore(InMemoryKeyValueStore(), seed: seed) }

    @Test(arguments: 1...5) func sqlite(seed: UInt64) throws {
        let folder = TemporaryFolder(), store = try SQLiteStore(path: folder.path + "/kv.db")
        defer { store.close() }
        try checkKeyValueStore(store, seed: seed)
    }

    @Test func whatWasWrittenIsThereAfterReopening() throws {
        let folder = TemporaryFolder(), partition = Partition("p")
        var store = try SQLiteStore(path: folder.path + "/kv.db")
        try store.set([1], for: "durable", in: partition)
        try store.set([2], for: "eventual", in: partition, if: nil, .eventual)
        store.close()
        store = try SQLiteStore(path: folder.path + "/kv.db")
        defer { store.close() }
        #expect(try store.value(for: "durable", in: partition) == [1] && store.value(for: "eventual", in: partition) == [2])
    }

    /// Many threads, one counter by compare-and-set: nothing is lost.
    @Test func concurrentCompareAndSet() throws {
        let folder = TemporaryFolder(), store = try SQLiteStore(path: folder.path + "/kv.db"), partition = Partition("p")
        defer { store.close() }
        try store.set([0, 0], for: "n", in: partition)
        let threads = (0..<8).map { _ in
            Thread(name: "adder") {
                for _ in 0..<50 {
                    do {
                        while true {
                            let old = try store.value(for: "n", in: partition)!, next = Int(old[0]) * 256 + Int(old[1]) + 1
                            if try store.trySet([UInt8(next / 256), UInt8(next % 256)], for: "n", in: partition, if: .matches(old)) { break }
                        }
                    } catch { Issue.record(error) }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(try store.value(for: "n", in: partition) == [UInt8(400 / 256), UInt8(400 % 256)])
    }

    @Test func largePartitionsAreRemovedInSteps() throws {
        let folder = TemporaryFolder(), store = try SQLiteStore(path: folder.path + "/kv.db")
        defer { store.close() }
        try store.write((0..<12_000).map { .set(Partition("big"), Key("k\($0)"), [1]) } + [.set(Partition("other"), "k", [1])], .eventual)
        try store.removeAll(in: Partition("big"))
        #expect(try store.partitions() == [Partition("other")])
    }
}

@Suite struct WriteStagingTests {
    @Test func aCrashLeavesWhatItWasToBecome() throws {
        let folder = TemporaryFolder(), record = WriteStaging.Record(repository: "r", branch: "b", path: "a/b", address: "data/x")
        let staging = try WriteStaging(folder: folder.path + "/staging")
        let kept = try staging.make(), dropped = try staging.make(), unregistered = try staging.make()
        try staging.register(kept.name, record)
        try staging.register(dropped.name, record)
        staging.forget(dropped.name)
        #expect(try staging.leftovers().isEmpty, "files of this process are no leftovers")
        staging.close()
        let next = try WriteStaging(folder: folder.path + "/staging")
        defer { next.close() }
        let left = try next.leftovers()
        #expect(left.map(\.name) == [kept.name] && left.first?.record == record)
        unsafe #expect(access(next.path(unregistered.name), F_OK) != 0, "half-made files go")
    }
}
