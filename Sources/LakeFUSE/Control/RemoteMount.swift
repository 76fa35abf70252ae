import CacheStore
import Foundations
import Glibc
package import LakeAPI
import Synchronization
import Versioning

/// One mount of a lake on a server elsewhere, with all that it keeps on this machine: working trees, what waits to be
/// uploaded, what was read. A process of its own; what the server does not have when it ends is there when it is
/// mounted again.
package final class RemoteMount: Sendable {
    package struct Settings: Sendable {
        package var client: LakeClient
        package var repository: String, ref: String
        /// Absolute.
        package var directory: String
        /// Where all of it is kept; one mount at a time.
        package var folder: String
        package var cacheBytes: Int64 = 10 << 30
        package var isReadOnly = false
        /// Whether nothing is uploaded before it is asked for.
        package var pushesByHand = false
        package var conflicts = ConflictRule.keep
        package var request: API.Mount
        package var levers = Levers(announcesEvents: true)

        package init(_ client: LakeClient, _ request: API.Mount, folder: String) {
            self.client = client
            self.request = request
            self.folder = folder
            (repository, ref, directory, isReadOnly) = (
                request.repository, request.ref, request.directory, request.readOnly == true
            )
        }
    }

    private let settings: Settings
    private let staging: WriteStaging
    private let store: RemoteView.Store
    private let trees = Mutex<[String: Tree]>([:])
    private let mount = Mutex<Mount?>(nil)
    private let ended = CountingSemaphore()
    /// Held while a tree is opened.
    private let opening = Mutex<Void>(())

    /// Uploads and look-ups at once: a server far away answers each as late as one.
    private static let width = 16
    /// Bytes of kept listings from which they are begun anew.
    private static let mostRecords: Int64 = 512 << 20

    /// Mounts.
    /// - Throws: `LakeError` if there is no such ref, or nothing is known of it and the server does not answer.
    package init(_ settings: Settings) throws {
        self.settings = settings
        for path in [settings.folder, settings.folder + "/outgoing"] {
            guard unsafe mkdir(path, 0o700) == 0 || errno == EEXIST else {
                throw LakeError(.unavailable, unsafe "cannot make \(path): \(String(cString: strerror(errno)))")
            }
        }
        staging = try WriteStaging(folder: settings.folder + "/working")
        let records = settings.folder + "/listings.db"
        if let status = FileStatus(path: records), status.size > Self.mostRecords {
            for end in ["", "-wal", "-shm"] { unsafe _ = unlink(records + end) }
        }
        store = RemoteView.Store(
            cache: try ObjectCache(folder: settings.folder + "/cache", limitBytes: settings.cacheBytes),
            records: try SQLiteStore(path: records),
            outgoing: settings.folder + "/outgoing", pool: WorkerPool(name: "remote", width: Self.width),
            conflicts: settings.conflicts)
        try MountPoint.prepare(settings.directory)
        let tree = try self.tree(settings.ref, isBrowsed: false)
        let isReadOnly = tree.isReadOnly || settings.isReadOnly
        let options = try MountOptions(settings.request)
        let name = "lakefs+\(settings.client.endpoint)/\(settings.repository)/\(settings.ref)"
        let mount = try Mount(
            tree: tree, rights: .all, isReadOnly: isReadOnly, directory: settings.directory, name: name,
            levers: settings.levers, options
        ) { [weak self] ref, isBrowsed in
            guard let self else { throw LakeError(.unavailable, "the mount is ending") }
            return try self.tree(ref, isBrowsed: isBrowsed)
        } whileNobodyCloses: {
            try $0()
        }
        self.mount.withLock { $0 = mount }
        mount.start { [ended] in ended.post() }
        try sweep()
    }

    /// The tree of a ref: the working tree of a branch, or one to look at.
    private func tree(_ ref: String, isBrowsed: Bool) throws -> Tree {
        try opening.withLock { _ in
            if !isBrowsed, let known = trees.withLock({ $0[ref] }) { return known }
            let remote = Remote(settings.client, repository: settings.repository, ref: ref)
            let (isBranch, commit, date) = try resolve(remote)
            let mayWrite = isBranch && !isBrowsed
            let tree = Tree(
                RemoteView(isBranch ? remote : remote.at(commit), isBranch: isBranch, store),
                repository: RepositoryID(settings.repository), ref: isBranch ? ref : commit, isReadOnly: !mayWrite,
                staging: staging,
                begun: date, publishesByItself: !settings.pushesByHand)
            if mayWrite { _ = try tree.load() }
            tree.start()
            if mayWrite { trees.withLock { $0[ref] = tree } }
            return tree
        }
    }

    private static let refs = Partition("refs")

    /// What a ref is: as the server says, or as it said when it last answered.
    private func resolve(_ remote: Remote) throws -> (isBranch: Bool, commit: String, date: Timestamp) {
        let key = Key("\(settings.repository)/\(remote.ref)")
        do {
            let isBranch = try remote.ask { try $0.head(of: remote.ref, in: settings.repository) } != nil
            guard let commit = try remote.ask({ try $0.log(remote.ref, in: settings.repository, amount: 1) })?.first
            else {
                throw LakeError(
                    .notFound(.reference),
                    "there is no ref '\(remote.ref)' in \(settings.repository) on \(settings.client.endpoint)")
            }
            try store.records.write(
                [
                    .set(
                        Self.refs, key,
                        Array("\(isBranch ? "branch" : "commit") \(commit.id) \(commit.creationDate)".utf8))
                ], .eventual)
            return (isBranch, commit.id, Timestamp(seconds: commit.creationDate))
        } catch let error as LakeError where error.code == .unavailable {
            guard let known = try store.records.value(for: key, in: Self.refs) else { throw error }
            let words = String(decoding: known, as: UTF8.self).split(separator: " ")
            guard words.count == 3, let date = Int64(words[2]) else { throw error }
            return (words[0] == "branch", String(words[1]), Timestamp(seconds: date))
        }
    }

    /// Removes what nobody names: files that a crash left, and those whose upload it did not see end.
    private func sweep() throws {
        try staging.sweep()
        let wanted = Set(try staging.addresses().map { String($0.address.split(separator: "/").last ?? "") })
        for name in try Folder.names(of: settings.folder + "/outgoing") where !wanted.contains(name) {
            unsafe _ = unlink("\(settings.folder)/outgoing/\(name)")
        }
    }

    /// Returns when it was unmounted. What was written is on the server then, or else kept for the next time.
    package func wait() {
        ended.wait()
        let mount = mount.withLock { mount in
            defer { mount = nil }
            return mount
        }
        mount?.join()
        for tree in trees.withLock({ Array($0.values) }) {
            if !settings.pushesByHand {
                do { try tree.publish(.closed) } catch {
                    Log.error(
                        "what was written in a mount waits until it is mounted again",
                        ["branch": tree.id.branch.text, "reason": LakeError(error).message])
                }
            }
            tree.stop()
        }
        store.pool.stop()
        store.records.close()
        staging.close()
    }

    /// Unmounts, whatever is open in it.
    package func stop() {
        guard let mount = mount.withLock({ $0 }) else { return }
        do { try mount.unmount(at: [settings.directory], forced: true) } catch {
            Log.error("a mount does not end", ["directory": settings.directory, "reason": LakeError(error).message])
        }
    }
}
