import Foundations
package import Transport
import Versioning

/// An answer of a server that is an error.
package struct LakeClientError: Error, Sendable {
    package let status: Int
    package let message: String
    package init(status: Int, message: String) {
        self.status = status
        self.message = message
    }
}

/// A client of any server that speaks the REST API: ours, lakeFS. Safe from any thread.
package struct LakeClient: Sendable {
    /// Where the server is, without `/api/v1`.
    package let endpoint: String
    /// What stands before the paths of the API's operations.
    private let base: String
    private let authorization: String
    /// For addresses that the server signs.
    package let http: HTTPClient
    /// How often a request is made again that the server could not answer, and how many milliseconds pass before: more
    /// each time.
    package var retries: (most: Int, firstWait: Int, longestWait: Int) = (0, 0, 0)

    /// - Parameter endpoint: one without a path has the API at `/api/v1`.
    package init(endpoint: String, accessKeyID: String, secretAccessKey: String, http: HTTPClient = HTTPClient()) {
        self.http = http
        var endpoint = endpoint[...]
        while endpoint.hasSuffix("/") { endpoint = endpoint.dropLast() }
        let host = endpoint.firstRange(of: "://").map { endpoint[$0.upperBound...] } ?? endpoint
        base = host.contains("/") ? String(endpoint) : endpoint + Self.path
        self.endpoint = String(endpoint.hasSuffix(Self.path) ? endpoint.dropLast(Self.path.count) : endpoint)
        authorization = "Basic " + Base64.encode(Array("\(accessKeyID):\(secretAccessKey)".utf8))
    }

    private static let path = "/api/v1"

    /// The address of an operation from the parts of its path, each encoded.
    private func url(_ parts: [String], _ query: [(String, String?)], _ api: String) -> String {
        let given = query.compactMap { name, value in value.map { (name, $0) } }
        return (api == "v1" ? base : "\(endpoint)/api/\(api)") + "/"
            + parts.map { URIEncoding.encode($0) }.joined(separator: "/")
            + (given.isEmpty ? "" : "?" + URIEncoding.query(of: given))
    }

    /// Sends a request; `parts` is the path behind `/api/v1`.
    /// - Throws: `LakeClientError` for a status from 300 on, `TransportError` if there is no answer.
    @discardableResult
    package func send(
        _ method: String, _ parts: [String], _ query: [(String, String?)] = [], headers: [(String, String)] = [],
        body: HTTPClient.Body = .none,
        sink: ((Int, UnsafeRawBufferPointer) -> Bool)? = nil, api: String = "v1"
    ) throws -> HTTPClient.Answer {
        let url = url(parts, query, api)
        guard url.hasPrefix("http://") || url.hasPrefix("https://") else { throw Self.noScheme(method, url) }
        // What streams out or in is not begun anew.
        let most = if case .stream = body { 0 } else { unsafe sink == nil ? retries.most : 0 }
        for attempt in 0... {
            do {
                // What an error says is no part of what was asked for.
                var said: [UInt8] = []
                let take = unsafe sink.map { sink in
                    { (status: Int, piece: UnsafeRawBufferPointer) -> Bool in
                        if (200..<300).contains(status) { return unsafe sink(status, piece) }
                        if said.count < Self.longestError { unsafe said.append(contentsOf: piece) }
                        return true
                    }
                }
                var answer = unsafe try http.send(
                    method, url, headers: headers + [("Authorization", authorization)], body: body, sink: take)
                guard answer.status >= 200, answer.status < 300 else {
                    if !said.isEmpty { answer.body = said }
                    if answer.status == 503 || (answer.status >= 500 && answer.status != 501 && method != "POST"),
                        attempt < most
                    {
                        wait(attempt)
                        continue
                    }
                    throw Self.failure(answer)
                }
                return answer
            } catch let error as TransportError where error.reason == .refused && attempt < most {
                wait(attempt)
            } catch let error as TransportError {
                throw TransportError(
                    description:
                        "\(Self.verb(method)) \"\(url)\": \(method) \(url) giving up after \(attempt + 1) attempt(s): \(error.words.isEmpty ? error.description : error.words)",
                    reason: error.reason, words: error.words)
            }
        }
        preconditionFailure("attempts have an end")
    }

    /// Bytes of an answer that tells of an error.
    private static let longestError = 1 << 16

    private func wait(_ attempt: Int) {
        sleep(milliseconds: min(retries.longestWait, retries.firstWait << min(attempt, 16)))
    }

    private static func failure(_ answer: HTTPClient.Answer) -> any Error {
        guard let message = (try? Coding.decode(API.Error.self, answer.body))?.message else {  // Then it is no API's.
            if answer.header("content-type")?.hasPrefix("text/plain") == true {
                let text = String(decoding: answer.body.prefix(1000), as: UTF8.self)
                return LakeClientError(status: answer.status, message: text)
            }
            return answer.body.isEmpty
                ? LakeClientError(status: answer.status, message: "")
                : badResponse("status \(answer.status)")
        }
        return LakeClientError(status: answer.status, message: message)
    }

    private static func verb(_ method: String) -> String { method.prefix(1) + method.dropFirst().lowercased() }

    /// An address that is none, as lakectl tells it.
    private static func noScheme(_ method: String, _ url: String) -> TransportError {
        let shown = url.hasPrefix("/") ? url : "/" + url.replacing("/api/v1/", with: "/").replacing(" ", with: "%20")
        return TransportError(
            description:
                "\(verb(method)) \"\(shown)\": \(method) \(shown) giving up after 1 attempt(s): unsupported protocol scheme \"\"",
            words: "no server is configured")
    }

    package func get<Message: Decodable>(
        _ type: Message.Type, _ parts: [String], _ query: [(String, String?)] = [], api: String = "v1"
    ) throws -> Message {
        unsafe try Self.decode(type, send("GET", parts, query, api: api).body)
    }

    /// What a server has answered.
    /// - Throws: `TransportError` if it is no such message.
    static func decode<Message: Decodable>(_ type: Message.Type, _ bytes: [UInt8]) throws -> Message {
        do { return try Coding.decode(type, bytes) } catch { throw badResponse("\(error)") }
    }

    static func badResponse(_ words: String) -> TransportError {
        TransportError(description: "Bad response from server", words: words)
    }

    /// Sends a message and returns the answer's bytes.
    @discardableResult
    package func post(
        _ parts: [String], query: [(String, String?)] = [], _ message: some JSONWritable, method: String = "POST",
        api: String = "v1"
    ) throws -> [UInt8] {
        unsafe try send(
            method, parts, query, headers: [("Content-Type", "application/json")], body: .bytes(Coding.encode(message)),
            api: api
        ).body
    }

    /// The same; what the answer says.
    package func post<Result: Decodable>(
        _ type: Result.Type, _ parts: [String], _ message: some JSONWritable, method: String = "POST"
    ) throws -> Result {
        try Self.decode(type, post(parts, message, method: method))
    }

    /// Pages of a listing from `after` on, at most `amount` items of them; `PageReader` says when each is asked for.
    /// - Parameter take: returns whether there may be more.
    /// - Returns: where what follows begins; nil at the end.
    @discardableResult
    package func pages<Item: Message>(
        _ type: Item.Type, _ parts: [String], _ query: [(String, String?)] = [], amount: Int = .max,
        after: String = "", _ take: ([Item]) throws -> Bool
    ) throws -> String? {
        let reader = PageReader<Item>(after: after, amount: amount) { after, amount in
            try page(parts, query, after: after, amount: amount)
        }
        var next: String?
        while let page = try reader.next() {
            next = page.next
            guard try take(page.items) else { break }
        }
        return next
    }

    /// One page of a listing, as it was sent.
    package func page(_ parts: [String], _ query: [(String, String?)], after: String, amount: Int) throws -> [UInt8] {
        unsafe try send("GET", parts, [("after", after), ("amount", String(amount))] + query).body
    }

    /// All items of a listing from `after` on, at most `amount`; pages are asked for as they are needed.
    package func list<Item: Message>(
        _ type: Item.Type, _ parts: [String], _ query: [(String, String?)] = [], amount: Int, after: String = ""
    ) throws -> (items: [Item], hasMore: Bool) {
        var items: [Item] = []
        let next = try pages(type, parts, query, amount: amount, after: after) {
            items += $0
            return true
        }
        return (items, next != nil)
    }
}
