import FoundationEssentials
import Foundations
import Glibc
import LakeTestSupport
import Testing
import Transport
import Versioning

@testable import S3Backend

/// Real stores and doubles that `Tests/Engines/run.sh` starts; without it these are passed over.
enum Engine {
    static func value(_ name: String) -> String {
        unsafe getenv("ENGINE_" + name).map { unsafe String(cString: $0) } ?? ""
    }
    static func isThere(_ name: String) -> Bool { !value(name).isEmpty }
    /// A folder of its own in the bucket that all have.
    static func root() -> String { "lake/\(XID.make())/" }
}

@Suite struct S3EngineTests {
    static let names = ["MINISTACK", "MOTO", "SEAWEEDFS"].filter(Engine.isThere)

    static func open(
        _ name: String, partSize: Int = 5 << 20,
        _ amend: (inout S3ObjectStore.Settings, inout AWSIdentity.Settings) -> Void = { _, _ in }
    ) -> S3ObjectStore {
        var settings = S3ObjectStore.Settings()
        settings.endpoint = Engine.value(name)
        settings.partSize = partSize
        var identity = AWSIdentity.Settings()
        identity.accessKeyID = name == "MOTO" ? "any" : Engine.value(name + "_KEY")
        identity.secretAccessKey = name == "MOTO" ? "any" : Engine.value(name + "_SECRET")
        amend(&settings, &identity)
        return S3ObjectStore(settings, identity: AWSIdentity(identity))
    }

    @Test(arguments: names) func suite(engine: String) throws {
        let store = Self.open(engine)
        defer { store.close() }
        try store.check("lake")
        // SeaweedFS lists folder by folder.
        try checkObjectStore(store, scheme: "s3", root: Engine.root(), isOrdered: engine != "SEAWEEDFS")
    }

    @Test(arguments: names) func largeObjects(engine: String) throws {
        let store = Self.open(engine)
        defer { store.close() }
        try checkLargeObjects(store, scheme: "s3", root: Engine.root(), partSize: 5 << 20)
    }

    @Test(arguments: names) func presigned(engine: String) throws {
        let store = Self.open(engine)
        defer { store.close() }
        try checkPresigned(store, scheme: "s3", root: Engine.root(), isStrict: engine != "MOTO")
    }

    /// What is wrong is told in one line that says what to do.
    @Test(arguments: names.filter { $0 != "MOTO" }) func refusals(engine: String) throws {
        let wrong = Self.open(engine) { $1.secretAccessKey = "guess" }
        defer { wrong.close() }
        expectRefusal("key pair") { try wrong.check("lake") }
        let store = Self.open(engine)
        defer { store.close() }
        expectRefusal("create it") { try store.check("no-such-bucket-here") }
        let nobody = Self.open(engine) { settings, _ in
            settings.endpoint = "http://127.0.0.1:9"
            settings.mostRetries = 1
        }
        defer { nobody.close() }
        expectRefusal("cannot be reached") { try nobody.check("lake") }
        let none = Self.open(engine) {
            $1.accessKeyID = ""; $1.environment = ["AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"]
        }
        defer { none.close() }
        expectRefusal("AWS_ACCESS_KEY_ID") { try none.check("lake") }
    }
}

func expectRefusal(_ words: String, _ body: () throws -> Void) {
    #expect { try body() } throws: {
        let message = ($0 as? StoreError)?.message ?? "\($0)"
        #expect(message.contains(words), "\(message)")
        return !message.contains("\n")
    }
}

/// Clients read and write by addresses that the store signed, and no longer than they are good for.
func checkPresigned(_ store: any ObjectStore, scheme: String, root: String, isStrict: Bool = true) throws {
    let http = HTTPClient()
    let presigner = try #require(store.capabilities.presigner)
    let location = ObjectLocation(scheme: scheme, path: root + "pre signed/ä+b")
    let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    let put = try presigner.presignWriting(location, seconds: 60)
    let written = unsafe try http.send(
        "PUT", put, headers: presigner.writingHeaders.map { ($0.name, $0.value) }, body: .bytes(bytes))
    #expect((200...201).contains(written.status), "\(String(decoding: written.body, as: UTF8.self))")
    #expect(try store.readAll(location) == bytes)
    var facts = PresignedFacts()
    facts.contentType = "text/x-lake"
    facts.contentDisposition = "attachment; filename=\"a b\""
    let get = try presigner.presignReading(location, as: facts, seconds: 60)
    let read = unsafe try http.send("GET", get)
    #expect(read.status == 200 && read.body == bytes)
    #expect(unsafe try http.send("GET", get, headers: [("range", "bytes=10-19")]).body == Array(bytes[10..<20]))
    // What was signed for one thing is good for no other.
    if isStrict { #expect(unsafe try http.send("GET", put).status >= 400) }
    guard presigner.signsParts(location) else { return }
    let parted = ObjectLocation(scheme: scheme, path: root + "parted")
    let upload = try presigner.beginPresignedParts(parted)
    let parts = [[UInt8](repeating: 1, count: 5 << 20), [2, 3]]
    var tags: [String] = []
    for (index, part) in parts.enumerated() {
        let url = try presigner.presignPart(parted, upload: upload, number: index + 1, seconds: 60)
        let answer = unsafe try http.send("PUT", url, body: .bytes(part))
        tags.append(try #require(answer.header("etag")))
    }
    #expect(try store.head(parted) == nil)
    try presigner.completePresignedParts(parted, upload: upload, tags: tags)
    #expect(try store.readAll(parted) == parts[0] + parts[1])
    let dropped = try presigner.beginPresignedParts(parted)
    try presigner.abortPresignedParts(parted, upload: dropped)
}

@Suite(.enabled(if: Engine.isThere("GCS"))) struct GCSEngineTests {
    private func open() -> GCSObjectStore {
        var settings = GCSObjectStore.Settings()
        settings.endpoint = Engine.value("GCS")
        settings.partSize = 1 << 20
        return GCSObjectStore(settings, identity: nil)
    }

    @Test func suite() throws {
        let store = open()
        defer { store.close() }
        try store.check("lake")
        try checkObjectStore(store, scheme: "gs", root: Engine.root())
    }

    @Test func largeObjects() throws {
        let store = open()
        defer { store.close() }
        try checkLargeObjects(store, scheme: "gs", root: Engine.root(), partSize: 1 << 20)
    }

    /// More parts than one request joins.
    @Test func manyParts() throws {
        let store = open()
        defer { store.close() }
        let root = Engine.root()
        let parts = (0..<70).map { ObjectLocation(scheme: "gs", path: "\(root)part\($0)") }
        for (number, part) in parts.enumerated() { try store.put([UInt8(number)], at: part) }
        let whole = ObjectLocation(scheme: "gs", path: "\(root)whole")
        #expect(try store.join(parts, to: whole) == 70)
        #expect(try store.readAll(whole) == (0..<70).map { UInt8($0) })
        #expect(
            try store.list(ObjectLocation(scheme: "gs", path: String(root.dropLast())), after: nil, limit: 100).count
                == 71)
    }

    @Test func refusals() throws {
        let store = open()
        defer { store.close() }
        expectRefusal("create the bucket") { try store.check("no-such-bucket") }
        #expect(throws: StoreError.self) { try GoogleIdentity(json: Array("{}".utf8)) }
    }
}

@Suite(.enabled(if: Engine.isThere("AZURE"))) struct AzureEngineTests {
    private static var account: String { Engine.value("AZURE_ACCOUNT") }

    private func open(withKey: Bool = true, key: String = Engine.value("AZURE_KEY")) throws -> AzureObjectStore {
        var settings = AzureObjectStore.Settings()
        settings.testEndpoint = "\(Engine.value("AZURE"))/\(Self.account)"
        settings.account = Self.account
        settings.partSize = 1 << 20
        if withKey { settings.key = key }
        var identity = AzureIdentity.Settings()
        identity.resource = "https://storage.azure.com"
        // The double answers as the machine's metadata service too.
        identity.environment = ["AZURE_POD_IDENTITY_AUTHORITY_HOST": Engine.value("AZURE")]
        return try AzureObjectStore(settings, identity: AzureIdentity(identity))
    }

    private func root() -> String { "\(Self.account).blob.core.windows.net/" + Engine.root() }

    @Test(arguments: [true, false]) func suite(withKey: Bool) throws {
        let store = try open(withKey: withKey)
        defer { store.close() }
        try store.check(try #require(StorageNamespace("https://\(Self.account).blob.core.windows.net/lake/x")))
        try checkObjectStore(store, scheme: "https", root: root())
    }

    @Test func largeObjects() throws {
        let store = try open()
        defer { store.close() }
        try checkLargeObjects(store, scheme: "https", root: root(), partSize: 1 << 20)
    }

    @Test(arguments: [true, false]) func presigned(withKey: Bool) throws {
        let store = try open(withKey: withKey)
        defer { store.close() }
        try checkPresigned(store, scheme: "https", root: root())
    }

    @Test func refusals() throws {
        let wrong = try open(key: "Z3Vlc3M=")
        defer { wrong.close() }
        let base = "https://\(Self.account).blob.core.windows.net/"
        expectRefusal("account's key") { try wrong.check(StorageNamespace(base + "lake/x")!) }
        let store = try open()
        defer { store.close() }
        expectRefusal("create it") { try store.check(StorageNamespace(base + "nowhere/x")!) }
        expectRefusal("not in the storage account") {
            try store.check(StorageNamespace("https://other.blob.core.windows.net/lake/x")!)
        }
    }
}
