package import Foundations

/// Where a run of garbage collection finds what it may not remove.
package struct CollectionRun: Sendable, Equatable {
    package let id: String
    package let commits: ObjectLocation, addresses: ObjectLocation

    /// As a task's record has it. Source: `lakefs-formats.md` 5.6, GarbageCollectionPrepareCommitsInfo.
    init?(decoding bytes: [UInt8], in store: String) throws {
        var fields = ["", "", ""]
        try readProtobuf(bytes) { field in if (1...3).contains(field.number) { fields[field.number - 1] = field.string }
        }
        guard let commits = ObjectLocation(address: fields[1], store: store),
            let addresses = ObjectLocation(address: fields[2], store: store)
        else { return nil }
        (id, self.commits, self.addresses) = (fields[0], commits, addresses)
    }

    init(id: String, in namespace: StorageNamespace) {
        self.id = id
        commits = namespace.location("_lakefs/retention/gc/commits/run_id=\(id)/commits.csv")
        addresses = namespace.location("_lakefs/retention/gc/addresses/")
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, id)
        writer.string(2, "\(commits)")
        writer.string(3, "\(addresses)")
        return writer.bytes
    }
}

/// What garbage collection asks a server to write down before it removes anything: the commits whose objects stay, and
/// the objects of uncommitted changes. Source: `lakefs-formats.md` 7.16 and section 2.
extension Catalog {
    /// The first half of a commit's id: two commits that share it are not to be expected in any repository.
    private struct ShortID: Hashable {
        let high: UInt64, low: UInt64
        init(_ id: CommitID) {
            let digits = Array(id.text.utf8.prefix(32))
            let bytes = Hex.bytes(digits) ?? Hash.digest(.sha256, Array(id.text.utf8))
            func number(_ range: Range<Int>) -> UInt64 { bytes[range].reduce(0) { $0 << 8 | UInt64($1) } }
            (high, low) = (number(0..<8), number(8..<16))
        }
    }

    /// The parent that a branch came from. Before version 1 of commits it was the last.
    private static func mainParent(of commit: Commit) -> CommitID? {
        commit.version == 0 && commit.parents.count > 1 ? commit.parents.last : commit.parents.first
    }

    /// Writes down the commits whose objects stay.
    /// - Throws: `.notFound(.rule)` if the repository has no rules.
    package func prepareCollectionOfCommits(in repositoryID: RepositoryID) throws -> CollectionRun {
        let repository = try repository(repositoryID)
        let run = try CollectionRun(id: XID.make(), in: repository.namespace)
        let active = try activeCommits(in: repository, garbageCollectionRules(repositoryID))
        let writer = try objects.makeWriter(run.commits)
        do {
            try writer.write(Array("commit_id,expired,metarange_id\n".utf8))
            for id in active.sorted(by: { $0.text < $1.text }) {
                let commit = try refs.commit(id, in: repository)
                try writer.write(Array("\(id),false,\(commit.metaRangeID)\n".utf8))
            }
            _ = try writer.finish(.durable)
        } catch {
            writer.abort()
            throw error
        }
        return run
    }

    /// Starts the same as a task, and returns its id.
    package func startCollectionOfCommits(in repositoryID: RepositoryID) throws -> String {
        try start(.collection, in: repository(repositoryID), status: { _ in 500 }) { [self] in
            try prepareCollectionOfCommits(in: repositoryID).encoded
        }
    }

    /// A task of that kind, and where it wrote to when it is done.
    package func collectionTask(_ id: String, in repositoryID: RepositoryID) throws -> (
        task: TaskRecord, run: CollectionRun?
    ) {
        let task = try find(id, .collection, in: repositoryID)
        return (task, try task.info.flatMap { try CollectionRun(decoding: $0, in: repository(repositoryID).storageID) })
    }

    /// Commits that rules keep, and those that they do not, without anything being written.
    package func simulateCollection(in repositoryID: RepositoryID, _ rules: GarbageCollectionRules) throws -> (
        kept: [CommitID], expired: [CommitID]
    ) {
        let repository = try repository(repositoryID)
        let active = try activeCommits(in: repository, rules)
        var expired: [CommitID] = []
        let folder = Key("commits/")
        var cursor = PartitionCursor(store, repository.partition, from: folder, before: folder.upperBound)
        while let record = try cursor.current() {
            cursor.advance()
            let id = CommitID(String(record.key.description.dropFirst(folder.bytes.count)))
            if !active.contains(id) { expired.append(id) }
        }
        return (active.sorted(), expired)
    }

    private func activeCommits(in repository: Repository, _ rules: GarbageCollectionRules) throws -> Set<CommitID> {
        let now = Timestamp.now().seconds
        func threshold(_ days: Int) -> Int64 { now - Int64(days) * 86_400 }
        var active: Set<CommitID> = []
        // From which threshold on what lies behind a commit was looked at.
        var visited: [ShortID: Int64] = [:]

        func walk(from start: CommitID, _ threshold: Int64) throws {
            var commit = try refs.commit(start, in: repository)
            while let id = Self.mainParent(of: commit) {
                if let seen = visited[ShortID(id)], seen <= threshold { return }
                visited[ShortID(id)] = threshold
                // The first one that is older stays too: it is what the branch looked like when the time began.
                if commit.creationDate.seconds > threshold { active.insert(id) }
                guard let parent = try refs.findCommit(id, in: repository) else { return }
                // Clocks and clients may date a child before its parent: what is young itself stays too.
                if parent.creationDate.seconds > threshold { active.insert(id) }
                commit = parent
            }
        }

        let days = Dictionary(rules.branches.map { ($0.id, $0.days) }) { first, _ in first }
        var after = ""
        while true {
            let branches = try refs.branches(in: repository, prefix: "", after: after, limit: 1000)
            for branch in branches where !branch.commitID.text.isEmpty {
                active.insert(branch.commitID)
                try walk(from: branch.commitID, threshold(Int(days[branch.id] ?? rules.defaultDays)))
            }
            guard branches.count == 1000, let last = branches.last else { break }
            after = last.id.text
        }
        // Commits that no branch comes from any more, tagged ones among them.
        var parents: Set<ShortID> = []
        try eachCommit(in: repository) { _, commit in
            if let parent = Self.mainParent(of: commit) { parents.insert(ShortID(parent)) }
        }
        let limit = threshold(Int(rules.defaultDays))
        try eachCommit(in: repository) { id, commit in
            guard !parents.contains(ShortID(id)), !active.contains(id) else { return }
            if commit.creationDate.seconds > limit { active.insert(id) }
            try walk(from: id, limit)
        }
        return active
    }

    private func eachCommit(in repository: Repository, _ body: (CommitID, Commit) throws -> Void) throws {
        let prefix: Key = "commits/"
        var cursor = PartitionCursor(store, repository.partition, from: prefix, before: prefix.upperBound)
        while let record = try cursor.current() {
            let id = CommitID(String(decoding: record.key.bytes.dropFirst(prefix.count), as: UTF8.self))
            do { try body(id, Commit(decoding: record.value)) } catch is ProtobufError {
                throw LakeError(.corrupt, "commit \(id) is no message")
            }
            cursor.advance()
        }
    }

    /// Bytes of one file of addresses.
    private static let largestAddresses = 20 << 20

    /// Writes down some of the objects of uncommitted changes.
    /// - Parameter position: where the last call ended; nil for the beginning of a run.
    /// - Returns: the folder of the run's files, and where to go on; nil at the end.
    package func prepareCollectionOfUncommitted(in repositoryID: RepositoryID, from position: CollectionPosition?)
        throws
        -> (run: String, location: ObjectLocation, next: CollectionPosition?)
    {
        let repository = try repository(repositoryID)
        let namespace = try repository.namespace
        let run = position?.run ?? XID.make()
        let folder = "_lakefs/retention/gc/uncommitted/\(run)/uncommitted/"
        var file = ParquetWriter(text: "physical_address", number: "creation_date")
        var branchName = position?.branch ?? ""
        var key = position?.key
        var next: CollectionPosition?
        walk: while true {
            // The branch that was left off at, then those behind it.
            let branches =
                try key == nil
                ? refs.branches(in: repository, prefix: "", after: branchName, limit: 1)
                : [branch(BranchName(branchName), in: repository).branch]
            guard let branch = branches.first else { break }
            var cursor = StagingCursor(store, tokens: branch.tokens, from: key)
            while let staged = try cursor.current() {
                if file.byteCount > Self.largestAddresses {
                    next = CollectionPosition(run: run, branch: branch.id.text, key: staged.key)
                    break walk
                }
                if let envelope = staged.envelope {
                    let entry = try decode(envelope, staged.key)
                    // What lies elsewhere is nobody's here to remove.
                    if entry.addressType == .relative { file.append(entry.address, entry.lastModified.seconds) }
                }
                try cursor.advance(past: staged.key)
            }
            (branchName, key) = (branch.id.text, nil)
        }
        if file.count > 0 { try objects.put(file.finish(), at: namespace.location(folder + XID.make())) }
        return (run, namespace.location(folder), next)
    }
}

/// Where a walk over uncommitted changes goes on.
package struct CollectionPosition: Sendable, Equatable {
    package let run: String, branch: String
    package let key: Key
    package init(run: String, branch: String, key: Key) {
        self.run = run
        self.branch = branch
        self.key = key
    }
}
