import LakeAPI
import Transport
import Versioning

extension REST {
    private func message(_ pull: PullRequest) -> PullRequestMessage {
        PullRequestMessage(id: pull.id, status: "\(pull.status)", title: pull.title, description: pull.description, author: pull.author, creationDate: pull.creationDate.rfc3339,
                           closedDate: pull.closedDate?.rfc3339, sourceBranch: pull.source, destinationBranch: pull.destination, mergedCommitId: pull.commitID)
    }

    func addPulls(_ router: inout Router) {
        let pulls = "v1/repositories/{repository}/pulls", pull = pulls + "/{pull}"
        router.add("GET", pulls) { call in
            try call.require(.pulls("ListPullRequests", call["repository"]))
            let status: PullRequest.Status? = switch try call.choice("status", ["open", "closed", "all"]) {
            case "open": .open
            case "closed": .closed
            default: nil
            }
            let page = try catalog.listPulls(call["repository"], prefix: call.text("prefix") ?? "", after: call.text("after") ?? "", limit: call.amount(), status: status)
            return .respond(.json(200, ResultList(page, next: \.id) { message($0) }))
        }
        router.add("POST", pulls) { call in
            try call.require(.pulls("WritePullRequest", call["repository"]))
            return call.json(PullRequestCreation.self) { body in
                let made = try catalog.createPull(title: body.title, description: body.description ?? "", author: call.user, source: body.sourceBranch, destination: body.destinationBranch, in: call["repository"])
                return .json(201, IDMessage(id: made.id))
            }
        }
        router.add("GET", pull) { call in
            try call.require(.pulls("ReadPullRequest", call["repository"]))
            return .respond(.json(200, message(try catalog.pull(call["pull"], in: call["repository"]))))
        }
        router.add("PATCH", pull) { call in
            try call.require(.pulls("WritePullRequest", call["repository"]))
            return call.json(PullRequestUpdate.self) { body in
                let status: PullRequest.Status? = switch body.status {
                case nil: nil
                case "open": .open
                case "closed": .closed
                case "merged": .merged
                case let other?: throw LakeError(.invalidValue, "request body has an error: status '\(other)' is not known: open, closed or merged are")
                }
                try catalog.updatePull(call["pull"], title: body.title, description: body.description, status: status, in: call["repository"])
                return .noContent
            }
        }
        router.add("PUT", pull + "/merge") { call in
            try call.require(.pulls("WritePullRequest", call["repository"]))
            return call.json(MergeCreation.self, isOptional: true) { body in
                let pull = try catalog.pull(call["pull"], in: call["repository"])
                try call.require(.branch("CreateCommit", call["repository"], pull.destination))
                let (request, options) = try mergeRequest(body, by: call.user)
                return .json(200, MergeResult(reference: try catalog.mergePull(pull.id, request, options, in: call["repository"])))
            }
        }
    }
}
