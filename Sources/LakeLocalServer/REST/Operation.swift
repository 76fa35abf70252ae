import Versioning

/// Every operation of the API by its name in the description (`operationId` of lakeFS's `swagger.yml`), and ours.
enum Operation: String, CaseIterable, Sendable {
    case healthCheck, getSetupState, setup, setupCommPrefs, login, externalPrincipalLogin, stsLogin, oauthCallback
    case getAuthCapabilities, getConfig, getStorageConfig, getLakeFSVersion, getGarbageCollectionConfig
    case postStatsEvents, getUsageReportSummary, getCurrentUser, listUsers, createUser, getUser, deleteUser
    case listUserCredentials, createCredentials, getCredentials, deleteCredentials, listUserGroups, listUserPolicies
    case attachPolicyToUser, detachPolicyFromUser, createUserExternalPrincipal, deleteUserExternalPrincipal
    case listUserExternalPrincipals, getExternalPrincipal, listGroups, createGroup, getGroup, deleteGroup
    case listGroupMembers, addGroupMembership, deleteGroupMembership, listGroupPolicies, attachPolicyToGroup
    case detachPolicyFromGroup, setGroupACL, getGroupACL, listPolicies, createPolicy, getPolicy, updatePolicy
    case deletePolicy, listRepositories, createRepository, getRepository, deleteRepository, getRepositoryMetadata
    case setRepositoryMetadata, deleteRepositoryMetadata, getGCRules, setGCRules, deleteGCRules
    case internalGetGarbageCollectionRules, internalSetGarbageCollectionRules, internalDeleteGarbageCollectionRules
    case setGarbageCollectionRulesPreflight, getBranchProtectionRules, setBranchProtectionRules
    case internalGetBranchProtectionRules, internalCreateBranchProtectionRule, internalDeleteBranchProtectionRule
    case createBranchProtectionRulePreflight, dumpRefs, dumpSubmit, dumpStatus, restoreRefs, restoreSubmit
    case restoreStatus, listTags, createTag, getTag, deleteTag, listBranches, createBranch, getBranch, deleteBranch
    case resetBranch, hardResetBranch, revertBranch, cherryPick, diffBranch, commit
    case createCommitRecord = "CreateCommitRecord"
    case getCommit, logCommits, mergeIntoBranch, findMergeBase, diffRefs
    case getObject, headObject, statObject, getUnderlyingProperties, listObjects, uploadObject
    case uploadObjectPreflight, stageObject, deleteObject, deleteObjects, copyObject, updateObjectUserMetadata
    case createSymlinkFile, getPhysicalAddress, linkPhysicalAddress, createPresignMultipartUpload
    case completePresignMultipartUpload, abortPresignMultipartUpload, uploadPart, uploadPartCopy, importStart
    case importStatus, importCancel, getMetadataObject, getMetaRange, getRange, prepareGarbageCollectionCommits
    case prepareGarbageCollectionCommitsAsync, prepareGarbageCollectionCommitsStatus
    case prepareGarbageCollectionUncommitted, listRepositoryRuns, getRun, listRunHooks, getRunHookOutput
    case listPullRequests, createPullRequest, getPullRequest, updatePullRequest, mergePullRequest, listMounts, mount
    case unmount
    // Of lakeFS's older clients, and those of its paid edition.
    case getTokenRedirect, getTokenFromMailbox, releaseTokenToMailbox, getLicense, commitAsync, commitAsyncStatus
    case mergeIntoBranchAsync, mergeIntoBranchAsyncStatus, listPullRequestComments, createPullRequestComment
    case getPullRequestComment, updatePullRequestComment, deletePullRequestComment, getObjectsArchive, oidcLogin
    case confirmTokenRelease, createLoginLink, repeatRun
}

/// A part of a route that stands for a name.
enum PathPart: String, Sendable {
    case accessKeyId, branch, comment, commitId, destinationBranch, groupId
    case hookRunId = "hook_run_id"
    case id, leftRef, loginRequestToken, mailbox
    case metaRange = "meta_range"
    case objectId = "object_id"
    case partNumber, policyId
    case pullRequest = "pull_request"
    case range
    case ref, repository, rightRef
    case runId = "run_id"
    case sourceRef, tag, type, uploadId, userId
}
