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

    package init(method: String, target: String, headers: [(String, String)]) {
        self.method = method
        let mark = target.firstIndex(of: "?") ?? target.endIndex
        rawPath = String(target[..<mark])
        rawQuery = mark == target.endIndex ? "" : String(target[target.index(after: mark)...])
        self.headers = headers.map { name, value in
            // White space around a value is none of it (RFC 9110, 5.5).
            var value = value[...]
            while value.last == " " || value.last == "\t" { value = value.dropLast() }
            return (name.lowercased(), String(value))
        }
    }

    /// The first header of that name, in lower case; nil if there is none.
    package func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    package var contentLength: Int64? { header("content-length").flatMap { Int64($0) } }
    package var hasBody: Bool { (contentLength ?? 0) > 0 || header("transfer-encoding") != nil }
}

/// An answer, whole or as a promise of bytes.
package struct Response: Sendable {
    package enum Body: Sendable {
        case bytes([UInt8])
        /// Sent by the kernel; the response owns the descriptor.
        case file(FilePiece)
        /// Read piece by piece: `read(offset, count)` gives up to `count` bytes.
        case stream(byteCount: Int64, read: @Sendable (Int64, Int) throws -> [UInt8])
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

    package static func text(_ status: Int, _ text: String, type: String) -> Response {
        Response(status: status, headers: [("Content-Type", type)], body: .bytes(Array(text.utf8)))
    }

    /// The bytes of a body that is in memory: for tests.
    package var bytes: [UInt8] {
        if case .bytes(let bytes) = body { return bytes }
        return []
    }
}

/// Takes a request's body piece by piece, on one thread at a time. Dropped without `finish` if the client goes away.
package protocol BodySink: AnyObject, Sendable {
    /// Called while the body arrives. An error becomes the answer once the rest of the body has been passed over.
    func receive(_ piece: UnsafeRawBufferPointer) throws(Refusal)
    /// Called once, when all has arrived; may block for long.
    func finish() -> Response
    /// Called before `finish`, on the thread that reads the connection. True if `answer` is or will be called, from any
    /// thread, without anything having blocked; then `finish` is not called.
    func finishSoon(_ answer: @escaping @Sendable (Response) -> Void) -> Bool
}

extension BodySink {
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
    /// The body is wanted first.
    case body(any BodySink)
}

/// Answers requests; called from many threads.
package protocol RequestHandler: Sendable {
    func begin(_ request: Request) -> Reception
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
    private let limit: Int
    private let tooLarge: Response
    private let work: Work

    package init(limit: Int, tooLarge: Response, _ work: Work) {
        self.limit = limit
        self.tooLarge = tooLarge
        self.work = work
    }

    package func receive(_ piece: UnsafeRawBufferPointer) throws(Refusal) {
        guard bytes.count + piece.count <= limit else { throw Refusal(tooLarge) }
        unsafe bytes.append(contentsOf: piece)
    }

    package func finish() -> Response {
        switch work {
        case .now(let answer): return answer(bytes)
        case .soon(let begin):
            let result = Mutex<Response?>(nil), done = CountingSemaphore()
            begin(bytes) { response in
                result.withLock { $0 = response }
                done.post()
            }
            done.wait()
            return result.withLock { $0! }
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
        switch begin(request) {
        case .respond(let response): return response
        case .work(let work): return work()
        case .body(let sink):
            var refusal: Response?
            unsafe body.withUnsafeBytes { bytes in
                do throws(Refusal) { if bytes.count > 0 { unsafe try sink.receive(bytes) } } catch { refusal = error.response }
            }
            return refusal ?? sink.finish()
        }
    }
}
