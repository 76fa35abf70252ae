import Foundations

/// What is kept of hooks while they are to run, and what of their runs when they have.
extension Catalog {
    /// Notes that hooks are to run at an event, or run now. As lasting as what is written next.
    package func note(_ event: HookEvent, _ state: HookNote.State) throws {
        let note = HookNote(event, state, process: instanceID)
        try store.write([.set(HookNote.partition, note.key, note.encoded)], .eventual)
    }

    /// Takes a note on to another state, as this process's. False if it is not there any more as it was read: then another
    /// process has taken this one for gone, and does what there is to do.
    package func advance(_ note: HookNote, to state: HookNote.State) throws -> Bool {
        let next = HookNote(note.event, state, process: instanceID)
        return try store.tryWrite(
            [
                .require(HookNote.partition, note.key, .matches(note.encoded)),
                .set(HookNote.partition, next.key, next.encoded),
            ], .eventual)
    }

    /// The note that this process made of an event.
    package func ownNote(of event: HookEvent, _ state: HookNote.State) -> HookNote {
        HookNote(event, state, process: instanceID)
    }

    package func isOwn(_ note: HookNote) -> Bool { note.process == instanceID }

    package func forgetNote(of event: HookEvent) throws {
        try store.write([.remove(HookNote.partition, HookNote.key(event))], .eventual)
    }

    package func note(of run: String, in repository: RepositoryID) throws -> HookNote? {
        try store.value(for: HookNote.key(run, in: repository), in: HookNote.partition).map {
            try HookNote(decoding: $0)
        }
    }

    /// Notes of processes that are gone, in pages: what they began nobody else ends.
    package func forEachLeftNote(_ body: (HookNote) throws -> Void) throws {
        var cursor = PartitionCursor(store, HookNote.partition)
        while let record = try cursor.current() {
            cursor.advance()
            let note: HookNote
            do { note = try HookNote(decoding: record.value) } catch {
                Log.error(
                    "a note of hooks cannot be read and is passed over",
                    ["key": record.key.description, "reason": LakeError(error).message])
                continue
            }
            if try isGone(note.process) { try body(note) }
        }
    }

    /// Whether a change that was near when its process ended was made.
    package func wasMade(_ event: HookEvent) throws -> Bool {
        guard let repository = try refs.repository(event.repository) else { return false }
        switch event.kind {
        case .postDeleteBranch: return try refs.branch(event.branch, in: repository) == nil
        case .postDeleteTag: return try refs.tag(event.tag, in: repository) == nil
        case .postCreateTag: return try refs.tag(event.tag, in: repository)?.commitID == event.commitID
        default:
            guard let found = try refs.branch(event.branch, in: repository) else { return false }
            return try leads(from: found.branch.commitID, to: event.commitID, in: repository)
        }
    }

    /// Whether a commit is another's ancestor or itself, by first parents: those that a branch has pointed at.
    private func leads(from start: CommitID, to end: CommitID, in repository: Repository) throws -> Bool {
        guard let wanted = try refs.findCommit(end, in: repository) else { return false }
        var id = start
        while id != end {
            let commit = try refs.commit(id, in: repository)
            guard commit.generation > wanted.generation, let parent = commit.parents.first else { return false }
            id = parent
        }
        return true
    }

    /// Stores what a run was, in place of what was noted of it. Source: `lakefs-formats.md` 5.4.
    /// - Parameter manifest: tells the same beside the data.
    package func record(_ run: ActionRun, _ hooks: [HookRun], manifest: [UInt8], of event: HookEvent) throws {
        guard let repository = try refs.repository(event.repository) else { return try forgetNote(of: event) }
        try objects.put(manifest, at: repository.namespace.location(RunFiles.manifest(run.id)), .eventual)
        try store.writeMany(
            refs.mutations(run, in: repository) + hooks.map { refs.mutation($0, in: repository) }
                + [.remove(HookNote.partition, HookNote.key(event))], .eventual)
    }

    /// Notes in a run before a change which commit that made.
    package func noteCommit(
        _ commit: CommitID, inRun id: String, of repositoryID: RepositoryID,
        manifest: (ActionRun, [HookRun]) -> [UInt8]
    ) throws {
        guard let repository = try refs.repository(repositoryID),
            var run = try refs.actionRun(id, in: repository), run.commitID != commit.text
        else { return }
        run.commitID = commit.text
        try store.writeMany(refs.mutations(run, in: repository), .eventual)
        let hooks = try refs.hookRuns(of: id, in: repository, after: "", limit: 10_000)
        try objects.put(
            manifest(run, hooks), at: repository.namespace.location(RunFiles.manifest(id)), .eventual)
    }

    /// Keeps what a hook said.
    package func keepOutput(_ text: [UInt8], ofHook id: String, inRun run: String, of repositoryID: RepositoryID) throws
    {
        let namespace = try repository(repositoryID).namespace
        try objects.put(text, at: namespace.location(RunFiles.output(of: id, in: run)), .eventual)
    }

    /// Removes runs that are older than so many seconds, and those behind the newest so many, of every repository.
    package func removeRuns(olderThan seconds: Int64, keeping count: Int) throws {
        var after = ""
        while true {
            let page = try listRepositories(prefix: "", after: after, limit: 1000)
            for repository in page.items {
                guard !isStopping else { return }
                try removeRuns(of: repository, olderThan: seconds, keeping: count)
            }
            guard page.hasMore, let last = page.items.last else { return }
            after = last.id.text
        }
    }

    private func removeRuns(of repository: Repository, olderThan seconds: Int64, keeping count: Int) throws {
        // Ids count down: behind the first that is too old, all are.
        var first = XID.runID(before: Timestamp.now().seconds - seconds)
        var seen = 0
        var after = ""
        while seen < count {
            let page = try refs.actionRuns(in: repository, index: "", after: after, limit: min(1000, count - seen))
            seen += page.count
            guard let last = page.last, last.id < first else { break }
            after = last.id
            if seen == count { first = last.id + "0" }
        }
        while !isStopping {
            let old = try refs.actionRuns(in: repository, index: "", after: first, limit: 100)
            guard !old.isEmpty else { return }
            for run in old { try remove(run, of: repository) }
        }
    }

    private func remove(_ run: ActionRun, of repository: Repository) throws {
        let folder = try repository.namespace.location(RunFiles.folder(run.id))
        while true {
            let files = try objects.list(folder, after: nil, limit: 1000)
            if files.isEmpty { break }
            for file in files { try objects.remove(file.location) }
        }
        while true {
            let hooks = try refs.hookRuns(of: run.id, in: repository, after: "", limit: 1000)
            if hooks.isEmpty { break }
            try store.writeMany(hooks.map { refs.removal($0, in: repository) }, .eventual)
        }
        try store.writeMany(refs.removals(run, in: repository), .eventual)
    }
}
