package import Foundations

/// A key pair of AWS or of a service that speaks as it does, and the signing of requests with it. Source: AWS general
/// reference, "AWS API request signatures".
package struct AWSCredentials: Sendable {
    package var accessKeyID: String, secretAccessKey: String, region: String
    /// Of a pair that ends; empty for one that stays.
    package var sessionToken: String
    package init(accessKeyID: String, secretAccessKey: String, region: String, sessionToken: String = "") {
        self.accessKeyID = accessKeyID
        self.secretAccessKey = secretAccessKey
        self.region = region
        self.sessionToken = sessionToken
    }

    private static func host(of endpoint: String) -> String {
        String(endpoint.firstRange(of: "://").map { endpoint[$0.upperBound...].prefix { $0 != "/" } } ?? endpoint[...])
    }

    private static func url(_ endpoint: String, _ path: [UInt8], _ query: [(String, String)]) -> String {
        let text = URIEncoding.query(of: query)
        return endpoint + URIEncoding.encode(path, keepsSlash: true) + (text.isEmpty ? "" : "?" + text)
    }

    private func signature(
        _ method: String, _ path: [UInt8], _ query: [(String, String)], _ headers: [(String, String)],
        payloadHash: String, _ time: String, _ scope: SigV4.Scope
    ) -> String {
        let canonical = SigV4.canonicalRequest(
            method: method, path: path, query: query.map { QueryItem(name: $0.0, bytes: Array($0.1.utf8)) },
            headers: headers.map { (name: $0.0, value: $0.1) }, payloadHash: payloadHash)
        return SigV4.signature(
            key: SigV4.signingKey(secret: secretAccessKey, scope: scope), time: time, scope: scope,
            canonicalRequest: canonical)
    }

    /// - Parameters:
    ///   - endpoint: `https://HOST`, without a path.
    ///   - path: decoded.
    ///   - headers: more of them, in lower case; they are signed too.
    /// - Returns: where the request goes, and all its headers.
    package func sign(
        _ method: String, endpoint: String, path: [UInt8], query: [(String, String)] = [],
        headers: [(String, String)] = [], body: [UInt8], service: String, at now: Timestamp = .now()
    ) -> (url: String, headers: [(String, String)]) {
        let time = now.basic
        let scope = SigV4.Scope(day: String(time.prefix(8)), region: region, service: service)
        let hash = body.isEmpty ? SigV4.emptyHash : Hex.text(Hash.digest(.sha256, body))
        var signed =
            headers + [("host", Self.host(of: endpoint)), ("x-amz-content-sha256", hash), ("x-amz-date", time)]
        if !sessionToken.isEmpty { signed.append(("x-amz-security-token", sessionToken)) }
        signed.sort { $0.0 < $1.0 }
        let signature = signature(method, path, query, signed, payloadHash: hash, time, scope)
        let names = signed.map(\.0).joined(separator: ";")
        let authorization =
            "AWS4-HMAC-SHA256 Credential=\(accessKeyID)/\(scope.description), SignedHeaders=\(names), Signature=\(signature)"
        return (
            Self.url(endpoint, path, query), signed.filter { $0.0 != "host" } + [("authorization", authorization)]
        )
    }

    /// An address that allows one request to whoever has it. Source: Amazon S3 API reference, "Authenticating Requests:
    /// Using Query Parameters".
    /// - Parameter headers: what the request must have besides, in lower case.
    package func presign(
        _ method: String, endpoint: String, path: [UInt8], query: [(String, String)] = [],
        headers: [(String, String)] = [], seconds: Int64, service: String, at now: Timestamp = .now()
    ) -> String {
        let time = now.basic
        let scope = SigV4.Scope(day: String(time.prefix(8)), region: region, service: service)
        let signed = (headers + [("host", Self.host(of: endpoint))]).sorted { $0.0 < $1.0 }
        var query = query
        query += [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"), ("X-Amz-Credential", "\(accessKeyID)/\(scope.description)"),
            ("X-Amz-Date", time), ("X-Amz-Expires", "\(seconds)"),
            ("X-Amz-SignedHeaders", signed.map(\.0).joined(separator: ";")),
        ]
        if !sessionToken.isEmpty { query.append(("X-Amz-Security-Token", sessionToken)) }
        let signature = signature(method, path, query, signed, payloadHash: "UNSIGNED-PAYLOAD", time, scope)
        return Self.url(endpoint, path, query + [("X-Amz-Signature", signature)])
    }
}
