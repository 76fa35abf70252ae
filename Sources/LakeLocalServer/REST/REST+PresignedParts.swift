import Foundations
import LakeAPI
import Transport
import Versioning

/// Uploads in parts that clients write to presigned addresses. Where the store can sign for parts they are its own: no
/// byte comes by here; else they are the core's uploads in parts, as those of S3.
extension REST {
    func addPresignedParts(_ router: inout Router) {
        router.on(.createPresignMultipartUpload) { call in
            let path = try call.path()
            let count = try call.integer("parts", in: 0...Catalog.mostParts) ?? 0
            return call.work {
                _ = try catalog.branch(call.branch, in: call.repository)
                let namespace = try catalog.checkWritable(call.branch, in: call.repository).namespace
                let location = namespace.location(catalog.newDirectAddress())
                if let (presigner, seconds) = links.partPresigner(of: location) {
                    let id = try presigner.beginPresignedParts(location)
                    let urls = try (0..<count).map {
                        try presigner.presignPart(location, upload: id, number: $0 + 1, seconds: seconds)
                    }
                    return .json(
                        201,
                        API.PresignMultipartUpload(
                            uploadId: id, physicalAddress: location.description,
                            presignedUrls: count == 0 ? nil : urls))
                }
                let upload = try catalog.beginMultipart(path, on: call.branch, in: call.repository, UploadFacts())
                let urls =
                    count == 0 ? nil : (1...count).map { links.link(toPart: $0, of: upload.id, call.request).url }
                return .json(
                    201,
                    API.PresignMultipartUpload(
                        uploadId: upload.id, physicalAddress: try address(of: upload), presignedUrls: urls))
            }
        }
        router.on(.uploadPart) { call in
            let path = try call.path()
            let number = try call.part()
            return call.json(API.UploadPartFrom.self) { body in
                if let own = try storesOwn(call, body.physicalAddress) {
                    let url = try own.presigner.presignPart(
                        own.location, upload: call[.uploadId], number: number, seconds: own.seconds)
                    return .json(200, API.UploadTo(presignedUrl: url))
                }
                let upload = try find(call, path, at: body.physicalAddress)
                return .json(
                    200, API.UploadTo(presignedUrl: links.link(toPart: number, of: upload.id, call.request).url))
            }
        }
        router.on(.uploadPartCopy) { call in
            let path = try call.path()
            let number = try call.part()
            return call.json(API.UploadPartCopyFrom.self) { body in
                let source = body.copySource
                let from = RepositoryID(source.repository)
                try call.require(
                    .object("ReadObject", from, Key(source.path)), .object("WriteObject", call.repository, path))
                guard source.range?.hasPrefix("bytes=") != false else {
                    throw LakeError(
                        .invalidValue, "range '\(source.range!.prefix(80))' is not of the form bytes=first-last")
                }
                guard try storesOwn(call, body.physicalAddress) == nil else {
                    throw LakeError(
                        .notImplemented,
                        "parts of an upload that goes to the store itself are not copied by this server: read the source and write the part, or set disable_pre_signed_multipart"
                    )
                }
                let upload = try find(call, path, at: body.physicalAddress)
                let found = try catalog.entry(Key(source.path), at: source.ref, in: from)
                var range = 0..<found.entry.size
                if let text = source.range {
                    guard case .part(let part) = ByteRange(text, size: found.entry.size) else {
                        throw LakeError(
                            .invalidValue,
                            "range '\(text.prefix(80))' is not one of the source's \(found.entry.size) bytes: bytes=first-last"
                        )
                    }
                    range = part
                }
                let part = unsafe try catalog.keepCopy(
                    of: Key(source.path), found.entry, at: found.location, range, as: number, of: upload)
                return Response(status: 204, headers: [("ETag", "\"\(Hex.text(part.md5))\"")])
            }
        }
        router.on(.completePresignMultipartUpload) { call in
            let path = try call.path()
            return call.json(API.CompletePresignMultipartUpload.self) { body in
                guard !body.parts.isEmpty else {
                    throw LakeError(.invalidValue, "parts is empty: name those that were written")
                }
                try ObjectBounds.check(metadata: body.userMetadata, contentType: body.contentType)
                if let own = try storesOwn(call, body.physicalAddress) {
                    return try complete(own, body, call, path)
                }
                var upload = try find(call, path, at: body.physicalAddress)
                upload.facts.metadata = Metadata(body.userMetadata ?? [:])
                upload.facts.contentType = body.contentType ?? upload.facts.contentType
                let chosen = try choose(body.parts, of: upload)
                _ = try catalog.complete(
                    upload, chosen, asked: [], to: path, on: call.branch, if: Precheck.writeCondition(call.request),
                    checksum: ""
                ) {
                    $0.eTag += "-\(chosen.count)"
                    ObjectFacts.set(.init(parts: chosen.map(\.size)), eTag: $0.eTag, in: &$0.metadata)
                }
                let found = try catalog.entry(path, at: call.branch.text, in: call.repository)
                return told(200, path, found.entry, in: try found.repository.namespace)
            }
        }
        router.on(.abortPresignMultipartUpload) { call in
            let path = try call.path()
            return call.json(API.UploadPartFrom.self) { body in
                if let own = try storesOwn(call, body.physicalAddress) {
                    try own.presigner.abortPresignedParts(own.location, upload: call[.uploadId])
                    return .noContent
                }
                try catalog.abort(find(call, path, at: body.physicalAddress))
                return .noContent
            }
        }
    }

    /// An upload that the store itself has the parts of.
    private struct StoresOwn {
        let presigner: any ObjectPresigner
        let seconds: Int64
        let location: ObjectLocation
        /// Below the repository's namespace.
        let relative: String
    }

    /// Nil if an address is none that was handed out for such an upload.
    private func storesOwn(_ call: Call, _ address: String) throws -> StoresOwn? {
        let namespace = try catalog.repository(call.repository).namespace
        let root = namespace.location("").description
        guard address.hasPrefix(root), let isLeased = Catalog.isLeased(direct: address) else { return nil }
        let relative = String(address.dropFirst(root.count))
        let location = namespace.location(relative)
        guard relative.hasPrefix("data/"), let (presigner, seconds) = links.partPresigner(of: location) else {
            return nil
        }
        guard isLeased else {
            throw LakeError(.invalidValue, "physical address '\(address)' has expired: begin the upload again")
        }
        return StoresOwn(presigner: presigner, seconds: seconds, location: location, relative: relative)
    }

    private func complete(_ own: StoresOwn, _ body: API.CompletePresignMultipartUpload, _ call: Call, _ path: Key)
        throws -> Response
    {
        let numbers = body.parts.map(\.partNumber)
        guard numbers == Array(1...numbers.count) else {
            throw LakeError(.invalidValue, "parts are to be named in order, from 1 on, each once")
        }
        try own.presigner.completePresignedParts(own.location, upload: call[.uploadId], tags: body.parts.map(\.etag))
        guard let object = try catalog.objects.head(own.location) else {
            throw LakeError(.dataGone, "the store has joined the parts, and does not show the object")
        }
        // As S3 makes it: of the digests of the parts, as far as their tags are such.
        let digests = body.parts.map { part in Hex.bytes(part.etag.utf8.filter { $0 != 0x22 }) ?? Array(part.etag.utf8)
        }
        let tag = Hex.text(Hash.digest(.md5, digests.flatMap { $0 })) + "-\(numbers.count)"
        let entry = Entry(
            address: own.relative, lastModified: .now(), size: object.byteCount, eTag: tag,
            metadata: Metadata(body.userMetadata ?? [:]),
            contentType: body.contentType ?? "application/octet-stream")
        try catalog.stage(
            entry, at: path, on: call.branch, in: call.repository, if: Precheck.writeCondition(call.request))
        return told(200, path, entry, in: try catalog.repository(call.repository).namespace)
    }

    private func address(of upload: MultipartUpload) throws -> String {
        try catalog.address(of: upload).description
    }

    /// The upload that a call names, by its id and the address that was told with it.
    private func find(_ call: Call, _ path: Key, at address: String) throws -> MultipartUpload {
        let upload = try catalog.multipart(call[.uploadId], to: path, on: call.branch, in: call.repository)
        guard try self.address(of: upload) == address else {
            throw LakeError(.invalidValue, "physical address '\(address.prefix(200))' is not that of the upload")
        }
        return upload
    }

    /// The parts that a client names, as they came.
    private func choose(_ named: [API.UploadPart], of upload: MultipartUpload) throws -> [UploadPart] {
        let known = Dictionary(uniqueKeysWithValues: try catalog.parts(of: upload).map { ($0.number, $0.part) })
        var last = 0
        return try named.map { part in
            guard part.partNumber > last else {
                throw LakeError(
                    .invalidValue, "part \(part.partNumber) stands behind part \(last): name them in order, each once")
            }
            last = part.partNumber
            guard let found = known[last], Hex.text(found.md5) == part.etag.filter({ $0 != "\"" }) else {
                throw LakeError(
                    .invalidValue,
                    "part \(last) was not written, or has another entity tag than '\(part.etag.prefix(80))'")
            }
            return found
        }
    }
}

extension Call {
    /// The number of a part that the path names.
    fileprivate func part() throws -> Int {
        guard let number = Int(self[.partNumber]), (1...Catalog.mostParts).contains(number) else {
            throw LakeError(
                .invalidValue,
                "parameter \"partNumber\" in path has an error: '\(self[.partNumber].prefix(80))' is not a number from 1 to \(Catalog.mostParts)"
            )
        }
        return number
    }
}
