import FoundationEssentials
import Transport
package import Versioning

/// Who makes a request: HTTP basic, a bearer token, or a session cookie. Tokens are JWT, HS256 (RFC 7519).
package struct Login: Sendable {
    private let access: Access
    private let secret: [UInt8]
    static let cookieName = "internal_auth_session"
    /// A week.
    static let tokenSeconds: Int64 = 7 * 24 * 3600

    /// - Parameter secretKey: the configuration's `auth.encrypt.secret_key`, which also signs tokens.
    package init(access: Access, secretKey: String) {
        self.access = access
        secret = Array(secretKey.utf8)
    }

    private struct Claims: Codable {
        var sub: String
        var aud: String
        var iat: Int64
        var exp: Int64
    }

    /// A token for `user`, and when it ends in seconds since 1970.
    func token(for user: String) -> (token: String, expires: Int64) {
        let now = Timestamp.now().seconds
        let claims = Claims(sub: user, aud: "login", iat: now, exp: now + Self.tokenSeconds)
        // Text and numbers: encoding them cannot fail.
        let body = Base64.encodeURL(Array(#"{"alg":"HS256","typ":"JWT"}"#.utf8)) + "." + Base64.encodeURL(Array(try! JSONEncoder().encode(claims)))
        return (body + "." + Base64.encodeURL(Hash.hmac(key: secret, Array(body.utf8))), claims.exp)
    }

    private func user(ofToken token: some StringProtocol) -> String? {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let signature = Base64.decode(parts[2]), let body = Base64.decode(parts[1]) else { return nil }
        guard isEqualInConstantTime(signature, Hash.hmac(key: secret, Array("\(parts[0]).\(parts[1])".utf8))) else { return nil }
        guard let claims = try? JSONDecoder().decode(Claims.self, from: Data(body)), claims.aud == "login", claims.exp > Timestamp.now().seconds else { return nil }
        return (try? access.user(claims.sub)) == nil ? nil : claims.sub
    }

    /// The user of a key pair, or nil if it is wrong.
    func user(accessKeyID: String, secretAccessKey: String) throws -> String? {
        guard let known = try access.credentials(accessKeyID) else { return nil }
        return isEqualInConstantTime(Array(known.secretAccessKey.utf8), Array(secretAccessKey.utf8)) ? known.userName : nil
    }

    /// The user that a request logs in as.
    /// - Throws: `.unauthenticated`.
    func user(of request: Request) throws -> String {
        let refusal = LakeError(.unauthenticated, "error authenticating request")
        if let header = request.header("authorization") {
            let parts = header.split(separator: " ", maxSplits: 1)
            guard parts.count == 2 else { throw refusal }
            switch parts[0].lowercased() {
            case "basic":
                guard let pair = Base64.decode(parts[1]), let colon = pair.firstIndex(of: 0x3a) else { throw refusal }
                let id = String(decoding: pair[..<colon], as: UTF8.self), secret = String(decoding: pair[(colon + 1)...], as: UTF8.self)
                guard let user = try user(accessKeyID: id, secretAccessKey: secret) else { throw refusal }
                return user
            case "bearer":
                guard let user = user(ofToken: parts[1]) else { throw refusal }
                return user
            default: throw refusal
            }
        }
        for pair in (request.header("cookie") ?? "").split(separator: ";") {
            let parts = pair.drop { $0 == " " }.split(separator: "=", maxSplits: 1)
            if parts.count == 2, parts[0] == Self.cookieName, let user = user(ofToken: parts[1]) { return user }
        }
        throw refusal
    }
}
