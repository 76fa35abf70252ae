package import Foundations

/// A change of a repository's refs, as hooks see it. What each field says at which event: `lakefs-behaviour.md`
/// section 5.
package struct HookEvent: Sendable, Equatable {
    /// When hooks run. Source: lakeFS documentation, "Actions", supported events.
    package enum Kind: String, Sendable, CaseIterable {
        case prepareCommit = "prepare-commit"
        case preCommit = "pre-commit"
        case postCommit = "post-commit"
        case preMerge = "pre-merge"
        case postMerge = "post-merge"
        case preRevert = "pre-revert"
        case postRevert = "post-revert"
        case preCherryPick = "pre-cherry-pick"
        case postCherryPick = "post-cherry-pick"
        case preCreateBranch = "pre-create-branch"
        case postCreateBranch = "post-create-branch"
        case preDeleteBranch = "pre-delete-branch"
        case postDeleteBranch = "post-delete-branch"
        case preCreateTag = "pre-create-tag"
        case postCreateTag = "post-create-tag"
        case preDeleteTag = "pre-delete-tag"
        case postDeleteTag = "post-delete-tag"
    }

    package var kind: Kind
    /// Names this run of hooks.
    package var runID = ""
    /// The run of the hooks before the change; only for those behind it.
    package var preRunID = ""
    package var repository: RepositoryID
    package var branch: BranchName = "", tag = ""
    /// The ref that the actions are read from.
    package var sourceRef: String
    /// The commit that was made or is to come, or that is pointed at; empty where there is none yet.
    package var commitID: CommitID = ""
    package var message = "", committer = ""
    package var metadata: Metadata = [:]
    /// What is merged, as it was named.
    package var mergeSource = ""
    /// The commit that was made or is to come, as far as it is known; nil where none is made.
    package var commit: Commit?
    /// Whose change it is.
    package var user = ""

    init(_ kind: Kind, repository: RepositoryID, sourceRef: String) {
        self.kind = kind
        self.repository = repository
        self.sourceRef = sourceRef
    }

    /// Of a commit that is to be made on a branch.
    init(_ kind: Kind, _ request: CommitRequest, on branch: BranchName, in repository: RepositoryID) {
        self.init(kind, repository: repository, sourceRef: branch.text)
        self.branch = branch
        message = request.message
        committer = request.committer
        metadata = request.metadata
        user = request.committer
        commit = Commit(
            committer: committer, message: message, creationDate: request.date ?? .now(), metaRangeID: "",
            metadata: metadata, parents: [], generation: 0)
    }

    /// The event of a run, once more.
    /// - Parameters:
    ///   - commit: the one that the run names, if it is there.
    ///   - user: whose wish it is, and with whose rights scripts call.
    /// - Throws: `.invalidValue` where the run does not say what the event was about.
    init(repeating run: ActionRun, commit: Commit?, in repository: RepositoryID, for user: String) throws {
        let named: Set<Kind> = [
            .preDeleteBranch, .postDeleteBranch, .preCreateTag, .postCreateTag, .preDeleteTag, .postDeleteTag,
        ]
        guard let kind = Kind(rawValue: run.event), !named.contains(kind) else {
            throw LakeError(.invalidValue, "hooks of \(run.event) cannot run again: what they were about is gone")
        }
        self.init(kind, repository: repository, sourceRef: run.sourceRef)
        runID = XID.makeRunID()
        branch = BranchName(run.branch)
        commitID = CommitID(run.commitID)
        self.commit = commit
        if let commit { (message, committer, metadata) = (commit.message, commit.committer, commit.metadata) }
        self.user = user
    }

    /// The event behind the change, of one before it.
    func followed() -> HookEvent {
        guard let kind = kind.after else { preconditionFailure("nothing follows \(kind)") }
        var event = self
        event.kind = kind
        (event.runID, event.preRunID) = (XID.makeRunID(), runID)
        return event
    }
}

extension HookEvent.Kind {
    /// What is told behind a change that this was told before; nil where something else is told before it too.
    package var after: HookEvent.Kind? {
        switch self {
        case .preCommit: .postCommit
        case .preMerge: .postMerge
        case .preRevert: .postRevert
        case .preCherryPick: .postCherryPick
        case .preCreateBranch: .postCreateBranch
        case .preDeleteBranch: .postDeleteBranch
        case .preCreateTag: .postCreateTag
        case .preDeleteTag: .postDeleteTag
        default: nil
        }
    }

    /// Whether it is told behind a change.
    package var isBehind: Bool { self != .prepareCommit && after == nil }
    /// Whether it is about a tag; others are about a branch.
    package var isOfTag: Bool {
        switch self {
        case .preCreateTag, .postCreateTag, .preDeleteTag, .postDeleteTag: true
        default: false
        }
    }
}

/// Who runs hooks. The catalog asks it before and after each change of refs; no lock of the catalog and no turn of a
/// branch is held meanwhile.
package protocol HookRunner: Sendable {
    /// Whether anything is to run at each of some events before a change: if not, nobody need work out what the change
    /// will be. What they have in common is looked at once.
    func watched(_ events: [HookEvent]) throws -> [Bool]
    /// Runs what is to run before a change, and returns when it has. Called once for a change, however often that is
    /// tried.
    /// - Throws: `LakeError` if the change is not to be made.
    /// - Returns: whether there was anything to run.
    func before(_ event: HookEvent) throws -> Bool
    /// Notes, as lasting as what is written next, what is to run behind a change that is about to be made: a crash
    /// amid the change leaves it to the next start to find out whether it was made. Called anew for each try.
    /// - Returns: whether there is anything to run.
    func note(_ event: HookEvent) throws -> Bool
    /// A change that was noted failed: before it was made, or amid what comes behind that.
    func failed(_ event: HookEvent)
    /// A change was made; what is to run behind it runs later, on threads of its own.
    /// - Parameters:
    ///   - hasRun: whether something ran before it.
    ///   - isNoted: whether something is to run now.
    func after(_ event: HookEvent, hasRun: Bool, isNoted: Bool)
    /// What this process runs at the moment for a repository, the oldest first.
    func underWay(in repository: RepositoryID) -> [RunUnderWay]
}

extension HookRunner {
    package func underWay(in repository: RepositoryID) -> [RunUnderWay] { [] }
}

/// A run of hooks that has not ended.
package struct RunUnderWay: Sendable {
    /// A hook that has begun, and what it has said so far.
    package struct Hook: Sendable {
        package let id: String, action: String
        package let started: Timestamp
        package let output: [UInt8]
        package init(id: String, action: String, started: Timestamp, output: [UInt8]) {
            self.id = id
            self.action = action
            self.started = started
            self.output = output
        }
    }
    package let event: HookEvent
    package let started: Timestamp
    package let hooks: [Hook]
    package init(event: HookEvent, started: Timestamp, hooks: [Hook]) {
        self.event = event
        self.started = started
        self.hooks = hooks
    }
}
