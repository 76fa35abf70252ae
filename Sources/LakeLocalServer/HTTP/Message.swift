import Foundations
import Synchronization
package import Versioning

/// A request as far as its headers: a value, made by the HTTP server or by a test.
package struct Request: Sendable {
    package let method: String
    /// As it was sent, before any `?`.
    package let rawPath: String
    package let rawQuery: String
    /// Names in lower case, in the order sent.
    package let headers: [(name: String, value: String)]
    /// Who asks; nil in tests that do not care.
    package let peer: Peer?
    /// What is wrong with it, whatever it asks for: it means two things, or none. Nil if nothing is.
    package let fault: String?
    /// What is told of it in logs and metrics.
    package let note: RequestNote

    /// - Parameters:
    ///   - target: as it was sent: a path with a query, or a whole URL (RFC 9112, 3.2).
    ///   - version: `HTTP/1.1`, `HTTP/1.0`; nil where nothing depends on it.
    ///   - fault: what its reader found wrong with it.
    package init(
        method: String, target: String, headers: [(String, String)], peer: Peer? = nil, version: String? = nil,
        fault: String? = nil
    ) {
        self.method = method
        self.peer = peer
        note = RequestNote()
        let local = Self.withoutAuthority(target)
        let mark = local.utf8.firstIndex(of: 0x3f) ?? local.endIndex
        rawPath = String(local[..<mark])
        rawQuery = mark == local.endIndex ? "" : String(local[local.utf8.index(after: mark)...])
        self.headers = headers.map { name, value in
            (Self.lowercased(name), Self.trimmed(value))
        }
        self.fault = fault ?? Self.fault(in: local.utf8) ?? Self.fault(in: self.headers, version: version)
    }

    private init(_ other: Request, headers: [(name: String, value: String)]) {
        (method, rawPath, rawQuery, peer, fault, note) = (
            other.method, other.rawPath, other.rawQuery, other.peer, other.fault, other.note
        )
        self.headers = headers
    }

    /// The same with one more header, its name in lower case.
    func adding(_ header: (name: String, value: String)) -> Request { Request(self, headers: headers + [header]) }

    private static func lowercased(_ name: String) -> String {
        name.utf8.contains { $0 >= 65 && $0 <= 90 } ? name.lowercased() : name
    }

    /// White space around a value is none of it (RFC 9110, 5.5); at its beginning its reader has taken it away.
    private static func trimmed(_ value: String) -> String {
        guard let last = value.utf8.last, last == 0x20 || last == 0x09 else { return value }
        let end = value.utf8.lastIndex { $0 != 0x20 && $0 != 0x09 }
        return end.map { String(value[...$0]) } ?? ""
    }

    /// The path and query of an absolute-form target; others as they are.
    private static func withoutAuthority(_ target: String) -> Substring {
        guard !target.utf8.starts(with: "/".utf8) else { return target[...] }
        for scheme in ["http://", "https://"]
        where target.utf8.count >= scheme.utf8.count && target.prefix(scheme.count).lowercased() == scheme {
            let rest = target.dropFirst(scheme.count)
            guard let end = rest.utf8.firstIndex(where: { $0 == 0x2f || $0 == 0x3f }) else { return "/" }
            return rest.utf8[end] == 0x2f ? rest[end...] : "/" + rest[end...]
        }
        return target[...]
    }

    /// Bytes that a target cannot have, and escapes that are none.
    private static func fault(in target: Substring.UTF8View) -> String? {
        var escape = 0
        for byte in target {
            guard byte > 0x20, byte != 0x7f else {
                return "the request's target holds a character that must be percent-encoded"
            }
            if escape > 0 {
                guard (byte >= 48 && byte <= 57) || (byte | 0x20 >= 97 && byte | 0x20 <= 102) else {
                    return "the request's target has a % that two hexadecimal digits do not follow: %25 stands for %"
                }
                escape -= 1
            } else if byte == 0x25 {
                escape = 2
            }
        }
        return escape == 0 ? nil : "the request's target ends within a percent-encoded byte"
    }

    /// Headers that leave open where a body ends or whom the request is for (RFC 9112, 3.2 and 6.3), or say nothing.
    private static func fault(in headers: [(name: String, value: String)], version: String?) -> String? {
        var hosts = 0
        var lengths = 0
        var encodings = 0
        var authorizations = 0
        for header in headers {
            if header.value.utf8.contains(where: { ($0 < 0x20 && $0 != 0x09) || $0 == 0x7f }) {
                return "the value of the header '\(header.name.prefix(40))' holds a control character"
            }
            switch header.name {
            case "host":
                hosts += 1
                guard !header.value.isEmpty,
                    !header.value.utf8.contains(where: { $0 == 0x20 || $0 == 0x2c || $0 == 0x09 })
                else { return "Host '\(header.value.prefix(40))' is not the name of a host" }
            case "content-length":
                lengths += 1
                guard !header.value.isEmpty, header.value.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }),
                    Int64(header.value) != nil
                else { return "Content-Length '\(header.value.prefix(40))' is no number of bytes" }
            case "transfer-encoding":
                encodings += 1
                guard header.value.lowercased() == "chunked" else {
                    return "Transfer-Encoding '\(header.value.prefix(40))' is not known here: chunked is"
                }
            case "authorization": authorizations += 1
            case "if-none-match":
                guard !header.value.isEmpty else { return "If-None-Match is empty: name an entity tag, or *" }
            default:
                guard !header.name.isEmpty, header.name.utf8.allSatisfy(isTokenByte) else {
                    return "a header's name holds a character that names cannot have"
                }
            }
        }
        if lengths > 1 { return "the request has two Content-Length headers" }
        if encodings > 1 { return "the request has two Transfer-Encoding headers" }
        if lengths > 0 && encodings > 0 { return "the request has both Content-Length and Transfer-Encoding" }
        if authorizations > 1 { return "the request has two Authorization headers" }
        if version == "HTTP/1.1" && hosts != 1 {
            return hosts == 0 ? "the request names no Host" : "the request has two Host headers"
        }
        return nil
    }

    /// What names of headers are made of (RFC 9110, 5.6.2).
    private static func isTokenByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 48...57, 65...90, 97...122, 0x21, 0x23...0x27, 0x2a, 0x2b, 0x2d, 0x2e, 0x5e...0x60, 0x7c, 0x7e: true
        default: false
        }
    }

    /// The first header of that name, in lower case; nil if there is none.
    package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    /// Values of the cookies of that name, in their order: browsers send one for each path that fits.
    func cookies(named name: String) -> [Substring] {
        (header("cookie") ?? "").split(separator: ";").compactMap { pair in
            let parts = pair.drop { $0 == " " }.split(separator: "=", maxSplits: 1)
            return parts.count == 2 && parts[0] == name ? parts[1] : nil
        }
    }

    /// Whether it asks for something to be changed.
    package var isWrite: Bool { method != "GET" && method != "HEAD" }

    package var contentLength: Int64? { header("content-length").flatMap { Int64($0) } }
    package var hasBody: Bool { (contentLength ?? 0) > 0 || header("transfer-encoding") != nil }
}

/// What becomes known of a request while it is worked off, for logs and metrics.
package final class RequestNote: @unchecked Sendable {
    // Written by who works on the request, one at a time; read when its answer is sent, which comes behind that.
    /// What it asks for.
    var operation = OperationName.none
    /// It came to the S3 gateway.
    var isS3 = false
    /// Whose it is; empty while unknown.
    package var user = ""
    /// Its name in answers and logs.
    package let id = RequestNote.next()
    /// Microseconds, on a clock that nobody sets.
    let began = Timestamp.monotonicMicroseconds()
    private var isBegun = false
    init() {}

    /// Whether nobody has asked before.
    func isNew() -> Bool {
        defer { isBegun = true }
        return !isBegun
    }

    private static let alphabet = Array("0123456789abcdefghijklmnopqrstuv".utf8)
    private static let process = UInt64.random(in: 0..<1 << 35)
    private static let count = Atomic<UInt64>(0)

    /// Fifteen characters, which a `String` holds without memory of its own: seven of the process, eight that count.
    private static func next() -> String {
        let number = count.add(1, ordering: .relaxed).newValue
        return unsafe String(unsafeUninitializedCapacity: 15) { bytes in
            for index in 0..<7 { unsafe bytes[index] = alphabet[Int(process >> (30 - 5 * UInt64(index)) & 31)] }
            for index in 0..<8 { unsafe bytes[7 + index] = alphabet[Int(number >> (35 - 5 * UInt64(index)) & 31)] }
            return 15
        }
    }
}

/// What a request asks for, by door.
enum OperationName: Hashable, Sendable {
    /// Nothing that there is, or nobody has looked yet.
    case none
    case health, metrics, logout
    case rest(Operation)
    case s3(S3Operation)
    /// A page, by its name in the table of pages.
    case page(String)

    var text: String {
        switch self {
        case .none: "none"
        case .health: "health"
        case .metrics: "metrics"
        case .logout: "logout"
        case .rest(let operation): operation.rawValue
        case .s3(let operation): operation.rawValue
        case .page(let name): "page." + name
        }
    }
}

/// An answer, whole or as a promise of bytes.
package struct Response: Sendable {
    package enum Body: Sendable {
        case bytes([UInt8])
        /// Sent by the kernel; the response owns the descriptor.
        case file(FilePiece)
        /// Read piece by piece: `read(offset, count)` gives up to `count` bytes.
        case stream(byteCount: Int64, read: @Sendable (Int64, Int) throws -> [UInt8])
        /// Made while it is sent, nobody knows how long: empty at the end. What is thrown ends the connection, so that
        /// the client sees that something is missing.
        case pieces(@Sendable () throws -> [UInt8])
        /// Lines that are sent as they come about.
        case events(EventQueue)
        /// No bytes, but their number in the header: answers to HEAD.
        case announced(Int64)
    }

    package var status: Int
    package var headers: [(name: String, value: String)]
    package var body: Body

    package init(status: Int, headers: [(name: String, value: String)] = [], body: Body = .bytes([])) {
        self.status = status
        self.headers = headers
        self.body = body
    }

    /// Headers of what someone stored: a browser that shows it runs nothing of it, and does not guess what it may be.
    /// The two policies both count (CSP level 3, 4.2); lakeFS sends the second.
    package static let untrusted: [(name: String, value: String)] = [
        ("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "sandbox"),
        ("Content-Security-Policy", "default-src 'none'"),
    ]
    private static let inert: [(name: String, value: String)] = [("X-Content-Type-Options", "nosniff")]

    /// The same for an object of a type: one that no browser runs anything of needs only that it is taken for what it
    /// says.
    package static func untrusted(_ contentType: String) -> [(name: String, value: String)] {
        switch contentType {
        case "application/octet-stream", "binary/octet-stream", "text/plain", "text/csv", "application/json",
            "application/vnd.apache.parquet", "image/png", "image/jpeg":
            inert
        default: untrusted
        }
    }

    package static func text(_ status: Int, _ text: String, type: String) -> Response {
        Response(status: status, headers: [("Content-Type", type)], body: .bytes(Array(text.utf8)))
    }

    /// Waits for an answer that is given later.
    static func waiting(_ begin: (@escaping @Sendable (Response) -> Void) -> Void) -> Response {
        let result = Mutex<Response?>(nil)
        let done = CountingSemaphore()
        begin { response in
            result.withLock { $0 = response }
            done.post()
        }
        done.wait()
        return result.withLock { $0! }
    }

    /// The bytes of a body that is in memory: for tests.
    package var bytes: [UInt8] {
        if case .bytes(let bytes) = body { return bytes }
        return []
    }
}

extension Response.Body {
    /// Its bytes, for who is no client; the descriptor of a file is closed. Of events there are none.
    /// - Parameter most: more are left.
    /// - Throws: what reading does, `.corrupt` for a body that ends early.
    func read(most: Int) throws -> [UInt8] {
        switch self {
        case .bytes(let bytes): return Array(bytes.prefix(most))
        case .announced, .events: return []
        case .file(let piece):
            defer { piece.close() }
            return try piece.read(0..<min(piece.byteCount, Int64(most)))
        case .stream(let byteCount, let read):
            var result: [UInt8] = []
            let wanted = min(most, Int(byteCount))
            while result.count < wanted {
                let piece = try read(Int64(result.count), min(1 << 20, wanted - result.count))
                guard !piece.isEmpty else { throw LakeError(.corrupt, "the answer ends early") }
                result += piece
            }
            return result
        case .pieces(let next):
            var result: [UInt8] = []
            while result.count < most {
                let piece = try next()
                if piece.isEmpty { break }
                result += piece
            }
            return Array(result.prefix(most))
        }
    }
}

/// Takes a request's body piece by piece, on one thread at a time. Dropped without `finish` if the client goes away.
package protocol BodySink: AnyObject, Sendable {
    /// Called while the body arrives. An error becomes the answer once the rest of the body has been passed over.
    func receive(_ piece: UnsafeRawBufferPointer) throws(Refusal)
    /// Called once, when all has arrived; may block for long.
    func finish() -> Response
    /// Whether `finish` may take as long as the repository is large.
    var isLong: Bool { get }
    /// Called before `finish`, on the thread that reads the connection. True if `answer` is or will be called, from any
    /// thread, without anything having blocked; then `finish` is not called.
    func finishSoon(_ answer: @escaping @Sendable (Response) -> Void) -> Bool
}

extension BodySink {
    package var isLong: Bool { false }
    package func finishSoon(_ answer: @escaping @Sendable (Response) -> Void) -> Bool { false }
}

/// An answer given instead of what was asked for.
package struct Refusal: Error {
    package let response: Response
    package init(_ response: Response) { self.response = response }
}

/// What becomes of a request whose headers are in.
package enum Reception {
    /// Answered at once, on the thread that read it: reads from memory and disk caches.
    case respond(Response)
    /// Answered by work that may block: the connection waits, its thread does not.
    case work(@Sendable () -> Response)
    /// The same, and it may take as long as the repository is large: many such do not hold up others.
    case long(@Sendable () -> Response)
    /// The body is wanted first.
    case body(any BodySink)
    /// Answered later, by whoever is given the closure; it is called once, from any thread.
    case later(@Sendable (@escaping @Sendable (Response) -> Void) -> Void)
}

/// Answers requests; called from many threads.
package protocol RequestHandler: Sendable {
    /// A request that has a `fault` is to be refused.
    func begin(_ request: Request) -> Reception
    /// The answer to a request for which there is no memory: 503.
    func slowDown(_ request: Request) -> Response
    /// What every answer to a request has, whichever door gives it.
    func headers(for request: Request) -> [(name: String, value: String)]
    /// A request has been answered: all but its last bytes are on their way.
    func answered(_ request: Request, _ response: Response)
}

extension RequestHandler {
    package func answered(_ request: Request, _ response: Response) {}
    package func headers(for request: Request) -> [(name: String, value: String)] { [] }
}

/// A sink for bodies that are read as a whole, up to a limit.
package final class BytesSink: BodySink, @unchecked Sendable {
    /// What becomes of the body.
    package enum Work: Sendable {
        /// Answered by work that may block.
        case now(@Sendable ([UInt8]) -> Response)
        /// Answered later, by work that does not block.
        case soon(@Sendable ([UInt8], @escaping @Sendable (Response) -> Void) -> Void)
    }

    // One thread at a time feeds and finishes a sink, as the protocol says.
    private var bytes: [UInt8] = []
    private var share: MemoryBudget.Share
    private let limit: Int
    private let tooLarge: Response, noMemory: Response
    private let work: Work
    package let isLong: Bool

    /// Bytes of memory that a byte of a message may take while it is read: text, values, what they become.
    private static let expansion = 8

    /// - Parameters:
    ///   - limit: bytes of the body; more is answered `tooLarge`.
    ///   - noMemory: the answer where `budget` has no room for it.
    package init(
        limit: Int, tooLarge: Response, budget: MemoryBudget, noMemory: Response, isLong: Bool = false, _ work: Work
    ) {
        self.limit = limit
        self.tooLarge = tooLarge
        self.noMemory = noMemory
        share = MemoryBudget.Share(of: budget)
        self.isLong = isLong
        self.work = work
    }

    package func receive(_ piece: UnsafeRawBufferPointer) throws(Refusal) {
        guard bytes.count + piece.count <= limit else { throw Refusal(tooLarge) }
        guard share.grow(by: piece.count * Self.expansion) else { throw Refusal(noMemory) }
        unsafe bytes.append(contentsOf: piece)
    }

    package func finish() -> Response {
        switch work {
        case .now(let answer): return answer(bytes)
        case .soon(let begin): return Response.waiting { begin(bytes, $0) }
        }
    }

    package func finishSoon(_ answer: @escaping @Sendable (Response) -> Void) -> Bool {
        guard case .soon(let begin) = work else { return false }
        begin(bytes, answer)
        return true
    }
}

extension RequestHandler {
    /// Runs a whole request on the calling thread: what a test uses instead of a socket.
    package func answer(_ request: Request, body: [UInt8] = []) -> Response {
        let request = body.isEmpty || request.hasBody ? request : request.adding(("content-length", "\(body.count)"))
        return begin(request).answer(to: body)
    }
}

extension Reception {
    /// Does what is to be done on the calling thread, waiting for what others do.
    func answer(to body: [UInt8]) -> Response {
        switch self {
        case .respond(let response): return response
        case .work(let work), .long(let work): return work()
        case .later(let begin): return Response.waiting(begin)
        case .body(let sink):
            var refusal: Response?
            unsafe body.withUnsafeBytes { bytes in
                do throws(Refusal) { if bytes.count > 0 { unsafe try sink.receive(bytes) } } catch {
                    refusal = error.response
                }
            }
            return refusal ?? sink.finish()
        }
    }
}
