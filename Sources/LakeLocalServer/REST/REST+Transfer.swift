import Foundations
import LakeAPI
import Transport
import Versioning

/// What brings whole trees in and out: imports, dumps and restores of refs, symlink files.
extension REST {
    func addTransfer(_ router: inout Router) {
        addImports(&router)
        addDumps(&router)
        router.on(.createSymlinkFile) { call in
            let prefix = call.key("location")
            return call.work {
                .json(
                    201,
                    API.StorageURI(
                        location: try catalog.writeSymlinks(prefix, of: call.branch.text, in: call.repository)))
            }
        }
    }

    private func addImports(_ router: inout Router) {
        router.on(.importStart) { call in
            call.json(API.ImportCreation.self, limit: Call.largestList) { body in
                var sources: [ImportSource] = []
                for place in body.paths {
                    guard let kind = ImportSource.Kind(rawValue: place.type) else {
                        throw LakeError(
                            .invalidValue,
                            "request body has an error: import type '\(place.type)' is not known: common_prefix or object are"
                        )
                    }
                    try call.require(
                        Permission("fs:ImportFromStorage", "arn:lakefs:fs:::namespace/\(place.path)"),
                        .object("WriteObject", call.repository, Key(place.destination)))
                    sources.append(ImportSource(kind: kind, address: place.path, destination: Key(place.destination)))
                }
                try call.require(
                    .branch("WriteObject", call.repository, call.branch),
                    .branch("CreateCommit", call.repository, call.branch))
                guard !sources.isEmpty else { throw LakeError(.invalidValue, "paths is empty: name what to import") }
                var request = CommitRequest(
                    committer: call.user, message: body.commit.message, metadata: Metadata(body.commit.metadata ?? [:]))
                request.date = try body.commit.date.map { try Timestamp(given: $0) }
                request.force = body.force ?? body.commit.force ?? false
                return .json(
                    202,
                    API.ImportCreationResponse(
                        id: try catalog.startImport(sources, request, on: call.branch, in: call.repository)))
            }
        }
        router.on(.importStatus) { call in
            let status = try catalog.importStatus(call.required("id"), in: call.repository)
            return .respond(
                .json(
                    200,
                    API.ImportStatus(
                        completed: status.isCompleted, updateTime: status.updated.rfc3339,
                        ingestedObjects: status.progress,
                        metarangeId: status.metaRangeID.isEmpty ? nil : status.metaRangeID,
                        commit: status.commit.map { message($0) },
                        error: status.error.isEmpty ? nil : API.Error(message: status.error))))
        }
        router.on(.importCancel) { call in
            let id = try call.required("id")
            return call.work {
                try catalog.cancelImport(id, in: call.repository)
                return .noContent
            }
        }
    }

    private func addDumps(_ router: inout Router) {
        @Sendable func refs(_ message: API.RefsRestore) -> RefsDump {
            RefsDump(
                commits: message.commitsMetaRangeId, tags: message.tagsMetaRangeId,
                branches: message.branchesMetaRangeId)
        }
        @Sendable func message(_ dump: RefsDump) -> API.RefsDump {
            API.RefsDump(
                commitsMetaRangeId: dump.commits, tagsMetaRangeId: dump.tags, branchesMetaRangeId: dump.branches)
        }
        router.on(.dumpRefs) { call in call.work { .json(201, message(try catalog.dumpRefs(of: call.repository))) } }
        router.on(.restoreRefs) { call in
            call.json(API.RefsRestore.self) { body in
                try catalog.restoreRefs(refs(body), in: call.repository, force: body.force ?? false)
                return Response(status: 200)
            }
        }
        router.on(.dumpSubmit) { call in
            call.work { .json(202, API.TaskInfo(id: try catalog.startDump(of: call.repository))) }
        }
        router.on(.dumpStatus) { call in
            call.now {
                let (task, dump) = try catalog.task(call.required("task_id"), .dump, in: call.repository)
                return .json(
                    200,
                    API.RepositoryDumpStatus(
                        id: task.id, done: task.isDone, updateTime: task.updated.rfc3339,
                        error: task.errorMessage.isEmpty ? nil : task.errorMessage, refs: dump.map { message($0) }))
            }
        }
        router.on(.restoreSubmit) { call in
            call.json(API.RefsRestore.self) { body in
                .json(
                    202,
                    API.TaskInfo(
                        id: try catalog.startRestore(refs(body), in: call.repository, force: body.force ?? false)))
            }
        }
        router.on(.restoreStatus) { call in
            call.now {
                let (task, _) = try catalog.task(call.required("task_id"), .restore, in: call.repository)
                return .json(
                    200,
                    API.RepositoryRestoreStatus(
                        id: task.id, done: task.isDone, updateTime: task.updated.rfc3339,
                        error: task.errorMessage.isEmpty ? nil : task.errorMessage))
            }
        }
    }
}
