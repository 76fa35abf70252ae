import Foundations
import Glibc
import LakeAPI
import LakeTestSupport
import S3Backend
import Testing
import Transport
import Versioning

@testable import LakeLocalServer

/// The doors without a socket: requests and answers as values, stores in memory.
@Suite struct ServerTests {
    private let lake = MemoryLake(objects: MemoryObjectStore())
    private let server: Server
    private let credentials: Credentials

    init() throws {
        let doors = TestDoors(lake)
        server = doors.server
        credentials = try doors.access.setUp(userName: "admin")
        try lake.make()
    }

    private func bytes(_ response: Response) throws -> [UInt8] {
        if case .stream(let count, let read) = response.body { return count == 0 ? [] : try read(0, Int(count)) }
        return response.bytes
    }

    private func rest(_ method: String, _ path: String, _ body: String = "", headers: [(String, String)] = [])
        -> Response
    {
        let basic = "Basic " + Base64.encode(Array("\(credentials.accessKeyID):\(credentials.secretAccessKey)".utf8))
        let type =
            body.hasPrefix("{") && !headers.contains { $0.0 == "Content-Type" }
            ? [("Content-Type", "application/json")] : []
        return server.answer(
            Request(method: method, target: "/api/v1" + path, headers: [("Authorization", basic)] + type + headers),
            body: Array(body.utf8))
    }

    private func s3(
        _ method: String, _ target: String, _ body: [UInt8] = [], headers: [(String, String)] = [],
        secret: String? = nil, hash: String? = nil
    ) -> Response {
        let stamp = Timestamp.now().basic
        let scope = SigV4.Scope(day: String(stamp.prefix(8)), region: "us-east-1", service: "s3")
        let plain = Request(method: method, target: target, headers: [])
        let payload = hash ?? Hex.text(Hash.digest(.sha256, body))
        let signed =
            headers.map { ($0.0.lowercased(), $0.1) } + [
                ("host", "lake"), ("x-amz-date", stamp), ("x-amz-content-sha256", payload),
            ]
        let canonical = SigV4.canonicalRequest(
            method: method, path: URIEncoding.decode(plain.rawPath),
            query: URIEncoding.query(plain.rawQuery, plusIsSpace: true),
            headers: signed.map { (name: $0.0, value: $0.1) }, payloadHash: payload)
        let signature = SigV4.signature(
            key: SigV4.signingKey(secret: secret ?? credentials.secretAccessKey, scope: scope), time: stamp,
            scope: scope, canonicalRequest: canonical)
        let names = signed.map(\.0).sorted().joined(separator: ";")
        let header =
            "AWS4-HMAC-SHA256 Credential=\(credentials.accessKeyID)/\(scope.description), SignedHeaders=\(names), Signature=\(signature)"
        return server.answer(
            Request(method: method, target: target, headers: signed + [("Authorization", header)]), body: body)
    }

    @Test func anObjectThroughOneDoorIsReadThroughTheOther() throws {
        #expect(s3("PUT", "/repo/main/a/b%20c", Array("hello".utf8)).status == 200)
        let read = rest("GET", "/repositories/repo/refs/main/objects?path=a/b+c")
        #expect(try read.status == 200 && bytes(read) == Array("hello".utf8))
        #expect(rest("POST", "/repositories/repo/branches/main/objects?path=x", "from REST").status == 201)
        #expect(try bytes(s3("GET", "/repo/main/x")) == Array("from REST".utf8))
        #expect(rest("POST", "/repositories/repo/branches/main/commits", #"{"message":"m"}"#).status == 201)
        #expect(try bytes(s3("GET", "/repo/main@/x")) == Array("from REST".utf8))
        #expect(s3("GET", "/repo/main~1/x").status == 404)
    }

    @Test func wrongSignaturesAndHashesStoreNothing() throws {
        #expect(s3("PUT", "/repo/main/k", [1], secret: "wrong").status == 403)
        #expect(s3("PUT", "/repo/main/k", [1], hash: Hex.text(Hash.digest(.sha256, [2]))).status == 400)
        #expect(
            s3("PUT", "/repo/main/k", [1], headers: [("content-md5", Base64.encode(Hash.digest(.md5, [2])))]).status
                == 400)
        #expect(s3("PUT", "/repo/main/k", [1], headers: [("x-amz-checksum-crc32", "AAAAAA==")]).status == 400)
        #expect(try lake.contents("main").isEmpty)
        #expect(server.answer(Request(method: "GET", target: "/api/v1/repositories", headers: [])).status == 401)
        #expect(server.answer(Request(method: "GET", target: "/repo/main/k", headers: [])).status == 403)
    }

    /// A plus in a query is a space, for what it says and for its signature: SDKs of Java's first version send it so.
    @Test func aPlusInAQueryIsASpace() throws {
        #expect(s3("PUT", "/repo/main/a%20b", [1]).status == 200)
        let listed = s3("GET", "/repo?list-type=2&prefix=main/a+b")
        #expect(listed.status == 200)
        #expect(String(decoding: listed.bytes, as: UTF8.self).contains("<Key>main/a b</Key>"))
        let other = s3("GET", "/repo?list-type=2&prefix=main/a%2Bb")
        #expect(!String(decoding: other.bytes, as: UTF8.self).contains("<Key>"))
    }

    /// A trailer is told by its whole name: the name of one checksum is the beginning of another's.
    @Test(arguments: [
        ("crc32c", "4waSgw=="), ("crc32", "y/Q5Jg=="), ("sha256", "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
    ])
    func trailersHaveWholeNames(name: String, value: String) throws {
        let body = Array("9\r\n123456789\r\n0\r\nx-amz-checksum-\(name):\(value)\r\n\r\n".utf8)
        let headers = [
            ("x-amz-trailer", "x-amz-checksum-\(name)"), ("x-amz-decoded-content-length", "9"),
            ("content-encoding", "aws-chunked"),
        ]
        let answer = s3("PUT", "/repo/main/t", body, headers: headers, hash: "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        #expect(answer.status == 200, "\(String(decoding: answer.bytes, as: UTF8.self))")
        #expect(try bytes(s3("GET", "/repo/main/t")) == Array("123456789".utf8))
    }

    @Test(arguments: [
        ("=?UTF-8?B?w7w=?=", "ü"), ("=?utf-8?Q?a_=C3=BC?= b", "a ü b"), ("=?UTF-8?B?w7w=?= =?UTF-8?B?w7w=?=", "üü"),
        ("=?iso-8859-1?q?=FC?=", "ü"), ("=?x?", "=?x?"), ("=?UTF-8?B?!?=", "=?UTF-8?B?!?="), ("a  b ", "a  b "),
    ])
    func encodedWords(header: String, text: String) {
        #expect(EncodedWord.decode(header) == text)
        #expect(EncodedWord.decode(EncodedWord.encode(text)) == text)
    }

    /// The checksums of "123456789" that the algorithms are known by.
    @Test(
        arguments: [
            (S3Checksum.Algorithm.crc32, "y/Q5Jg=="), (.crc32c, "4waSgw=="), (.crc64nvme, "rosUhgp5mIg="),
            (.sha1, "98O8HYCOBHMq32eZZczDTKeuNEE="), (.sha256, "FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU="),
        ] as [(S3Checksum.Algorithm, String)])
    func checksums(algorithm: S3Checksum.Algorithm, wanted: String) {
        var checksum = S3Checksum(algorithm)
        for piece in ["1234", "56789"] { unsafe Array(piece.utf8).withUnsafeBytes { unsafe checksum.update($0) } }
        #expect(checksum.base64() == wanted)
    }

    @Test func badInputIsToldAndChangesNothing() throws {
        for (method, path, body, status) in [
            ("POST", "/repositories", "{", 400),
            ("POST", "/repositories", #"{"name":"Bad!","storage_namespace":"mem://x"}"#, 400),
            ("POST", "/repositories", #"{"name":"repo","storage_namespace":"mem://x"}"#, 409),
            ("GET", "/repositories/none", "", 404), ("GET", "/repositories/repo/refs/none/objects/ls", "", 404),
            ("POST", "/repositories/repo/branches/main/commits", "{}", 400),
            ("POST", "/repositories/repo/branches/none/commits", #"{"message":"m"}"#, 404),
            ("GET", "/nonsense", "", 404),
            ("POST", "/repositories/repo/branches", #"{"name":"a b","source":"main"}"#, 400),
        ] {
            let answer = rest(method, path, body)
            #expect(answer.status == status, "\(method) \(path)")
            #expect(try !Coding.decode(API.Error.self, answer.bytes).message.isEmpty)
        }
        let malformed = s3("POST", "/repo?delete", Array("<Delete><Object>".utf8))
        #expect(malformed.status == 400 && String(decoding: malformed.bytes, as: UTF8.self).contains("MalformedXML"))
    }
}

@Suite struct ByteRangeTests {
    @Test(
        arguments: [
            ("bytes=0-0", ByteRange.part(0..<1)), ("bytes=5-", .part(5..<10)), ("bytes=-3", .part(7..<10)),
            ("bytes=-30", .part(0..<10)), ("bytes=3-99", .part(3..<10)), ("bytes=0-9223372036854775807", .part(0..<10)),
            ("bytes=9223372036854775807-", .unsatisfiable), ("bytes=10-", .unsatisfiable),
            ("bytes=3-2", .unsatisfiable), ("bytes=-0", .unsatisfiable), ("items=0-1", .malformed),
            ("bytes=a-b", .malformed),
        ] as [(String, ByteRange)])
    func forms(header: String, wanted: ByteRange) { #expect(ByteRange(header, size: 10) == wanted) }
}

@Suite struct BodyTests {
    /// Hands bytes over cut at `cut`.
    private func pieces(_ text: [UInt8], _ cut: Int, _ take: (UnsafeRawBufferPointer) throws -> Void) rethrows {
        try unsafe text[..<cut].withUnsafeBytes { try unsafe take($0) }
        try unsafe text[cut...].withUnsafeBytes { try unsafe take($0) }
    }

    @Test func chunkedBodiesMayBeCutAnywhere() throws {
        let text = Array("5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n".utf8)
        for cut in 0...text.count {
            var body = ChunkedBody(signing: nil)
            var got: [UInt8] = []
            unsafe try pieces(text, cut) { try unsafe body.feed($0) { unsafe got.append(contentsOf: $0) } }
            #expect(
                got == Array("hello world".utf8) && body.isComplete && body.trailers.first?.value == "AAAA",
                "cut at \(cut)")
            var short = ChunkedBody(signing: nil)
            try? unsafe text[..<cut].withUnsafeBytes { try unsafe short.feed($0) { _ in } }
            #expect(short.isComplete == (cut == text.count))
        }
    }

    /// A form is the same however it is cut into pieces: also an empty part, whose boundary follows its headers at once.
    @Test(arguments: [
        "--b\r\nContent-Disposition: form-data; name=\"content\"\r\n\r\n\r\n--b--",
        "--b\r\nContent-Disposition: form-data; name=\"content\"\r\n\r\n--b--",
        "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n--b\r\nname=\"content\"\r\n\r\n--a\r\n--b--",
        "--b\r\nX: " + String(repeating: "x", count: 16_500) + "\r\n\r\n--b\r\nname=\"content\"\r\n\r\na\r\n--b--",
    ])
    func formsInPieces(text: String) throws {
        let bytes = Array(text.utf8)
        var found: Set<[UInt8]> = []
        for step in [bytes.count, 1, 2, 5] {
            var form = FormReader(contentType: "multipart/form-data; boundary=b")!
            var taken: [UInt8] = []
            for start in stride(from: 0, to: bytes.count, by: step) {
                try unsafe bytes[start..<min(bytes.count, start + step)].withUnsafeBytes { piece in
                    try unsafe form.feed(piece) {
                        $0.name == "content"
                    } _: {
                        unsafe taken += Array($0)
                    }
                }
            }
            found.insert(taken + [form.isComplete ? 1 : 0])
        }
        #expect(found.count == 1)
    }

    @Test func formsMayBeCutAnywhere() throws {
        let text = Array(
            "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nother\r\n--XX\r\nContent-Disposition: form-data; name=\"content\"\r\nContent-Type: text/csv\r\n\r\nline\r\n--X\r\n--XX--\r\n"
                .utf8)
        for cut in 0...text.count {
            var form = FormReader(contentType: "multipart/form-data; boundary=XX")!
            var got: [UInt8] = []
            var types: [String?] = []
            unsafe try pieces(text, cut) { piece in
                try unsafe form.feed(piece) { part in
                    if part.name == "content" { types.append(part.contentType) }
                    return part.name == "content"
                } _: {
                    unsafe got.append(contentsOf: $0)
                }
            }
            #expect(
                String(decoding: got, as: UTF8.self) == "line\r\n--X" && form.isComplete && types == ["text/csv"],
                "cut at \(cut)")
        }
    }

    @Test func xmlIsReadAndRefused() {
        #expect(
            XMLElement.parse(Array("<a xmlns=\"urn:x\"><b>1 &lt; 2</b><b/></a>".utf8))?.all("b").map(\.text) == [
                "1 < 2", "",
            ])
        #expect(XMLElement.parse(Array("<a>".utf8)) == nil && XMLElement.parse([]) == nil)
        #expect(
            XMLElement.parse(Array(String(repeating: "<a>", count: 500_000).utf8)) == nil,
            "deep nonsense must not use up the stack")
        #expect(
            XMLElement.parse(
                Array(String(repeating: "<a>", count: 100).utf8) + Array(String(repeating: "</a>", count: 100).utf8))
                == nil)
    }
}

@Test func timesBeyondReasonAreRefusedOrCut() {
    #expect(
        Timestamp(httpDate: "Mon, 02 Jan 99999999999 15:04:05 GMT") == nil && Timestamp(httpDate: "nonsense") == nil)
    #expect(
        Timestamp(seconds: .max).rfc3339 == "9999-12-31T23:59:59Z" && Timestamp(seconds: .min).httpDate.hasSuffix("GMT")
    )
    expectFailure(.invalidValue) { try Timestamp(given: 67_768_036_191_676_800) }
    #expect(
        Timestamp(rfc3339: "2011-03-13T09:06:43.5+02:00") == Timestamp(seconds: 1_300_000_003, nanoseconds: 500_000_000)
    )
}

/// Dates are those that the C library gives (gmtime_r(3), strftime(3)).
@Test func timesAreWrittenByTheCalendar() {
    func written(_ seconds: Int64, _ format: String) -> String {
        var time = time_t(seconds)
        var parts = unsafe tm()
        unsafe gmtime_r(&time, &parts)
        return unsafe String(unsafeUninitializedCapacity: 64) { buffer in
            unsafe buffer.withMemoryRebound(to: CChar.self) { unsafe strftime($0.baseAddress!, 64, format, &parts) }
        }
    }
    let edges: [Int64] = [0, -1, 951_782_399, 951_782_400, 951_868_800, 4_107_542_399, 4_107_542_400, 253_402_300_799]
    // strftime does not pad years below 1000.
    for seconds in edges + (0..<2000).map({ _ in Int64.random(in: -30_610_224_000...253_402_300_799) }) {
        let time = Timestamp(seconds: seconds, nanoseconds: 7_999_999)
        #expect(time.rfc3339 == written(seconds, "%Y-%m-%dT%H:%M:%SZ"))
        #expect(time.rfc3339Milliseconds == written(seconds, "%Y-%m-%dT%H:%M:%S.007Z"))
        #expect(time.httpDate == written(seconds, "%a, %d %b %Y %H:%M:%S GMT"))
        #expect(Timestamp(rfc3339: time.rfc3339)?.seconds == seconds)
    }
    #expect(Timestamp(seconds: .min).rfc3339 == "0001-01-01T00:00:00Z")
}

/// The example of Amazon's documentation, "Signature calculations … GET object".
@Test func signatureOfTheDocumentation() {
    let scope = SigV4.Scope(day: "20130524", region: "us-east-1", service: "s3")
    let canonical = SigV4.canonicalRequest(
        method: "GET", path: Array("/test.txt".utf8), query: [],
        headers: [
            ("host", "examplebucket.s3.amazonaws.com"), ("range", "bytes=0-9"),
            ("x-amz-content-sha256", SigV4.emptyHash), ("x-amz-date", "20130524T000000Z"),
        ], payloadHash: SigV4.emptyHash)
    let key = SigV4.signingKey(secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", scope: scope)
    #expect(
        SigV4.signature(key: key, time: "20130524T000000Z", scope: scope, canonicalRequest: canonical)
            == "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41")
}
