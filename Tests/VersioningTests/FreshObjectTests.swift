import Foundations
import LakeTestSupport
import S3Backend
import Synchronization
import Testing

@testable import Versioning

/// Replaced objects go at once; what anything names stays, whatever comes between two steps of a write.
@Suite struct FreshObjectTests {
    /// A store that lets a test do something right after the n-th write that matters.
    private final class InterposedStore: KeyValueStore {
        let base = InMemoryKeyValueStore()
        private let interposed = Mutex<(@Sendable () -> Void)?>(nil)
        private let watcher = Mutex<(@Sendable ([Mutation]) -> Void)?>(nil)

        /// Runs `body` before each batch is written.
        func beforeWrites(_ body: @escaping @Sendable ([Mutation]) -> Void) { watcher.withLock { $0 = body } }

        /// Runs `body` once, after the next write to a staging token.
        func afterNextStaging(_ body: @escaping @Sendable () -> Void) { interposed.withLock { $0 = body } }

        private func passed(_ partition: Partition) {
            guard RefStore.isStaging(partition) else { return }
            let body = interposed.withLock { body in
                defer { body = nil }
                return body
            }
            body?()
        }

        func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]? {
            try base.value(for: key, in: partition)
        }
        func set(
            _ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?,
            _ durability: Durability
        ) throws(StoreError) {
            try base.set(value, for: key, in: partition, if: condition, durability)
            passed(partition)
        }
        func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError) {
            watcher.withLock { $0 }?(batch)
            try base.write(batch, durability)
            for case .set(let partition, _, _) in batch where RefStore.isStaging(partition) { return passed(partition) }
        }
        func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(
            key: Key, value: [UInt8]
        )] { try base.page(of: partition, from: from, before: end, limit: limit) }
        func removeAll(in partition: Partition) throws(StoreError) { try base.removeAll(in: partition) }
        func partitions() throws(StoreError) -> [Partition] { try base.partitions() }
    }

    private final class Lake: Sendable {
        let store = InterposedStore(), objects = MemoryObjectStore()
        private let memory: MemoryLake
        var catalog: Catalog { memory.catalog }

        init() throws {
            memory = MemoryLake(store: store, objects: objects)
            try memory.make()
        }

        func upload(_ text: String) throws -> Entry {
            let upload = try catalog.beginUpload(in: catalog.repository("repo"))
            unsafe try Array(text.utf8).withUnsafeBytes { unsafe try upload.write($0) }
            try upload.keep()
            return Entry(address: upload.address, lastModified: .now(), size: upload.size, eTag: text, contentType: "")
        }

        func put(_ path: Key, _ text: String, if condition: WriteCondition? = nil) throws {
            try catalog.stage(upload(text), at: path, on: "main", in: "repo", if: condition)
        }

        @discardableResult
        func commit() throws -> String { try memory.commit("m") }

        /// What a ref shows, read: an error if bytes are gone.
        func contents(_ ref: String) throws -> [Key: String] {
            var query = Catalog.ListQuery()
            var found: [Key: String] = [:]
            query.limit = 1000
            for case .object(let path, let entry) in try catalog.list(catalog.resolve(ref, in: "repo"), query).items {
                found[path] = String(
                    decoding: try objects.read(
                        entry.location(in: catalog.repository("repo").namespace), 0..<entry.size + 1), as: UTF8.self)
            }
            return found
        }

        var objectCount: Int {
            get throws {
                catalog.finish()
                return try objects.list(ObjectLocation(scheme: "mem", path: "repo/data"), after: nil, limit: 10_000)
                    .count
            }
        }
    }

    /// A commit comes between the write to a token and the look whether it is still open: what was written is
    /// committed, and staged again. A newer write must not take its bytes from the commit.
    @Test(arguments: [false, true]) func aCommitBetween(isConditional: Bool) throws {
        let lake = try Lake()
        try lake.put("other", "x")
        let commits = Mutex<[String]>([])
        lake.store.afterNextStaging {
            do {
                let id = try lake.commit()
                commits.withLock { $0.append(id) }
            } catch { Issue.record(error) }
        }
        try lake.put("k", "first", if: isConditional ? .absent : nil)
        let commit = try #require(commits.withLock { $0.first })
        try #require(try lake.contents(commit) == ["k": "first", "other": "x"], "the commit took what was written")
        try lake.put("k", "second")
        try lake.put("k", "third")
        #expect(try lake.contents(commit) == ["k": "first", "other": "x"])
        #expect(try lake.contents("main") == ["k": "third", "other": "x"])
    }

    /// A commit has read what a removal takes back, and is not through yet: it must not bring that back.
    @Test func aCommitHasReadWhatIsRemoved() throws {
        let lake = try Lake()
        try lake.put("other", "x")
        try lake.put("k", "first")
        let (hasRead, mayEnd) = (CountingSemaphore(), CountingSemaphore())
        let committer = Mutex<Thread?>(nil)
        lake.store.beforeWrites { batch in
            func names(_ folder: String) -> Bool {
                batch.contains {
                    if case .set(_, let key, _) = $0 { key.description.hasPrefix(folder) } else { false }
                }
            }
            if names("commits/") {
                hasRead.post()
                mayEnd.wait()
                mayEnd.post()  // The next one goes through.
            } else if batch.contains(where: { $0.isRemoval }), committer.withLock({ $0 == nil }) {
                committer.withLock {
                    $0 = Thread(name: "commit") {
                        do { try lake.commit() } catch { Issue.record(error) }
                    }
                }
                hasRead.wait()
            }
        }
        #expect(try lake.catalog.delete(["k"], on: "main", in: "repo") == ["k"])
        mayEnd.post()
        try #require(committer.withLock { $0 }).join()
        #expect(try lake.contents("main") == ["other": "x"])
        try lake.commit()
        #expect(try lake.contents("main") == ["other": "x"])
    }

    @Test func stagedByHandUnderTwoKeys() throws {
        let lake = try Lake()
        let entry = try lake.upload("shared")
        try lake.catalog.stage(entry, at: "a", on: "main", in: "repo")
        try lake.catalog.stage(entry, at: "b", on: "main", in: "repo")
        try lake.put("a", "new")
        #expect(try lake.contents("main") == ["a": "new", "b": "shared"])
    }

    /// Who read an entry, and names its object anew after another has replaced it: refused, with or without a
    /// condition.
    @Test(arguments: [false, true]) func namedAnewTooLate(isConditional: Bool) throws {
        let lake = try Lake()
        try lake.put("a", "old")
        let read = try lake.catalog.entry("a", at: "main", in: "repo").entry
        try lake.put("a", "new")
        let expected: [Catalog.Expected] = isConditional ? [(Key("a"), read.address)] : []
        #expect {
            try lake.catalog.stage(
                [(Key("a"), nil), (Key("b"), read)], on: "main", in: "repo", .durable, origin: nil, expecting: expected)
        } throws: { LakeError($0).code == .preconditionFailed }
        lake.catalog.finish()
        #expect(try lake.contents("main") == ["a": "new"])
    }

    /// What another writes between the read and the rename stays, and what was moved is still whole when its key is
    /// written.
    @Test func aRenameBesideAWrite() throws {
        let lake = try Lake()
        try lake.put("a", "moved")
        let read = try lake.catalog.entry("a", at: "main", in: "repo").entry
        try lake.catalog.stage(
            [(Key("a"), nil), (Key("b"), read)], on: "main", in: "repo", .durable, origin: nil,
            expecting: [(Key("a"), read.address)])
        try lake.put("a", "other")
        lake.catalog.finish()
        #expect(try lake.contents("main") == ["a": "other", "b": "moved"])
        // It is still one change's alone: it goes when that is replaced.
        try lake.put("b", "next")
        lake.catalog.finish()
        #expect(try lake.objectCount == 2)
    }

    /// Who sees an object that has just been staged names it elsewhere before it is noted where it was staged.
    @Test func namedElsewhereWhileItArrives() throws {
        let lake = try Lake()
        lake.store.afterNextStaging {
            do {
                let entry = try lake.catalog.entry("a", at: "main", in: "repo").entry
                try lake.catalog.stage([("b", entry)], on: "main", in: "repo", .durable, origin: nil)
            } catch { Issue.record(error) }
        }
        try lake.put("a", "text")
        #expect(try lake.contents("main") == ["a": "text", "b": "text"])
        try lake.put("a", "other")
        lake.catalog.finish()
        #expect(try lake.contents("main") == ["a": "other", "b": "text"])
    }

    /// Writers, movers and committers at once: everything that is named can be read.
    @Test func manyAtOnce() throws {
        let lake = try Lake()
        let group = (0..<6).map { number in
            Thread(name: "writer") {
                var random = SeededRandom(seed: UInt64(number) + 7)
                for step in 0..<150 {
                    let path = Key("k\(Int.random(in: 0..<3, using: &random))")
                    let target = Key("k\(Int.random(in: 0..<3, using: &random))")
                    do {
                        switch number {
                        case 0, 1: try lake.put(path, "\(number) \(step)")
                        case 2:
                            if step % 10 == 0 {
                                try lake.commit()
                            } else {
                                _ = try lake.catalog.delete([path], on: "main", in: "repo")
                            }
                        case 3: try lake.put(path, "\(number) \(step)", if: .matchesNone(["nonsense"]))
                        default:
                            guard path != target else { continue }
                            let entry = try lake.catalog.entry(path, at: "main", in: "repo").entry
                            if number == 4 {
                                try lake.catalog.stage(
                                    [(path, nil), (target, entry)], on: "main", in: "repo", .durable, origin: nil,
                                    expecting: [(path, entry.address)])
                            } else {
                                try lake.catalog.stage(
                                    [(path, entry)], on: "main", in: "repo", .durable, origin: nil,
                                    expecting: [(path, entry.address)])
                            }
                        }
                    } catch {
                        switch LakeError(error).code {
                        case .notFound, .preconditionFailed, .tooManyTries, .noChanges: continue
                        default: Issue.record(error)
                        }
                    }
                }
            }
        }
        for thread in group { thread.join() }
        lake.catalog.finish()
        _ = try lake.contents("main")
        for item in try lake.catalog.log("main", in: "repo", Catalog.LogQuery()).items {
            _ = try lake.contents(item.id.text)
        }
    }

    /// Random histories against a model: whatever a commit or the branch shows can be read, and between two commits no
    /// more objects stay than are named (and those that were named twice).
    @Test(arguments: 1...60) func histories(seed: UInt64) throws {
        let lake = try Lake()
        var random = SeededRandom(seed: seed)
        var staged: [Key: String] = [:]
        var commits: [(id: String, contents: [Key: String])] = []
        var shares = 0
        var number = 0
        func key() -> Key { Key("k\(Int.random(in: 0..<5, using: &random))") }
        for step in 0..<60 {
            number += 1
            let text = "text \(number)"
            let path = key()
            if Int.random(in: 0..<6, using: &random) == 0 {
                // A commit in the middle of what follows.
                lake.store.afterNextStaging { _ = try? lake.commit() }
            }
            switch Int.random(in: 0..<12, using: &random) {
            case 0..<5:
                try lake.put(path, text)
                staged[path] = text
            case 5:
                try lake.put(path, text, if: .matchesNone(["nonsense"]))
                staged[path] = text
            case 6:
                _ = try lake.catalog.delete([path], on: "main", in: "repo")
                staged[path] = nil
            case 7 where staged[path] != nil:
                let target = key()
                _ = try lake.catalog.copy(
                    path, at: "main", from: "repo", to: target, on: "main", in: "repo", isShallow: true)
                staged[target] = staged[path]
                shares += 1
            case 8 where staged[path] != nil:
                // A rename, as the mount makes it.
                let target = key()
                let entry = try lake.catalog.entry(path, at: "main", in: "repo").entry
                if target != path {
                    try lake.catalog.stage(
                        [(path, nil), (target, entry)], on: "main", in: "repo", .durable, origin: nil)
                    staged[target] = staged.removeValue(forKey: path)
                }
            case 9 where number % 2 == 0 && staged[path] != nil:
                // A hard link, as the mount makes it: with its other name, or alone.
                let target = key()
                let entry = try lake.catalog.entry(path, at: "main", in: "repo").entry
                let changes: [(path: Key, entry: Entry?)] =
                    number % 4 == 0 ? [(target, entry)] : [(path, entry), (target, entry)]
                try lake.catalog.stage(
                    path == target ? [(target, entry)] : changes, on: "main", in: "repo", .durable, origin: nil)
                staged[target] = staged[path]
            case 9:
                try lake.catalog.resetObject(path, on: "main", in: "repo", force: false)
                staged = try lake.contents("main")
            case 10 where !commits.isEmpty:
                try lake.catalog.hardReset(
                    "main", to: commits.randomElement(using: &random)!.id, in: "repo", force: true)
                staged = try lake.contents("main")
            default:
                if let id = try? lake.commit() { commits.append((id, staged)) }
            }
            lake.store.afterNextStaging {}
            #expect(try lake.contents("main") == staged, "step \(step), seed \(seed)")
        }
        lake.catalog.finish()
        for commit in commits { #expect(try lake.contents(commit.id) == commit.contents, "seed \(seed)") }
        // Every commit there is, those that came between included.
        for item in try lake.catalog.log("main", in: "repo", Catalog.LogQuery()).items {
            _ = try lake.contents(item.id.text)
        }
    }

    @Test func replacedAndRemovedOnesGo() throws {
        let lake = try Lake()
        for number in 0..<1000 {
            try lake.put("k", "\(number)", if: number % 2 == 0 ? nil : .matchesNone(["nonsense"]))
        }
        #expect(try lake.objectCount == 1)
        _ = try lake.catalog.delete(["k"], on: "main", in: "repo")
        #expect(try lake.objectCount == 0)
    }

    /// An object of several names goes with the last of them, one by one or in one step; what a commit took stays.
    @Test func linkedOnesGoWithTheirLastName() throws {
        let lake = try Lake()
        func stage(_ changes: [(path: Key, entry: Entry?)]) throws {
            try lake.catalog.stage(changes, on: "main", in: "repo", .durable, origin: nil)
        }
        let first = try lake.upload("first")
        let second = try lake.upload("second")
        try stage([("a", first), ("b", first), ("c", first), ("x", second)])
        try stage([("y", second)])
        try stage([("a", nil), ("d", first), ("b", first)])
        #expect(try lake.contents("main") == ["b": "first", "c": "first", "d": "first", "x": "second", "y": "second"])
        try lake.put("x", "new")
        _ = try lake.catalog.delete(["b"], on: "main", in: "repo")
        #expect(try lake.contents("main") == ["c": "first", "d": "first", "x": "new", "y": "second"])
        #expect(try lake.objectCount == 3)
        try stage([("c", nil), ("d", nil)])
        #expect(try lake.objectCount == 2)
        try lake.put("y", "new")
        #expect(try lake.contents("main") == ["x": "new", "y": "new"])
        #expect(try lake.objectCount == 2)
        let third = try lake.upload("third")
        try stage([("p", third), ("q", third)])
        let commit = try lake.commit()
        try stage([("p", nil)])
        try stage([("q", nil)])
        #expect(try lake.contents(commit) == ["x": "new", "y": "new", "p": "third", "q": "third"])
    }
}
