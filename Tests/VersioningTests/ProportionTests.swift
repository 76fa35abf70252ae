import Foundations
import LakeTestSupport
import S3Backend
import Testing
import Versioning

/// What an operation asks of the stores follows its change or its answer, not the repository: calls are counted.
@Suite struct ProportionTests {
    private static let entries = 12_000

    private func lake() throws -> (lake: MemoryLake, calls: Cut) {
        let calls = Cut()
        let lake = MemoryLake(
            store: CutKeyValueStore(InMemoryKeyValueStore(), calls),
            objects: CutObjectStore(MemoryObjectStore(), calls), raggedness: 100)
        try lake.make()
        for start in stride(from: 0, to: Self.entries, by: 1000) {
            let changes = (start..<start + 1000).map {
                (path: Key("d\(100 + $0 / 400)/file-\(100_000 + $0)"), entry: lake.entry("\($0)") as Entry?)
            }
            try lake.catalog.stage(changes, on: "main", in: "repo", .durable, origin: nil)
        }
        try lake.commit("all")
        return (lake, calls)
    }

    /// What `body` gives, which may take so many calls.
    private func within<Result>(
        _ most: Int, _ calls: Cut, _ body: () throws -> Result, _ place: SourceLocation = #_sourceLocation
    ) rethrows -> Result {
        let before = calls.calls
        let result = try body()
        #expect(calls.calls - before < most, sourceLocation: place)
        return result
    }

    @Test func commitsAndDiffsTouchWhatChanged() throws {
        let (lake, calls) = try lake()
        try lake.put("d105/file-102000", "changed")
        _ = try within(60, calls) { try lake.commit("one change") }
        var query = Catalog.DiffQuery()
        #expect(
            try within(40, calls) {
                try lake.catalog.diff("main~1", "main", isThreeDot: false, in: "repo", query).items.map(
                    \.path.description)
            } == ["d105/file-102000"])
        // Nothing under the prefix differs: what lies behind it is not looked at.
        query.prefix = "d104/"
        #expect(
            try within(40, calls) {
                try lake.catalog.diff("main~1", "main", isThreeDot: false, in: "repo", query).items.isEmpty
            })
        _ = try lake.catalog.createBranch("side", from: "main", in: "repo")
        try lake.put("d101/new", "1", on: "side")
        try lake.commit("side", on: "side")
        try lake.put("d120/new", "1")
        try lake.commit("main")
        _ = try within(60, calls) {
            try lake.catalog.merge(
                "side", into: "main", CommitRequest(committer: "t", message: ""), Catalog.MergeOptions(), in: "repo")
        }
    }

    @Test func listingsTouchWhatTheyTell() throws {
        let (lake, calls) = try lake()
        func folders(_ ref: String) throws -> Int {
            var query = Catalog.ListQuery()
            query.delimiter = "/"
            return try lake.catalog.list(lake.catalog.resolve(ref, in: "repo"), query).items.count
        }
        #expect(try within(30 * 10, calls) { try folders("main@") } == 30)
        // A folder with a thousand uncommitted entries is one answer as well.
        let staged = (0..<1000).map { (path: Key("staged/\($0)"), entry: lake.entry("\($0)") as Entry?) }
        try lake.catalog.stage(staged, on: "main", in: "repo", .durable, origin: nil)
        #expect(try within(30 * 12, calls) { try folders("main") } == 31)
        // A folder that was removed does not stand in the way of another one's listing.
        let gone = try (400..<800).map { Key("d\(100 + $0 / 400)/file-\(100_000 + $0)") }.filter {
            try lake.catalog.find($0, at: lake.catalog.resolve("main", in: "repo")) != nil
        }
        #expect(try lake.catalog.delete(gone, on: "main", in: "repo").count == 400)
        var query = Catalog.ListQuery()
        query.prefix = "d100/file-100399"
        #expect(
            try within(20, calls) { try lake.catalog.list(lake.catalog.resolve("main", in: "repo"), query).items.count }
                == 1)
    }

    /// Where thousands of commits lie between two, they are read in a row, and found as if they had been read by name.
    @Test func mergeBasesOfLongHistories() throws {
        let calls = Cut()
        let lake = MemoryLake(
            store: CutKeyValueStore(InMemoryKeyValueStore(), calls),
            objects: CutObjectStore(MemoryObjectStore(), calls), raggedness: 100)
        try lake.make()
        func commit(_ branch: BranchName, _ count: Int) throws {
            for index in 0..<count {
                var request = CommitRequest(committer: "t", message: "\(index)")
                request.allowEmpty = true
                _ = try lake.catalog.commit(request, on: branch, in: "repo")
            }
        }
        try commit("main", 10)
        _ = try lake.catalog.createBranch("side", from: "main", in: "repo")
        try commit("main", 2500)
        try commit("side", 5)
        lake.catalog.refs.forget()
        let base = try within(800, calls) { try lake.catalog.mergeBase("side", "main", in: "repo").base }
        #expect(base == (try lake.catalog.resolve("main~2500", in: "repo").commitID))
        // Another pair of the same history: what was read is still there.
        try commit("side", 1)
        try commit("main", 3)
        let again = try within(800, calls) { try lake.catalog.mergeBase("main", "side", in: "repo").base }
        #expect(again == base)
        var merge = Catalog.MergeOptions()
        merge.allowEmpty = true
        _ = try lake.catalog.merge(
            "main", into: "side", CommitRequest(committer: "t", message: ""), merge, in: "repo")
        try commit("side", 1)
        let merged = try lake.catalog.mergeBase("side", "main", in: "repo").base
        #expect(merged == (try lake.catalog.resolve("main", in: "repo").commitID))
    }

    /// What came and went between two commits leaves no tombstone.
    @Test func removalsOfWhatWasNeverCommittedLeaveNothing() throws {
        let (lake, _) = try lake()
        for index in 0..<50 { try lake.put("temporary/\(index)", "x") }
        for index in 0..<50 { _ = try lake.catalog.delete([Key("temporary/\(index)")], on: "main", in: "repo") }
        let branch = try lake.catalog.branch("main", in: "repo")
        #expect(try lake.store.page(of: branch.stagingToken.partition, from: nil, before: nil, limit: 10).isEmpty)
        expectFailure(.noChanges) { try lake.commit("nothing") }
    }
}
