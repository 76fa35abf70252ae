import Foundations
import LakeTestSupport
import S3Backend
import Testing

@testable import Versioning

/// A store that takes few changes at once holds a lake all the same.
@Suite struct BoundedStoreTests {
    @Test func changesAreAsManyAsTheStoreTakes() throws {
        let store = BoundedKeyValueStore(mostChanges: 7)
        try store.writeMany((0..<50).map { .set(Partition("p"), Key("\($0)"), [1]) }, .durable)
        #expect(try store.page(of: Partition("p"), from: nil, before: nil, limit: 100).count == 50)
        expectFailure(.invalidValue) {
            try store.write((0..<8).map { .set(Partition("p"), Key("\($0)"), [1]) }, .durable)
        }
    }

    @Test func manyObjectsAtOnce() throws {
        let lake = MemoryLake(store: BoundedKeyValueStore(mostChanges: 7), objects: MemoryObjectStore(), raggedness: 9)
        try lake.make()
        let names = (0..<100).map { Key("a/\($0)") }
        try lake.catalog.stage(
            names.map { ($0, lake.entry("\($0)")) }, on: "main", in: "repo", .durable, origin: nil)
        #expect(try lake.contents("main").count == 100)
        try lake.commit("made")
        _ = try lake.catalog.createBranch("other", from: "main", in: "repo")
        let removed = try lake.catalog.delete(Array(names[10...]), on: "main", in: "repo")
        #expect(removed.count == 90)
        #expect(try lake.contents("main").count == 10)
        // What is renamed is as it was looked at, each of it.
        let moves = names[..<10].flatMap { name -> [(path: Key, entry: Entry?)] in
            [(name, nil), (Key("b/" + name.description), lake.entry("\(name)"))]
        }
        let expected = names[..<10].map { (path: $0, address: Optional(lake.entry("\($0)").address)) }
        try lake.catalog.stage(moves, on: "main", in: "repo", .durable, origin: nil, expecting: expected)
        #expect(try lake.contents("main").keys.sorted() == names[..<10].map { "b/\($0)" }.sorted())
        expectFailure(.preconditionFailed) {
            try lake.catalog.stage(moves, on: "main", in: "repo", .durable, origin: nil, expecting: expected)
        }
        try lake.commit("moved")
        #expect(try lake.contents("other").count == 100)
        try lake.catalog.deleteRepository("repo", force: false)
        expectFailure(.notFound(.repository)) { try lake.catalog.repository("repo") }
    }
}
