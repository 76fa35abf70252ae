// Messages of what surrounds a repository's data: pull requests, imports, dumps, rules.
// Source: the public OpenAPI description, `shared/reference/lakefs-openapi/swagger.yml`.

package struct PullRequestCreation: Codable, Sendable {
    package var title: String
    package var description: String?
    package var sourceBranch: String
    package var destinationBranch: String
}

package struct PullRequestUpdate: Codable, Sendable {
    package var title: String?
    package var description: String?
    package var status: String?
}

package struct PullRequestMessage: Codable, Sendable {
    package var id: String
    package var status: String
    package var title: String
    package var description: String
    package var author: String
    package var creationDate: String
    package var closedDate: String?
    package var sourceBranch: String
    package var destinationBranch: String
    package var mergedCommitId: String?
    package init(
        id: String, status: String, title: String, description: String, author: String, creationDate: String,
        closedDate: String?, sourceBranch: String, destinationBranch: String, mergedCommitId: String?
    ) {
        self.id = id
        self.status = status
        self.title = title
        self.description = description
        self.author = author
        self.creationDate = creationDate
        self.closedDate = closedDate
        self.sourceBranch = sourceBranch
        self.destinationBranch = destinationBranch
        self.mergedCommitId = mergedCommitId
    }
}

/// The id of something that was started or made.
package struct IDMessage: Codable, Sendable {
    package var id: String
    package init(id: String) { self.id = id }
}

package struct ImportCreation: Codable, Sendable {
    package struct Location: Codable, Sendable {
        package var type: String
        package var path: String
        package var destination: String
    }
    package var paths: [Location]
    package var commit: CommitCreation
    package var force: Bool?
}

package struct ImportStatusMessage: Codable, Sendable {
    package var completed: Bool
    package var updateTime: String
    package var ingestedObjects: Int64
    package var metarangeId: String?
    package var commit: CommitMessage?
    package var error: ErrorMessage?
    package init(
        completed: Bool, updateTime: String, ingestedObjects: Int64, metarangeId: String?, commit: CommitMessage?,
        error: ErrorMessage?
    ) {
        self.completed = completed
        self.updateTime = updateTime
        self.ingestedObjects = ingestedObjects
        self.metarangeId = metarangeId
        self.commit = commit
        self.error = error
    }
}

package struct RefsDumpMessage: Codable, Sendable {
    package var commitsMetaRangeId: String
    package var tagsMetaRangeId: String
    package var branchesMetaRangeId: String
    /// Asked for by restores only.
    package var force: Bool?
    package init(commits: String, tags: String, branches: String) {
        commitsMetaRangeId = commits
        tagsMetaRangeId = tags
        branchesMetaRangeId = branches
    }
}

package struct TaskStatusMessage: Codable, Sendable {
    package var id: String
    package var done: Bool
    package var updateTime: String
    package var error: String?
    package var refs: RefsDumpMessage?
    package init(id: String, done: Bool, updateTime: String, error: String?, refs: RefsDumpMessage?) {
        self.id = id
        self.done = done
        self.updateTime = updateTime
        self.error = error
        self.refs = refs
    }
}

package struct GarbageCollectionRulesMessage: Codable, Sendable {
    package struct Rule: Codable, Sendable {
        package var branchId: String
        package var retentionDays: Int
        package init(branchId: String, retentionDays: Int) {
            self.branchId = branchId
            self.retentionDays = retentionDays
        }
    }
    package var defaultRetentionDays: Int
    package var branches: [Rule]
    package init(defaultRetentionDays: Int, branches: [Rule]) {
        self.defaultRetentionDays = defaultRetentionDays
        self.branches = branches
    }
}

package struct StorageLocation: Codable, Sendable {
    package var location: String
    package init(location: String) { self.location = location }
}
