package import Foundations
import Synchronization

/// One place to import from, and where on the branch its objects go.
package struct ImportSource: Sendable, Equatable {
    package enum Kind: String, Sendable {
        case commonPrefix = "common_prefix"
        case object
    }
    package var kind: Kind
    /// A full address, such as `local:///data/photos/` or `s3://bucket/prefix`.
    package var address: String
    package var destination: Key

    /// Where a folder's objects go: the destination, with a slash behind it unless it is the root.
    var folder: Key {
        destination.isEmpty || destination.bytes.last == 0x2f ? destination : Key(destination.bytes + [0x2f])
    }

    /// What the import takes the place of. lakeFS takes the destination's text for a prefix of keys, and so drops
    /// neighbours that begin like it; here an object replaces itself, and a folder what is in it.
    var replaced: KeySpan { kind == .object ? KeySpan(only: destination) : KeySpan(prefix: folder) }

    package init(kind: Kind, address: String, destination: Key) {
        self.kind = kind
        self.address = address
        self.destination = destination
    }
}

/// Imports name objects where they lie, without copying them. Source: `lakefs-formats.md` 7.13.
extension Catalog {
    /// Starts an import and returns its id; `importStatus` tells how it goes on.
    package func startImport(
        _ sources: [ImportSource], _ request: CommitRequest, on branch: BranchName, in repositoryID: RepositoryID
    ) throws -> String {
        let repository = try writableRepository(repositoryID, force: request.force)
        let namespace = try repository.namespace.description + "/"
        _ = try self.branch(branch, in: repository)
        for source in sources {
            guard !source.address.isEmpty else {
                throw LakeError(.invalidValue, "import source is empty: give an address such as local:///folder/")
            }
            guard !source.address.hasPrefix(namespace),
                !namespace.hasPrefix(source.address.hasSuffix("/") ? source.address : source.address + "/")
            else {
                throw LakeError(
                    .invalidValue, "import source \(source.address) lies in the repository's own storage namespace")
            }
            guard source.kind == .commonPrefix || !source.destination.isEmpty else {
                throw LakeError(.invalidValue, "import of the object \(source.address) needs a destination path")
            }
            guard source.destination.count <= 1024 else {
                throw LakeError(
                    .invalidValue, "import destination of \(source.destination.count) bytes is too long: 1,024 at most")
            }
        }
        try refs.removeEnded(in: repository)
        let id = XID.make()
        // Known as alive before anyone can see it.
        imports.withLock { _ = $0.insert(id) }
        do {
            let job = try ImportJob(id, self, repository, branch, sources, request)
            tasks.run { [self] in
                job.run()
                imports.withLock { _ = $0.remove(id) }
            }
        } catch {
            imports.withLock { _ = $0.remove(id) }
            throw error
        }
        return id
    }

    /// How an import goes on. One whose server is gone shows as failed.
    package func importStatus(_ id: String, in repositoryID: RepositoryID) throws -> ImportStatus {
        let repository = try repository(repositoryID)
        guard let (status, bytes) = try refs.importStatus(id, in: repository) else {
            throw LakeError.notFound(.importJob, id)
        }
        return try failIfAbandoned(status, bytes, in: repository)
    }

    /// Milliseconds after which another process's import that tells nothing is taken for dead; a live one tells every
    /// second.
    private static let silenceMilliseconds: Int64 = 60_000
    /// Imports of others that are watched.
    private static let mostWatchedImports = 10_000

    /// Whether another process's import has told nothing for long, by this one's clock: that of the other may be wrong.
    private func isSilent(_ status: ImportStatus) -> Bool {
        let now = Timestamp.monotonicMilliseconds()
        return importsOfOthers.withLock { watched in
            if watched.count > Self.mostWatchedImports { watched.removeAll() }
            guard let seen = watched[status.id], seen.updated == status.updated else {
                watched[status.id] = (status.updated, now)
                return false
            }
            guard now - seen.since > Self.silenceMilliseconds else { return false }
            watched[status.id] = nil
            return true
        }
    }

    private func failIfAbandoned(_ status: ImportStatus, _ bytes: [UInt8], in repository: Repository) throws
        -> ImportStatus
    {
        guard !status.hasEnded, !imports.withLock({ $0.contains(status.id) }),
            isAlone || isSilent(status)
        else { return status }
        var failed = status
        failed.error = "interrupted: its server stopped"
        failed.updated = .now()
        guard try refs.setImportStatus(failed, in: repository, if: .matches(bytes)) else {
            return try importStatus(status.id, in: repository.id)
        }
        try refs.markDropped([ImportJob.partition(status.id)])
        return failed
    }

    /// Ends what a process that is gone was importing.
    func failAbandonedImports(in repository: Repository) throws {
        for status in try refs.importStatuses(in: repository) where !status.hasEnded {
            _ = try importStatus(status.id, in: repository.id)
        }
    }

    /// - Throws: `.conflict` if it has ended already.
    package func cancelImport(_ id: String, in repositoryID: RepositoryID) throws {
        let repository = try repository(repositoryID)
        for _ in 0..<Self.tries {
            guard let (found, bytes) = try refs.importStatus(id, in: repository) else {
                throw LakeError.notFound(.importJob, id)
            }
            var status = found
            guard !status.hasEnded else { throw LakeError(.conflict, "import \(id) has ended already") }
            status.error = "Canceled"
            status.updated = .now()
            if try refs.setImportStatus(status, in: repository, if: .matches(bytes)) { return }
        }
        throw LakeError(.tooManyTries, "import \(id) keeps changing: try again")
    }
}

/// One import on its way: used by the thread that runs it.
private final class ImportJob: @unchecked Sendable {
    // Made on one thread, handed to another, and used by that one alone.
    let id: String
    private let catalog: Catalog
    private let repository: Repository
    private let branch: BranchName
    private let sources: [ImportSource]
    private let request: CommitRequest
    private var status: ImportStatus
    private var stored: [UInt8]
    private let partition: Partition
    private var batch: [Mutation] = []

    private static let batchSize = 1000

    init(
        _ id: String, _ catalog: Catalog, _ repository: Repository, _ branch: BranchName, _ sources: [ImportSource],
        _ request: CommitRequest
    ) throws {
        self.id = id
        self.catalog = catalog
        self.repository = repository
        self.branch = branch
        self.sources = sources
        self.request = request
        status = ImportStatus(id: id)
        stored = status.encoded
        partition = Self.partition(id)
        guard try catalog.refs.setImportStatus(status, in: repository, if: .absent) else {
            throw LakeError(.alreadyExists(.importJob), "import \(id): already exists")
        }
    }

    /// The partition where entries are put in order.
    static func partition(_ id: String) -> Partition { Partition("import:\(id)") }

    func run() {
        do {
            try importAll()
        } catch {
            status.error = LakeError(error).message
            status.updated = .now()
            // Refused if it was cancelled: then that stands.
            _ = try? catalog.refs.setImportStatus(status, in: repository, if: .matches(stored))
        }
        try? catalog.store.removeAll(in: partition)
    }

    /// Tells how far it is, at most once a second.
    /// - Throws: `.conflict` if someone cancelled it, or the server stops.
    private func tell(atOnce: Bool = false) throws {
        guard !catalog.isStopping else { throw LakeError(.unavailable, "interrupted: the server stops") }
        let now = Timestamp.now()
        guard atOnce || now.seconds > status.updated.seconds else { return }
        status.updated = now
        guard try catalog.refs.setImportStatus(status, in: repository, if: .matches(stored)) else {
            throw LakeError(.conflict, "Canceled")
        }
        stored = status.encoded
    }

    private func importAll() throws {
        for source in sources { try read(source) }
        try flush()
        let metaRange = try writeRanges()
        try tell(atOnce: true)
        var request = request
        if request.message.isEmpty { request.message = "Import objects" }
        request.metadata[".lakefs.merge.strategy"] = MergeStrategy.sourceWins.rawValue
        try catalog.checkProtection(of: branch, blocks: .commit, in: repository)
        let made = try catalog.moveHead(branch, in: repository, .preCommit, request) { branch in
            let head = try catalog.refs.commit(branch.commitID, in: repository)
            let result = try catalog.committed.merge(
                source: metaRange, into: head.metaRangeID, base: "", strategy: .sourceWins,
                hiding: sources.map(\.replaced), in: repository.namespace)
            return try catalog.draft(request, metaRange: result, parents: [(branch.commitID, head)])
        }
        status.isCompleted = true
        status.commit = made
        status.metaRangeID = made.commit.metaRangeID
        status.updated = .now()
        if try !catalog.refs.setImportStatus(status, in: repository, if: .matches(stored)) {
            // Cancelled too late: the commit is there.
            _ = try catalog.refs.setImportStatus(status, in: repository, if: .present)
        }
        try catalog.updateRepositoryMetadata(repository.id, force: true) {
            $0[".lakefs.last.import.timestamp"] = String(made.commit.creationDate.seconds)
        }
    }

    private func read(_ source: ImportSource) throws {
        guard let root = ObjectLocation(address: source.address, store: repository.storageID) else {
            throw LakeError(
                .invalidValue,
                "import source '\(source.address)' is not valid: give an address such as local:///folder/")
        }
        var path = root.path[...]
        while path.count > 1, path.last == "/" { path = path.dropLast() }
        let start = ObjectLocation(scheme: root.scheme, path: String(path), store: root.store)
        let before = status.progress
        guard catalog.objects.isOpen(start) else {
            throw LakeError(
                .invalidValue,
                "import source \(source.address) is not open to imports: it must lie in the repository's own store\(root.store.isEmpty ? "" : " '\(root.store)'"), and local files in a folder of blockstore.local.allowed_external_prefixes, with blockstore.local.import_enabled"
            )
        }
        let prefixCount = path.utf8.count + (path == "/" ? 0 : 1)
        try catalog.objects.walk(start) { object in
            // The source itself: as a path relative to it, lakeFS calls it so too.
            try add(
                object, source,
                relative: object.location == start
                    ? "." : String(decoding: object.location.path.utf8.dropFirst(prefixCount), as: UTF8.self))
        }
        guard status.progress > before else {
            throw LakeError(.notFound(.object), "import source \(source.address): nothing is there")
        }
    }

    private func add(_ object: StoredObject, _ source: ImportSource, relative: String) throws {
        let key = source.kind == .object ? source.destination.bytes : source.folder.bytes + Array(relative.utf8)
        try Names.checkPath(Key(key))
        let entry = Entry(
            address: object.location.description, addressType: .full, lastModified: Timestamp(seconds: object.modified),
            size: object.byteCount,
            eTag: try checksum(object), contentType: "")
        batch.append(.set(partition, Key(key), entry.envelope.bytes))
        status.progress += 1
        if batch.count == Self.batchSize { try flush() }
    }

    /// The MD5 of an object's bytes.
    private func checksum(_ object: StoredObject) throws -> String {
        var hash = Hash(.md5)
        let piece: Int64 = 1 << 20
        for start in stride(from: Int64(0), to: object.byteCount, by: Int(piece)) {
            try tell()
            hash.update(try catalog.objects.read(object.location, start..<min(start + piece, object.byteCount)))
        }
        return Hex.text(hash.finish())
    }

    private func flush() throws {
        if !batch.isEmpty { try catalog.store.writeMany(batch, .eventual) }
        batch = []
        try tell()
    }

    /// The entries, in order, as ranges and a metarange.
    private func writeRanges() throws -> String {
        let writer = MetaRangeWriter(store: catalog.committed, namespace: try repository.namespace)
        var cursor = PartitionCursor(catalog.store, partition)
        var count = 0
        while let record = try cursor.current() {
            try writer.add(record.key.bytes, record.value)
            cursor.advance()
            count += 1
            if count % Self.batchSize == 0 { try tell() }
        }
        return try writer.finish()
    }
}
