package import Foundations

/// Objects of a ref: looked up and listed.
extension Catalog {
    /// - Parameter known: what was read already.
    func stagedEntry(_ path: Key, tokens: [StagingToken], known: StagedValues? = nil) throws -> StagedEntry? {
        let values: [[UInt8]?]? =
            if let known, known.path == path, known.tokens.starts(with: tokens) {
                known.values
            } else if store.capabilities.isShared, tokens.count > 1 {
                try store.values(for: tokens.map { ($0.partition, path) })
            } else {
                nil
            }
        for (index, token) in tokens.enumerated() {
            if let bytes = try values.map({ $0[index] }) ?? store.value(for: path, in: token.partition) {
                do { return try StagedEntry(key: path, decoding: bytes) } catch {
                    throw LakeError(.corrupt, "the staged entry of \(path) is no message")
                }
            }
        }
        return nil
    }

    func decode(_ envelope: Envelope, _ path: Key) throws -> Entry {
        do { return try Entry(decoding: envelope.data) } catch {
            throw LakeError(.corrupt, "the entry of \(path) is no message")
        }
    }

    /// The entry of `path` as `ref` shows it, or nil. Source: `lakefs-formats.md` 7.1.
    package func find(_ path: Key, at ref: ResolvedRef) throws -> Entry? {
        let (tokens, metaRange) = try view(of: ref)
        if let staged = try stagedEntry(path, tokens: tokens, known: ref.staged) {
            return try staged.envelope.map { try decode($0, path) }
        }
        let name = CommittedName(metaRange: metaRange, path: path)
        if let known = entries[name] { return known }
        let entry = try committed.record(path, metaRange: metaRange, in: ref.repository.namespace).map {
            try decode($0, path)
        }
        entries.insert(entry, for: name, cost: 400 + path.count + (entry?.metadata.pairs.count ?? 0) * 100)
        return entry
    }

    /// An entry of a metarange, which never changes.
    struct CommittedName: Hashable { let metaRange: String, path: Key }

    /// - Throws: `.notFound(.object)`, and what `resolve` throws.
    package func entry(_ path: Key, at ref: String, in repositoryID: RepositoryID) throws -> (
        entry: Entry, location: ObjectLocation, repository: Repository
    ) {
        let resolved = try resolve(ref, in: repositoryID, for: path)
        guard let entry = try find(path, at: resolved) else { throw LakeError.notFound(.object, path) }
        return (entry, try entry.location(in: resolved.repository.namespace), resolved.repository)
    }

    /// As `entry`, without waiting: `done` is called from any thread, with what was found or what went wrong; it must not
    /// block.
    package func entry(
        _ path: Key, at ref: String, in repositoryID: RepositoryID,
        then done:
            @escaping @Sendable (
                Result<(entry: Entry, location: ObjectLocation, repository: Repository), any Error>
            ) -> Void
    ) {
        // What is known of the branch is read together with the path; the rest is as it always is, with that at hand.
        let names =
            Waiting.without { () -> (names: [(partition: Partition, key: Key)], known: Branch)? in
                guard store.capabilities.readsLater, !unsettled.isHolding,
                    let repository = try? repository(repositoryID),
                    let known = refs.knownBranch(BranchName(ref), in: repository)
                else { return nil }
                return (
                    [(repository.partition, RefStore.key(ofBranch: known.id))]
                        + known.tokens.map { (partition: $0.partition, key: path) }, known
                )
            } ?? nil
        @Sendable func waiting() {
            committed.pool.run { [self] in done(Result { try entry(path, at: ref, in: repositoryID) }) }
        }
        guard let names else { return waiting() }
        store.values(for: names.names) { [self] answer in
            let found: Result<(entry: Entry, location: ObjectLocation, repository: Repository), any Error>? =
                Waiting.without {
                    Result {
                        let repository = try repository(repositoryID)
                        let values = try answer.get()
                        guard let bytes = values[0], refs.isKnown(names.known, as: bytes, in: repository) else {
                            // It has moved: as if nothing had been known.
                            try Waiting.begin()
                            throw LakeError.notFound(.branch, names.known.id)
                        }
                        let staged = StagedValues(
                            path: path, tokens: names.known.tokens, values: Array(values.dropFirst()))
                        let resolved = ResolvedRef(
                            repository: repository, commitID: names.known.commitID, branch: names.known,
                            tokens: names.known.tokens, staged: staged)
                        guard let entry = try find(path, at: resolved) else { throw LakeError.notFound(.object, path) }
                        return (entry, try entry.location(in: repository.namespace), repository)
                    }
                }
            if let found { done(found) } else { waiting() }
        }
    }

    /// What a listing is asked for.
    package struct ListQuery: Sendable {
        package var prefix = Key([]), delimiter = Key([])
        /// The last path of the page before, or any other; what follows it is listed.
        package var after = Key([])
        package var limit = 100
        package init() {}
    }

    /// One page of objects and common prefixes, in byte order.
    package func list(_ ref: ResolvedRef, _ query: ListQuery) throws -> Page<Listing> {
        guard query.limit > 0 else { return Page(items: [], hasMore: false) }
        let start =
            query.after.isEmpty
            ? query.prefix
            : max(query.prefix, Grouping.next(after: query.after, delimiter: query.delimiter, prefix: query.prefix))
        let namespace = try ref.repository.namespace
        let (tokens, metaRange) = try view(of: ref)
        var cursor = try OverlayCursor(
            StagingCursor(store, tokens: tokens, from: start, pageSize: min(max(query.limit, 10), 1000)),
            committed.cursor(metaRange, in: namespace), from: start,
            before: query.prefix.upperBound)
        var found: [Listing] = []
        var bytes = 0
        var limit = query.limit
        while found.count <= limit, let (key, envelope) = try cursor.next(), key.hasPrefix(query.prefix) {
            if let group = Grouping.commonPrefix(of: key, prefix: query.prefix, delimiter: query.delimiter) {
                found.append(.commonPrefix(group))
                guard let next = group.upperBound else { break }
                try cursor.seek(next)
            } else {
                found.append(.object(key, try decode(envelope, key)))
                bytes += envelope.data.count
                if bytes > Self.largestPage, found.count > 1 { limit = min(limit, found.count - 1) }
            }
        }
        considerCompaction(of: ref, removalsMet: cursor.removalsMet, tokens: tokens)
        return Page(found, limit: limit)
    }

    /// Whether there is anything under a prefix.
    /// - Parameter near: where to look first: beside something that was just there.
    package func hasObjects(under prefix: Key, near: Key? = nil, at ref: ResolvedRef) throws -> Bool {
        let (tokens, metaRange) = try view(of: ref)
        let namespace = try ref.repository.namespace
        // A few removals are passed over on either side before all of them are.
        for (start, mostRemovals) in [(near?.successor, 64), (prefix, 64), (prefix, Int.max)] {
            guard let start else { continue }
            var cursor = try OverlayCursor(
                StagingCursor(store, tokens: tokens, from: start, pageSize: 1000),
                committed.cursor(metaRange, in: namespace), from: start, before: prefix.upperBound)
            cursor.mostRemovals = mostRemovals
            if let (key, _) = try cursor.next(), key.hasPrefix(prefix) { return true }
            if start == prefix && cursor.removalsMet <= mostRemovals {
                considerCompaction(of: ref, removalsMet: cursor.removalsMet, tokens: tokens)
                return false
            }
        }
        return false
    }
}
