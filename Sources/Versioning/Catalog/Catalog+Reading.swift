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
