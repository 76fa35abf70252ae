import CacheStore
import Foundations
import Glibc
import Synchronization
import Versioning

/// How the bytes of working files become objects of the lake, before anything of the branch names them.
extension Tree {
    static let emptyTag = "d41d8cd98f00b204e9800998ecf8427e"

    static func entry(_ old: Entry?, address: String, size: Int64, eTag: String, modified: Timestamp) -> Entry {
        Entry(
            address: address, lastModified: modified, size: size, eTag: eTag, metadata: old?.metadata ?? [:],
            contentType: old?.contentType ?? "application/octet-stream")
    }

    /// Makes what was closed of a file an object. Nothing happens if somebody writes to it meanwhile, who has not left
    /// that as it was.
    func freeze(_ node: Node, _ empty: inout String?) throws {
        for attempt in 0..<Self.mostFreezes {
            try freezeOnce(node, holds: attempt > 0, &empty)
            // It was closed anew, or opened for writing, while it was hashed. Who does so again and again waits then,
            // or nobody would ever see what was closed.
            let (whole, file, closed) = state.withLock { _ in
                node.hasNewBytes && !node.names.isEmpty ? (node.whole, node.file, node.closed) : (nil, nil, nil)
            }
            guard whole != nil || (closed != nil && file?.status == closed) else { return }
        }
    }

    /// Larger files are hashed while others open them.
    private static let mostHeld: Int64 = 16 << 20

    /// - Parameter holds: whether nobody may open it meanwhile.
    private func freezeOnce(_ node: Node, holds: Bool, _ empty: inout String?) throws {
        let begun = Timestamp.monotonicMilliseconds()
        if let whole = state.withLock({ _ in node.whole }) { return try freeze(node, whole, holds: holds, &empty) }
        waitForRelease(of: node)
        let (file, closed, isInUse) = state.withLock { _ in
            node.freezing = node.file
            return (node.file, node.closed, node.writers > 0 || node.lent > 0)
        }
        var isTaken = false
        defer { if let file { endFreezing(file, of: node, isTaken: isTaken) } }
        guard let file, let closed, file.status == closed else { return }
        if closed.size == 0 {
            let address = try emptyAddress(&empty)
            node.io.withLock { _ in take(node, file, closed, address, Self.emptyTag, isMoved: !isInUse) }
        } else if isInUse {
            try freezeCopy(node, file, closed)
        } else {
            let early =
                holds && closed.size <= Self.mostHeld ? nil : try file.using { try EntityTag.of($0, size: closed.size) }
            try node.io.withLock { _ in
                let eTag = try early ?? file.using { try EntityTag.of($0, size: closed.size) }
                guard file.status == closed,
                    state.withLock({ _ in
                        node.file === file && node.closed == closed && node.writers == 0 && node.lent == 0
                    })
                else { return }
                try adopt(file)
                isTaken = true
                take(node, file, closed, file.address, eTag, isMoved: true)
            }
        }
        state.withLock { _ in node.took = Timestamp.monotonicMilliseconds() - begun }
    }

    /// Makes what was closed last an object, while somebody writes to a copy of it.
    func freeze(_ node: Node, _ whole: Node.Whole, holds: Bool, _ empty: inout String?) throws {
        let file = whole.file
        let closed = whole.closed
        let address = closed.size == 0 ? try emptyAddress(&empty) : file.address
        func tag() throws -> String {
            closed.size == 0 ? Self.emptyTag : try file.using { try EntityTag.of($0, size: closed.size) }
        }
        // Who closes it anew meanwhile does not take it away: one who rewrites a file without end would else keep
        // everybody from ever seeing it.
        guard
            state.withLock({ _ in
                guard node.whole?.file === file else { return false }
                node.freezing = file
                return true
            })
        else { return }
        var isTaken = false
        defer { endFreezing(file, of: node, isTaken: isTaken) }
        let early = holds && closed.size <= Self.mostHeld ? nil : try tag()
        try node.io.withLock { _ in
            // It was removed, or is what is being written to again, or was meanwhile.
            guard state.withLock({ _ in !node.names.isEmpty && node.file !== file }), file.status == closed else {
                return
            }
            let eTag = try early ?? tag()
            if closed.size > 0 { try adopt(file) }
            state.withLock { state in
                isTaken = closed.size > 0
                if node.whole?.file === file { node.whole = nil }
                Self.materialize(node, &state)
                Self.replace(
                    &node.entry, of: node,
                    by: Self.entry(
                        node.entry, address: address, size: closed.size, eTag: eTag, modified: closed.modified))
                state.unwritten[node.number] = node
            }
        }
    }

    /// What was closed before something else is of no more use, unless it is on its way to the branch. Under the lock.
    static func dropWhole(of node: Node, _ state: inout State) {
        guard let file = node.whole?.file else { return }
        node.whole = nil
        if node.freezing !== file { state.dropped.append(file) }
    }

    /// A file that was held while it was made an object is let go of.
    /// - Parameter isTaken: whether it is one now; else it is of use only to who still has it.
    private func endFreezing(_ file: WorkingFile, of node: Node, isTaken: Bool) {
        state.withLock { state in
            node.freezing = nil
            if !isTaken, node.whole?.file !== file, node.file !== file { state.dropped.append(file) }
        }
    }

    /// A node is to have another object on the branch. Under the lock.
    private static func replace(_ entry: inout Entry?, of node: Node, by new: Entry) {
        if !node.isEntryNew { node.replaced = entry }
        entry = new
        node.isEntryNew = true
    }

    /// Makes a working file the object that it was to become.
    private func adopt(_ file: WorkingFile) throws {
        hasUnsyncedObjects.store(true, ordering: .releasing)
        try view.adopt(file: file.path, as: file.address, .eventual)
    }

    /// The object without bytes that all of a publish share, made when the first one wants it.
    func emptyAddress(_ known: inout String?) throws -> String {
        if let known { return known }
        let made = try view.makeEmpty()
        known = made
        return made
    }

    /// After the last close(2) the kernel tells us so, but does not wait for us.
    /// - Parameter own: writers that are not to be waited for.
    func waitForRelease(of node: Node, but own: Int = 0) {
        for _ in 0..<40 {
            let isClosing = state.withLock { _ in
                node.writers > own && Timestamp.monotonicMilliseconds() - node.touched < 50
            }
            guard isClosing else { return }
            usleep(500)
        }
    }

    /// A file that somebody has open is published as a copy, so that nobody writes to an object.
    private func freezeCopy(_ node: Node, _ file: WorkingFile, _ closed: Node.Closed) throws {
        let copy = try WorkingFile(staging, address: view.newAddress())
        var isTaken = false
        defer {
            copy.release()
            if !isTaken { copy.drop() }
        }
        let eTag = try copy.using { target in
            try file.using { try WorkingFile.copyBytes($0, to: target) }
            return try EntityTag.of(target, size: closed.size)
        }
        // Written to meanwhile, it is not what was closed.
        guard copy.status?.size == closed.size, file.status == closed else { return }
        try node.io.withLock { _ in
            guard state.withLock({ _ in node.file === file && node.closed == closed }) else { return }
            try adopt(copy)
            isTaken = true
            take(node, file, closed, copy.address, eTag, isMoved: false)
        }
    }

    /// A file's bytes are an object now. Under the node's `io`.
    private func take(
        _ node: Node, _ file: WorkingFile, _ closed: Node.Closed, _ address: String, _ eTag: String, isMoved: Bool
    ) {
        state.withLock { state in
            guard node.file === file, node.closed == closed else { return }
            // The name that the branch has it under is the same, with other bytes.
            Self.materialize(node, &state)
            var entry = Self.entry(
                node.entry, address: address, size: closed.size, eTag: eTag, modified: closed.modified)
            // A time that was set is not when it was written.
            if node.attributes.modified == closed.modified, let changed = node.changed { entry.lastModified = changed }
            Self.replace(&node.entry, of: node, by: entry)
            node.publishedClose = closed
            if isMoved {
                node.file = nil
                node.closed = nil
                node.publishedClose = nil
            }
            state.unwritten[node.number] = node
            // There is an object for that.
            if isMoved, closed.size == 0 { state.dropped.append(file) }
        }
    }
}
