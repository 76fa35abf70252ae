import Foundations
import Transport
package import Versioning

/// The S3 door: buckets are repositories, the first part of a key is a ref. Source: Amazon S3 API reference;
/// `lakefs-behaviour.md` section 2.
package struct S3Gateway: Door {
    let catalog: Catalog
    let access: Access
    let authentication: S3Authentication
    let settings: ServerSettings
    let uploads: MultipartUploads
    let budget: MemoryBudget
    private let fallback: Fallback?

    package init(catalog: Catalog, access: Access, login: Login, settings: ServerSettings, budget: MemoryBudget) {
        self.budget = budget
        self.catalog = catalog
        self.access = access
        self.settings = settings
        authentication = S3Authentication(access: access, login: login)
        uploads = MultipartUploads(catalog: catalog)
        fallback = settings.s3FallbackURL.isEmpty ? nil : Fallback(settings.s3FallbackURL, region: settings.region)
    }

    /// Whether a request is for this door: it is signed as S3's are, or addressed to one of the gateway's hosts.
    package func serves(_ request: Request) -> Bool {
        S3Authentication.isSigned(request) || Self.isForm(request) || virtualBucket(request) != nil
            || settings.s3Domains.contains { $0 == Self.host(request) }
    }

    package func slowDown(_ request: Request) -> Response {
        S3Error.slowDown.response(to: request, in: settings.region)
    }

    private static func host(_ request: Request) -> Substring {
        Substring((request.header("host") ?? "").utf8.prefix { $0 != 0x3a })
    }

    /// Whether it is an upload by a browser's form, whose signature is in a field.
    private static func isForm(_ request: Request) -> Bool {
        request.method == "POST" && !request.rawPath.hasPrefix("/api/")
            && request.header("content-type")?.lowercased().hasPrefix("multipart/form-data") == true
            && request.header("authorization") == nil
    }

    private func virtualBucket(_ request: Request) -> RepositoryID? {
        let host = Self.host(request)
        for domain in settings.s3Domains {
            let rest = host.utf8.count - domain.utf8.count - 1
            guard rest > 0, host.hasSuffix(domain), host.utf8.dropFirst(rest).first == 0x2e else { continue }
            return RepositoryID(String(Substring(host.utf8.prefix(rest))))
        }
        return nil
    }

    package func begin(_ request: Request) -> Reception {
        request.note.isS3 = true
        let path = URIEncoding.decode(request.rawPath)
        let query = URIEncoding.query(request.rawQuery, plusIsSpace: true)
        var call: S3Call?
        do {
            if let fault = request.fault {
                throw S3Error(400, "InvalidRequest", "This is no request that can be understood: \(fault).")
            }
            let virtualBucket = virtualBucket(request)
            if Self.isForm(request) {
                request.note.operation = .s3(.postObject)
                let bucket =
                    virtualBucket
                    ?? RepositoryID(String(decoding: path.dropFirst().prefix { $0 != 0x2f }, as: UTF8.self))
                return .body(try PostObjectSink(self, request, bucket: bucket))
            }
            let identity = try authentication.identify(
                request, path: path, query: query, virtualBucket: virtualBucket)
            request.note.user = identity.user
            if let name = QueryItem.firstRepeated(query) {
                throw S3Error.invalidArgument("The parameter \(name) is given more than once")
            }
            call = S3Call(
                request: request, query: query, identity: identity, path: path, virtualBucket: virtualBucket)
            return try dispatch(call!)
        } catch {
            let response = failure(S3Error(error, isWrite: request.isWrite), call, to: request)
            // A password that was wrong: guessing is as slow here as at the other door.
            if let error = error as? LakeError, error.code == .unauthenticated, request.header("authorization") != nil {
                return authentication.login.refuse(request, with: response)
            }
            return .respond(response)
        }
    }

    func failure(_ error: S3Error, _ call: S3Call?, to request: Request) -> Response {
        // Who is not known or may not, or asks for what is not a bucket, is told nothing of the place.
        let call = call.flatMap {
            error.code == S3Error.accessDenied.code || (try? catalog.repository($0.bucket)) == nil ? nil : $0
        }
        return error.response(
            to: request, in: settings.region, bucket: call?.bucket, ref: call.flatMap { $0.ref.isEmpty ? nil : $0.ref },
            key: call.flatMap { $0.key.isEmpty ? nil : $0.key })
    }

    /// Runs blocking work off the connection's thread.
    func work(_ call: S3Call, _ cost: Cost = .store, _ work: @escaping @Sendable () throws -> Response) -> Reception {
        cost.reception {
            do { return try work() } catch {
                return failure(S3Error(error, isWrite: call.request.isWrite), call, to: call.request)
            }
        }
    }

    /// Takes a small body as a whole, then works.
    /// - Parameter checksIt: whether checksums of the request are of its body, and not of what it speaks of.
    func body(
        _ call: S3Call, limit: Int = 8 << 20, checksIt: Bool = true,
        _ work: @escaping @Sendable ([UInt8]) throws -> Response
    ) throws -> Reception {
        let sink = try PayloadSink(call: call, gateway: self, upload: nil, limit: limit, checksIt: checksIt) {
            bytes, _ in try work(bytes)
        }
        return .body(sink)
    }

    private func dispatch(_ call: S3Call) throws -> Reception {
        let row = S3Row.of(call)
        if let fallback, try isElsewhere(call, row) { return try fallback.forward(call.request) }
        guard let row else { throw Self.otherMethod }
        call.request.note.operation = .s3(row.operation)
        guard row.cost != .point, !call.request.hasBody else { return try answer(row, call) }
        return work(call, row.cost) { try answer(row, call).answer(to: []) }
    }

    /// Whether a request is about a bucket that is no repository here, and is not to become one.
    private func isElsewhere(_ call: S3Call, _ row: S3Row?) throws -> Bool {
        guard !call.bucket.isEmpty else { return false }
        if settings.createsRepositories, row?.operation == .createBucket { return false }
        do { _ = try catalog.repository(call.bucket) } catch {
            guard LakeError(error).code == .notFound(.repository) else { throw error }
            return true
        }
        return false
    }

    /// Refuses who may not do what a row is about.
    private func require(_ needs: S3Row.Needs, _ call: S3Call) throws {
        switch needs {
        case .object(let action): try access.require([.object(action, call.bucket, call.key)], for: call.caller)
        case .copy:
            let source = try call.request.header("x-amz-copy-source").map { _ in try copySource(call) }
            let reading = source.map { [Permission.object("ReadObject", $0.bucket, $0.key)] } ?? []
            try access.require(reading + [.object("WriteObject", call.bucket, call.key)], for: call.caller)
        case .repository(let action):
            _ = try catalog.repository(call.bucket)
            try access.require([.repository(action, call.bucket)], for: call.caller)
        case .name(let action): try access.require([.repository(action, call.bucket)], for: call.caller)
        case .listing:
            _ = try catalog.repository(call.bucket)
            let hasRef = S3Call.split(call.keyValue("prefix").bytes).hasSlash
            try access.require([.repository(hasRef ? "ListObjects" : "ListBranches", call.bucket)], for: call.caller)
        case .some(let action):
            let below =
                call.bucket.isEmpty ? Permission.repository("", "") : Permission.object("", call.bucket, Key([]))
            try access.requireSome("fs:\(action)", below: below.resource, for: call.caller)
        case .form: break
        }
    }

    private func answer(_ row: S3Row, _ call: S3Call) throws -> Reception {
        try require(row.needs, call)
        try Unsupported.check(call)
        return switch row.operation {
        case .listBuckets: try listBuckets(call)
        case .createBucket: try createBucket(call)
        case .deleteBucket: try deleteBucket(call)
        case .headBucket: try headBucket(call)
        case .deleteObjects: try deleteMany(call)
        case .listMultipartUploads: .respond(try uploads.list(call, self))
        case .getBucketLocation: .respond(xml("LocationConstraint") { _ in })
        case .getBucketAcl: .respond(ownACL(call))
        case .getBucketRequestPayment:
            .respond(xml("RequestPaymentConfiguration") { $0.text("Payer", "BucketOwner") })
        case .getBucketConfiguration: .respond(try absent(call))
        case .putBucketConfiguration, .putBucketAcl: try answerACL(call)
        // A configuration that is not there is gone.
        case .deleteBucketConfiguration: .respond(Response(status: 204))
        case .listObjects, .listObjectsV2, .listObjectVersions:
            .respond(try list(call, catalog.repository(call.bucket)))
        case .refOnly: try refOnly(call)
        case .listParts: try uploads.listParts(call, self)
        case .getObject, .headObject, .getObjectTagging, .getObjectAcl:
            settings.verifiesReads ? work(call) { try read(call) } : .respond(try read(call))
        case .uploadPart: try uploads.putPart(call, self)
        case .copyObject: try copy(call)
        case .putObject: try put(call)
        case .abortMultipartUpload: try uploads.abort(call, self)
        case .deleteObject: try delete(call)
        case .createMultipartUpload: try uploads.create(call, self)
        case .completeMultipartUpload: try uploads.complete(call, self)
        case .putObjectAcl: try putObjectACL(call)
        case .putObjectTagging, .deleteObjectTagging: try setTags(call)
        case .getObjectAttributes: .respond(try attributes(call))
        // A form has its signature in a field, and is told before.
        case .postObject: throw Self.otherMethod
        case .getObjectTorrent, .getObjectRetention, .getObjectLegalHold, .putObjectRetention, .putObjectLegalHold:
            throw Self.unsupported
        }
    }

    private static let otherMethod = S3Error(
        405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
    private static let unsupported = S3Error(
        501, "NotImplemented", "A header or sub-resource that you sent asks for something that this server does not do."
    )

    /// Requests for a ref without a key: there is no such object; making its "folder" is nothing to do.
    private func refOnly(_ call: S3Call) throws -> Reception {
        let tag = ("ETag", "\"d41d8cd98f00b204e9800998ecf8427e\"")
        switch call.request.method {
        case "GET", "HEAD":
            // The folder of a ref is there when the ref is: what a PUT of it answered.
            guard call.hasKeySlash else { throw S3Error.noSuchKey }
            _ = try catalog.resolve(call.ref, in: call.bucket)
            return .respond(Response(status: 200, headers: [("Content-Type", "application/octet-stream"), tag]))
        case "DELETE":
            // There is no such object, so it is gone.
            _ = try catalog.checkWritable(call.branch, in: call.bucket)
            return .respond(Response(status: 204, headers: [("Content-Type", "application/xml")]))
        case "PUT":
            _ = try catalog.checkWritable(call.branch, in: call.bucket)
            // S3A signs even nothing in chunks.
            let count = call.request.header("x-amz-decoded-content-length").flatMap { Int64($0) }
            guard call.hasKeySlash, (count ?? call.request.contentLength ?? 0) == 0 else {
                throw S3Error.invalidArgument("The key names no object: it needs a path behind the branch")
            }
            return try body(call, limit: 0) { _ in
                Response(status: 200, headers: [("Content-Type", "application/xml"), tag])
            }
        default: throw S3Error.noSuchKey
        }
    }
}

/// One S3 request, taken apart.
struct S3Call: Sendable {
    let request: Request
    let query: [QueryItem]
    let identity: S3Identity
    let bucket: RepositoryID
    /// The first part of the key; empty if there is none.
    let ref: String
    /// What follows it.
    let key: Key
    /// There was a slash behind the ref.
    let hasKeySlash: Bool
    /// What the ref is where it is one.
    var branch: BranchName { BranchName(ref) }

    /// - Throws: `InvalidArgument` where it is missing or none.
    func partNumber() throws -> Int {
        guard let number = value("partNumber").flatMap({ Int($0) }), (1...Catalog.mostParts).contains(number) else {
            throw S3Error.invalidArgument(
                "Part number must be an integer between 1 and \(Catalog.mostParts), inclusive")
        }
        return number
    }
    var caller: Caller { Caller(identity.user, from: request.peer?.address) }

    init(request: Request, query: [QueryItem], identity: S3Identity, path: [UInt8], virtualBucket: RepositoryID?) {
        self.request = request
        self.query = query
        self.identity = identity
        var rest = path.dropFirst()
        if let virtualBucket {
            bucket = virtualBucket
        } else {
            bucket = RepositoryID(String(decoding: rest.prefix { $0 != 0x2f }, as: UTF8.self))
            rest = rest.drop { $0 != 0x2f }.dropFirst()
        }
        (ref, key, hasKeySlash) = Self.split(rest)
    }

    /// The ref and the path of a key.
    static func split(_ key: some Collection<UInt8>) -> (ref: String, path: Key, hasSlash: Bool) {
        let ref = key.prefix { $0 != 0x2f }
        let rest = key.dropFirst(ref.count)
        return (String(decoding: Array(ref), as: UTF8.self), Key(Array(rest.dropFirst())), !rest.isEmpty)
    }

    func value(_ name: String) -> String? { query.value(name) }

    /// The value of a parameter that is a key, or the beginning of one: any bytes. Empty if it is not there.
    func keyValue(_ name: String) -> Key { Key(query.first { $0.name == name }?.bytes ?? []) }
}
