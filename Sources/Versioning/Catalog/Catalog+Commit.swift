package import Foundations
import Glibc

/// What a commit is made of besides its changes.
package struct CommitRequest: Sendable {
    package var committer: String
    package var message: String
    package var metadata: Metadata = [:]
    /// Nil for now.
    package var date: Timestamp?
    package var allowEmpty = false
    /// A metarange to commit as the branch's content, in place of uncommitted changes.
    package var sourceMetaRange: String?
    package var force = false
    package init(committer: String, message: String, metadata: Metadata = [:]) {
        self.committer = committer
        self.message = message
        self.metadata = metadata
    }
}

extension Catalog {
    /// Waits between tries on a contended branch: longer each time, never the same. At most about a second.
    func pauseBeforeRetry(_ attempt: Int) {
        let milliseconds = min(1000, 5 << attempt)
        usleep(UInt32(Int.random(in: milliseconds / 2...milliseconds) * 1000))
    }

    /// Commits the uncommitted changes of a branch. Source: `lakefs-formats.md` 7.2.
    /// Writers are never held up: what they stage after the seal belongs to the next commit.
    package func commit(_ request: CommitRequest, on id: BranchName, in repositoryID: RepositoryID) throws -> (
        id: CommitID, commit: Commit
    ) {
        let repository = try writableRepository(repositoryID, force: request.force)
        unsettled.settle(id, in: repositoryID)
        var branch = try assumedBranch(id, in: repository).branch
        try checkProtection(of: id, blocks: .commit, in: repository)
        try objects.synchronize()  // What the mount published is durable before a commit names it.
        if request.sourceMetaRange == nil, !request.allowEmpty {
            // Should all that was written have been taken back, that is found when it is to be committed.
            if !refs.hasWritten(branch.stagingToken), try !hasStaged(tokens: branch.tokens) {
                let assumed = branch
                branch = try self.branch(id, in: repository).branch
                guard try branch != assumed && hasStaged(tokens: branch.tokens) else {
                    throw LakeError(.noChanges, "commit: no changes on branch \(id)")
                }
            }
        }
        if let source = request.sourceMetaRange { try checkMetaRange(source, in: repository) }
        let before = [HookEvent.Kind.prepareCommit, .preCommit].map { kind in
            var event = HookEvent(kind, request, on: id, in: repositoryID)
            event.commit?.metaRangeID = request.sourceMetaRange ?? ""
            if kind == .preCommit || request.sourceMetaRange != nil { event.commit?.parents = [branch.commitID] }
            return event
        }
        // What hooks look at is what is committed: writers go on behind the seal.
        let watched = try repository.isReadOnly ? nil : hooks?.watched(before)
        let isWatched = request.sourceMetaRange == nil && watched?[1] ?? false
        var seen: [StagingToken]?
        return try inPhases(
            before, in: repository, watched: watched,
            between: {
                guard isWatched else { return }
                seen = try turns.withTurn(of: Self.turn(id, in: repository)) {
                    try updateBranch(id, in: repository, .eventual) { branch in seal(&branch, in: repository) }.new
                        .sealedTokens
                }
            }
        ) { aftermath in
            if let source = request.sourceMetaRange {
                return try commit(metaRange: source, request, on: id, in: repository, aftermath)
            }
            return try turns.withTurn(of: Self.turn(id, in: repository)) {
                try commitStaged(request, seen, on: id, in: repository, aftermath)
            }
        }
    }

    /// What those who move a branch wait for each other by.
    static func turn(_ branch: BranchName, in repository: Repository) -> Key {
        Key("\(repository.partition)/\(branch)")
    }

    /// - Parameter seen: what is committed, and no more, where hooks have looked at it; nil for all there is.
    private func commitStaged(
        _ request: CommitRequest, _ seen: [StagingToken]?, on id: BranchName, in repository: Repository,
        _ aftermath: Aftermath?
    ) throws -> (id: CommitID, commit: Commit) {
        if seen == nil {
            _ = try updateBranch(id, in: repository, .eventual) { branch in seal(&branch, in: repository) }
        }
        var result: (id: CommitID, commit: Commit)?
        var addition: Mutation?
        // The commit's record, the branch that names it, and what is dropped with that: in one step.
        _ = try updateBranch(
            id, in: repository,
            before: { [addition!] },
            behind: { old in dropping(seen ?? old.sealedTokens, of: old, in: repository) }
        ) { branch in
            let parent = try refs.commit(branch.commitID, in: repository)
            let tokens = seen ?? branch.sealedTokens
            guard tokens.allSatisfy(branch.sealedTokens.contains) else {
                throw LakeError(
                    .preconditionFailed,
                    "branch \(id) moved while the hooks of its commit ran: what they looked at was committed or reset by another; commit again"
                )
            }
            var changes = StagingCursor(store, tokens: tokens)
            let applied = try committed.apply(&changes, to: parent.metaRangeID, in: repository.namespace)
            guard request.allowEmpty || applied.count.total > 0 else {
                throw LakeError(.noChanges, "commit: no changes on branch \(id)")
            }
            let commit = try draft(request, metaRange: applied.metaRange, parents: [(branch.commitID, parent)])
            let added = refs.addition(of: commit, in: repository)
            result = (added.id, commit)
            addition = added.mutation
            try aftermath?.isNear(result)
            branch.commitID = added.id
            branch.sealedTokens.removeAll(where: tokens.contains)
        }
        dropped()
        publish(Change(repository: repository.id, branch: id, kind: .committed))
        return result!
    }

    private func commit(
        metaRange: String, _ request: CommitRequest, on id: BranchName, in repository: Repository,
        _ aftermath: Aftermath?
    ) throws -> (id: CommitID, commit: Commit) {
        return try moveHead(id, in: repository, after: aftermath) { branch in
            let parent = try refs.commit(branch.commitID, in: repository)
            return try draft(request, metaRange: metaRange, parents: [(branch.commitID, parent)])
        }
    }

    private func checkMetaRange(_ metaRange: String, in repository: Repository) throws {
        guard metaRange.isEmpty || Names.isHex(metaRange, 64...64) else {
            throw LakeError(.invalidValue, "source metarange '\(metaRange)' is not valid: 64 hex digits are")
        }
        guard try metaRange.isEmpty || committed.exists(metaRange, in: repository.namespace) else {
            throw LakeError.notFound(.metaRange, metaRange)
        }
    }

    /// A commit of these parents, not stored yet.
    func draft(
        _ request: CommitRequest, metaRange: String, parents: [(id: CommitID, commit: Commit)],
        generationOf others: [Commit] = []
    ) throws -> Commit {
        // A stored one may be anything.
        let generation = min(max(0, (parents.map(\.commit) + others).map(\.generation).max() ?? 0), Int32.max - 1)
        let commit = Commit(
            committer: request.committer, message: request.message, creationDate: request.date ?? .now(),
            metaRangeID: metaRange,
            metadata: request.metadata, parents: parents.map(\.id), generation: generation + 1)
        try commit.checkSize()
        return commit
    }

    /// Stores a commit record. The branch that will name it is written next, and that makes both durable.
    func add(_ commit: Commit, in repository: Repository) throws -> CommitID {
        try refs.addCommit(commit, in: repository, .eventual)
    }
}
