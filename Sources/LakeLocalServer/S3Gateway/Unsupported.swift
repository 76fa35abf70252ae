import Foundations
import Versioning

/// What a request may ask for that is not here, and that must not be passed over: the client would take it for done, or
/// something other than it named would be read or lost.
enum Unsupported {
    private static let cannedLists: Set<String> = [
        "private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read",
        "bucket-owner-full-control", "log-delivery-write",
    ]

    /// - Throws: the `S3Error` that S3 has for it, or `NotImplemented`.
    static func check(_ call: S3Call) throws {
        try checkVersion(call.value("versionId"))
        if let encoding = call.value("encoding-type"), encoding != "url" {
            throw S3Error.invalidArgument("Invalid Encoding Method specified in Request: '\(encoding.prefix(80))'")
        }
        for header in call.request.headers where header.name.utf8.starts(with: "x-amz-".utf8) {
            switch header.name {
            case "x-amz-acl":
                guard cannedLists.contains(header.value) else {
                    throw S3Error.invalidArgument("x-amz-acl '\(header.value.prefix(80))' is no canned ACL")
                }
            case "x-amz-write-offset-bytes":
                throw S3Error(501, "NotImplemented", "Objects are written whole here: nothing is appended to one.")
            case "x-amz-server-side-encryption-customer-algorithm",
                "x-amz-copy-source-server-side-encryption-customer-algorithm":
                throw S3Error(501, "NotImplemented", "Objects are not encrypted by keys of clients here.")
            case "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date", "x-amz-object-lock-legal-hold":
                throw S3Error(400, "InvalidRequest", "Bucket is missing Object Lock Configuration")
            case "x-amz-bucket-object-lock-enabled" where header.value.lowercased() == "true":
                throw S3Error(501, "NotImplemented", "Objects are not locked here: what is committed does not change.")
            default: break
            }
        }
    }

    /// Objects have one version for S3, `null`; others are in refs.
    static func checkVersion(_ id: String?) throws {
        guard id == nil || id == "null" else {
            throw S3Error.invalidArgument("Invalid version id specified: objects here have versions through refs")
        }
    }
}
