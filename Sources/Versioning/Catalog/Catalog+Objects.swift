package import Foundations
import Synchronization

/// One line of a listing.
package enum Listing: Sendable {
    case object(Key, Entry)
    case commonPrefix(Key)

    package var path: Key {
        switch self {
        case .object(let path, _): path
        case .commonPrefix(let path): path
        }
    }
}

/// What must hold for an object to be written.
package enum WriteCondition: Sendable {
    /// `If-None-Match: *`
    case absent
    /// `If-Match`: these entity tags, or `*` for any.
    case matches([String])
    /// The object is the one that was read before, by its address.
    case sameAddress(String)
    /// `If-None-Match` with entity tags.
    case matchesNone([String])

    func allows(_ entry: Entry?) -> Bool {
        switch self {
        case .absent: entry == nil
        case .matches(let tags): entry.map { Self.names($0, tags) } ?? false
        case .sameAddress(let address): entry?.address == address
        case .matchesNone(let tags): entry.map { !Self.names($0, tags) } ?? true
        }
    }

    private static func names(_ entry: Entry, _ tags: [String]) -> Bool {
        tags.contains { $0 == "*" || $0 == entry.eTag || $0 == entry.s3Tag }
    }
}

extension Catalog {
    /// The branch to write to, or the error that says why not.
    package func checkWritable(_ branch: BranchName, in repositoryID: RepositoryID, force: Bool = false) throws
        -> Repository
    {
        let repository = try writableRepository(repositoryID, force: force)
        _ = try assumedBranch(branch, in: repository)
        try checkProtection(of: branch, blocks: .stagingWrite, in: repository)
        return repository
    }

    /// What writes an entry into the open token. The removal of something that only this token has leaves nothing
    /// behind: files that come and go between commits would else fill the branch with tombstones (7.1, delete without
    /// tombstone). That is right as long as the branch is what was looked at: a commit that has closed the token may have
    /// read what is removed, and nothing would say any more that it is to go. Who writes it holds it against the branch.
    /// - Parameter mayVanish: whether that can be done.
    private func mutation(of entry: StagedEntry, on branch: Branch, in repository: Repository, mayVanish: Bool) throws
        -> Mutation
    {
        let partition = branch.stagingToken.partition
        if entry.envelope == nil, mayVanish,
            try stagedEntry(entry.key, tokens: branch.sealedTokens) == nil,
            try committed.record(
                entry.key, metaRange: metaRange(of: branch.commitID, in: repository), in: repository.namespace) == nil
        {
            return .remove(partition, entry.key)
        }
        return .set(partition, entry.key, entry.encoded)
    }

    /// What a path must show at the moment of a write: the entry with this address, or none.
    package typealias Expected = (path: Key, address: String?)

    /// Stages entries in one step, or in a few where the store takes so many changes only; a commit that seals the token
    /// meanwhile makes it write again, so nothing is lost.
    /// - Parameter expected: paths of `entries` that must show these addresses.
    /// - Throws: `.preconditionFailed` if one of them does not, or if an object of an entry went meanwhile; nothing was
    ///   written then. Source: `lakefs-formats.md` 7.1.
    func writeStaged(
        _ entries: [StagedEntry], on id: BranchName, in repository: Repository, _ durability: Durability, origin: Int?,
        expecting expected: [Expected] = []
    ) throws {
        // Each may need a requirement beside it, or two.
        let most = max(store.capabilities.mostChanges / 3, 1)
        guard entries.count <= most else {
            for start in stride(from: 0, to: entries.count, by: most) {
                let some = Array(entries[start..<min(start + most, entries.count)])
                let keys = Set(some.map(\.key))
                try writeStaged(
                    some, on: id, in: repository, durability, origin: origin,
                    expecting: expected.filter { keys.contains($0.path) })
            }
            return
        }
        let claims = try claim(entries)
        var isWritten = false
        do {
            for attempt in 0..<Self.tries {
                let (branch, bytes) =
                    try attempt == 0 && expected.isEmpty
                    ? assumedBranch(id, in: repository) : branch(id, in: repository)
                let token = branch.stagingToken
                guard let required = try requirements(expected, of: branch, in: repository) else { continue }
                // What is replaced must be exactly what was looked at, if its object is to go. Where many write one key
                // it stays.
                let replaced =
                    try fresh.isEmpty || attempt >= 2
                    ? [] : entries.compactMap { entry in try replacement(of: entry.key, in: token) }
                // Where commits come one after the other, there is less to look at from then on.
                let mayVanish = store.capabilities.requiresCheaply && attempt < Self.tries / 2
                let mutations = try entries.map {
                    try mutation(of: $0, on: branch, in: repository, mayVanish: mayVanish)
                }
                // What is looked for again, after a write into a token that was closed, is not what it was.
                let isExact =
                    store.capabilities.requiresCheaply && (!expected.isEmpty || mutations.contains { $0.isRemoval })
                let held = guards(id, bytes, in: repository, isExact: isExact)
                let batch =
                    held + required + replaced.map { .require(token.partition, $0.key, .matches($0.value)) } + mutations
                guard try store.tryWrite(batch, durability) else { continue }
                let isFirst = !isWritten
                isWritten = true
                if try !held.isEmpty || self.branch(id, in: repository).branch.stagingToken == token {
                    if isFirst {
                        noteStaged(entries, claims, in: token)
                    } else {
                        for (address, _) in claims { fresh.share(address) }
                    }
                    remove(replaced, in: token, of: repository, durability)
                    return publish(
                        Change(repository: repository.id, branch: id, kind: .keys(entries.map(\.key)), origin: origin))
                }
                // A commit closed the token meanwhile, and may have taken what was written to it: it is written to
                // another one too.
                for (address, _) in claims { fresh.share(address) }
            }
            throw LakeError(.tooManyTries, "branch \(id) keeps being changed: try again")
        } catch {
            for (address, claim) in claims { if isWritten { fresh.share(address) } else { fresh.keep(address, claim) } }
            var error = LakeError(error)
            error.mayBeStaged = isWritten
            throw error
        }
    }

    /// What holds a write against the branch that it was made for, where the store can: its token is open then.
    /// - Parameter isExact: whether it must be held.
    private func guards(_ id: BranchName, _ bytes: [UInt8], in repository: Repository, isExact: Bool = false)
        -> [Mutation]
    {
        refs.isAssuming || isExact
            ? [.require(repository.partition, RefStore.key(ofBranch: id), .matches(bytes))] : []
    }

    /// Claims the objects of entries that are about to be staged.
    private func claim(_ entries: [StagedEntry]) throws -> [(address: String, claim: FreshObjects.Claim)] {
        var claims: [(address: String, claim: FreshObjects.Claim)] = []
        var seen: Set<String> = []
        for entry in entries {
            guard let address = Self.address(entry.envelope), seen.insert(address).inserted else { continue }
            guard let claim = fresh.claim(address) else {
                for (address, claim) in claims { fresh.keep(address, claim) }
                throw LakeError(
                    .preconditionFailed,
                    "path \(entry.key): the object that it is to name was replaced meanwhile, and went")
            }
            claims.append((address, claim))
        }
        return claims
    }

    /// What the store must hold for paths to show these addresses; nil if the branch moved while they were looked at.
    private func requirements(_ expected: [Expected], of branch: Branch, in repository: Repository) throws
        -> [Mutation]?
    {
        guard !expected.isEmpty else { return [] }
        let ref = ResolvedRef(repository: repository, commitID: branch.commitID, branch: branch, tokens: branch.tokens)
        let partition = branch.stagingToken.partition
        var required: [Mutation] = []
        var missed: Key?
        for (path, address) in expected {
            let own = try store.value(for: path, in: partition)
            let current =
                try own.map { try StagedEntry(key: path, decoding: $0).envelope.map { try decode($0, path) } }
                ?? find(path, at: ref)
            if current?.address != address { missed = missed ?? path }
            required.append(.require(partition, path, own.map { .matches($0) } ?? .absent))
        }
        guard try self.branch(branch.id, in: repository).branch == branch else { return nil }
        if let missed { throw LakeError(.preconditionFailed, "path \(missed) was changed meanwhile") }
        return required
    }

    /// The address that a value names in its repository's namespace; nil for a tombstone, and for other places.
    private static func address(_ envelope: Envelope?) -> String? {
        guard let envelope, let entry = try? Entry(decoding: envelope.data), entry.addressType == .relative else {
            return nil
        }
        return entry.address
    }

    /// An uncommitted change whose object may go with it.
    private struct Replacement {
        let key: Key
        let value: [UInt8]
        let address: String
        let byteCount: Int64
    }

    private func replacement(of key: Key, in token: StagingToken) throws -> Replacement? {
        guard let value = try store.value(for: key, in: token.partition) else { return nil }
        return replacement(key, value)
    }

    /// Entries were staged in a branch's open token, once.
    private func noteStaged(
        _ entries: [StagedEntry], _ claims: [(address: String, claim: FreshObjects.Claim)], in token: StagingToken
    ) {
        staged.add(entries.count, ordering: .relaxed)
        refs.noteWritten(token)
        var keys: [String: Set<Key>] = [:]
        for entry in entries {
            if let address = Self.address(entry.envelope) { keys[address, default: []].insert(entry.key) }
        }
        let vacated = Set(entries.map(\.key))
        for (address, claim) in claims {
            if let names = keys[address] { fresh.staged(address, claim, at: names, in: token, vacated: vacated) }
        }
    }

    private func replacement(_ key: Key, _ value: [UInt8]) -> Replacement? {
        guard let old = (try? StagedEntry(key: key, decoding: value))?.envelope,
            let entry = try? Entry(decoding: old.data), entry.addressType == .relative, fresh.isKnown(entry.address)
        else { return nil }
        return Replacement(key: key, value: value, address: entry.address, byteCount: entry.size)
    }

    /// Removes the objects of changes that a write replaced.
    private func remove(
        _ replaced: [Replacement], in token: StagingToken, of repository: Repository, _ durability: Durability
    ) {
        for old in replaced where fresh.take(old.address, at: old.key, in: token) {
            guard let location = try? repository.namespace.location(old.address) else { continue }
            late.add(location, byteCount: old.byteCount, isDurable: durability == .durable)
        }
    }

    /// Stages an object under `path`.
    /// - Throws: `.preconditionFailed` if `condition` does not hold; nothing was written then.
    package func stage(
        _ entry: Entry, at path: Key, on id: BranchName, in repositoryID: RepositoryID,
        if condition: WriteCondition? = nil,
        force: Bool = false,
        _ durability: Durability = .durable, origin: Int? = nil
    ) throws {
        try Names.checkPath(path)
        try entry.check()
        let repository = try writableRepository(repositoryID, force: force)
        try checkProtection(of: id, blocks: .stagingWrite, in: repository)
        // What was closed in a mount before is older, and must not come later.
        unsettled.settle(id, in: repositoryID, path)
        let staged = StagedEntry(key: path, envelope: entry.envelope)
        guard let condition else {
            return try writeStaged([staged], on: id, in: repository, durability, origin: origin)
        }
        let claims = try claim([staged])
        var mayBeStaged = false
        do {
            try stage(
                staged, entry, if: condition, on: id, in: repository, durability, origin: origin, claims, &mayBeStaged)
        } catch {
            for (address, claim) in claims {
                if mayBeStaged { fresh.share(address) } else { fresh.keep(address, claim) }
            }
            var error = LakeError(error)
            error.mayBeStaged = mayBeStaged
            throw error
        }
    }

    private func stage(
        _ staged: StagedEntry, _ entry: Entry, if condition: WriteCondition, on id: BranchName,
        in repository: Repository,
        _ durability: Durability, origin: Int?,
        _ claims: [(address: String, claim: FreshObjects.Claim)], _ mayBeStaged: inout Bool
    ) throws {
        let path = staged.key
        for attempt in 0..<Self.tries {
            guard let (branch, bytes, known) = try refs.branch(id, for: path, in: repository) else {
                throw LakeError.notFound(.branch, id)
            }
            let partition = branch.stagingToken.partition
            let own = try known.map { $0.values[0] } ?? store.value(for: path, in: partition)
            let current = try find(
                path,
                at: ResolvedRef(
                    repository: repository, commitID: branch.commitID, branch: branch, tokens: branch.tokens,
                    staged: known))
            // What was found must be what the branch shows: a commit may have taken its tokens meanwhile.
            guard try refs.isAssuming || self.branch(id, in: repository).branch == branch else { continue }
            // What this call wrote before a commit came between is no obstacle to itself.
            guard current?.address == entry.address || condition.allows(current) else {
                // What is to match is not there at all: S3 tells these apart.
                if case .matches = condition, current == nil { throw LakeError.notFound(.object, path) }
                throw LakeError(.preconditionFailed, "path \(path): the condition of the request does not hold")
            }
            // A head about to move may bring what the condition forbids: it goes first, unless it takes long.
            if branch.sealedTokens.contains(where: RefStore.isMove) {
                if attempt < Self.tries / 2 {
                    pauseBeforeRetry(attempt)
                } else {
                    try cancelMoves(of: id, in: repository)
                }
                continue
            }
            let unchanged: Mutation = .require(partition, path, own.map { .matches($0) } ?? .absent)
            let write = guards(id, bytes, in: repository) + [unchanged, .set(partition, path, staged.encoded)]
            guard try store.tryWrite(write, durability) else { continue }
            let isFirst = !mayBeStaged
            mayBeStaged = true
            if try refs.isAssuming || self.branch(id, in: repository).branch.stagingToken == branch.stagingToken {
                if isFirst {
                    noteStaged([staged], claims, in: branch.stagingToken)
                } else {
                    for (address, _) in claims { fresh.share(address) }
                }
                if let own, let old = replacement(path, own), old.address != entry.address {
                    remove([old], in: branch.stagingToken, of: repository, durability)
                }
                return publish(
                    Change(repository: repository.id, branch: id, kind: .keys([path]), origin: origin))
            }
            for (address, _) in claims { fresh.share(address) }  // As above: the closed token may be committed with it.
        }
        throw LakeError(.tooManyTries, "path \(path) keeps changing: try again")
    }

    /// Stages an object without waiting: `done` is called when it is durable, or with what went wrong; it must not
    /// block.
    /// - Parameter repository: from `checkWritable`, which says that the branch may be written to.
    package func stage(
        _ entry: Entry, at path: Key, on id: BranchName, in repository: Repository,
        then done: @escaping @Sendable ((any Error)?) -> Void
    ) throws {
        try Names.checkPath(path)
        try entry.check()
        let staged = StagedEntry(key: path, envelope: entry.envelope)
        // Where a requirement makes writers fail each other, the token is looked at before and behind.
        guard !unsettled.isHolding, store.capabilities.requiresCheaply else {
            return stageLater(staged, on: id, in: repository, then: done)
        }
        let claims = try claim([staged])
        do {
            let (branch, bytes) = try assumedBranch(id, in: repository)
            let token = branch.stagingToken
            let replaced = try fresh.isEmpty ? nil : replacement(of: path, in: token)
            // As long as the branch is what it was, its token is open.
            let batch: [Mutation] =
                [.require(repository.partition, RefStore.key(ofBranch: id), .matches(bytes))]
                + (replaced.map { [.require(token.partition, path, .matches($0.value))] } ?? [])
                + [.set(token.partition, path, staged.encoded)]
            store.write(batch, .durable) { [self] error in
                if let error {
                    for (address, claim) in claims { fresh.keep(address, claim) }
                    guard error.code == .preconditionFailed else { return done(error) }
                    return stageLater(staged, on: id, in: repository, then: done)
                }
                noteStaged([staged], claims, in: token)
                if let replaced { remove([replaced], in: token, of: repository, .durable) }
                let change = Change(repository: repository.id, branch: id, kind: .keys([path]))
                guard events.hasListeners else {
                    publish(change)
                    return done(nil)
                }
                // Mounts are waited for: the turn of the group commit is not.
                committed.pool.run { [self] in
                    publish(change)
                    done(nil)
                }
            }
        } catch {
            for (address, claim) in claims { fresh.keep(address, claim) }
            throw error
        }
    }

    /// Stages an entry on a thread that may wait: for mounts to settle, and for the store.
    private func stageLater(
        _ staged: StagedEntry, on id: BranchName, in repository: Repository,
        then done: @escaping @Sendable ((any Error)?) -> Void
    ) {
        committed.pool.run { [self] in
            do {
                unsettled.settle(id, in: repository.id, staged.key)
                try writeStaged([staged], on: id, in: repository, .durable, origin: nil)
                done(nil)
            } catch {
                done(error)
            }
        }
    }

    /// Stages values and removals (nil) in one step: what a rename in the mount is.
    /// - Parameter expected: paths among them that must show these addresses.
    /// - Throws: `.preconditionFailed` if one does not, or an object went meanwhile; nothing was written then.
    package func stage(
        _ changes: [(path: Key, entry: Entry?)], on id: BranchName, in repositoryID: RepositoryID,
        _ durability: Durability = .durable, origin: Int?, expecting expected: [Expected] = []
    ) throws {
        let repository = try writableRepository(repositoryID, force: false)
        try checkProtection(of: id, blocks: .stagingWrite, in: repository)
        for change in changes {
            try Names.checkPath(change.path)
            try change.entry?.check()
        }
        try writeStaged(
            changes.map { StagedEntry(key: $0.path, envelope: $0.entry?.envelope) }, on: id, in: repository, durability,
            origin: origin, expecting: expected)
    }

    /// Removes objects; those that are not there are passed over. Returns the paths that were there.
    package func delete(
        _ paths: [Key], on id: BranchName, in repositoryID: RepositoryID, force: Bool = false,
        _ durability: Durability = .durable, origin: Int? = nil
    ) throws -> Set<Key> {
        for path in paths { try Names.checkPath(path) }
        let repository = try writableRepository(repositoryID, force: force)
        try checkProtection(of: id, blocks: .stagingWrite, in: repository)
        unsettled.settle(id, in: repositoryID, paths.count == 1 ? paths[0] : nil)
        var present: [Key] = []
        for attempt in 0..<Self.tries {
            let (branch, _) = try branch(id, in: repository)
            let ref = ResolvedRef(
                repository: repository, commitID: branch.commitID, branch: branch, tokens: branch.tokens)
            present = try paths.filter { try find($0, at: ref) != nil }
            // What was found must be what the branch shows: a commit may have taken its tokens meanwhile.
            if try self.branch(id, in: repository).branch == branch { break }
            guard attempt < Self.tries - 1 else {
                throw LakeError(.tooManyTries, "branch \(id) keeps being committed: try again")
            }
        }
        if !present.isEmpty {
            try writeStaged(
                present.map { StagedEntry(key: $0, envelope: nil) }, on: id, in: repository, durability, origin: origin)
        }
        return Set(present)
    }

    /// Removes an object as it was looked at.
    /// - Throws: `.notFound(.object)`, `.preconditionFailed` if `condition` does not hold for it.
    package func delete(_ path: Key, on id: BranchName, in repositoryID: RepositoryID, if condition: (Entry) -> Bool)
        throws
    {
        try Names.checkPath(path)
        let repository = try checkWritable(id, in: repositoryID)
        for _ in 0..<Self.tries {
            unsettled.settle(id, in: repositoryID, path)
            let branch = try branch(id, in: repository).branch
            let ref = ResolvedRef(
                repository: repository, commitID: branch.commitID, branch: branch, tokens: branch.tokens)
            guard let entry = try find(path, at: ref) else { throw LakeError.notFound(.object, path) }
            guard condition(entry) else {
                throw LakeError(.preconditionFailed, "path \(path): the condition of the request does not hold")
            }
            do {
                return try stage(
                    [(path, nil)], on: id, in: repositoryID, origin: nil, expecting: [(path, entry.address)])
                // Written anew meanwhile: looked at again.
            } catch let error as LakeError where error.code == .preconditionFailed {}
        }
        throw LakeError(.tooManyTries, "path \(path) keeps changing: try again")
    }

    /// Copies an object's bytes to an address of its own and stages it. Metadata and type come along unless given.
    package func copy(
        _ source: Key, at sourceRef: String, from sourceRepository: RepositoryID, to destination: Key,
        on id: BranchName,
        in repositoryID: RepositoryID,
        metadata: Metadata? = nil, contentType: String? = nil, condition: WriteCondition? = nil, force: Bool = false,
        isShallow: Bool = false
    ) throws -> Entry {
        try Names.checkPath(destination)
        var (entry, location, _) = try self.entry(source, at: sourceRef, in: sourceRepository)
        let repository = try checkWritable(id, in: repositoryID, force: force)
        if isShallow && sourceRepository == repositoryID {
            if entry.metadata["::lakefs::shallow-copy"] == nil {
                entry.metadata["::lakefs::shallow-copy"] = source.description
            }
        }
        entry.lastModified = .now()
        if let metadata { entry.metadata = metadata }
        if let contentType { entry.contentType = contentType }
        guard !isShallow || sourceRepository != repositoryID else {
            // Named twice from now on. Looked at again afterwards: a writer who replaced it meanwhile may have removed
            // its bytes.
            fresh.share(entry.address)
            guard try self.entry(source, at: sourceRef, in: sourceRepository).entry.address == entry.address else {
                throw LakeError(.tooManyTries, "path \(source) keeps changing: try again")
            }
            try stage(entry, at: destination, on: id, in: repositoryID, if: condition, force: force)
            return entry
        }
        // Its address goes on to say what its entity tag is.
        entry.address =
            entry.partCount.map { newPartsAddress(of: $0) } ?? (entry.isOfParts ? newPartsAddress() : newAddress())
        entry.addressType = .relative
        let copied = try entry.location(in: repository.namespace)
        do {
            let size = try objects.copy(location, to: copied)
            // Less than its entry says, or more: a copy would make it what it is not.
            guard size == entry.size else { throw Self.wrongLength(size, entry, source) }
            try stage(entry, at: destination, on: id, in: repositoryID, if: condition, force: force)
        } catch let error as StoreError where error.code == .notFound {
            throw LakeError(.dataGone, "the data of \(source) is gone", cause: error)
        } catch {
            discard(copied, after: error)
            throw error
        }
        return entry
    }

    private static func wrongLength(_ size: Int64, _ entry: Entry, _ path: Key) -> LakeError {
        LakeError(.corrupt, "the data of \(path) is damaged: it has \(size) bytes where its entry says \(entry.size)")
    }

    /// Refuses an object whose bytes are not as many as its entry says.
    package func checkWhole(_ entry: Entry, at location: ObjectLocation, path: Key) throws {
        guard let size = try objects.size(of: location) else {
            throw LakeError(.dataGone, "the data of \(path) is gone")
        }
        guard size == entry.size else { throw Self.wrongLength(size, entry, path) }
    }

    /// Changes an object's user metadata.
    package func updateMetadata(
        of path: Key, on id: BranchName, in repositoryID: RepositoryID, _ change: (inout Metadata) throws -> Void
    ) throws {
        _ = try checkWritable(id, in: repositoryID)
        for _ in 0..<Self.tries {
            var entry = try entry(path, at: id.text, in: repositoryID).entry
            try change(&entry.metadata)
            do {
                return try stage(entry, at: path, on: id, in: repositoryID, if: .sameAddress(entry.address))
                // Someone wrote it anew: their bytes stay.
            } catch let error as LakeError where error.code == .preconditionFailed {}
        }
        throw LakeError(.tooManyTries, "path \(path) keeps changing: try again")
    }
}
