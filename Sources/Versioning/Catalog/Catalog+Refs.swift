package import Foundations

/// What a ref expression stands for.
package struct ResolvedRef: Sendable {
    package let repository: Repository
    /// The commit; never empty, but in a bare repository.
    package let commitID: CommitID
    /// The branch, if the expression names one as it stands (`main`, `main@`, `main$`).
    package let branch: Branch?
    /// Tokens whose uncommitted changes lie over the commit; empty if the expression shows committed data only.
    package let tokens: [StagingToken]
    /// What was read of one path together with the branch.
    var staged: StagedValues?
}

/// Values that tokens have of a path.
struct StagedValues: Sendable {
    let path: Key
    let tokens: [StagingToken]
    let values: [[UInt8]?]
}

extension Catalog {
    // MARK: expressions

    /// Resolves an expression. Source: `lakefs-formats.md` 7.9.
    /// - Throws: `.notFound(.reference)`, `.invalidValue`.
    /// - Parameter path: what is looked up next.
    package func resolve(_ text: String, in repository: Repository, for path: Key? = nil) throws -> ResolvedRef {
        let expression = try RefExpression(text)
        var staged: StagedValues?
        var branch: Branch?
        var commitID: CommitID
        let base = expression.base
        if Names.isHex(base, 64...64), try refs.findCommit(CommitID(base), in: repository) != nil {
            commitID = CommitID(base)
        } else if let path, let found = try refs.branch(BranchName(base), for: path, in: repository) {
            branch = found.branch
            commitID = found.branch.commitID
            staged = found.staged
        } else if path == nil, let found = try refs.branch(BranchName(base), in: repository)?.branch {
            branch = found
            commitID = found.commitID
        } else if let tag = try refs.tag(base, in: repository) {
            commitID = tag.commitID
        } else if Names.isHex(base, 1...64), let found = try refs.commitID(startingWith: base, in: repository) {
            commitID = found
        } else {
            throw LakeError.notFound(.reference, text)
        }
        var tokens = branch?.tokens ?? []
        for step in expression.steps {
            switch step {
            case .committed, .staged:
                guard branch != nil else { throw RefExpression.invalid(text) }
                if case .committed = step { tokens = [] }
                continue
            case .ancestor(let count):
                for _ in 0..<count {
                    guard let parent = try refs.commit(commitID, in: repository).parents.first else {
                        throw LakeError.notFound(.reference, text)
                    }
                    commitID = parent
                }
            case .parent(let number):
                if number > 0 {
                    let parents = try refs.commit(commitID, in: repository).parents
                    guard number <= parents.count else {
                        throw LakeError(
                            .invalidValue,
                            "ref '\(text)' is not valid: a commit on the way has \(parents.count) parents")
                    }
                    commitID = parents[number - 1]
                }
            }
            branch = nil
            tokens = []
        }
        return ResolvedRef(
            repository: repository, commitID: commitID, branch: branch, tokens: tokens, staged: staged)
    }

    /// The commit that an expression names; one that shows uncommitted changes names none.
    func resolveCommit(_ text: String, in repository: Repository) throws -> CommitID {
        guard !text.hasSuffix("$") else {
            throw LakeError(
                .invalidValue,
                "ref '\(text)' shows uncommitted changes and is no commit: leave the $ out, or commit first")
        }
        return try resolve(text, in: repository).commitID
    }

    /// As doors ask it: what mounts hold back of the branch is settled first, or what they do of one path.
    package func resolve(_ text: String, in repository: RepositoryID, for path: Key? = nil) throws -> ResolvedRef {
        let repository = try self.repository(repository)
        if unsettled.isHolding, let branch = try? RefExpression(text).base {
            unsettled.settle(BranchName(branch), in: repository.id, path)
        }
        return try resolve(text, in: repository, for: path)
    }

    /// The metarange of a commit; empty for the first one.
    func metaRange(of commitID: CommitID, in repository: Repository) throws -> String {
        commitID.text.isEmpty ? "" : try refs.commit(commitID, in: repository).metaRangeID
    }

    package func metaRange(of ref: ResolvedRef) throws -> String { try metaRange(of: ref.commitID, in: ref.repository) }

    // MARK: tags

    package func listTags(_ repository: RepositoryID, prefix: String, after: String, limit: Int) throws -> Page<Tag> {
        Page(
            try refs.tags(in: self.repository(repository), prefix: prefix, after: after, limit: limit + 1), limit: limit
        )
    }

    package func tag(_ id: String, in repository: RepositoryID) throws -> Tag {
        guard let tag = try refs.tag(id, in: self.repository(repository)) else { throw LakeError.notFound(.tag, id) }
        return tag
    }

    /// - Parameters:
    ///   - force: moves a tag that is there already.
    ///   - user: whose change it is, for hooks.
    package func createTag(
        _ id: String, at ref: String, in repositoryID: RepositoryID, force: Bool, by user: String = ""
    ) throws -> Tag {
        let repository = try writableRepository(repositoryID, force: force)
        try Names.checkTag(id)
        let commitID = try resolveCommit(ref, in: repository)
        guard try refs.branch(BranchName(id), in: repository) == nil,
            try refs.findCommit(CommitID(id), in: repository) == nil
        else {
            throw LakeError(.alreadyExists(.tag), "tag \(id): a branch or commit of that name exists")
        }
        guard try force || refs.tag(id, in: repository) == nil else {
            throw LakeError(.alreadyExists(.tag), "tag \(id): already exists")
        }
        let tag = Tag(id: id, commitID: commitID)
        return try inPhases([Self.event(.preCreateTag, tag, in: repository, by: user)], in: repository) { aftermath in
            try aftermath?.isNear()
            guard try refs.setTag(tag, in: repository, if: force ? nil : .absent) else {
                throw LakeError(.alreadyExists(.tag), "tag \(id): already exists")
            }
            return tag
        }
    }

    package func deleteTag(_ id: String, in repositoryID: RepositoryID, force: Bool, by user: String = "") throws {
        let repository = try writableRepository(repositoryID, force: force)
        guard let tag = try refs.tag(id, in: repository) else { throw LakeError.notFound(.tag, id) }
        try inPhases([Self.event(.preDeleteTag, tag, in: repository, by: user)], in: repository) { aftermath in
            try aftermath?.isNear()
            try refs.removeTag(id, in: repository)
        }
    }

    private static func event(_ kind: HookEvent.Kind, _ tag: Tag, in repository: Repository, by user: String)
        -> HookEvent
    {
        var event = HookEvent(kind, repository: repository.id, sourceRef: tag.commitID.text)
        (event.tag, event.commitID, event.user) = (tag.id, tag.commitID, user)
        return event
    }

    // MARK: commits

    /// A commit by id, unique prefix or expression.
    package func commit(_ ref: String, in repositoryID: RepositoryID) throws -> (id: CommitID, commit: Commit) {
        let resolved = try resolve(ref, in: repositoryID)
        return (resolved.commitID, try refs.commit(resolved.commitID, in: resolved.repository))
    }

    /// What a log is asked for.
    package struct LogQuery: Sendable {
        package var after = ""
        package var limit = 100
        /// Only commits that changed one of these, or something under one of the prefixes.
        package var objects: [Key] = [], prefixes: [Key] = []
        /// The answer ends when `limit` commits are found; there is no next page.
        package var isLimit = false
        package var firstParentOnly = false
        package var since: Timestamp?
        /// The last commit to tell.
        package var stopAt: String?
        package init() {}
    }

    /// Bytes of messages and metadata on a page of a log: many may be told at once, each several times in memory.
    private static let largestLogPage = 512 << 10

    package func log(_ ref: String, in repositoryID: RepositoryID, _ query: LogQuery) throws -> Page<
        (id: CommitID, commit: Commit)
    > {
        let repository = try repository(repositoryID)
        let start = try resolveCommit(ref, in: repository)
        let stopAt = try query.stopAt.map { try resolve($0, in: repository).commitID }
        var cursor = try LogCursor(
            refs, repository, from: start, firstParentOnly: query.firstParentOnly, since: query.since)
        let after = query.after.isEmpty ? nil : try resolve(query.after, in: repository).commitID
        var found: [(id: CommitID, commit: Commit)] = []
        var isPastAfter = after == nil
        var bytes = 0
        while found.count <= query.limit, let item = try cursor.next() {
            if isPastAfter, try touches(item.commit, query, in: repository) {
                found.append(item)
                bytes += item.commit.byteCount
                // A page of large commits ends early.
                if bytes > Self.largestLogPage, found.count > 1 {
                    return Page(found, limit: min(query.limit, found.count - 1))
                }
            }
            if item.id == after { isPastAfter = true }
            if item.id == stopAt { break }
            if query.isLimit && found.count == query.limit { break }
        }
        return Page(found, limit: query.limit)
    }

    /// Whether a commit changed what the query asks for. Merges are passed over when it asks for something.
    private func touches(_ commit: Commit, _ query: LogQuery, in repository: Repository) throws -> Bool {
        guard !query.objects.isEmpty || !query.prefixes.isEmpty else { return true }
        guard commit.parents.count == 1 else { return false }
        let namespace = try repository.namespace
        let old = try metaRange(of: commit.parents[0], in: repository)
        let new = commit.metaRangeID
        guard old != new else { return false }
        for key in query.objects {
            let before = try committed.record(key, metaRange: old, in: namespace)
            let after = try committed.record(key, metaRange: new, in: namespace)
            switch (before, after) {
            case (nil, nil): continue
            case (let before?, let after?): if !before.hasIdentity(of: after) { return true }
            default: return true
            }
        }
        for prefix in query.prefixes {
            let diff = MetaRangeDiff(try committed.scan(old, in: namespace), try committed.scan(new, in: namespace))
            diff.end(before: prefix.upperBound)
            try diff.seek(prefix)
            if let first = try diff.next(), first.key.hasPrefix(prefix) { return true }
        }
        return false
    }

    package func mergeBase(_ source: String, _ destination: String, in repositoryID: RepositoryID) throws -> (
        source: CommitID, destination: CommitID, base: CommitID
    ) {
        let repository = try repository(repositoryID)
        let left = try resolve(source, in: repository).commitID
        let right = try resolve(destination, in: repository).commitID
        guard let base = try refs.mergeBase(left, right, in: repository) else {
            throw LakeError(.notFound(.commit), "\(source) and \(destination) have no common history")
        }
        return (left, right, base)
    }

    /// Adds a commit record as it is, for migrations. Its id must be what its content says.
    package func addCommitRecord(_ commit: Commit, id: CommitID, in repositoryID: RepositoryID, force: Bool) throws {
        let repository = try writableRepository(repositoryID, force: force)
        guard (1...Commit.largestGeneration).contains(commit.generation) else {
            throw LakeError(
                .invalidValue,
                "commit \(id) has generation \(commit.generation): it is 1 for a first commit, one more than its parents' otherwise"
            )
        }
        try commit.checkSize()
        guard commit.id == id else {
            throw LakeError(.invalidValue, "commit id \(id) is not the one that its content gives: \(commit.id)")
        }
        guard try refs.findCommit(id, in: repository) == nil else {
            throw LakeError(.alreadyExists(.commit), "commit \(id): already exists")
        }
        _ = try refs.addCommit(commit, in: repository)
    }
}
