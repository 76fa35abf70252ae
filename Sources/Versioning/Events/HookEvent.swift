import Foundations

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
    }

    /// The same when the commit is there.
    func followed(by kind: Kind, commitID: CommitID) -> HookEvent {
        var event = self
        event.kind = kind
        event.sourceRef = commitID.text
        event.commitID = commitID
        return event
    }

    /// The same of a change that makes no commit.
    func followed(by kind: Kind) -> HookEvent {
        var event = self
        event.kind = kind
        return event
    }
}

/// Who runs hooks. The catalog asks it before and after each change of refs; no lock of the catalog and no turn of a
/// branch is held meanwhile.
package protocol HookRunner: Sendable {
    /// Runs what is to run before a change, and returns when it has. Called once for a change, however often that is
    /// tried.
    /// - Throws: `LakeError` if the change is not to be made.
    func before(_ event: HookEvent) throws
    /// Takes note of a change that was made; what runs then runs later, on threads of its own.
    func after(_ event: HookEvent)
}
