import FoundationEssentials
import Foundations
import Glibc
import LakeTestSupport
import S3Backend
import Testing
import Versioning

/// Repositories that a real lakeFS wrote: every table made again from its records, every commit from its parents.
@Suite struct GoldenRepositoryTests {
    static let names = ["linear", "graph", "ranges", "import", "kv"]

    /// A repository's files in a folder of its own.
    private final class Opened {
        let folder = TemporaryFolder()
        let pool = WorkerPool(name: "golden", width: 2)
        let objects: LocalObjectStore
        let committed: CommittedStore
        let namespace = StorageNamespace("local://repository")!
        let expected: JSON
        var commits: [String: JSON] = [:]

        init(_ name: String) throws {
            unsafe mkdir(folder.path + "/repository", 0o755)
            try Fixtures.unpack("repositories/\(name)/namespace.tar.gz", into: folder.path + "/repository")
            objects = try LocalObjectStore(root: folder.path)
            committed = CommittedStore(objects: objects, pool: pool, cacheBytes: 1 << 20)
            expected = try Fixtures.json("repositories/\(name)/expected.json")
            for commit in expected["commits"]!.items { commits[commit["id"]!.string] = commit }
        }

        deinit {
            pool.stop()
            objects.close()
        }

        func metaRange(_ commit: String) -> String { commits[commit]!["meta_range_id"]!.string }

        /// What has to be laid over one tree to give another.
        func changes(from old: String, to new: String) throws -> Changes {
            let diff = MetaRangeDiff(try committed.scan(old, in: namespace), try committed.scan(new, in: namespace))
            var changes = Changes()
            while let difference = try diff.next() { changes.all.append((difference.key, difference.right?.bytes)) }
            return changes
        }
    }

    private struct Changes: ChangeCursor {
        var all: [(key: Key, envelope: [UInt8]?)] = []
        private var position = 0
        mutating func next() -> (key: Key, envelope: [UInt8]?)? {
            guard position < all.count else { return nil }
            defer { position += 1 }
            return all[position]
        }
    }

    @Test(arguments: names) func everyTableIsMadeAgain(name: String) throws {
        let opened = try Opened(name)
        let folder = opened.folder.path + "/repository/_lakefs/"
        let files = try Folder.names(of: folder).filter { $0.utf8.count == 64 }
        #expect(!files.isEmpty)
        for file in files {
            let bytes = Array(FileManager.default.contents(atPath: folder + file)!)
            let table = try TableReader(name: file, source: MemoryTable(bytes), cache: BlockCache(budgetBytes: 1 << 20))
            // In the order in which the dumps' properties are hashed: by name.
            let properties = ["entity", "schema_definition", "schema_name"].compactMap { name in
                table.properties[name].map { (name, String(decoding: $0, as: UTF8.self)) }
            }
            let writer = TableWriter(
                type: String(decoding: table.properties["type"]!, as: UTF8.self), properties: properties)
            let cursor = table.cursor()
            while try cursor.advance() { try writer.add(cursor.key, cursor.value) }
            let made = writer.finish()
            #expect(made.id == file && made.bytes == bytes, "\(name): \(file)")
        }
    }

    @Test(arguments: names) func everyCommitIsMadeAgain(name: String) throws {
        let opened = try Opened(name)
        let committed = opened.committed
        let namespace = opened.namespace
        var bases: [String: String] = [:]
        for row in opened.expected["merge_bases"]!.items {
            bases[row.items[0].string + " " + row.items[1].string] = row.items[2].string
        }
        var kinds: [String: Int] = [:]
        for (id, commit) in opened.commits {
            let parents = commit["parents"]!.items.map(\.string)
            let message = commit["message"]!.string
            let metadata = commit["metadata"]!.fields.mapValues(\.string)
            guard let first = parents.first else { continue }
            let made: String
            let kind: String
            let ours = opened.metaRange(first)
            if let origin = metadata["cherry-pick-origin"] {
                kind = "cherry-pick"
                let picked = opened.commits[origin]!["parents"]!.items.map(\.string)
                let before = picked[message == "picked merge" ? 1 : 0]
                made = try committed.merge(
                    source: opened.metaRange(origin), into: ours, base: opened.metaRange(before), strategy: .none,
                    in: namespace)
            } else if message.hasPrefix("Revert ") || message == "own words" {
                kind = "revert"
                let reverted =
                    message == "own words"
                    ? opened.commits.first { $0.value["message"]!.string == "after" }!.key
                    : String(message.dropFirst("Revert ".count))
                // A merge was reverted relative to its first parent.
                made = try committed.merge(
                    source: opened.metaRange(opened.commits[reverted]!["parents"]!.items[0].string), into: ours,
                    base: opened.metaRange(reverted), strategy: .none, in: namespace)
            } else if name == "import", metadata[".lakefs.merge.strategy"] != nil {
                kind = "import"
                let prefixes: [Key] =
                    switch message {
                    case "import a folder and a file": ["imported/set/", "imported/one.csv"]
                    case "import d1": ["flat/"]
                    default: ["one.csv"]
                    }
                // What was imported: the entries under the prefixes, as they are in the result.
                let writer = MetaRangeWriter(store: committed, namespace: namespace)
                let result = try committed.scan(opened.metaRange(id), in: namespace)
                while try result.nextRecord() {
                    if prefixes.contains(where: { result.key!.starts(with: $0) }) {
                        try writer.add(result.key!, result.envelope().bytes)
                    }
                }
                made = try committed.merge(
                    source: writer.finish(), into: ours, base: "", strategy: .sourceWins,
                    hiding: prefixes.map { $0.bytes.last == 0x2f ? KeySpan(prefix: $0) : KeySpan(only: $0) },
                    in: namespace)
            } else if parents.count == 2 {
                kind = "merge"
                let strategy = MergeStrategy(rawValue: metadata[".lakefs.merge.strategy"]!) ?? .none
                let base = opened.metaRange(try mergeBase(parents[1], first, opened))
                let theirs = opened.metaRange(parents[1])
                made =
                    base == ours
                    ? theirs
                    : try committed.merge(source: theirs, into: ours, base: base, strategy: strategy, in: namespace)
            } else {
                kind = "commit"
                var changes = try opened.changes(from: ours, to: opened.metaRange(id))
                let (metaRange, count) = try committed.apply(&changes, to: ours, in: namespace)
                #expect(count.total == changes.all.count, "\(name): \(message)")
                made = metaRange
            }
            kinds[kind, default: 0] += 1
            #expect(made == opened.metaRange(id), "\(name), \(kind): \(message)")
        }
        if name == "graph" { #expect(kinds["merge"]! >= 7 && kinds["revert"] == 3 && kinds["cherry-pick"] == 2) }
        if name == "import" { #expect(kinds["import"] == 3) }
    }

    /// The merge base of two commits, by a core that knows the repository's commits.
    private func mergeBase(_ source: String, _ destination: String, _ opened: Opened) throws -> String {
        let lake = MemoryLake(objects: MemoryObjectStore())
        try lake.make()
        for (id, commit) in opened.commits {
            let metadata = Metadata(commit["metadata"]!.fields.mapValues(\.string))
            let record = Commit(
                committer: commit["committer"]!.string, message: commit["message"]!.string,
                creationDate: Timestamp(seconds: Int64(commit["creation_date"]!.integer)),
                metaRangeID: commit["meta_range_id"]!.string, metadata: metadata,
                parents: commit["parents"]!.items.map { CommitID($0.string) },
                generation: Int32(commit["generation"]!.integer))
            try lake.catalog.addCommitRecord(record, id: CommitID(id), in: "repo", force: false)
        }
        return try lake.catalog.mergeBase(source, destination, in: "repo").base.text
    }
}
