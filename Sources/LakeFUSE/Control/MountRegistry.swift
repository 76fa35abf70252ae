import CacheStore
import Foundations
import Glibc
package import LakeAPI
import Synchronization
package import Versioning

/// The mounts of a server: begun, listed, ended; and the working trees behind them. Safe from any thread.
package final class MountRegistry: Sendable {
    private let catalog: Catalog
    private let staging: WriteStaging
    private let levers: Levers
    /// Mount points and the mounts behind them. A branch that is mounted for writing has one mount, at as many places
    /// as asked for.
    private let all = Mutex<[String: Mount]>([:])
    /// Working trees of branches: those that are mounted, and those that hold what the branch does not have.
    private let trees = Mutex<[WriteStaging.TreeID: Tree]>([:])
    /// Held while something is mounted: one at a time.
    private let mounting = Mutex<Void>(())
    /// Mounts of an earlier start that nobody has asked for in this one: who does finds them there.
    private let restored = Mutex<[String: WriteStaging.KeptMount]>([:])
    private let isStopping = Atomic<Bool>(false)
    /// Held while a tree is opened or closed.
    private let opening = Mutex<Void>(())

    /// - Parameters:
    ///   - levers: what of the kernel's offers mounts take.
    ///   - staging: the folder for working files. What a crash left there is published in the background, if somebody
    ///     had closed it; it never delays the start.
    package init(catalog: Catalog, staging folder: String, levers: Levers = Levers()) throws {
        self.levers = levers
        self.catalog = catalog
        staging = try WriteStaging(folder: folder)
        let left = try staging.trees()
        let old = try staging.legacyRecords()
        catalog.committed.pool.run { [self] in
            for id in Set(
                left
                    + old.map {
                        WriteStaging.TreeID(
                            repository: RepositoryID($0.record.repository), branch: BranchName($0.record.branch))
                    })
            {
                do {
                    let tree = try self.tree(id)
                    for (name, record) in old
                    where record.repository == id.repository.text && record.branch == id.branch.text {
                        try tree.restore(name, record)
                    }
                    try tree.publish(.closed)
                    close(tree)
                } catch {
                    // Kept for the next start if its branch cannot take it now: what was written must not be lost.
                    Log.error(
                        "what a crash left of a mounted branch could not be published",
                        [
                            "repository": id.repository.text, "branch": id.branch.text,
                            "reason": LakeError(error).message,
                        ])
                }
            }
            do { try staging.sweep() } catch {
                Log.error("working files that nobody names stay", ["reason": "\(error)"])
            }
        }
    }

    // MARK: trees

    /// The working tree of a branch, with what an earlier process left of it.
    /// - Throws: `.notFound(.branch)`: what was left of it goes then.
    private func tree(_ id: WriteStaging.TreeID) throws -> Tree {
        try opening.withLock { _ in
            if let known = trees.withLock({ $0[id] }) {
                guard known.isGone.load(ordering: .acquiring) else { return known }
                end(known)
            }
            let begun: Timestamp
            do { begun = try head(of: id) } catch let error as LakeError where isGone(error) {
                try staging.removeTree(id)
                throw error
            }
            let tree = Tree(
                CatalogView(catalog, repository: id.repository, ref: id.branch.text), repository: id.repository,
                ref: id.branch.text, isReadOnly: false, staging: staging, begun: begun)
            for node in try tree.load() {
                Log.warning(
                    "a file was being written when the server died: a mount of its branch shows it, and it is published when it is written to and closed",
                    [
                        "repository": id.repository.text, "branch": id.branch.text,
                        "path": tree.path(of: node).description,
                    ])
            }
            tree.start()
            trees.withLock { $0[id] = tree }
            return tree
        }
    }

    /// A ref as it is, never to change through here.
    private func snapshot(_ ref: String, in repository: RepositoryID) throws -> Tree {
        let tree = Tree(
            CatalogView(catalog, repository: repository, ref: ref), repository: repository, ref: ref, isReadOnly: true,
            staging: staging, begun: try catalog.commit(ref, in: repository).commit.creationDate)
        tree.start()
        return tree
    }

    /// The tree of another ref, for a mount that is switched to it, or shows it under `.lake/refs/`.
    private func other(_ ref: String, in repository: RepositoryID, isBrowsed: Bool) throws -> Tree {
        let resolved = try catalog.resolve(ref, in: repository)
        guard let branch = resolved.branch?.id, branch.text == ref else {
            return try snapshot(resolved.commitID.text, in: repository)
        }
        return try isBrowsed
            ? snapshot(ref, in: repository) : tree(WriteStaging.TreeID(repository: repository, branch: branch))
    }

    private func isGone(_ error: LakeError) -> Bool { if case .notFound = error.code { true } else { false } }

    private func head(of id: WriteStaging.TreeID) throws -> Timestamp {
        _ = try catalog.branch(id.branch, in: id.repository)
        return try catalog.commit(id.branch.text, in: id.repository).commit.creationDate
    }

    /// Lets go of a tree that nobody has mounted, if the branch has all of it.
    private func close(_ tree: Tree) { mounting.withLock { _ in closeAlone(tree) } }

    private func closeAlone(_ tree: Tree) {
        opening.withLock { _ in
            guard !all.withLock({ $0.values.contains { $0.uses(tree) } }) else { return }
            do {
                try tree.keepDurable()
                try tree.writeRows()
            } catch {
                return Log.error(
                    "what was written in a mount could not be kept",
                    ["branch": tree.id.branch.text, "reason": LakeError(error).message])
            }
            if tree.isReadOnly || tree.isEmpty || tree.isGone.load(ordering: .acquiring) { end(tree) }
        }
    }

    private func end(_ tree: Tree) {
        tree.stop()
        trees.withLock { if $0[tree.id] === tree { $0[tree.id] = nil } }
    }

    package func mounts(isDetailed: Bool) -> [API.Mount] {
        dropEnded()
        // Looked at one by one, while others are begun and ended.
        return all.withLock { $0 }.map { $1.message(at: $0, isDetailed: isDetailed) }
            .sorted { $0.directory < $1.directory }
    }

    /// Mounts a ref on an empty folder. A branch named as it stands is read-write; anything else read-only, at the
    /// commit it stands for now if it is an expression.
    /// - Parameters:
    ///   - user: whom it is for.
    ///   - allows: what that user may do.
    ///   - isFree: whether that is everything.
    package func mount(
        _ request: API.Mount, for user: String, allows: @escaping @Sendable (Permission) -> Bool,
        isFree: @escaping @Sendable () -> Bool
    ) throws {
        try mounting.withLock { _ in try mountAlone(request, for: user, allows: allows, isFree: isFree) }
    }

    /// Mounts again what was mounted when the server ended, in the background.
    /// - Parameter rights: what a user may do in a repository, and whether that is everything.
    package func restore(
        _ rights:
            @escaping @Sendable (_ user: String, _ repository: RepositoryID) -> (
                allows: @Sendable (Permission) -> Bool, isFree: @Sendable () -> Bool
            )
    ) {
        catalog.committed.pool.run { [self] in
            do {
                for (directory, kept) in try staging.keptMounts() {
                    mounting.withLock { _ in
                        guard !isStopping.load(ordering: .acquiring), all.withLock({ $0[directory] == nil }) else {
                            return
                        }
                        do {
                            let request = try Coding.decode(API.Mount.self, kept.request)
                            let (allows, isFree) = rights(kept.user, RepositoryID(request.repository))
                            try mountAlone(request, for: kept.user, allows: allows, isFree: isFree)
                            restored.withLock { $0[directory] = kept }
                        } catch {
                            Log.warning(
                                "a mount of the last start does not come back",
                                ["directory": directory, "reason": LakeError(error).message])
                        }
                    }
                }
            } catch { Log.error("the mounts of the last start cannot be read", ["reason": "\(error)"]) }
        }
    }

    private func keep(_ mount: WriteStaging.KeptMount?, at directory: String) {
        do { try staging.keep(mount, at: directory) } catch {
            Log.error(
                "the server will not know at its next start what is mounted",
                ["directory": directory, "reason": "\(error)"])
        }
    }

    private func mountAlone(
        _ request: API.Mount, for user: String, allows: @escaping @Sendable (Permission) -> Bool,
        isFree: @escaping @Sendable () -> Bool
    ) throws {
        var request = request
        request.directory = MountPoint.normal(request.directory)
        let directory = request.directory
        let repository = RepositoryID(request.repository)
        let asked = request.ref
        guard directory.hasPrefix("/") else {
            throw LakeError(.invalidValue, "mount point '\(directory)' is not an absolute path")
        }
        let resolved = try catalog.resolve(request.ref, in: repository)
        let isBranch = resolved.branch?.id.text == request.ref
        let isReadOnly = !isBranch || request.readOnly == true
        if !isBranch { request.ref = resolved.commitID.text }
        let ref = request.ref
        let options = try MountOptions(request)
        let kept = WriteStaging.KeptMount(user: user, request: Coding.encode(request))
        // It is there already, since the server started.
        if restored.withLock({ $0.removeValue(forKey: directory) }) == kept, all.withLock({ $0[directory] != nil }),
            MountPoint.isMounted(directory)
        {
            return
        }
        if all.withLock({ $0[directory] != nil }) {
            throw LakeError(.alreadyExists(.mount), "\(directory) is mounted already: unmount it first")
        }
        try MountPoint.prepare(directory)
        if !isReadOnly, try mountAgain(repository, ref, options, of: user, at: directory) {
            return keep(kept, at: directory)
        }
        let tree =
            try isBranch
            ? self.tree(WriteStaging.TreeID(repository: repository, branch: BranchName(ref)))
            : snapshot(ref, in: repository)
        let mount = try Mount(
            tree: tree, rights: Tree.Rights(user: user, allows: allows, isFree: isFree), isReadOnly: isReadOnly,
            directory: directory,
            name: "lakefs://\(repository)/\(asked)\(options.prefix.isEmpty ? "" : "/\(options.prefix)")",
            levers: levers, options
        ) { [weak self] ref, isBrowsed in
            guard let self else { throw LakeError(.unavailable, "the server is stopping") }
            return try self.other(ref, in: repository, isBrowsed: isBrowsed)
        } whileNobodyCloses: { [weak self] body in
            if let self { try self.mounting.withLock { _ in try body() } }
        }
        let isTaken = all.withLock { all in
            if all[directory] != nil { return true }
            all[directory] = mount
            return false
        }
        guard !isTaken else {
            try mount.stop(at: [directory], forced: true)
            throw LakeError(.alreadyExists(.mount), "\(directory) is mounted already")
        }
        mount.start { [weak self] in self?.remove(mount) }
        keep(kept, at: directory)
    }

    /// Shows a branch that is mounted for writing at another place too (mount(2), MS_BIND): one file system, so that
    /// locks, caches and renames are the kernel's own, and what holds in one place holds in the other. False if it is
    /// not mounted, or this user may not do that: then it is a second mount of its own.
    private func mountAgain(
        _ repository: RepositoryID, _ ref: String, _ options: MountOptions, of user: String, at directory: String
    ) throws -> Bool {
        dropEnded()
        let found = all.withLock { all in
            all.first {
                $1.tree.id.repository == repository && $1.tree.id.branch.text == ref && $1.rights.user == user
                    && !$1.isReadOnly && $1.options == options
            }
        }
        guard let (place, mount) = found, unsafe Glibc.mount(place, directory, nil, UInt(MS_BIND), nil) == 0 else {
            return false
        }
        all.withLock { $0[directory] = mount }
        return true
    }

    /// Forgets places that were unmounted without us, by umount(8), while the mount is still there at others.
    private func dropEnded() {
        for (directory, mount) in all.withLock({ $0 }) where !MountPoint.isMounted(directory) {
            all.withLock { all in
                if all[directory] === mount, all.values.filter({ $0 === mount }).count > 1 { all[directory] = nil }
            }
        }
    }

    /// A mount that ended by itself, by umount(8).
    private func remove(_ mount: Mount) {
        let gone = all.withLock { all in
            let gone = all.filter { $1 === mount }.map(\.key)
            for directory in gone { all[directory] = nil }
            return gone
        }
        // What ends because the server does comes back with it.
        if !isStopping.load(ordering: .acquiring) { for directory in gone { keep(nil, at: directory) } }
        // Its loop's own thread calls this, and cannot wait for itself.
        catalog.committed.pool.run { [self] in
            mount.join()
            do { try mount.publish() } catch {
                Log.error(
                    "what was written in a mount could not be published",
                    ["directory": mount.directory, "reason": LakeError(error).message])
            }
            for tree in mount.trees { close(tree) }
        }
    }

    /// Publishes what was written, and unmounts.
    /// - Throws: `.notFound(.mount)`; `LakeError` if it is in use.
    package func unmount(_ directory: String) throws {
        let directory = MountPoint.normal(directory)
        let (found, places) = all.withLock { all in (all[directory], all.filter { $1 === all[directory] }.count) }
        guard let mount = found else {
            throw LakeError(.notFound(.mount), "\(directory) is not mounted by this server")
        }
        guard places == 1 else {
            // It goes on at the other places; what was written is published all the same.
            try mount.publish()
            guard unsafe umount2(directory, 0) == 0 else { throw Mount.inUse(directory) }
            all.withLock { $0[directory] = nil }
            keep(nil, at: directory)
            return
        }
        try mount.stop(at: [directory], forced: false)
        mount.join()
        try mount.publish()
        remove(mount)
        for tree in mount.trees { close(tree) }
    }

    /// Ends all mounts; what is open in them is cut off after it was published. Call once.
    package func stop() {
        isStopping.store(true, ordering: .releasing)
        mounting.withLock { _ in }
        let places = all.withLock { $0 }
        for mount in Set(places.values.map { ObjectIdentifier($0) }).compactMap({ id in
            places.values.first { ObjectIdentifier($0) == id }
        }) {
            try? mount.stop(at: places.filter { $1 === mount }.map(\.key), forced: true)
            mount.join()
        }
        for tree in trees.withLock({ Array($0.values) }) {
            do {
                try tree.publish(.closed, .durable)
                try tree.keepDurable()
            } catch {
                Log.error(
                    "what was written in a mount stays for the next start",
                    ["branch": tree.id.branch.text, "reason": LakeError(error).message])
            }
            end(tree)
        }
        staging.close()
    }
}
