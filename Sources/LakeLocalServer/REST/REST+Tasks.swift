import Foundations
import LakeAPI
import Versioning

extension REST {
    /// Commits and merges that nobody waits for: begun here, asked for later.
    func addTasks(_ router: inout Router) {
        router.on(.commitAsync) { call in
            let source = try call.nonempty("source_metarange").first?.description
            return call.json(API.CommitCreation.self) { body in
                let request = try commitRequest(body, source, by: call.user)
                _ = try catalog.checkWritable(call.branch, in: call.repository, force: request.force)
                return try begun(.commit, call) {
                    try catalog.commit(request, on: call.branch, in: call.repository).id
                }
            }
        }
        router.on(.commitAsyncStatus) { call in
            call.now {
                let (task, id) = try catalog.commitTask(call[.id], .commit, on: call.branch, in: call.repository)
                return .json(
                    200,
                    API.CommitAsyncStatus(
                        taskId: task.id, completed: task.isDone, updateTime: task.updated.rfc3339,
                        error: error(of: task),
                        statusCode: statusCode(of: task),
                        result: try id.map { message(try catalog.commit($0.text, in: call.repository)) }))
            }
        }
        router.on(.mergeIntoBranchAsync) { call in
            call.json(API.Merge.self, isOptional: true) { body in
                let (request, options) = try mergeRequest(body, by: call.user)
                _ = try catalog.resolve(call[.sourceRef], in: call.repository)
                _ = try catalog.branch(call.destinationBranch, in: call.repository)
                return try begun(.merge, call) {
                    try catalog.merge(
                        call[.sourceRef], into: call.destinationBranch, request, options, in: call.repository)
                }
            }
        }
        router.on(.mergeIntoBranchAsyncStatus) { call in
            call.now {
                let (task, id) = try catalog.commitTask(
                    call[.id], .merge, on: call.destinationBranch, in: call.repository)
                return .json(
                    200,
                    API.MergeAsyncStatus(
                        taskId: task.id, completed: task.isDone, updateTime: task.updated.rfc3339,
                        error: error(of: task),
                        statusCode: statusCode(of: task), result: id.map { API.MergeResult(reference: $0.text) }))
            }
        }
    }

    private func begun(_ kind: TaskRecord.Kind, _ call: Call, _ work: @escaping @Sendable () throws -> CommitID) throws
        -> Response
    {
        .json(
            202,
            API.TaskCreation(
                id: try catalog.start(
                    kind, in: call.repository, status: { Response.status(of: $0) }, making: work)))
    }

    func error(of task: TaskRecord) -> API.Error? {
        task.errorMessage.isEmpty ? nil : API.Error(message: task.errorMessage)
    }

    private func statusCode(of task: TaskRecord) -> Int? { task.statusCode == 0 ? nil : Int(task.statusCode) }
}
