import CacheStore
import Foundations
import Glibc
import LakeTestSupport
import S3Backend
import Synchronization
import Testing

@testable import Versioning

/// Writers, committers, mergers and readers on one branch, on the stores that a lake runs on.
@Suite struct StressTests {
    private static let writers = 4, writesEach = 250, keysEach = 20

    @Test(arguments: [1, 2]) func nothingIsLostAndNothingGoesBack(seed: UInt64) throws {
        let folder = TemporaryFolder()
        let database = try SQLiteStore(path: folder.path + "/lake.db")
        let objects = try LocalObjectStore(root: folder.path + "/objects")
        let lake = MemoryLake(
            store: RecordCache(database, caching: { !RefStore.isStaging($0) }), objects: objects, raggedness: 7)
        _ = try lake.catalog.createRepository(
            "repo", storageNamespace: "local://repo", defaultBranch: "main", schemes: ["local"])
        try lake.put("first", "0")
        try lake.commit("first")
        _ = try lake.catalog.createBranch("follower", from: "main", in: "repo")

        let left = Atomic<Int>(Self.writers)
        /// The last value that was acknowledged, by key; 0 for a removed one is never used.
        let acknowledged = Mutex<[String: Int]>([:])
        let writers = (0..<Self.writers).map { writer in
            Thread(name: "writer") {
                var random = SeededRandom(seed: seed &* 100 &+ UInt64(writer))
                for value in 1...Self.writesEach {
                    let path = "w\(writer)/\(Int.random(in: 0..<Self.keysEach, using: &random))"
                    do {
                        try lake.put(path, "\(value)")
                        acknowledged.withLock { $0[path] = value }
                    } catch { Issue.record(error) }
                }
                left.subtract(1, ordering: .releasing)
            }
        }
        func repeatedly(_ name: String, _ body: @escaping @Sendable () throws -> Void) -> Thread {
            Thread(name: name) {
                while left.load(ordering: .acquiring) > 0 {
                    do { try body() } catch let error as LakeError
                        where error.code == .noChanges || error.code == .tooManyTries
                    {} catch { Issue.record(error) }
                }
            }
        }
        let others = [
            repeatedly("committer") { try lake.commit("some") },
            repeatedly("committer") {
                usleep(3000)
                try lake.commit("more")
            },
            repeatedly("merger") {
                _ = try lake.catalog.merge(
                    "main", into: "follower", CommitRequest(committer: "t", message: ""), Catalog.MergeOptions(),
                    in: "repo")
            },
            // A reader never sees less than was acknowledged before it began.
            repeatedly("reader") {
                let before = acknowledged.withLock { $0 }
                let shown = try lake.contents("main")
                for (path, value) in before {
                    if Int(shown[path] ?? "0")! < value {
                        Issue.record("\(path) shows \(shown[path] ?? "nothing") after \(value) was acknowledged")
                    }
                }
            },
            repeatedly("stat") {
                guard let (path, value) = acknowledged.withLock({ $0.randomElement() }) else { return }
                let entry = try lake.catalog.find(Key(path), at: lake.catalog.resolve("main", in: "repo"))
                if Int(entry?.address.dropFirst(5) ?? "0")! < value { Issue.record("\(path) shows an older value") }
            },
        ]
        for thread in writers + others { thread.join() }
        do { try lake.commit("last") } catch let error as LakeError where error.code == .noChanges {}
        do {
            _ = try lake.catalog.merge(
                "main", into: "follower", CommitRequest(committer: "t", message: ""), Catalog.MergeOptions(), in: "repo"
            )
        } catch let error as LakeError where error.code == .noChanges {}
        let wanted = acknowledged.withLock { $0 }.mapValues(String.init).merging(["first": "0"]) { $1 }
        #expect(try lake.contents("main@") == wanted)
        #expect(try lake.contents("follower@") == wanted)
        lake.stop()
        database.close()
        objects.close()
    }
}

extension StressTests {
    /// A write that wants nothing to be there, against merges that bring it: never both.
    @Test func conditionalWritesSeeMerges() throws {
        let lake = MemoryLake(objects: MemoryObjectStore())
        try lake.make()
        for round in 0..<150 {
            let path = "k\(round)"
            let side: BranchName = "side-\(round)"
            _ = try lake.catalog.createBranch(side, from: "main", in: "repo")
            try lake.put(path, "merged", on: side)
            try lake.commit("side", on: side)
            let merger = Thread(name: "merger") {
                // A dirty branch refuses it: then the write was first.
                _ = try? lake.catalog.merge(
                    side.text, into: "main", CommitRequest(committer: "t", message: ""), Catalog.MergeOptions(),
                    in: "repo")
            }
            var isWritten = true
            do {
                try lake.catalog.stage(lake.entry("written"), at: Key(path), on: "main", in: "repo", if: .absent)
            } catch let error as LakeError where error.code == .preconditionFailed { isWritten = false }
            merger.join()
            let isMerged = try lake.contents("main@")[path] == "merged"
            #expect(isWritten != isMerged, "round \(round): written \(isWritten), merged \(isMerged)")
            try lake.catalog.resetBranch("main", in: "repo", force: false)
        }
    }

    /// What a crash left of a merge, or a merge that takes long, holds no conditional write up for good; that merge
    /// looks again.
    @Test func conditionalWritesOvertakeSlowMerges() throws {
        let lake = MemoryLake(objects: MemoryObjectStore())
        try lake.make()
        let repository = try lake.catalog.repository("repo")
        try lake.put("first", "0")
        try lake.commit("first")
        #expect {
            _ = try lake.catalog.moveHead("main", in: repository) { branch in
                if try lake.contents("main")["second"] == nil {
                    // As another client does while the merge is still at it.
                    try lake.catalog.stage(lake.entry("written"), at: "second", on: "main", in: "repo", if: .absent)
                }
                return branch.commitID
            }
        } throws: { ($0 as? LakeError)?.code == .dirtyBranch }
        #expect(try lake.contents("main")["second"] == "written")
        try lake.commit("second")
        let before = try lake.catalog.branch("main", in: repository).branch
        #expect(before.sealedTokens.isEmpty)
        _ = try lake.catalog.updateBranch("main", in: repository) {
            $0.sealedTokens = [RefStore.newMove(repository, "main")]
        }
        try lake.catalog.stage(lake.entry("written"), at: "third", on: "main", in: "repo", if: .absent)
        #expect(try lake.catalog.branch("main", in: repository).branch.sealedTokens.isEmpty)
    }

    /// A refused merge leaves the branch as it was, with no more tokens to read.
    @Test func refusedMergesSealNothing() throws {
        let lake = MemoryLake(objects: MemoryObjectStore())
        try lake.make()
        let repository = try lake.catalog.repository("repo")
        _ = try lake.catalog.createBranch("side", from: "main", in: "repo")
        for branch in ["main", "side"] as [BranchName] {
            try lake.put("k", branch.text, on: branch)
            try lake.commit("one", on: branch)
        }
        for _ in 0..<3 {
            expectFailure(.conflict) {
                try lake.catalog.merge(
                    "side", into: "main", CommitRequest(committer: "t", message: ""), Catalog.MergeOptions(), in: "repo"
                )
            }
        }
        #expect(try lake.catalog.branch("main", in: repository).branch.sealedTokens.isEmpty)
    }
}
