import Foundations
import LakeAPI
import Versioning

extension REST {
    /// What garbage collection asks for before it removes anything.
    func addCollection(_ router: inout Router) {
        router.on(.prepareGarbageCollectionCommits) { call in
            call.work { .json(201, try prepared(try catalog.prepareCollectionOfCommits(in: call.repository), call)) }
        }
        router.on(.prepareGarbageCollectionCommitsAsync) { call in
            call.work { .json(202, API.TaskCreation(id: try catalog.startCollectionOfCommits(in: call.repository))) }
        }
        router.on(.prepareGarbageCollectionCommitsStatus) { call in
            call.now {
                let (task, run) = try catalog.collectionTask(call.required("id"), in: call.repository)
                return .json(
                    200,
                    API.PrepareGarbageCollectionCommitsStatus(
                        taskId: task.id, completed: task.isDone, updateTime: task.updated.rfc3339,
                        result: try run.map { try prepared($0, call) },
                        error: error(of: task)))
            }
        }
        router.on(.prepareGarbageCollectionUncommitted) { call in
            call.json(API.PrepareGCUncommittedRequest.self, isOptional: true) { body in
                let position = try body.continuationToken.flatMap { $0.isEmpty ? nil : try Self.position($0) }
                let made = try catalog.prepareCollectionOfUncommitted(in: call.repository, from: position)
                return .json(
                    201,
                    API.PrepareGCUncommittedResponse(
                        runId: made.run, gcUncommittedLocation: "\(made.location)",
                        continuationToken: made.next.map { Self.token($0) }))
            }
        }
    }

    private func prepared(_ run: CollectionRun, _ call: Call) throws -> API.GarbageCollectionPrepareResponse {
        API.GarbageCollectionPrepareResponse(
            runId: run.id, gcCommitsLocation: "\(run.commits)", gcAddressesLocation: "\(run.addresses)",
            gcCommitsPresignedUrl: try links.link(to: run.commits, for: .read, call.request).url)
    }

    private static func token(_ position: CollectionPosition) -> String {
        [Array(position.run.utf8), Array(position.branch.utf8), position.key.bytes].map { Base64.encodeURL($0) }.joined(
            separator: ".")
    }

    private static func position(_ token: String) throws -> CollectionPosition {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false).compactMap { Base64.decode($0) }
        let run = parts.first.map { String(decoding: $0, as: UTF8.self) } ?? ""
        guard parts.count == 3, XID.bytes(run) != nil else {
            throw LakeError(.invalidValue, "continuation_token is none of this server's")
        }
        return CollectionPosition(run: run, branch: String(decoding: parts[1], as: UTF8.self), key: Key(parts[2]))
    }
}
