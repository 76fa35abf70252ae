import Foundations
import Versioning

/// An answer of the S3 gateway that is an error. Source: Amazon S3 API reference, "Error responses".
struct S3Error: Error {
    let status: Int
    let code: String
    let message: String

    init(_ status: Int, _ code: String, _ message: String) {
        self.status = status
        self.code = code
        self.message = message
    }

    static let accessDenied = S3Error(403, "AccessDenied", "Access Denied.")
    static let noSuchBucket = S3Error(404, "NoSuchBucket", "The specified bucket does not exist")
    static let noSuchKey = S3Error(404, "NoSuchKey", "The specified key does not exist.")
    static let noSuchUpload = S3Error(
        404, "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
    )
    static let malformedXML = S3Error(
        400, "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema.")
    static let preconditionFailed = S3Error(
        412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
    static let signatureDoesNotMatch = S3Error(
        403, "SignatureDoesNotMatch",
        "The request signature we calculated does not match the signature you provided. Check your key and signing method."
    )
    static let slowDown = S3Error(503, "SlowDown", "Please reduce your request rate.")
    static let incompleteBody = S3Error(
        400, "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header.")
    static func invalidArgument(_ message: String) -> S3Error { S3Error(400, "InvalidArgument", message) }

    /// The answer that S3 gives to an error of the core.
    init(_ error: any Error, isWrite: Bool = false) {
        if let known = error as? S3Error {
            self = known
            return
        }
        let error = LakeError(error)
        self =
            switch error.code {
            case .notFound(.repository): .noSuchBucket
            // A write to what is no branch has nowhere to go; a read of it finds nothing.
            case .notFound(.branch), .notFound(.reference): isWrite ? .noSuchBucket : .noSuchKey
            case .notFound(.upload): .noSuchUpload
            case .notFound: .noSuchKey
            case .alreadyExists: S3Error(409, "OperationAborted", error.message)
            case .invalidValue:
                error.message.contains("too long")
                    ? S3Error(400, "KeyTooLongError", "Your key is too long: \(error.message)")
                    : isWrite ? .invalidArgument(error.message) : .noSuchKey
            case .dirtyBranch, .noChanges, .conflict: S3Error(409, "OperationAborted", error.message)
            case .preconditionFailed: .preconditionFailed
            case .readOnlyRepository: S3Error(403, "ErrReadOnlyRepository", error.message)
            case .protectedBranch: S3Error(403, "ErrWriteToProtectedBranch", error.message)
            case .dataGone: S3Error(404, "NoSuchVersion", "The data of this object is gone.")
            case .tooManyTries: S3Error(503, "SlowDown", error.message)
            case .unauthenticated, .permissionDenied: .accessDenied
            case .noSpace: S3Error(507, "InsufficientStorage", "There is no room left to store this: \(error.message)")
            case .corrupt, .unavailable, .invalidActions:
                S3Error(500, "InternalError", "We encountered an internal error, please try again: \(error.message)")
            case .away: S3Error(503, "ServiceUnavailable", "Please reduce your request rate: \(error.message)")
            case .notImplemented: S3Error(501, "NotImplemented", error.message)
            }
    }

    /// - Parameters:
    ///   - request: what it answers.
    ///   - region: where this server is. A refusal names it too: clients ask for a bucket's region without a signature.
    ///   - bucket, ref, key: what the request names, as far as it was understood.
    func response(
        to request: Request, in region: String, bucket: RepositoryID? = nil, ref: String? = nil, key: Key? = nil
    ) -> Response {
        var xml = XMLWriter()
        xml.element("Error") { xml in
            xml.text("Code", code)
            xml.text("Message", message)
            if let key { xml.text("Key", key.description) }
            if let bucket, !bucket.isEmpty { xml.text("BucketName", bucket.text) }
            xml.text("Resource", ref.map { "\($0)@\(bucket?.text ?? "")" } ?? bucket?.text ?? "")
            xml.text("Region", region)
            xml.text("RequestId", request.note.id)
            xml.text("HostId", "lakefuse")
        }
        var headers = [("Content-Type", "application/xml")]
        if status == 503 { headers.append(("Retry-After", "1")) }
        if status == 400 || status == 403 { headers.append(("x-amz-bucket-region", region)) }
        return Response(
            status: status, headers: headers,
            body: request.method == "HEAD" ? .bytes([]) : .bytes(xml.bytes))
    }
}
