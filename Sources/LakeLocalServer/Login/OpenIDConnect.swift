import FoundationEssentials
import Foundations
import LakeAPI
import Synchronization
import Transport
import Versioning

/// Logging in by an identity provider that speaks OpenID Connect: authorization code with PKCE; tokens are signed by
/// keys that the provider publishes (OpenID Connect Core 1.0, 3.1; Discovery 1.0; RFC 7636; RFC 7517).
package final class OpenIDConnect: Sendable {
    /// `auth.oidc.*`.
    package struct Settings: Sendable {
        /// The issuer's address.
        package var issuer = ""
        package var clientID = "", clientSecret = ""
        /// Where browsers reach this server.
        package var callbackBase = ""
        package var scopes = ["openid", "profile", "email"]
        /// Claims that name the user, what they are called, and their groups.
        package var nameClaim = "sub", friendlyNameClaim = "", groupsClaim = ""
        package var defaultGroups = ["Viewers"]
        /// Claims that must have these values.
        package var requiredClaims: [String: String] = [:]
        package init() {}
    }

    private struct Provider: Decodable {
        var issuer: String
        var authorization_endpoint: String
        var token_endpoint: String
        var jwks_uri: String
        var userinfo_endpoint: String?
        var token_endpoint_auth_methods_supported: [String]?
    }

    private struct Keys: Decodable {
        struct Key: Decodable {
            var kty: String
            var kid: String?, use: String?, crv: String?
            var n: String?, e: String?, x: String?, y: String?

            var key: PublicKey? {
                switch kty {
                case "RSA":
                    guard let n = n.flatMap({ Base64.decode($0) }), let e = e.flatMap({ Base64.decode($0) }) else {
                        return nil
                    }
                    return PublicKey(modulus: n, exponent: e)
                case "EC" where crv == "P-256":
                    guard let x = x.flatMap({ Base64.decode($0) }), let y = y.flatMap({ Base64.decode($0) }) else {
                        return nil
                    }
                    return PublicKey(x: x, y: y)
                default: return nil
                }
            }
        }
        var keys: [Key]
    }

    private struct Known {
        var provider: Provider?, providerRead: Int64 = 0, providerFailed: Int64 = 0
        var keys: [(id: String?, type: String, key: PublicKey)] = [], keysRead: Int64 = 0
    }

    let settings: Settings
    private let login: Login
    private let http = HTTPClient(connectSeconds: 5, stallSeconds: 10)
    private let known = Mutex(Known())

    init(_ settings: Settings, login: Login) {
        self.settings = settings
        self.login = login
    }

    // MARK: what the provider publishes

    /// Seconds after which the provider's addresses and keys are asked for again, and within which they are not, so
    /// that nobody makes us ask all the time.
    private static let lifetimeSeconds: Int64 = 3600, pauseSeconds: Int64 = 10

    private func ask(
        _ method: String, _ url: String, _ headers: [(String, String)] = [], _ body: [UInt8] = []
    ) throws -> HTTPClient.Answer {
        do { return try http.fetch(method, url, headers: headers, body: body) } catch {
            throw LakeError(.unavailable, "the identity provider does not answer", cause: error)
        }
    }

    private func fetch<Value: Decodable>(_ type: Value.Type, _ url: String) throws -> Value {
        let answer = try ask("GET", url)
        guard answer.status == 200, let value = try? Coding.decodeForeign(type, answer.body) else {
            throw LakeError(.unavailable, "the identity provider does not answer as one does at \(url)")
        }
        return value
    }

    private func provider() throws -> Provider {
        let now = Timestamp.now().seconds
        if let provider = known.withLock({ now - $0.providerRead < Self.lifetimeSeconds ? $0.provider : nil }) {
            return provider
        }
        // While it does not answer, not everybody waits to be told so.
        let (old, failed) = known.withLock { ($0.provider, $0.providerFailed) }
        guard now - failed >= Self.pauseSeconds else {
            if let old { return old }
            throw LakeError(.unavailable, "the identity provider did not answer some seconds ago")
        }
        do { return try readProvider(now) } catch {
            let old = known.withLock { known in
                known.providerFailed = now
                return known.provider
            }
            guard let old else { throw error }
            return old
        }
    }

    private func readProvider(_ now: Int64) throws -> Provider {
        var base = settings.issuer
        while base.hasSuffix("/") { base.removeLast() }
        let found = try fetch(Provider.self, base + "/.well-known/openid-configuration")
        func plain(_ text: String) -> Substring { text.hasSuffix("/") ? text.dropLast() : text[...] }
        guard plain(found.issuer) == plain(settings.issuer) else {
            throw LakeError(.unavailable, "the identity provider says it is another one: \(found.issuer.prefix(200))")
        }
        known.withLock { ($0.provider, $0.providerRead) = (found, now) }
        return found
    }

    /// Keys that may have made a signature: the one with the id, or those of the kind where the token names none.
    private func keys(_ id: String?, type: String) throws -> [PublicKey] {
        func fitting() -> [PublicKey] {
            known.withLock { known in
                known.keys.filter { $0.type == type && (id == nil || $0.id == id || $0.id == nil) }.map(\.key)
            }
        }
        let now = Timestamp.now().seconds
        let age = known.withLock { now - $0.keysRead }
        let old = fitting()
        // Keys are changed: one that is not known yet may be new.
        guard age >= Self.lifetimeSeconds || (old.isEmpty && age >= Self.pauseSeconds) else { return old }
        let found: [Keys.Key]
        do { found = try fetch(Keys.self, provider().jwks_uri).keys.filter { $0.use != "enc" } } catch {
            // Those that are known are good as long as no others are.
            guard !old.isEmpty else { throw error }
            return old
        }
        known.withLock {
            $0.keys = found.compactMap { one in one.key.map { (one.kid, one.kty, $0) } }
            $0.keysRead = now
        }
        return fitting()
    }

    // MARK: the browser's way

    /// What a browser keeps while it is at the provider's: a cookie, signed.
    private struct Attempt: Codable {
        var aud = Attempt.audience
        var state: String, nonce: String, verifier: String
        var exp: Int64
        static let audience = "oidc"
    }

    private static let attemptSeconds: Int64 = 600
    private static let cookieName = "lakefuse_oidc"
    private var callback: String { settings.callbackBase + "/api/v1/oidc/callback" }

    /// Sends a browser to the provider.
    func begin() throws -> Response {
        let provider = try provider()
        let attempt = Attempt(
            state: Base64.encodeURL(randomBytes(24)), nonce: Base64.encodeURL(randomBytes(24)),
            verifier: Base64.encodeURL(randomBytes(48)), exp: Timestamp.now().seconds + Self.attemptSeconds)
        let challenge = Base64.encodeURL(Hash.digest(.sha256, Array(attempt.verifier.utf8)))
        let query = URIEncoding.query(of: [
            ("response_type", "code"), ("client_id", settings.clientID), ("redirect_uri", callback),
            ("scope", settings.scopes.joined(separator: " ")), ("state", attempt.state), ("nonce", attempt.nonce),
            ("code_challenge", challenge), ("code_challenge_method", "S256"),
        ])
        let mark = provider.authorization_endpoint.contains("?") ? "&" : "?"
        // Lax: the browser comes back from another site.
        return Response(
            status: 302,
            headers: [
                ("Location", provider.authorization_endpoint + mark + query), ("Cache-Control", "no-store"),
                (
                    "Set-Cookie",
                    "\(Self.cookieName)=\(login.sign(attempt)); Path=/api/v1/oidc; Max-Age=\(Self.attemptSeconds); HttpOnly; SameSite=Lax\(secure)"
                ),
            ])
    }

    private var secure: String { settings.callbackBase.hasPrefix("https://") ? "; Secure" : "" }

    /// Who comes back from the provider.
    /// - Throws: `.unauthenticated` for whom the provider does not vouch, or who did not begin here.
    func identity(of request: Request, query: [QueryItem]) throws -> ExternalIdentity {
        guard let cookie = request.cookies(named: Self.cookieName).first,
            let attempt = login.verified(Attempt.self, cookie), attempt.aud == Attempt.audience,
            attempt.exp > Timestamp.now().seconds, let state = query.value("state"), let code = query.value("code"),
            isEqualInConstantTime(Array(state.utf8), Array(attempt.state.utf8))
        else {
            if let error = query.value("error") {
                Log.warning("the identity provider let nobody in", ["reason": String(error.prefix(200))])
            }
            throw Login.refusal
        }
        return try exchange(
            code, redirect: callback, verifier: attempt.verifier
        ) { $0["nonce"]?.text == attempt.nonce }
    }

    /// Who has a code that was fetched by a client itself (`/sts/login`).
    /// - Throws: `.unauthenticated`.
    func identity(code: String, redirect: String) throws -> ExternalIdentity {
        try exchange(code, redirect: redirect, verifier: nil) { _ in true }
    }

    private struct Tokens: Decodable { var id_token: String, access_token: String? }

    private func exchange(
        _ code: String, redirect: String, verifier: String?, isExpected: ([String: JSONValue]) -> Bool
    ) throws -> ExternalIdentity {
        var fields = [
            ("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect),
            ("client_id", settings.clientID),
        ]
        if let verifier { fields.append(("code_verifier", verifier)) }
        var headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
        let provider = try provider()
        if settings.clientSecret.isEmpty {
            // A public client: PKCE stands for the secret.
        } else if provider.token_endpoint_auth_methods_supported?.contains("client_secret_basic") == false {
            fields.append(("client_secret", settings.clientSecret))
        } else {
            // RFC 6749, 2.3.1: both are form-encoded first, which not all providers know.
            let pair = "\(URIEncoding.encode(settings.clientID)):\(URIEncoding.encode(settings.clientSecret))"
            headers.append(("Authorization", "Basic " + Base64.encode(Array(pair.utf8))))
        }
        let answer = try ask("POST", provider.token_endpoint, headers, Array(URIEncoding.query(of: fields).utf8))
        guard answer.status == 200, let tokens = try? Coding.decodeForeign(Tokens.self, answer.body) else {
            struct Failure: Decodable { var error: String }
            let reason = (try? Coding.decodeForeign(Failure.self, answer.body))?.error ?? ""
            Log.warning(
                "the identity provider does not take a code",
                ["status": "\(answer.status)", "reason": String(reason.prefix(100))])
            throw Login.refusal
        }
        guard let claims = try claims(tokens.id_token), isExpected(claims) else {
            Log.warning("a token of the identity provider is not signed by it, not for us, or too old")
            throw Login.refusal
        }
        return try identity(claims.merging(more(claims, tokens, provider)) { signed, _ in signed })
    }

    /// What the provider tells of a user beside the token, where that lacks something (OpenID Connect Core 1.0, 5.3).
    private func more(_ claims: [String: JSONValue], _ tokens: Tokens, _ provider: Provider) throws -> [String:
        JSONValue]
    {
        let wanted =
            [settings.nameClaim, settings.friendlyNameClaim, settings.groupsClaim] + settings.requiredClaims.keys
        guard let token = tokens.access_token, let endpoint = provider.userinfo_endpoint,
            wanted.contains(where: { !$0.isEmpty && claims[$0] == nil })
        else { return [:] }
        let answer = try ask("GET", endpoint, [("Authorization", "Bearer " + token)])
        guard answer.status == 200, let found = try? Coding.decodeForeign([String: JSONValue].self, answer.body),
            found["sub"] != nil, found["sub"] == claims["sub"]
        else { return [:] }
        return found
    }

    // MARK: tokens

    private struct Head: Decodable { var alg: String, kid: String? }
    /// Seconds that clocks may differ by.
    private static let skewSeconds: Int64 = 60

    /// What a token says, if the provider signed it, for us, and it has not run out; nil otherwise.
    private func claims(_ token: String) throws -> [String: JSONValue]? {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, let headBytes = Base64.decode(parts[0]), let bodyBytes = Base64.decode(parts[1]),
            let signature = Base64.decode(parts[2]), let head = try? Coding.decodeForeign(Head.self, headBytes)
        else { return nil }
        let type: String
        switch head.alg {
        case "RS256": type = "RSA"
        case "ES256": type = "EC"
        default: return nil  // Neither "none" nor a secret that both share.
        }
        let signed = Array("\(parts[0]).\(parts[1])".utf8)
        guard try keys(head.kid, type: type).contains(where: { $0.verifies(signature, of: signed) }),
            let claims = try? Coding.decodeForeign([String: JSONValue].self, bodyBytes)
        else { return nil }
        let now = Timestamp.now().seconds
        let audience: [String?] =
            switch claims["aud"] {
            case .text(let one): [one]
            case .list(let all): all.map(\.text)
            default: []
            }
        guard claims["iss"]?.text == (try provider().issuer), audience.contains(settings.clientID),
            case .integer(let end)? = claims["exp"], end > now - Self.skewSeconds,
            audience.count == 1 || claims["azp"]?.text == settings.clientID
        else { return nil }
        if case .integer(let begin)? = claims["nbf"], begin > now + Self.skewSeconds { return nil }
        return claims
    }

    private func identity(_ claims: [String: JSONValue]) throws -> ExternalIdentity {
        for (name, value) in settings.requiredClaims where claims[name]?.text != value {
            Log.warning("a user's token lacks a claim that is asked for", ["claim": name])
            throw Login.refusal
        }
        guard let name = claims[settings.nameClaim]?.text, !name.isEmpty else {
            Log.warning("a user's token lacks the claim that names the user", ["claim": settings.nameClaim])
            throw Login.refusal
        }
        var groups: [String] = []
        switch claims[settings.groupsClaim] {
        case .text(let text)?: groups = text.split(separator: ",").map { String($0.drop { $0 == " " }) }
        case .list(let list)?: groups = list.compactMap(\.text)
        default: break
        }
        return ExternalIdentity(
            userName: name, friendlyName: claims[settings.friendlyNameClaim]?.text ?? "",
            email: claims["email"]?.text ?? "", groups: groups, defaults: settings.defaultGroups)
    }
}
