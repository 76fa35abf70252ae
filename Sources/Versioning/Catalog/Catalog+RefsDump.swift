import FoundationEssentials
package import Foundations

/// Where the refs of a repository were written to: three metaranges. Source: `lakefs-formats.md` 7.14.
package struct RefsDump: Sendable, Equatable {
    package var commits: String
    package var tags: String
    package var branches: String
    package init(commits: String, tags: String, branches: String) {
        self.commits = commits
        self.tags = tags
        self.branches = branches
    }

    /// RepositoryDumpInfo.
    init(decoding bytes: [UInt8]) throws {
        self.init(commits: "", tags: "", branches: "")
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: commits = field.string
            case 2: tags = field.string
            case 3: branches = field.string
            default: break
            }
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, commits)
        writer.string(2, tags)
        writer.string(3, branches)
        return writer.bytes
    }

    /// What a manifest names; nil if it is none.
    init?(manifest: [UInt8]) {
        guard let names = try? JSONDecoder().decode([String: String].self, from: Data(manifest)),
            let commits = names["commits_meta_range_id"], let tags = names["tags_meta_range_id"],
            let branches = names["branches_meta_range_id"]
        else { return nil }
        self.init(commits: commits, tags: tags, branches: branches)
    }

    /// `_lakefs/refs_manifest.json`.
    var manifest: [UInt8] {
        Array(
            """
            {
              "branches_meta_range_id": "\(branches)",
              "commits_meta_range_id": "\(commits)",
              "tags_meta_range_id": "\(tags)"
            }
            """.utf8)
    }
}

extension Catalog {
    /// What a dumped table says about its records. Readers do not look at it.
    private enum DumpedKind: String {
        case commit, branch, tag

        var properties: [(String, String)] {
            let message = rawValue.prefix(1).uppercased() + rawValue.dropFirst() + "Data"
            return [
                ("entity", rawValue), ("schema_definition", schema(message)),
                ("schema_name", "io.treeverse.lakefs.graveler.\(message)"),
            ]
        }

        /// The message's DescriptorProto as JSON.
        private func schema(_ message: String) -> String {
            func field(_ number: Int, _ name: String, _ type: String, label: String = "OPTIONAL", typeName: String = "")
                -> String
            {
                let words = name.split(separator: "_")
                let json = words[0] + words.dropFirst().map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined()
                let typed = typeName.isEmpty ? "" : #","typeName":"\#(typeName)""#
                return
                    #"{"name":"\#(name)","number":\#(number),"label":"LABEL_\#(label)","type":"TYPE_\#(type)"\#(typed),"jsonName":"\#(json)"}"#
            }
            let package = ".io.treeverse.lakefs.graveler"
            let fields: [String]
            let nested: String
            switch self {
            case .commit:
                fields = [
                    field(1, "id", "STRING"), field(2, "committer", "STRING"), field(3, "message", "STRING"),
                    field(4, "creation_date", "MESSAGE", typeName: ".google.protobuf.Timestamp"),
                    field(5, "meta_range_id", "STRING"),
                    field(6, "metadata", "MESSAGE", label: "REPEATED", typeName: package + ".CommitData.MetadataEntry"),
                    field(7, "parents", "STRING", label: "REPEATED"), field(8, "version", "INT32"),
                    field(9, "generation", "INT32"),
                ]
                nested =
                    #","nestedType":[{"name":"MetadataEntry","field":[\#(field(1, "key", "STRING")),\#(field(2, "value", "STRING"))],"options":{"mapEntry":true}}]"#
            case .branch:
                fields = [
                    field(1, "id", "STRING"), field(2, "commit_id", "STRING"), field(3, "staging_token", "STRING"),
                    field(4, "sealed_tokens", "STRING", label: "REPEATED"), field(5, "hidden", "BOOL"),
                ]
                nested = ""
            case .tag:
                fields = [field(1, "id", "STRING"), field(2, "commit_id", "STRING")]
                nested = ""
            }
            return #"{"name":"\#(message)","field":[\#(fields.joined(separator: ","))]\#(nested)}"#
        }
    }

    private func dump(
        _ kind: DumpedKind, in repository: Repository,
        _ pages: (_ after: String) throws -> [(id: String, commitID: CommitID, data: [UInt8])]
    ) throws -> String {
        let writer = try MetaRangeWriter(store: committed, namespace: repository.namespace, properties: kind.properties)
        var after = ""
        while true {
            let page = try pages(after)
            guard let last = page.last else { return try writer.finish() }
            for record in page {
                try writer.add(
                    Array(record.id.utf8), Envelope(identity: Array(record.commitID.text.utf8), data: record.data).bytes
                )
            }
            after = last.id
        }
    }

    /// Writes branches, tags and commits as tables into the repository's namespace, beside the data that they name.
    private func dumpRefs(of repository: Repository) throws -> RefsDump {
        // Commits last: whatever a branch or tag names is among them then.
        let tags = try dump(.tag, in: repository) {
            try refs.tags(in: repository, prefix: "", after: $0, limit: 1000).map { ($0.id, $0.commitID, $0.encoded) }
        }
        let branches = try dump(.branch, in: repository) {
            try refs.branches(in: repository, prefix: "", after: $0, limit: 1000).map {
                ($0.id.text, $0.commitID, Branch(id: $0.id, commitID: $0.commitID, stagingToken: "").encoded)
            }
        }
        let commits = try dump(.commit, in: repository) { after in
            try refs.page(repository.partition, "commits/", prefix: "", after: after, limit: 1000).map { record in
                let id = String(record.key.description.dropFirst("commits/".count))
                return (id, CommitID(id), record.value)
            }
        }
        return RefsDump(commits: commits, tags: tags, branches: branches)
    }

    /// Dumps the refs, and names the tables in `_lakefs/refs_manifest.json`.
    package func dumpRefs(of repositoryID: RepositoryID) throws -> RefsDump {
        let repository = try repository(repositoryID)
        let dump = try dumpRefs(of: repository)
        try objects.put(dump.manifest, at: repository.namespace.location("_lakefs/refs_manifest.json"))
        return dump
    }

    /// The repository, if its refs may be restored.
    private func restorable(_ repositoryID: RepositoryID, force: Bool) throws -> Repository {
        let repository = try writableRepository(repositoryID, force: force)
        guard try refs.branch(repository.defaultBranch, in: repository) == nil else {
            throw LakeError(
                .invalidValue,
                "can only restore into a bare repository: \(repositoryID) has a branch \(repository.defaultBranch)")
        }
        return repository
    }

    /// Reads dumped refs into a bare repository.
    package func restoreRefs(_ dump: RefsDump, in repositoryID: RepositoryID, force: Bool) throws {
        try restoreRefs(dump, in: restorable(repositoryID, force: force))
    }

    private func restoreRefs(_ dump: RefsDump, in repository: Repository) throws {
        let partition = repository.partition
        let namespace = try repository.namespace
        func records(_ metaRange: String, _ body: (Key, [UInt8]) throws -> Void) throws {
            guard metaRange.isEmpty || Names.isHex(metaRange, 64...64) else {
                throw LakeError(.invalidValue, "metarange '\(metaRange)' is not valid: 64 hex digits are")
            }
            guard try metaRange.isEmpty || committed.exists(metaRange, in: namespace) else {
                throw LakeError(.dataGone, "No data: metarange \(metaRange) is not in \(namespace)")
            }
            let cursor = try committed.scan(metaRange, in: namespace)
            while try cursor.nextRecord() { try body(Key(cursor.key!), Array(cursor.envelope().data)) }
        }
        func malformed(_ what: String, _ key: Key) -> LakeError {
            LakeError(.corrupt, "the dumped \(what) \(key) is not what its content says")
        }
        var batch: [Mutation] = []
        func flush(atLeast count: Int) throws {
            guard batch.count >= count, !batch.isEmpty else { return }
            try store.writeMany(batch, .eventual)
            batch = []
        }
        try records(dump.commits) { key, data in
            let commit = try Commit(decoding: data)
            guard (1...Commit.largestGeneration).contains(commit.generation), Key(commit.id.text) == key else {
                throw malformed("commit", key)
            }
            batch.append(.set(partition, Key("commits/\(commit.id)"), data))
            try flush(atLeast: 1000)
        }
        try flush(atLeast: 0)
        try records(dump.tags) { key, data in
            let tag = try Tag(decoding: data)
            guard Key(tag.id) == key, try refs.findCommit(tag.commitID, in: repository) != nil else {
                throw malformed("tag", key)
            }
            batch.append(.set(partition, Key("tags/\(tag.id)"), tag.encoded))
            try flush(atLeast: 1000)
        }
        var defaultBranch: Branch?
        try records(dump.branches) { key, data in
            let dumped = try Branch(decoding: data)
            guard Key(dumped.id.text) == key, try refs.findCommit(dumped.commitID, in: repository) != nil else {
                throw malformed("branch", key)
            }
            let branch = Branch(
                id: dumped.id, commitID: dumped.commitID, stagingToken: RefStore.newToken(repository, dumped.id))
            if branch.id == repository.defaultBranch {
                defaultBranch = branch
            } else {
                batch.append(.set(partition, Key("branches/\(branch.id)"), branch.encoded))
            }
            try flush(atLeast: 1000)
        }
        try flush(atLeast: 0)
        // With this one the repository is no bare one any more: until then all can be done again.
        if let defaultBranch { _ = try refs.setBranch(defaultBranch, in: repository, if: nil) }
        publish(Change(repository: repository.id, branch: nil, kind: .everything))
    }

    // MARK: as tasks

    func start(
        _ kind: TaskRecord.Kind, in repository: Repository, status: @escaping @Sendable (LakeError) -> Int,
        _ work: @escaping @Sendable () throws -> [UInt8]?
    ) throws -> String {
        try refs.removeEnded(in: repository)
        try enter(repository.id)  // Shows the others that whoever owns the task lives.
        let task = TaskRecord(
            id: TaskRecord.makeID(kind), updated: .now(), operation: kind.rawValue, owner: instanceID)
        try refs.setTask(task, in: repository)
        tasks.run { [self] in
            var ended = task
            do { ended.info = try work() } catch {
                let error = LakeError(error)
                ended.errorMessage = error.code == .dataGone ? "No data" : error.message
                ended.statusCode = Int64(status(error))
            }
            ended.isDone = true
            ended.updated = .now()
            // If even this cannot be stored, the task shows as one that was never finished.
            try? refs.setTask(ended, in: repository, if: .present)
        }
        return task.id
    }

    /// Starts a dump and returns its task's id.
    package func startDump(of repositoryID: RepositoryID) throws -> String {
        let repository = try repository(repositoryID)
        return try start(.dump, in: repository, status: Self.status) { [self] in
            try dumpRefs(of: repository).encoded
        }
    }

    /// Starts a restore and returns its task's id.
    package func startRestore(_ dump: RefsDump, in repositoryID: RepositoryID, force: Bool) throws -> String {
        let repository = try restorable(repositoryID, force: force)
        return try start(.restore, in: repository, status: Self.status) { [self] in
            try restoreRefs(dump, in: repository)
            return nil
        }
    }

    /// As lakeFS tells what went wrong with dumps and restores.
    private static func status(_ error: LakeError) -> Int { error.code == .dataGone ? 410 : 500 }

    /// Starts what makes a commit and returns its task's id.
    /// - Parameter status: the HTTP status that tells an error.
    package func start(
        _ kind: TaskRecord.Kind, in repositoryID: RepositoryID, status: @escaping @Sendable (LakeError) -> Int,
        making work: @escaping @Sendable () throws -> CommitID
    ) throws -> String {
        try start(kind, in: repository(repositoryID), status: status) { Array(try work().text.utf8) }
    }

    /// A task that makes a commit, and the commit when it is there.
    package func commitTask(
        _ id: String, _ kind: TaskRecord.Kind, on branch: BranchName, in repositoryID: RepositoryID
    ) throws -> (task: TaskRecord, commitID: CommitID?) {
        _ = try self.branch(branch, in: repository(repositoryID))
        let task = try find(id, kind, in: repositoryID)
        return (task, task.info.map { CommitID(String(decoding: $0, as: UTF8.self)) })
    }

    /// A task that dumps or restores refs, and the refs that a dump wrote.
    package func task(_ id: String, _ kind: TaskRecord.Kind, in repositoryID: RepositoryID) throws -> (
        task: TaskRecord, dump: RefsDump?
    ) {
        let task = try find(id, kind, in: repositoryID)
        return (task, try task.info.map { try RefsDump(decoding: $0) })
    }

    func find(_ id: String, _ kind: TaskRecord.Kind, in repositoryID: RepositoryID) throws -> TaskRecord {
        guard var task = try refs.task(id, in: repository(repositoryID)), task.operation == kind.rawValue else {
            throw LakeError.notFound(.task, id)
        }
        if try !task.isDone && isGone(task.owner) {
            task.isDone = true
            task.statusCode = 500
            task.errorMessage = "interrupted: its server stopped"
        }
        return task
    }
}
