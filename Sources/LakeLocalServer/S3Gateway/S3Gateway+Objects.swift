import Transport
import Versioning

extension S3Gateway {
    /// Headers that an object keeps for whoever reads it, beside its type. They live in the entry's metadata, under a
    /// name of ours that no header can have (`docs/lakefs-formats.md` 11); lakeFS passes them through.
    static let kept = ["Cache-Control", "Content-Disposition", "Content-Encoding", "Content-Language", "Expires"]
    private static let keptPrefix = "::lakefuse::"

    /// What an object was stored with, as headers: those that it keeps, and user metadata with names in lower case.
    static func metadataHeaders(_ metadata: Metadata) -> [(name: String, value: String)] {
        metadata.pairs.compactMap { pair in
            let whole = String(decoding: pair.key, as: UTF8.self)
            let value = EncodedWord.encode(String(decoding: pair.value, as: UTF8.self))
            if whole.hasPrefix(keptPrefix) {
                let name = String(whole.dropFirst(keptPrefix.count))
                return kept.contains(name) ? (name, value) : nil
            }
            let name = whole.lowercased()
            guard !name.hasPrefix("::lakefs::"), name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x3a }) else {
                return nil
            }
            return (name.hasPrefix("x-amz-meta-") ? name : "x-amz-meta-" + name, value)
        }
    }

    /// Bytes of names and values that an object's metadata may have.
    private static let largestMetadata = 2048

    /// User metadata of a request, stored under lakeFS's spelling (`lakefs-formats.md` 3.2), and the headers that are
    /// kept.
    static func metadata(of request: Request) throws -> Metadata {
        var metadata = Metadata()
        var size = 0
        for header in request.headers where header.name.hasPrefix("x-amz-meta-") {
            let name = header.name.dropFirst("x-amz-meta-".count)
            size += name.utf8.count + header.value.utf8.count
            metadata["X-Amz-Meta-" + name] = EncodedWord.decode(header.value)
        }
        guard size <= largestMetadata else {
            throw S3Error(
                400, "MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size")
        }
        for name in kept {
            guard var value = request.header(name.lowercased()), !value.isEmpty else { continue }
            guard value.utf8.count <= 1024 else { throw S3Error.invalidArgument("\(name) is longer than 1024 bytes") }
            // How a body came is not how it is (Amazon S3 API reference, "Signature calculations: chunked upload").
            if name == "Content-Encoding" {
                value = value.split(separator: ",").map { $0.drop { $0 == " " } }
                    .filter { $0.lowercased().prefix { $0 != " " } != "aws-chunked" }.joined(separator: ", ")
            }
            if !value.isEmpty { metadata[keptPrefix + name] = value }
        }
        return metadata
    }

    static func contentType(of request: Request) -> String {
        let type = request.header("content-type") ?? ""
        return type.isEmpty ? "application/octet-stream" : type
    }

    // MARK: reading

    func read(_ call: S3Call) throws -> Response { try ObjectBody.retrying { _ in try readOnce(call) } }

    private func readOnce(_ call: S3Call) throws -> Response {
        let isHead = call.request.method == "HEAD"
        try access.require([.object("ReadObject", call.bucket, call.key)], for: call.caller)
        let (entry, location, _) = try catalog.entry(call.key, at: call.ref, in: call.bucket)
        if call.value("versionId").map({ $0 != "null" }) == true {
            throw S3Error.invalidArgument("Invalid version id specified: objects here have versions through refs")
        }
        if call.value("tagging") != nil { return xml("Tagging") { $0.element("TagSet") { _ in } } }
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
        headers += Self.metadataHeaders(entry.metadata).filter { kept in !headers.contains { $0.name == kept.name } }
        var range = 0..<entry.size
        var status = 200
        switch ByteRange(call.request.header("range"), size: entry.size) {
        case .part(let part):
            range = part
            status = 206
            headers.append(("Content-Range", "bytes \(part.lowerBound)-\(part.upperBound - 1)/\(entry.size)"))
        case .unsatisfiable where Self.isPlain(call.request.header("range")!):
            throw S3Error(416, "InvalidRange", "The requested range is not satisfiable")
        case .whole, .malformed, .unsatisfiable:
            if let part = call.value("partNumber") {
                guard part == "1" else {
                    throw S3Error(416, "InvalidPartNumber", "The requested partnumber is not satisfiable")
                }
                status = 206
                if entry.size > 0 { headers.append(("Content-Range", "bytes 0-\(entry.size - 1)/\(entry.size)")) }
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

    // MARK: writing

    func put(_ call: S3Call) throws -> Reception {
        try access.require([.object("WriteObject", call.bucket, call.key)], for: call.caller)
        try Names.checkPath(call.key)
        let metadata = try Self.metadata(of: call.request)
        let repository = try catalog.checkWritable(call.ref, in: call.bucket)
        let condition = Precheck.writeCondition(call.request)
        let contentType = Self.contentType(of: call.request)
        @Sendable func entry(_ written: PayloadSink.Written) -> Entry {
            Entry(
                address: written.address, lastModified: .now(), size: written.size, eTag: Hex.text(written.md5),
                metadata: metadata, contentType: contentType)
        }
        @Sendable func answer(_ written: PayloadSink.Written, _ entry: Entry) -> Response {
            Response(
                status: 200,
                headers: [("Content-Type", "application/xml"), ("ETag", "\"\(entry.eTag)\"")] + written.checksums)
        }
        let soon: PayloadSink.Soon = { [catalog] written, done in
            let entry = entry(written)
            try catalog.stage(entry, at: call.key, on: call.ref, in: repository) { error in
                done(error.map { .failure($0) } ?? .success(answer(written, entry)))
            }
        }
        let sink = try PayloadSink(
            call: call, gateway: self, upload: catalog.upload(to: repository), limit: .max,
            soon: condition == nil ? soon : nil
        ) { [catalog] _, written in
            let entry = entry(written!)
            try catalog.stage(entry, at: call.key, on: call.ref, in: call.bucket, if: condition)
            return answer(written!, entry)
        }
        return .body(sink)
    }

    /// The object that `x-amz-copy-source` names.
    func copySource(_ call: S3Call) throws -> (bucket: String, ref: String, key: Key) {
        let header = call.request.header("x-amz-copy-source") ?? ""
        var bytes = URIEncoding.decode(header.prefix { $0 != "?" })[...]
        if bytes.first == 0x2f { bytes = bytes.dropFirst() }
        let bucket = String(decoding: bytes.prefix { $0 != 0x2f }, as: UTF8.self)
        let (ref, key, _) = S3Call.split(bytes.drop { $0 != 0x2f }.dropFirst())
        guard !bucket.isEmpty, !ref.isEmpty, !key.isEmpty else {
            throw S3Error.invalidArgument("Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
        }
        return (bucket, ref, key)
    }

    func copy(_ call: S3Call) throws -> Reception {
        let source = try copySource(call)
        try access.require(
            [.object("ReadObject", source.bucket, source.key), .object("WriteObject", call.bucket, call.key)],
            for: call.caller)
        try Names.checkPath(call.key)
        let replaces = call.request.header("x-amz-metadata-directive")?.uppercased() == "REPLACE"
        let metadata = replaces ? try Self.metadata(of: call.request) : nil
        _ = try catalog.checkWritable(call.ref, in: call.bucket)
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
            let entry = try catalog.copy(
                source.key, at: source.ref, from: source.bucket, to: call.key, on: call.ref, in: call.bucket,
                metadata: metadata,
                contentType: replaces ? Self.contentType(of: call.request) : nil,
                condition: Precheck.writeCondition(call.request))
            return xml("CopyObjectResult") {
                $0.text("LastModified", entry.lastModified.rfc3339Milliseconds)
                $0.text("ETag", "\"\(entry.s3Tag)\"")
            }
        }
    }

    func delete(_ call: S3Call) throws -> Reception {
        try access.require([.object("DeleteObject", call.bucket, call.key)], for: call.caller)
        return work(call) { [self] in
            _ = try catalog.delete([call.key], on: call.ref, in: call.bucket)
            return Response(status: 204, headers: [("Content-Type", "application/xml")])
        }
    }
}
