import Foundations
import Synchronization
import Transport
import Versioning

/// Who signed a request, and what the signature says of its body.
struct S3Identity {
    enum Payload {
        /// Not covered by the signature.
        case unsigned
        /// The SHA-256 of the whole body, in hex.
        case hash(String)
        /// `aws-chunked`, with signatures of chunks or without.
        case chunked(ChunkedBody.Signing?)
    }
    let user: String
    let payload: Payload
}

/// Checks AWS signatures: SigV4 in headers and in queries, and presigned queries of the older SigV2 form.
struct S3Authentication: Sendable {
    let access: Access
    let login: Login
    /// How far a request's time may be off, in seconds.
    private static let skewSeconds: Int64 = 15 * 60
    /// The longest life of a presigned request, in seconds.
    private static let longestPresign: Int64 = 7 * 24 * 3600
    /// Signing keys of the day, four HMACs each, by the credential that requests name.
    private let keys = SigningKeys()

    /// What a credential of a request says, and the key that was derived from it.
    private struct Signing {
        let id: String, scope: SigV4.Scope
        /// Which it was derived from; empty if it was not yet.
        var secret = ""
        var key: [UInt8] = []
    }

    private final class SigningKeys: Sendable {
        let known = Mutex<[String: Signing]>([:])
        /// Beyond it all are derived anew.
        static let most = 1024
    }

    init(access: Access, login: Login) {
        self.access = access
        self.login = login
    }

    private static let algorithmName = Array("X-Amz-Algorithm".utf8), keyName = Array("AWSAccessKeyId".utf8),
        signatureName = Array("Signature".utf8)

    /// Whether a request carries a signature that only S3 clients make.
    static func isSigned(_ request: Request) -> Bool {
        if let header = request.header("authorization"), header.hasPrefix("AWS") { return true }
        guard !request.rawQuery.isEmpty else { return false }
        let names = Set(request.rawQuery.utf8.split(separator: 0x26).map { Array($0.prefix { $0 != 0x3d }) })
        return names.contains(Self.algorithmName)
            || (names.contains(Self.keyName) && names.contains(Self.signatureName))
    }

    /// - Parameter virtualBucket: the bucket that the host names, if it does.
    func identify(_ request: Request, path: [UInt8], query: [QueryItem], virtualBucket: RepositoryID? = nil) throws
        -> S3Identity
    {
        if let header = request.header("authorization") {
            if header.hasPrefix("AWS4-HMAC-SHA256") { return try checkHeader(header, request, path, query) }
            if header.hasPrefix("AWS ") { return try checkOldHeader(header, request, query, virtualBucket) }
            guard !header.hasPrefix("AWS") else {
                throw S3Error(
                    400, "InvalidRequest",
                    "The authorization mechanism you have provided is not supported: use AWS4-HMAC-SHA256")
            }
            return S3Identity(user: try login.user(of: request), payload: .unsigned)
        }
        if query.value("X-Amz-Algorithm") != nil { return try checkQuery(request, path, query) }
        if let id = query.value("AWSAccessKeyId"), let signature = query.value("Signature"),
            let expires = query.value("Expires")
        {
            return try checkOldQuery(request, query, virtualBucket, id, signature, expires)
        }
        if request.header("cookie") != nil { return S3Identity(user: try login.user(of: request), payload: .unsigned) }
        throw S3Error.accessDenied
    }

    private func credentials(_ id: String) throws -> Credentials {
        guard let found = try access.credentials(id) else { throw S3Error.accessDenied }
        return found
    }

    /// Who a credential names, and the key to check its signatures with.
    private func signing(_ credential: String) throws -> (credentials: Credentials, scope: SigV4.Scope, key: [UInt8]) {
        var signing = keys.known.withLock { $0[credential] }
        if signing == nil {
            let parts = credential.utf8.split(separator: 0x2f, omittingEmptySubsequences: false).map {
                String(decoding: Array($0), as: UTF8.self)
            }
            guard parts.count == 5, parts[4] == "aws4_request" else {
                throw S3Error(
                    400, "AuthorizationHeaderMalformed",
                    "The credential '\(credential)' is not of the form key/day/region/service/aws4_request")
            }
            signing = Signing(id: parts[0], scope: SigV4.Scope(day: parts[1], region: parts[2], service: parts[3]))
        }
        var found = signing!
        let credentials = try credentials(found.id)
        if found.secret != credentials.secretAccessKey {
            found.secret = credentials.secretAccessKey
            found.key = SigV4.signingKey(secret: found.secret, scope: found.scope)
            keys.known.withLock { [found] known in
                if known.count >= SigningKeys.most { known.removeAll() }
                known[credential] = found
            }
        }
        return (credentials, found.scope, found.key)
    }

    /// Headers of which a signature covers the value without naming them.
    private static let covered: Set<String> = ["x-amz-date", "x-amz-content-sha256"]

    private func signedHeaders(_ names: String, _ request: Request) throws -> [(name: String, value: String)] {
        let names = names.utf8.split(separator: 0x3b).map { String(Substring($0)) }
        // Headers that change what a request does are no one's to add to a signed one.
        for header in request.headers
        where header.name.utf8.starts(with: "x-amz-".utf8) && !names.contains(header.name)
            && !Self.covered.contains(header.name)
        {
            throw S3Error(
                403, "AccessDenied", "There were headers present in the request which were not signed: \(header.name)")
        }
        guard names.contains("host") else {
            throw S3Error(400, "AuthorizationHeaderMalformed", "The signed headers must have host among them")
        }
        return names.map { name in
            var value: String?
            for header in request.headers where header.name == name {
                value = value.map { $0 + "," + header.value } ?? header.value
            }
            return (name, value ?? "")
        }
    }

    /// The three parts of a SigV4 header.
    private static func parts(of header: String) -> (credential: String, names: String, signature: String)? {
        var (credential, names, signature) = (String?.none, String?.none, String?.none)
        for field in header.utf8.dropFirst("AWS4-HMAC-SHA256".utf8.count).split(separator: 0x2c) {
            let field = field.drop { $0 == 0x20 }
            guard let mark = field.firstIndex(of: 0x3d) else { continue }
            let (name, value) = (field[..<mark], String(Substring(field[field.index(after: mark)...])))
            if name.elementsEqual("Credential".utf8) {
                credential = value
            } else if name.elementsEqual("SignedHeaders".utf8) {
                names = value
            } else if name.elementsEqual("Signature".utf8) {
                signature = value
            }
        }
        guard let credential, let names, let signature, !credential.isEmpty, !names.isEmpty, !signature.isEmpty else {
            return nil
        }
        return (credential, names, signature)
    }

    private func checkHeader(_ header: String, _ request: Request, _ path: [UInt8], _ query: [QueryItem]) throws
        -> S3Identity
    {
        guard let (credential, names, signature) = Self.parts(of: header) else {
            throw S3Error(
                400, "AuthorizationHeaderMalformed",
                "The authorization header needs Credential, SignedHeaders and Signature")
        }
        let (credentials, scope, key) = try signing(credential)
        let stamp =
            request.header("x-amz-date") ?? request.header("date").flatMap { Timestamp(httpDate: $0)?.basic } ?? ""
        guard let time = Timestamp(basic: stamp) else {
            guard request.header("x-amz-date") == nil, request.header("date") == nil else {
                throw S3Error(
                    400, "MalformedDate",
                    "Invalid date format header, expected to be in ISO8601, RFC1123 or RFC1123Z time format.")
            }
            throw S3Error(400, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
        }
        guard stamp.hasPrefix(scope.day) else {
            throw S3Error(
                400, "AuthorizationHeaderMalformed",
                "The authorization header is malformed; Invalid credential date. Date is not the same as X-Amz-Date.")
        }
        let payload = request.header("x-amz-content-sha256") ?? (request.hasBody ? "UNSIGNED-PAYLOAD" : SigV4.emptyHash)
        let canonical = SigV4.canonicalRequest(
            method: request.method, path: path, query: query, headers: try signedHeaders(names, request),
            payloadHash: payload)
        let expected = SigV4.signature(key: key, time: stamp, scope: scope, canonicalRequest: canonical)
        guard isEqualInConstantTime(Array(expected.utf8), Array(signature.utf8)) else {
            throw S3Error.signatureDoesNotMatch
        }
        let age = Timestamp.now().seconds - time.seconds
        guard age <= Self.skewSeconds else {
            throw S3Error(
                403, "RequestTimeTooSkewed",
                "The difference between the request time and the server's time is too large.")
        }
        guard age >= -Self.skewSeconds else { throw S3Error(403, "AccessDenied", "Request is not valid yet") }
        let signing = ChunkedBody.Signing(key: key, time: stamp, scope: scope, previous: expected)
        let kind: S3Identity.Payload
        switch payload {
        case "UNSIGNED-PAYLOAD": kind = .unsigned
        case "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER":
            kind = .chunked(signing)
        case "STREAMING-UNSIGNED-PAYLOAD-TRAILER": kind = .chunked(nil)
        default:
            guard Names.isHex(payload.lowercased(), 64...64) else {
                throw S3Error(
                    400, "InvalidArgument",
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, one of the STREAMING- values, or a SHA-256 in hex")
            }
            kind = .hash(payload.lowercased())
        }
        return S3Identity(user: credentials.userName, payload: kind)
    }

    private func checkQuery(_ request: Request, _ path: [UInt8], _ query: [QueryItem]) throws -> S3Identity {
        func value(_ name: String) throws -> String {
            guard let found = query.first(where: { $0.name == name })?.value, !found.isEmpty else {
                throw S3Error(400, "AuthorizationQueryParametersError", "Query-string authentication requires \(name)")
            }
            return found
        }
        guard try value("X-Amz-Algorithm") == "AWS4-HMAC-SHA256" else {
            throw S3Error(400, "AuthorizationQueryParametersError", "X-Amz-Algorithm only supports AWS4-HMAC-SHA256")
        }
        let credential = try value("X-Amz-Credential")
        let stamp = try value("X-Amz-Date")
        let signature = try value("X-Amz-Signature")
        guard let time = Timestamp(basic: stamp) else {
            throw S3Error(400, "AuthorizationQueryParametersError", "X-Amz-Date must be in the form 20060102T150405Z")
        }
        guard let life = Int64(try value("X-Amz-Expires")), life >= 0, life <= Self.longestPresign else {
            throw S3Error(
                400, "AuthorizationQueryParametersError",
                "X-Amz-Expires must be a number of seconds from 0 to \(Self.longestPresign)")
        }
        let (credentials, scope, key) = try signing(credential)
        let canonical = SigV4.canonicalRequest(
            method: request.method, path: path, query: query.filter { $0.name != "X-Amz-Signature" },
            headers: try signedHeaders(value("X-Amz-SignedHeaders"), request),
            payloadHash: request.header("x-amz-content-sha256") ?? "UNSIGNED-PAYLOAD")
        let expected = SigV4.signature(key: key, time: stamp, scope: scope, canonicalRequest: canonical)
        guard isEqualInConstantTime(Array(expected.utf8), Array(signature.utf8)) else {
            throw S3Error.signatureDoesNotMatch
        }
        let age = Timestamp.now().seconds - time.seconds
        guard age < life else { throw S3Error(403, "AccessDenied", "Request has expired") }
        guard age >= -Self.skewSeconds else { throw S3Error(403, "AccessDenied", "Request is not valid yet") }
        switch request.header("x-amz-content-sha256") {
        case "STREAMING-UNSIGNED-PAYLOAD-TRAILER": return S3Identity(user: credentials.userName, payload: .chunked(nil))
        case let hash? where Names.isHex(hash, 64...64):
            return S3Identity(user: credentials.userName, payload: .hash(hash))
        default: return S3Identity(user: credentials.userName, payload: .unsigned)
        }
    }

    /// Sub-resources that the older signature covers.
    private static let signedResources: Set<String> = [
        "acl", "cors", "delete", "lifecycle", "location", "logging", "notification", "partNumber", "policy",
        "requestPayment",
        "restore",
        "response-cache-control", "response-content-disposition",
        "response-content-encoding", "response-content-language", "response-content-type", "response-expires",
        "tagging", "torrent", "uploadId", "uploads", "versionId", "versioning", "versions", "website",
    ]

    /// Whether an older signature is right.
    /// - Parameter date: what stands in the place of the date. Source: "Signing and authenticating REST requests
    ///   (signature version 2)".
    private func isSigned(
        _ request: Request, _ query: [QueryItem], _ virtualBucket: RepositoryID?, date: String, by secret: String,
        _ signature: String
    ) -> Bool {
        let amz = Dictionary(grouping: request.headers.filter { $0.name.hasPrefix("x-amz-") }, by: \.name).sorted {
            $0.key < $1.key
        }
        var text =
            "\(request.method)\n\(request.header("content-md5") ?? "")\n\(request.header("content-type") ?? "")\n\(date)\n"
        for (name, values) in amz { text += "\(name):\(values.map(\.value).joined(separator: ","))\n" }
        let resources = query.filter { Self.signedResources.contains($0.name) }.sorted { $0.name < $1.name }
        let tail =
            resources.isEmpty
            ? "" : "?" + resources.map { $0.value.isEmpty ? $0.name : "\($0.name)=\($0.value)" }.joined(separator: "&")
        // Of a bucket alone botocore asks without a slash at the end, and signs with one.
        var paths = [request.rawPath, request.rawPath + "/"]
        if let virtualBucket { paths = paths.map { "/" + virtualBucket.text + $0 } }
        return paths.contains { path in
            let expected = Base64.encode(
                Hash.hmacSHA1(key: Array(secret.utf8), Array((text + path + tail).utf8)))
            return isEqualInConstantTime(Array(expected.utf8), Array(signature.utf8))
        }
    }

    /// Requests with the older signature in their header, as s3cmd and old SDKs make them.
    private func checkOldHeader(
        _ header: String, _ request: Request, _ query: [QueryItem], _ virtualBucket: RepositoryID?
    ) throws -> S3Identity {
        let pair = header.utf8.dropFirst("AWS ".utf8.count)
        guard let mark = pair.firstIndex(of: 0x3a) else {
            throw S3Error(
                400, "InvalidArgument", "The authorization header is not of the form AWS AccessKeyId:Signature")
        }
        let (id, signature) = (String(Substring(pair[..<mark])), String(Substring(pair[pair.index(after: mark)...])))
        let credentials = try credentials(id)
        let date = request.header("x-amz-date") ?? request.header("date") ?? ""
        guard let time = Timestamp(httpDate: date) ?? Timestamp(basic: date) else {
            throw S3Error(403, "AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
        }
        guard
            isSigned(
                request, query, virtualBucket, date: request.header("x-amz-date") == nil ? date : "",
                by: credentials.secretAccessKey, signature)
        else { throw S3Error.signatureDoesNotMatch }
        guard abs(Timestamp.now().seconds - time.seconds) <= Self.skewSeconds else {
            throw S3Error(
                403, "RequestTimeTooSkewed",
                "The difference between the request time and the server's time is too large.")
        }
        return S3Identity(user: credentials.userName, payload: .unsigned)
    }

    /// Presigned requests as `aws s3 presign` and s3fs make them.
    private func checkOldQuery(
        _ request: Request, _ query: [QueryItem], _ virtualBucket: RepositoryID?, _ id: String, _ signature: String,
        _ expires: String
    ) throws -> S3Identity {
        let credentials = try credentials(id)
        guard let end = Int64(expires) else {
            throw S3Error(403, "AccessDenied", "Invalid date (should be seconds since epoch): \(expires)")
        }
        guard isSigned(request, query, virtualBucket, date: expires, by: credentials.secretAccessKey, signature) else {
            throw S3Error.signatureDoesNotMatch
        }
        let left = end - Timestamp.now().seconds
        guard left >= 0 else { throw S3Error(403, "AccessDenied", "Request has expired") }
        return S3Identity(user: credentials.userName, payload: .unsigned)
    }

    /// Whose a form is: its policy is signed, by either version.
    /// - Parameter fields: names in lower case.
    func user(ofForm fields: [String: String], policy: String) throws -> String {
        let text = Array(policy.utf8)
        if let signature = fields["x-amz-signature"], let credential = fields["x-amz-credential"] {
            guard fields["x-amz-algorithm"] == "AWS4-HMAC-SHA256" else {
                throw S3Error.invalidArgument("x-amz-algorithm only supports AWS4-HMAC-SHA256")
            }
            let (credentials, _, key) = try signing(credential)
            let expected = Hex.text(Hash.hmac(key: key, text))
            guard isEqualInConstantTime(Array(expected.utf8), Array(signature.utf8)) else {
                throw S3Error.signatureDoesNotMatch
            }
            return credentials.userName
        }
        guard let id = fields["awsaccesskeyid"], let signature = fields["signature"] else {
            throw S3Error.invalidArgument("Bucket POST must contain a signature and who it is of beside its policy.")
        }
        let credentials = try credentials(id)
        let expected = Base64.encode(Hash.hmacSHA1(key: Array(credentials.secretAccessKey.utf8), text))
        guard isEqualInConstantTime(Array(expected.utf8), Array(signature.utf8)) else {
            throw S3Error.signatureDoesNotMatch
        }
        return credentials.userName
    }
}
