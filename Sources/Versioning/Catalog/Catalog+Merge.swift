import Foundations

/// Merges, reverts and cherry-picks: all three are three-way merges over different bases.
/// Source: `lakefs-formats.md` 7.6, 7.7.
extension Catalog {
    package struct MergeOptions: Sendable {
        package var strategy = MergeStrategy.none
        /// The new commit has only the destination as its parent.
        package var squash = false
        package var allowEmpty = false
        package var force = false
        package init() {}
    }

    /// Merges `source` into the branch `destination` and returns the new commit's id.
    /// An empty message becomes `Merge 'source' into 'destination'`.
    package func merge(
        _ source: String, into destination: BranchName, _ request: CommitRequest, _ options: MergeOptions,
        in repositoryID: RepositoryID
    ) throws -> CommitID {
        let repository = try writableRepository(repositoryID, force: options.force)
        _ = try branch(destination, in: repository)
        let sourceID = try resolveCommit(source, in: repository)
        var request = request
        if request.message.isEmpty { request.message = "Merge '\(source)' into '\(destination)'" }
        request.metadata[".lakefs.merge.strategy"] = options.strategy == .none ? "default" : options.strategy.rawValue
        return try moveHead(destination, in: repository, .preMerge, request, merging: (source, sourceID)) { branch in
            guard let base = try refs.mergeBase(sourceID, branch.commitID, in: repository) else {
                throw LakeError(
                    .invalidValue, "\(source) and \(destination) have no common history: nothing to merge over")
            }
            let theirs = try refs.commit(sourceID, in: repository)
            let ours = try refs.commit(branch.commitID, in: repository)
            let baseRange = try metaRange(of: base, in: repository)
            guard options.allowEmpty || options.force || baseRange != theirs.metaRangeID else {
                throw LakeError(.noChanges, "merge of \(source) into \(destination): no changes")
            }
            let result =
                baseRange == ours.metaRangeID
                ? theirs.metaRangeID
                : try committed.merge(
                    source: theirs.metaRangeID, into: ours.metaRangeID, base: baseRange, strategy: options.strategy,
                    in: repository.namespace)
            let parents = [(branch.commitID, ours)] + (options.squash ? [] : [(sourceID, theirs)])
            return try draft(request, metaRange: result, parents: parents, generationOf: [theirs])
        }.id
    }

    /// The parent's metarange that a revert or cherry-pick compares with. Parent 0 means the only one.
    private func parentMetaRange(of commit: (id: CommitID, commit: Commit), number: Int, in repository: Repository)
        throws
        -> String
    {
        let parents = commit.commit.parents
        guard number >= 1, number <= parents.count else {
            throw LakeError(
                .invalidValue, "commit \(commit.id) has \(parents.count) parents: there is no parent \(number)")
        }
        return try metaRange(of: parents[number - 1], in: repository)
    }

    /// Undoes a commit by a new one. An empty message becomes `Revert <ref>`.
    package func revert(
        _ ref: String, parentNumber: Int, on id: BranchName, _ request: CommitRequest, in repositoryID: RepositoryID
    ) throws -> (id: CommitID, commit: Commit) {
        let repository = try writableRepository(repositoryID, force: request.force)
        _ = try branch(id, in: repository)
        let commitID = try resolveCommit(ref, in: repository)
        let commit = try refs.commit(commitID, in: repository)
        guard commit.parents.count < 2 || parentNumber > 0 else {
            throw LakeError(
                .conflict, "commit \(commitID) is a merge: say which of its parents to go back to with a parent number")
        }
        let before: String
        if commit.parents.isEmpty {
            guard parentNumber <= 1 else {
                throw LakeError(.invalidValue, "commit \(commitID) has no parent \(parentNumber)")
            }
            before = ""
        } else {
            before = try parentMetaRange(
                of: (commitID, commit),
                number: max(parentNumber, commit.parents.count == 1 && parentNumber == 0 ? 1 : parentNumber),
                in: repository)
        }
        var request = request
        if request.message.isEmpty { request.message = "Revert \(ref)" }
        return try moveHead(id, in: repository, .preRevert, request) { branch in
            let head = try refs.commit(branch.commitID, in: repository)
            let metaRange = try committed.merge(
                source: before, into: head.metaRangeID, base: commit.metaRangeID, strategy: .none,
                in: repository.namespace)
            guard request.allowEmpty || metaRange != head.metaRangeID else {
                throw LakeError(.noChanges, "revert of \(ref): no changes")
            }
            return try draft(request, metaRange: metaRange, parents: [(branch.commitID, head)])
        }
    }

    /// Applies the changes of a commit on a branch. Message and metadata are the commit's own unless `overrides` has
    /// them.
    package func cherryPick(
        _ ref: String, parentNumber: Int?, on id: BranchName, committer: String, message: String?, metadata: Metadata?,
        force: Bool, in repositoryID: RepositoryID
    ) throws -> (id: CommitID, commit: Commit) {
        let repository = try writableRepository(repositoryID, force: force)
        _ = try branch(id, in: repository)
        let commitID = try resolveCommit(ref, in: repository)
        let commit = try refs.commit(commitID, in: repository)
        guard commit.parents.count < 2 || (parentNumber ?? 0) > 0 else {
            throw LakeError(
                .invalidValue,
                "commit \(commitID) is a merge: say which of its parents to compare with by a parent number")
        }
        let before = try parentMetaRange(of: (commitID, commit), number: parentNumber ?? 1, in: repository)
        var request = CommitRequest(
            committer: committer, message: message ?? commit.message, metadata: metadata ?? commit.metadata)
        request.metadata["cherry-pick-origin"] = commitID.text
        request.metadata["cherry-pick-committer"] = commit.committer
        return try moveHead(id, in: repository, .preCherryPick, request) { branch in
            let head = try refs.commit(branch.commitID, in: repository)
            let metaRange = try committed.merge(
                source: commit.metaRangeID, into: head.metaRangeID, base: before, strategy: .none,
                in: repository.namespace)
            return try draft(request, metaRange: metaRange, parents: [(branch.commitID, head)])
        }
    }
}
