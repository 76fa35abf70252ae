import CacheStore
import Glibc
package import LakeAPI
import Synchronization
package import Versioning

/// The mounts of a server: begun, listed, ended. Safe from any thread.
package final class MountRegistry: Sendable {
    private let catalog: Catalog
    private let staging: WriteStaging
    private let all = Mutex<[String: Mount]>([:])

    /// - Parameter staging: the folder for files being written; what a crash left there is published first.
    package init(catalog: Catalog, staging folder: String) throws {
        self.catalog = catalog
        staging = try WriteStaging(folder: folder)
        for (name, record) in try staging.leftovers() {
            do { try publish(name, record) } catch {
                // Kept for the next start: what was written must not be lost because its branch cannot take it now.
                continue
            }
        }
    }

    /// Makes a file that a crash left unpublished what it was to become.
    private func publish(_ name: String, _ record: WriteStaging.Record) throws {
        let repository = try catalog.checkWritable(record.branch, in: record.repository), location = try repository.namespace.location(record.address)
        let current = try? catalog.entry(record.path, at: record.branch, in: record.repository).entry
        let path = staging.path(name), md5: [UInt8], size: Int64
        if let piece = try? catalog.objects.file(location) {
            // The crash came after the file had become an object. Its entry may be there, or have been replaced since.
            defer { close(piece.descriptor) }
            guard current?.address != record.address else { return staging.forget(name) }
            var info = stat()
            guard unsafe fstat(piece.descriptor, &info) == 0, current.map({ $0.lastModified.seconds <= Int64(info.st_mtim.tv_sec) }) ?? true else { return staging.forget(name) }
            md5 = try StagedFile.hash(piece.descriptor)
            size = piece.byteCount
        } else {
            let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { return staging.forget(name) }
            defer { close(descriptor) }
            md5 = try StagedFile.hash(descriptor)
            size = try catalog.objects.adopt(file: path, as: location, .durable)
        }
        let entry = Entry(address: record.address, lastModified: .now(), size: size, eTag: Hex.text(md5), metadata: current?.metadata ?? [:], contentType: current?.contentType ?? "application/octet-stream")
        try catalog.stage(entry, at: record.path, on: record.branch, in: record.repository)
        staging.forget(name)
    }

    package func mounts() -> [MountMessage] {
        all.withLock { $0.values.map { MountMessage(repository: $0.tree.repository, ref: $0.tree.ref, directory: $0.directory, readOnly: $0.tree.isReadOnly) } }.sorted { $0.directory < $1.directory }
    }

    /// Mounts a ref on an empty folder. A branch named as it stands is read-write; anything else read-only, at the commit it
    /// stands for now if it is an expression.
    package func mount(_ request: MountMessage) throws {
        let directory = Self.normal(request.directory)
        guard directory.hasPrefix("/") else { throw LakeError(.invalidValue, "mount point '\(directory)' is not an absolute path") }
        let resolved = try catalog.resolve(request.ref, in: request.repository)
        let isBranch = resolved.branch?.id == request.ref
        try prepare(directory)
        let ref = isBranch ? request.ref : resolved.commitID
        let tree = Tree(catalog: catalog, repository: request.repository, ref: ref, isReadOnly: !isBranch || request.readOnly == true, staging: staging)
        let mount = try Mount(tree: tree, directory: directory, name: "lakefs://\(request.repository)/\(request.ref)")
        let isTaken = all.withLock { all in
            if all[directory] != nil { return true }
            all[directory] = mount
            return false
        }
        guard !isTaken else {
            try mount.stop(forced: true)
            throw LakeError(.alreadyExists(.mount), "\(directory) is mounted already")
        }
        mount.start { [weak self] in self?.remove(mount) }
    }

    /// A mount that ended by itself, by umount(8).
    private func remove(_ mount: Mount) {
        all.withLock { all in if all[mount.directory] === mount { all[mount.directory] = nil } }
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
        var info = stat()
        guard unsafe stat(directory, &info) == 0 else { throw LakeError(.invalidValue, unsafe "cannot mount on \(directory): \(String(cString: strerror(errno)))") }
        guard info.st_mode & S_IFMT == S_IFDIR else { throw LakeError(.invalidValue, "cannot mount on \(directory): it is no folder") }
        var parent = stat()
        if unsafe stat(directory + "/..", &parent) == 0, parent.st_dev != info.st_dev { throw LakeError(.alreadyExists(.mount), "cannot mount on \(directory): something is mounted there already") }
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
        guard let mount = all.withLock({ $0[directory] }) else { throw LakeError(.notFound(.mount), "\(directory) is not mounted by this server") }
        try mount.stop(forced: false)
        mount.join()
        remove(mount)
    }

    /// Ends all mounts; what is open in them is cut off after it was published. Call once.
    package func stop() {
        for mount in all.withLock({ Array($0.values) }) {
            try? mount.stop(forced: true)
            mount.join()
        }
        staging.close()
    }
}
