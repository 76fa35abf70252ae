import Foundations
import Transport
import Versioning

/// Multipart uploads as S3 speaks of them: their documents, numbers of parts and checksums. The uploads are the core's.
/// Source: Amazon S3 API reference.
struct MultipartUploads: Sendable {
    let catalog: Catalog
    /// Parts but the last have at least this many bytes.
    private static let leastPartBytes: Int64 = 5 << 20

    /// The upload that a request names, which must be of its bucket and key.
    private func find(_ call: S3Call, isCompleted: Bool = false) throws -> MultipartUpload {
        try catalog.multipart(
            call.value("uploadId") ?? "", to: call.key, on: call.branch, in: call.bucket, isCompleted: isCompleted)
    }

    func create(_ call: S3Call, _ gateway: S3Gateway) throws -> Reception {
        let facts = UploadFacts(
            metadata: try ObjectFacts.metadata(of: call.request), contentType: S3Gateway.contentType(of: call.request))
        let (algorithm, isFullObject) = try Self.checksum(call.request)
        try Names.checkPath(call.key)
        _ = try catalog.checkWritable(call.branch, in: call.bucket)
        return try gateway.body(call) { _ in
            let upload = try catalog.beginMultipart(call.key, on: call.branch, in: call.bucket, facts) {
                ($0.checksumAlgorithm, $0.isFullObject) = (algorithm?.rawValue ?? "", isFullObject)
            }
            var response = gateway.xml("InitiateMultipartUploadResult") {
                $0.text("Bucket", call.bucket.text)
                $0.text("Key", "\(call.ref)/\(call.key)")
                $0.text("UploadId", upload.id)
            }
            if let algorithm {
                response.headers.append(("x-amz-checksum-algorithm", algorithm.name))
                response.headers.append(("x-amz-checksum-type", isFullObject ? "FULL_OBJECT" : "COMPOSITE"))
            }
            return response
        }
    }

    /// Which checksum an upload asks for (Amazon S3 API reference, CreateMultipartUpload).
    private static func checksum(_ request: Request) throws -> (S3Checksum.Algorithm?, isFullObject: Bool) {
        let type = request.header("x-amz-checksum-type")?.uppercased()
        guard let name = request.header("x-amz-checksum-algorithm"), !name.isEmpty else {
            guard type == nil else {
                throw S3Error(
                    400, "InvalidRequest", "The x-amz-checksum-type header needs x-amz-checksum-algorithm beside it.")
            }
            return (nil, false)
        }
        guard let algorithm = S3Checksum.Algorithm(rawValue: name.lowercased()) else {
            throw S3Error(
                400, "InvalidRequest",
                "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]"
            )
        }
        switch type {
        case nil: return (algorithm, algorithm == .crc64nvme)
        case "FULL_OBJECT" where algorithm.isCRC: return (algorithm, true)
        case "COMPOSITE" where algorithm != .crc64nvme: return (algorithm, false)
        default:
            throw S3Error(
                400, "InvalidRequest",
                "The \(type!) checksum type cannot be used with the \(name.lowercased()) checksum algorithm.")
        }
    }

    /// The checksum of an object of parts: put together from theirs, or made of theirs with their number behind it.
    /// - Returns: nil if they have not all one of the same kind.
    private static func checksum(of parts: [UploadPart], _ upload: MultipartUpload) -> S3Checksum.Value? {
        guard let algorithm = upload.checksum ?? parts.first?.value?.algorithm else { return nil }
        var values: [(bytes: [UInt8], size: Int64)] = []
        for part in parts {
            guard let checksum = part.value, checksum.algorithm == algorithm,
                let bytes = Base64.decode(checksum.text)
            else { return nil }
            values.append((bytes, part.size))
        }
        if upload.isFullObject || algorithm == .crc64nvme {
            var sum = values[0].bytes
            for value in values.dropFirst() {
                guard let next = S3Checksum.combine(algorithm, sum, value.bytes, length: value.size) else { return nil }
                sum = next
            }
            return S3Checksum.Value(algorithm, Base64.encode(sum))
        }
        var whole = S3Checksum(algorithm)
        unsafe values.flatMap(\.bytes).withUnsafeBytes { unsafe whole.update($0) }
        return S3Checksum.Value(algorithm, "\(whole.base64())-\(parts.count)")
    }

    func putPart(_ call: S3Call, _ gateway: S3Gateway) throws -> Reception {
        let source = try call.request.header("x-amz-copy-source").map { _ in try gateway.copySource(call) }
        let repository = try catalog.repository(call.bucket)
        let number = try call.partNumber()
        if source == nil { try S3Gateway.requireLength(call.request) }
        let upload = try find(call)
        if let source { return copyPart(source, call, gateway, upload, number) }
        let sink = try PayloadSink(
            call: call, gateway: gateway, upload: catalog.beginUpload(in: repository), limit: .max,
            computes: upload.checksum
        ) { _, written in
            let checksum = written!.checksums.first { $0.algorithm == upload.checksum } ?? written!.checksum
            let part = try catalog.keep(written!.upload, as: number, of: upload, checksum: checksum?.named)
            return Response(
                status: 200,
                headers: [("Content-Type", "application/xml"), ("ETag", "\"\(Hex.text(part.md5))\"")]
                    + written!.checksumHeaders)
        }
        return .body(sink)
    }

    private func copyPart(
        _ source: (bucket: RepositoryID, ref: String, key: Key), _ call: S3Call, _ gateway: S3Gateway,
        _ upload: MultipartUpload, _ number: Int
    ) -> Reception {
        gateway.work(call) {
            let found: (entry: Entry, location: ObjectLocation, repository: Repository)
            do { found = try catalog.entry(source.key, at: source.ref, in: source.bucket) } catch {
                throw S3Error.noSuchKey
            }
            var range = 0..<found.entry.size
            if let header = call.request.header("x-amz-copy-source-range") {
                let ends = header.dropFirst("bytes=".count).split(separator: "-", omittingEmptySubsequences: false)
                guard header.hasPrefix("bytes="), ends.count == 2, let first = Int64(ends[0]),
                    let last = Int64(ends[1]), first >= 0, first <= last
                else {
                    throw S3Error.invalidArgument(
                        "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy"
                    )
                }
                // S3 cuts no range of a copy.
                guard last < found.entry.size else {
                    throw S3Error(
                        416, "InvalidRange",
                        "The requested range is not satisfiable: the source has \(found.entry.size) bytes")
                }
                range = first..<last + 1
            }
            var checksum = upload.checksum.map { S3Checksum($0) }
            let part = unsafe try catalog.keepCopy(
                of: source.key, found.entry, at: found.location, range, as: number, of: upload
            ) {
                unsafe checksum?.update($0)
            } checksum: {
                checksum?.value().named
            }
            return gateway.xml("CopyObjectResult") {
                $0.time("LastModified", part.modified)
                $0.tag("ETag", Hex.text(part.md5))
            }
        }
    }

    func complete(_ call: S3Call, _ gateway: S3Gateway) throws -> Reception {
        _ = try catalog.checkWritable(call.branch, in: call.bucket)
        let upload = try find(call, isCompleted: true)
        @Sendable func answer(_ done: MultipartUpload) -> Response {
            gateway.xml("CompleteMultipartUploadResult") {
                $0.text(
                    "Location", "http://\(call.request.header("host") ?? "")/\(call.bucket)/\(call.ref)/\(call.key)")
                $0.text("Bucket", call.bucket.text)
                $0.text("Key", "\(call.ref)/\(call.key)")
                $0.tag("ETag", done.completedTag)
                if let checksum = S3Checksum.Value(stored: done.completedChecksum) {
                    $0.text("Checksum\(checksum.algorithm.name)", checksum.text)
                    $0.text("ChecksumType", checksum.type)
                }
            }
        }
        return try gateway.body(call, checksIt: false) { bytes in
            guard let root = XMLElement.parse(bytes), root.name == "CompleteMultipartUpload" else {
                throw S3Error.malformedXML
            }
            let wanted = root.all("Part")
            guard !wanted.isEmpty else { throw S3Error.malformedXML }
            let asked = Self.fingerprint(wanted)
            guard !upload.isCompleted else {
                guard upload.completedParts == asked else { throw S3Error.noSuchUpload }
                return answer(upload)
            }
            let known = Dictionary(uniqueKeysWithValues: try catalog.parts(of: upload).map { ($0.number, $0.part) })
            var chosen: [UploadPart] = []
            var last = 0
            for item in wanted {
                guard let number = item.value("PartNumber").flatMap({ Int($0) }) else { throw S3Error.malformedXML }
                guard number > last else {
                    throw S3Error(
                        400, "InvalidPartOrder",
                        "The list of parts was not in ascending order. Parts must be ordered by part number.")
                }
                last = number
                let eTag = (item.value("ETag") ?? "").filter { $0 != "\"" }
                guard let part = known[number], Hex.text(part.md5) == eTag else {
                    throw S3Error(
                        400, "InvalidPart",
                        "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
                    )
                }
                if let checksum = part.value, let told = item.value("Checksum\(checksum.algorithm.name)"),
                    told != checksum.text
                {
                    throw S3Error(
                        400, "InvalidPart",
                        "The checksum of part \(number) is not the one that it was uploaded with.")
                }
                chosen.append(part)
            }
            let checksum = Self.checksum(of: chosen, upload)
            if let checksum, let wanted = call.request.header(checksum.algorithm.header), wanted != checksum.text,
                wanted + "-\(chosen.count)" != checksum.text
            {
                throw S3Error(
                    400, "BadDigest",
                    "The \(checksum.algorithm.name) you specified did not match the calculated checksum.")
            }
            guard chosen.dropLast().allSatisfy({ $0.size >= Self.leastPartBytes }) else {
                throw S3Error(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
            }
            return answer(
                try catalog.complete(
                    upload, chosen, asked: asked, to: call.key, on: call.branch,
                    if: Precheck.writeCondition(call.request),
                    checksum: checksum?.stored ?? ""
                ) {
                    ObjectFacts.set(
                        .init(
                            checksum: checksum, parts: chosen.map(\.size),
                            partChecksums: checksum == nil ? [] : chosen.map(\.checksum)), eTag: $0.eTag,
                        in: &$0.metadata)
                })
        }
    }

    /// Which parts a client names, and by which entity tags.
    private static func fingerprint(_ parts: [XMLElement]) -> [UInt8] {
        Hash.digest(
            .sha256,
            parts.flatMap { part in
                Array("\(part.value("PartNumber") ?? "") \((part.value("ETag") ?? "").filter { $0 != "\"" })\n".utf8)
            })
    }

    func abort(_ call: S3Call, _ gateway: S3Gateway) throws -> Reception {
        let upload = try find(call)
        return gateway.work(call) {
            try catalog.abort(upload)
            return Response(status: 204, headers: [("Content-Type", "application/xml")])
        }
    }

    func listParts(_ call: S3Call, _ gateway: S3Gateway) throws -> Reception {
        _ = try catalog.repository(call.bucket)
        let upload = try find(call)
        let marker = call.value("part-number-marker").flatMap { Int($0) } ?? 0
        let limit = min(max(call.value("max-parts").flatMap { Int($0) } ?? 1000, 1), 1000)
        let rest = try catalog.parts(of: upload).filter { $0.number > marker }
        let shown = rest.prefix(limit)
        return .respond(
            gateway.xml("ListPartsResult") { xml in
                xml.text("Bucket", call.bucket.text)
                xml.text("Key", "\(call.ref)/\(call.key)")
                xml.text("UploadId", upload.id)
                xml.text("PartNumberMarker", marker)
                xml.text("NextPartNumberMarker", shown.last?.number ?? 0)
                xml.text("MaxParts", limit)
                xml.text("IsTruncated", rest.count > limit ? "true" : "false")
                for item in shown {
                    xml.element("Part") {
                        $0.text("PartNumber", item.number)
                        $0.time("LastModified", item.part.modified)
                        $0.tag("ETag", Hex.text(item.part.md5))
                        $0.text("Size", item.part.size)
                        if let checksum = item.part.value {
                            $0.text("Checksum\(checksum.algorithm.name)", checksum.text)
                        }
                    }
                }
            })
    }

    func list(_ call: S3Call, _ gateway: S3Gateway) throws -> Response {
        let prefix = "\(call.bucket)/" + (call.value("prefix") ?? "")
        let limit = min(max(call.value("max-uploads").flatMap { Int($0) } ?? 1000, 1), 1000)
        let keyMarker = call.value("key-marker")
        let marker = Key("\(call.bucket)/" + (keyMarker ?? ""))
        let idMarker = Key(call.value("upload-id-marker") ?? "")
        // By key and id, as the two markers go on from; ids begin with the time of their making.
        func isBehindMarker(_ upload: MultipartUpload) -> Bool {
            let path = Key(upload.path)
            return keyMarker == nil || marker < path
                || (marker == path && !idMarker.isEmpty && idMarker < Key(upload.id))
        }
        let found = try catalog.multiparts(in: call.bucket)
            .filter { Key($0.path).hasPrefix(Key(prefix)) && isBehindMarker($0) }
            .sorted { (Key($0.path), Key($0.id)) < (Key($1.path), Key($1.id)) }
        let shown = found.prefix(limit)
        return gateway.xml("ListMultipartUploadsResult") { xml in
            xml.text("Bucket", call.bucket.text)
            xml.text("KeyMarker", keyMarker ?? "")
            if let given = call.value("upload-id-marker") { xml.text("UploadIdMarker", given) }
            xml.text("Prefix", call.value("prefix") ?? "")
            if found.count > limit, let last = shown.last {
                xml.text("NextKeyMarker", String(last.path.dropFirst(call.bucket.text.count + 1)))
                xml.text("NextUploadIdMarker", last.id)
            }
            xml.text("MaxUploads", limit)
            xml.text("IsTruncated", found.count > limit ? "true" : "false")
            for item in shown {
                xml.element("Upload") {
                    $0.text("Key", String(item.path.dropFirst(call.bucket.text.count + 1)))
                    $0.text("UploadId", item.id)
                    $0.time("Initiated", item.created)
                    $0.text("StorageClass", "STANDARD")
                }
            }
        }
    }
}

extension MultipartUpload {
    /// The kind of checksum that its parts have.
    fileprivate var checksum: S3Checksum.Algorithm? { S3Checksum.Algorithm(rawValue: checksumAlgorithm) }
}

extension UploadPart {
    /// Its checksum; nil if it came without.
    fileprivate var value: S3Checksum.Value? {
        S3Checksum.Algorithm(rawValue: checksumAlgorithm).map { S3Checksum.Value($0, checksum) }
    }
}

extension S3Checksum.Value {
    /// As a part keeps it.
    fileprivate var named: (algorithm: String, text: String) { (algorithm.rawValue, text) }
}
