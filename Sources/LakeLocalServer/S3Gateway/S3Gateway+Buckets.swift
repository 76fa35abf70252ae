import Foundations
import Transport
import Versioning

extension S3Gateway {
    func xml(_ name: String, _ content: (inout XMLWriter) -> Void) -> Response {
        var writer = XMLWriter()
        writer.element(name, namespace: XMLWriter.s3Namespace, content)
        return Response(status: 200, headers: [("Content-Type", "application/xml")], body: .bytes(writer.bytes))
    }

    /// Who asks, as S3 tells of users.
    private func user(_ call: S3Call, _ xml: inout XMLWriter) {
        xml.text("ID", call.identity.user)
        xml.text("DisplayName", call.identity.user)
    }

    func listBuckets(_ call: S3Call) throws -> Reception {
        let prefix = call.value("prefix") ?? ""
        var most = Int.max
        if let text = call.value("max-buckets") {
            guard let number = Int(text), (1...10_000).contains(number) else {
                throw S3Error.invalidArgument("max-buckets '\(text)' is not a number from 1 to 10000")
            }
            most = number
        }
        var repositories: [Repository] = []
        var after = call.value("continuation-token") ?? ""
        var hasMore = true
        while hasMore, repositories.count < most {
            let page = try catalog.listRepositories(
                prefix: prefix, after: after, limit: min(1000, most - repositories.count)
            ) { try access.isAllowed(.repository("ListRepositories", $0.id), for: call.caller) }
            repositories += page.items
            hasMore = page.hasMore && !page.items.isEmpty
            after = page.items.last?.id.text ?? after
        }
        return .respond(
            xml("ListAllMyBucketsResult") { xml in
                xml.element("Owner") { user(call, &$0) }
                xml.element("Buckets") { xml in
                    for repository in repositories {
                        xml.element("Bucket") {
                            $0.time("CreationDate", repository.creationDate)
                            $0.text("Name", repository.id.text)
                        }
                    }
                }
                if !prefix.isEmpty { xml.text("Prefix", prefix) }
                if hasMore { xml.text("ContinuationToken", after) }
            })
    }

    /// What a bucket without a feature answers when it is asked for its configuration.
    private static let absent: [String: (code: String, message: String)] = [
        "policy": ("NoSuchBucketPolicy", "The bucket policy does not exist"),
        "lifecycle": ("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"),
        "policyStatus": ("NoSuchBucketPolicy", "The bucket policy does not exist"),
        "cors": ("NoSuchCORSConfiguration", "The CORS configuration does not exist"),
        "website": ("NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration"),
        "tagging": ("NoSuchTagSet", "The TagSet does not exist"),
        "encryption": (
            "ServerSideEncryptionConfigurationNotFoundError", "The server side encryption configuration was not found"
        ),
        "replication": ("ReplicationConfigurationNotFoundError", "The replication configuration was not found"),
        "object-lock": (
            "ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket"
        ),
        "publicAccessBlock": (
            "NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found"
        ), "ownershipControls": ("OwnershipControlsNotFoundError", "The bucket ownership controls were not found"),
        "inventory": ("NoSuchConfiguration", "The specified configuration does not exist."),
        "metrics": ("NoSuchConfiguration", "The specified configuration does not exist."),
        "analytics": ("NoSuchConfiguration", "The specified configuration does not exist."),
        "intelligent-tiering": ("NoSuchConfiguration", "The specified configuration does not exist."),
    ]
    /// Configurations that are there, and empty.
    private static let empty: [String: String] = [
        "versioning": "VersioningConfiguration", "notification": "NotificationConfiguration",
        "logging": "BucketLoggingStatus", "accelerate": "AccelerateConfiguration",
    ]

    /// Parameters that ask for a bucket's configuration, of those that have no operation of their own here.
    static let configurations = Set(absent.keys).union(empty.keys)

    func createBucket(_ call: S3Call) throws -> Reception {
        guard (try? catalog.repository(call.bucket)) == nil else {
            throw S3Error(
                409, settings.createsRepositories ? "BucketAlreadyOwnedByYou" : "BucketAlreadyExists",
                "The requested bucket name is not available: a repository of that name exists.")
        }
        guard settings.createsRepositories else {
            throw S3Error(
                501, "NotImplemented",
                "A repository is made over REST, where its storage namespace can be named, or here if gateways.s3.create_repositories is set."
            )
        }
        return try body(call, limit: 1 << 16) { [catalog, settings] _ in
            do { try call.bucket.check() } catch {
                throw S3Error(
                    400, "InvalidBucketName", "The specified bucket is not valid: \(LakeError(error).message)")
            }
            _ = try catalog.createRepository(
                call.bucket, storageNamespace: "\(settings.stores[0].scheme)://\(call.bucket)", defaultBranch: "main",
                schemes: [settings.stores[0].scheme], storageID: settings.stores[0].id)
            return Response(
                status: 200, headers: [("Location", "/\(call.bucket)"), ("Content-Type", "application/xml")])
        }
    }

    /// Most branches that a bucket may have that is deleted here.
    private static let mostBranches = 1000

    func deleteBucket(_ call: S3Call) throws -> Reception {
        let repository = try catalog.repository(call.bucket)
        guard settings.createsRepositories else {
            throw S3Error(
                405, "MethodNotAllowed",
                "A repository is deleted over REST, or here if gateways.s3.create_repositories is set.")
        }
        let branches = try catalog.listBranches(
            call.bucket, prefix: "", after: "", limit: Self.mostBranches, showHidden: true)
        let isEmpty =
            try !branches.hasMore
            && branches.items.allSatisfy {
                try !catalog.hasObjects(under: Key([]), at: catalog.resolve($0.id.text, in: repository))
            }
        guard isEmpty else {
            throw S3Error(409, "BucketNotEmpty", "The bucket you tried to delete is not empty")
        }
        try catalog.deleteRepository(call.bucket, force: false)
        return .respond(Response(status: 204))
    }

    func headBucket(_ call: S3Call) throws -> Reception {
        return .respond(
            Response(
                status: 200, headers: [("x-amz-bucket-region", settings.region), ("Content-Type", "application/xml")]))
    }

    func putObjectACL(_ call: S3Call) throws -> Reception {
        _ = try catalog.entry(call.key, at: call.ref, in: call.bucket)
        return try answerACL(call)
    }

    /// A configuration that is to be set, of features that are not here, which it says; but an access control list that
    /// says what is so anyway is taken. Who may what is policies' to say.
    func answerACL(_ call: S3Call) throws -> Reception {
        let owners: Set<String?> = ["private", "bucket-owner-full-control", "bucket-owner-read"]
        guard call.value("acl") != nil, !call.request.hasBody, owners.contains(call.request.header("x-amz-acl")) else {
            throw S3Error(501, "NotImplemented", "This is not to be set here: who may what, policies say.")
        }
        return .respond(Response(status: 200, headers: [("Content-Type", "application/xml")]))
    }

    /// The configuration of a feature that buckets here do not have.
    func absent(_ call: S3Call) throws -> Response {
        for item in call.query {
            if let absent = Self.absent[item.name] { throw S3Error(404, absent.code, absent.message) }
            if let name = Self.empty[item.name] { return xml(name) { _ in } }
        }
        throw S3Error.noSuchKey
    }

    func ownACL(_ call: S3Call) -> Response {
        xml("AccessControlPolicy") { xml in
            xml.element("Owner") { user(call, &$0) }
            xml.element("AccessControlList") { list in
                list.element("Grant") { grant in
                    grant.element("Grantee", attributes: XMLWriter.canonicalUser) { user(call, &$0) }
                    grant.text("Permission", "FULL_CONTROL")
                }
            }
        }
    }

    // MARK: listing objects

    /// Lists of both versions. Keys are `ref/path`; without a ref in the prefix, branches are the common prefixes.
    func list(_ call: S3Call, _ repository: Repository) throws -> Response {
        let isV2 = call.value("list-type") == "2"
        let hasVersions = call.value("versions") != nil
        let prefix = call.keyValue("prefix")
        let delimiter = call.keyValue("delimiter")
        var limit = 1000
        if let text = call.value("max-keys"), !text.isEmpty {
            guard let number = Int(text), number >= 0 else {
                throw S3Error.invalidArgument("max-keys '\(text)' is not a number from 0 to 1000")
            }
            limit = min(number, 1000)
        }
        let token = isV2 ? call.value("continuation-token") : nil
        let start =
            hasVersions
            ? "key-marker" : !isV2 ? "marker" : token?.isEmpty == false ? "continuation-token" : "start-after"
        let after = PageToken.key(call.keyValue(start))
        let encodes = call.value("encoding-type") == "url"
        func shown(_ key: Key) -> String { encodes ? URIEncoding.encode(key.bytes, keepsSlash: true) : key.description }
        let page =
            limit == 0
            ? S3Page(items: [], hasMore: false)
            : try listing(call, repository, prefix: prefix, delimiter: delimiter, after: after, limit: limit)
        let withOwner = hasVersions || !isV2 || call.value("fetch-owner") == "true"
        return xml(hasVersions ? "ListVersionsResult" : "ListBucketResult") { xml in
            xml.text("Name", call.bucket.text)
            xml.text("IsTruncated", page.hasMore ? "true" : "false")
            xml.text("Prefix", shown(prefix))
            if !delimiter.isEmpty { xml.text("Delimiter", shown(delimiter)) }
            if hasVersions {
                xml.text("KeyMarker", shown(call.keyValue("key-marker")))
                xml.text("VersionIdMarker", call.value("version-id-marker") ?? "")
                if page.hasMore, let last = page.last {
                    xml.text("NextKeyMarker", shown(Key(PageToken.text(last))))
                    xml.text("NextVersionIdMarker", "null")
                }
            } else if isV2 {
                xml.text("KeyCount", page.items.count)
                if let token { xml.text("ContinuationToken", token) }
                if page.hasMore, let last = page.last {
                    xml.text("NextContinuationToken", PageToken.text(last))
                }
                if !call.keyValue("start-after").isEmpty { xml.text("StartAfter", shown(call.keyValue("start-after"))) }
            } else {
                xml.text("Marker", shown(call.keyValue("marker")))
                if page.hasMore, let last = page.last {
                    let next = Key(PageToken.text(last))
                    xml.text("NextMarker", shown(next))
                }
            }
            xml.text("MaxKeys", limit)
            if encodes { xml.text("EncodingType", "url") }
            xml.reserve(page.items.count * 400)
            let folder = encodes ? Array(URIEncoding.encode(page.folder, keepsSlash: true).utf8) : page.folder
            func write(_ name: String, _ path: Key, to xml: inout XMLWriter) {
                xml.text(
                    name, folder, encodes ? Key(URIEncoding.encode(path.bytes, keepsSlash: true)) : path)
            }
            for item in page.items {
                guard case .object(let path, let entry) = item else { continue }
                xml.element(hasVersions ? "Version" : "Contents") {
                    write("Key", path, to: &$0)
                    if hasVersions {
                        $0.text("VersionId", "null")
                        $0.text("IsLatest", "true")
                    }
                    $0.time("LastModified", entry.lastModified)
                    $0.tag("ETag", entry.s3Tag)
                    $0.text("Size", entry.size)
                    if withOwner { $0.element("Owner") { user(call, &$0) } }
                    $0.text("StorageClass", ObjectFacts.storageClass(entry.metadata))
                }
            }
            for item in page.items {
                guard case .commonPrefix(let path) = item else { continue }
                xml.element("CommonPrefixes") { write("Prefix", path, to: &$0) }
            }
        }
    }

    /// A page of a ref's listing, or of refs.
    private struct S3Page {
        /// What stands before every path: `ref/`, or nothing where refs are listed.
        var folder: [UInt8] = []
        let items: [Listing]
        let hasMore: Bool

        /// The key that it ends with.
        var last: Key? {
            switch items.last {
            case .object(let path, _), .commonPrefix(let path): Key(folder + path.bytes)
            case nil: nil
            }
        }
    }

    private func listing(_ call: S3Call, _ repository: Repository, prefix: Key, delimiter: Key, after: Key, limit: Int)
        throws -> S3Page
    {
        let (ref, path, hasSlash) = S3Call.split(prefix.bytes)
        guard hasSlash else {
            let last = S3Call.split(after.bytes).ref
            let page = try catalog.listBranches(call.bucket, prefix: ref, after: last, limit: limit, showHidden: false)
            return S3Page(items: page.items.map { .commonPrefix(Key($0.id.text + "/")) }, hasMore: page.hasMore)
        }
        var query = Catalog.ListQuery()
        query.prefix = path
        query.delimiter = delimiter
        query.limit = limit
        if !after.isEmpty {
            let (afterRef, afterPath, _) = S3Call.split(after.bytes)
            guard afterRef == ref else {
                throw S3Error.invalidArgument("the marker '\(after)' lies in another ref than the prefix '\(prefix)'")
            }
            query.after = afterPath
        }
        let resolved: ResolvedRef
        do { resolved = try catalog.resolve(ref, in: repository.id) } catch let error as LakeError
            where error.code == .notFound(.reference)
        { throw S3Error(400, "BadRequest", "There is no ref '\(ref)' in \(call.bucket).") }
        let page = try catalog.list(resolved, query)
        return S3Page(folder: Array("\(ref)/".utf8), items: page.items, hasMore: page.hasMore)
    }

    // MARK: deleting many

    private static let mostKeys = 1000

    func deleteMany(_ call: S3Call) throws -> Reception {
        return try body(call) { bytes in
            guard let root = XMLElement.parse(bytes), root.name == "Delete" else { throw S3Error.malformedXML }
            let objects = root.all("Object").filter { $0.value("Key") != nil }
            let keys = objects.map { $0.value("Key")! }
            guard !keys.isEmpty, keys.count <= Self.mostKeys else { throw S3Error.malformedXML }
            let isQuiet = root.value("Quiet") == "true"
            var outcomes: [(key: String, error: S3Error?)] = []
            var byBranch: [BranchName: [(key: String, path: Key)]] = [:]
            for (key, object) in zip(keys, objects) {
                let (ref, path, _) = S3Call.split(key.utf8)
                let branch = BranchName(ref)
                do {
                    try access.require([.object("DeleteObject", call.bucket, path)], for: call.caller)
                    guard !path.isEmpty else {
                        // A ref with nothing behind it is no object: as gone as one can be, if there is such a branch.
                        _ = try catalog.checkWritable(branch, in: call.bucket)
                        outcomes.append((key, nil))
                        continue
                    }
                    try Names.checkPath(path)
                    try Unsupported.checkVersion(object.value("VersionId"))
                    if let condition = try DeleteCondition(
                        tag: object.value("ETag"), modified: object.value("LastModifiedTime"),
                        size: object.value("Size"))
                    {
                        try catalog.delete(path, on: branch, in: call.bucket, if: condition.holds)
                        outcomes.append((key, nil))
                        continue
                    }
                    byBranch[branch, default: []].append((key, path))
                } catch {
                    outcomes.append((key, S3Error(error, isWrite: true)))
                }
            }
            for (branch, items) in byBranch {
                do {
                    _ = try catalog.delete(items.map(\.path), on: branch, in: call.bucket)
                    outcomes += items.map { ($0.key, nil) }
                } catch {
                    outcomes += items.map { ($0.key, S3Error(error, isWrite: true)) }
                }
            }
            let order = Dictionary(keys.enumerated().map { ($1, $0) }) { first, _ in first }
            outcomes.sort { order[$0.key]! < order[$1.key]! }
            return xml("DeleteResult") { xml in
                for outcome in outcomes {
                    if let error = outcome.error {
                        xml.element("Error") {
                            $0.text("Key", outcome.key)
                            $0.text("Code", error.code)
                            $0.text("Message", error.message)
                        }
                    } else if !isQuiet {
                        xml.element("Deleted") { $0.text("Key", outcome.key) }
                    }
                }
            }
        }
    }
}
