package import Foundations

/// What is known of an object beside its bytes.
package struct UploadFacts: Sendable {
    package var metadata: Metadata
    package var contentType: String
    /// Whether it may go into a read-only repository.
    package var isForced: Bool
    package init(metadata: Metadata = [:], contentType: String = "application/octet-stream", isForced: Bool = false) {
        self.metadata = metadata
        self.contentType = contentType
        self.isForced = isForced
    }
}

/// An object's bytes on their way in: pushed in pieces, hashed as they come, then committed under a condition, or kept
/// by something else that names them, or dropped. What is neither committed nor kept goes when nobody holds it any more:
/// no door removes objects.
///
/// Until then the bytes are without an entry: under a lease. That of an upload here ends with the upload, or with the
/// process: `lakefuse check` takes what is left. That of a part is its record, for as long as its upload is kept; that
/// of an address which was handed out for a direct upload is a day (`Catalog.directLeaseSeconds`).
///
/// Used by one thread at a time.
package final class Upload: @unchecked Sendable {  // One thread at a time, as its users promise.
    /// What the object is to be named.
    struct Target {
        let branch: BranchName, path: Key
    }
    private enum Status { case open, finished, settled }

    private let catalog: Catalog
    package let repository: Repository
    private let target: Target?
    package let address: String
    package let location: ObjectLocation
    private let writer: any ObjectWriter
    private let durability: Durability
    private var md5 = Hash(.md5)
    private var md5Value: [UInt8]?
    private var status = Status.open
    package private(set) var size: Int64 = 0
    /// May be set until it is committed.
    package var facts: UploadFacts

    init(_ catalog: Catalog, in repository: Repository, for target: Target?, _ facts: UploadFacts) throws {
        self.catalog = catalog
        self.repository = repository
        self.target = target
        self.facts = facts
        address = catalog.newAddress()
        location = try repository.namespace.location(address)
        writer = try catalog.objects.makeWriter(location)
        durability = catalog.store.capabilities.syncsObjects ? .ordered : .durable
    }

    deinit { drop() }

    package func write(_ bytes: UnsafeRawBufferPointer) throws {
        unsafe md5.update(bytes)
        size += Int64(bytes.count)
        unsafe try writer.write(bytes)
    }

    /// Whether to finish it would not block now.
    package var finishesAtOnce: Bool { durability == .ordered && writer.finishesAtOnce }

    /// The MD5 of all bytes. Nothing can be written afterwards.
    package func digest() -> [UInt8] {
        if let md5Value { return md5Value }
        md5Value = md5.finish()
        return md5Value!
    }

    /// Makes the bytes an object, which is durable before any record that names it. None does yet.
    func finish() throws {
        guard status == .open else { return }
        _ = try writer.finish(durability)
        status = .finished
    }

    private func entry(_ amend: (inout Entry) -> Void) throws -> Entry {
        try finish()
        var entry = Entry(
            address: address, lastModified: .now(), size: size, eTag: Hex.text(digest()), metadata: facts.metadata,
            contentType: facts.contentType)
        amend(&entry)
        return entry
    }

    /// Makes the bytes the object of the path that the upload was begun for.
    /// - Parameter amend: completes the entry, whose size, entity tag and facts are set.
    /// - Throws: `.preconditionFailed` if the condition does not hold; what is not staged is dropped.
    @discardableResult
    package func commit(if condition: WriteCondition? = nil, _ amend: (inout Entry) -> Void = { _ in }) throws -> Entry
    {
        guard let target else { preconditionFailure("an upload without a path was committed") }
        do {
            let entry = try entry(amend)
            try catalog.stage(
                entry, at: target.path, on: target.branch, in: repository.id, if: condition,
                force: facts.isForced)
            status = .settled
            return entry
        } catch {
            settle(after: error)
            throw error
        }
    }

    /// As `commit`, without a condition and without waiting; to be called where `finishesAtOnce` says so. `done` gets
    /// the entry when it is durable, or what went wrong; it must not block.
    package func commit(
        _ amend: (inout Entry) -> Void, then done: @escaping @Sendable (Result<Entry, any Error>) -> Void
    ) {
        guard let target else { preconditionFailure("an upload without a path was committed") }
        do {
            let entry = try entry(amend)
            try catalog.stage(entry, at: target.path, on: target.branch, in: repository) { [self] error in
                if let error { settle(after: error) } else { status = .settled }
                done(error.map { .failure($0) } ?? .success(entry))
            }
        } catch {
            settle(after: error)
            done(.failure(error))
        }
    }

    /// Makes the bytes an object that something other than an entry names from now on.
    package func keep() throws {
        try finish()
        status = .settled
    }

    private func settle(after error: any Error) {
        // Bytes that may be named already stay.
        if LakeError(error).mayBeStaged { status = .settled } else { drop() }
    }

    /// Gives up: nothing stays of what was not committed or kept. Harmless at any time.
    package func drop() {
        switch status {
        case .open: writer.abort()
        case .finished: catalog.remove(unnamed: location)
        case .settled: break
        }
        status = .settled
    }
}

extension Catalog {
    /// Begins to take the bytes of an object.
    /// - Throws: what says that the branch may not be written to.
    package func beginUpload(
        to path: Key, on branch: BranchName, in repositoryID: RepositoryID, _ facts: UploadFacts = UploadFacts()
    ) throws -> Upload {
        try Names.checkPath(path)
        let repository = try checkWritable(branch, in: repositoryID, force: facts.isForced)
        return try Upload(
            self, in: repository, for: Upload.Target(branch: branch, path: path), facts)
    }

    /// Begins to take bytes that something else than an entry is to name: a part, a mount's index.
    package func beginUpload(in repository: Repository) throws -> Upload {
        try Upload(self, in: repository, for: nil, UploadFacts())
    }

    // MARK: addresses

    /// Seconds that an address which was handed out for a direct upload may be without an entry.
    package static let directLeaseSeconds: Int64 = 24 * 3600

    /// A fresh address in the repository's namespace.
    package func newAddress() -> String {
        let address = addresses.next()
        fresh.issue(address)
        return address
    }

    /// Keeps an entry's object beyond the entry, for who was given its address: it is left to collection.
    package func keepForLinks(_ entry: Entry) { if entry.isRelative { fresh.share(entry.address) } }

    /// An address that a client writes to by itself, and may name as it likes, for `directLeaseSeconds`.
    package func newDirectAddress() -> String { addresses.next() + Entry.directSuffix }

    /// Whether an address was handed out for a direct upload, and not too long ago; nil if it was not.
    package static func isLeased(direct address: some StringProtocol) -> Bool? {
        guard address.hasSuffix(Entry.directSuffix),
            let issued = XID.seconds(address.dropLast(Entry.directSuffix.count).split(separator: "/").last ?? "")
        else { return nil }
        return Timestamp.now().seconds - issued <= directLeaseSeconds
    }

    /// An address for an object that is joined from parts.
    /// - Parameter count: how many; nil if nobody knows.
    func newPartsAddress(of count: Int? = nil) -> String {
        let address = addresses.next() + (count.map { ".\($0)" } ?? "") + Entry.partsSuffix
        fresh.issue(address)
        return address
    }

    /// Removes an object that no entry came to name, because of `error`; one that may be named stays.
    func discard(_ location: ObjectLocation, after error: any Error) {
        if !LakeError(error).mayBeStaged { remove(unnamed: location) }
    }

    /// Removes an object that nothing names.
    func remove(unnamed location: ObjectLocation) {
        do { try objects.remove(location) } catch {
            Log.warning(
                "an object that nothing names could not be removed",
                ["object": location.description, "reason": "\(error)"])
        }
    }
}
