import CacheStore
import Glibc
package import LakeAPI
import Synchronization
package import Versioning

/// The mounts of a server: begun, listed, ended. Safe from any thread.
package final class MountRegistry: Sendable {
    private let catalog: Catalog
    private let staging: WriteStaging
    private let passthrough: Bool
    /// Mount points and the mounts behind them. A branch that is mounted for writing has one mount, at as many places as asked for.
    private let all = Mutex<[String: Mount]>([:])
    /// Files that were being written when the server died, by branch. A mount of the branch shows them.
    private let unclosed = Mutex<[Branch: [(name: String, record: WriteStaging.Record)]]>([:])
    private struct Branch: Hashable { let repository: String, ref: String }

    /// - Parameters:
    ///   - passthrough: whether the kernel may read files by itself.
    ///   - staging: the folder for files being written. What a crash left there is published in the background, if
    ///     somebody had closed it; it never delays the start.
    package init(catalog: Catalog, staging folder: String, passthrough: Bool = true) throws {
        self.passthrough = passthrough
        self.catalog = catalog
        staging = try WriteStaging(folder: folder)
        var closed: [(name: String, record: WriteStaging.Record)] = []
        for (name, record) in try staging.leftovers() {
            guard record.closed == nil else {
                closed.append((name, record))
                continue
            }
            unclosed.withLock { $0[Branch(repository: record.repository, ref: record.branch), default: []].append((name, record)) }
            Log.warning("a file was being written when the server died: a mount of its branch shows it, and it is published when it is written to and closed", ["repository": record.repository, "branch": record.branch, "path": record.path.description])
        }
        guard !closed.isEmpty else { return }
        catalog.committed.pool.run { [self, closed] in
            for (name, record) in closed {
                // Kept for the next start if its branch cannot take it now: what was written must not be lost.
                do { try publish(name, record) } catch { Log.error("a file that a crash left could not be published", ["path": record.path.description, "reason": LakeError(error).message]) }
            }
        }
    }

    /// Makes a file that was closed, and that a crash left unpublished, what it was to become.
    private func publish(_ name: String, _ record: WriteStaging.Record) throws {
        let repository = try catalog.checkWritable(record.branch, in: record.repository), location = try repository.namespace.location(record.address)
        // Of its names those that are not its own already, and that no other door wrote after it was closed.
        let names = ([record.path] + record.others).map { (path: $0, current: try? catalog.entry($0, at: record.branch, in: record.repository).entry) }.filter { _, current in
            guard let current else { return true }
            return current.address != record.address && current.lastModified <= record.closed ?? current.lastModified
        }
        guard !names.isEmpty else { return staging.forget(name) }
        let path = staging.path(name), eTag: String, size: Int64
        if let piece = try? catalog.objects.file(location) {
            // The crash came after the file had become an object.
            defer { close(piece.descriptor) }
            eTag = try EntityTag.of(piece.descriptor, size: piece.byteCount)
            size = piece.byteCount
        } else {
            let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { return staging.forget(name) }
            defer { close(descriptor) }
            guard let status = FileStatus(descriptor) else { throw Errno(errno) }
            eTag = try EntityTag.of(descriptor, size: status.size)
            size = try catalog.objects.adopt(file: path, as: location, .durable)
        }
        for (path, current) in names {
            let entry = Entry(address: record.address, lastModified: record.closed ?? .now(), size: size, eTag: eTag, metadata: record.metadata, contentType: current?.contentType ?? "application/octet-stream")
            // What another door has written since this began is newer.
            do { try catalog.stage(entry, at: path, on: record.branch, in: record.repository, if: current.map { .sameAddress($0.address) } ?? .absent) } catch let error as LakeError where error.code == .preconditionFailed {}
        }
        staging.forget(name)
    }

    package func mounts() -> [MountMessage] {
        dropEnded()
        return all.withLock { $0.map { MountMessage(repository: $1.tree.repository, ref: $1.tree.ref, directory: $0, readOnly: $1.tree.isReadOnly) } }.sorted { $0.directory < $1.directory }
    }

    /// Mounts a ref on an empty folder. A branch named as it stands is read-write; anything else read-only, at the commit it
    /// stands for now if it is an expression.
    /// - Parameters:
    ///   - user: whom it is for.
    ///   - allows: what that user may do.
    package func mount(_ request: MountMessage, for user: String, allows: @escaping @Sendable (Permission) -> Bool) throws {
        let directory = Self.normal(request.directory)
        guard directory.hasPrefix("/") else { throw LakeError(.invalidValue, "mount point '\(directory)' is not an absolute path") }
        let resolved = try catalog.resolve(request.ref, in: request.repository)
        let isBranch = resolved.branch?.id == request.ref
        try prepare(directory)
        let ref = isBranch ? request.ref : resolved.commitID, isReadOnly = !isBranch || request.readOnly == true
        if !isReadOnly, try mountAgain(request.repository, ref, of: user, at: directory) { return }
        let left = unclosed.withLock { $0[Branch(repository: request.repository, ref: ref)] ?? [] }
        // Those that were closed since, in an earlier mount, are files like others.
        // One mount shows them, should there be several.
        let isShown = all.withLock { all in all.values.contains { $0.tree.repository == request.repository && $0.tree.ref == ref && !$0.tree.isReadOnly } }
        let recovered = isReadOnly || isShown ? [] : try left.filter { try staging.isOpen($0.name) }
        let tree = Tree(catalog: catalog, repository: request.repository, ref: ref, isReadOnly: isReadOnly, staging: staging, user: user, recovered: recovered, allows: allows)
        let mount = try Mount(tree: tree, directory: directory, name: "lakefs://\(request.repository)/\(request.ref)", passthrough: passthrough)
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
    }

    /// Shows a branch that is mounted for writing at another place too (mount(2), MS_BIND): one file system, so that locks, caches
    /// and renames are the kernel's own, and what holds in one place holds in the other. False if it is not mounted, or this user
    /// may not do that: then it is a second mount of its own.
    private func mountAgain(_ repository: String, _ ref: String, of user: String, at directory: String) throws -> Bool {
        dropEnded()
        let found = all.withLock { all in all.first { $1.tree.repository == repository && $1.tree.ref == ref && $1.tree.user == user && !$1.tree.isReadOnly } }
        guard let (place, mount) = found, unsafe Glibc.mount(place, directory, nil, UInt(MS_BIND), nil) == 0 else { return false }
        all.withLock { $0[directory] = mount }
        return true
    }

    /// Forgets places that were unmounted without us, by umount(8), while the mount is still there at others.
    private func dropEnded() {
        for (directory, mount) in all.withLock({ $0 }) where !Self.isMounted(directory) {
            all.withLock { all in if all[directory] === mount, all.values.filter({ $0 === mount }).count > 1 { all[directory] = nil } }
        }
    }

    /// Whether a folder is on another file system than the one it lies in.
    private static func isMounted(_ directory: String) -> Bool {
        let parent = directory.lastIndex(of: "/").map { $0 > directory.startIndex ? String(directory[..<$0]) : "/" } ?? "/"
        guard let own = FileStatus(path: directory), let above = FileStatus(path: parent) else { return true }
        return own.device != above.device
    }

    /// A mount that ended by itself, by umount(8).
    private func remove(_ mount: Mount) {
        all.withLock { all in for (directory, other) in all where other === mount { all[directory] = nil } }
        catalog.committed.pool.run { mount.join() }  // Its loop's own thread calls this, and cannot wait for itself.
    }

    /// Checks a mount point, and clears away a mount that a crash left dead.
    private func prepare(_ directory: String) throws {
        if all.withLock({ $0[directory] != nil }) { throw LakeError(.alreadyExists(.mount), "\(directory) is mounted already: unmount it first") }
        // Opening asks the file system itself: what the kernel has cached of a dead mount still looks alive.
        if let opened = unsafe opendir(directory) {
            unsafe closedir(opened)
        } else if errno == ENOTCONN || errno == EIO || errno == ECONNABORTED {
            unsafe umount2(directory, Int32(MNT_DETACH))
        }
        guard let status = FileStatus(path: directory) else { throw LakeError(.invalidValue, unsafe "cannot mount on \(directory): \(String(cString: strerror(errno)))") }
        guard status.isFolder else { throw LakeError(.invalidValue, "cannot mount on \(directory): it is no folder") }
        if let parent = FileStatus(path: directory + "/.."), parent.device != status.device { throw LakeError(.alreadyExists(.mount), "cannot mount on \(directory): something is mounted there already") }
        guard let open = unsafe opendir(directory) else { throw LakeError(.invalidValue, unsafe "cannot mount on \(directory): \(String(cString: strerror(errno)))") }
        defer { unsafe closedir(open) }
        var count = 0
        while unsafe readdir(open) != nil { count += 1 }
        guard count <= 2 else { throw LakeError(.invalidValue, "cannot mount on \(directory): it is not empty") }
    }

    private static func normal(_ path: String) -> String {
        var parts: [Substring] = []
        for part in path.split(separator: "/") where part != "." { if part == ".." { _ = parts.popLast() } else { parts.append(part) } }
        return (path.hasPrefix("/") ? "/" : "") + parts.joined(separator: "/")
    }

    /// Publishes what was written, and unmounts.
    /// - Throws: `.notFound(.mount)`; `LakeError` if it is in use.
    package func unmount(_ directory: String) throws {
        let directory = Self.normal(directory)
        let (found, places) = all.withLock { all in (all[directory], all.filter { $1 === all[directory] }.count) }
        guard let mount = found else { throw LakeError(.notFound(.mount), "\(directory) is not mounted by this server") }
        guard places == 1 else {
            // It goes on at the other places; what was written is published all the same.
            if let failure = mount.tree.publishAll(.durable) { throw LakeError(LakeError(failure).code, "cannot unmount \(directory): \(LakeError(failure).message)") }
            try mount.tree.synchronize()
            guard unsafe umount2(directory, 0) == 0 else { throw Mount.inUse(directory) }
            all.withLock { $0[directory] = nil }
            return
        }
        try mount.stop(at: [directory], forced: false)
        mount.join()
        remove(mount)
    }

    /// Ends all mounts; what is open in them is cut off after it was published. Call once.
    package func stop() {
        let places = all.withLock { $0 }
        for mount in Set(places.values.map { ObjectIdentifier($0) }).compactMap({ id in places.values.first { ObjectIdentifier($0) == id } }) {
            try? mount.stop(at: places.filter { $1 === mount }.map(\.key), forced: true)
            mount.join()
        }
        staging.close()
    }
}
