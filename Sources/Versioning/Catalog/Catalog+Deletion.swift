import Foundations
import Glibc
import Synchronization

/// Repositories on their way out: gone for readers at once, their records removed in the background, their objects
/// kept. Source: `lakefs-formats.md` 7.12; unlike there nothing is left behind in the key-value store.
extension Catalog {
    func removeInBackground(_ repository: Repository) {
        // What fails is tried again at the next start, or when the name is wanted.
        tasks.run { [self] in try? remove(repository) }
    }

    /// Removes the records of a repository that is marked as being deleted.
    private func remove(_ repository: Repository) throws {
        // Two removers of one repository: the slower one could take the record of a new repository of that name.
        guard removals.withLock({ $0.insert(repository.instanceUID).inserted }) else { return }
        defer { _ = removals.withLock { $0.remove(repository.instanceUID) } }
        guard try refs.repository(repository.id)?.instanceUID == repository.instanceUID else { return }
        try removeUploads(to: repository)
        var after = ""
        while true {
            let branches = try refs.branches(in: repository, prefix: "", after: after, limit: 1000)
            guard let last = branches.last else { break }
            try refs.markDropped(branches.flatMap(\.tokens).map(\.partition))
            after = last.id.text
        }
        try remove("repos/\(repository.partition)/", in: RefStore.pulls)
        try remove("repos/\(repository.id)/", in: RefStore.actions)
        try remove("\(repository.id)/", in: HookNote.partition)
        try remove("\(repository.partition)/", in: Compaction.partition)
        try store.removeAll(in: repository.partition)
        // Once more when requests that were under way have ended: one of them may have written a record meanwhile.
        try refs.markDropped([repository.partition])
        try refs.removeRepository(repository.id)
        refs.forget()
        cleanUp()
    }

    private func remove(_ prefix: String, in partition: Partition) throws {
        while true {
            let page = try store.page(of: partition, prefix: Key(prefix), limit: 1000)
            guard !page.isEmpty else { return }
            try store.writeMany(page.map { .remove(partition, $0.key) }, .eventual)
        }
    }

    /// Removes what is left of a repository, or waits until another thread has; false if that takes too long.
    func waitForRemoval(of repository: Repository) throws -> Bool {
        for _ in 0..<500 {
            try remove(repository)
            guard let current = try refs.repository(repository.id), current.instanceUID == repository.instanceUID else {
                return true
            }
            usleep(10_000)
        }
        return false
    }
}
