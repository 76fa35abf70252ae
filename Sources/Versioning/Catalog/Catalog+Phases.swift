import Foundations

/// A change of refs goes in phases: it is prepared (computed, which may be repeated), then hooks may refuse it (once),
/// then the ref swings by compare-and-set (again after a lost race), then hooks are told.
extension Catalog {
    /// What hooks are told behind a change, and what they were told before it.
    final class Aftermath {
        fileprivate let hooks: any HookRunner
        fileprivate var event: HookEvent
        fileprivate let hasRun: Bool
        fileprivate var isNoted = false

        fileprivate init(_ hooks: any HookRunner, _ event: HookEvent, hasRun: Bool) {
            self.hooks = hooks
            self.event = event
            self.hasRun = hasRun
        }

        /// To be called before each compare-and-set.
        /// - Parameter made: the commit that the ref will point at, where one is made.
        func isNear(_ made: (id: CommitID, commit: Commit)? = nil) throws {
            if let made { (event.sourceRef, event.commitID, event.commit) = (made.id.text, made.id, made.commit) }
            isNoted = try hooks.note(event)
        }
    }

    /// Runs a change with the hooks around it.
    /// - Parameters:
    ///   - before: told in order; the first that refuses ends it.
    ///   - watched: for each of them whether somebody wants to be told, where that is known.
    ///   - between: done before the last of them is told.
    ///   - swing: makes the change, and says each time when it is near. Given nil where nobody runs hooks.
    func inPhases<Result>(
        _ before: [HookEvent], in repository: Repository, watched: [Bool]? = nil, between: () throws -> Void = {},
        _ swing: (Aftermath?) throws -> Result
    ) throws -> Result {
        // What is forced on a repository that is read-only runs no hooks. Source: `lakefs-behaviour.md` section 3.
        guard let hooks, !repository.isReadOnly else { return try swing(nil) }
        var last = before[0]
        var hasRun = false
        for (index, event) in before.enumerated() {
            if index == before.count - 1 { try between() }
            last = event
            last.runID = XID.makeRunID()
            hasRun = try watched?[index] == false ? false : hooks.before(last)
        }
        let aftermath = Aftermath(hooks, last.followed(), hasRun: hasRun)
        let result: Result
        do { result = try swing(aftermath) } catch {
            if aftermath.isNoted { hooks.failed(aftermath.event) }
            throw error
        }
        if hasRun || aftermath.isNoted {
            hooks.after(aftermath.event, hasRun: hasRun, isNoted: aftermath.isNoted)
        }
        return result
    }

    /// Moves the head of a clean branch to a commit that is made for it, with hooks around that. They see the commit that
    /// is to come.
    /// - Parameters:
    ///   - kind: told before.
    ///   - source: what is merged, where something is. Its hooks look at one commit: if the branch moves meanwhile, that
    ///     is not made.
    ///   - make: makes the commit for the branch as it is; called again after a lost race.
    func moveHead(
        _ id: BranchName, in repository: Repository, _ kind: HookEvent.Kind, _ request: CommitRequest,
        merging source: (name: String, commitID: CommitID)? = nil, _ make: (Branch) throws -> Commit
    ) throws -> (id: CommitID, commit: Commit) {
        var event = HookEvent(kind, request, on: id, in: repository.id)
        if let source { (event.sourceRef, event.mergeSource) = (source.commitID.text, source.name) }
        guard let hooks, try hooks.watched([event])[0] else {
            return try inPhases([event], in: repository, watched: [false]) { aftermath in
                try moveHead(id, in: repository, after: aftermath, make)
            }
        }
        unsettled.settle(id, in: repository.id)
        let seen = try branch(id, in: repository).branch
        try refuseDirty(seen, seen.tokens, in: repository)
        let draft = try make(seen)
        event.commit = draft
        if source != nil { event.commitID = draft.id }
        return try inPhases([event], in: repository) { aftermath in
            try moveHead(id, in: repository, after: aftermath) { branch in
                if branch.commitID == seen.commitID { return draft }
                guard source == nil else {
                    throw LakeError(
                        .preconditionFailed, "branch \(id) moved while the hooks of its merge ran: merge again")
                }
                return try make(branch)
            }
        }
    }

    func moveHead(
        _ id: BranchName, in repository: Repository, after aftermath: Aftermath?, _ make: (Branch) throws -> Commit
    ) throws -> (id: CommitID, commit: Commit) {
        var made: (id: CommitID, commit: Commit)?
        _ = try moveHead(id, in: repository) { branch in
            let commit = try make(branch)
            made = (try add(commit, in: repository), commit)
            try aftermath?.isNear(made)
            return made!.id
        }
        return made!
    }
}
