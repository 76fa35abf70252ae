package import Foundations

/// A request to a service of AWS, or one that speaks as it does, signed by a key pair. Source: AWS general reference, "AWS
/// API request signatures".
package struct AWSCredentials: Sendable {
    package var accessKeyID: String, secretAccessKey: String, region: String
    package init(accessKeyID: String, secretAccessKey: String, region: String) {
        self.accessKeyID = accessKeyID
        self.secretAccessKey = secretAccessKey
        self.region = region
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
        let host =
            endpoint.firstRange(of: "://").map { endpoint[$0.upperBound...].prefix { $0 != "/" } } ?? endpoint[...]
        let time = now.basic
        let scope = SigV4.Scope(day: String(time.prefix(8)), region: region, service: service)
        let hash = Hex.text(Hash.digest(.sha256, body))
        var signed = headers + [("host", String(host)), ("x-amz-content-sha256", hash), ("x-amz-date", time)]
        signed.sort { $0.0 < $1.0 }
        let items = query.map { QueryItem(name: $0.0, bytes: Array($0.1.utf8)) }
        let canonical = SigV4.canonicalRequest(
            method: method, path: path, query: items, headers: signed.map { (name: $0.0, value: $0.1) },
            payloadHash: hash)
        let signature = SigV4.signature(
            key: SigV4.signingKey(secret: secretAccessKey, scope: scope), time: time, scope: scope,
            canonicalRequest: canonical)
        let names = signed.map(\.0).joined(separator: ";")
        let authorization =
            "AWS4-HMAC-SHA256 Credential=\(accessKeyID)/\(scope.description), SignedHeaders=\(names), Signature=\(signature)"
        let text = URIEncoding.query(of: query)
        return (
            endpoint + URIEncoding.encode(path, keepsSlash: true) + (text.isEmpty ? "" : "?" + text),
            signed.filter { $0.0 != "host" } + [("authorization", authorization)]
        )
    }
}
