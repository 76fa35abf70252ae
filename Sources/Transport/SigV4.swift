import Foundations

/// AWS Signature Version 4, what signing and checking have in common.
/// Source: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)".
package enum SigV4 {
    package static let emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

    /// Whom, when and for what a signature is.
    package struct Scope: Sendable, Hashable {
        package let day: String
        package let region: String
        package let service: String
        package let description: String
        package init(day: String, region: String, service: String) {
            self.day = day
            self.region = region
            self.service = service
            description = "\(day)/\(region)/\(service)/aws4_request"
        }
    }

    package static func signingKey(secret: String, scope: Scope) -> [UInt8] {
        var key = Array("AWS4\(secret)".utf8)
        for part in [scope.day, scope.region, scope.service, "aws4_request"] {
            key = Hash.hmac(key: key, Array(part.utf8))
        }
        return key
    }

    /// A header's value with runs of white space as one space, and none at the ends.
    private static func appendCollapsed(_ value: String, to text: inout [UInt8]) {
        let isPlain = !value.utf8.contains { $0 == 0x20 || $0 == 0x09 }
        guard !isPlain else { return text.append(contentsOf: value.utf8) }
        for (index, word) in value.utf8.split(whereSeparator: { $0 == 0x20 || $0 == 0x09 }).enumerated() {
            if index > 0 { text.append(0x20) }
            text.append(contentsOf: word)
        }
    }

    /// Works on bytes: it runs for every request.
    /// - Parameters:
    ///   - path: decoded bytes of the path; encoded here once, as S3 does.
    ///   - query: decoded items, the signature itself left out.
    ///   - headers: lower-case names and values of the signed headers.
    package static func canonicalRequest(
        method: String, path: [UInt8], query: [QueryItem], headers: [(name: String, value: String)], payloadHash: String
    ) -> [UInt8] {
        var text: [UInt8] = []
        text.reserveCapacity(512 + path.count)
        text += method.utf8
        text.append(0x0a)
        URIEncoding.append(path, keepsSlash: true, to: &text)
        text.append(0x0a)
        if !query.isEmpty {
            let pairs = query.map { (URIEncoding.encode($0.name), URIEncoding.encode($0.bytes)) }.sorted {
                ($0.0, $0.1) < ($1.0, $1.1)
            }
            text += pairs.map { $0.0 + "=" + $0.1 }.joined(separator: "&").utf8
        }
        text.append(0x0a)
        // Most send them in order.
        let isSorted = zip(headers, headers.dropFirst()).allSatisfy { $0.name <= $1.name }
        let sorted = isSorted ? headers : headers.sorted { $0.name < $1.name }
        for header in sorted {
            text += header.name.utf8
            text.append(0x3a)
            appendCollapsed(header.value, to: &text)
            text.append(0x0a)
        }
        text.append(0x0a)
        for (index, header) in sorted.enumerated() {
            if index > 0 { text.append(0x3b) }
            text += header.name.utf8
        }
        text.append(0x0a)
        text += payloadHash.utf8
        return text
    }

    package static func signature(key: [UInt8], time: String, scope: Scope, canonicalRequest: [UInt8]) -> String {
        var text: [UInt8] = []
        text.reserveCapacity(160)
        text += "AWS4-HMAC-SHA256\n".utf8
        text += time.utf8
        text.append(0x0a)
        text += scope.description.utf8
        text.append(0x0a)
        text += Hex.text(Hash.digest(.sha256, canonicalRequest)).utf8
        return Hex.text(Hash.hmac(key: key, text))
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
