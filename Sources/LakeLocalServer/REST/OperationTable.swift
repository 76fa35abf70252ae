import Foundations
import Versioning

/// What a call needs of who makes it: permissions, as far as the request's first lines say for what.
struct Needs: Sendable {
    enum Kind: Equatable {
        /// Nobody need have logged in.
        case anyone
        /// Nor for this, but who has is told of.
        case perhaps
        /// Any user may.
        case login
        /// The body says what it is about: the handler asks.
        case told
        case permissions
    }

    let kind: Kind
    let permissions: @Sendable (Call) throws -> [Permission]

    private init(_ kind: Kind, _ permissions: @escaping @Sendable (Call) throws -> [Permission] = { _ in [] }) {
        self.kind = kind
        self.permissions = permissions
    }

    private init(_ permissions: @escaping @Sendable (Call) throws -> [Permission]) {
        self.init(.permissions, permissions)
    }

    static let anyone = Needs(.anyone), perhaps = Needs(.perhaps), login = Needs(.login), told = Needs(.told)

    static func all(_ actions: String...) -> Needs { Needs { _ in actions.map { .all($0) } } }
    static func repository(_ actions: String...) -> Needs {
        Needs { call in actions.map { .repository($0, call.repository) } }
    }
    static func branch(_ action: String, at part: PathPart = .branch) -> Needs {
        Needs { [.branch(action, $0.repository, BranchName($0[part]))] }
    }
    static func tag(_ action: String) -> Needs { Needs { [.tag(action, $0.repository, $0[.tag])] } }
    /// An object that the query's `path` names.
    static func object(_ action: String) -> Needs { Needs { [.object(action, $0.repository, try $0.path())] } }
    /// An object that is called as a part of the route is: so lakeFS asks for some.
    static func object(_ action: String, named part: PathPart) -> Needs {
        Needs { [.object(action, $0.repository, Key($0[part]))] }
    }
    static func user(_ action: String) -> Needs { Needs { [.user(action, $0[.userId])] } }
    static func group(_ action: String) -> Needs { Needs { [.group(action, $0[.groupId])] } }
    static func policy(_ action: String) -> Needs { Needs { [.policy(action, $0[.policyId])] } }
    static func pulls(_ action: String) -> Needs { Needs { [.pulls(action, $0.repository)] } }
    /// An action of another family than `fs` on a repository.
    static func inRepository(_ action: String) -> Needs { Needs { [.inRepository(action, $0.repository)] } }
    static func both(_ one: Needs, _ other: Needs) -> Needs {
        Needs { try one.permissions($0) + other.permissions($0) }
    }
}

/// Where a call is worked off.
enum Cost: Sendable {
    /// A look-up or two in memory and local files: on the thread that read the request.
    case point
    /// Listings, diffs, writes: on a thread of the pool.
    case store
    /// As long as the repository is large: on a thread of a pool of its own.
    case long

    /// Work that may block, where it belongs.
    func reception(_ work: @escaping @Sendable () -> Response) -> Reception {
        self == .long ? .long(work) : .work(work)
    }
}

/// One operation of the API: how it is asked for, what it needs, and where it is worked off.
struct Row: Sendable {
    let operation: Operation
    let method: String
    /// Below `/api`.
    let path: String
    let cost: Cost
    let needs: Needs

    /// - Parameter path: `~` at its beginning stands for the route of a repository.
    init(_ operation: Operation, _ method: String, _ path: String, _ cost: Cost, _ needs: Needs) {
        self.operation = operation
        self.method = method
        self.path = path.first == "~" ? "/v1/repositories/{repository}" + path.dropFirst() : path
        self.cost = cost
        self.needs = needs
    }

    /// All of them. Source: lakeFS's `swagger.yml`; permissions as it was seen to ask for them (`lakefs-behaviour.md`
    /// section 4).
    static let all: [Row] = [
        // Set-up and login.
        Row(.healthCheck, "GET", "/v1/healthcheck", .point, .anyone),
        Row(.getSetupState, "GET", "/v1/setup_lakefs", .point, .anyone),
        Row(.setup, "POST", "/v1/setup_lakefs", .store, .anyone),
        Row(.setupCommPrefs, "POST", "/v1/setup_comm_prefs", .point, .anyone),
        Row(.login, "POST", "/v1/auth/login", .store, .anyone),
        Row(.externalPrincipalLogin, "POST", "/v1/auth/external/principal/login", .store, .anyone),
        Row(.stsLogin, "POST", "/v1/sts/login", .store, .anyone),
        Row(.oidcLogin, "GET", "/v1/oidc/login", .store, .anyone),
        Row(.oauthCallback, "GET", "/v1/oidc/callback", .store, .anyone),
        Row(.getAuthCapabilities, "GET", "/v1/auth/capabilities", .point, .anyone),
        // Configuration.
        Row(.getConfig, "GET", "/v1/config", .point, .login),
        Row(.getStorageConfig, "GET", "/v1/config/storage", .point, .all("fs:ReadConfig")),
        Row(.getLakeFSVersion, "GET", "/v1/config/version", .point, .login),
        Row(.getGarbageCollectionConfig, "GET", "/v1/config/garbage-collection", .point, .login),
        Row(.postStatsEvents, "POST", "/v1/statistics", .point, .login),
        Row(.getUsageReportSummary, "GET", "/v1/usage-report/summary", .point, .login),
        // Users, groups and policies.
        Row(.getCurrentUser, "GET", "/v1/user", .point, .perhaps),
        Row(.listUsers, "GET", "/v1/auth/users", .store, .all("auth:ListUsers")),
        Row(.createUser, "POST", "/v1/auth/users", .store, .told),
        Row(.getUser, "GET", "/v1/auth/users/{userId}", .point, .user("ReadUser")),
        Row(.deleteUser, "DELETE", "/v1/auth/users/{userId}", .store, .user("DeleteUser")),
        Row(.listUserCredentials, "GET", "/v1/auth/users/{userId}/credentials", .store, .user("ListCredentials")),
        Row(.createCredentials, "POST", "/v1/auth/users/{userId}/credentials", .store, .user("CreateCredentials")),
        Row(
            .getCredentials, "GET", "/v1/auth/users/{userId}/credentials/{accessKeyId}", .point,
            .user("ReadCredentials")),
        Row(
            .deleteCredentials, "DELETE", "/v1/auth/users/{userId}/credentials/{accessKeyId}", .store,
            .user("DeleteCredentials")),
        Row(.listUserGroups, "GET", "/v1/auth/users/{userId}/groups", .store, .user("ReadUser")),
        Row(.listUserPolicies, "GET", "/v1/auth/users/{userId}/policies", .store, .user("ReadUser")),
        Row(.attachPolicyToUser, "PUT", "/v1/auth/users/{userId}/policies/{policyId}", .store, .user("AttachPolicy")),
        Row(
            .detachPolicyFromUser, "DELETE", "/v1/auth/users/{userId}/policies/{policyId}", .store,
            .user("DetachPolicy")),
        Row(
            .createUserExternalPrincipal, "POST", "/v1/auth/users/{userId}/external/principals", .store,
            .user("CreateUserExternalPrincipal")),
        Row(
            .deleteUserExternalPrincipal, "DELETE", "/v1/auth/users/{userId}/external/principals", .store,
            .user("DeleteUserExternalPrincipal")),
        Row(
            .listUserExternalPrincipals, "GET", "/v1/auth/users/{userId}/external/principals/ls", .store,
            .user("ReadUser")),
        Row(.getExternalPrincipal, "GET", "/v1/auth/external/principals", .point, .told),
        Row(.listGroups, "GET", "/v1/auth/groups", .store, .all("auth:ListGroups")),
        Row(.createGroup, "POST", "/v1/auth/groups", .store, .told),
        Row(.getGroup, "GET", "/v1/auth/groups/{groupId}", .point, .group("ReadGroup")),
        Row(.deleteGroup, "DELETE", "/v1/auth/groups/{groupId}", .store, .group("DeleteGroup")),
        Row(.listGroupMembers, "GET", "/v1/auth/groups/{groupId}/members", .store, .group("ReadGroup")),
        Row(.addGroupMembership, "PUT", "/v1/auth/groups/{groupId}/members/{userId}", .store, .group("AddGroupMember")),
        Row(
            .deleteGroupMembership, "DELETE", "/v1/auth/groups/{groupId}/members/{userId}", .store,
            .group("RemoveGroupMember")),
        Row(.listGroupPolicies, "GET", "/v1/auth/groups/{groupId}/policies", .store, .group("ReadGroup")),
        Row(
            .attachPolicyToGroup, "PUT", "/v1/auth/groups/{groupId}/policies/{policyId}", .store, .group("AttachPolicy")
        ),
        Row(
            .detachPolicyFromGroup, "DELETE", "/v1/auth/groups/{groupId}/policies/{policyId}", .store,
            .group("DetachPolicy")),
        Row(
            .setGroupACL, "POST", "/v1/auth/groups/{groupId}/acl", .store,
            .both(.group("ReadGroup"), .all("auth:AttachPolicy", "auth:UpdatePolicy"))),
        Row(
            .getGroupACL, "GET", "/v1/auth/groups/{groupId}/acl", .store,
            .both(.group("ReadGroup"), .all("auth:ReadPolicy"))),
        Row(.listPolicies, "GET", "/v1/auth/policies", .store, .all("auth:ListPolicies")),
        Row(.createPolicy, "POST", "/v1/auth/policies", .store, .told),
        Row(.getPolicy, "GET", "/v1/auth/policies/{policyId}", .point, .policy("ReadPolicy")),
        Row(.updatePolicy, "PUT", "/v1/auth/policies/{policyId}", .store, .policy("UpdatePolicy")),
        Row(.deletePolicy, "DELETE", "/v1/auth/policies/{policyId}", .store, .policy("DeletePolicy")),
        // Repositories.
        Row(.listRepositories, "GET", "/v1/repositories", .store, .told),
        Row(.createRepository, "POST", "/v1/repositories", .store, .told),
        Row(.getRepository, "GET", "~", .point, .repository("ReadRepository")),
        Row(.deleteRepository, "DELETE", "~", .long, .repository("DeleteRepository")),
        Row(.getRepositoryMetadata, "GET", "~/metadata", .point, .repository("ReadRepository")),
        Row(.setRepositoryMetadata, "POST", "~/metadata", .store, .repository("UpdateRepository")),
        Row(.deleteRepositoryMetadata, "DELETE", "~/metadata", .store, .repository("UpdateRepository")),
        Row(.getGCRules, "GET", "~/settings/gc_rules", .point, .inRepository("retention:GetGarbageCollectionRules")),
        Row(.setGCRules, "PUT", "~/settings/gc_rules", .store, .inRepository("retention:SetGarbageCollectionRules")),
        Row(
            .deleteGCRules, "DELETE", "~/settings/gc_rules", .store,
            .inRepository("retention:SetGarbageCollectionRules")),
        Row(
            .internalGetGarbageCollectionRules, "GET", "~/gc/rules", .point,
            .inRepository("retention:GetGarbageCollectionRules")),
        Row(
            .internalSetGarbageCollectionRules, "POST", "~/gc/rules", .store,
            .inRepository("retention:SetGarbageCollectionRules")),
        Row(
            .internalDeleteGarbageCollectionRules, "DELETE", "~/gc/rules", .store,
            .inRepository("retention:SetGarbageCollectionRules")),
        Row(
            .setGarbageCollectionRulesPreflight, "GET", "~/gc/rules/set_allowed", .point,
            .inRepository("retention:SetGarbageCollectionRules")),
        Row(
            .getBranchProtectionRules, "GET", "~/settings/branch_protection", .point,
            .inRepository("branches:GetBranchProtectionRules")),
        Row(
            .setBranchProtectionRules, "PUT", "~/settings/branch_protection", .store,
            .inRepository("branches:SetBranchProtectionRules")),
        Row(
            .internalGetBranchProtectionRules, "GET", "~/branch_protection", .point,
            .inRepository("branches:GetBranchProtectionRules")),
        Row(
            .internalCreateBranchProtectionRule, "POST", "~/branch_protection", .store,
            .inRepository("branches:SetBranchProtectionRules")),
        Row(
            .internalDeleteBranchProtectionRule, "DELETE", "~/branch_protection", .store,
            .inRepository("branches:SetBranchProtectionRules")),
        Row(
            .createBranchProtectionRulePreflight, "GET", "~/branch_protection/set_allowed", .point,
            .inRepository("branches:SetBranchProtectionRules")),
        Row(.dumpRefs, "PUT", "~/refs/dump", .long, .repository("ListBranches", "ListCommits", "ListTags")),
        Row(.dumpSubmit, "POST", "~/dump", .store, .repository("ListBranches", "ListCommits", "ListTags")),
        Row(.dumpStatus, "GET", "~/dump", .point, .repository("ListBranches", "ListCommits", "ListTags")),
        Row(.restoreRefs, "PUT", "~/refs/restore", .long, .repository("CreateBranch", "CreateCommit", "CreateTag")),
        Row(.restoreSubmit, "POST", "~/restore", .store, .repository("CreateBranch", "CreateCommit", "CreateTag")),
        Row(.restoreStatus, "GET", "~/restore", .point, .repository("CreateBranch", "CreateCommit", "CreateTag")),
        // Branches and tags.
        Row(.listTags, "GET", "~/tags", .store, .repository("ListTags")),
        Row(.createTag, "POST", "~/tags", .store, .told),
        Row(.getTag, "GET", "~/tags/{tag}", .point, .tag("ReadTag")),
        Row(.deleteTag, "DELETE", "~/tags/{tag}", .store, .tag("DeleteTag")),
        Row(.listBranches, "GET", "~/branches", .store, .repository("ListBranches")),
        Row(.createBranch, "POST", "~/branches", .store, .told),
        Row(.getBranch, "GET", "~/branches/{branch}", .point, .branch("ReadBranch")),
        Row(.deleteBranch, "DELETE", "~/branches/{branch}", .store, .branch("DeleteBranch")),
        Row(.resetBranch, "PUT", "~/branches/{branch}", .long, .branch("RevertBranch")),
        Row(.hardResetBranch, "PUT", "~/branches/{branch}/hard_reset", .store, .branch("RevertBranch")),
        Row(.revertBranch, "POST", "~/branches/{branch}/revert", .long, .branch("RevertBranch")),
        Row(
            .cherryPick, "POST", "~/branches/{branch}/cherry-pick", .long,
            .both(.branch("CreateCommit"), .repository("ReadCommit"))),
        Row(.diffBranch, "GET", "~/branches/{branch}/diff", .store, .repository("ListObjects")),
        // Commits, merges and diffs.
        Row(.commit, "POST", "~/branches/{branch}/commits", .long, .branch("CreateCommit")),
        Row(.createCommitRecord, "POST", "~/commits", .store, .repository("CreateCommit")),
        Row(.getCommit, "GET", "~/commits/{commitId}", .point, .repository("ReadCommit")),
        Row(.logCommits, "GET", "~/refs/{ref}/commits", .store, .branch("ReadBranch", at: .ref)),
        Row(
            .mergeIntoBranch, "POST", "~/refs/{sourceRef}/merge/{destinationBranch}", .long,
            .branch("CreateCommit", at: .destinationBranch)),
        Row(.findMergeBase, "GET", "~/refs/{sourceRef}/merge/{destinationBranch}", .store, .repository("ListCommits")),
        Row(.diffRefs, "GET", "~/refs/{leftRef}/diff/{rightRef}", .store, .repository("ListObjects")),
        // Objects.
        Row(.getObject, "GET", "~/refs/{ref}/objects", .point, .object("ReadObject")),
        Row(.headObject, "HEAD", "~/refs/{ref}/objects", .point, .object("ReadObject")),
        Row(.statObject, "GET", "~/refs/{ref}/objects/stat", .point, .object("ReadObject")),
        Row(
            .getUnderlyingProperties, "GET", "~/refs/{ref}/objects/underlyingProperties", .point, .object("ReadObject")),
        Row(.listObjects, "GET", "~/refs/{ref}/objects/ls", .store, .repository("ListObjects")),
        Row(.uploadObject, "POST", "~/branches/{branch}/objects", .store, .object("WriteObject")),
        Row(.uploadObjectPreflight, "GET", "~/branches/{branch}/objects/stage_allowed", .point, .object("WriteObject")),
        Row(.stageObject, "PUT", "~/branches/{branch}/objects", .store, .object("WriteObject")),
        Row(.deleteObject, "DELETE", "~/branches/{branch}/objects", .store, .object("DeleteObject")),
        Row(.deleteObjects, "POST", "~/branches/{branch}/objects/delete", .store, .told),
        Row(.copyObject, "POST", "~/branches/{branch}/objects/copy", .long, .told),
        Row(
            .updateObjectUserMetadata, "PUT", "~/branches/{branch}/objects/stat/user_metadata", .store,
            .object("WriteObject")),
        Row(.createSymlinkFile, "POST", "~/refs/{branch}/symlink", .long, .object("WriteObject", named: .branch)),
        Row(.getPhysicalAddress, "GET", "~/branches/{branch}/staging/backing", .point, .object("WriteObject")),
        Row(.linkPhysicalAddress, "PUT", "~/branches/{branch}/staging/backing", .store, .object("WriteObject")),
        Row(.createPresignMultipartUpload, "POST", "~/branches/{branch}/staging/pmpu", .store, .object("WriteObject")),
        Row(
            .completePresignMultipartUpload, "PUT", "~/branches/{branch}/staging/pmpu/{uploadId}", .store,
            .object("WriteObject")),
        Row(
            .abortPresignMultipartUpload, "DELETE", "~/branches/{branch}/staging/pmpu/{uploadId}", .store,
            .object("WriteObject")),
        Row(
            .uploadPart, "PUT", "~/branches/{branch}/staging/pmpu/{uploadId}/parts/{partNumber}", .store,
            .object("WriteObject")),
        Row(
            .uploadPartCopy, "PUT", "~/branches/{branch}/staging/pmpu/{uploadId}/parts/{partNumber}/copy", .long, .told),
        Row(.importStart, "POST", "~/branches/{branch}/import", .store, .told),
        Row(.importStatus, "GET", "~/branches/{branch}/import", .point, .branch("ReadBranch")),
        Row(.importCancel, "DELETE", "~/branches/{branch}/import", .store, .branch("ImportCancel")),
        // Tables of commits.
        Row(
            .getMetadataObject, "GET", "~/metadata/object/{type}/{object_id}", .point,
            .repository("ListObjects", "ReadRepository")),
        Row(
            .getMetaRange, "GET", "~/metadata/meta_range/{meta_range}", .point,
            .repository("ListObjects", "ReadRepository")),
        Row(.getRange, "GET", "~/metadata/range/{range}", .point, .repository("ListObjects", "ReadRepository")),
        // Collection.
        Row(
            .prepareGarbageCollectionCommits, "POST", "~/gc/prepare_commits", .long,
            .inRepository("retention:PrepareGarbageCollectionCommits")),
        Row(
            .prepareGarbageCollectionCommitsAsync, "POST", "~/gc/prepare_commits/async", .store,
            .inRepository("retention:PrepareGarbageCollectionCommits")),
        Row(
            .prepareGarbageCollectionCommitsStatus, "GET", "~/gc/prepare_commits/status", .point,
            .inRepository("retention:PrepareGarbageCollectionCommits")),
        Row(
            .prepareGarbageCollectionUncommitted, "POST", "~/gc/prepare_uncommited", .long,
            .inRepository("retention:PrepareGarbageCollectionUncommitted")),
        // Hooks.
        Row(.listRepositoryRuns, "GET", "~/actions/runs", .store, .inRepository("ci:ReadAction")),
        Row(.getRun, "GET", "~/actions/runs/{run_id}", .point, .inRepository("ci:ReadAction")),
        Row(.listRunHooks, "GET", "~/actions/runs/{run_id}/hooks", .store, .inRepository("ci:ReadAction")),
        Row(
            .getRunHookOutput, "GET", "~/actions/runs/{run_id}/hooks/{hook_run_id}/output", .point,
            .inRepository("ci:ReadAction")),
        // Pull requests.
        Row(.listPullRequests, "GET", "~/pulls", .store, .pulls("ListPullRequests")),
        Row(.createPullRequest, "POST", "~/pulls", .store, .pulls("WritePullRequest")),
        Row(.getPullRequest, "GET", "~/pulls/{pull_request}", .point, .pulls("ReadPullRequest")),
        Row(.updatePullRequest, "PATCH", "~/pulls/{pull_request}", .store, .pulls("WritePullRequest")),
        Row(.mergePullRequest, "PUT", "~/pulls/{pull_request}/merge", .long, .pulls("WritePullRequest")),
        // Of lakeFS's older clients, and those of its paid edition.
        Row(.getTokenRedirect, "GET", "/v1/auth/get-token/start", .point, .anyone),
        Row(.getTokenFromMailbox, "GET", "/v1/auth/get-token/mailboxes/{mailbox}", .store, .anyone),
        Row(.releaseTokenToMailbox, "GET", "/v1/auth/get-token/release-token/{loginRequestToken}", .store, .login),
        Row(.confirmTokenRelease, "POST", "/v1/auth/get-token/release-token/{loginRequestToken}", .store, .login),
        Row(.getLicense, "GET", "/v1/license", .point, .login),
        Row(.commitAsync, "POST", "~/branches/{branch}/commits/async", .store, .branch("CreateCommit")),
        Row(
            .commitAsyncStatus, "GET", "~/branches/{branch}/commits/async/{id}/status", .point, .branch("CreateCommit")),
        Row(
            .mergeIntoBranchAsync, "POST", "~/refs/{sourceRef}/merge/{destinationBranch}/async", .store,
            .branch("CreateCommit", at: .destinationBranch)),
        Row(
            .mergeIntoBranchAsyncStatus, "GET", "~/refs/{sourceRef}/merge/{destinationBranch}/async/{id}/status",
            .point,
            .branch("CreateCommit", at: .destinationBranch)),
        Row(.listPullRequestComments, "GET", "~/pulls/{pull_request}/comments", .store, .pulls("ReadPullRequest")),
        Row(.createPullRequestComment, "POST", "~/pulls/{pull_request}/comments", .store, .pulls("WritePullRequest")),
        Row(
            .getPullRequestComment, "GET", "~/pulls/{pull_request}/comments/{comment}", .point,
            .pulls("ReadPullRequest")),
        Row(
            .updatePullRequestComment, "PATCH", "~/pulls/{pull_request}/comments/{comment}", .store,
            .pulls("WritePullRequest")),
        Row(
            .deletePullRequestComment, "DELETE", "~/pulls/{pull_request}/comments/{comment}", .store,
            .pulls("WritePullRequest")),
        Row(.getObjectsArchive, "GET", "~/refs/{ref}/objects/archive", .long, .repository("ListObjects")),
        // Ours: mounts on the server's machine.
        Row(.listMounts, "GET", "/lakefuse/mounts", .store, .all("fs:ReadConfig")),
        Row(.mount, "POST", "/lakefuse/mounts", .store, .told),
        Row(.unmount, "DELETE", "/lakefuse/mounts", .store, .all("fs:MountOnServer")),
        // A link that signs a browser in as who asks for it.
        Row(.createLoginLink, "POST", "/lakefuse/login-links", .store, .login),
        // Who may have them run by a commit may have them run again: of the run's branch, which the handler asks.
        Row(
            .repeatRun, "POST", "/lakefuse/repositories/{repository}/actions/runs/{run_id}/repeat", .store,
            .inRepository("ci:ReadAction")),
    ]
}
