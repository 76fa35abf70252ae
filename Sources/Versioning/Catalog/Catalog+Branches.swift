package import Foundations

extension Catalog {
    package func listBranches(_ repositoryID: RepositoryID, prefix: String, after: String, limit: Int, showHidden: Bool)
        throws -> Page<Branch>
    {
        let repository = try repository(repositoryID)
        return try gather(after: after, limit: limit, next: \.id.text) { position, count in
            try refs.branches(in: repository, prefix: prefix, after: position, limit: count)
        } where: {
            showHidden || !$0.isHidden
        }
    }

    package func branch(_ id: BranchName, in repositoryID: RepositoryID) throws -> Branch {
        try branch(id, in: repository(repositoryID)).branch
    }

    /// A branch and the bytes it was read as.
    func branch(_ id: BranchName, in repository: Repository) throws -> (branch: Branch, bytes: [UInt8]) {
        try id.check()  // An expression is no branch: told apart from a branch that is missing.
        guard let found = try refs.branch(id, in: repository) else { throw LakeError.notFound(.branch, id) }
        return found
    }

    /// The same, perhaps as it was a while ago: for who has the store hold what is done against it.
    func assumedBranch(_ id: BranchName, in repository: Repository) throws -> (branch: Branch, bytes: [UInt8]) {
        try id.check()
        guard let found = try refs.assumedBranch(id, in: repository) else { throw LakeError.notFound(.branch, id) }
        return found
    }

    /// - Parameters:
    ///   - force: takes the place of a branch of that name, dropping its uncommitted changes.
    ///   - user: whose change it is, for hooks.
    /// - Returns: the commit that the branch begins at.
    package func createBranch(
        _ id: BranchName, from source: String, in repositoryID: RepositoryID, isHidden: Bool = false,
        force: Bool = false, by user: String = ""
    ) throws -> CommitID {
        let repository = try writableRepository(repositoryID, force: force)
        try id.check()
        let commitID = try resolveCommit(source, in: repository)
        let known = try refs.named(id.text, in: repository)
        guard !known.isTag, !known.isCommit else {
            throw LakeError(.alreadyExists(.branch), "branch \(id): a tag or commit of that name exists")
        }
        let old = known.branch
        guard old == nil || force else { throw LakeError(.alreadyExists(.branch), "branch \(id): already exists") }
        let branch = Branch(
            id: id, commitID: commitID, stagingToken: RefStore.newToken(repository, id), isHidden: isHidden)
        var event = HookEvent(.preCreateBranch, repository: repositoryID, sourceRef: source)
        (event.branch, event.commitID, event.user) = (id, commitID, user)
        return try inPhases([event], in: repository) { aftermath in
            try aftermath?.isNear()
            guard try refs.setBranch(branch, in: repository, if: old.map { .matches($0.bytes) } ?? .absent) else {
                throw LakeError(.alreadyExists(.branch), "branch \(id): already exists")
            }
            if let old {
                try drop(old.branch.tokens, of: old.branch, in: repository)
                publish(Change(repository: repositoryID, branch: id, kind: .everything))
            }
            return commitID
        }
    }

    package func deleteBranch(_ id: BranchName, in repositoryID: RepositoryID, force: Bool, by user: String = "") throws
    {
        let repository = try writableRepository(repositoryID, force: force)
        guard id != repository.defaultBranch else {
            throw LakeError(
                .permissionDenied, "branch \(id) is the default branch of \(repositoryID): it cannot be deleted")
        }
        let seen = try branch(id, in: repository).branch
        var event = HookEvent(.preDeleteBranch, repository: repositoryID, sourceRef: seen.commitID.text)
        (event.branch, event.user) = (id, user)
        try inPhases([event], in: repository) { aftermath in
            try aftermath?.isNear()
            let branch = try branch(id, in: repository).branch
            try refs.removeBranch(id, in: repository)
            publish(Change(repository: repositoryID, branch: id, kind: .removed))
            try drop(branch.tokens, of: branch, in: repository)
        }
    }

    /// Changes a branch by compare-and-set, computing again when another writer was first.
    /// - Parameter change: sees the branch as it is, and changes it; thrown errors end the attempt.
    /// - Parameter durability: `.eventual` for a step whose loss in a crash undoes nothing that anyone was told.
    /// - Returns: the branch before and after.
    ///   - first, last: what is done in the same step or just before, and in the same or just behind; told the branch as
    ///     it was.
    func updateBranch(
        _ id: BranchName, in repository: Repository, _ durability: Durability = .durable,
        before first: () -> [Mutation] = { [] }, behind last: (Branch) -> [Mutation] = { _ in [] },
        _ change: (inout Branch) throws -> Void
    ) throws -> (old: Branch, new: Branch) {
        for attempt in 0..<Self.tries {
            // Another process may have moved it: then the compare-and-set tells.
            let (old, bytes) = try attempt == 0 ? assumedBranch(id, in: repository) : branch(id, in: repository)
            var new = old
            do { try change(&new) } catch {
                // What was computed for a branch that has moved is worth nothing.
                guard attempt == 0, refs.isAssuming, try branch(id, in: repository).bytes != bytes else { throw error }
                continue
            }
            if new == old {
                guard attempt == 0, refs.isAssuming, try branch(id, in: repository).bytes != bytes else {
                    return (old, new)
                }
                continue
            }
            if try refs.setBranch(
                new, in: repository, if: .matches(bytes), durability, before: first(), behind: last(old))
            {
                return (old, new)
            }
            pauseBeforeRetry(attempt)
        }
        throw LakeError(.tooManyTries, "branch \(id) keeps changing: try again")
    }

    /// Whether the branch shows anything that its commit does not. Source: `lakefs-formats.md` 7.3.
    func isDirty(_ branch: Branch, tokens: [StagingToken], in repository: Repository) throws -> Bool {
        try uncommitted(branch, tokens: tokens, in: repository).next() != nil
    }

    func uncommitted(_ branch: Branch, tokens: [StagingToken], in repository: Repository, pageSize: Int = 1000) throws
        -> UncommittedDiff
    {
        let metaRange = try metaRange(of: branch.commitID, in: repository)
        let namespace = try repository.namespace
        return UncommittedDiff(StagingCursor(store, tokens: tokens, pageSize: pageSize)) { [committed] keys in
            try committed.records(keys, metaRange: metaRange, in: namespace)
        }
    }

    /// Moves the head of a clean branch. Source: `lakefs-formats.md` 7.4.
    /// - Parameter compute: gives the new commit's id for the branch as it is; called again after a lost race.
    func moveHead(_ id: BranchName, in repository: Repository, _ compute: (Branch) throws -> CommitID) throws
        -> CommitID
    {
        unsettled.settle(id, in: repository.id)
        return try turns.withTurn(of: Self.turn(id, in: repository)) { try moveHeadInTurn(id, in: repository, compute) }
    }

    func refuseDirty(_ branch: Branch, _ tokens: [StagingToken], in repository: Repository) throws {
        guard try !isDirty(branch, tokens: tokens, in: repository) else {
            throw LakeError(
                .dirtyBranch,
                "branch \(branch.id) has uncommitted changes (dirty branch): commit or reset them first")
        }
    }

    private func moveHeadInTurn(_ id: BranchName, in repository: Repository, _ compute: (Branch) throws -> CommitID)
        throws
        -> CommitID
    {
        let move = RefStore.newMove(repository, id)
        for attempt in 0..<Self.tries {
            if attempt > 0 { pauseBeforeRetry(attempt) }
            _ = try updateBranch(id, in: repository, .eventual) { branch in
                try refuseDirty(branch, branch.tokens, in: repository)
                seal(&branch, in: repository)
                branch.sealedTokens.insert(move, at: 0)
            }
            let old: Branch
            let new: Branch
            do {
                (old, new) = try updateBranch(id, in: repository) { branch in
                    guard branch.sealedTokens.contains(move) else { return }
                    try refuseDirty(branch, branch.sealedTokens, in: repository)
                    branch.commitID = try compute(branch)
                    branch.sealedTokens = []
                }
            } catch {
                try? cancelMoves(move, of: id, in: repository)
                throw error
            }
            // Without the mark: another head move came first, or a conditional write that would not wait. What it
            // staged is looked at now.
            guard old.sealedTokens.contains(move) else { continue }
            try drop(old.sealedTokens, of: old, in: repository)
            publish(
                Change(
                    repository: repository.id, branch: id,
                    kind: .moved(
                        from: try metaRange(of: old.commitID, in: repository),
                        to: try metaRange(of: new.commitID, in: repository))))
            return new.commitID
        }
        throw LakeError(.tooManyTries, "branch \(id) keeps changing: try again")
    }

    /// Takes the marks of head moves from a branch, and the sealed tokens too if they hold nothing. A move that goes on
    /// seals again.
    /// - Parameter move: the token that stands for one of them, or nil for all.
    func cancelMoves(_ move: StagingToken? = nil, of id: BranchName, in repository: Repository) throws {
        let (old, new) = try updateBranch(id, in: repository, .eventual) { branch in
            branch.sealedTokens.removeAll { move == nil ? RefStore.isMove($0) : $0 == move }
            if try !hasStaged(tokens: branch.sealedTokens) { branch.sealedTokens = [] }
        }
        // What is written to them unseen is written again, to the token that is open now.
        try drop(old.sealedTokens.filter { !new.sealedTokens.contains($0) }, of: old, in: repository)
    }

    /// Closes the staging token: what is staged from now on goes into a new one.
    func seal(_ branch: inout Branch, in repository: Repository) {
        branch.sealedTokens = branch.tokens
        branch.stagingToken = RefStore.newToken(repository, branch.id)
    }

    /// Whether any of these tokens holds anything, be it a change or not.
    func hasStaged(tokens: [StagingToken]) throws -> Bool {
        var staged = StagingCursor(store, tokens: tokens, pageSize: 10)
        return try staged.current() != nil
    }

    // MARK: reset (protection rules do not block these, as in lakeFS)
    // What was closed before and held back is dropped with the rest: it must not come up later.

    /// Drops all uncommitted changes.
    package func resetBranch(_ id: BranchName, in repositoryID: RepositoryID, force: Bool) throws {
        unsettled.settle(id, in: repositoryID)
        let repository = try writableRepository(repositoryID, force: force)
        let (old, _) = try updateBranch(id, in: repository) { branch in
            branch.sealedTokens = []
            branch.stagingToken = RefStore.newToken(repository, id)
        }
        publish(Change(repository: repositoryID, branch: id, kind: .everything))
        try drop(old.tokens, of: old, in: repository)
    }

    /// Drops the uncommitted change of one object.
    package func resetObject(_ path: Key, on id: BranchName, in repositoryID: RepositoryID, force: Bool) throws {
        try Names.checkPath(path)
        unsettled.settle(id, in: repositoryID)
        let repository = try writableRepository(repositoryID, force: force)
        let branch = try branch(id, in: repository).branch
        guard let staged = try stagedEntry(path, tokens: branch.tokens) else {
            return  // Nothing to reset.
        }
        let old = try committed.record(
            path, metaRange: metaRange(of: branch.commitID, in: repository), in: repository.namespace)
        if staged.envelope == nil && old == nil { return }
        try writeStaged([StagedEntry(key: path, envelope: old)], on: id, in: repository, .durable, origin: nil)
    }

    /// Drops the uncommitted changes of everything under a prefix.
    package func resetPrefix(_ prefix: Key, on id: BranchName, in repositoryID: RepositoryID, force: Bool) throws {
        unsettled.settle(id, in: repositoryID)
        let repository = try writableRepository(repositoryID, force: force)
        let branch = try branch(id, in: repository).branch
        let diff = try uncommitted(branch, tokens: branch.tokens, in: repository)
        try diff.seek(prefix)
        var batch: [StagedEntry] = []
        while let change = try diff.next(), change.key.hasPrefix(prefix) {
            batch.append(StagedEntry(key: change.key, envelope: change.left))
            if batch.count == 1000 {
                try writeStaged(batch, on: id, in: repository, .durable, origin: nil)
                batch = []
            }
        }
        if !batch.isEmpty { try writeStaged(batch, on: id, in: repository, .durable, origin: nil) }
    }

    /// Points a branch at another commit. Uncommitted changes are refused, or dropped when forced.
    package func hardReset(_ id: BranchName, to ref: String, in repositoryID: RepositoryID, force: Bool) throws {
        let repository = try writableRepository(repositoryID, force: force)
        guard force else {
            // Sealed first, so that what is staged meanwhile is found, or stays.
            _ = try moveHead(id, in: repository) { _ in try resolveCommit(ref, in: repository) }
            return
        }
        unsettled.settle(id, in: repositoryID)
        let (old, _) = try updateBranch(id, in: repository) { branch in
            branch.commitID = try resolveCommit(ref, in: repository)
            branch.sealedTokens = []
            branch.stagingToken = RefStore.newToken(repository, id)
        }
        try drop(old.tokens, of: old, in: repository)
        publish(Change(repository: repositoryID, branch: id, kind: .everything))
    }
}
