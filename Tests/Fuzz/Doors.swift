import Foundations
import Glibc

@testable import LakeAPI
@testable import LakeLocalServer
@testable import Transport
@testable import Versioning

// What comes from the network: decoders by themselves, then whole requests to a server in memory.

/// Lines up to the first empty one, and what follows it.
private func split(_ bytes: [UInt8]) -> (lines: [[UInt8]], body: [UInt8]) {
    var lines: [[UInt8]] = []
    var position = 0
    while position < bytes.count {
        let end = bytes[position...].firstIndex(of: 0x0a) ?? bytes.count
        if end == position { return (lines, Array(bytes[min(end + 1, bytes.count)...])) }
        lines.append(Array(bytes[position..<end]))
        position = end + 1
    }
    return (lines, [])
}

private func text(_ bytes: some Collection<UInt8>) -> String { String(decoding: Array(bytes), as: UTF8.self) }

/// Method, target and headers, a line each.
private func request(_ lines: [[UInt8]], more: [(String, String)] = []) -> Request {
    let headers = lines.dropFirst(2).map { line in
        let colon = line.firstIndex(of: 0x3a) ?? line.count
        return (text(line[..<colon]), text(line.dropFirst(colon + 1).drop { $0 == 0x20 }))
    }
    return Request(
        method: lines.first.map(text) ?? "GET", target: lines.count > 1 ? text(lines[1]) : "/", headers: headers + more,
        peer: Peer(address: IPAddress(v4: 0x7f00_0001), port: 1), version: "HTTP/1.1")
}

func readRequest(_ bytes: [UInt8]) {
    let request = request(split(bytes).lines)
    let query = URIEncoding.query(request.rawQuery, plusIsSpace: true)
    for item in query { _ = PageToken.key(Key(item.bytes)) }
    for size: Int64 in [0, 1, 5, .max] {
        if case .part(let range) = ByteRange(request.header("range"), size: size) {
            precondition(range.lowerBound >= 0 && range.upperBound <= size && !range.isEmpty)
        }
    }
    _ = Precheck(request, eTag: "a", modified: Timestamp(seconds: 1))
    _ = Precheck.writeCondition(request)
    let key = Key(bytes)
    precondition(PageToken.key(Key(PageToken.text(key))) == key, "a token does not give back its key")
}

func readPolicies(_ bytes: [UInt8]) {
    if let policy = try? Policy(decoding: bytes) {
        guard let again = try? Policy(decoding: policy.encoded), again.statements == policy.statements else {
            fatalError("a policy is not stored as it was read")
        }
        for statement in policy.statements {
            _ = statement.verdict(
                on: .object("ReadObject", "repo", Key(bytes)), for: Caller("u", from: IPAddress("127.0.0.1")))
        }
    }
    let parts = text(bytes).split(separator: "\n", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
    let statement = Statement(
        effect: "allow", actions: [parts[0]], resource: parts.count > 1 ? parts[1] : "*",
        condition: Condition(["IpAddress": ["SourceIp": [parts.last!]]]))
    _ = statement.verdict(
        on: Permission("fs:ReadObject", "arn:lakefs:fs:::repository/repo/object/x"),
        for: Caller("u", from: IPAddress("::1")))
    _ = statement.mayAllow("fs:ReadObject", below: "arn:lakefs:fs:::repository/", user: "u")
    _ = IPNetwork(parts[0])?.contains(IPAddress(v4: 1))
}

func readSignature(_ bytes: [UInt8]) {
    let given = text(bytes)
    if given.hasPrefix("AWS") && !given.hasPrefix("AWSAccess") {
        _ = FuzzedLake.shared.server.answer(
            Request(
                method: "PUT", target: "/repo/main/k",
                headers: [("Host", "x"), ("x-amz-date", "20260101T000000Z"), ("Authorization", given)]))
    } else {
        _ = FuzzedLake.shared.server.answer(
            Request(method: "GET", target: "/repo/main/k?" + given, headers: [("Host", "x")]))
    }
}

func readChunks(_ bytes: [UInt8]) {
    let signing = ChunkedBody.Signing(
        key: [1], time: "20260101T000000Z", scope: SigV4.Scope(day: "20260101", region: "r", service: "s3"),
        previous: "0")
    for (signing, step) in [(nil, bytes.count), (nil, 1), (nil, 7), (signing, 3)] as [(ChunkedBody.Signing?, Int)] {
        var body = ChunkedBody(signing: signing)
        var position = 0
        var taken = 0
        do {
            while position < bytes.count {
                let end = min(bytes.count, position + max(1, step))
                try bytes[position..<end].withUnsafeBytes { try body.feed($0) { taken += $0.count } }
                position = end
            }
        } catch {}
        precondition(taken <= bytes.count)
    }
}

func readXML(_ bytes: [UInt8]) { _ = XMLElement.parse(bytes)?.all("Object").compactMap { $0.value("Key") } }

func readForm(_ bytes: [UInt8]) {
    var whole: [[UInt8]] = []
    for step in [bytes.count, 1, 5] {
        guard var form = FormReader(contentType: "multipart/form-data; boundary=b") else { return }
        var position = 0
        var taken: [UInt8] = []
        while position < bytes.count {
            let end = min(bytes.count, position + max(1, step))
            bytes[position..<end].withUnsafeBytes { piece in
                try? form.feed(piece) {
                    $0.name == "content" || $0.fileName != nil
                } _: {
                    taken += Array($0)
                }
            }
            position = end
        }
        if form.isComplete { whole.append(taken) }
    }
    precondition(Set(whole).count <= 1, "a form is another one when it comes in other pieces")
    _ = FormReader(contentType: text(bytes))
}

/// What S3 keeps of an object, and what a browser's form may be.
func readFacts(_ bytes: [UInt8]) {
    try? PostPolicy.parse(Base64.encode(bytes)).check(["key": "main/a", "bucket": "b"])
    _ = try? ObjectFacts.tags(ofHeader: text(bytes))
    _ = try? ObjectFacts.tags(ofDocument: bytes)
    let metadata: Metadata = ["::lakefuse::Content": "0123;" + text(bytes), "::lakefuse::Tags": text(bytes)]
    let entry = Entry(
        address: "data/a", lastModified: Timestamp(seconds: 0), size: 100, eTag: "0123", metadata: metadata,
        contentType: "")
    let content = ObjectFacts.content(of: entry)
    precondition(content.parts.isEmpty || content.parts.reduce(0, +) == 100)
    for part in 0...content.parts.count + 1 { _ = content.range(ofPart: part) }
    _ = ObjectFacts.headers(metadata)
}

func readMessages(_ bytes: [UInt8]) {
    func read<Sent: Message>(_ type: Sent.Type) {
        do { _ = try Coding.decodeRequest(type, bytes) } catch { _ = Coding.explain(error, in: type) }
    }
    read(API.RepositoryCreation.self)
    read(API.CommitCreation.self)
    read(API.ObjectStageCreation.self)
    read(API.ImportCreation.self)
    read(API.PathList.self)
    read(API.Merge.self)
    read(API.CommitRecordCreation.self)
}

/// A server on stores in memory, with a repository and a first user.
final class FuzzedLake: Sendable {
    static let shared = FuzzedLake()
    let server: Server
    let login: String

    private init() {
        let store = InMemoryKeyValueStore()
        let pool = WorkerPool(name: "worker", width: 1)
        let tasks = WorkerPool(name: "task", width: 1)
        let catalog = Catalog(
            store: store, committed: CommittedStore(objects: FuzzedObjects(), pool: pool, cacheBytes: 1 << 20),
            tasks: tasks)
        let access = Access(store: store, secretKey: "s")
        let login = Login(access: access, secretKey: "s")
        let budget = MemoryBudget(limitBytes: 64 << 20)
        var settings = ServerSettings(signingSecret: "s")
        settings.stores[0].scheme = "mem"
        _ = try! access.setUp(
            userName: "admin",
            credentials: Credentials(
                accessKeyID: "AKIAJFUZZINGFUZZIN0Q", secretAccessKey: "secret", userName: "admin", issued: .now()))
        _ = try! catalog.createRepository(
            "repo", storageNamespace: "mem://repo", defaultBranch: "main", schemes: ["mem"])
        self.login = "Basic " + Base64.encode(Array("AKIAJFUZZINGFUZZIN0Q:secret".utf8))
        server = Server(
            rest: REST(
                catalog: catalog, access: access, login: login, settings: settings, mounts: nil, budget: budget,
                outside: OutsideCalls(width: 1)),
            gateway: S3Gateway(catalog: catalog, access: access, login: login, settings: settings, budget: budget),
            access: access)
    }
}

/// A whole request with its body, by a user who may do everything; and the same with nobody's login.
func askServer(_ bytes: [UInt8]) {
    let (lines, body) = split(bytes)
    let lake = FuzzedLake.shared
    let length = body.isEmpty ? [] : [("Content-Length", String(body.count))]
    for more in [[("Authorization", lake.login), ("Host", "x")] + length, [("Host", "s3.local.lakefs.io")] + length] {
        let request = request(lines.filter { !$0.starts(with: Array("Content-Length".utf8)) }, more: more)
        let response = lake.server.answer(request, body: body)
        precondition((200...599).contains(response.status), "status \(response.status)")
        precondition(
            response.status != 500 || request.rawPath.contains("metadata"),
            "an input made a 500: \(text(response.bytes))")
    }
}
