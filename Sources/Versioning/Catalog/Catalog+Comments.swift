import Foundations

/// Comments of pull requests.
extension Catalog {
    package func listComments(
        of pullID: String, in repositoryID: RepositoryID, after: String, limit: Int
    ) throws -> Page<PullRequestComment> {
        let pull = try pull(pullID, in: repositoryID)
        return Page(
            try refs.comments(of: pull.id, in: repository(repositoryID), after: after, limit: limit + 1), limit: limit)
    }

    package func comment(_ id: String, of pullID: String, in repositoryID: RepositoryID) throws -> PullRequestComment {
        try find(id, of: pullID, in: repositoryID).comment
    }

    private func find(_ id: String, of pullID: String, in repositoryID: RepositoryID) throws -> (
        comment: PullRequestComment, bytes: [UInt8]
    ) {
        let pull = try pull(pullID, in: repositoryID)
        guard let found = try refs.comment(id, of: pull.id, in: repository(repositoryID)) else {
            throw LakeError.notFound(.comment, id)
        }
        return found
    }

    /// - Parameter parentID: the comment that it replies to; empty for none.
    package func createComment(
        _ body: String, replyingTo parentID: String, author: String, of pullID: String, in repositoryID: RepositoryID
    ) throws -> PullRequestComment {
        let repository = try writableRepository(repositoryID, force: false)
        let pull = try pull(pullID, in: repositoryID)
        if !parentID.isEmpty, try refs.comment(parentID, of: pull.id, in: repository)?.comment.isDeleted != false {
            throw LakeError(.invalidValue, "parent_id '\(parentID)' names no comment of pull request \(pull.id)")
        }
        // Its id says when it was made, in an order that text has; the first of two in one second is either.
        let comment = PullRequestComment(
            id: XID.make(), author: author, body: body, parentID: parentID, creationDate: .now())
        try comment.checkSize()
        guard try refs.setComment(comment, of: pull.id, in: repository, if: .absent) else {
            throw LakeError(.tooManyTries, "comment \(comment.id) exists: try again")
        }
        return comment
    }

    /// Changes what a comment says, or whether its thread is resolved.
    /// - Parameter user: who asks: only its author may change what it says.
    package func updateComment(
        _ id: String, of pullID: String, body: String?, isResolved: Bool?, by user: String,
        in repositoryID: RepositoryID
    ) throws {
        try change(id, of: pullID, in: repositoryID) { comment in
            guard !comment.isDeleted else { throw LakeError.notFound(.comment, id) }
            if let body {
                try requireAuthor(user, of: comment)
                comment.body = body
                try comment.checkSize()
            }
            if let isResolved {
                guard comment.parentID.isEmpty else {
                    throw LakeError(.invalidValue, "comment \(id) is a reply: the comment at its top is resolved")
                }
                comment.resolver = isResolved ? user : ""
            }
            comment.updatedDate = .now()
        }
    }

    /// Takes away what a comment says; it stays for what replied to it.
    package func deleteComment(_ id: String, of pullID: String, by user: String, in repositoryID: RepositoryID) throws {
        try change(id, of: pullID, in: repositoryID) { comment in
            guard !comment.isDeleted else { throw LakeError.notFound(.comment, id) }
            try requireAuthor(user, of: comment)
            comment.body = ""
            comment.isDeleted = true
            comment.updatedDate = .now()
        }
    }

    private func requireAuthor(_ user: String, of comment: PullRequestComment) throws {
        guard comment.author == user else {
            throw LakeError(
                .permissionDenied, "comment \(comment.id) is \(comment.author)'s: only its author may do that")
        }
    }

    private func change(
        _ id: String, of pullID: String, in repositoryID: RepositoryID,
        _ work: (inout PullRequestComment) throws -> Void
    ) throws {
        let repository = try writableRepository(repositoryID, force: false)
        for attempt in 0..<Self.tries {
            var (comment, bytes) = try find(id, of: pullID, in: repositoryID)
            try work(&comment)
            if try refs.setComment(comment, of: pullID, in: repository, if: .matches(bytes)) { return }
            pauseBeforeRetry(attempt)
        }
        throw LakeError(.tooManyTries, "comment \(id) keeps changing: try again")
    }
}
