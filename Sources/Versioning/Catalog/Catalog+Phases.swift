import Foundations

/// A change of refs goes in phases: it is prepared (computed, which may be repeated), then hooks may refuse it (once),
/// then the ref swings by compare-and-set (again after a lost race), then hooks are told.
extension Catalog {
    /// Runs a change with the hooks around it.
    /// - Parameters:
    ///   - before: told in order; the first that refuses ends it.
    ///   - after: what to tell of the change that was made, from the last of those before.
    func inPhases<Result>(
        _ before: [HookEvent], _ swing: () throws -> Result, after: (Result, HookEvent) -> HookEvent
    ) throws -> Result {
        guard let hooks else { return try swing() }
        var last = before[0]
        for event in before {
            last = event
            last.runID = XID.makeRunID()
            try hooks.before(last)
        }
        let result = try swing()
        var event = after(result, last)
        (event.runID, event.preRunID) = (XID.makeRunID(), last.runID)
        hooks.after(event)
        return result
    }

    /// Moves the head of a clean branch to a commit that is made for it, with hooks around that.
    /// - Parameters:
    ///   - kinds: told before and after.
    ///   - make: makes the commit for the branch as it is; called again after a lost race.
    func moveHead(
        _ id: BranchName, in repository: Repository, _ kinds: (before: HookEvent.Kind, after: HookEvent.Kind),
        _ request: CommitRequest, _ make: (Branch) throws -> (id: CommitID, commit: Commit)
    ) throws -> (id: CommitID, commit: Commit) {
        try inPhases([HookEvent(kinds.before, request, on: id, in: repository.id)]) {
            var made: (id: CommitID, commit: Commit)?
            _ = try moveHead(id, in: repository) { branch in
                made = try make(branch)
                return made!.id
            }
            return made!
        } after: { made, event in
            event.followed(by: kinds.after, commitID: made.id)
        }
    }

    /// The same where hooks see the commit that is to come. They looked at that one: if the branch moves meanwhile, it
    /// is not made.
    func mergeHead(
        _ id: BranchName, in repository: Repository, from source: (name: String, commitID: CommitID),
        _ request: CommitRequest,
        _ make: (Branch) throws -> (id: CommitID, commit: Commit)
    ) throws -> (id: CommitID, commit: Commit) {
        guard hooks != nil else { return try moveHead(id, in: repository, (.preMerge, .postMerge), request, make) }
        unsettled.settle(id, in: repository.id)
        let seen = try branch(id, in: repository).branch
        try refuseDirty(seen, seen.tokens, in: repository)
        let made = try make(seen)
        var event = HookEvent(.preMerge, request, on: id, in: repository.id)
        (event.sourceRef, event.commitID, event.mergeSource) = (source.commitID.text, made.id, source.name)
        return try inPhases([event]) {
            _ = try moveHead(id, in: repository) { branch in
                guard branch.commitID == seen.commitID else {
                    throw LakeError(
                        .preconditionFailed, "branch \(id) moved while the hooks of its merge ran: merge again")
                }
                return made.id
            }
            return made
        } after: { made, event in
            event.followed(by: .postMerge, commitID: made.id)
        }
    }
}
