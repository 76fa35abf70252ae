import Foundations
import LakeAPI
import Transport
package import Versioning

/// The server's own API, called from within: by scripts, as the user whose change they look at. The same doors answer as
/// anybody else's requests, with the same permissions.
package struct LakeAPICalls: Sendable {
    private let handler: any RequestHandler
    private let login: Login
    private let access: Access

    package init(_ handler: any RequestHandler, login: Login, access: Access) {
        self.handler = handler
        self.login = login
        self.access = access
    }

    /// Bytes of an answer that a script can be given.
    private static let mostBytes = 32 << 20

    /// Whose a key pair is; nil if it is nobody's.
    func user(id: String, secret: String) throws -> String? {
        try login.user(accessKeyID: id, secretAccessKey: secret)
    }

    /// - Parameters:
    ///   - path: behind `/api/v1`, its parts encoded.
    ///   - query: names and values, not encoded.
    /// - Throws: `HookFailure` for an answer that is too large.
    func call(
        _ method: String, _ path: String, query: [(String, String)] = [], body: [UInt8] = [], as user: String
    ) throws -> (status: Int, body: [UInt8]) {
        let token = login.token(for: user, by: Login.Origin(try access.user(user)), seconds: 60)
        let target = REST.base + path + (query.isEmpty ? "" : "?" + URIEncoding.query(of: query))
        var headers = [("host", "localhost"), ("authorization", "Bearer " + token.token)]
        if !body.isEmpty { headers.append(("content-type", "application/json")) }
        let response = handler.answer(Request(method: method, target: target, headers: headers), body: body)
        return (response.status, try bytes(of: response.body))
    }

    private func bytes(of body: Response.Body) throws -> [UInt8] {
        let bytes = try body.read(most: Self.mostBytes + 1)
        guard bytes.count <= Self.mostBytes else {
            throw HookFailure("the answer has more than \(Self.mostBytes) bytes: a script can be given that many")
        }
        return bytes
    }
}
