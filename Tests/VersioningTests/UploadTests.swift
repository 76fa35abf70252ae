import Foundations
import LakeTestSupport
import S3Backend
import Testing

@testable import Versioning

/// Bytes on their way in: what becomes of them is the core's business, whichever way an upload ends.
@Suite struct UploadTests {
    private let objects = MemoryObjectStore()
    private let lake: MemoryLake
    private var catalog: Catalog { lake.catalog }

    init() throws {
        lake = MemoryLake(objects: objects)
        try lake.make()
    }

    private func begin(_ path: Key, _ text: String, _ facts: UploadFacts = UploadFacts()) throws -> Upload {
        let upload = try catalog.beginUpload(to: path, on: "main", in: "repo", facts)
        try feed(upload, text)
        return upload
    }
    private func feed(_ upload: Upload, _ text: String) throws {
        try unsafe Array(text.utf8).withUnsafeBytes { unsafe try upload.write($0) }
    }
    private func part(_ text: String, _ number: Int, of upload: MultipartUpload) throws -> UploadPart {
        let bytes = try catalog.beginUpload(in: catalog.repository("repo"))
        try feed(bytes, text)
        return try catalog.keep(bytes, as: number, of: upload)
    }
    private var stored: [String] {
        get throws {
            try objects.list(#require(ObjectLocation(address: "mem://repo/data")), after: nil, limit: 1000).map {
                $0.location.description
            }
        }
    }
    private func text(_ path: Key) throws -> String {
        let (entry, location, _) = try catalog.entry(path, at: "main", in: "repo")
        return String(decoding: try objects.read(location, 0..<entry.size), as: UTF8.self)
    }

    @Test func whatIsCommittedHasItsFacts() throws {
        let upload = try begin("a", "one ", UploadFacts(metadata: ["k": "v"], contentType: "text/x"))
        try feed(upload, "two")
        let entry = try upload.commit { $0.metadata["more"] = "m" }
        #expect(try text("a") == "one two" && entry == catalog.entry("a", at: "main", in: "repo").entry)
        #expect(entry.contentType == "text/x" && entry.metadata["k"] == "v" && entry.metadata["more"] == "m")
        #expect(entry.eTag == Hex.text(Hash.digest(.md5, Array("one two".utf8))) && entry.size == 7)
    }

    @Test func nothingStaysOfWhatIsNotCommitted() throws {
        try begin("a", "first").commit()
        let before = try stored
        do { _ = try begin("a", "left alone") }
        try begin("a", "dropped").drop()
        let refused = try begin("a", "refused")
        #expect(throws: LakeError.self) { try refused.commit(if: .absent) }
        #expect(throws: LakeError.self) { try begin("", "no path") }
        #expect(throws: LakeError.self) { try catalog.beginUpload(to: "a", on: "none", in: "repo") }
        #expect(try stored == before && text("a") == "first")
    }

    @Test func partsBecomeOneObject() throws {
        let upload = try catalog.beginMultipart("big", on: "main", in: "repo", UploadFacts(contentType: "text/x"))
        _ = try part("two", 2, of: upload)
        _ = try part("old", 1, of: upload)
        _ = try part("one ", 1, of: upload)
        #expect(try stored.count == 2)
        #expect(try catalog.multiparts(in: "repo").map(\.id) == [upload.id])
        let parts = try catalog.parts(of: upload)
        #expect(parts.map(\.number) == [1, 2])
        let done = try catalog.complete(
            upload, parts.map(\.part), asked: [1], to: "big", on: "main", if: nil, checksum: ""
        ) { _ in }
        #expect(
            try text("big") == "one two" && catalog.entry("big", at: "main", in: "repo").entry.contentType == "text/x")
        #expect(done.completedTag == Hex.text(Hash.digest(.md5, parts.flatMap(\.part.md5))) + "-2")
        // It is over, but known to who asks whether it was done.
        #expect(try stored.count == 1 && catalog.parts(of: upload).isEmpty && catalog.multiparts(in: "repo").isEmpty)
        let error = #expect(throws: LakeError.self) {
            try catalog.multipart(upload.id, to: "big", on: "main", in: "repo")
        }
        #expect(error?.code == .notFound(.upload))
        let known = try catalog.multipart(upload.id, to: "big", on: "main", in: "repo", isCompleted: true)
        #expect(known.completedTag == done.completedTag && known.completedParts == [1])
    }

    @Test func aPartOfWhatHasEndedIsRefusedAndGoes() throws {
        let upload = try catalog.beginMultipart("big", on: "main", in: "repo", UploadFacts())
        let bytes = try catalog.beginUpload(in: catalog.repository("repo"))
        try feed(bytes, "late")
        _ = try part("one", 1, of: upload)
        try catalog.abort(upload)
        #expect(throws: LakeError.self) { try catalog.keep(bytes, as: 2, of: upload) }
        #expect(try stored.isEmpty && catalog.parts(of: upload).isEmpty)
    }

    @Test func abandonedUploadsGo() throws {
        func past(_ upload: MultipartUpload, by seconds: Int64) throws {
            var upload = upload
            upload.created = Timestamp(seconds: Timestamp.now().seconds - seconds)
            try lake.store.set(upload.encoded, for: Key(upload.id), in: MultipartUpload.partition)
        }
        let abandoned = try catalog.beginMultipart("abandoned", on: "main", in: "repo", UploadFacts())
        let slow = try catalog.beginMultipart("slow", on: "main", in: "repo", UploadFacts())
        let done = try catalog.beginMultipart("done", on: "main", in: "repo", UploadFacts())
        _ = try part("a part of now", 1, of: slow)
        let answer = try catalog.complete(
            done, [part("d", 1, of: done)], asked: [], to: "done", on: "main", if: nil, checksum: ""
        ) { _ in }
        for upload in [abandoned, slow] { try past(upload, by: 5000) }
        try catalog.removeAbandonedUploads(after: 4000)
        #expect(try catalog.multiparts(in: "repo").map(\.path) == ["repo/main/slow"])
        _ = try catalog.multipart(done.id, to: "done", on: "main", in: "repo", isCompleted: true)
        try past(answer, by: 25 * 3600)
        try catalog.removeAbandonedUploads(after: 4000)
        #expect(throws: LakeError.self) {
            try catalog.multipart(done.id, to: "done", on: "main", in: "repo", isCompleted: true)
        }
        #expect(try text("done") == "d" && stored.count == 2)
    }

    @Test func anAddressForADirectUploadIsGoodForADay() throws {
        #expect(Catalog.isLeased(direct: catalog.newDirectAddress()) == true)
        #expect(Catalog.isLeased(direct: catalog.newAddress()) == nil)
        #expect(Catalog.isLeased(direct: "data/g/" + String(repeating: "0", count: 20) + Entry.directSuffix) == false)
        #expect(Catalog.isLeased(direct: "data/no-id" + Entry.directSuffix) == nil)
    }
}
