// swift-format-ignore-file
// Made by Description/generate.py of what lies beside it: not to be changed by hand.

extension API {
    package struct Pagination: Message {
        package enum CodingKeys: String, CodingKey { case hasMore = "has_more"; case nextOffset = "next_offset"; case results; case maxPerPage = "max_per_page" }
        package var hasMore: Bool
        package var nextOffset: String
        package var results: Int
        package var maxPerPage: Int
        package init(hasMore: Bool, nextOffset: String, results: Int, maxPerPage: Int) {
            self.hasMore = hasMore
            self.nextOffset = nextOffset
            self.results = results
            self.maxPerPage = maxPerPage
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("has_more", hasMore)
                json.member("max_per_page", maxPerPage)
                json.member("next_offset", nextOffset)
                json.member("results", results)
            }
        }
    }

    package struct PathList: Message {
        package enum CodingKeys: String, CodingKey { case paths }
        package var paths: [String]
        package init(paths: [String]) {
            self.paths = paths
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("paths", paths)
            }
        }
    }

    package struct Policy: Message {
        package enum CodingKeys: String, CodingKey { case id; case creationDate = "creation_date"; case statement }
        package var id: String
        package var creationDate: Int64?
        package var statement: [Statement]
        package init(id: String, creationDate: Int64? = nil, statement: [Statement]) {
            self.id = id
            self.creationDate = creationDate
            self.statement = statement
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("creation_date", creationDate)
                json.member("id", id)
                json.member("statement", statement)
            }
        }
        package func check(_ place: Place) throws(Misfit) {
            try place.at("statement").atLeast(1, statement.count, "number of items")
            for (index, item) in statement.enumerated() { try item.check(place.at("statement").at(index)) }
        }
    }

    package typealias PolicyCondition = [String: [String]]

    package typealias PolicyList = ResultList<Policy>

    package struct PrepareGCUncommittedRequest: Message {
        package enum CodingKeys: String, CodingKey { case continuationToken = "continuation_token" }
        package var continuationToken: String?
        package init(continuationToken: String? = nil) {
            self.continuationToken = continuationToken
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("continuation_token", continuationToken)
            }
        }
    }

    package struct PrepareGCUncommittedResponse: Message {
        package enum CodingKeys: String, CodingKey { case runId = "run_id"; case gcUncommittedLocation = "gc_uncommitted_location"; case continuationToken = "continuation_token" }
        package var runId: String
        package var gcUncommittedLocation: String
        package var continuationToken: String?
        package init(runId: String, gcUncommittedLocation: String, continuationToken: String? = nil) {
            self.runId = runId
            self.gcUncommittedLocation = gcUncommittedLocation
            self.continuationToken = continuationToken
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("continuation_token", continuationToken)
                json.member("gc_uncommitted_location", gcUncommittedLocation)
                json.member("run_id", runId)
            }
        }
    }

    package struct PrepareGarbageCollectionCommitsStatus: Message {
        package enum CodingKeys: String, CodingKey { case taskId = "task_id"; case completed; case updateTime = "update_time"; case result; case error }
        package var taskId: String
        package var completed: Bool
        package var updateTime: String
        package var result: GarbageCollectionPrepareResponse?
        package var error: Error?
        package init(taskId: String, completed: Bool, updateTime: String, result: GarbageCollectionPrepareResponse? = nil, error: Error? = nil) {
            self.taskId = taskId
            self.completed = completed
            self.updateTime = updateTime
            self.result = result
            self.error = error
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("completed", completed)
                json.memberIfPresent("error", error)
                json.memberIfPresent("result", result)
                json.member("task_id", taskId)
                json.member("update_time", updateTime)
            }
        }
    }

    package struct PresignMultipartUpload: Message {
        package enum CodingKeys: String, CodingKey { case uploadId = "upload_id"; case physicalAddress = "physical_address"; case presignedUrls = "presigned_urls" }
        package var uploadId: String
        package var physicalAddress: String
        package var presignedUrls: [String]?
        package init(uploadId: String, physicalAddress: String, presignedUrls: [String]? = nil) {
            self.uploadId = uploadId
            self.physicalAddress = physicalAddress
            self.presignedUrls = presignedUrls
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("physical_address", physicalAddress)
                json.memberIfPresent("presigned_urls", presignedUrls)
                json.member("upload_id", uploadId)
            }
        }
    }

    package struct PullRequest: Message {
        package enum CodingKeys: String, CodingKey { case status; case title; case description; case id; case creationDate = "creation_date"; case author; case sourceBranch = "source_branch"; case destinationBranch = "destination_branch"; case mergedCommitId = "merged_commit_id"; case closedDate = "closed_date" }
        package var status: String
        package var title: String
        package var description: String
        package var id: String
        package var creationDate: String
        package var author: String
        package var sourceBranch: String
        package var destinationBranch: String
        package var mergedCommitId: String?
        package var closedDate: String?
        package init(status: String, title: String, description: String, id: String, creationDate: String, author: String, sourceBranch: String, destinationBranch: String, mergedCommitId: String? = nil, closedDate: String? = nil) {
            self.status = status
            self.title = title
            self.description = description
            self.id = id
            self.creationDate = creationDate
            self.author = author
            self.sourceBranch = sourceBranch
            self.destinationBranch = destinationBranch
            self.mergedCommitId = mergedCommitId
            self.closedDate = closedDate
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("author", author)
                json.memberIfPresent("closed_date", closedDate)
                json.member("creation_date", creationDate)
                json.member("description", description)
                json.member("destination_branch", destinationBranch)
                json.member("id", id)
                json.memberIfPresent("merged_commit_id", mergedCommitId)
                json.member("source_branch", sourceBranch)
                json.member("status", status)
                json.member("title", title)
            }
        }
    }

    package struct PullRequestBasic: Message {
        package enum CodingKeys: String, CodingKey { case status; case title; case description }
        package var status: String?
        package var title: String?
        package var description: String?
        package init(status: String? = nil, title: String? = nil, description: String? = nil) {
            self.status = status
            self.title = title
            self.description = description
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("description", description)
                json.memberIfPresent("status", status)
                json.memberIfPresent("title", title)
            }
        }
        package func check(_ place: Place) throws(Misfit) {
            if let status { try place.at("status").one(of: ["open", "closed", "merged"], status) }
        }
    }

    package struct PullRequestComment: Message {
        package enum CodingKeys: String, CodingKey { case id; case authorId = "author_id"; case author; case body; case parentId = "parent_id"; case creationDate = "creation_date"; case updatedDate = "updated_date"; case deleted; case resolved; case resolvedById = "resolved_by_id"; case resolvedBy = "resolved_by" }
        package var id: String
        package var authorId: String
        package var author: String
        package var body: String
        package var parentId: String?
        package var creationDate: String
        package var updatedDate: String
        package var deleted: Bool
        package var resolved: Bool
        package var resolvedById: String?
        package var resolvedBy: String?
        package init(id: String, authorId: String, author: String, body: String, parentId: String? = nil, creationDate: String, updatedDate: String, deleted: Bool, resolved: Bool, resolvedById: String? = nil, resolvedBy: String? = nil) {
            self.id = id
            self.authorId = authorId
            self.author = author
            self.body = body
            self.parentId = parentId
            self.creationDate = creationDate
            self.updatedDate = updatedDate
            self.deleted = deleted
            self.resolved = resolved
            self.resolvedById = resolvedById
            self.resolvedBy = resolvedBy
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("author", author)
                json.member("author_id", authorId)
                json.member("body", body)
                json.member("creation_date", creationDate)
                json.member("deleted", deleted)
                json.member("id", id)
                json.memberIfPresent("parent_id", parentId)
                json.member("resolved", resolved)
                json.memberIfPresent("resolved_by", resolvedBy)
                json.memberIfPresent("resolved_by_id", resolvedById)
                json.member("updated_date", updatedDate)
            }
        }
    }

    package struct PullRequestCommentCreation: Message {
        package enum CodingKeys: String, CodingKey { case body; case parentId = "parent_id" }
        package var body: String
        package var parentId: String?
        package init(body: String, parentId: String? = nil) {
            self.body = body
            self.parentId = parentId
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("body", body)
                json.memberIfPresent("parent_id", parentId)
            }
        }
        package func check(_ place: Place) throws(Misfit) {
            try place.at("body").atLeast(1, body.utf8.count, "string length")
        }
    }

    package struct PullRequestCommentCreationResponse: Message {
        package enum CodingKeys: String, CodingKey { case id }
        package var id: String
        package init(id: String) {
            self.id = id
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("id", id)
            }
        }
    }

    package typealias PullRequestCommentList = ResultList<PullRequestComment>

    package struct PullRequestCommentUpdate: Message {
        package enum CodingKeys: String, CodingKey { case body; case resolved }
        package var body: String?
        package var resolved: Bool?
        package init(body: String? = nil, resolved: Bool? = nil) {
            self.body = body
            self.resolved = resolved
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("body", body)
                json.memberIfPresent("resolved", resolved)
            }
        }
        package func check(_ place: Place) throws(Misfit) {
            if let body { try place.at("body").atLeast(1, body.utf8.count, "string length") }
        }
    }

    package struct PullRequestCreation: Message {
        package enum CodingKeys: String, CodingKey { case title; case description; case sourceBranch = "source_branch"; case destinationBranch = "destination_branch" }
        package var title: String
        package var description: String?
        package var sourceBranch: String
        package var destinationBranch: String
        package init(title: String, description: String? = nil, sourceBranch: String, destinationBranch: String) {
            self.title = title
            self.description = description
            self.sourceBranch = sourceBranch
            self.destinationBranch = destinationBranch
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.memberIfPresent("description", description)
                json.member("destination_branch", destinationBranch)
                json.member("source_branch", sourceBranch)
                json.member("title", title)
            }
        }
    }

    package struct PullRequestCreationResponse: Message {
        package enum CodingKeys: String, CodingKey { case id }
        package var id: String
        package init(id: String) {
            self.id = id
        }
        package func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("id", id)
            }
        }
    }

    package typealias PullRequestsList = ResultList<PullRequest>
}
