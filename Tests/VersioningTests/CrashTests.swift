import Foundations
import Glibc
import LakeTestSupport
import S3Backend
import Testing
import Versioning

/// The process dies at every call of a store in turn; what opens afterwards has all that was acknowledged, and nothing
/// by half.
@Suite struct CrashTests {
    typealias Contents = [String: String]

    /// What a branch may show: as it was before the step that was cut, or after it.
    private struct Model {
        var contents: Contents = [:], committed: Contents = [:]
        /// What the step under way leads to; equal to the above between steps.
        var nextContents: Contents = [:], nextCommitted: Contents = [:]

        mutating func begin(_ change: (inout Contents, inout Contents) -> Void) {
            nextContents = contents
            nextCommitted = committed
            change(&nextContents, &nextCommitted)
        }

        mutating func end() {
            contents = nextContents
            committed = nextCommitted
        }
    }

    /// Performs steps until the process dies, or all are done.
    private func play(_ lake: MemoryLake, _ model: inout Model, seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        func path() -> String {
            ["a", "b", "c/d"].randomElement(using: &random)! + "/\(Int.random(in: 0..<12, using: &random))"
        }
        for step in 0..<14 {
            switch [0, 0, 0, 1, 2, 2, 3, 4, 5, 6][Int.random(in: 0..<10, using: &random)] {
            case 0:
                let path = path()
                model.begin { contents, _ in contents[path] = "\(step)" }
                try lake.put(path, "\(step)")
            case 1:
                let path = path()
                model.begin { contents, _ in contents[path] = nil }
                _ = try lake.catalog.delete([Key(path)], on: "main", in: "repo")
            case 2:
                model.begin { contents, committed in committed = contents }
                do { try lake.commit("\(step)") } catch let error as LakeError where error.code == .noChanges {}
            case 3:
                model.begin { contents, committed in contents = committed }
                try lake.catalog.resetBranch("main", in: "repo", force: false)
            case 4:
                // A side branch that changes one thing, merged into a clean main.
                model.begin { contents, committed in committed = contents }
                do { try lake.commit("before the merge") } catch let error as LakeError where error.code == .noChanges {
                }
                model.end()
                let side: BranchName = "side-\(step)"
                let path = "side/\(step)"
                model.begin { _, _ in }
                _ = try lake.catalog.createBranch(side, from: "main", in: "repo")
                try lake.put(path, side.text, on: side)
                try lake.commit("on the side", on: side)
                model.begin { contents, committed in
                    contents[path] = side.text
                    committed = contents
                }
                _ = try lake.catalog.merge(
                    side.text, into: "main", CommitRequest(committer: "t", message: ""), Catalog.MergeOptions(),
                    in: "repo")
            case 5:
                model.begin { contents, committed in committed = contents }
                do { try lake.commit("before the import") } catch let error as LakeError where error.code == .noChanges
                {}
                model.end()
                model.begin { contents, committed in
                    contents = contents.filter { !$0.key.hasPrefix("c/") }
                    for index in 0..<3 { contents["c/i\(index)"] = "mem://source/i\(index)" }
                    committed = contents
                }
                let id = try lake.catalog.startImport(
                    [ImportSource(kind: .commonPrefix, address: "mem://source", destination: "c/")],
                    CommitRequest(committer: "t", message: "import"), on: "main", in: "repo")
                while try !lake.catalog.importStatus(id, in: "repo").hasEnded { usleep(200) }
                try #require(lake.catalog.importStatus(id, in: "repo").isCompleted)
            default:
                model.begin { contents, committed in
                    contents = contents.filter { !$0.key.hasPrefix("a/") }
                    for (path, text) in committed where path.hasPrefix("a/") { contents[path] = text }
                }
                try lake.catalog.resetPrefix("a/", on: "main", in: "repo", force: false)
            }
            model.end()
        }
    }

    private func prepare(_ store: InMemoryKeyValueStore, _ objects: MemoryObjectStore) throws -> Model {
        for index in 0..<3 {
            try objects.put([UInt8(index)], at: ObjectLocation(scheme: "mem", path: "source/i\(index)"))
        }
        let lake = MemoryLake(store: store, objects: objects, raggedness: 5)
        try lake.make()
        var model = Model()
        for index in 0..<10 {
            try lake.put("b/\(index)", "base")
            model.contents["b/\(index)"] = "base"
        }
        try lake.commit("base")
        model.committed = model.contents
        model.begin { _, _ in }
        return model
    }

    /// Texts of entries by their addresses: imported ones are told by their whole address.
    private func shown(_ lake: MemoryLake, _ ref: String) throws -> Contents {
        var query = Catalog.ListQuery()
        var found: Contents = [:]
        query.limit = 1000
        for case .object(let path, let entry) in try lake.catalog.list(lake.catalog.resolve(ref, in: "repo"), query)
            .items
        {
            found[path.description] =
                entry.address.hasPrefix("data/") ? String(entry.address.dropFirst(5)) : entry.address
        }
        return found
    }

    @Test(arguments: [(1, false), (1, true), (2, false), (2, true), (3, true), (4, false)]) func everyCallMayBeTheLast(
        seed: UInt64, hasEffect: Bool
    ) throws {
        // How many calls there are when nothing is cut.
        let whole = Cut()
        let wholeStore = InMemoryKeyValueStore()
        let wholeObjects = MemoryObjectStore(openPrefixes: ["source"])
        var complete = try prepare(wholeStore, wholeObjects)
        try play(
            MemoryLake(
                store: CutKeyValueStore(wholeStore, whole), objects: CutObjectStore(wholeObjects, whole), raggedness: 5),
            &complete, seed: seed)
        #expect(whole.calls > 100)

        for limit in 1...whole.calls {
            let base = InMemoryKeyValueStore()
            let objects = MemoryObjectStore(openPrefixes: ["source"])
            let cut = Cut(at: limit, hasEffect: hasEffect)
            var model = try prepare(base, objects)
            let store = CutKeyValueStore(base, cut)
            do {
                let lake = MemoryLake(store: store, objects: CutObjectStore(objects, cut), raggedness: 5)
                try? play(lake, &model, seed: seed)
                lake.stop()
            }
            // Its threads have ended: now the power goes.
            store.losePower()

            let lake = MemoryLake(store: base, objects: objects, raggedness: 5)
            let place = "seed \(seed), call \(limit) of \(whole.calls)"
            lake.catalog.recover()
            let contents = try shown(lake, "main")
            let committed = try shown(lake, "main@")
            #expect(contents == model.contents || contents == model.nextContents, "\(place)")
            #expect(committed == model.committed || committed == model.nextCommitted, "\(place)")
            // It goes on from there.
            try lake.put("afterwards", "x")
            try lake.commit("afterwards")
            #expect(try shown(lake, "main@") == contents.merging(["afterwards": "x"]) { $1 }, "\(place)")
            for branch in try lake.catalog.listBranches("repo", prefix: "", after: "", limit: 100, showHidden: true)
                .items
            { _ = try shown(lake, branch.id.text) }
        }
    }
}
