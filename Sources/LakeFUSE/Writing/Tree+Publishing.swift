import CacheStore
import Glibc
import Synchronization
import Versioning

/// The bytes of a tree's files: where they are read, and how they become objects and entries of the branch.
extension Tree {
    /// Where a file's bytes are read from.
    enum Source {
        case staged(StagedFile)
        case object(ObjectLocation, size: Int64)
        case empty
    }

    func source(_ node: Node) throws -> Source {
        let (entry, writing) = state.withLock { _ in (node.entry, node.writing) }
        if let writing { return .staged(writing) }
        guard let entry else { return .empty }
        return .object(try entry.location(in: catalog.repository(repository).namespace), size: entry.size)
    }

    /// Whether the object that a handle opened is what the file still is.
    func isCurrent(_ location: ObjectLocation?, _ node: Node) throws -> Bool {
        guard let entry = entry(of: node), let location else { return false }
        return try entry.location(in: catalog.repository(repository).namespace) == location
    }

    /// The file's bytes as a local file that can be written; copied from the object the first time.
    /// - Parameter opened: a descriptor of the object, for when that has gone since: with its name, or for a newer one's sake.
    func writable(_ node: Node, truncates: Bool = false, opened: Int32 = -1) throws -> StagedFile {
        try requireWritable()
        if let writing = state.withLock({ _ in node.writing }) {
            if truncates { try writing.truncate(0, purpose(node)) }
            return writing
        }
        try require("WriteObject", path(of: node))
        _ = try catalog.checkWritable(ref, in: repository)
        let entry = entry(of: node), source = truncates || entry == nil ? nil : (objects, try entry!.location(in: catalog.repository(repository).namespace), entry!.size)
        let file = try StagedFile(staging, purpose(node), copying: source, opened: opened)
        let chosen = state.withLock { _ -> StagedFile in
            if let other = node.writing { return other }
            node.writing = file
            return file
        }
        dirty.withLock { $0[node.number] = node }
        return chosen
    }

    /// Written again after it was published: it is to be published once more.
    func noteWrite(_ node: Node) {
        let isUnlinked = state.withLock { _ in
            node.attributes.modified = nil
            return node.isUnlinked
        }
        if !isUnlinked { dirty.withLock { $0[node.number] = node } }
    }

    /// Makes what was written an object and an entry of the branch, in one step for all who look (`mount.md` section 1).
    /// - Parameter onlyUnopened: not while someone has the file open for writing, who will publish it.
    func publish(_ node: Node, _ durability: Durability, onlyUnopened: Bool = false) throws {
        moving.readLock()
        defer { moving.unlock() }
        try node.publishing.withLock { _ in try publishAlone(node, durability, onlyUnopened: onlyUnopened) }
    }

    /// Bytes of a file that is published at every close without counting how often.
    private static let smallBytes: Int64 = 8 << 20

    /// One of the descriptors of a file that writes was closed; there may be others, in children say (close(2), fuse_lowlevel.h,
    /// flush). A large file is not published again and again by that: less than twice the time since it was last as that took, or
    /// a second, it waits for the last of them.
    func flush(_ node: Node) throws {
        let (last, file) = state.withLock { _ in (node.published, node.writing) }
        if let file, file.isDirty, let last, file.facts.size > Self.smallBytes, Timestamp.monotonicMilliseconds() - last.at < max(1000, 2 * last.took) {
            let isFirst = held.withLock { $0.updateValue(node, forKey: node.number) == nil }
            if isFirst { catalog.unsettled.hold() }
            return
        }
        let begun = Timestamp.monotonicMilliseconds()
        try publish(node, .eventual)
        let ended = Timestamp.monotonicMilliseconds()
        state.withLock { _ in node.published = (ended, ended - begun) }
    }

    /// Publishes what was closed and held back: somebody looks.
    func settle() {
        for node in held.withLock({ Array($0.values) }) {
            do { try publish(node, .eventual) } catch { Log.error("a file that was closed in a mount could not be published", ["path": path(of: node).description, "reason": LakeError(error).message]) }
        }
    }

    /// Nothing of a file is held back any more: it was published, or has no name.
    func release(_ node: Node) { if held.withLock({ $0.removeValue(forKey: node.number) != nil }) { catalog.unsettled.release() } }

    /// Publishes while the caller sees to it that nobody else publishes, renames or unlinks the node.
    private func publishAlone(_ node: Node, _ durability: Durability, onlyUnopened: Bool) throws {
        guard let file = writing(of: node), !isUnlinked(node) else { return }
        guard !isGone.load(ordering: .acquiring) else { throw Errno(EIO) }
        let namespace = try catalog.repository(repository).namespace
        if file.isDirty, !onlyUnopened || node.writers.load(ordering: .acquiring) == 0 { try file.note(purpose(node), isClosed: true) }
        guard let written = try file.freeze(objects, in: namespace, durability, if: { !onlyUnopened || node.writers.load(ordering: .acquiring) == 0 }) else {
            // Somebody opened it in between, and it is not closed after all.
            if file.isDirty { try file.note(purpose(node)) } else { release(node) }
            if durability == .durable { try synchronize() }
            return
        }
        let (path, paths, old, attributes, folders) = state.withLock { state in
            (node.path, node.paths, node.entry, node.attributes, node.paths.compactMap { state.numbers[Paths.split($0).folder].flatMap { state.nodes[$0] } })
        }
        // The time of the last write, not of the publish: a file must not look newer for having been closed.
        var entry = Entry(address: written.address, lastModified: written.modified, size: written.size, eTag: written.eTag, metadata: old?.metadata ?? [:], contentType: old?.contentType ?? "application/octet-stream")
        attributes.write(into: &entry.metadata, isFolder: false)
        try stage(paths.map { [entry] in ($0, entry) } + folders.flatMap { fill($0) }, durability, inside: false)
        let isShadowed = state.withLock { [entry] state in
            node.entry = entry
            return state.numbers[path] != node.number
        }
        // Another door wrote the path meanwhile and it got another node: that one shows what is no more.
        if isShadowed { shadowed.withLock { $0 }?(path) }
        file.noteStaged(written)
        if !file.isDirty { _ = dirty.withLock { $0.removeValue(forKey: node.number) } }
        release(node)
        for path in paths { setUnpublished(path, false) }
    }

    /// The last handle is closed: the staged bytes are the object's now.
    func close(_ node: Node) throws {
        try publish(node, .eventual, onlyUnopened: true)
        letGo(node)
    }

    /// Nobody has the file open: what was staged is the object's now.
    private func letGo(_ node: Node) {
        // Let go outside the lock: its descriptor is closed with it.
        let file = state.withLock { _ -> StagedFile? in
            guard node.writers.load(ordering: .acquiring) == 0, node.readers.load(ordering: .acquiring) == 0, node.writing?.isDirty != true || node.isUnlinked else { return nil }
            defer { node.writing = nil }
            return node.writing
        }
        _ = consume file
    }

    /// A handle that reads what is being written was opened; false if nothing is any more.
    func beginReading(_ node: Node) -> Bool {
        state.withLock { _ in
            guard node.writing != nil else { return false }
            node.readers.add(1, ordering: .acquiringAndReleasing)
            return true
        }
    }

    /// It was closed.
    func endReading(_ node: Node) {
        node.readers.subtract(1, ordering: .acquiringAndReleasing)
        letGo(node)
    }

    /// A handle that writes was opened; before anything is written or cut through it.
    func beginWriting(_ node: Node) {
        node.writers.add(1, ordering: .acquiringAndReleasing)
        let recovered = state.withLock { _ -> StagedFile? in
            defer { node.isRecovered = false }
            return node.isRecovered ? node.writing : nil
        }
        recovered?.takeUp()
    }

    /// Makes a file's bytes and all that was done before durable (fsync(2)). It does not publish: who is still writing has not said
    /// that the file is whole.
    func synchronize(_ node: Node) throws {
        if let file = writing(of: node), file.isDirty, try file.synchronize() { return try synchronizeStore() }
        try synchronize()
    }

    private func synchronizeStore() throws { try catalog.store.write([], .durable) }

    /// It was closed.
    func endWriting(_ node: Node) throws {
        node.writers.subtract(1, ordering: .acquiringAndReleasing)
        try close(node)
    }

    /// Publishes all that was written. Returns the first error.
    func publishAll(_ durability: Durability) -> (any Error)? {
        if isGone.load(ordering: .acquiring) {
            // Its branch was deleted, and with it all that was not committed.
            for node in dirty.withLock({ Array($0.values) }) {
                Log.warning("a file that was written in a mount goes with its deleted branch", ["path": path(of: node).description])
                writing(of: node)?.unregister()
                release(node)
            }
            dirty.withLock { $0 = [:] }
            return nil
        }
        var failure: (any Error)?
        for node in dirty.withLock({ Array($0.values) }) where !state.withLock({ _ in node.isRecovered }) {
            do { try publish(node, durability) } catch { failure = failure ?? error }
        }
        return failure
    }

    /// Makes durable what was published.
    func synchronize() throws {
        try objects.synchronize()
        try catalog.store.write([], .durable)
    }
}
