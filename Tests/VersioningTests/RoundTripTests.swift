import Foundations
import LakeTestSupport
import S3Backend
import Synchronization
import Testing

@testable import Versioning

/// How often the store behind a network is asked: what an operation costs where each asking takes milliseconds.
@Suite struct RoundTripTests {
    /// Counts calls; says that others write too.
    private final class Counting: KeyValueStore {
        private let base = InMemoryKeyValueStore()
        private let count = Atomic<Int>(0)
        let capabilities = KeyValueCapabilities(mostChanges: 5000, isShared: true, requiresCheaply: true)

        func calls(_ body: () throws -> Void) rethrows -> Int {
            let before = count.load(ordering: .relaxed)
            try body()
            return count.load(ordering: .relaxed) - before
        }
        private func note() { count.add(1, ordering: .relaxed) }

        func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]? {
            note()
            return try base.value(for: key, in: partition)
        }
        func values(for names: [(partition: Partition, key: Key)]) throws(StoreError) -> [[UInt8]?] {
            note()
            return try base.values(for: names)
        }
        func set(
            _ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?,
            _ durability: Durability
        ) throws(StoreError) {
            note()
            try base.set(value, for: key, in: partition, if: condition, durability)
        }
        func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError) {
            note()
            try base.write(batch, durability)
        }
        func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(
            key: Key, value: [UInt8]
        )] {
            note()
            return try base.page(of: partition, from: from, before: end, limit: limit)
        }
        func removeAll(in partition: Partition) throws(StoreError) { try base.removeAll(in: partition) }
        func partitions() throws(StoreError) -> [Partition] { try base.partitions() }
    }

    @Test func operationsAskSeldom() throws {
        let counting = Counting()
        // Rules are read once a second, as a server has them.
        let store = BriefCache(counting, milliseconds: 60_000) { _, key in key.hasPrefix("settings/") }
        let lake = MemoryLake(store: store, objects: MemoryObjectStore(), isAlone: false)
        let catalog = lake.catalog
        defer { lake.stop() }
        try lake.make()
        try lake.put("a", "1")
        try lake.commit("first")
        _ = try catalog.entry("a", at: "main", in: "repo")
        func look(_ path: Key) throws { _ = try? catalog.entry(path, at: "main", in: "repo") }

        #expect(try counting.calls { try look("a") } == 1, "stat of a committed object")
        #expect(try counting.calls { try look("missing") } == 1, "stat of nothing")
        #expect(try counting.calls { try lake.put("b", "2") } == 1, "staging")
        #expect(try counting.calls { try look("b") } == 1, "stat of a staged object")
        #expect(
            try counting.calls { _ = try catalog.createBranch("side", from: "main", in: "repo") } <= 3, "create branch")
        try lake.put("c", "3")
        #expect(try counting.calls { try lake.commit("second") } <= 5, "commit")
        // Another process moved the branch: what is known of it is found wrong, and read anew.
        let other = MemoryLake(store: store, objects: catalog.objects, isAlone: false)
        defer { other.stop() }
        try other.put("d", "4")
        try other.commit("by another")
        #expect(try counting.calls { try look("d") } <= 3, "stat after another's commit")
        #expect(try lake.contents("main") == ["a": "1", "b": "2", "c": "3", "d": "4"])
        try other.put("e", "5")
        try other.commit("again")
        #expect(try counting.calls { try lake.put("f", "6") } <= 3, "staging after another's commit")
        #expect(try lake.contents("main").count == 6)
        #expect(throws: LakeError.self) { try lake.commit("x", on: "side") }
    }
}
