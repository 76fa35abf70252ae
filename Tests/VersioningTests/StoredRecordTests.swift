import Foundations
import LakeTestSupport
import Testing

@testable import Versioning

/// The records of lakeFS's key-value stores, decoded and encoded: those without a map of several keys give their own
/// bytes again (such maps stand in any order).
@Suite struct StoredRecordTests {
    private static func encoder(of message: String) -> (([UInt8]) throws -> [UInt8])? {
        switch message {
        case "RepositoryData": { try Repository(decoding: $0).encoded }
        case "BranchData": { try Branch(decoding: $0).encoded }
        case "TagData": { try Tag(decoding: $0).encoded }
        case "CommitData": { try Commit(decoding: $0).encoded }
        case "PullRequestData": { try PullRequest(decoding: $0).encoded }
        case "ImportStatusData": { try ImportStatus(decoding: $0).encoded }
        case "RepositoryDumpStatus", "RepositoryRestoreStatus", "GarbageCollectionPrepareStatus":
            { try TaskRecord(decoding: $0).encoded }
        case "StagedEntryData":
            { bytes in
                var key = Key([])
                try readProtobuf(bytes) { if $0.number == 1 { key = Key($0.array) } }
                let entry = try StagedEntry(key: key, decoding: bytes)
                // Both ways of reading say the same, and the entry inside is one.
                #expect(try StagedEntry.envelope(of: bytes, key: key) == entry.envelope?.bytes)
                if let envelope = entry.envelope {
                    #expect(
                        try Entry(decoding: envelope.data).encoded == Array(envelope.data)
                            || Entry(decoding: envelope.data).metadata.count > 1)
                }
                return entry.encoded
            }
        default: nil
        }
    }

    @Test(arguments: ["kv/postgres/kv.jsonl", "kv/local/kv.jsonl"]) func recordsGiveTheirOwnBytes(file: String) throws {
        var checked: [String: Int] = [:]
        for line in try Fixtures.lines(file) {
            let message = line["message"]!.string
            guard let encode = Self.encoder(of: message), let bytes = Hex.bytes(line["value"]!.string.utf8) else {
                continue
            }
            let made = try encode(bytes)
            let metadata =
                line["decoded"]?["metadata"]?.fields ?? line["decoded"]?["commit"]?["metadata"]?.fields ?? [:]
            if metadata.count < 2 {
                #expect(made == bytes, "\(message) \(line["key"]!.string)")
            } else {
                #expect(
                    made.count == bytes.count && made.sorted() == bytes.sorted(), "\(message) \(line["key"]!.string)")
            }
            checked[message, default: 0] += 1
        }
        for message in ["BranchData", "CommitData", "TagData"] {
            #expect(checked[message, default: 0] > 3, "\(message)")
        }
        if file.contains("postgres") { #expect(checked.count == 10, "\(checked.keys.sorted())") }
    }
}
