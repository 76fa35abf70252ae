import Foundations
import Glibc
import LakeTestSupport
import S3Backend
import Testing
import Versioning

@Suite struct RepositoryTests {
    /// A deleted repository is gone at once, and its name is free; in the end no record of it is left.
    @Test func deletionLeavesNothingBehind() throws {
        let store = InMemoryKeyValueStore()
        let objects = MemoryObjectStore()
        do {
            let lake = MemoryLake(store: store, objects: objects)
            try lake.catalog.checkSchema()
            let before = Set(try store.partitions())
            try lake.make()
            try lake.put("a", "1")
            try lake.commit("one")
            try lake.put("b", "2")
            _ = try lake.catalog.createBranch("side", from: "main", in: "repo")
            try lake.put("c", "3", on: "side")
            _ = try lake.catalog.createTag("v1", at: "main", in: "repo", force: false)
            _ = try lake.catalog.createPull(
                title: "t", description: "", author: "a", source: "side", destination: "main", in: "repo")
            try lake.catalog.setProtectionRules([ProtectionRule(pattern: "x*")], in: "repo", ifChecksum: nil)
            try lake.catalog.updateRepositoryMetadata("repo", force: false) { $0["k"] = "v" }
            _ = try lake.catalog.startDump(of: "repo")
            try lake.catalog.deleteRepository("repo", force: false)
            expectFailure(.notFound(.repository)) { try lake.catalog.repository("repo") }
            expectFailure(.notFound(.repository)) { try lake.put("d", "4") }
            // The name is free, with nothing of the old one in it.
            _ = try lake.catalog.createRepository(
                "repo", storageNamespace: "mem://other", defaultBranch: "main", schemes: ["mem"])
            #expect(try lake.contents("main").isEmpty)
            #expect(try lake.catalog.listTags("repo", prefix: "", after: "", limit: 10).items.isEmpty)
            try lake.catalog.deleteRepository("repo", force: false)
            lake.stop()
            #expect(!before.isEmpty)
        }
        // What waits for readers that are on their way is emptied by the next process.
        let next = MemoryLake(store: store, objects: objects)
        next.catalog.recover()
        for _ in 0..<1000 where try store.partitions().count > 1 { usleep(1000) }
        let left = try store.partitions().map { partition in
            "\(partition): \(try store.page(of: partition, from: nil, before: nil, limit: 9).map(\.key.description))"
        }
        #expect(left == ["kv-internal-metadata: [\"kv/schema/version\"]"])
    }

    /// Damage in a stored table is told, naming the table; whatever else is read is right.
    @Test func damagedTablesAreNamed() throws {
        let store = InMemoryKeyValueStore()
        let objects = MemoryObjectStore()
        let lake = MemoryLake(store: store, objects: objects)
        try lake.make()
        for index in 0..<60 { try lake.put("path/\(index)", "\(index)") }
        try lake.commit("all")
        let whole = try lake.contents("main@")
        let tables = try objects.list(ObjectLocation(scheme: "mem", path: "repo/_lakefs"), after: nil, limit: 100).map(
            \.location
        ).filter { !$0.path.hasSuffix("dummy") }
        #expect(tables.count == 2)
        for location in tables {
            let good = try objects.readAll(location)
            let id = String(location.path.split(separator: "/").last!)
            for position in stride(from: 0, to: good.count, by: 3) {
                var bad = good
                bad[position] ^= 0x21
                try objects.put(bad, at: location)
                check(store, objects, id, whole, "byte \(position)")
                try objects.put(Array(good[..<position]), at: location)
                check(store, objects, id, whole, "cut at \(position)")
            }
            try objects.put(good, at: location)
        }
        #expect(try lake.contents("main@") == whole)
    }

    private func check(
        _ store: InMemoryKeyValueStore, _ objects: MemoryObjectStore, _ table: String, _ whole: [String: String],
        _ place: String
    ) {
        let reopened = MemoryLake(store: store, objects: objects)
        do { #expect(try reopened.contents("main@") == whole, "\(place)") } catch {
            let error = LakeError(error)
            #expect(error.code == .corrupt && error.message.contains(table), "\(place): \(error.message)")
        }
    }
}
