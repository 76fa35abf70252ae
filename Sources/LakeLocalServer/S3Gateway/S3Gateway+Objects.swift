import Foundations
import Transport
import Versioning

extension S3Gateway {
    static func contentType(of request: Request) -> String {
        let type = request.header("content-type") ?? ""
        return type.isEmpty ? "application/octet-stream" : type
    }

    // MARK: reading

    func read(_ call: S3Call) throws -> Response { try ObjectBody.retrying { _ in try readOnce(call) } }

    private func readOnce(_ call: S3Call) throws -> Response {
        let isHead = call.request.method == "HEAD"
        let (entry, location, _) = try catalog.entry(call.key, at: call.ref, in: call.bucket)
        if call.value("tagging") != nil {
            return xml("Tagging") { tagging in
                tagging.element("TagSet") { set in
                    for tag in ObjectFacts.tags(entry.metadata) {
                        set.element("Tag") {
                            $0.text("Key", tag.key)
                            $0.text("Value", tag.value)
                        }
                    }
                }
            }
        }
        if call.value("acl") != nil { return ownACL(call) }
        switch Precheck(call.request, eTag: entry.s3Tag, modified: entry.lastModified) {
        case .proceed: break
        case .notModified:
            return Response(
                status: 304, headers: [("ETag", "\"\(entry.s3Tag)\""), ("Last-Modified", entry.lastModified.httpDate)])
        case .failed: throw S3Error.preconditionFailed
        }
        for item in call.query where item.name.hasPrefix("response-") {
            guard item.value.utf8.count <= 1024, !item.value.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) else {
                throw S3Error.invalidArgument("\(item.name) is longer than 1024 bytes, or holds a control character")
            }
        }
        let type = call.value("response-content-type") ?? entry.shownContentType
        var headers: [(name: String, value: String)] =
            [
                ("Content-Type", type),
                ("ETag", "\"\(entry.s3Tag)\""), ("Last-Modified", entry.lastModified.httpDate),
                ("Accept-Ranges", "bytes"),
            ] + Response.untrusted(type)
        for (name, header) in [
            ("content-disposition", "Content-Disposition"), ("cache-control", "Cache-Control"),
            ("content-language", "Content-Language"), ("content-encoding", "Content-Encoding"), ("expires", "Expires"),
        ] {
            if let value = call.value("response-" + name) { headers.append((header, value)) }
        }
        headers += ObjectFacts.headers(entry.metadata).filter { kept in !headers.contains { $0.name == kept.name } }
        var range = 0..<entry.size
        var status = 200
        let part = try partNumber(call)
        switch ByteRange(call.request.header("range"), size: entry.size) {
        case .part(let part):
            range = part
            status = 206
            headers.append(part.contentRange(of: entry.size))
        case .unsatisfiable where Self.isPlain(call.request.header("range")!):
            throw S3Error(416, "InvalidRange", "The requested range is not satisfiable")
        case .whole, .malformed, .unsatisfiable:
            let content = ObjectFacts.content(of: entry)
            if let number = part {
                guard let found = content.range(ofPart: number) ?? (number == 1 && content.parts.isEmpty ? range : nil)
                else { throw S3Error(416, "InvalidPartNumber", "The requested partnumber is not satisfiable") }
                range = found
                status = 206
                if !range.isEmpty {
                    headers.append(range.contentRange(of: entry.size))
                }
                if let count = entry.partCount { headers.append(("x-amz-mp-parts-count", "\(count)")) }
                headers += content.checksumHeaders(for: call.request, part: number)
            } else {
                headers += content.checksumHeaders(for: call.request)
            }
        }
        let body = try ObjectBody.make(
            catalog.objects, entry, at: location, range, isHead: isHead, verifies: settings.verifiesReads)
        return Response(status: status, headers: headers, body: body)
    }

    /// A range that S3 takes at its word; others it passes over.
    private static func isPlain(_ range: String) -> Bool {
        let ends = range.dropFirst(6).split(separator: "-", omittingEmptySubsequences: false)
        guard ends.count == 2, !range.contains(",") else { return false }
        guard let first = Int64(ends[0]) else { return ends[0].isEmpty && Int64(ends[1]) != nil }
        return ends[1].isEmpty || Int64(ends[1]).map { $0 >= first } == true
    }

    /// The part that is asked for; nil for none.
    private func partNumber(_ call: S3Call) throws -> Int? {
        guard call.value("partNumber") != nil else { return nil }
        guard call.request.header("range") == nil else {
            throw S3Error(
                400, "InvalidRequest", "Cannot specify both Range header and partNumber query parameter")
        }
        return try call.partNumber()
    }

    // MARK: writing

    /// Refuses a body that nobody says the end of: an empty one is announced as such.
    static func requireLength(_ request: Request) throws {
        guard request.contentLength != nil || request.header("transfer-encoding") != nil else {
            throw S3Error(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
        }
    }

    func put(_ call: S3Call) throws -> Reception {
        try Self.requireLength(call.request)
        try Names.checkPath(call.key)
        let facts = UploadFacts(
            metadata: try ObjectFacts.metadata(of: call.request), contentType: Self.contentType(of: call.request))
        let condition = Precheck.writeCondition(call.request)
        @Sendable func complete(_ entry: inout Entry, _ written: PayloadSink.Written) {
            ObjectFacts.set(.init(checksum: written.checksum), eTag: entry.eTag, in: &entry.metadata)
        }
        @Sendable func answer(_ written: PayloadSink.Written, _ entry: Entry) -> Response {
            Response(
                status: 200,
                headers: [("Content-Type", "application/xml"), ("ETag", "\"\(entry.eTag)\"")] + written.checksumHeaders)
        }
        let soon: PayloadSink.Soon = { written, done in
            written.upload.commit {
                complete(&$0, written)
            } then: {
                done($0.map { answer(written, $0) })
            }
        }
        let sink = try PayloadSink(
            call: call, gateway: self,
            upload: catalog.beginUpload(to: call.key, on: call.branch, in: call.bucket, facts),
            limit: .max, soon: condition == nil ? soon : nil
        ) { _, written in
            answer(written!, try written!.upload.commit(if: condition) { complete(&$0, written!) })
        }
        return .body(sink)
    }

    /// The object that `x-amz-copy-source` names.
    func copySource(_ call: S3Call) throws -> (bucket: RepositoryID, ref: String, key: Key) {
        let header = call.request.header("x-amz-copy-source") ?? ""
        // A plus is a space here, as in a query: clients that mean a plus say so by its code, all of them for S3.
        let name = header.prefix { $0 != "?" }
        try Unsupported.checkVersion(
            URIEncoding.query(String(header.dropFirst(name.count + 1)), plusIsSpace: true).first {
                $0.name == "versionId"
            }?.value)
        var bytes = URIEncoding.decode(name, plusIsSpace: true)[...]
        if bytes.first == 0x2f { bytes = bytes.dropFirst() }
        let bucket = RepositoryID(String(decoding: bytes.prefix { $0 != 0x2f }, as: UTF8.self))
        let (ref, key, _) = S3Call.split(bytes.drop { $0 != 0x2f }.dropFirst())
        guard !bucket.isEmpty, !ref.isEmpty, !key.isEmpty else {
            throw S3Error.invalidArgument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
        }
        return (bucket, ref, key)
    }

    func copy(_ call: S3Call) throws -> Reception {
        let source = try copySource(call)
        try Names.checkPath(call.key)
        let replaces = call.request.header("x-amz-metadata-directive")?.uppercased() == "REPLACE"
        let own = try ObjectFacts.metadata(of: call.request)
        _ = try catalog.checkWritable(call.branch, in: call.bucket)
        return work(call) { [self] in
            let found: Entry
            do { found = try catalog.entry(source.key, at: source.ref, in: source.bucket).entry } catch let error
                as LakeError
            {
                if case .notFound(.repository) = error.code { throw S3Error.noSuchBucket }
                throw S3Error.noSuchKey
            }
            let conditions = Request(
                method: "GET", target: "/",
                headers: call.request.headers.compactMap { header in
                    header.name.hasPrefix("x-amz-copy-source-if-")
                        ? (String(header.name.dropFirst("x-amz-copy-source-".count)), header.value) : nil
                })
            guard case .proceed = Precheck(conditions, eTag: found.s3Tag, modified: found.lastModified) else {
                throw S3Error.preconditionFailed
            }
            let metadata = ObjectFacts.metadata(ofCopy: call.request, own: own, from: found.metadata)
            guard
                source.bucket != call.bucket || source.ref != call.ref || source.key != call.key || replaces
                    || metadata != found.metadata
            else {
                throw S3Error(
                    400, "InvalidRequest",
                    "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes."
                )
            }
            let entry = try catalog.copy(
                source.key, at: source.ref, from: source.bucket, to: call.key, on: call.branch, in: call.bucket,
                metadata: metadata,
                contentType: replaces ? Self.contentType(of: call.request) : nil,
                condition: Precheck.writeCondition(call.request))
            return xml("CopyObjectResult") {
                $0.time("LastModified", entry.lastModified)
                $0.tag("ETag", entry.s3Tag)
            }
        }
    }

    // MARK: tags and attributes

    /// Tags are part of an entry: it is staged anew with others.
    func setTags(_ call: S3Call) throws -> Reception {
        _ = try catalog.checkWritable(call.branch, in: call.bucket)
        guard call.request.method == "PUT" else {
            return work(call) { [catalog] in
                try catalog.updateMetadata(of: call.key, on: call.branch, in: call.bucket) {
                    ObjectFacts.set([], in: &$0)
                }
                return Response(status: 204, headers: [("Content-Type", "application/xml")])
            }
        }
        return try body(call, limit: 1 << 20) { [catalog] bytes in
            let tags = try ObjectFacts.tags(ofDocument: bytes)
            try catalog.updateMetadata(of: call.key, on: call.branch, in: call.bucket) {
                ObjectFacts.set(tags, in: &$0)
            }
            return Response(status: 200, headers: [("Content-Type", "application/xml")])
        }
    }

    /// GetObjectAttributes: those that the request names.
    func attributes(_ call: S3Call) throws -> Response {
        let entry = try catalog.entry(call.key, at: call.ref, in: call.bucket).entry
        let known: Set = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
        let asked = (call.request.header("x-amz-object-attributes") ?? "").split(separator: ",").map { name in
            name.filter { $0 != " " }
        }
        guard !asked.isEmpty, asked.allSatisfy(known.contains) else {
            throw S3Error.invalidArgument("Invalid attribute name specified.")
        }
        let content = ObjectFacts.content(of: entry)
        let most = min(max(call.request.header("x-amz-max-parts").flatMap { Int($0) } ?? 1000, 1), 1000)
        let marker = max(call.request.header("x-amz-part-number-marker").flatMap { Int($0) } ?? 0, 0)
        var response = xml("GetObjectAttributesResponse") { xml in
            if asked.contains("ETag") { xml.text("ETag", entry.s3Tag) }
            if asked.contains("Checksum"), let checksum = content.checksum {
                xml.element("Checksum") {
                    $0.text("Checksum\(checksum.algorithm.name)", checksum.text)
                    $0.text("ChecksumType", checksum.type)
                }
            }
            if asked.contains("ObjectParts"), let count = entry.partCount {
                let shown = content.parts.enumerated().dropFirst(marker).prefix(most)
                xml.element("ObjectParts") { parts in
                    parts.text("PartsCount", count)
                    parts.text("PartNumberMarker", marker)
                    parts.text("NextPartNumberMarker", shown.last.map { $0.offset + 1 } ?? 0)
                    parts.text("MaxParts", most)
                    parts.text("IsTruncated", marker + shown.count < content.parts.count ? "true" : "false")
                    for part in shown {
                        parts.element("Part") {
                            $0.text("PartNumber", part.offset + 1)
                            $0.text("Size", part.element)
                            if let algorithm = content.checksum?.algorithm, !content.partChecksums.isEmpty {
                                $0.text("Checksum\(algorithm.name)", content.partChecksums[part.offset])
                            }
                        }
                    }
                }
            }
            if asked.contains("StorageClass") { xml.text("StorageClass", ObjectFacts.storageClass(entry.metadata)) }
            if asked.contains("ObjectSize") { xml.text("ObjectSize", entry.size) }
        }
        response.headers.append(("Last-Modified", entry.lastModified.httpDate))
        return response
    }

    func delete(_ call: S3Call) throws -> Reception {
        let condition = try DeleteCondition(
            tag: call.request.header("if-match"), modified: call.request.header("x-amz-if-match-last-modified-time"),
            size: call.request.header("x-amz-if-match-size"))
        return work(call) { [self] in
            if let condition {
                try catalog.delete(call.key, on: call.branch, in: call.bucket, if: condition.holds)
            } else {
                _ = try catalog.delete([call.key], on: call.branch, in: call.bucket)
            }
            return Response(status: 204, headers: [("Content-Type", "application/xml")])
        }
    }
}

/// What an object must be to be deleted.
struct DeleteCondition: Sendable {
    private let tags: [String]?
    private let modified: Timestamp?
    private let size: Int64?

    /// Nil if nothing is asked for. Times may be those of headers or of documents.
    init?(tag: String?, modified: String?, size: String?) throws {
        guard tag != nil || modified != nil || size != nil else { return nil }
        tags = tag.map { Precheck.tags($0) }
        self.modified = modified.flatMap { Timestamp(httpDate: $0) ?? Timestamp(rfc3339: $0) }
        self.size = size.flatMap { Int64($0) }
        guard (modified == nil) == (self.modified == nil), (size == nil) == (self.size == nil) else {
            throw S3Error.invalidArgument("The condition of the deletion has no valid time or size")
        }
    }

    @Sendable func holds(_ entry: Entry) -> Bool {
        (tags?.contains { $0 == "*" || $0 == entry.s3Tag } ?? true)
            && (modified.map { $0.seconds == entry.lastModified.seconds } ?? true)
            && (size.map { $0 == entry.size } ?? true)
    }
}
