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
    private let authorization: String
    private let http: HTTPClient

    package init(endpoint: String, accessKeyID: String, secretAccessKey: String, http: HTTPClient = HTTPClient()) {
        self.http = http
        var endpoint = endpoint[...]
        for suffix in ["/", "/api/v1"] where endpoint.hasSuffix(suffix) { endpoint = endpoint.dropLast(suffix.count) }
        while endpoint.hasSuffix("/") { endpoint = endpoint.dropLast() }
        self.endpoint = String(endpoint)
        authorization = "Basic " + Base64.encode(Array("\(accessKeyID):\(secretAccessKey)".utf8))
    }

    /// A path under `/api` from its parts, each encoded.
    private func url(_ parts: [String], _ query: [(String, String?)]) -> String {
        let given = query.compactMap { name, value in value.map { (name, $0) } }
        return endpoint + "/api/" + parts.map { URIEncoding.encode($0) }.joined(separator: "/")
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
        let answer = unsafe try http.send(
            method, url([api] + parts, query), headers: headers + [("Authorization", authorization)], body: body,
            sink: sink)
        guard answer.status >= 200, answer.status < 300 else {
            let message =
                (try? Coding.decode(API.Error.self, answer.body))?.message
                ?? String(decoding: answer.body.prefix(200), as: UTF8.self)
            throw LakeClientError(status: answer.status, message: message)
        }
        return answer
    }

    package func get<Message: Decodable>(
        _ type: Message.Type, _ parts: [String], _ query: [(String, String?)] = [], api: String = "v1"
    ) throws -> Message {
        unsafe try Coding.decode(type, send("GET", parts, query, api: api).body)
    }

    /// Sends a message and returns the answer's bytes.
    @discardableResult
    package func post(_ parts: [String], _ message: some JSONWritable, method: String = "POST", api: String = "v1")
        throws
        -> [UInt8]
    {
        unsafe try send(
            method, parts, headers: [("Content-Type", "application/json")], body: .bytes(Coding.encode(message)),
            api: api
        ).body
    }

    /// All items of a listing from `after` on, at most `amount`; pages are asked for as they are needed.
    package func list<Item: Message>(
        _ type: Item.Type, _ parts: [String], _ query: [(String, String?)] = [], amount: Int, after: String = ""
    ) throws -> (items: [Item], hasMore: Bool) {
        var items: [Item] = []
        var after = after
        while items.count < amount {
            let page = try get(
                ResultList<Item>.self, parts,
                query + [("amount", String(min(1000, amount - items.count))), ("after", after)])
            items += page.results
            guard page.pagination.hasMore else { return (items, false) }
            after = page.pagination.nextOffset
        }
        return (items, true)
    }
}
