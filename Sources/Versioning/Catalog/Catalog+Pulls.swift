import Foundations

extension Catalog {
    package func listPulls(
        _ repositoryID: RepositoryID, prefix: String, after: String, limit: Int, status: PullRequest.Status?
    ) throws -> Page<PullRequest> {
        let repository = try repository(repositoryID)
        return try gather(after: after, limit: limit, next: \.id) { position, count in
            try refs.pulls(in: repository, prefix: prefix, after: position, limit: count)
        } where: {
            status == nil || $0.status == status
        }
    }

    private func find(_ id: String, in repositoryID: RepositoryID) throws -> (
        repository: Repository, pull: PullRequest, bytes: [UInt8]
    ) {
        guard XID.bytes(id) != nil else {
            throw LakeError(
                .invalidValue, "pull request id '\(id)' is not valid: 20 digits and letters from a to v are")
        }
        let repository = try repository(repositoryID)
        guard let (pull, bytes) = try refs.pull(id, in: repository) else { throw LakeError.notFound(.pullRequest, id) }
        return (repository, pull, bytes)
    }

    package func pull(_ id: String, in repositoryID: RepositoryID) throws -> PullRequest {
        try find(id, in: repositoryID).pull
    }

    package func createPull(
        title: String, description: String, author: String, source: BranchName, destination: BranchName,
        in repositoryID: RepositoryID
    ) throws -> PullRequest {
        let repository = try writableRepository(repositoryID, force: false)
        guard source != destination else {
            throw LakeError(.invalidValue, "source and destination are the same branch: \(source)")
        }
        for branch in [source, destination] { _ = try self.branch(branch, in: repository) }
        let pull = PullRequest(
            id: XID.makeRunID(), creationDate: .now(), title: title, author: author, description: description,
            source: source, destination: destination)
        try pull.checkSize()
        guard try refs.setPull(pull, in: repository, if: .absent) else {
            throw LakeError(.alreadyExists(.pullRequest), "pull request \(pull.id): already exists")
        }
        try refs.indexPull(pull, in: repository)
        return pull
    }

    /// Changes a pull request. One that was merged keeps its status.
    package func updatePull(
        _ id: String, title: String?, description: String?, status: PullRequest.Status?, in repositoryID: RepositoryID
    ) throws {
        _ = try changePull(id, in: repositoryID) { pull in
            if let title { pull.title = title }
            if let description { pull.description = description }
            try pull.checkSize()
            guard let status, status != pull.status else { return }
            guard pull.commitID == nil else {
                throw LakeError(.invalidValue, "pull request \(id) was merged: it cannot be opened or closed any more")
            }
            pull.status = status
            pull.closedDate = status == .open ? nil : .now()
        }
    }

    private func changePull(_ id: String, in repositoryID: RepositoryID, _ change: (inout PullRequest) throws -> Void)
        throws
        -> PullRequest
    {
        for attempt in 0..<Self.tries {
            var (repository, pull, bytes) = try find(id, in: repositoryID)
            try change(&pull)
            if try refs.setPull(pull, in: repository, if: .matches(bytes)) { return pull }
            pauseBeforeRetry(attempt)
        }
        throw LakeError(.tooManyTries, "pull request \(id) keeps changing: try again")
    }

    /// The commit on the destination by which the source's head came into it, among its last thousand.
    private func mergeCommit(of pull: PullRequest, in repositoryID: RepositoryID) throws -> CommitID? {
        let repository = try repository(repositoryID)
        let source = try branch(pull.source, in: repository).branch.commitID
        var log = try LogCursor(
            refs, repository, from: branch(pull.destination, in: repository).branch.commitID, firstParentOnly: true,
            since: pull.creationDate)
        for _ in 0..<1000 {
            guard let (id, commit) = try log.next() else { return nil }
            if commit.parents.dropFirst().contains(source) { return id }
        }
        return nil
    }

    /// Merges the source of an open pull request into its destination and returns the new commit's id.
    package func mergePull(
        _ id: String, _ request: CommitRequest, _ options: MergeOptions, in repositoryID: RepositoryID
    )
        throws -> CommitID
    {
        let pull = try find(id, in: repositoryID).pull
        guard pull.status == .open else {
            throw LakeError(.invalidValue, "pull request \(id) is \(pull.status): only an open one can be merged")
        }
        let commitID: CommitID
        do {
            commitID = try merge(pull.source.text, into: pull.destination, request, options, in: repositoryID)
        } catch let error as LakeError where error.code == .noChanges {
            // Perhaps it was merged by a server that died before it could note so.
            guard let merged = try mergeCommit(of: pull, in: repositoryID) else { throw error }
            commitID = merged
        }
        _ = try changePull(id, in: repositoryID) { pull in
            pull.status = .merged
            pull.commitID = commitID
            pull.closedDate = .now()
        }
        return commitID
    }
}
