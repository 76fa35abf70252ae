import FoundationEssentials
import Foundations
import LakeTestSupport
import S3Backend
import Testing
import Transport
import Versioning

@testable import LakeLocalServer

/// What the S3 door asks a user's policies for, as lakeFS was seen to (`Tests/Golden/permissions/operations.json`).
@Suite struct PermissionTests {
    private let lake = MemoryLake(objects: MemoryObjectStore())
    private let access: Access
    private let server: Server
    private let upload: String

    private struct Operation: Decodable {
        struct Need: Decodable {
            let action: String
            let resource: String
        }
        let operation: String
        let needs: [Need]
    }

    /// A user with the statements of one policy, and a key pair.
    private func user(_ name: String, _ statements: [Statement]) throws -> Credentials {
        let auth = Partition("auth")
        try lake.store.set(User(name: name, creationDate: .now()).encoded, for: Key("users/\(name)"), in: auth)
        try lake.store.set(Policy(name: name, statements: statements).encoded, for: Key("policies/\(name)"), in: auth)
        try lake.store.set([], for: Key("uPolicies/\(name)/policies/\(name)"), in: auth)
        return try access.createCredentials(for: name)
    }

    init() throws {
        let doors = TestDoors(lake)
        (access, server) = (doors.access, doors.server)
        try lake.make()
        try lake.put("k", "bytes")
        let administrator = try access.setUp(userName: "admin")
        let answer = PermissionTests.ask(server, administrator, "POST", "/repo/main/k?uploads")
        upload = try #require(
            String(decoding: answer.bytes, as: UTF8.self).split(separator: "<UploadId>").last?.split(separator: "<")
                .first.map(String.init))
    }

    private static func ask(
        _ server: Server, _ credentials: Credentials, _ method: String, _ target: String,
        _ headers: [(String, String)] = [], _ body: String = ""
    ) -> Response {
        let stamp = Timestamp.now().basic
        let scope = SigV4.Scope(day: String(stamp.prefix(8)), region: "us-east-1", service: "s3")
        let plain = Request(method: method, target: target, headers: [])
        let payload = Hex.text(Hash.digest(.sha256, Array(body.utf8)))
        let signed = headers + [("host", "lake"), ("x-amz-date", stamp), ("x-amz-content-sha256", payload)]
        let canonical = SigV4.canonicalRequest(
            method: method, path: URIEncoding.decode(plain.rawPath),
            query: URIEncoding.query(plain.rawQuery, plusIsSpace: false),
            headers: signed.map { (name: $0.0, value: $0.1) }, payloadHash: payload)
        let signature = SigV4.signature(
            key: SigV4.signingKey(secret: credentials.secretAccessKey, scope: scope), time: stamp, scope: scope,
            canonicalRequest: canonical)
        let header =
            "AWS4-HMAC-SHA256 Credential=\(credentials.accessKeyID)/\(scope.description), SignedHeaders=\(signed.map(\.0).sorted().joined(separator: ";")), Signature=\(signature)"
        return server.answer(
            Request(method: method, target: target, headers: signed + [("Authorization", header)]),
            body: Array(body.utf8))
    }

    /// The request that stands for each operation.
    private func request(_ operation: String) -> (
        method: String, target: String, headers: [(String, String)], body: String
    )? {
        let source = [("x-amz-copy-source", "/repo/main/k")]
        return switch operation {
        case "ListBuckets": ("GET", "/", [], "")
        case "HeadBucket": ("HEAD", "/repo", [], "")
        case "CreateBucket": ("PUT", "/repo", [], "")
        case "ListObjects, ListObjectsV2 with no prefix, or a prefix inside the first segment":
            ("GET", "/repo?list-type=2&prefix=ma", [], "")
        case "ListObjects, ListObjectsV2 below a ref": ("GET", "/repo?list-type=2&prefix=main/", [], "")
        case "GetBucketLocation": ("GET", "/repo?location", [], "")
        case "GetBucketVersioning": ("GET", "/repo?versioning", [], "")
        case "ListMultipartUploads": ("GET", "/repo?uploads", [], "")
        case "GetObject": ("GET", "/repo/main/k", [], "")
        case "HeadObject": ("HEAD", "/repo/main/k", [], "")
        case "GetObjectTagging": ("GET", "/repo/main/k?tagging", [], "")
        case "ListParts": ("GET", "/repo/main/k?uploadId=\(upload)", [], "")
        case "PutObject": ("PUT", "/repo/main/k", [], "x")
        case "CreateMultipartUpload": ("POST", "/repo/main/k?uploads", [], "")
        case "UploadPart": ("PUT", "/repo/main/k?partNumber=1&uploadId=\(upload)", [], "x")
        case "CompleteMultipartUpload": ("POST", "/repo/main/k?uploadId=\(upload)", [], "<CompleteMultipartUpload/>")
        case "DeleteObject": ("DELETE", "/repo/main/k", [], "")
        case "AbortMultipartUpload": ("DELETE", "/repo/main/k?uploadId=\(upload)", [], "")
        case "DeleteObjects": ("POST", "/repo?delete", [], "<Delete><Object><Key>main/k</Key></Object></Delete>")
        case "CopyObject": ("PUT", "/repo/main/k", source, "")
        case "UploadPartCopy": ("PUT", "/repo/main/k?partNumber=1&uploadId=\(upload)", source, "")
        default: nil
        }
    }

    @Test func everyOperationAsksForWhatLakeFSAsks() throws {
        let all = try JSONDecoder().decode(
            [String: [Operation]].self, from: Data(Fixtures.bytes("permissions/operations.json")))
        let operations = try #require(all["s3"])
        #expect(operations.count == 21)
        for (number, operation) in operations.enumerated() {
            let asked = try #require(request(operation.operation), "no request is known for \(operation.operation)")
            let needs = operation.needs.map { need in
                let resource = [
                    "{repository}": "repo", "{source bucket}": "repo", "{key without the ref}": "k",
                    "{source key without the ref}": "k",
                ].reduce(need.resource) { text, part in
                    text.split(separator: part.key, omittingEmptySubsequences: false).joined(separator: part.value)
                }
                return Statement(effect: "allow", actions: [need.action], resource: resource)
            }
            func isDenied(_ name: String, _ statements: [Statement]) throws -> Bool {
                let answer = Self.ask(
                    server, try user("\(name)-\(number)", statements), asked.method, asked.target, asked.headers,
                    asked.body)
                return answer.status == 403 || String(decoding: answer.bytes, as: UTF8.self).contains("AccessDenied")
            }
            #expect(try !isDenied("right", needs), "\(operation.operation) with what it needs")
            for missing in needs.indices {
                var fewer = needs
                fewer.remove(at: missing)
                fewer.append(Statement(effect: "allow", actions: ["fs:ReadConfig"], resource: "*"))
                #expect(
                    try isDenied("without-\(missing)", fewer),
                    "\(operation.operation) without \(needs[missing].actions)")
            }
        }
    }

    @Test func repositoriesThatMayNotBeListedAreNot() throws {
        try lake.make("other")
        let credentials = try user(
            "reader",
            [Statement(effect: "allow", actions: ["fs:ListRepositories"], resource: "arn:lakefs:fs:::repository/oth*")])
        let basic = (
            "Authorization",
            "Basic " + Base64.encode(Array("\(credentials.accessKeyID):\(credentials.secretAccessKey)".utf8))
        )
        let answer = server.answer(Request(method: "GET", target: "/api/v1/repositories", headers: [basic]))
        let text = String(decoding: answer.bytes, as: UTF8.self)
        #expect(answer.status == 200 && text.contains("\"other\"") && !text.contains("\"repo\""))
        #expect(server.answer(Request(method: "GET", target: "/api/v1/config/storage", headers: [basic])).status == 401)
        let nobody = try user("nobody", [])
        let other = (
            "Authorization", "Basic " + Base64.encode(Array("\(nobody.accessKeyID):\(nobody.secretAccessKey)".utf8))
        )
        #expect(server.answer(Request(method: "GET", target: "/api/v1/repositories", headers: [other])).status == 401)
    }

    @Test func theSystemTellsWhoseSocketItIs() {
        let table = """
              sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
               0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0
               1: 0100007F:9C40 0100007F:1F40 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0
               2: 0100007F:1F40 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0
            """
        func users(_ address: UInt32, _ port: UInt16) -> [UInt32] {
            LocalUser.users(table, of: Peer(address: IPAddress(v4: address), port: port))
        }
        #expect(
            users(0x7f00_0001, 0x9c40) == [1000] && users(0x7f00_0001, 0x1f40) == [0] && users(0x7f00_0001, 1).isEmpty)
        #expect(users(0x7f00_0002, 0x1f40).isEmpty, "another address of this machine with the server's port")
        let six = """
              sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
               0: 00000000000000000000000001000000:9C40 00000000000000000000000001000000:1F40 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0
            """
        #expect(
            LocalUser.users(six, of: Peer(address: IPAddress(v6: [UInt8](repeating: 0, count: 15) + [1]), port: 0x9c40))
                == [1000])
    }
}
