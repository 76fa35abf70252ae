import Foundations
import LakeAPI
import Versioning

extension REST {
    private func message(_ comment: PullRequestComment) -> API.PullRequestComment {
        API.PullRequestComment(
            id: comment.id, authorId: comment.author, author: comment.author, body: comment.body,
            parentId: comment.parentID.isEmpty ? nil : comment.parentID, creationDate: comment.creationDate.rfc3339,
            updatedDate: comment.updatedDate.rfc3339, deleted: comment.isDeleted, resolved: !comment.resolver.isEmpty,
            resolvedById: comment.resolver.isEmpty ? nil : comment.resolver,
            resolvedBy: comment.resolver.isEmpty ? nil : comment.resolver)
    }

    /// What people say of pull requests.
    func addComments(_ router: inout Router) {
        router.on(.listPullRequestComments) { call in
            call.now {
                let page = try catalog.listComments(
                    of: call[.pullRequest], in: call.repository, after: call.text("after") ?? "", limit: call.amount())
                return .json(200, ResultList(page, next: \.id) { message($0) })
            }
        }
        router.on(.createPullRequestComment) { call in
            call.json(API.PullRequestCommentCreation.self) { body in
                let made = try catalog.createComment(
                    body.body, replyingTo: body.parentId ?? "", author: call.user, of: call[.pullRequest],
                    in: call.repository)
                return .json(201, API.PullRequestCommentCreationResponse(id: made.id))
            }
        }
        router.on(.getPullRequestComment) { call in
            call.now {
                .json(
                    200,
                    message(try catalog.comment(call[.comment], of: call[.pullRequest], in: call.repository)))
            }
        }
        router.on(.updatePullRequestComment) { call in
            call.json(API.PullRequestCommentUpdate.self) { body in
                try catalog.updateComment(
                    call[.comment], of: call[.pullRequest], body: body.body, isResolved: body.resolved, by: call.user,
                    in: call.repository)
                return .noContent
            }
        }
        router.on(.deletePullRequestComment) { call in
            call.work {
                try catalog.deleteComment(
                    call[.comment], of: call[.pullRequest], by: call.user, in: call.repository)
                return .noContent
            }
        }
    }
}
