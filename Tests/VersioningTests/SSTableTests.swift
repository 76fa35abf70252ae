import Foundations
import LakeTestSupport
import Testing
import Versioning

/// Tables against the golden ones of pebble and lakeFS (`Tests/Golden/sstables`).
@Suite struct SSTableGoldenTests {
    private func records(_ bytes: [UInt8]) throws -> [(key: [UInt8], value: [UInt8])] {
        let cursor = try TableReader(name: "t", source: MemoryTable(bytes), cache: BlockCache(budgetBytes: 1 << 20))
            .cursor()
        var found: [(key: [UInt8], value: [UInt8])] = []
        while try cursor.advance() { found.append((cursor.key, cursor.value)) }
        return found
    }

    @Test(arguments: [
        "range-small", "range-two-level-index", "metarange-two-ranges", "metarange-empty", "range-empty", "edge-keys",
    ])
    func generatedTablesAreReadAndWrittenAgain(name: String) throws {
        let bytes = try Fixtures.bytes("sstables/generated/\(name).sst")
        let facts = try Fixtures.json("sstables/generated/\(name).json")
        let expected = try Fixtures.lines("sstables/generated/\(name).records.jsonl")
        let records = try records(bytes)
        #expect(records.map { Base64.encode($0.key) } == expected.map { $0["key"]!.string })
        let writer = TableWriter(type: facts["type"]!.string)
        #expect(writer.estimatedSize == 8)
        for (record, line) in zip(records, expected) {
            if let value = line["value"] { #expect(Base64.encode(record.value) == value.string) }
            try writer.add(record.key, record.value)
            #expect(writer.estimatedSize == line["estimated_size_after"]!.integer)
        }
        let summary = writer.finish()
        #expect(summary.bytes == bytes, "\(name) is not written byte for byte")
        #expect(summary.id == facts["id"]!.string)
        #expect(
            summary.count == facts["count"]!.integer && summary.estimatedSize == facts["estimated_size_bytes"]!.integer)
    }

    @Test(.enabled(if: Fixtures.areShared), arguments: ["range", "metarange", "ok1", "56569996"])
    func lakeFSTablesAreRead(name: String) throws {
        let bytes = try Fixtures.bytes("sstables/lakefs/\(name).sst")
        let facts = try Fixtures.json("sstables/lakefs/\(name).expected.json")
        let records = try records(bytes)
        var hash: [UInt8] = []
        for record in records {
            for part in [record.key, record.value] {
                for shift in [24, 16, 8, 0] { hash.append(UInt8(truncatingIfNeeded: part.count >> shift)) }
                hash += part
            }
        }
        #expect(Hex.text(Hash.digest(.sha256, hash)) == facts["records_sha256"]!.string)
        // The big one has its index partitions by the rule of before 2023; ok1 has wrong user properties.
        let writer = TableWriter(type: name == "metarange" ? "metaranges" : "ranges", oldIndexRule: true)
        for record in records { try writer.add(record.key, record.value) }
        let summary = writer.finish()
        #expect(summary.id == facts["computed_id_with_type_property"]!.string)
        if name != "ok1" { #expect(summary.bytes == bytes) }
    }

    @Test func everyRecordIsFoundBySeeking() throws {
        let shared = Fixtures.areShared ? ["lakefs/56569996.sst"] : []
        for file in ["generated/range-two-level-index.sst", "generated/edge-keys.sst"] + shared {
            let bytes = try Fixtures.bytes("sstables/\(file)")
            let all = try records(bytes)
            let table = try TableReader(name: "t", source: MemoryTable(bytes), cache: BlockCache(budgetBytes: 1 << 16))
            for index in stride(from: 0, to: all.count, by: max(1, all.count / 300)) {
                #expect(try table.value(for: all[index].key) == all[index].value)
                let cursor = table.cursor()
                // Just behind a key is the next one.
                let found = try cursor.seek(all[index].key + [0])
                #expect(found == (index + 1 < all.count))
                if found { #expect(cursor.key == all[index + 1].key || cursor.key == all[index].key + [0]) }
            }
            #expect(try table.value(for: [0x7a, 0x7a, 0x7a, 0xff, 1]) == nil)
        }
    }

    @Test(
        .enabled(if: Fixtures.areShared),
        arguments: [
            "h.sst", "h.no-compression.sst", "h.no-compression.two_level_index.sst", "h.zstd-compression.sst",
            "h.table-bloom.sst", "h.ldb",
        ])
    func otherWritersTablesAreRead(name: String) throws {
        let words = String(decoding: try Fixtures.bytes("sstables/pebble-hamlet/h.txt"), as: UTF8.self).split(
            separator: "\n"
        ).map { $0.split(separator: " ").map(String.init) }
        let wanted = Dictionary(words.map { ($0.last!, $0.first!) }) { first, _ in first }
        let found = try records(Fixtures.bytes("sstables/pebble-hamlet/\(name)"))
        #expect(found.count == wanted.count)
        for record in found {
            #expect(
                wanted[String(decoding: record.key, as: UTF8.self)] == String(decoding: record.value, as: UTF8.self))
        }
    }

    @Test func damageIsRefused() throws {
        let bytes = try Fixtures.bytes("sstables/generated/range-small.sst")
        let good = try records(bytes)
        for position in bytes.indices {
            var damaged = bytes
            damaged[position] ^= 0x40
            // Padding and what nothing depends on may change unseen; records may not.
            if let found = try? records(damaged) {
                #expect(
                    found.map(\.key) == good.map(\.key) && found.map(\.value) == good.map(\.value), "byte \(position)")
            }
            #expect(throws: (any Error).self, "cut at \(position)") { try records(Array(bytes[..<position])) }
        }
    }
}

@Suite struct IdentityGoldenTests {
    private let vectors: JSON
    init() throws { vectors = try Fixtures.json("sstables/vectors.json") }

    @Test func entries() {
        for item in vectors["entry_identity"]!.items {
            let metadata = Metadata(item["metadata"]!.fields.mapValues(\.string))
            let entry = Entry(
                address: "", lastModified: Timestamp(seconds: 0), size: Int64(item["size"]!.integer),
                eTag: item["e_tag"]!.string, metadata: metadata, contentType: item["content_type"]?.string ?? "")
            #expect(Hex.text(entry.identity) == item["identity"]!.string)
        }
    }

    @Test func entriesAreEncodedAsTheyWereRead() throws {
        for item in vectors["entry_identity"]!.items {
            let bytes = Hex.bytes(item["entry_protobuf"]!.string.utf8)!
            #expect(try Entry(decoding: bytes).encoded == bytes)
        }
    }

    @Test func commits() throws {
        for line in try Fixtures.lines("repositories/commit-ids.jsonl") {
            let metadata = Metadata((line["metadata"]?.fields ?? [:]).mapValues(\.string))
            let commit = Commit(
                committer: line["committer"]?.string ?? "", message: line["message"]?.string ?? "",
                creationDate: Timestamp(
                    seconds: Int64(line["creation_date_seconds"]?.integer ?? line["creation_date"]?.integer ?? 0)),
                metaRangeID: line["meta_range_id"]?.string ?? "", metadata: metadata,
                parents: line["parents"]?.items.map { CommitID($0.string) } ?? [], generation: 1)
            #expect(commit.id.text == line["id"]?.string ?? line["commit_id"]?.string)
        }
    }

    @Test func xidText() {
        #expect(XID.text(Hex.bytes("4d88e15b60f486e428412dc9".utf8)!) == "9m4e2mr0ui3e8a215n4g")
        #expect(XID.bytes("9m4e2mr0ui3e8a215n4g").map(Hex.text) == "4d88e15b60f486e428412dc9")
        #expect(XID.bytes("9m4e2mr0ui3e8a215n4h") == nil)
    }
}

@Suite struct SnappyTests {
    @Test(arguments: 1...20) func roundTrip(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let alphabet = Int.random(in: 1...255, using: &random)
        let count = Int.random(in: 0...200_000, using: &random)
        let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: Int.random(in: 0...alphabet, using: &random)) }
        let packed = Snappy.compress(bytes)
        #expect(try Snappy.decompress(packed[...], limit: count) == bytes)
        if count > 0 {
            #expect(throws: SSTableError.malformed("snappy length")) {
                try Snappy.decompress(packed[...], limit: count - 1)
            }
        }
    }

    @Test(arguments: 1...200) func nonsenseIsRefusedOrHarmless(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        let bytes = (0..<Int.random(in: 0...64, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
        guard let text = try? Snappy.decompress(bytes[...], limit: 1 << 16) else { return }
        // Whatever it stands for is within the bound, and survives being packed again.
        #expect(
            text.count <= 1 << 16 && (try? Snappy.decompress(Snappy.compress(text)[...], limit: text.count)) == text)
    }
}
