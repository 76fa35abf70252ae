import Versioning

/// AWS Signature Version 4, what signing and checking have in common.
/// Source: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)".
package enum SigV4 {
    package static let emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    /// Whom, when and for what a signature is.
    package struct Scope: Sendable, Hashable {
        package let day: String
        package let region: String
        package let service: String
        package init(day: String, region: String, service: String) {
            self.day = day
            self.region = region
            self.service = service
        }
        package var description: String { "\(day)/\(region)/\(service)/aws4_request" }
    }

    package static func signingKey(secret: String, scope: Scope) -> [UInt8] {
        var key = Array("AWS4\(secret)".utf8)
        for part in [scope.day, scope.region, scope.service, "aws4_request"] {
            key = Hash.hmac(key: key, Array(part.utf8))
        }
        return key
    }

    /// A header's value with runs of white space as one space, and none at the ends.
    private static func collapsed(_ value: String) -> String {
        guard value.utf8.contains(where: { $0 == 0x20 || $0 == 0x09 }) else { return value }
        return value.split(whereSeparator: { $0 == " " || $0 == "\t" }).joined(separator: " ")
    }

    /// - Parameters:
    ///   - path: decoded bytes of the path; encoded here once, as S3 does.
    ///   - query: decoded items, the signature itself left out.
    ///   - headers: lower-case names and values of the signed headers.
    package static func canonicalRequest(
        method: String, path: [UInt8], query: [QueryItem], headers: [(name: String, value: String)], payloadHash: String
    ) -> String {
        let pairs = query.map { (URIEncoding.encode($0.name), URIEncoding.encode($0.bytes)) }.sorted {
            ($0.0, $0.1) < ($1.0, $1.1)
        }
        let sorted = headers.sorted { $0.name < $1.name }
        var text = method + "\n" + URIEncoding.encode(path, keepsSlash: true) + "\n"
        text += pairs.map { $0.0 + "=" + $0.1 }.joined(separator: "&") + "\n"
        for header in sorted { text += header.name + ":" + collapsed(header.value) + "\n" }
        return text + "\n" + sorted.map(\.name).joined(separator: ";") + "\n" + payloadHash
    }

    package static func signature(key: [UInt8], time: String, scope: Scope, canonicalRequest: String) -> String {
        let text =
            "AWS4-HMAC-SHA256\n\(time)\n\(scope.description)\n"
            + Hex.text(Hash.digest(.sha256, Array(canonicalRequest.utf8)))
        return Hex.text(Hash.hmac(key: key, Array(text.utf8)))
    }

    /// The signature of a piece of an aws-chunked body, which follows the one before it.
    package static func chunkSignature(key: [UInt8], time: String, scope: Scope, previous: String, chunkHash: String)
        -> String
    {
        let text = "AWS4-HMAC-SHA256-PAYLOAD\n\(time)\n\(scope.description)\n\(previous)\n\(emptyHash)\n\(chunkHash)"
        return Hex.text(Hash.hmac(key: key, Array(text.utf8)))
    }

    /// The signature of the trailers of an aws-chunked body.
    package static func trailerSignature(
        key: [UInt8], time: String, scope: Scope, previous: String, trailerHash: String
    ) -> String {
        let text = "AWS4-HMAC-SHA256-TRAILER\n\(time)\n\(scope.description)\n\(previous)\n\(trailerHash)"
        return Hex.text(Hash.hmac(key: key, Array(text.utf8)))
    }
}
