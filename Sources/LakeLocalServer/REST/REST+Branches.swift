import Foundations
import LakeAPI
import Transport
import Versioning

extension REST {
    func addBranches(_ router: inout Router) {
        router.on(.listBranches) { call in
            let page = try catalog.listBranches(
                call.repository, prefix: call.text("prefix") ?? "", after: call.text("after") ?? "",
                limit: call.amount(), showHidden: call.flag("show_hidden"))
            return .respond(.json(200, ResultList(page, next: \.id) { API.Ref($0) }))
        }
        router.on(.createBranch) { call in
            call.json(API.BranchCreation.self) { body in
                let name = BranchName(body.name)
                try call.require(.branch("CreateBranch", call.repository, name))
                let commit = try catalog.createBranch(
                    name, from: body.source, in: call.repository, isHidden: body.hidden ?? false,
                    force: body.force ?? false, by: call.user)
                return .text(201, commit.text, type: "text/plain; charset=utf-8")
            }
        }
        router.on(.getBranch) { call in
            let found = try catalog.branch(call.branch, in: call.repository)
            return .respond(.json(200, API.Ref(found)))
        }
        router.on(.deleteBranch) { call in
            let force = try call.flag("force") as Bool
            return call.work {
                try call.branch.check()
                // lakeFS answers 403 here, not the 401 of a missing permission.
                guard try catalog.repository(call.repository).defaultBranch != call.branch else {
                    return .failure(403, "branch \(call.branch) is the default branch: it cannot be deleted")
                }
                try catalog.deleteBranch(call.branch, in: call.repository, force: force, by: call.user)
                return .noContent
            }
        }
        router.on(.resetBranch) { call in
            return call.json(API.ResetCreation.self) { body in
                let force = body.force ?? false
                switch body.type {
                case "reset": try catalog.resetBranch(call.branch, in: call.repository, force: force)
                case "object":
                    guard let path = body.path else {
                        throw LakeError(.invalidValue, "reset of an object needs a path")
                    }
                    try catalog.resetObject(Key(path), on: call.branch, in: call.repository, force: force)
                case "common_prefix":
                    try catalog.resetPrefix(
                        Key(body.path ?? ""), on: call.branch, in: call.repository, force: force)
                default:
                    throw LakeError(
                        .invalidValue, "reset type '\(body.type)' is not known: object, common_prefix or reset are")
                }
                return .noContent
            }
        }
        router.on(.hardResetBranch) { call in
            let ref = try call.required("ref")
            let force = try call.flag("force") as Bool
            return call.work {
                try catalog.hardReset(call.branch, to: ref, in: call.repository, force: force)
                return .noContent
            }
        }
        router.on(.revertBranch) { call in
            return call.json(API.RevertCreation.self) { body in
                var request = CommitRequest(
                    committer: call.user, message: body.commitOverrides?.message ?? "",
                    metadata: Metadata(body.commitOverrides?.metadata ?? [:]))
                request.allowEmpty = body.allowEmpty ?? false
                request.force = body.force ?? false
                guard body.parentNumber >= 0 else {
                    throw LakeError(.invalidValue, "parent number \(body.parentNumber) is not valid: 0 or more is")
                }
                _ = try catalog.revert(
                    body.ref, parentNumber: body.parentNumber, on: call.branch, request, in: call.repository)
                return .noContent
            }
        }
        router.on(.cherryPick) { call in
            return call.json(API.CherryPickCreation.self) { body in
                let overrides = body.commitOverrides
                let made = try catalog.cherryPick(
                    body.ref, parentNumber: body.parentNumber, on: call.branch, committer: call.user,
                    message: overrides?.message.flatMap { $0.isEmpty ? nil : $0 },
                    metadata: overrides?.metadata.map { Metadata($0) }, force: body.force ?? false,
                    in: call.repository)
                return .json(201, message(made))
            }
        }
        router.on(.diffBranch) { call in
            let page = try catalog.diffUncommitted(call.branch, in: call.repository, diffQuery(call))
            // Ours, as for diffs of refs: who follows a branch sees what changed of a path that was changed before.
            return .respond(
                .json(200, written: list(page, isUncommitted: true, withRight: try call.flag("include_right_stats"))))
        }
    }

    func diffQuery(_ call: Call) throws -> Catalog.DiffQuery {
        var query = Catalog.DiffQuery()
        query.prefix = call.key("prefix")
        query.delimiter = call.key("delimiter")
        query.after = PageToken.key(call.key("after"))
        query.limit = try call.amount()
        return query
    }

    /// A page of a diff.
    func list(_ page: Page<DiffEntry>, isUncommitted: Bool = false, withRight: Bool = false) -> [UInt8] {
        JSONWriter.list(page.items, hasMore: page.hasMore, next: { PageToken.text($0.path) }) { json, entry in
            let isPrefix = entry.kind == .prefixChanged
            // lakeFS tells it of the left side where there is no right one, but not for uncommitted changes.
            let told = entry.right ?? (isUncommitted ? nil : entry.left)
            json.object { json in
                json.member("path", entry.path.description)
                json.member("path_type", isPrefix ? "common_prefix" : "object")
                if withRight, !isPrefix, let told {
                    json.name("right")
                    json.object { json in
                        json.member("checksum", told.eTag)
                        json.member("content_type", told.contentType)
                        json.member("metadata", told.metadata.dictionary)
                        json.member("mtime", told.lastModified.seconds)
                        json.member("size_bytes", told.size)
                    }
                }
                if !isPrefix { json.member("size_bytes", told?.size ?? 0) }
                json.member("type", entry.kind.rawValue)
            }
        }
    }

    func message(_ made: (id: CommitID, commit: Commit)) -> API.Commit {
        API.Commit(
            id: made.id.text, parents: made.commit.parents.map(\.text), committer: made.commit.committer,
            message: made.commit.message,
            creationDate: made.commit.creationDate.seconds,
            metaRangeId: made.commit.metaRangeID, metadata: made.commit.metadata.dictionary,
            generation: Int64(made.commit.generation), version: Int(made.commit.version))
    }
}

extension API.Ref {
    init(_ branch: Branch) { self.init(id: branch.id.text, commitId: branch.commitID.text) }
    init(_ tag: Tag) { self.init(id: tag.id, commitId: tag.commitID.text) }
}
