import Foundations
import LakeAPI
import Transport
import Versioning

extension REST {
    private func message(_ repository: Repository) -> API.Repository {
        API.Repository(
            id: repository.id.text, creationDate: repository.creationDate.seconds,
            defaultBranch: repository.defaultBranch.text,
            storageId: repository.storageID,
            storageNamespace: repository.storageNamespace, readOnly: repository.isReadOnly)
    }

    func addRepositories(_ router: inout Router) {
        router.on(.listRepositories) { call in
            // Those that may be listed are; 401 is for who may list none.
            try access.requireSome(
                "fs:ListRepositories", below: Permission.repository("", "").resource, for: call.caller)
            let page = try catalog.listRepositories(
                prefix: call.text("prefix") ?? "", after: call.text("after") ?? "", limit: call.amount(),
                matching: call.text("search") ?? ""
            ) {
                try access.isAllowed(.repository("ListRepositories", $0.id), for: call.caller)
            }
            return .respond(.json(200, ResultList(page, next: \.id) { message($0) }))
        }
        router.on(.createRepository) { call in
            let isBare = try call.flag("bare") as Bool
            return call.json(API.RepositoryCreation.self) { body in
                try call.require(
                    Permission("fs:AttachStorageNamespace", "arn:lakefs:fs:::namespace/\(body.storageNamespace)"),
                    .repository("CreateRepository", RepositoryID(body.name)))
                let id = body.storageId.flatMap { $0.isEmpty ? nil : $0 } ?? settings.stores[0].id
                guard let store = settings.store(id) else {
                    let known = settings.stores.map(\.id).filter { !$0.isEmpty }
                    throw LakeError(
                        .invalidValue,
                        "storage id '\(id)' is not known: \(known.isEmpty ? "this server has one store, without an id" : "\(known.joined(separator: ", ")) are")"
                    )
                }
                let defaultBranch = body.defaultBranch.flatMap { $0.isEmpty ? nil : $0 } ?? "main"
                let made = try catalog.createRepository(
                    RepositoryID(body.name), storageNamespace: body.storageNamespace,
                    defaultBranch: BranchName(defaultBranch),
                    isReadOnly: body.readOnly ?? false, isBare: isBare, schemes: [store.scheme],
                    storageID: store.id
                ) {
                    // What is restored from another's objects can be read by who restores it.
                    access.mountRights(of: call.caller, in: $0).isFree()
                }
                if body.sampleData == true && !isBare { try catalog.addSampleData(to: made.id, committer: call.user) }
                return .json(201, message(made))
            }
        }
        router.on(.getRepository) { call in
            return .respond(.json(200, message(try catalog.repository(call.repository))))
        }
        router.on(.deleteRepository) { call in
            let force = try call.flag("force") as Bool
            return call.work {
                try catalog.deleteRepository(call.repository, force: force)
                return .noContent
            }
        }
        router.on(.getRepositoryMetadata) { call in
            return .respond(.json(200, try catalog.repositoryMetadata(call.repository).dictionary))
        }
        router.on(.setRepositoryMetadata) { call in
            return call.json(API.RepositoryMetadataSet.self) { body in
                try catalog.updateRepositoryMetadata(call.repository, force: true) { metadata in
                    for (key, value) in body.metadata { metadata[key] = value }
                }
                return .noContent
            }
        }
        router.on(.deleteRepositoryMetadata) { call in
            return call.json(API.RepositoryMetadataKeys.self) { body in
                try catalog.updateRepositoryMetadata(call.repository, force: true) { metadata in
                    for key in body.keys { metadata[key] = nil }
                }
                return .noContent
            }
        }
    }

    /// Raw ranges and metaranges.
    func addMetadata(_ router: inout Router) {
        @Sendable func location(_ call: Call, _ id: String) throws -> ObjectLocation {
            let namespace = try catalog.repository(call.repository).namespace
            guard try catalog.committed.exists(id, in: namespace) else { throw LakeError.notFound(.metaRange, id) }
            return namespace.location("_lakefs/" + id)
        }
        for (operation, part) in [(Operation.getMetaRange, PathPart.metaRange), (.getRange, .range)] {
            router.on(operation) { call in
                let id = call[part]
                _ = try location(call, id)
                var response = Response.json(200, API.StorageURI(location: "_lakefs/" + id))
                response.headers.append(("Location", "_lakefs/" + id))
                return .respond(response)
            }
        }
        router.on(.getMetadataObject) { call in
            guard call[.type] == "range" || call[.type] == "meta_range" else {
                throw LakeError(.invalidValue, "type '\(call[.type])' is not known: range or meta_range are")
            }
            guard try call.flag("presign") != true else {
                throw LakeError(.invalidValue, "presigned URL: operation not supported on this block store")
            }
            let body = try ObjectBody.make(catalog.objects, tableAt: location(call, call[.objectId]))
            return .respond(Response(status: 200, headers: [("Content-Type", "application/octet-stream")], body: body))
        }
    }
}
