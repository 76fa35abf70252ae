import FoundationEssentials
import Foundations
import Glibc
import LakeTestSupport
import Testing
import Versioning

@testable import CacheStore

@Suite struct KeyValueStoreTests {
    @Test(arguments: 1...5) func inMemory(seed: UInt64) throws {
        try checkKeyValueStore(InMemoryKeyValueStore(), seed: seed)
    }

    @Test(arguments: 1...5) func sqlite(seed: UInt64) throws {
        let folder = TemporaryFolder()
        let store = try SQLiteStore(path: folder.path + "/kv.db")
        defer { store.close() }
        try checkKeyValueStore(store, seed: seed)
    }

    @Test func manyAtOnce() throws {
        let folder = TemporaryFolder()
        let database = try SQLiteStore(path: folder.path + "/kv.db")
        defer { database.close() }
        try checkConcurrency(InMemoryKeyValueStore())
        try checkConcurrency(database)
    }

    /// What a batch requires holds for all of it, before all of it, and is nothing to others of the same group.
    @Test(arguments: [false, true]) func requirements(isCached: Bool) throws {
        let folder = TemporaryFolder()
        let database = try SQLiteStore(path: folder.path + "/kv.db")
        defer { database.close() }
        for store in [InMemoryKeyValueStore(), isCached ? RecordCache(database, caching: { _ in true }) : database]
            as [any KeyValueStore]
        {
            try checkRequirements(store)
        }
    }

    /// A log that a bit was turned in is told; one that was left whole, by a store that did not close, is not.
    @Test func damagedLogs() throws {
        let folder = TemporaryFolder()
        let path = folder.path + "/kv.db"
        let store = try SQLiteStore(path: path)
        defer { store.close() }
        for number in 0..<20 {
            try store.set([UInt8](repeating: UInt8(number), count: 3000), for: Key("k\(number)"), in: Partition("p"))
        }
        let log = [UInt8](try Data(contentsOf: URL(filePath: path + "-wal")))
        let copy = folder.path + "/copy.db"
        func look(_ bytes: [UInt8]) throws -> WriteAheadLog? {
            try Data(bytes).write(to: URL(filePath: copy + "-wal"))
            return try WriteAheadLog(of: copy)
        }
        let whole = try #require(try look(log))
        #expect(whole.lost == 0 && whole.whole >= 20)
        var random = SeededRandom(seed: 3)
        for _ in 0..<60 {
            var bytes = log
            bytes[Int.random(in: 0..<32 + whole.whole * 4120, using: &random)] ^=
                1 << UInt8.random(in: 0..<8, using: &random)
            let found = try #require(try look(bytes))
            #expect(found.lost > 0 && found.whole < whole.whole)
        }
        #expect(try WriteAheadLog(of: folder.path + "/none.db") == nil)
    }

    @Test func whatWasWrittenIsThereAfterReopening() throws {
        let folder = TemporaryFolder()
        let partition = Partition("p")
        var store = try SQLiteStore(path: folder.path + "/kv.db")
        try store.set([1], for: "durable", in: partition)
        try store.set([2], for: "eventual", in: partition, if: nil, .eventual)
        store.close()
        store = try SQLiteStore(path: folder.path + "/kv.db")
        defer { store.close() }
        #expect(
            try store.value(for: "durable", in: partition) == [1] && store.value(for: "eventual", in: partition) == [2])
    }

    @Test func metered() throws {
        let folder = TemporaryFolder()
        let base = try SQLiteStore(path: folder.path + "/kv.db")
        defer { base.close() }
        let store = MeteredKeyValueStore(base)
        try checkKeyValueStore(store, seed: 11)
        let counts = Dictionary(uniqueKeysWithValues: store.meter.counts.map { ($0.name, $0.count) })
        #expect(counts.values.allSatisfy { $0.calls > 0 && $0.failures == 0 }, "\(counts)")
    }

    /// Many threads, one counter by compare-and-set: nothing is lost.
    @Test func concurrentCompareAndSet() throws {
        let folder = TemporaryFolder()
        let store = try SQLiteStore(path: folder.path + "/kv.db")
        let partition = Partition("p")
        defer { store.close() }
        try store.set([0, 0], for: "n", in: partition)
        let threads = (0..<8).map { _ in
            Thread(name: "adder") {
                for _ in 0..<50 {
                    do {
                        while true {
                            let old = try store.value(for: "n", in: partition)!
                            let next = Int(old[0]) * 256 + Int(old[1]) + 1
                            if try store.trySet(
                                [UInt8(next / 256), UInt8(next % 256)], for: "n", in: partition, if: .matches(old))
                            {
                                break
                            }
                        }
                    } catch { Issue.record(error) }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(try store.value(for: "n", in: partition) == [UInt8(400 / 256), UInt8(400 % 256)])
    }

    @Test func largePartitionsAreRemovedInSteps() throws {
        let folder = TemporaryFolder()
        let store = try SQLiteStore(path: folder.path + "/kv.db")
        defer { store.close() }
        try store.write(
            (0..<12_000).map { .set(Partition("big"), Key("k\($0)"), [1]) } + [.set(Partition("other"), "k", [1])],
            .eventual)
        try store.removeAll(in: Partition("big"))
        #expect(try store.partitions() == [Partition("other")])
    }
}

/// A damaged page is an error, never another answer.
@Suite struct PageChecksumTests {
    private let folder = TemporaryFolder(), partition = Partition("p")
    private var path: String { folder.path + "/kv.db" }
    private static let records = 2000

    private func key(_ number: Int) -> Key { Key("key-\(number * 7919 % Self.records)") }

    /// A closed database of some pages, all of them in the file.
    private func make() throws {
        let store = try SQLiteStore(path: path)
        try store.write((0..<Self.records).map { .set(partition, key($0), Array("value-\($0)".utf8)) }, .durable)
        store.close()
    }

    private func change(_ offset: Int, _ change: (UInt8) -> UInt8) throws {
        let descriptor = unsafe open(path, O_RDWR)
        defer { close(descriptor) }
        var byte: UInt8 = 0
        try #require(unsafe pread(descriptor, &byte, 1, offset) == 1)
        byte = change(byte)
        try #require(unsafe pwrite(descriptor, &byte, 1, offset) == 1)
    }

    /// Reads every record by its key, and all by pages: each is right, or an error.
    private func isNeverWrong() -> Bool {
        guard let store = try? SQLiteStore(path: path) else { return true }
        defer { store.close() }
        for number in 0..<Self.records {
            do {
                if try store.value(for: key(number), in: partition) != Array("value-\(number)".utf8) { return false }
            } catch {}
        }
        if let page = try? store.page(of: partition, from: nil, before: nil, limit: Self.records + 1),
            page.count != Self.records
        {
            return false
        }
        return true
    }

    @Test(arguments: 1...40) func turnedBits(seed: UInt64) throws {
        try make()
        var random = SeededRandom(seed: seed)
        let size = try #require(FileManager.default.attributesOfItem(atPath: path)[.size] as? Int)
        let offset = Int.random(in: 0..<size, using: &random)
        try change(offset) { $0 ^ (1 << UInt8.random(in: 0...7, using: &random)) }
        #expect(isNeverWrong(), "byte \(offset), seed \(seed)")
        #expect(try PageChecksums.damagedPages(of: path) == [offset / 4096 + 1])
    }

    @Test func pagesInEachOthersPlaces() throws {
        try make()
        var bytes = try Array(#require(FileManager.default.contents(atPath: path)))
        let size = bytes.count
        let pages = size / 4096
        try #require(pages > 6)
        let third = Array(bytes[8192..<12288])
        bytes.replaceSubrange(8192..<12288, with: bytes[16384..<20480])
        bytes.replaceSubrange(16384..<20480, with: third)
        try Data(bytes).write(to: URL(filePath: path))
        #expect(isNeverWrong())
        #expect(try PageChecksums.damagedPages(of: path) == [3, 5])
    }

    @Test func olderFilesAreGivenChecksums() throws {
        do {
            let old = try Connection(path: path, vfs: nil)
            try old.execute(
                "PRAGMA journal_mode = WAL; CREATE TABLE kv (partition BLOB NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (partition, key)) WITHOUT ROWID; PRAGMA user_version = 1"
            )
            for number in 0..<Self.records {
                try old.run(
                    "INSERT INTO kv VALUES (?1, ?2, ?3)",
                    [.bytes(partition.name.bytes), .bytes(key(number).bytes), .bytes(Array("value-\(number)".utf8))])
            }
        }
        let store = try SQLiteStore(path: path)
        #expect(try store.page(of: partition, from: nil, before: nil, limit: Self.records + 1).count == Self.records)
        #expect(try store.faults().isEmpty)
        store.close()
        #expect(try PageChecksums.damagedPages(of: path).isEmpty)
        #expect(isNeverWrong())
    }
}

@Suite struct WriteStagingTests {

    /// Rows come back as they were written, and files that none names go.
    @Test func writeStagingSurvivesACrash() throws {
        let folder = TemporaryFolder()
        let staging = try WriteStaging(folder: folder.path + "/staging")
        let tree = WriteStaging.TreeID(repository: "repo", branch: "a/b")
        let kept = try staging.make()
        let lost = try staging.make()
        for descriptor in [kept.descriptor, lost.descriptor] { close(descriptor) }
        var row = NodeRow()
        (row.kind, row.mode, row.owner, row.device, row.file, row.address, row.wholeFile) = (
            1, 0, 7, 258, kept.name, "data/x", ""
        )
        (row.modified, row.closedSize, row.closedTime) = (
            Timestamp(seconds: -5, nanoseconds: 7), 0, Timestamp(seconds: 9)
        )
        (row.target, row.published, row.base, row.baseKind, row.isDirty) = (
            [0xff], [Key([0x61, 0xff]), "b"], "base", 2, true
        )
        row.extended = [NodeRow.ExtendedAttribute(name: "user.x", value: [0, 1])]
        row.entry = Entry(
            address: "data/old", lastModified: Timestamp(seconds: 1), size: 3, eTag: "e", metadata: ["k": "v"],
            contentType: "t")
        var bare = NodeRow()
        (bare.kind, bare.published) = (2, [])
        try staging.write(
            [
                .node(5, row), .node(1, bare), .node(9, bare), .name(folder: 1, Key([0x2f, 0xff]), 5),
                .name(folder: 1, "gone", 9),
            ], of: tree)
        try staging.write([.node(9, nil), .name(folder: 1, "gone", nil)], of: tree)
        try staging.synchronize()
        // What the disk holds while it is still at work is what a crash leaves.
        try FileManager.default.copyItem(atPath: folder.path + "/staging", toPath: folder.path + "/crashed")
        staging.close()
        let next = try WriteStaging(folder: folder.path + "/crashed")
        defer { next.close() }
        #expect(try next.trees() == [tree])
        let rows = try next.rows(of: tree)
        #expect(rows.nodes.map(\.number) == [1, 5] && rows.nodes.map(\.row) == [bare, row])
        #expect(
            rows.names.map(\.name) == [Key([0x2f, 0xff])] && rows.names.map(\.number) == [5]
                && rows.names.map(\.folder) == [1])
        #expect(Set(try next.addresses().map(\.address)) == ["data/x", "data/old"])
        try next.sweep()
        unsafe #expect(access(next.path(kept.name), F_OK) == 0 && access(next.path(lost.name), F_OK) != 0)
        try next.removeTree(tree)
        #expect(try next.trees().isEmpty)
    }
}
