import FoundationEssentials
import Foundations
import Synchronization
import Transport
package import Versioning

/// Who makes a request: HTTP basic, a bearer token, or a session cookie. Tokens are JWT, HS256 (RFC 7519).
package struct Login: Sendable {
    let access: Access
    private let secret: [UInt8]
    private let failures = LoginFailures()
    /// Holds answers to failed logins back.
    package let delays = Delays()
    static let cookieName = "internal_auth_session"
    /// How long a session lasts, and what may be asked for.
    let tokenSeconds: Int64, longestTokenSeconds: Int64
    private let isSecure: Bool

    /// - Parameters:
    ///   - secretKey: the configuration's `auth.encrypt.secret_key`, which also signs tokens.
    ///   - seconds: how long a session lasts: a week (`auth.login_duration`).
    ///   - longest: what may be asked for: two weeks (`auth.login_max_duration`).
    ///   - isSecure: whether browsers come by HTTPS only.
    package init(
        access: Access, secretKey: String, seconds: Int64 = 7 * 24 * 3600, longest: Int64 = 14 * 24 * 3600,
        isSecure: Bool = false
    ) {
        self.isSecure = isSecure
        self.access = access
        tokenSeconds = seconds
        longestTokenSeconds = max(longest, seconds)
        secret = Array(secretKey.utf8)
    }

    private struct Claims: Codable {
        var sub: String
        var aud: String
        var iat: Int64
        var exp: Int64
        /// Who made it.
        var iss = Login.issuer
        /// The session's own name, by which it can be ended, and behind a dot what it began with and ends with.
        var jti: String

        var origin: Origin? { Origin(String(jti.drop { $0 != "." }.dropFirst())) }
    }

    /// What a session began with: it ends when that goes.
    enum Origin: Equatable {
        case accessKey(String)
        /// Somebody whom another system knows.
        case principal(String)
        /// A user whom another system let in: exactly the one who was there then, and nobody of the same name later.
        case user(source: String, made: String)

        init?(_ text: String) {
            switch text.first {
            case nil: return nil
            case "@": self = .principal(String(text.dropFirst()))
            case "+":
                let parts = text.dropFirst().split(separator: ":", maxSplits: 1)
                guard parts.count == 2 else { return nil }
                self = .user(source: String(parts[0]), made: String(parts[1]))
            default: self = .accessKey(text)
            }
        }

        init(_ user: User) { self = .user(source: user.source, made: user.creationDate.rfc3339) }

        var text: String {
            switch self {
            case .accessKey(let id): id
            case .principal(let id): "@" + id
            case .user(let source, let made): "+\(source):\(made)"
            }
        }
    }

    private static let issuer = "lakefuse"

    /// A session's token, and when it ends in seconds since 1970.
    typealias Token = (token: String, expires: Int64)

    /// A token for a user.
    /// - Parameter seconds: how long it lasts, where it is asked for.
    func token(for user: String, by origin: Origin, seconds: Int64? = nil) -> Token {
        let now = Timestamp.now().seconds
        let claims = Claims(
            sub: user, aud: "login", iat: now, exp: now + min(seconds ?? tokenSeconds, longestTokenSeconds),
            jti: "\(XID.make()).\(origin.text)")
        return (sign(claims), claims.exp)
    }

    /// The header that makes a browser keep a session.
    func cookie(_ made: Token) -> (name: String, value: String) {
        let seconds = made.expires - Timestamp.now().seconds
        return (
            "Set-Cookie",
            "\(Self.cookieName)=\(made.token); Path=/; Expires=\(Timestamp(seconds: made.expires).httpDate); Max-Age=\(seconds); HttpOnly; SameSite=Strict\(isSecure ? "; Secure" : "")"
        )
    }

    /// A JWT of ours.
    func sign(_ claims: some Encodable) -> String {
        // Text and numbers: encoding them cannot fail.
        let body =
            Base64.encodeURL(Array(#"{"alg":"HS256","typ":"JWT"}"#.utf8)) + "."
            + Base64.encodeURL(Array(try! JSONEncoder().encode(claims)))
        return body + "." + Base64.encodeURL(Hash.hmac(key: secret, Array(body.utf8)))
    }

    /// What a JWT of ours says; nil for any other.
    func verified<Claims: Decodable>(_ type: Claims.Type, _ token: some StringProtocol) -> Claims? {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let signature = Base64.decode(parts[2]), let body = Base64.decode(parts[1]) else {
            return nil
        }
        guard isEqualInConstantTime(signature, Hash.hmac(key: secret, Array("\(parts[0]).\(parts[1])".utf8))) else {
            return nil
        }
        return try? JSONDecoder().decode(type, from: Data(body))
    }

    /// What a session's token says, if it has not run out.
    private func claims(_ token: some StringProtocol) -> Claims? {
        guard let claims = verified(Claims.self, token), claims.aud == "login", claims.exp > Timestamp.now().seconds
        else { return nil }
        return claims
    }

    /// The user of a session that has not ended: by its time, by logout, or with what it began with.
    private func user(ofToken token: some StringProtocol) throws -> String? {
        guard let claims = claims(token), let origin = claims.origin, try isAlive(origin, of: claims.sub),
            try !access.isSessionEnded(claims.jti)
        else { return nil }
        return claims.sub
    }

    private func isAlive(_ origin: Origin, of user: String) throws -> Bool {
        switch origin {
        case .accessKey(let id): try access.credentials(id)?.userName == user
        case .principal(let id): try access.findExternalPrincipal(id)?.userName == user
        case .user: try access.findUser(user).map { Origin($0) == origin } ?? false
        }
    }

    /// When a session's token ends, in seconds since 1970.
    func end(of token: String) -> Int64? { claims(token)?.exp }

    /// A token for somebody else's program to act as who makes a request: the very session that it was made in, which
    /// ends for both, or a new one of the key pair.
    /// - Throws: `.unauthenticated`.
    func handOut(_ request: Request) throws -> String {
        guard let (user, proof) = try authenticate(request) else { throw Self.refusal }
        switch proof {
        case .accessKey(let id): return token(for: user, by: .accessKey(id)).token
        case .token(let token): return token
        }
    }

    /// What forms of a session's pages carry, so that nobody else's page can send them: nothing that could be guessed, and
    /// nothing that lets in. Empty without a session.
    func formToken(_ request: Request) -> String {
        guard let session = request.cookies(named: Self.cookieName).first else { return "" }
        return String(Base64.encodeURL(Hash.hmac(key: secret, Array("form:\(session)".utf8))).prefix(32))
    }

    // MARK: links that let in once

    /// Seconds that a link lets in.
    static let linkSeconds: Int64 = 600

    /// A secret that lets whoever shows it first in as a user: for a link from a terminal to a browser.
    /// - Throws: `.unauthenticated`; `.invalidValue` for who shows a session.
    func oneTimeSecret(for request: Request) throws -> String {
        guard let (user, proof) = try authenticate(request) else { throw Self.refusal }
        // A session would outlive itself by such a link.
        guard case .accessKey(let id) = proof else {
            throw LakeError(.invalidValue, "a link that lets in is made by a key pair, not by a session")
        }
        let now = Timestamp.now().seconds
        let claims = Claims(
            sub: user, aud: "link", iat: now, exp: now + Self.linkSeconds,
            jti: "\(XID.make()).\(Origin.accessKey(id).text)")
        return sign(claims)
    }

    /// A session for a secret that was not shown before.
    /// - Throws: `.unauthenticated` for one that was, has run out, or is none.
    func letIn(bySecret secret: String) throws -> (user: String, token: Token) {
        guard let claims = verified(Claims.self, secret), claims.aud == "link", claims.exp > Timestamp.now().seconds,
            let origin = claims.origin, try isAlive(origin, of: claims.sub),
            try access.endSession(claims.jti, end: claims.exp, once: true)
        else { throw Self.refusal }
        return (claims.sub, token(for: claims.sub, by: origin))
    }

    /// Ends the sessions whose tokens a request carries.
    func logOut(_ request: Request) throws {
        for token in tokens(request) {
            if let claims = claims(token) { try access.endSession(claims.jti, end: claims.exp) }
        }
    }

    private func tokens(_ request: Request) -> [Substring] {
        let parts = (request.header("authorization") ?? "").split(separator: " ", maxSplits: 1)
        return request.cookies(named: Self.cookieName)
            + (parts.count == 2 && parts[0].lowercased() == "bearer" ? [parts[1]] : [])
    }

    // MARK: failures

    /// How long the answer to a failed login waits, in milliseconds: longer with each in a row from one address. Notes
    /// the failure.
    func failed(_ request: Request, accessKeyID: String?) -> Int {
        let address = request.peer?.address
        let count = failures.note(address)
        Log.warning(
            "login failed",
            [
                "address": address?.description ?? "", "access_key_id": String((accessKeyID ?? "").prefix(64)),
                "failures": String(count),
            ])
        return count <= Self.freeFailures ? 0 : min(Self.longestDelay, 100 << min(count - Self.freeFailures, 10))
    }

    /// The answer to a request that did not log in, held back where that was so before.
    func refuse(_ request: Request, with response: Response) -> Reception {
        let milliseconds = failed(request, accessKeyID: Self.accessKeyID(request))
        return milliseconds == 0
            ? .respond(response) : .later { [delays] answer in delays.run(after: milliseconds) { answer(response) } }
    }

    /// Failures that are answered at once, and the longest wait in milliseconds.
    private static let freeFailures = 5, longestDelay = 2000

    /// An access key id that a request's basic authorisation names, for the log.
    static func accessKeyID(_ request: Request) -> String? {
        let parts = (request.header("authorization") ?? "").split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "basic", let pair = Base64.decode(parts[1]) else { return nil }
        return String(decoding: pair.prefix { $0 != 0x3a }, as: UTF8.self)
    }

    /// The user of a key pair, or nil if it is wrong.
    func user(accessKeyID: String, secretAccessKey: String) throws -> String? {
        guard let known = try access.credentials(accessKeyID) else { return nil }
        return isEqualInConstantTime(Array(known.secretAccessKey.utf8), Array(secretAccessKey.utf8))
            ? known.userName : nil
    }

    /// The user that a request logs in as.
    /// - Throws: `.unauthenticated`.
    func user(of request: Request) throws -> String {
        guard let user = try userIfAny(of: request) else { throw Self.refusal }
        return user
    }

    static let refusal = LakeError(.unauthenticated, "error authenticating request")

    /// The same; nil for a request that does not try to log in, by a header of a form that is known or a session that
    /// lasts.
    /// - Throws: `.unauthenticated` for one that tries and fails.
    func userIfAny(of request: Request) throws -> String? { try authenticate(request)?.user }

    /// What somebody showed.
    private enum Proof {
        case accessKey(String)
        case token(String)
    }

    private func authenticate(_ request: Request) throws -> (user: String, proof: Proof)? {
        if let header = request.header("authorization") {
            let parts = header.utf8.split(separator: 0x20, maxSplits: 1).map { Substring($0) }
            guard parts.count == 2 else { return nil }
            let user: String?
            let proof: Proof
            switch parts[0].lowercased() {
            case "basic":
                guard let pair = Base64.decode(parts[1]), let colon = pair.firstIndex(of: 0x3a) else { return nil }
                let id = String(decoding: pair[..<colon], as: UTF8.self)
                let secret = String(decoding: pair[(colon + 1)...], as: UTF8.self)
                user = try self.user(accessKeyID: id, secretAccessKey: secret)
                proof = .accessKey(id)
            case "bearer":
                let token = parts[1].drop { $0 == " " }
                user = try self.user(ofToken: token)
                proof = .token(String(token))
            default: return nil
            }
            guard let user else { throw Self.refusal }
            return (user, proof)
        }
        for token in request.cookies(named: Self.cookieName) {
            if let user = try user(ofToken: token) { return (user, .token(String(token))) }
        }
        return nil
    }
}

/// Failed logins in a row by address; forgotten after a minute without one. Safe from any thread.
private final class LoginFailures: Sendable {
    private let state = Mutex<[IPAddress?: (count: Int, last: Int64)]>([:])
    private static let addressesKept = 10_000
    private static let lifetimeSeconds: Int64 = 60

    /// Counts one more, and tells how many there are.
    func note(_ address: IPAddress?) -> Int {
        let now = Timestamp.now().seconds
        return state.withLock { state in
            if state.count >= Self.addressesKept { state = state.filter { now - $0.value.last < Self.lifetimeSeconds } }
            if state.count >= Self.addressesKept { state.removeAll() }
            let known = state[address].flatMap { now - $0.last < Self.lifetimeSeconds ? $0.count : nil } ?? 0
            state[address] = (known + 1, now)
            return known + 1
        }
    }
}
