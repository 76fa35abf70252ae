import FoundationEssentials
import Foundations
import Transport
import Versioning

/// What an upload by a browser's form may be: its `policy` field. Source: Amazon S3 API reference, "Creating an HTML
/// form (using AWS signature version 4)", "POST policy".
struct PostPolicy: Decodable {
    private enum Condition: Decodable {
        case equals(String, String)
        case startsWith(String, String)
        case length(ClosedRange<Int64>)

        init(from decoder: any Decoder) throws {
            if let pairs = try? decoder.singleValueContainer().decode([String: String].self) {
                guard pairs.count == 1, let pair = pairs.first else { throw PostPolicy.invalid }
                self = .equals(pair.key.lowercased(), pair.value)
                return
            }
            var list = try decoder.unkeyedContainer()
            let kind = try list.decode(String.self).lowercased()
            if kind == "content-length-range" {
                let (least, most) = (try Self.number(&list), try Self.number(&list))
                guard least >= 0, least <= most, list.isAtEnd else { throw PostPolicy.invalid }
                self = .length(least...most)
                return
            }
            // `$name`, or `\$name` as some write it.
            let name = try list.decode(String.self).drop { $0 == "\\" }
            let value = try list.decode(String.self)
            guard name.first == "$", list.isAtEnd else { throw PostPolicy.invalid }
            switch kind {
            case "eq": self = .equals(name.dropFirst().lowercased(), value)
            case "starts-with": self = .startsWith(name.dropFirst().lowercased(), value)
            default: throw PostPolicy.invalid
            }
        }

        private static func number(_ list: inout any UnkeyedDecodingContainer) throws -> Int64 {
            if let number = try? list.decode(Int64.self) { return number }
            guard let number = Int64(try list.decode(String.self)) else { throw PostPolicy.invalid }
            return number
        }
    }

    private let expiration: String
    private let conditions: [Condition]

    private static let invalid = S3Error(400, "InvalidPolicyDocument", "Invalid Policy: Invalid JSON, or not a policy.")

    static func parse(_ base64: String) throws -> PostPolicy {
        guard let bytes = Base64.decode(base64),
            let policy = try? JSONDecoder().decode(PostPolicy.self, from: Data(bytes)), !policy.conditions.isEmpty
        else { throw invalid }
        return policy
    }

    /// Fields that no condition need speak of.
    private static let free: Set<String> = ["policy", "x-amz-signature", "signature", "awsaccesskeyid", "file"]

    private static func denied(_ reason: String) -> S3Error {
        S3Error(403, "AccessDenied", "Invalid according to Policy: \(reason)")
    }

    /// Refuses a form that the policy does not allow.
    /// - Parameter fields: names in lower case; the bucket among them.
    func check(_ fields: [String: String]) throws {
        guard let end = Timestamp(rfc3339: expiration) else { throw Self.invalid }
        guard end > .now() else { throw Self.denied("Policy expired.") }
        var named: Set<String> = []
        for condition in conditions {
            switch condition {
            case .length: break
            case .equals(let name, let value):
                named.insert(name)
                guard fields[name].map({ $0.utf8.elementsEqual(value.utf8) }) ?? value.isEmpty else {
                    throw Self.denied("Policy Condition failed: [\"eq\", \"$\(name)\", \"\(value)\"]")
                }
            case .startsWith(let name, let value):
                named.insert(name)
                guard fields[name].map({ $0.utf8.starts(with: value.utf8) }) ?? value.isEmpty else {
                    throw Self.denied("Policy Condition failed: [\"starts-with\", \"$\(name)\", \"\(value)\"]")
                }
            }
        }
        for name in fields.keys where !named.contains(name) && !Self.free.contains(name) {
            guard name.hasPrefix("x-ignore-") || name.hasPrefix("x-amz-checksum-") else {
                throw Self.denied("Extra input fields: \(name)")
            }
        }
    }

    /// How many bytes the file may have.
    var length: ClosedRange<Int64> {
        for case .length(let range) in conditions { return range }
        return 0...Int64.max
    }
}

/// Takes a form: its fields first, then its file, which is what is behind the field of that name.
final class PostObjectSink: BodySink, @unchecked Sendable {
    // One thread at a time feeds and finishes a sink, as the protocol says.
    private let gateway: S3Gateway
    private let request: Request
    private let bucket: RepositoryID
    private var form: FormReader
    /// Names in lower case.
    private var fields: [String: String] = [:]
    private var fieldBytes = 0
    private var field: (name: String, value: [UInt8])?
    private var file: File?
    /// Bytes of all fields together (Amazon S3 API reference, POST Object: 20 KB).
    private static let largestFields = 20_000

    /// What the fields say, once the file begins.
    private struct File {
        let ref: String, key: Key
        let length: ClosedRange<Int64>
        let upload: Upload
        /// What the form says of its bytes.
        var checksum: S3Checksum?
    }

    init(_ gateway: S3Gateway, _ request: Request, bucket: RepositoryID) throws {
        self.gateway = gateway
        self.request = request
        self.bucket = bucket
        guard let form = FormReader(contentType: request.header("content-type") ?? "") else {
            throw S3Error(400, "MalformedPOSTRequest", "The content type names no boundary.")
        }
        self.form = form
    }

    private func endField() {
        guard let (name, value) = field else { return }
        field = nil
        fields[name] = String(decoding: value, as: UTF8.self)
    }

    func receive(_ piece: UnsafeRawBufferPointer) throws(Refusal) {
        do {
            unsafe try form.feed(piece) { part in
                guard file == nil else { return false }
                endField()
                if part.name.lowercased() == "file" {
                    file = try begin(part)
                } else {
                    field = (part.name.lowercased(), [])
                }
                return true
            } _: { bytes in
                if let file {
                    guard file.upload.size + Int64(bytes.count) <= file.length.upperBound else {
                        throw S3Error(
                            400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size.")
                    }
                    unsafe self.file!.checksum?.update(bytes)
                    return unsafe try file.upload.write(bytes)
                }
                fieldBytes += bytes.count
                guard fieldBytes <= Self.largestFields else {
                    throw S3Error(
                        400, "MaxPostPreDataLengthExceededError",
                        "Your POST request fields preceding the upload file were too large.")
                }
                unsafe field?.value.append(contentsOf: bytes)
            }
        } catch {
            file?.upload.drop()
            throw Refusal(gateway.failure(S3Error(error, isWrite: true), nil, to: request))
        }
    }

    /// Checks the fields, of which there are no more.
    private func begin(_ part: FormReader.Part) throws -> File {
        guard let whole = fields["key"], !whole.isEmpty else {
            throw S3Error.invalidArgument(
                "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields."
            )
        }
        fields["bucket"] = bucket.text
        guard let policy = fields["policy"] else { throw S3Error.accessDenied }
        let user = try gateway.authentication.user(ofForm: fields, policy: policy)
        request.note.user = user
        let rules = try PostPolicy.parse(policy)
        // A policy may speak of the key as it is sent, or as it becomes.
        let named = whole.replacing("${filename}", with: part.fileName ?? "")
        do { try rules.check(fields.merging(["key": named]) { $1 }) } catch {
            guard named != whole else { throw error }
            try rules.check(fields)
        }
        let (ref, key, _) = S3Call.split(named.utf8)
        guard !key.isEmpty else {
            throw S3Error.invalidArgument("The key names no object: it needs a path behind the branch")
        }
        try Names.checkPath(key)
        try gateway.access.require(
            [.object("WriteObject", bucket, key)], for: Caller(user, from: request.peer?.address))
        let asHeaders = Request(method: "PUT", target: "/", headers: fields.map { ($0.key, $0.value) })
        var metadata = try ObjectFacts.metadata(of: asHeaders)
        if let tags = fields["tagging"], !tags.isEmpty {
            ObjectFacts.set(try ObjectFacts.tags(ofDocument: Array(tags.utf8)), in: &metadata)
        }
        return File(
            ref: ref, key: key, length: rules.length,
            upload: try gateway.catalog.beginUpload(
                to: key, on: BranchName(ref), in: bucket,
                UploadFacts(metadata: metadata, contentType: S3Gateway.contentType(of: asHeaders))),
            checksum: S3Checksum.Algorithm.allCases.first { fields[$0.header] != nil }.map { S3Checksum($0) })
    }

    func finish() -> Response {
        do {
            guard let file else {
                throw S3Error.invalidArgument("POST requires exactly one file upload per request.")
            }
            guard form.isComplete else { throw S3Error.incompleteBody }
            guard file.upload.size >= file.length.lowerBound else {
                throw S3Error(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
            }
            let checksum = file.checksum?.value()
            if let checksum, fields[checksum.algorithm.header] != checksum.text {
                throw S3Error(
                    400, "BadDigest", "The \(checksum.algorithm.name) you specified did not match what we received.")
            }
            let entry = try file.upload.commit {
                ObjectFacts.set(.init(checksum: checksum), eTag: $0.eTag, in: &$0.metadata)
            }
            return answer(file, entry.eTag)
        } catch {
            return gateway.failure(S3Error(error, isWrite: true), nil, to: request)
        }
    }

    private func answer(_ file: File, _ eTag: String) -> Response {
        let key = Array("\(file.ref)/".utf8) + file.key.bytes
        let place =
            "http://\(request.header("host") ?? "")/\(bucket)/\(URIEncoding.encode(key, keepsSlash: true))"
        let headers = [("ETag", "\"\(eTag)\""), ("Location", place)]
        if let target = fields["success_action_redirect"] ?? fields["redirect"],
            target.hasPrefix("http://") || target.hasPrefix("https://"),
            target.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
        {
            let query =
                "bucket=\(URIEncoding.encode(bucket.text))&key=\(URIEncoding.encode(key, keepsSlash: true))&etag=%22\(eTag)%22"
            return Response(
                status: 303, headers: [headers[0], ("Location", target + (target.contains("?") ? "&" : "?") + query)])
        }
        switch fields["success_action_status"] {
        case "200": return Response(status: 200, headers: headers)
        case "201":
            var response = gateway.xml("PostResponse") {
                $0.text("Location", place)
                $0.text("Bucket", bucket.text)
                $0.text("Key", String(decoding: key, as: UTF8.self))
                $0.tag("ETag", eTag)
            }
            response.status = 201
            response.headers += headers
            return response
        default: return Response(status: 204, headers: headers)
        }
    }
}
