import Foundations
import LakeTestSupport
import S3Backend
import Synchronization
import Testing
import Versioning

/// The catalog against naive models, on stores in memory.
@Suite struct CatalogTests {
    private func lake(raggedness: UInt64 = 50_000) throws -> MemoryLake {
        let lake = MemoryLake(objects: MemoryObjectStore(), raggedness: raggedness)
        try lake.make()
        return lake
    }

    /// Random writes, removals and commits; every commit and the branch show what a dictionary says. Ranges break
    /// often.
    @Test(arguments: 1...6) func historyAgainstAModel(seed: UInt64) throws {
        let lake = try lake(raggedness: 5)
        var random = SeededRandom(seed: seed)
        var model: [String: String] = [:]
        var commits: [(id: String, contents: [String: String])] = []
        for step in 0..<40 {
            for _ in 0..<Int.random(in: 1...30, using: &random) {
                let path = "d\(Int.random(in: 0...6, using: &random))/f\(Int.random(in: 0...20, using: &random))"
                if Int.random(in: 0...3, using: &random) == 0 {
                    _ = try lake.catalog.delete([Key(path)], on: "main", in: "repo")
                    model[path] = nil
                } else {
                    model[path] = "v\(step)-\(Int.random(in: 0...2, using: &random))"
                    try lake.put(path, model[path]!)
                }
            }
            #expect(try lake.contents("main") == model, "step \(step), seed \(seed)")
            if model == commits.last?.contents ?? [:] {
                expectFailure(.noChanges) { try lake.commit("nothing") }
            } else {
                commits.append((try lake.commit("c\(step)"), model))
            }
        }
        for commit in commits { #expect(try lake.contents(commit.id) == commit.contents) }
        for (old, new) in zip(commits, commits.dropFirst()) {
            var query = Catalog.DiffQuery()
            query.limit = 1000
            let diff = try lake.catalog.diff(old.id, new.id, isThreeDot: false, in: "repo", query).items
            let wanted = Set(old.contents.keys).union(new.contents.keys).filter { old.contents[$0] != new.contents[$0] }
            #expect(diff.map(\.path.description) == wanted.sorted { Key($0) < Key($1) }, "seed \(seed)")
            for item in diff {
                let kind: Difference.Kind =
                    old.contents[item.path.description] == nil
                    ? .added : new.contents[item.path.description] == nil ? .removed : .changed
                #expect(item.kind == kind)
            }
        }
    }

    /// Three-way merges of random trees against the rule for one key.
    @Test(arguments: 1...8, [MergeStrategy.none, .sourceWins, .destinationWins]) func mergesAgainstAModel(
        seed: UInt64, strategy: MergeStrategy
    ) throws {
        let lake = try lake(raggedness: 7)
        var random = SeededRandom(seed: seed)
        var base: [String: String] = [:]
        for index in 0..<120 { base["k\(index % 10)/\(index)"] = "base" }
        for (path, text) in base { try lake.put(path, text) }
        try lake.commit("base")
        _ = try lake.catalog.createBranch("side", from: "main", in: "repo")
        func change(_ branch: BranchName) throws -> [String: String] {
            var tree = base
            for _ in 0..<Int.random(in: 1...25, using: &random) {
                let path = "k\(Int.random(in: 0...9, using: &random))/\(Int.random(in: 0...140, using: &random))"
                switch Int.random(in: 0...2, using: &random) {
                case 0:
                    tree[path] = nil
                    _ = try lake.catalog.delete([Key(path)], on: branch, in: "repo")
                default:
                    tree[path] = "new\(Int.random(in: 0...1, using: &random))"
                    try lake.put(path, tree[path]!, on: branch)
                }
            }
            try lake.put("only-\(branch)", "x", on: branch)
            tree["only-\(branch)"] = "x"
            try lake.commit("\(branch)", on: branch)
            return tree
        }
        let ours = try change("main")
        let theirs = try change("side")
        var wanted: [String: String] = [:]
        var conflicts: [String] = []
        for path in Set(ours.keys).union(theirs.keys).union(base.keys) {
            let (o, t, b) = (ours[path], theirs[path], base[path])
            if o == t || t == b {
                wanted[path] = o
            } else if o == b {
                wanted[path] = t
            } else {
                conflicts.append(path)
                wanted[path] = strategy == .sourceWins ? t : o
            }
        }
        var options = Catalog.MergeOptions()
        options.strategy = strategy
        do {
            _ = try lake.catalog.merge(
                "side", into: "main", CommitRequest(committer: "t", message: "m"), options, in: "repo")
            #expect(strategy != .none || conflicts.isEmpty)
            #expect(try lake.contents("main") == wanted, "seed \(seed)")
        } catch let error as LakeError {
            #expect(strategy == .none && error.code == .conflict)
            #expect(error.conflicts.map(\.description) == conflicts.sorted { Key($0) < Key($1) }, "seed \(seed)")
            #expect(try lake.contents("main") == ours)
        }
    }

    /// Pages of any size, with delimiter and prefix, give what one walk over a sorted array gives.
    @Test(arguments: 1...5) func listingsAgainstAModel(seed: UInt64) throws {
        let lake = try lake(raggedness: 4)
        var random = SeededRandom(seed: seed)
        var paths: Set<String> = []
        for round in 0..<3 {
            for _ in 0..<40 {
                let path = (0..<Int.random(in: 1...4, using: &random)).map { _ in
                    ["a", "b", "", "a-", "z", "é"].randomElement(using: &random)!
                }.joined(separator: "/")
                guard !path.isEmpty else { continue }
                if Bool.random(using: &random) {
                    paths.insert(path)
                    try lake.put(path, "x")
                } else {
                    paths.remove(path)
                    _ = try lake.catalog.delete([Key(path)], on: "main", in: "repo")
                }
            }
            if round < 2 { try lake.commit("r\(round)") }
        }
        for (prefix, delimiter) in [("", ""), ("", "/"), ("a", "/"), ("a/", "/"), ("b/", ""), ("a", "-"), ("zz", "/")] {
            var wanted: [String] = []
            for path in paths.sorted(by: { Key($0) < Key($1) }) where Key(path).hasPrefix(Key(prefix)) {
                let rest = path.utf8.dropFirst(prefix.utf8.count)
                let mark = delimiter.isEmpty ? nil : rest.firstIndex(of: delimiter.utf8.first!)
                let item = mark.map { prefix + String(decoding: Array(rest[...$0]), as: UTF8.self) } ?? path
                if wanted.last != item { wanted.append(item) }
            }
            for limit in [1, 3, 1000] {
                var query = Catalog.ListQuery()
                var found: [String] = []
                query.prefix = Key(prefix)
                query.delimiter = Key(delimiter)
                query.limit = limit
                while true {
                    let page = try lake.catalog.list(lake.catalog.resolve("main", in: "repo"), query)
                    found += page.items.map(\.path.description)
                    guard page.hasMore, let last = page.items.last else { break }
                    query.after = last.path
                }
                #expect(found == wanted, "prefix \(prefix), delimiter \(delimiter), limit \(limit), seed \(seed)")
            }
        }
    }

    @Test func refExpressions() throws {
        let lake = try lake()
        let root = try lake.catalog.branch("main", in: "repo").commitID.text
        try lake.put("a", "1")
        let first = try lake.commit("one")
        try lake.put("a", "2")
        let second = try lake.commit("two")
        try lake.put("a", "3")
        func id(_ text: String) throws -> String { try lake.catalog.resolve(text, in: "repo").commitID.text }
        #expect(
            try id("main") == second && id("main~1") == first && id("main~~") == root && id("main^1") == first
                && id("main^0") == second)
        #expect(try id(second) == second && id(String(second.prefix(20))) == second && id("\(second)~2") == root)
        #expect(
            try lake.contents("main") == ["a": "3"] && lake.contents("main@") == ["a": "2"]
                && lake.contents("main$") == ["a": "3"] && lake.contents("main~1") == ["a": "1"])
        for bad in ["", "~", "main@1", "main~x", "main@~1", "a b", "main$@"] {
            expectFailure(.invalidValue, "\(bad)") { try id(bad) }
        }
        expectFailure(.notFound(.reference)) { try id("main~9") }
    }

    /// Writers, committers and a merger on one branch: no acknowledged write is lost, whatever the order.
    @Test func writersNeverLoseToCommits() throws {
        let lake = try lake(raggedness: 20)
        let left = Atomic<Int>(3)
        let writers = (0..<3).map { writer in
            Thread(name: "writer") {
                for index in 0..<150 {
                    do { try lake.put("w\(writer)/\(index)", "\(index)") } catch { Issue.record(error) }
                }
                left.subtract(1, ordering: .relaxed)
            }
        }
        while left.load(ordering: .relaxed) > 0 {
            do { try lake.commit("c") } catch let error as LakeError where error.code == .noChanges {}
        }
        for writer in writers { writer.join() }
        do { try lake.commit("last") } catch let error as LakeError where error.code == .noChanges {}
        let contents = try lake.contents("main@")
        for writer in 0..<3 { for index in 0..<150 { #expect(contents["w\(writer)/\(index)"] == "\(index)") } }
    }

    @Test func resets() throws {
        let lake = try lake()
        try lake.put("a", "1")
        let first = try lake.commit("one")
        try lake.put("a", "2")
        try lake.put("b", "2")
        expectFailure(.dirtyBranch) { try lake.catalog.hardReset("main", to: first, in: "repo", force: false) }
        try lake.catalog.resetObject("a", on: "main", in: "repo", force: false)
        #expect(try lake.contents("main") == ["a": "1", "b": "2"])
        try lake.catalog.resetPrefix("b", on: "main", in: "repo", force: false)
        #expect(try lake.contents("main") == ["a": "1"])
        try lake.put("c", "3")
        try lake.commit("two")
        try lake.catalog.hardReset("main", to: first, in: "repo", force: false)
        #expect(try lake.contents("main") == ["a": "1"])
        try lake.put("c", "4")
        try lake.catalog.hardReset("main", to: "main~0", in: "repo", force: true)
        #expect(try lake.contents("main") == ["a": "1"])
    }

    @Test func conditionalWrites() throws {
        let lake = try lake()
        try lake.catalog.stage(lake.entry("1"), at: "k", on: "main", in: "repo", if: .absent)
        expectFailure(.preconditionFailed) {
            try lake.catalog.stage(lake.entry("2"), at: "k", on: "main", in: "repo", if: .absent)
        }
        try lake.commit("c")
        expectFailure(.preconditionFailed) {
            try lake.catalog.stage(lake.entry("2"), at: "k", on: "main", in: "repo", if: .absent)
        }
        try lake.catalog.stage(lake.entry("2"), at: "k", on: "main", in: "repo", if: .matches([lake.entry("1").eTag]))
        expectFailure(.preconditionFailed) {
            try lake.catalog.stage(
                lake.entry("3"), at: "k", on: "main", in: "repo", if: .matches([lake.entry("1").eTag]))
        }
        _ = try lake.catalog.delete(["k"], on: "main", in: "repo")
        try lake.catalog.stage(lake.entry("4"), at: "k", on: "main", in: "repo", if: .absent)
    }

    @Test func protectionAndReadOnly() throws {
        let lake = try lake()
        try lake.put("k", "1")
        try lake.catalog.setProtectionRules([ProtectionRule(pattern: "ma*")], in: "repo", ifChecksum: nil)
        expectFailure(.protectedBranch) { try lake.put("k", "2") }
        expectFailure(.protectedBranch) { try lake.commit("c") }
        expectFailure(.preconditionFailed) { try lake.catalog.setProtectionRules([], in: "repo", ifChecksum: "wrong") }
        expectFailure(.invalidValue) {
            try lake.catalog.setProtectionRules([ProtectionRule(pattern: "[")], in: "repo", ifChecksum: nil)
        }
        try lake.catalog.setProtectionRules(
            [], in: "repo", ifChecksum: lake.catalog.protectionRules(of: "repo").checksum)
        try lake.commit("c")
    }

    @Test func accessPolicies() throws {
        let store = InMemoryKeyValueStore()
        let access = Access(store: store, secretKey: "s")
        let made = try access.setUp(userName: "admin")
        #expect(try access.credentials(made.accessKeyID)?.secretAccessKey == made.secretAccessKey)
        #expect(!"\(made)".contains(made.secretAccessKey))
        #expect(
            try access.isAllowed(.repository("ReadRepository", "r"), for: Caller("admin"))
                && !access.isAllowed(.repository("ReadRepository", "r"), for: Caller("nobody")))
        expectFailure(.alreadyExists(.user)) { try access.setUp(userName: "again") }
        expectFailure(.unavailable) { try Access(store: store, secretKey: "another").credentials(made.accessKeyID) }
    }
}

@Suite struct SecretBoxTests {
    /// A record that a real lakeFS wrote (`Tests/Golden/kv`) opens with its configured key.
    @Test func opensLakeFSSecrets() throws {
        var opened = 0
        for line in try Fixtures.lines("kv/postgres/kv.jsonl") where line["message"]?.string == "CredentialData" {
            var sealed: [UInt8] = []
            try readProtobuf(Hex.bytes(line["value"]!.string.utf8)!) { if $0.number == 2 { sealed = $0.array } }
            #expect(
                SecretBox(password: "some-secret-for-tests").open(sealed) == "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
            #expect(SecretBox(password: "wrong").open(sealed) == nil)
            opened += 1
        }
        #expect(opened > 0)
    }

    @Test func roundTrip() {
        let box = SecretBox(password: "p")
        #expect(box.open(box.seal("secret")) == "secret")
        #expect(box.open([1, 2, 3]) == nil)
    }
}
