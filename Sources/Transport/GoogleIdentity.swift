import FoundationEssentials
package import Foundations
import Synchronization

/// Tokens of Google's: of a service account by its key, or of the machine. Kept until shortly before they end. Source:
/// Google's "Using OAuth 2.0 for Server to Server Applications"; Compute Engine, "View and query VM metadata". Safe from
/// any thread.
package final class GoogleIdentity: Sendable {
    /// A service account's key, as its JSON file has it.
    package struct Account: Sendable, Decodable {
        fileprivate let client_email: String
        fileprivate let private_key: String
        fileprivate let token_uri: String?
    }

    private struct Told: Decodable {
        let access_token: String
        let expires_in: Int64?
    }

    private let account: (account: Account, key: PrivateKey)?
    private let metadata: String
    private let client = HTTPClient(connectSeconds: 2, stallSeconds: 10)
    private let kept = KeptToken()
    private let email = Mutex<String?>(nil)
    private static let scope = "https://www.googleapis.com/auth/cloud-platform"

    /// - Parameters:
    ///   - json: a service account's key; empty for what the machine has.
    ///   - environment: `GOOGLE_APPLICATION_CREDENTIALS` names a file of such a key, `GCE_METADATA_HOST` another host.
    /// - Throws: `.refused` if it is none.
    package init(json: [UInt8], environment: [String: String] = [:]) throws(StoreError) {
        metadata = "http://" + (environment["GCE_METADATA_HOST"] ?? "metadata.google.internal")
        var json = json
        if json.isEmpty, let file = environment["GOOGLE_APPLICATION_CREDENTIALS"] {
            guard let data = FileManager.default.contents(atPath: file) else {
                throw StoreError(.refused, "the key of Google's service account \(file) cannot be read")
            }
            json = [UInt8](data)
        }
        guard !json.isEmpty else {
            account = nil
            return
        }
        guard let found = try? JSONDecoder().decode(Account.self, from: Data(json)),
            let key = PrivateKey(pem: found.private_key)
        else {
            throw StoreError(
                .refused,
                "the key of Google's service account is no JSON with client_email and a private_key that can be read")
        }
        account = (found, key)
    }

    /// Whose signatures are made here.
    package func signer() throws(StoreError) -> String {
        if let account { return account.account.client_email }
        if let known = email.withLock({ $0 }) { return known }
        let path = "/computeMetadata/v1/instance/service-accounts/default/email"
        do {
            let answer = try client.fetch("GET", metadata + path, headers: [("Metadata-Flavor", "Google")])
            guard answer.status == 200 else {
                throw StoreError(.refused, "the machine has no service account of Google's: \(answer.statusLine)")
            }
            let found = String(decoding: answer.body, as: UTF8.self)
            email.withLock { $0 = found }
            return found
        } catch { throw error as? StoreError ?? StoreError(.refused, "\(error)") }
    }

    private struct Blob: Encodable { let payload: String }
    private struct Signed: Decodable { let signedBlob: String }

    /// A signature (RS256): with the account's key, or by the service that keeps it (IAM Credentials, `signBlob`).
    package func sign(_ message: [UInt8]) throws(StoreError) -> [UInt8] {
        if let account {
            guard let signature = account.key.sign(message) else {
                throw StoreError(.refused, "the private_key of Google's service account cannot sign")
            }
            return signature
        }
        do {
            let url =
                "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/\(try signer()):signBlob"
            let body = [UInt8](try JSONEncoder().encode(Blob(payload: Base64.encode(message))))
            let answer = try client.fetch(
                "POST", url,
                headers: [("authorization", "Bearer " + (try token())), ("content-type", "application/json")],
                body: body)
            guard answer.status == 200, let told = try? JSONDecoder().decode(Signed.self, from: Data(answer.body)),
                let signature = Base64.decode(told.signedBlob)
            else {
                throw StoreError(
                    .refused,
                    "Google signs nothing for this server: \(answer.statusLine); its account needs iam.serviceAccounts.signBlob"
                )
            }
            return signature
        } catch { throw error as? StoreError ?? StoreError(.away, "\(error)") }
    }

    package func token() throws(StoreError) -> String {
        try kept.get {
            let told = try look()
            return (told.access_token, told.expires_in ?? 300)
        }
    }

    private struct Claims: Encodable { let iss: String, scope: String, aud: String, iat: Int64, exp: Int64 }

    private func look() throws -> Told {
        let answer: HTTPClient.Answer
        if let account {
            let place = account.account.token_uri ?? "https://oauth2.googleapis.com/token"
            answer = try client.fetch(
                "POST", place, headers: [("content-type", "application/x-www-form-urlencoded")],
                body: try Self.tokenRequest(account.account.client_email, account.key, Self.scope, for: place))
        } else {
            let path = "/computeMetadata/v1/instance/service-accounts/default/token"
            answer = try client.fetch("GET", metadata + path, headers: [("Metadata-Flavor", "Google")])
        }
        guard answer.status == 200, let told = try? JSONDecoder().decode(Told.self, from: Data(answer.body)) else {
            throw StoreError(
                .refused,
                "Google gives this server no token: \(answer.statusLine); give a service account's key by blockstore.gs.credentials_file"
            )
        }
        return told
    }

    /// The form that an account asks for a token by (RFC 7523).
    package static func tokenRequest(_ email: String, _ key: PrivateKey, _ scope: String, for place: String)
        throws(StoreError) -> [UInt8]
    {
        let now = Timestamp.now().seconds
        let claims = Claims(iss: email, scope: scope, aud: place, iat: now, exp: now + 3600)
        guard let body = try? JSONEncoder().encode(claims) else { throw StoreError(.invalid, "claims of a token") }
        let text =
            Base64.encodeURL(Array(#"{"alg":"RS256","typ":"JWT"}"#.utf8)) + "." + Base64.encodeURL([UInt8](body))
        guard let signature = key.sign(Array(text.utf8)) else {
            throw StoreError(.refused, "the private_key of Google's service account cannot sign")
        }
        let form = URIEncoding.query(of: [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", text + "." + Base64.encodeURL(signature)),
        ])
        return Array(form.utf8)
    }
}
