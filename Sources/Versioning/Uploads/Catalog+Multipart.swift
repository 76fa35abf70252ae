package import Foundations

/// Uploads in parts: a record of each in lakeFS's partition, its parts as objects of their own until they are joined.
/// They survive a restart, and end by being completed, aborted, or left alone for too long.
extension Catalog {
    /// Parts of one upload, numbered from 1.
    package static let mostParts = 10_000
    /// Seconds that an upload which was completed is known.
    private static let completedSeconds: Int64 = 24 * 3600

    private static func multipartPath(_ path: Key, on branch: BranchName, in repository: RepositoryID) -> String {
        "\(repository)/\(branch)/\(path)"
    }

    /// - Parameter amend: completes the record before it is stored.
    package func beginMultipart(
        _ path: Key, on branch: BranchName, in repositoryID: RepositoryID, _ facts: UploadFacts,
        _ amend: (inout MultipartUpload) -> Void = { _ in }
    ) throws -> MultipartUpload {
        try Names.checkPath(path)
        _ = try checkWritable(branch, in: repositoryID)
        var upload = MultipartUpload(
            id: Hex.text(randomBytes(16)), path: Self.multipartPath(path, on: branch, in: repositoryID),
            address: newAddress(), facts)
        amend(&upload)
        try store.set(upload.encoded, for: Key(upload.id), in: MultipartUpload.partition)
        return upload
    }

    /// The upload of that id, which must be for that path.
    /// - Parameter isCompleted: whether one that was completed is wanted too.
    /// - Throws: `.notFound(.upload)`.
    package func multipart(
        _ id: String, to path: Key, on branch: BranchName, in repositoryID: RepositoryID, isCompleted: Bool = false
    ) throws -> MultipartUpload {
        guard let upload = try findMultipart(id),
            Key(upload.path) == Key(Self.multipartPath(path, on: branch, in: repositoryID)),
            isCompleted || !upload.isCompleted
        else { throw LakeError.notFound(.upload, id) }
        return upload
    }

    /// The upload of that id, whatever it is for, that goes on.
    /// - Throws: `.notFound(.upload)`.
    package func multipart(_ id: String) throws -> MultipartUpload {
        guard let upload = try findMultipart(id), !upload.isCompleted else { throw LakeError.notFound(.upload, id) }
        return upload
    }

    private func findMultipart(_ id: String) throws -> MultipartUpload? {
        guard Names.isHex(id, 32...32), let bytes = try store.value(for: Key(id), in: MultipartUpload.partition) else {
            return nil
        }
        return try decodeMultipart(id, bytes)
    }

    private func decodeMultipart(_ id: String, _ bytes: [UInt8]) throws -> MultipartUpload {
        try refs.decode("the upload \(id)") { try MultipartUpload(decoding: bytes) }
    }

    /// All uploads of a repository that go on. They are few, and keyed by id: all are looked at.
    package func multiparts(in repositoryID: RepositoryID) throws -> [MultipartUpload] {
        var found: [MultipartUpload] = []
        var cursor = PartitionCursor(store, MultipartUpload.partition)
        while let (key, value) = try cursor.current() {
            cursor.advance()
            let upload = try decodeMultipart(key.description, value)
            if !upload.isCompleted, upload.repositoryID == repositoryID { found.append(upload) }
        }
        return found
    }

    /// An upload's parts, by number.
    package func parts(of upload: MultipartUpload) throws -> [(number: Int, part: UploadPart)] {
        try store.page(of: MultipartUpload.parts(upload.id), from: nil, before: nil, limit: Self.mostParts).map {
            record in
            try refs.decode("part \(record.key) of the upload \(upload.id)") {
                (Int(record.key.description) ?? 0, try UploadPart(decoding: record.value))
            }
        }
    }

    private func repository(of upload: MultipartUpload) throws -> Repository {
        try repository(upload.repositoryID)
    }

    /// Where clients are told that the object will be; it comes to lie elsewhere.
    package func address(of upload: MultipartUpload) throws -> ObjectLocation {
        try repository(of: upload).namespace.location(upload.address)
    }

    /// Keeps an upload's bytes as a part, in place of an older one of its number, whose bytes go.
    /// - Throws: `.notFound(.upload)` if it was ended meanwhile; nothing stays of the part then.
    package func keep(
        _ bytes: Upload, as number: Int, of upload: MultipartUpload, checksum: (algorithm: String, text: String)? = nil
    ) throws -> UploadPart {
        precondition((1...Self.mostParts).contains(number), "no number of a part: \(number)")
        let (partition, key) = (MultipartUpload.parts(upload.id), UploadPart.key(number))
        var part = UploadPart(address: bytes.address, size: bytes.size, md5: bytes.digest())
        if let checksum { (part.checksumAlgorithm, part.checksum) = checksum }
        try bytes.finish()
        let old = try store.value(for: key, in: partition).map { try UploadPart(decoding: $0) }
        try store.set(part.encoded, for: key, in: partition)
        try bytes.keep()
        let namespace = try repository(of: upload).namespace
        if let old { try objects.remove(namespace.location(old.address)) }
        let current = try store.value(for: Key(upload.id), in: MultipartUpload.partition)
        guard try current.map({ try decodeMultipart(upload.id, $0).isCompleted }) == false else {
            // Nothing of it stays, and the client must know.
            try store.remove(key, in: partition)
            try objects.remove(namespace.location(part.address))
            throw LakeError.notFound(.upload, upload.id)
        }
        return part
    }

    /// Keeps a range of another object's bytes as a part.
    /// - Parameters:
    ///   - see: is given the bytes as they pass.
    ///   - checksum: what is known of them then.
    package func keepCopy(
        of path: Key, _ entry: Entry, at location: ObjectLocation, _ range: Range<Int64>, as number: Int,
        of upload: MultipartUpload, _ see: (UnsafeRawBufferPointer) -> Void = { _ in },
        checksum: () -> (algorithm: String, text: String)? = { nil }
    ) throws -> UploadPart {
        try checkWhole(entry, at: location, path: path)
        let bytes = try beginUpload(in: repository(of: upload))
        var pieces = ObjectPieces(of: location, range, in: objects)
        while let piece = try pieces.next() {
            unsafe try piece.withUnsafeBytes {
                unsafe see($0)
                unsafe try bytes.write($0)
            }
        }
        guard pieces.position == range.upperBound else {
            throw LakeError(.dataGone, "the data of \(path) is shorter than its entry says")
        }
        return try keep(bytes, as: number, of: upload, checksum: checksum())
    }

    /// Joins parts into the object of the upload's path, and forgets the upload but for what a client that asks again
    /// is to be told.
    /// - Parameters:
    ///   - asked: names the parts that the client asked for.
    ///   - amend: completes the entry, whose size, entity tag and facts are set.
    /// - Returns: the upload as it is known from now on.
    package func complete(
        _ upload: MultipartUpload, _ parts: [UploadPart], asked: [UInt8], to path: Key, on branch: BranchName,
        if condition: WriteCondition?, checksum: String, _ amend: (inout Entry) -> Void
    ) throws -> MultipartUpload {
        let repository = try repository(of: upload)
        let namespace = try repository.namespace
        let eTag = Hex.text(Hash.digest(.md5, parts.flatMap(\.md5)))
        // An address of its own for each completion: objects are never overwritten.
        let address = newPartsAddress(of: parts.count)
        let location = namespace.location(address)
        let size = try objects.join(parts.map { namespace.location($0.address) }, to: location)
        do {
            guard size == parts.reduce(0, { $0 + $1.size }) else {
                throw LakeError(
                    .corrupt,
                    "the parts of the upload \(upload.id) have \(size) bytes where they had others when they came")
            }
            var entry = Entry(
                address: address, lastModified: .now(), size: size, eTag: eTag, metadata: upload.facts.metadata,
                contentType: upload.facts.contentType)
            amend(&entry)
            try stage(entry, at: path, on: branch, in: repository.id, if: condition, force: upload.facts.isForced)
        } catch {
            discard(location, after: error)
            throw error
        }
        var done = upload
        done.completedTag = "\(eTag)-\(parts.count)"
        done.completedParts = asked
        done.completedChecksum = checksum
        done.created = .now()
        try forget(upload, namespace, leaving: done)
        return done
    }

    /// Ends an upload: nothing of it stays.
    package func abort(_ upload: MultipartUpload) throws { try forget(upload, repository(of: upload).namespace) }

    /// Forgets an upload, then its parts: a crash between leaves only unreferenced files.
    /// - Parameter done: what is to be known of it from now on; nil for nothing.
    private func forget(_ upload: MultipartUpload, _ namespace: StorageNamespace, leaving done: MultipartUpload? = nil)
        throws
    {
        let parts = try parts(of: upload)
        let own: Mutation =
            done.map { .set(MultipartUpload.partition, Key(upload.id), $0.encoded) }
            ?? .remove(MultipartUpload.partition, Key(upload.id))
        try store.writeMany(
            [own] + parts.map { .remove(MultipartUpload.parts(upload.id), UploadPart.key($0.number)) }, .durable)
        for part in parts { try objects.remove(namespace.location(part.part.address)) }
    }

    /// Ends uploads that nobody has sent a part of for so long, and forgets those that were completed a day ago.
    package func removeAbandonedUploads(after seconds: Int64) throws {
        let now = Timestamp.now().seconds
        var cursor = PartitionCursor(store, MultipartUpload.partition)
        while let (key, value) = try cursor.current(), !isStopping {
            cursor.advance()
            guard let upload = try? MultipartUpload(decoding: value) else { continue }  // What it is, `check` says.
            guard !upload.isCompleted else {
                if now - upload.created.seconds > Self.completedSeconds {
                    try store.write([.remove(MultipartUpload.partition, key)], .eventual)
                }
                continue
            }
            guard now - upload.created.seconds > seconds,
                try parts(of: upload).allSatisfy({ now - $0.part.modified.seconds > seconds })
            else { continue }
            do {
                try abort(upload)
                Log.info("an abandoned upload was removed", ["upload": upload.id, "path": upload.path])
            } catch {
                Log.warning(
                    "an abandoned upload could not be removed",
                    ["upload": upload.id, "reason": LakeError(error).message])
            }
        }
    }

    /// Uploads to the branches of a repository that goes.
    func removeUploads(to repository: Repository) throws {
        var cursor = PartitionCursor(store, MultipartUpload.partition)
        while let (key, value) = try cursor.current() {
            cursor.advance()
            let parts = try MultipartUpload(decoding: value).path.split(separator: "/", maxSplits: 2)
            guard parts.count == 3, parts[0] == repository.id.text,
                try refs.branch(BranchName(String(parts[1])), in: repository) != nil
            else { continue }
            try store.removeAll(in: MultipartUpload.parts(key.description))
            try store.write([.remove(MultipartUpload.partition, key)], .eventual)
        }
    }
}
