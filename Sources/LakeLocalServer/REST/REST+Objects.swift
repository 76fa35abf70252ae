import Foundations
import LakeAPI
import Transport
import Versioning

extension REST {
    /// Types, as they are written, that a browser may show in place (without scripts: see the policy header);
    /// everything else is offered for download.
    private static let inlineTypes: Set<String> = [
        "text/plain", "text/html", "text/markdown", "image/png", "image/jpeg", "image/gif", "image/webp",
        "image/svg+xml", "application/pdf", "application/json", "application/javascript", "video/mp4", "audio/mpeg",
    ]

    /// Writes what is told of an object.
    /// - Parameters:
    ///   - root: the namespace's address with a slash behind it.
    ///   - withMetadata: false for an empty map in place of the entry's, nil for none: as listings tell it.
    ///   - link: the address that is told in place of the physical one.
    private func write(
        _ path: Key, _ entry: Entry, under root: [UInt8], withMetadata: Bool?, contentType: String? = nil,
        link: ObjectLinks.Link? = nil, to json: inout JSONWriter
    ) {
        json.object { json in
            json.member("checksum", entry.eTag)
            json.member("content_type", contentType ?? entry.shownContentType)
            if let withMetadata { json.member("metadata", withMetadata ? ObjectFacts.shown(entry.metadata) : [:]) }
            json.member("mtime", entry.lastModified.seconds)
            json.member("path", path.description)
            json.member("path_type", "object")
            json.name("physical_address")
            if let link {
                json.text(link.url)
                json.member("physical_address_expiry", link.expires)
            } else if entry.isRelative {
                json.text(root, entry.address)
            } else {
                json.text(entry.address)
            }
            json.member("size_bytes", entry.size)
        }
    }

    /// One object's answer.
    func told(
        _ status: Int, _ path: Key, _ entry: Entry, in namespace: StorageNamespace, withMetadata: Bool = true,
        contentType: String? = nil, link: ObjectLinks.Link? = nil
    ) -> Response {
        var json = JSONWriter()
        write(
            path, entry, under: Array(namespace.location("").description.utf8), withMetadata: withMetadata,
            contentType: contentType, link: link, to: &json)
        return .json(status, written: json.bytes)
    }

    func addObjects(_ router: inout Router) {
        for operation in [Operation.getObject, .headObject] {
            router.on(operation) { call in
                let path = try call.path()
                if try call.flag("presign"), operation == .getObject {
                    let found = try catalog.entry(path, at: call[.ref], in: call.repository)
                    let link = try links.link(to: found.entry, at: found.location, call.request)
                    return .respond(Response(status: 302, headers: [("Location", link.url)]))
                }
                return settings.verifiesReads ? call.work { try read(call, path) } : .respond(try read(call, path))
            }
        }
        router.on(.statObject) { call in
            let path = try call.path()
            let withMetadata = try call.flag("user_metadata") ?? true
            let isPresigned = try call.flag("presign") as Bool
            @Sendable func told(
                _ found: (entry: Entry, location: ObjectLocation, repository: Repository)
            ) throws -> Response {
                try self.told(
                    200, path, found.entry, in: found.repository.namespace, withMetadata: withMetadata,
                    link: isPresigned ? links.link(to: found.entry, at: found.location, call.request) : nil)
            }
            guard Waiting.isForbidden, !isPresigned else {
                return .respond(try told(catalog.entry(path, at: call[.ref], in: call.repository)))
            }
            return .later { [catalog] answer in
                catalog.entry(path, at: call[.ref], in: call.repository) { found in
                    do { answer(try told(found.get())) } catch { answer(Self.failure(error, call.request)) }
                }
            }
        }
        router.on(.getUnderlyingProperties) { call in
            let path = try call.path()
            _ = try catalog.entry(path, at: call[.ref], in: call.repository)
            return .respond(.json(200, API.UnderlyingObjectProperties(storageClass: nil)))
        }
        router.on(.listObjects) { call in
            var query = Catalog.ListQuery()
            query.prefix = call.key("prefix")
            query.delimiter = call.key("delimiter")
            query.after = PageToken.key(call.key("after"))
            query.limit = try call.amount()
            let withMetadata = try call.flag("user_metadata") ?? true
            let isPresigned = try call.flag("presign") as Bool
            let ref = try catalog.resolve(call[.ref], in: call.repository)
            let namespace = try ref.repository.namespace
            let page = try catalog.list(ref, query)
            // Who may list an object may not have to read it.
            func link(_ path: Key, _ entry: Entry) -> ObjectLinks.Link? {
                guard isPresigned, let location = try? entry.location(in: namespace),
                    (try? access.isAllowed(.object("ReadObject", call.repository, path), for: call.caller)) == true
                else { return nil }
                return try? links.link(to: entry, at: location, call.request)  // Listed without it.
            }
            let root = Array(namespace.location("").description.utf8)
            return .respond(
                .json(
                    200,
                    written: JSONWriter.list(page.items, hasMore: page.hasMore, next: { PageToken.text($0.path) }) {
                        json, item in
                        switch item {
                        case .object(let path, let entry):
                            write(
                                path, entry, under: root,
                                withMetadata: withMetadata && !entry.metadata.isEmpty ? true : nil,
                                link: link(path, entry), to: &json)
                        case .commonPrefix(let path):
                            json.object { json in
                                json.member("checksum", "")
                                json.member("mtime", 0)
                                json.member("path", path.description)
                                json.member("path_type", "common_prefix")
                                json.member("physical_address", "")
                            }
                        }
                    }))
        }
        router.on(.uploadObject) { call in
            let path = try call.path()
            let force = try call.flag("force") as Bool
            return .body(try UploadSink(call: call, rest: self, path: path, isForced: force))
        }
        router.on(.deleteObject) { call in
            let path = try call.path()
            let force = try call.flag("force") as Bool
            return call.work {
                _ = try catalog.delete([path], on: call.branch, in: call.repository, force: force)
                return .noContent
            }
        }
        router.on(.deleteObjects) { call in
            let force = try call.flag("force") as Bool
            return call.json(API.PathList.self, limit: Call.largestList) { body in
                guard body.paths.count <= 1000 else {
                    throw LakeError(.invalidValue, "request size exceeded, max paths is set to 1000")
                }
                var errors: [API.ObjectError] = []
                var allowed: [Key] = []
                for path in body.paths {
                    do {
                        try call.require(.object("DeleteObject", call.repository, Key(path)))
                        try Names.checkPath(Key(path))
                        allowed.append(Key(path))
                    } catch {
                        let error = LakeError(error)
                        errors.append(
                            .init(
                                statusCode: error.code == .permissionDenied ? 401 : 400, message: error.message,
                                path: path))
                    }
                }
                do {
                    _ = try catalog.delete(allowed, on: call.branch, in: call.repository, force: force)
                } catch let error as LakeError where error.code == .readOnlyRepository || error.code == .protectedBranch
                {
                    errors += allowed.map { .init(statusCode: 403, message: error.message, path: $0.description) }
                }
                return .json(200, API.ObjectErrorList(errors: errors))
            }
        }
        router.on(.copyObject) { call in
            let destination = try call.path("dest_path")
            return call.json(API.ObjectCopyCreation.self) { body in
                try call.require(
                    .object("ReadObject", call.repository, Key(body.srcPath)),
                    .object("WriteObject", call.repository, destination))
                guard !body.srcPath.isEmpty else {
                    throw LakeError(.invalidValue, "src_path is empty: name the object to copy")
                }
                let source = body.srcRef.flatMap { $0.isEmpty ? nil : $0 } ?? call.branch.text
                let entry = try catalog.copy(
                    Key(body.srcPath), at: source, from: call.repository, to: destination, on: call.branch,
                    in: call.repository,
                    force: body.force ?? false, isShallow: body.shallow ?? false)
                return try told(201, destination, entry, in: catalog.repository(call.repository).namespace)
            }
        }
        router.on(.updateObjectUserMetadata) { call in
            let path = try call.path()
            return call.json(API.UpdateObjectUserMetadata.self) { body in
                try ObjectBounds.check(metadata: body.set)
                try catalog.updateMetadata(of: path, on: call.branch, in: call.repository) {
                    $0 = Metadata(body.set)
                }
                return .noContent
            }
        }
        router.on(.uploadObjectPreflight) { _ in .respond(.noContent) }
        addLinks(&router)
    }

    /// The object, or the part of it that is asked for.
    private func read(_ call: Call, _ path: Key) throws -> Response {
        try ObjectBody.retrying { try readOnce(call, path, isLast: $0) }
    }

    private func readOnce(_ call: Call, _ path: Key, isLast: Bool) throws -> Response {
        let isHead = call.request.method == "HEAD"
        let (entry, location, _) = try catalog.entry(path, at: call[.ref], in: call.repository)
        switch Precheck(call.request, eTag: entry.eTag, modified: entry.lastModified) {
        case .proceed: break
        case .notModified: return Response(status: 304, headers: [("ETag", "\"\(entry.eTag)\"")])
        case .failed:
            return isHead
                ? Response(status: 412) : .failure(412, "path \(path): the condition of the request does not hold")
        }
        let type = entry.shownContentType
        var headers: [(name: String, value: String)] =
            [
                ("ETag", "\"\(entry.eTag)\""), ("Last-Modified", entry.lastModified.httpDate),
                ("Cache-Control", "no-store, must-revalidate"),
            ] + Response.untrusted
        if isHead {
            headers.append(("Accept-Ranges", "bytes"))
        } else {
            headers.append(("Content-Disposition", Self.inlineTypes.contains(type) ? "inline" : "attachment"))
        }
        var header = call.request.header("range")
        // A validator that no longer holds makes the range void (RFC 9110, 13.1.5).
        if let validator = call.request.header("if-range"), Precheck.tags(validator) != [entry.eTag],
            Timestamp(httpDate: validator).map({ $0.seconds >= entry.lastModified.seconds }) != true
        {
            header = nil
        }
        var range = 0..<entry.size
        var status = 200
        switch ByteRange(header, size: entry.size) {
        case .whole: break
        case .part(let part):
            range = part
            status = 206
            headers.append(part.contentRange(of: entry.size))
        case .malformed:
            return .failure(
                400, "parameter \"Range\" in header has an error: '\(header ?? "")' is not of the form bytes=first-last"
            )
        case .unsatisfiable:
            var response = Response.failure(416, "Requested Range Not Satisfiable")
            response.headers += headers + [("Content-Range", "bytes */\(entry.size)")]
            return response
        }
        let body: Response.Body
        do {
            // A HEAD tells what the entry says, as lakeFS does; whether the bytes are there shows when they are read.
            body =
                isHead
                ? .announced(range.upperBound - range.lowerBound)
                : try ObjectBody.make(catalog.objects, entry, at: location, range, verifies: settings.verifiesReads)
        } catch let error as LakeError where error.code == .dataGone && isLast {
            var response = Response(error)
            response.headers += [
                ("ETag", "\"\(entry.eTag)\""), ("Cache-Control", "no-store, must-revalidate"),
                ("Content-Disposition", "attachment"),
            ]
            return response
        }
        return Response(status: status, headers: [("Content-Type", type)] + headers, body: body)
    }

    // MARK: addresses for direct uploads

    /// The signature that goes with a handed-out address. Source: `lakefs-formats.md` 1.2.
    private func signature(_ address: String, _ call: Call, _ path: Key) -> String {
        let fields = [
            ("Repository", call.repository.text), ("Branch", call.branch.text), ("Path", path.description),
            ("PhysicalAddress", address),
        ]
        let message =
            "{"
            + fields.map { "\"\($0.0)\":" + String(decoding: Coding.encode($0.1), as: UTF8.self) }.joined(
                separator: ",") + "}"
        return Base64.encodeURL(Hash.hmac(key: Array(settings.signingSecret.utf8), Array(message.utf8)))
    }

    private func addLinks(_ router: inout Router) {
        router.on(.getPhysicalAddress) { call in
            let path = try call.path()
            let repository = try catalog.repository(call.repository)
            _ = try catalog.branch(call.branch, in: call.repository)
            let location = try repository.namespace.location(catalog.newDirectAddress())
            let address = "\(location)," + signature(location.description, call, path)
            let link = try call.flag("presign") ? try links.link(to: location, for: .write, call.request) : nil
            return .respond(
                .json(
                    200,
                    API.StagingLocation(
                        physicalAddress: address, presignedUrl: link?.url, presignedUrlExpiry: link?.expires)))
        }
        router.on(.linkPhysicalAddress) { call in
            let path = try call.path()
            return call.json(API.StagingMetadata.self, allowsNull: true) { body in
                try Names.checkPath(path)
                let repository = try catalog.repository(call.repository)
                let namespace = try repository.namespace
                guard let given = body.staging.physicalAddress, let comma = given.lastIndex(of: ",") else {
                    throw LakeError(
                        .invalidValue,
                        "physical address '\(body.staging.physicalAddress ?? "")' was not handed out by this server")
                }
                let address = String(given[..<comma])
                let root = namespace.location("").description
                guard address.hasPrefix(root),
                    isEqualInConstantTime(
                        Array(given[given.index(after: comma)...].utf8), Array(signature(address, call, path).utf8)),
                    let isLeased = Catalog.isLeased(direct: address)
                else {
                    throw LakeError(.invalidValue, "physical address '\(given)' was not handed out for \(path)")
                }
                guard isLeased else {
                    throw LakeError(.invalidValue, "physical address '\(given)' has expired: ask for a new one")
                }
                try Entry.checkSize(body.sizeBytes)
                guard !body.checksum.isEmpty else { throw LakeError(.invalidValue, "checksum is empty") }
                try ObjectBounds.check(
                    metadata: body.userMetadata, contentType: body.contentType, checksum: body.checksum)
                let relative = String(address.dropFirst(root.count))
                if let current = try? catalog.entry(path, at: call.branch.text, in: call.repository).entry,
                    current.address == relative
                {
                    throw LakeError(.invalidValue, "physical address '\(given)' was linked already")
                }
                let entry = Entry(
                    address: relative, lastModified: try Timestamp(given: body.mtime), size: body.sizeBytes,
                    eTag: body.checksum.filter { $0 != "\"" && $0 != " " },
                    metadata: Metadata(body.userMetadata ?? [:]),
                    contentType: body.contentType ?? "application/octet-stream")
                let location = namespace.location(relative)
                try links.close(location)
                do {
                    try catalog.stage(
                        entry, at: path, on: call.branch, in: call.repository,
                        if: Precheck.writeCondition(call.request), force: body.force ?? false)
                } catch {
                    // Unless it may have been seen: then it has an entry, for all anybody knows.
                    if (error as? LakeError)?.mayBeStaged != true { links.open(location) }
                    throw error
                }
                return told(200, path, entry, in: namespace)
            }
        }
        router.on(.stageObject) { call in
            let path = try call.path()
            return call.jsonSoon(API.ObjectStageCreation.self) { body, answer in
                let repository = try catalog.checkWritable(
                    call.branch, in: call.repository, force: body.force ?? false)
                let root = try repository.namespace.location("data/").description
                let isOwn = body.physicalAddress.hasPrefix(root) && !body.physicalAddress.contains("/../")
                guard
                    isOwn
                        || ObjectLocation(address: body.physicalAddress, store: repository.storageID)
                            .map(catalog.objects.isOpen) == true
                else {
                    throw LakeError(
                        .invalidValue,
                        "physical address '\(body.physicalAddress)' is not under \(root), nor under a folder that imports may name"
                    )
                }
                try Entry.checkSize(body.sizeBytes)
                try ObjectBounds.check(
                    metadata: body.metadata, contentType: body.contentType, checksum: body.checksum)
                let entry = Entry(
                    address: isOwn ? "data/" + body.physicalAddress.dropFirst(root.count) : body.physicalAddress,
                    addressType: isOwn ? .relative : .full, lastModified: try Timestamp(given: body.mtime),
                    size: body.sizeBytes,
                    eTag: body.checksum, metadata: Metadata(body.metadata ?? [:]),
                    contentType: body.contentType ?? "application/octet-stream")
                let namespace = try repository.namespace
                try catalog.stage(entry, at: path, on: call.branch, in: repository) { error in
                    answer(error.map { Response($0) } ?? told(201, path, entry, in: namespace))
                }
            }
        }
    }
}

/// Takes an uploaded object: the raw body, or the part `content` of a form.
private final class UploadSink: BodySink, @unchecked Sendable {
    // One thread at a time feeds and finishes a sink, as the protocol says.
    private let call: Call
    private let rest: REST
    private let path: Key
    private let upload: Upload
    private var form: FormReader?
    /// The form's first part of the name has begun.
    private var wasFound = false
    private var contentType: String

    init(call: Call, rest: REST, path: Key, isForced: Bool) throws {
        self.call = call
        self.rest = rest
        self.path = path
        upload = try rest.catalog.beginUpload(
            to: path, on: call.branch, in: call.repository, UploadFacts(isForced: isForced))
        let type = call.request.header("content-type") ?? ""
        contentType = type.isEmpty ? "application/octet-stream" : type
        if type.lowercased().hasPrefix("multipart/form-data") {
            guard let form = FormReader(contentType: type) else {
                throw LakeError(.invalidValue, "content type '\(type)' names no boundary")
            }
            self.form = form
        }
    }

    func receive(_ piece: UnsafeRawBufferPointer) throws(Refusal) {
        do {
            guard form != nil else { return unsafe try upload.write(piece) }
            unsafe try form!.feed(piece) { part in
                guard !wasFound, part.name == "content" else { return false }
                wasFound = true
                contentType = part.contentType ?? ""
                return true
            } _: {
                unsafe try upload.write($0)
            }
        } catch {
            throw Refusal(Response(error))
        }
    }

    func finish() -> Response {
        do {
            if let form {
                guard form.isComplete else {
                    throw LakeError(.invalidValue, "the form has no complete part named 'content'")
                }
            }
            let prefix = "x-lakefs-meta-"
            let metadata = Dictionary(
                call.request.headers.filter { $0.name.hasPrefix(prefix) }.map {
                    (String($0.name.dropFirst(prefix.count)), $0.value)
                }
            ) { _, last in last }
            try ObjectBounds.check(metadata: metadata, contentType: contentType)
            for (name, value) in metadata { upload.facts.metadata[name] = value }
            if !contentType.isEmpty { upload.facts.contentType = contentType }
            let entry = try upload.commit(if: Precheck.writeCondition(call.request))
            // lakeFS tells the type that came, and keeps what it stands for.
            return try rest.told(201, path, entry, in: upload.repository.namespace, contentType: contentType)
        } catch {
            return Response(error)
        }
    }
}
