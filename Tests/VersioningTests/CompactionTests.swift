import Foundations
import Glibc
import LakeTestSupport
import S3Backend
import Testing

@testable import Versioning

/// A branch that was compacted shows, commits and differs as if it had not been.
@Suite struct CompactionTests {
    @Test(arguments: 1...30) func nothingChangesForReaders(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let lake = MemoryLake(objects: MemoryObjectStore(), raggedness: 9)
        try lake.make()
        let repository = try lake.catalog.repository("repo")
        var contents: [String: String] = [:]
        var committed: [String: String] = [:]
        for step in 0..<120 {
            let path = "d\(Int.random(in: 0..<3, using: &random))/\(Int.random(in: 0..<40, using: &random))"
            switch Int.random(in: 0..<20, using: &random) {
            case 0..<9:
                try lake.put(path, "\(step)")
                contents[path] = "\(step)"
            case 9..<15:
                _ = try lake.catalog.delete([Key(path)], on: "main", in: "repo")
                contents[path] = nil
            case 15..<18: try lake.catalog.compact("main", in: repository)
            case 18:
                do { try lake.commit("c") } catch let error as LakeError where error.code == .noChanges {}
                committed = contents
            default:
                try lake.catalog.resetObject(Key(path), on: "main", in: "repo", force: false)
                contents[path] = committed[path]
            }
            #expect(try lake.contents("main") == contents, "seed \(seed), step \(step)")
            #expect(try lake.contents("main@") == committed, "seed \(seed), step \(step)")
            #expect(
                try lake.catalog.find(Key(path), at: lake.catalog.resolve("main", in: "repo")).map {
                    String($0.address.dropFirst(5))
                } == contents[path])
            var query = Catalog.DiffQuery()
            query.limit = 1000
            let changed = Set(contents.keys).union(committed.keys).filter { contents[$0] != committed[$0] }
            #expect(
                try Set(lake.catalog.diffUncommitted("main", in: "repo", query).items.map(\.path.description))
                    == changed, "seed \(seed), step \(step)")
        }
    }

    /// A listing that has to pass over many removals is quick the next time, and no removal is left to pass over.
    @Test func slowListingsAskForIt() throws {
        let lake = MemoryLake(objects: MemoryObjectStore(), raggedness: 500)
        let count = Catalog.mostRemovalsMet + 50
        try lake.make()
        let repository = try lake.catalog.repository("repo")
        let entry = lake.entry("x")
        let paths = (0..<count).map { Key("gone/\($0)") }
        for start in stride(from: 0, to: count, by: 1000) {
            try lake.catalog.stage(
                paths[start..<min(start + 1000, count)].map { (path: $0, entry: entry) }, on: "main", in: "repo",
                .durable, origin: nil)
        }
        try lake.put("kept", "1")
        try lake.commit("all")
        for start in stride(from: 0, to: count, by: 1000) {
            _ = try lake.catalog.delete(Array(paths[start..<min(start + 1000, count)]), on: "main", in: "repo")
        }
        #expect(try lake.contents("main") == ["kept": "1"])
        for _ in 0..<5000
        where try lake.store.value(for: Compaction.key("main", in: repository), in: Compaction.partition) == nil {
            usleep(2000)
        }
        let (tokens, metaRange) = try lake.catalog.view(of: lake.catalog.resolve("main", in: "repo"))
        #expect(tokens.count == 1)
        #expect(try !lake.catalog.hasStaged(tokens: tokens))
        let cursor = try lake.catalog.committed.cursor(metaRange, in: repository.namespace)
        #expect(try cursor.nextRecord() && cursor.key == Array("kept".utf8))
        #expect(try lake.contents("main") == ["kept": "1"])
        try lake.commit("after")
        #expect(try lake.contents("main@") == ["kept": "1"])
        #expect(try lake.store.value(for: Compaction.key("main", in: repository), in: Compaction.partition) == nil)
    }
}
