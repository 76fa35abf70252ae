import Transport
import Versioning

/// Multipart uploads: a record of each upload in lakeFS's partition, its parts as objects of their own until they are
/// joined. Source: `lakefs-formats.md` 5.2 (`multiparts`), Amazon S3 API reference.
struct MultipartUploads: Sendable {
    let catalog: Catalog
    private static let mostParts = 10_000
    /// Parts but the last have at least this many bytes.
    private static let leastPartBytes: Int64 = 5 << 20

    /// An upload in progress. Source: `lakefs-formats.md` 5.6, UploadData.
    private struct Record {
        var id: String, path: String, created: Timestamp, address: String, metadata: Metadata, contentType: String
        /// Of one that was completed: the entity tag that it got, and which parts were asked for. Ours: lakeFS passes
        /// over them. It is kept for a day, for a client that did not hear the answer and asks again.
        var completedTag = "", completedParts: [UInt8] = []
        /// Ours too: the checksum that its parts have, and whether the object's is to be of all bytes.
        var checksum: S3Checksum.Algorithm?, isFullObject = false
        /// Of one that was completed.
        var completedChecksum: S3Checksum.Value?

        init(id: String, path: String, address: String, metadata: Metadata, contentType: String) {
            self.id = id
            self.path = path
            created = .now()
            self.address = address
            self.metadata = metadata
            self.contentType = contentType
        }

        init(decoding bytes: [UInt8]) throws {
            self.init(id: "", path: "", address: "", metadata: [:], contentType: "")
            try readProtobuf(bytes) { field in
                switch field.number {
                case 1: id = field.string
                case 2: path = field.string
                case 3: created = try field.time()
                case 4: address = field.string
                case 5: metadata.pairs.append(try field.pair())
                case 6: contentType = field.string
                case 101: completedTag = field.string
                case 102: completedParts = field.array
                case 103: checksum = S3Checksum.Algorithm(rawValue: field.string)
                case 104: isFullObject = field.integer != 0
                case 105: completedChecksum = S3Checksum.Value(stored: field.string)
                default: break
                }
            }
        }

        var encoded: [UInt8] {
            var writer = ProtobufWriter()
            writer.string(1, id)
            writer.string(2, path)
            writer.time(3, created)
            writer.string(4, address)
            writer.map(5, metadata)
            writer.string(6, contentType)
            writer.string(101, completedTag)
            writer.bytes(102, completedParts)
            writer.string(103, checksum?.rawValue ?? "")
            writer.integer(104, isFullObject ? 1 : 0)
            writer.string(105, completedChecksum?.stored ?? "")
            return writer.bytes
        }
    }

    /// One part: where its bytes are, and what they are. Our own record; lakeFS keeps none.
    private struct Part {
        var address: String, size: Int64, md5: [UInt8], modified: Timestamp
        /// Nil if it came without.
        var checksum: S3Checksum.Value?

        init(address: String, size: Int64, md5: [UInt8], checksum: S3Checksum.Value? = nil) {
            self.address = address
            self.size = size
            self.md5 = md5
            self.checksum = checksum
            modified = .now()
        }

        init(decoding bytes: [UInt8]) throws {
            self.init(address: "", size: 0, md5: [])
            var algorithm: S3Checksum.Algorithm?
            var value = ""
            try readProtobuf(bytes) { field in
                switch field.number {
                case 1: address = field.string
                case 2: size = field.signed
                case 3: md5 = field.array
                case 4: modified = try field.time()
                case 5: algorithm = S3Checksum.Algorithm(rawValue: field.string)
                case 6: value = field.string
                default: break
                }
            }
            checksum = algorithm.map { S3Checksum.Value($0, value) }
        }

        var encoded: [UInt8] {
            var writer = ProtobufWriter()
            writer.string(1, address)
            writer.integer(2, size)
            writer.bytes(3, md5)
            writer.time(4, modified)
            writer.string(5, checksum?.algorithm.rawValue ?? "")
            writer.string(6, checksum?.text ?? "")
            return writer.bytes
        }
    }

    private static func key(_ number: Int) -> Key {
        Key(String(repeating: "0", count: 5 - String(number).count) + String(number))
    }

    /// The upload that a request names, which must be of its bucket and key.
    /// - Parameter isCompleted: whether one that was completed is wanted too.
    private func find(_ call: S3Call, isCompleted: Bool = false) throws -> Record {
        let id = call.value("uploadId") ?? ""
        guard Names.isHex(id, 32...32), let bytes = try catalog.store.value(for: Key(id), in: Catalog.multipartUploads)
        else { throw S3Error.noSuchUpload }
        let record = try Record(decoding: bytes)
        guard record.path == Self.path(call), isCompleted || record.completedTag.isEmpty else {
            throw S3Error.noSuchUpload
        }
        return record
    }

    /// What an upload is for: the same key of another branch or bucket is another object.
    private static func path(_ call: S3Call) -> String { "\(call.bucket)/\(call.ref)/\(call.key)" }

    private func allParts(_ id: String) throws -> [(number: Int, part: Part)] {
        try catalog.store.page(of: Catalog.uploadParts(id), from: nil, before: nil, limit: Self.mostParts).map {
            (Int($0.key.description) ?? 0, try Part(decoding: $0.value))
        }
    }

    func create(_ call: S3Call, _ gateway: S3Gateway) throws -> Reception {
        try gateway.access.require([.object("WriteObject", call.bucket, call.key)], for: call.caller)
        try Names.checkPath(call.key)
        _ = try catalog.checkWritable(call.ref, in: call.bucket)
        var record = Record(
            id: Hex.text(randomBytes(16)), path: Self.path(call), address: catalog.newAddress(),
            metadata: try ObjectFacts.metadata(of: call.request), contentType: S3Gateway.contentType(of: call.request))
        (record.checksum, record.isFullObject) = try Self.checksum(call.request)
        return try gateway.body(call) { [record] _ in
            try catalog.store.set(record.encoded, for: Key(record.id), in: Catalog.multipartUploads)
            var response = gateway.xml("InitiateMultipartUploadResult") {
                $0.text("Bucket", call.bucket)
                $0.text("Key", "\(call.ref)/\(call.key)")
                $0.text("UploadId", record.id)
            }
            if let algorithm = record.checksum {
                response.headers.append(("x-amz-checksum-algorithm", algorithm.name))
                response.headers.append(("x-amz-checksum-type", record.isFullObject ? "FULL_OBJECT" : "COMPOSITE"))
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
    private static func checksum(of parts: [Part], _ record: Record) -> S3Checksum.Value? {
        guard let algorithm = record.checksum ?? parts.first?.checksum?.algorithm else { return nil }
        var values: [(bytes: [UInt8], size: Int64)] = []
        for part in parts {
            guard let checksum = part.checksum, checksum.algorithm == algorithm,
                let bytes = Base64.decode(checksum.text)
            else { return nil }
            values.append((bytes, part.size))
        }
        if record.isFullObject || algorithm == .crc64nvme {
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

    private func partNumber(_ call: S3Call) throws -> Int {
        guard let number = call.value("partNumber").flatMap({ Int($0) }), (1...Self.mostParts).contains(number) else {
            throw S3Error.invalidArgument("Part number must be an integer between 1 and \(Self.mostParts), inclusive")
        }
        return number
    }

    func putPart(_ call: S3Call, _ gateway: S3Gateway) throws -> Reception {
        let source = try call.request.header("x-amz-copy-source").map { _ in try gateway.copySource(call) }
        let reading = source.map { [Permission.object("ReadObject", $0.bucket, $0.key)] } ?? []
        try gateway.access.require(reading + [.object("WriteObject", call.bucket, call.key)], for: call.caller)
        let repository = try catalog.repository(call.bucket)
        let number = try partNumber(call)
        let record = try find(call)
        if let source { return copyPart(source, call, gateway, record, number, repository) }
        let sink = try PayloadSink(
            call: call, gateway: gateway, upload: catalog.upload(to: repository), limit: .max,
            computes: record.checksum
        ) { _, written in
            let checksum = written!.checksums.first { $0.algorithm == record.checksum } ?? written!.checksum
            try keep(
                Part(address: written!.address, size: written!.size, md5: written!.md5, checksum: checksum), number,
                of: record, in: repository, call)
            return Response(
                status: 200,
                headers: [("Content-Type", "application/xml"), ("ETag", "\"\(Hex.text(written!.md5))\"")]
                    + written!.checksumHeaders)
        }
        return .body(sink)
    }

    /// Records a part in place of an older one of its number, whose bytes go.
    private func keep(_ part: Part, _ number: Int, of record: Record, in repository: Repository, _ call: S3Call) throws
    {
        let old = try catalog.store.value(for: Self.key(number), in: Catalog.uploadParts(record.id)).map {
            try Part(decoding: $0)
        }
        try catalog.store.set(part.encoded, for: Self.key(number), in: Catalog.uploadParts(record.id))
        if let old { try catalog.objects.remove(repository.namespace.location(old.address)) }
        do { _ = try find(call) } catch {
            // Aborted meanwhile: nothing of it stays, and the client must know.
            try catalog.store.remove(Self.key(number), in: Catalog.uploadParts(record.id))
            try catalog.objects.remove(repository.namespace.location(part.address))
            throw error
        }
    }

    private func copyPart(
        _ source: (bucket: String, ref: String, key: Key), _ call: S3Call, _ gateway: S3Gateway, _ record: Record,
        _ number: Int, _ repository: Repository
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
            try catalog.checkWhole(found.entry, at: found.location, path: source.key)
            let upload = try catalog.upload(to: repository)
            var checksum = record.checksum.map { S3Checksum($0) }
            var position = range.lowerBound
            while position < range.upperBound {
                let piece = try catalog.objects.read(
                    found.location, position..<min(position + 1 << 20, range.upperBound))
                guard !piece.isEmpty else {
                    throw LakeError(.dataGone, "the data of \(source.key) is shorter than its entry says")
                }
                unsafe try piece.withUnsafeBytes {
                    unsafe checksum?.update($0)
                    unsafe try upload.write($0)
                }
                position += Int64(piece.count)
            }
            let md5 = upload.digest()
            try upload.finish()
            let part = Part(
                address: upload.address, size: upload.size, md5: md5,
                checksum: checksum?.value())
            try keep(part, number, of: record, in: repository, call)
            return gateway.xml("CopyObjectResult") {
                $0.text("LastModified", part.modified.rfc3339Milliseconds)
                $0.text("ETag", "\"\(Hex.text(md5))\"")
            }
        }
    }

    func complete(_ call: S3Call, _ gateway: S3Gateway) throws -> Reception {
        try gateway.access.require([.object("WriteObject", call.bucket, call.key)], for: call.caller)
        let repository = try catalog.checkWritable(call.ref, in: call.bucket)
        let namespace = try repository.namespace
        let record = try find(call, isCompleted: true)
        @Sendable func answer(_ done: Record) -> Response {
            gateway.xml("CompleteMultipartUploadResult") {
                $0.text(
                    "Location", "http://\(call.request.header("host") ?? "")/\(call.bucket)/\(call.ref)/\(call.key)")
                $0.text("Bucket", call.bucket)
                $0.text("Key", "\(call.ref)/\(call.key)")
                $0.text("ETag", "\"\(done.completedTag)\"")
                if let checksum = done.completedChecksum {
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
            guard record.completedTag.isEmpty else {
                guard record.completedParts == asked else { throw S3Error.noSuchUpload }
                return answer(record)
            }
            let known = Dictionary(uniqueKeysWithValues: try allParts(record.id).map { ($0.number, $0.part) })
            var chosen: [Part] = []
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
                if let checksum = part.checksum, let told = item.value("Checksum\(checksum.algorithm.name)"),
                    told != checksum.text
                {
                    throw S3Error(
                        400, "InvalidPart",
                        "The checksum of part \(number) is not the one that it was uploaded with.")
                }
                chosen.append(part)
            }
            let checksum = Self.checksum(of: chosen, record)
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
            let eTag = Hex.text(Hash.digest(.md5, chosen.flatMap(\.md5)))
            // An address of its own for each completion: objects are never overwritten.
            let address = catalog.newPartsAddress(of: chosen.count)
            let location = namespace.location(address)
            let size = try catalog.objects.join(chosen.map { namespace.location($0.address) }, to: location)
            do {
                guard size == chosen.reduce(0, { $0 + $1.size }) else {
                    throw LakeError(
                        .corrupt,
                        "the parts of the upload \(record.id) have \(size) bytes where they had others when they came")
                }
                var entry = Entry(
                    address: address, lastModified: .now(), size: size, eTag: eTag, metadata: record.metadata,
                    contentType: record.contentType)
                ObjectFacts.set(
                    .init(
                        checksum: checksum, parts: chosen.map(\.size),
                        partChecksums: checksum == nil ? [] : chosen.compactMap(\.checksum?.text)), eTag: eTag,
                    in: &entry.metadata)
                try catalog.stage(
                    entry, at: call.key, on: call.ref, in: call.bucket, if: Precheck.writeCondition(call.request))
            } catch {
                catalog.discard(location, after: error)
                throw error
            }
            var done = record
            done.completedTag = "\(eTag)-\(chosen.count)"
            done.completedParts = asked
            done.completedChecksum = checksum
            done.created = .now()
            try drop(record, namespace, leaving: done)
            try forgetCompleted()
            return answer(done)
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

    /// How long an upload that was completed is known, in seconds.
    private static let completedSeconds: Int64 = 24 * 3600

    /// Removes records of uploads that were completed long ago, some at a time.
    private func forgetCompleted() throws {
        let now = Timestamp.now().seconds
        let old = try catalog.store.page(of: Catalog.multipartUploads, from: nil, before: nil, limit: 200).filter {
            guard let record = try? Record(decoding: $0.value) else { return false }  // What it is, `check` says.
            return !record.completedTag.isEmpty && now - record.created.seconds > Self.completedSeconds
        }
        if !old.isEmpty {
            try catalog.store.writeMany(old.map { .remove(Catalog.multipartUploads, $0.key) }, .eventual)
        }
    }

    /// Forgets an upload, then its parts: a crash between leaves only unreferenced files.
    /// - Parameter done: what is to be known of it from now on; nil for nothing.
    private func drop(_ record: Record, _ namespace: StorageNamespace, leaving done: Record? = nil) throws {
        let parts = try allParts(record.id)
        try catalog.store.writeMany(
            [
                done.map { .set(Catalog.multipartUploads, Key(record.id), $0.encoded) }
                    ?? .remove(Catalog.multipartUploads, Key(record.id))
            ]
                + parts.map { .remove(Catalog.uploadParts(record.id), Self.key($0.number)) }, .durable)
        for part in parts { try catalog.objects.remove(namespace.location(part.part.address)) }
    }

    func abort(_ call: S3Call, _ gateway: S3Gateway) throws -> Reception {
        try gateway.access.require([.object("DeleteObject", call.bucket, call.key)], for: call.caller)
        let namespace = try catalog.repository(call.bucket).namespace
        let record = try find(call)
        return gateway.work(call) {
            try drop(record, namespace)
            return Response(status: 204, headers: [("Content-Type", "application/xml")])
        }
    }

    func listParts(_ call: S3Call, _ gateway: S3Gateway) throws -> Reception {
        try gateway.access.require([.object("ReadObject", call.bucket, call.key)], for: call.caller)
        _ = try catalog.repository(call.bucket)
        let record = try find(call)
        let marker = call.value("part-number-marker").flatMap { Int($0) } ?? 0
        let limit = min(max(call.value("max-parts").flatMap { Int($0) } ?? 1000, 1), 1000)
        let rest = try allParts(record.id).filter { $0.number > marker }
        let shown = rest.prefix(limit)
        return .respond(
            gateway.xml("ListPartsResult") { xml in
                xml.text("Bucket", call.bucket)
                xml.text("Key", "\(call.ref)/\(call.key)")
                xml.text("UploadId", record.id)
                xml.text("PartNumberMarker", marker)
                xml.text("NextPartNumberMarker", shown.last?.number ?? 0)
                xml.text("MaxParts", limit)
                xml.text("IsTruncated", rest.count > limit ? "true" : "false")
                for item in shown {
                    xml.element("Part") {
                        $0.text("PartNumber", item.number)
                        $0.text("LastModified", item.part.modified.rfc3339Milliseconds)
                        $0.text("ETag", "\"\(Hex.text(item.part.md5))\"")
                        $0.text("Size", item.part.size)
                        if let checksum = item.part.checksum {
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
        // Uploads in progress are few, and keyed by id: all are looked at.
        var found = try catalog.store.page(of: Catalog.multipartUploads, from: nil, before: nil, limit: 100_000).map {
            try Record(decoding: $0.value)
        }
        // By key and id, as the two markers go on from; ids begin with the time of their making.
        func isBehindMarker(_ record: Record) -> Bool {
            let path = Key(record.path)
            return keyMarker == nil || marker < path
                || (marker == path && !idMarker.isEmpty && idMarker < Key(record.id))
        }
        found = found.filter { $0.completedTag.isEmpty && Key($0.path).hasPrefix(Key(prefix)) && isBehindMarker($0) }
            .sorted {
                (Key($0.path), Key($0.id)) < (Key($1.path), Key($1.id))
            }
        let shown = found.prefix(limit)
        return gateway.xml("ListMultipartUploadsResult") { xml in
            xml.text("Bucket", call.bucket)
            xml.text("KeyMarker", keyMarker ?? "")
            if let given = call.value("upload-id-marker") { xml.text("UploadIdMarker", given) }
            xml.text("Prefix", call.value("prefix") ?? "")
            if found.count > limit, let last = shown.last {
                xml.text("NextKeyMarker", String(last.path.dropFirst(call.bucket.count + 1)))
                xml.text("NextUploadIdMarker", last.id)
            }
            xml.text("MaxUploads", limit)
            xml.text("IsTruncated", found.count > limit ? "true" : "false")
            for item in shown {
                xml.element("Upload") {
                    $0.text("Key", String(item.path.dropFirst(call.bucket.count + 1)))
                    $0.text("UploadId", item.id)
                    $0.text("Initiated", item.created.rfc3339Milliseconds)
                    $0.text("StorageClass", "STANDARD")
                }
            }
        }
    }
}
