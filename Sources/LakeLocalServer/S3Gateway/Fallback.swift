import Foundations
import Synchronization
import Transport
import Versioning

/// Another S3 server, which gets the requests for buckets that are no repositories here, as they came: their signatures
/// hold there if it knows the keys, and takes the host for its own. Who is let in here is asked before; who may what
/// there, it says. Source: `lakefs-behaviour.md`, `gateways.s3.fallback_url`.
final class Fallback: Sendable {
    private let client = HTTPClient(stallSeconds: 60)
    /// Without a slash at the end.
    private let url: String
    private let region: String

    /// - Parameter url: `http://host:port` or `https://…`, perhaps with a path.
    init(_ url: String, region: String) {
        self.url = String(url.reversed().drop { $0 == "/" }.reversed())
        self.region = region
    }

    /// Headers that are about one connection (RFC 9110, 7.6.1), and what each side says anew of its own.
    private static let own: Set<String> = [
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade", "content-length", "expect",
    ]

    /// Headers of answers that this server says by itself.
    private static let ours: Set<String> = ["date", "server", "x-amz-request-id", "x-request-id"]

    /// Sends a request on, its body once it is all there.
    func forward(_ request: Request) throws -> Reception {
        guard request.hasBody else { return .long { [self] in answer(request, nil) } }
        return .body(try Sink(self, request))
    }

    private final class Sink: BodySink, @unchecked Sendable {
        // One thread at a time feeds and finishes a sink, as the protocol says.
        private let fallback: Fallback, request: Request
        private let spool: Spool
        init(_ fallback: Fallback, _ request: Request) throws {
            self.fallback = fallback
            self.request = request
            spool = try Spool()
        }
        func receive(_ piece: UnsafeRawBufferPointer) throws(Refusal) {
            do { unsafe try spool.write(piece) } catch {
                throw Refusal(S3Error(error, isWrite: true).response(to: request, in: fallback.region))
            }
        }
        func finish() -> Response { fallback.answer(request, spool) }
        var isLong: Bool { true }
    }

    private func answer(_ request: Request, _ body: Spool?) -> Response {
        do { return try ask(request, body) } catch let error as TransportError {
            Log.warning(
                "the fallback for buckets that are not here does not answer",
                ["request_id": request.note.id, "reason": error.description])
            return S3Error(503, "ServiceUnavailable", "The server that has this bucket does not answer.").response(
                to: request, in: region)
        } catch {
            return S3Error(error, isWrite: request.isWrite).response(to: request, in: region)
        }
    }

    private func ask(_ request: Request, _ body: Spool?) throws -> Response {
        let target = request.rawPath + (request.rawQuery.isEmpty ? "" : "?" + request.rawQuery)
        var headers = request.headers.filter { !Self.own.contains($0.name) }.map { ($0.name, $0.value) }
        // That there is no body is said, if it was.
        if body == nil, request.contentLength == 0 { headers.append(("content-length", "0")) }
        let spool = try Spool()
        let failure = Mutex<(any Error)?>(nil)
        var sent: Int64 = 0
        let answer: HTTPClient.Answer
        do {
            answer = unsafe try client.send(
                request.method, url + target, headers: headers,
                body: body.map { body in
                    unsafe .stream(byteCount: body.byteCount) { buffer in
                        let count = unsafe body.read(at: sent, into: buffer)
                        sent += Int64(count)
                        return count
                    }
                } ?? .none
            ) { _, piece in
                do {
                    unsafe try spool.write(piece)
                    return true
                } catch {
                    failure.withLock { $0 = error }
                    return false
                }
            }
        } catch {
            throw failure.withLock { $0 } ?? error
        }
        let length = answer.header("content-length").flatMap { Int64($0) } ?? 0
        let body: Response.Body =
            request.method == "HEAD" ? .announced(length) : spool.byteCount == 0 ? .bytes([]) : .file(spool.take())
        return Response(
            status: answer.status,
            headers: answer.headers.filter { !Self.own.contains($0.name) && !Self.ours.contains($0.name) }, body: body)
    }
}
