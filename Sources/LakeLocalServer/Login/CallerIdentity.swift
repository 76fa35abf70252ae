import FoundationEssentials
import Foundations
import LakeAPI
import Transport
import Versioning

/// Who a client of AWS is: it signs a request of the Security Token Service, GetCallerIdentity, and leaves it to us to
/// send. What AWS answers names it; the key it signed with stays its own. Source: `lakefs`' package, auth.py; AWS STS
/// API reference, GetCallerIdentity.
package struct CallerIdentity: Sendable {
    private let http = HTTPClient(connectSeconds: 5, stallSeconds: 10)
    /// `auth.external_aws_auth.sts_endpoint`: where such requests are sent instead of to the host that they name.
    private let endpoint: String

    /// `auth.external_aws_auth.server_names`: what clients may call this server by.
    private let serverNames: Set<String>

    package init(endpoint: String = "", serverNames: [String] = []) {
        self.endpoint = endpoint
        self.serverNames = Set(serverNames.map { $0.lowercased() })
    }

    /// What a presigned request consists of.
    private struct Token: Decodable {
        var method: String
        var host: String
        var region: String
        var action: String
        var date: String
        var expiration_duration: String
        var access_key_id: String
        var signature: String
        var signed_headers: [String]
        var version: String
        var algorithm: String
        var security_token: String?
    }

    /// What the client names this server by; it is signed, so that what it gave to another server is worth nothing here.
    private static let serverHeader = "x-lakefs-server-id"
    private static let longestToken = 16 << 10

    /// The ARN of who signed; nil if it is not known by this.
    /// - Throws: `.invalidValue` for what is no such request, `.unavailable` if AWS does not answer.
    func arn(_ information: API.ExternalLoginInformation, _ request: Request) throws -> String? {
        guard let text = information.identityRequest["identity_token"]?.text, text.utf8.count <= Self.longestToken,
            let bytes = Base64.decode(text), let token = try? JSONDecoder().decode(Token.self, from: Data(bytes))
        else {
            throw LakeError(
                .invalidValue,
                "identityRequest has no identity_token that is a signed GetCallerIdentity request, as JSON in base64")
        }
        guard token.method == "POST", token.action == "GetCallerIdentity", token.version == "2011-06-15",
            token.algorithm == "AWS4-HMAC-SHA256", Self.isPlain(token.host),
            !endpoint.isEmpty || Self.isSTS(token.host),
            token.signed_headers.contains("host"), token.signed_headers.contains(Self.serverHeader)
        else {
            throw LakeError(
                .invalidValue,
                "identity_token is no GetCallerIdentity request of AWS STS that signs the headers host and \(Self.serverHeader)"
            )
        }
        let host = Self.name(request.header("host") ?? "")
        // Whoever got such a request from a client of theirs could else bring it here, and be the client.
        guard serverNames.contains(host.lowercased()) else {
            Log.warning(
                "a client of AWS knows this server by a name that auth.external_aws_auth.server_names does not have",
                ["name": String(host.prefix(200))])
            return nil
        }
        var query = [
            ("Action", token.action), ("Version", token.version), ("X-Amz-Algorithm", token.algorithm),
            (
                "X-Amz-Credential",
                "\(token.access_key_id)/\(token.date.prefix(8))/\(token.region)/sts/aws4_request"
            ), ("X-Amz-Date", token.date), ("X-Amz-Expires", token.expiration_duration),
        ]
        if let security = token.security_token { query.append(("X-Amz-Security-Token", security)) }
        query += [
            ("X-Amz-SignedHeaders", token.signed_headers.joined(separator: ";")), ("X-Amz-Signature", token.signature),
        ]
        let base = endpoint.isEmpty ? "https://\(token.host)" : endpoint
        let url = base + "/?" + URIEncoding.query(of: query)
        let answer: HTTPClient.Answer
        do {
            answer = try http.fetch("POST", url, headers: [("Host", token.host), ("X-LakeFS-Server-ID", host)])
        } catch {
            // What it says holds the signature.
            throw LakeError(.unavailable, "AWS STS does not answer")
        }
        guard answer.status == 200, let root = XMLElement.parse(answer.body) else { return nil }
        return root.first("GetCallerIdentityResult")?.value("Arn")
    }

    /// A host of AWS STS, and no other: what a stranger names is asked of nobody else.
    private static func isSTS(_ host: String) -> Bool {
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        let names = host.hasSuffix(".amazonaws.com.cn") ? parts.dropLast(3) : parts.dropLast(2)
        // A region ends in a number: eu-central-1. Names of buckets stand elsewhere.
        let isRegional =
            names.count == 2 && names.last!.utf8.filter { $0 == 0x2d }.count >= 2 && names.last!.last!.isNumber
        return (host.hasSuffix(".amazonaws.com") || host.hasSuffix(".amazonaws.com.cn"))
            && (names.count == 1 || isRegional) && (names.first == "sts" || names.first == "sts-fips")
    }

    /// A host's name in lower case, or numbers, and nothing that would be more than a name in a header.
    private static func isPlain(_ host: String) -> Bool {
        host.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { part in
            !part.isEmpty && part.utf8.allSatisfy { ($0 >= 97 && $0 <= 122) || ($0 >= 48 && $0 <= 57) || $0 == 0x2d }
        }
    }

    /// A host without its port.
    private static func name(_ host: String) -> String {
        if host.hasPrefix("[") { return String(host.dropFirst().prefix { $0 != "]" }) }
        return String(host.prefix { $0 != ":" })
    }
}
