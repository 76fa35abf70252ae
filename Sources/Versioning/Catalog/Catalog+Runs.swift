import Foundations

/// Runs of hooks, and what they said. They are looked at here; what runs hooks writes them.
extension Catalog {
    /// - Parameters:
    ///   - branch: only those of a branch; nil for all.
    ///   - commit: only those of a commit; nil for all.
    /// - Throws: `.invalidValue` for both at once.
    package func listRuns(
        of repositoryID: RepositoryID, branch: String?, commit: String?, after: String, limit: Int
    ) throws -> Page<ActionRun> {
        let repository = try repository(repositoryID)
        guard branch == nil || commit == nil else {
            throw LakeError(.invalidValue, "branch and commit were both given: ask for the runs of one of them")
        }
        let index = branch.map { "branches/\($0)/" } ?? commit.map { "commits/\($0)/" } ?? ""
        return Page(
            try refs.actionRuns(in: repository, index: index, after: after, limit: limit + 1), limit: limit)
    }

    package func run(_ id: String, in repositoryID: RepositoryID) throws -> ActionRun {
        guard let found = try refs.actionRun(id, in: repository(repositoryID)) else {
            throw LakeError.notFound(.run, id)
        }
        return found
    }

    /// What runs at the moment for a repository, as far as this process does it.
    package func runsUnderWay(in repository: RepositoryID) -> [RunUnderWay] {
        hooks?.underWay(in: repository) ?? []
    }

    /// A run that has not ended, or is about to begin, here or in another process; nil if there is no such one.
    package func runUnderWay(_ id: String, in repository: RepositoryID) throws -> RunUnderWay? {
        if let run = runsUnderWay(in: repository).first(where: { $0.event.runID == id }) { return run }
        return try note(of: id, in: repository).map { RunUnderWay(event: $0.event, started: .now(), hooks: []) }
    }

    /// Runs the hooks of a run once more, later, with the files of actions as they are now.
    /// - Parameter user: who asks for it: scripts have that one's rights.
    /// - Returns: the new run's id.
    /// - Throws: `.invalidValue` where that cannot be, or no action is for it.
    package func repeatRun(_ run: ActionRun, in repositoryID: RepositoryID, for user: String) throws -> String {
        let repository = try repository(repositoryID)
        let commit = run.commitID.isEmpty ? nil : try refs.findCommit(CommitID(run.commitID), in: repository)
        let event = try HookEvent(repeating: run, commit: commit, in: repositoryID, for: user)
        guard let hooks, try hooks.note(event) else {
            throw LakeError(.invalidValue, "no action is for \(run.event) on \(run.branch) any more")
        }
        hooks.after(event, hasRun: false, isNoted: true)
        return event.runID
    }

    package func listHookRuns(of run: String, in repositoryID: RepositoryID, after: String, limit: Int) throws -> Page<
        HookRun
    > {
        Page(
            try refs.hookRuns(of: run, in: repository(repositoryID), after: after, limit: limit + 1), limit: limit)
    }

    /// Where what a hook said is kept.
    /// - Throws: `.notFound(.run)` if it did not run.
    package func outputOfHook(_ id: String, of run: String, in repositoryID: RepositoryID) throws -> ObjectLocation {
        let repository = try repository(repositoryID)
        guard try refs.hookRun(id, of: run, in: repository) != nil else {
            throw LakeError.notFound(.run, "\(run)/\(id)")
        }
        let location = try repository.namespace.location(RunFiles.output(of: id, in: run))
        guard try objects.size(of: location) != nil else { throw LakeError.notFound(.run, "\(run)/\(id)") }
        return location
    }
}
