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
