import Foundations
import Transport
import Versioning

/// Operations of S3, by their names there. Source: Amazon S3 API reference, "Actions".
enum S3Operation: String, CaseIterable, Sendable {
    case listBuckets = "ListBuckets"
    case createBucket = "CreateBucket"
    case deleteBucket = "DeleteBucket"
    case headBucket = "HeadBucket"
    case getBucketLocation = "GetBucketLocation"
    case getBucketAcl = "GetBucketAcl"
    case getBucketRequestPayment = "GetBucketRequestPayment"
    /// Of any feature that buckets here do not have.
    case getBucketConfiguration = "GetBucketConfiguration"
    case putBucketConfiguration = "PutBucketConfiguration"
    case deleteBucketConfiguration = "DeleteBucketConfiguration"
    case putBucketAcl = "PutBucketAcl"
    case listObjectVersions = "ListObjectVersions"
    case deleteObjectTagging = "DeleteObjectTagging"
    case listObjects = "ListObjects"
    case listObjectsV2 = "ListObjectsV2"
    case deleteObjects = "DeleteObjects"
    /// An upload by a browser's form.
    case postObject = "PostObject"
    case getObject = "GetObject"
    case headObject = "HeadObject"
    case putObject = "PutObject"
    case copyObject = "CopyObject"
    case deleteObject = "DeleteObject"
    case createMultipartUpload = "CreateMultipartUpload"
    case uploadPart = "UploadPart"
    case completeMultipartUpload = "CompleteMultipartUpload"
    case abortMultipartUpload = "AbortMultipartUpload"
    case listParts = "ListParts"
    case listMultipartUploads = "ListMultipartUploads"
    case getObjectTagging = "GetObjectTagging"
    case putObjectTagging = "PutObjectTagging"
    case getObjectAcl = "GetObjectAcl"
    case putObjectAcl = "PutObjectAcl"
    case getObjectAttributes = "GetObjectAttributes"
    case getObjectTorrent = "GetObjectTorrent"
    case getObjectRetention = "GetObjectRetention"
    case putObjectRetention = "PutObjectRetention"
    case getObjectLegalHold = "GetObjectLegalHold"
    case putObjectLegalHold = "PutObjectLegalHold"
    /// A key that is a ref and nothing behind it: ours, for S3 knows no refs.
    case refOnly = "RefOnly"
}

/// How an operation of S3 is asked for. The first row that fits is it.
final class S3Row: Sendable {
    /// What a request's path names.
    enum Scope { case service, bucket, ref, object }

    /// What it asks the policies of who asks for.
    enum Needs {
        /// A right on the object, which need not be there.
        case object(String)
        /// To write the object, and to read the one that `x-amz-copy-source` names, if it does.
        case copy
        /// A right on the bucket, which must be there.
        case repository(String)
        /// A right on the bucket, which need not be there.
        case name(String)
        /// To list objects of the bucket; branches, where the prefix has no whole ref.
        case listing
        /// A right on anything: on what, the handler looks.
        case some(String)
        /// Who asks is said in the form, which the handler reads.
        case form
    }

    let operation: S3Operation
    let methods: [String]
    let scope: Scope
    /// A parameter of the query, any of which must be there; none if it is empty.
    let parameters: Set<String>
    /// A header that must be there.
    let header: String?
    let cost: Cost
    let needs: Needs

    private init(
        _ operation: S3Operation, _ methods: String, _ scope: Scope, _ cost: Cost, _ needs: Needs,
        _ parameters: Set<String> = [], header: String? = nil
    ) {
        self.needs = needs
        self.operation = operation
        self.methods = methods.split(separator: " ").map(String.init)
        self.scope = scope
        self.parameters = parameters
        self.header = header
        self.cost = cost
    }

    static let all: [S3Row] = [
        S3Row(.listBuckets, "GET HEAD", .service, .store, .some("ListRepositories")),
        S3Row(.putBucketAcl, "PUT", .bucket, .point, .repository("UpdateRepository"), ["acl"]),
        S3Row(
            .putBucketConfiguration, "PUT", .bucket, .point, .repository("UpdateRepository"),
            S3Gateway.configurations.union(["requestPayment"])),
        S3Row(
            .deleteBucketConfiguration, "DELETE", .bucket, .point, .repository("UpdateRepository"),
            S3Gateway.configurations),
        S3Row(.createBucket, "PUT", .bucket, .store, .name("CreateRepository")),
        S3Row(.deleteBucket, "DELETE", .bucket, .store, .repository("DeleteRepository")),
        S3Row(.headBucket, "HEAD", .bucket, .point, .repository("ReadRepository")),
        S3Row(.deleteObjects, "POST", .bucket, .store, .some("DeleteObject"), ["delete"]),
        S3Row(.postObject, "POST", .bucket, .point, .form),
        S3Row(.getBucketConfiguration, "GET", .bucket, .point, .repository("ListObjects"), S3Gateway.configurations),
        S3Row(.getBucketLocation, "GET", .bucket, .point, .repository("ListObjects"), ["location"]),
        S3Row(.getBucketAcl, "GET", .bucket, .point, .repository("ListObjects"), ["acl"]),
        S3Row(.getBucketRequestPayment, "GET", .bucket, .point, .repository("ListObjects"), ["requestPayment"]),
        S3Row(.listMultipartUploads, "GET", .bucket, .store, .repository("ListObjects"), ["uploads"]),
        S3Row(.listObjectVersions, "GET", .bucket, .store, .listing, ["versions"]),
        S3Row(.listObjectsV2, "GET", .bucket, .store, .listing, ["list-type"]),
        S3Row(.listObjects, "GET", .bucket, .store, .listing),
        S3Row(.refOnly, "GET HEAD", .ref, .point, .object("ReadObject")),
        S3Row(.refOnly, "PUT POST", .ref, .point, .object("WriteObject")),
        S3Row(.refOnly, "DELETE", .ref, .point, .object("DeleteObject")),
        S3Row(.listParts, "GET", .object, .store, .object("ReadObject"), ["uploadId"]),
        S3Row(.getObjectAttributes, "GET HEAD", .object, .point, .object("ReadObject"), ["attributes"]),
        S3Row(.getObjectTorrent, "GET HEAD", .object, .point, .object("ReadObject"), ["torrent"]),
        S3Row(.getObjectRetention, "GET HEAD", .object, .point, .object("ReadObject"), ["retention"]),
        S3Row(.getObjectLegalHold, "GET HEAD", .object, .point, .object("ReadObject"), ["legal-hold"]),
        S3Row(.getObjectTagging, "GET", .object, .point, .object("ReadObject"), ["tagging"]),
        S3Row(.getObjectAcl, "GET", .object, .point, .object("ReadObject"), ["acl"]),
        S3Row(.getObject, "GET", .object, .point, .object("ReadObject")),
        S3Row(.headObject, "HEAD", .object, .point, .object("ReadObject")),
        S3Row(.uploadPart, "PUT", .object, .store, .copy, ["partNumber", "uploadId"]),
        S3Row(.putObjectAcl, "PUT", .object, .point, .object("WriteObject"), ["acl"]),
        S3Row(.deleteObjectTagging, "DELETE", .object, .store, .object("WriteObject"), ["tagging"]),
        S3Row(.putObjectTagging, "PUT", .object, .store, .object("WriteObject"), ["tagging"]),
        S3Row(.putObjectRetention, "PUT", .object, .point, .object("WriteObject"), ["retention"]),
        S3Row(.putObjectLegalHold, "PUT", .object, .point, .object("WriteObject"), ["legal-hold"]),
        S3Row(.copyObject, "PUT", .object, .long, .copy, header: "x-amz-copy-source"),
        S3Row(.putObject, "PUT", .object, .point, .object("WriteObject")),
        S3Row(.abortMultipartUpload, "DELETE", .object, .store, .object("DeleteObject"), ["uploadId"]),
        S3Row(.deleteObject, "DELETE", .object, .point, .object("DeleteObject")),
        S3Row(.createMultipartUpload, "POST", .object, .store, .object("WriteObject"), ["uploads"]),
        S3Row(.completeMultipartUpload, "POST", .object, .long, .object("WriteObject"), ["uploadId"]),
    ]

    private static func scope(_ call: S3Call) -> Scope {
        if call.bucket.isEmpty { return .service }
        if call.ref.isEmpty { return .bucket }
        guard call.key.isEmpty else { return .object }
        // `GET /repo/ref?list-type=2`: a listing of the bucket, as clients with path-style addresses ask for a prefix.
        return call.request.method == "GET" && !call.hasKeySlash && call.query.contains { $0.name == "list-type" }
            ? .bucket : .ref
    }

    /// The row of a request; nil if there is none.
    static func of(_ call: S3Call) -> S3Row? {
        let scope = scope(call)
        let method = call.request.method
        return all.first { row in
            row.scope == scope && row.methods.contains(method)
                && (row.parameters.isEmpty || call.query.contains { row.parameters.contains($0.name) })
                && (row.header == nil || call.request.header(row.header!) != nil)
        }
    }
}
