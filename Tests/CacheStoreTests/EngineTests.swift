import Foundations
import Glibc
import LakeTestSupport
import Testing
import Transport
import Versioning

@testable import CacheStore

/// Real engines and doubles that `Tests/Engines/run.sh` starts; without it these are passed over.
private enum Engine {
    static func value(_ name: String) -> String {
        unsafe getenv("ENGINE_" + name).map { unsafe String(cString: $0) } ?? ""
    }
    static func isThere(_ name: String) -> Bool { !value(name).isEmpty }
}

@Suite struct DynamoDBEngineTests {
    static let names = ["MINISTACK", "MOTO"].filter(Engine.isThere)

    private func open(_ engine: String, table: String = "t\(XID.make())", secret: String? = nil) throws
        -> DynamoDBStore
    {
        var settings = DynamoDBStore.Settings()
        settings.endpoint = Engine.value(engine)
        settings.table = table
        settings.pageSize = 7
        var identity = AWSIdentity.Settings()
        identity.accessKeyID = engine == "MOTO" ? "any" : Engine.value(engine + "_KEY")
        identity.secretAccessKey = secret ?? (engine == "MOTO" ? "any" : Engine.value(engine + "_SECRET"))
        return try DynamoDBStore(settings, identity: AWSIdentity(identity))
    }

    @Test(arguments: names) func suite(engine: String) throws {
        for seed in 1...2 as ClosedRange<UInt64> { try checkKeyValueStore(open(engine), seed: seed) }
    }

    @Test(arguments: names) func requirements(engine: String) throws { try checkRequirements(open(engine)) }

    @Test(arguments: names) func manyAtOnce(engine: String) throws {
        try checkConcurrency(open(engine), threads: 6, steps: 10)
    }

    @Test(arguments: names) func bounds(engine: String) throws {
        let store = try open(engine)
        let partition = Partition("p")
        let large = [UInt8](repeating: 7, count: 390_000)
        for number in 0..<5 { try store.set(large, for: Key("\(number)"), in: partition) }
        // More than a page of 1 MB.
        #expect(
            try store.page(of: partition, from: nil, before: nil, limit: 10).map(\.value.count) == [
                390_000, 390_000, 390_000, 390_000, 390_000,
            ])
        expectStoreFailure(.invalid) { try store.set(large + large, for: "x", in: partition) }
        let many = (0..<100).map { Mutation.set(partition, Key("m\($0 + 100)"), [1]) }
        try store.write(many, .durable)
        expectStoreFailure(.invalid) { try store.write(many + [.remove(partition, "m1")], .durable) }
        let names = (0..<230).map { (partition: partition, key: Key("m\($0)")) }
        #expect(try store.values(for: names).compactMap { $0 }.count == 100)
        try store.removeAll(in: partition)
        #expect(try store.page(of: partition, from: nil, before: nil, limit: 10).isEmpty)
    }

    @Test(.enabled(if: Engine.isThere("MINISTACK"))) func refusals() throws {
        #expect { try open("MINISTACK", secret: "guess") } throws: {
            ($0 as? StoreError)?.code == .refused && ($0 as? StoreError)?.message.contains("\n") == false
        }
    }
}

@Suite(.enabled(if: Engine.isThere("COSMOS"))) struct CosmosDBEngineTests {
    private func open(_ container: String = "c\(XID.make())", key: String = Engine.value("COSMOS_KEY")) throws
        -> CosmosDBStore
    {
        var settings = CosmosDBStore.Settings()
        settings.endpoint = Engine.value("COSMOS")
        settings.key = key
        settings.database = "lakedatabase"
        settings.container = container
        return try CosmosDBStore(settings, identity: nil)
    }

    @Test(arguments: 1...2) func suite(seed: UInt64) throws { try checkKeyValueStore(open(), seed: seed) }
    @Test func requirements() throws { try checkRequirements(open()) }
    @Test func manyAtOnce() throws { try checkConcurrency(open(), threads: 6, steps: 10) }

    /// The text of keys is not ordered as they are where one begins another.
    @Test func keysThatBeginOthers() throws {
        let store = try open()
        let partition = Partition("p")
        let keys = ["abc", "abc d", "abc e", "abc!", "abcd", "ab", "a", "a b c", "abc def ghi", "abc def"].map {
            Key($0)
        }
        for key in keys { try store.set(key.bytes, for: key, in: partition) }
        for limit in 1...11 {
            var found: [Key] = []
            var cursor = PartitionCursor(store, partition, pageSize: limit)
            while let row = try cursor.current() {
                found.append(row.key)
                cursor.advance()
            }
            #expect(found == keys.sorted(), "pages of \(limit)")
        }
        #expect(
            try store.page(of: partition, from: nil, before: "abc ", limit: 100).map(\.key) == [
                "a", "a b c", "ab", "abc",
            ])
    }

    /// lakeFS's own: SHA-256 of the key behind its length, and digits in ascending order.
    @Test func namesOfDocuments() {
        #expect(
            Base32Hex.encode(Array("foobar".utf8)) == "CPNMUOJ1E8======"
                && Base32Hex.decode("CPNMUOJ1E8======") == Array("foobar".utf8))
        #expect(CosmosDBStore.id("a").count == 56)
    }

    @Test func refusals() throws {
        #expect { try open(key: "Z3Vlc3M=") } throws: { ($0 as? StoreError)?.code == .refused }
        #expect { try open(key: "%%%") } throws: { ($0 as? StoreError)?.message.contains("base64") == true }
    }
}

private func expectStoreFailure(_ code: StoreError.Code, _ body: () throws -> Void) {
    #expect { try body() } throws: { ($0 as? StoreError)?.code == code }
}
