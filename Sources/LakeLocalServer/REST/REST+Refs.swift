import Foundations
import LakeAPI
import Transport
import Versioning

extension REST {
    /// Tags, merges and diffs of refs.
    func addRefs(_ router: inout Router) {
        router.on(.listTags) { call in
            let page = try catalog.listTags(
                call.repository, prefix: call.text("prefix") ?? "", after: call.text("after") ?? "",
                limit: call.amount())
            return .respond(.json(200, ResultList(page, next: \.id) { API.Ref($0) }))
        }
        router.on(.createTag) { call in
            call.json(API.TagCreation.self) { body in
                try call.require(.tag("CreateTag", call.repository, body.id))
                let made = try catalog.createTag(
                    body.id, at: body.ref, in: call.repository, force: body.force ?? false, by: call.user)
                return .json(201, API.Ref(made))
            }
        }
        router.on(.getTag) { call in
            let found = try catalog.tag(call[.tag], in: call.repository)
            return .respond(.json(200, API.Ref(found)))
        }
        router.on(.deleteTag) { call in
            let force = try call.flag("force") as Bool
            return call.work {
                try catalog.deleteTag(call[.tag], in: call.repository, force: force, by: call.user)
                return .noContent
            }
        }
        router.on(.findMergeBase) { call in
            return call.work {
                // lakeFS tells the two the other way round, and its clients know it so.
                let found = try catalog.mergeBase(call[.sourceRef], call[.destinationBranch], in: call.repository)
                return .json(
                    200,
                    API.FindMergeBaseResult(
                        sourceCommitId: found.destination.text, destinationCommitId: found.source.text,
                        baseCommitId: found.base.text))
            }
        }
        router.on(.mergeIntoBranch) { call in
            return call.json(API.Merge.self, isOptional: true) { body in
                let (request, options) = try mergeRequest(body, by: call.user)
                return .json(
                    200,
                    API.MergeResult(
                        reference: try catalog.merge(
                            call[.sourceRef], into: call.destinationBranch, request, options, in: call.repository
                        ).text))
            }
        }
        router.on(.diffRefs) { call in
            let isThreeDot = call.text("type") != "two_dot"
            let query = try diffQuery(call)
            let withRight = try call.flag("include_right_stats") as Bool
            return call.work {
                let page = try catalog.diff(
                    call[.leftRef], call[.rightRef], isThreeDot: isThreeDot, in: call.repository, query)
                return .json(200, written: list(page, withRight: withRight))
            }
        }
    }

    /// What a merge's body asks for.
    func mergeRequest(_ body: API.Merge, by user: String) throws -> (CommitRequest, Catalog.MergeOptions) {
        var options = Catalog.MergeOptions()
        guard let strategy = MergeStrategy(rawValue: body.strategy ?? "") else {
            throw LakeError(
                .invalidValue, "merge strategy '\(body.strategy ?? "")' is not known: dest-wins or source-wins are")
        }
        options.strategy = strategy
        options.squash = body.squashMerge ?? false
        options.allowEmpty = body.allowEmpty ?? false
        options.force = body.force ?? false
        return (
            CommitRequest(committer: user, message: body.message ?? "", metadata: Metadata(body.metadata ?? [:])),
            options
        )
    }

    /// The time of a commit: whatever lakeFS takes, far from any year that clients can show; but no number that JSON
    /// does not carry whole (RFC 8259, 6).
    private static func time(_ seconds: Int64) throws -> Timestamp {
        guard seconds.magnitude <= 1 << 53 else {
            throw LakeError(.invalidValue, "date \(seconds) is too far from 1970: 2^53 seconds at most")
        }
        return Timestamp(seconds: seconds)
    }

    /// What a commit's body asks for.
    /// - Parameter source: the metarange that becomes the commit's; nil for the branch's changes.
    func commitRequest(_ body: API.CommitCreation, _ source: String?, by user: String) throws -> CommitRequest {
        var request = CommitRequest(
            committer: user, message: body.message, metadata: Metadata(body.metadata ?? [:]))
        request.date = try body.date.map { try Self.time($0) }
        request.allowEmpty = body.allowEmpty ?? false
        request.force = body.force ?? false
        request.sourceMetaRange = source
        return request
    }

    func addCommits(_ router: inout Router) {
        router.on(.commit) { call in
            let source = try call.nonempty("source_metarange").first?.description
            return call.json(API.CommitCreation.self) { body in
                let request = try commitRequest(body, source, by: call.user)
                return .json(201, message(try catalog.commit(request, on: call.branch, in: call.repository)))
            }
        }
        router.on(.createCommitRecord) { call in
            return call.json(API.CommitRecordCreation.self) { body in
                var commit = Commit(
                    committer: body.committer, message: body.message,
                    creationDate: try Self.time(body.creationDate), metaRangeID: body.metarangeId,
                    metadata: Metadata(body.metadata ?? [:]), parents: body.parents.map { CommitID($0) },
                    generation: Int32(clamping: body.generation))
                commit.version = Int32(clamping: body.version)
                try catalog.addCommitRecord(
                    commit, id: CommitID(body.commitId), in: call.repository, force: body.force ?? false)
                return .noContent
            }
        }
        router.on(.getCommit) { call in
            return .respond(.json(200, message(try catalog.commit(call[.commitId], in: call.repository))))
        }
        router.on(.logCommits) { call in
            var query = Catalog.LogQuery()
            query.after = call.text("after") ?? ""
            query.limit = try call.amount()
            query.objects = try call.nonempty("objects")
            query.prefixes = try call.nonempty("prefixes")
            query.isLimit = try call.flag("limit")
            query.firstParentOnly = try call.flag("first_parent")
            query.stopAt = call.text("stop_at").flatMap { $0.isEmpty ? nil : $0 }
            if let since = try call.time("since") { query.since = since }
            return call.work { [query] in
                let page = try catalog.log(call[.ref], in: call.repository, query)
                return .json(200, ResultList(page, next: \.id) { message($0) })
            }
        }
    }
}
