import Foundations
import LakeAPI
import Transport
import Versioning

extension REST {
    private func message(_ pull: PullRequest) -> API.PullRequest {
        API.PullRequest(
            status: "\(pull.status)", title: pull.title, description: pull.description, id: pull.id,
            creationDate: pull.creationDate.rfc3339, author: pull.author, sourceBranch: pull.source.text,
            destinationBranch: pull.destination.text, mergedCommitId: pull.commitID?.text,
            closedDate: pull.closedDate?.rfc3339)
    }

    /// A status by its name in the API; nil for none, and for `all`.
    private func status(_ name: String?) -> PullRequest.Status? {
        switch name {
        case "open": .open
        case "closed": .closed
        case "merged": .merged
        default: nil
        }
    }

    func addPulls(_ router: inout Router) {
        router.on(.listPullRequests) { call in
            let page = try catalog.listPulls(
                call.repository, prefix: call.text("prefix") ?? "", after: call.text("after") ?? "",
                limit: call.amount(), status: status(call.text("status")))
            return .respond(.json(200, ResultList(page, next: \.id) { message($0) }))
        }
        router.on(.createPullRequest) { call in
            return call.json(API.PullRequestCreation.self) { body in
                let made = try catalog.createPull(
                    title: body.title, description: body.description ?? "", author: call.user,
                    source: BranchName(body.sourceBranch), destination: BranchName(body.destinationBranch),
                    in: call.repository)
                return .json(201, API.TaskInfo(id: made.id))
            }
        }
        router.on(.getPullRequest) { call in
            return .respond(.json(200, message(try catalog.pull(call[.pullRequest], in: call.repository))))
        }
        router.on(.updatePullRequest) { call in
            return call.json(API.PullRequestBasic.self) { body in
                try catalog.updatePull(
                    call[.pullRequest], title: body.title, description: body.description,
                    status: status(body.status),
                    in: call.repository)
                return .noContent
            }
        }
        router.on(.mergePullRequest) { call in
            return call.json(API.Merge.self, isOptional: true) { body in
                let pull = try catalog.pull(call[.pullRequest], in: call.repository)
                try call.require(.branch("CreateCommit", call.repository, pull.destination))
                let (request, options) = try mergeRequest(body, by: call.user)
                return .json(
                    200,
                    API.MergeResult(
                        reference: try catalog.mergePull(pull.id, request, options, in: call.repository).text)
                )
            }
        }
    }
}
