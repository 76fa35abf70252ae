import CacheStore
import Foundations
import Glibc
import Synchronization
import Versioning

/// The index of a tree: written in the order in which things happened, read when the tree comes back after a crash.
extension Tree {
    // MARK: writing

    /// Writes the rows of all that was changed, in one transaction.
    func writeRows(_ durability: Durability = .eventual) throws {
        try indexing.withLock { _ in
            var backlog = keeper.backlog.withLock { backlog in
                defer { backlog = [] }
                return backlog
            }
            let (changes, dropped) = state.withLock { state in
                var removed: [WriteStaging.Change] = []
                var set: [WriteStaging.Change] = []
                var open = Array(state.unwritten.values)
                var index = 0
                state.unwritten = [:]
                while index < open.count {
                    encode(open[index], &removed, &set, &open, state)
                    index += 1
                }
                for node in open { Self.release(node, &state) }
                defer { state.dropped = [] }
                // What one node gave up another may have: what is there is written last.
                return (removed + set, state.dropped)
            }
            backlog += changes
            guard !backlog.isEmpty else { return state.withLock { $0.unnamed += dropped } }
            do { try staging.write(backlog, of: id, durability) } catch {
                keeper.backlog.withLock { $0 = backlog }
                state.withLock { $0.dropped += dropped }
                // What is not wanted makes room.
                if LakeError(error).code == .noSpace { removeDropped() }
                throw error
            }
            hasUnsyncedBytes.store(true, ordering: .releasing)
            hasUnsyncedRows.store(durability != .durable, ordering: .releasing)
            if durability == .durable {
                for file in dropped { file.drop() }
            } else {
                state.withLock { $0.unnamed += dropped }
            }
        }
    }

    private func encode(
        _ node: Node, _ removed: inout [WriteStaging.Change], _ set: inout [WriteStaging.Change], _ open: inout [Node],
        _ state: State
    ) {
        let isStored = isStored(node, state)
        let names = isStored ? node.names : []
        for old in node.storedNames where !names.contains(old) {
            removed.append(.name(folder: old.folder.number, old.name, nil))
            old.folder.storedChildren -= 1
            if old.folder.storedChildren == 0 { open.append(old.folder) }
        }
        for new in names where !node.storedNames.contains(new) {
            set.append(.name(folder: new.folder.number, new.name, node.number))
            new.folder.storedChildren += 1
            if !new.folder.isStored { open.append(new.folder) }
        }
        node.storedNames = names
        if isStored {
            set.append(.node(node.number, row(node, state)))
        } else if node.isStored {
            removed.append(.node(node.number, nil))
        }
        node.isStored = isStored
    }

    /// Whether the index is to have a node: what the branch does not say, or may not have on disk.
    private func isStored(_ node: Node, _ state: State) -> Bool {
        if node.storedChildren > 0 || state.settled[node.number] != nil { return true }
        if node.number == Self.root { return node.attributes != Attributes() }
        if node.names.isEmpty { return state.dirty[node.number] != nil }
        return state.dirty[node.number] != nil || node.isPinned || node.file != nil || node.base != .natural
            || node.published != nil
    }

    private func row(_ node: Node, _ state: State) -> NodeRow {
        var row = NodeRow()
        row.kind = node.kind.rawValue
        row.mode = node.attributes.mode
        row.owner = node.attributes.owner
        row.group = node.attributes.group
        row.device = node.device
        row.modified = node.attributes.modified
        row.filled = node.filled
        row.planned = node.planned
        row.accessed = node.accessed
        row.changed = node.changed
        row.target = node.attributes.target
        row.extended = node.extended.map { NodeRow.ExtendedAttribute(name: $0.key, value: $0.value) }
        if !node.names.isEmpty, let file = node.file {
            row.file = file.name
            row.address = file.address
            row.closedSize = node.closed?.size
            row.closedTime = node.closed?.modified
            row.isClosePublished = node.closed != nil && node.closed == node.publishedClose
        }
        if !node.names.isEmpty, let whole = node.whole {
            row.wholeFile = whole.file.name
            row.wholeAddress = whole.file.address
            row.wholeSize = whole.closed.size
            row.wholeTime = whole.closed.modified
        }
        row.entry = node.entry
        row.replaced = node.replaced
        row.published = node.published
        switch node.base {
        case .natural: break
        case .none: row.baseKind = 1
        case .at(let path):
            row.baseKind = 2
            row.base = path
        }
        row.isDirty = state.dirty[node.number] != nil
        row.isEntryNew = node.isEntryNew
        if state.settled[node.number] != nil {
            // A crash of the machine may take the publish back: what the branch has of it is looked up then.
            row.planned += (Self.published(node) + node.settledOld).filter { !row.planned.contains($0) }
            row.published = []
            row.isEntryNew = true
            row.isDirty = true
            if let base = node.settledBase, row.baseKind == 0 { (row.baseKind, row.base) = (2, base) }
        }
        return row
    }

    // MARK: reading

    /// Takes up what an earlier process left. Returns the files that were being written when it died.
    func load() throws -> [Node] {
        let rows = try staging.rows(of: id)
        guard !rows.nodes.isEmpty else { return [] }
        var unclosed: [Node] = []
        state.withLock { state in
            for (number, row) in rows.nodes {
                if number != Self.root, let node = restore(number, row, &unclosed) { state.nodes[number] = node }
            }
            if let row = rows.nodes.first(where: { $0.number == Self.root })?.row, let root = state.nodes[Self.root] {
                (root.attributes.mode, root.attributes.owner, root.attributes.group, root.attributes.modified) = (
                    row.mode, row.owner, row.group, row.modified
                )
                root.isStored = true
            }
            for (parent, name, number) in rows.names {
                guard let folder = state.nodes[parent], let node = state.nodes[number] else { continue }
                let place = Node.Name(folder: folder, name: name)
                node.names.append(place)
                node.storedNames.append(place)
                folder.children[name] = node
                folder.storedChildren += 1
            }
            for (number, row) in rows.nodes {
                guard number != Self.root, let node = state.nodes[number] else { continue }
                node.isStored = true
                for path in node.published ?? [] { state.hidden.insert(path, node) }
                if case .at(let base) = node.base {
                    state.hidden.insert(base, node)
                    state.moved[number] = node
                }
                // What the index has of things that went since it was written last.
                if row.isDirty || node.hasNewBytes || node.isEntryNew {
                    note(node, &state)
                } else {
                    state.unwritten[number] = node
                }
            }
        }
        do {
            try settleCrashedPublishes(
                rows.nodes.filter { !$0.row.planned.isEmpty }.map { ($0.number, $0.row.planned) })
        } catch let error as LakeError where error.code == .unavailable && view.isElsewhere {
            // It is found out when that is published again: what is there and the same is ours.
        }
        wake()
        return unclosed
    }

    /// A publish was under way when the process died: what the branch has of it is looked up.
    private func settleCrashedPublishes(_ planned: [(number: UInt64, paths: [Key])]) throws {
        for (number, paths) in planned {
            guard let node = state.withLock({ $0.nodes[number] }) else { continue }
            for path in paths {
                guard let current = try view.find(node.isFolder ? Paths.prefix(path) : path) else { continue }
                state.withLock { state in
                    let isOurs =
                        current.address == node.entry?.address
                        || (node.entry == nil && current.size == 0
                            && (node.isFolder
                                ? current.contentType == Self.folderType
                                : Attributes(current.metadata).target == node.attributes.target))
                    if !isOurs, let own = node.entry, current.lastModified > own.lastModified, !node.isFolder,
                        node.names.count == 1, Self.path(node) == path
                    {
                        // Another door has written it since: that is the newer one.
                        let names = node.names
                        loseNames(of: node, &state)
                        for name in names { state.unwritten[name.folder.number] = name.folder }
                        return
                    }
                    guard isOurs, node.published?.contains(path) != true else { return }
                    if node.entry == nil { node.entry = current }
                    node.published = (node.published ?? []) + [path]
                    state.hidden.insert(path, node)
                    note(node, &state)
                }
            }
        }
        for node in state.withLock({ Array($0.moved.values) }) {
            guard case .at(let old) = node.base, try !view.hasObjects(under: Paths.prefix(old), near: nil),
                try view.hasObjects(under: Paths.prefix(path(of: node)), near: nil)
            else { continue }
            state.withLock { state in
                node.base = .natural
                state.moved[node.number] = nil
                state.hidden.remove(old, node)
                note(node, &state)
            }
        }
    }

    private func restore(_ number: UInt64, _ row: NodeRow, _ unclosed: inout [Node]) -> Node? {
        guard let kind = Node.Kind(rawValue: row.kind) else { return nil }
        let node = Node(number: number, kind: kind, entry: row.entry)
        node.attributes.mode = row.mode
        node.attributes.owner = row.owner
        node.attributes.group = row.group
        node.attributes.modified = row.modified
        node.attributes.target = row.target
        node.accessed = row.accessed
        node.filled = row.filled
        node.changed = row.changed
        node.device = row.device
        node.extended = Dictionary(row.extended.map { ($0.name, $0.value) }) { $1 }
        node.published = row.published
        node.isEntryNew = row.isEntryNew
        node.replaced = row.replaced
        node.base = row.baseKind == 1 ? .none : row.baseKind == 2 ? .at(row.base) : .natural
        node.mayBeEmpty = kind == .folder
        if !row.wholeFile.isEmpty, let size = row.wholeSize, let time = row.wholeTime {
            if let file = try? WorkingFile(staging, recovering: row.wholeFile, address: row.wholeAddress),
                file.status == Node.Closed(size: size, modified: time)
            {
                node.whole = Node.Whole(file: file, closed: Node.Closed(size: size, modified: time))
            } else if let entry = try? adopted(row.wholeAddress, time, row.entry) {
                (node.entry, node.isEntryNew) = (entry, true)  // It had become an object before the crash.
            }
        }
        guard !row.file.isEmpty else { return node }
        let closed = row.closedSize.flatMap { size in row.closedTime.map { Node.Closed(size: size, modified: $0) } }
        do {
            let file = try WorkingFile(staging, recovering: row.file, address: row.address)
            let status = file.status
            node.file = file
            // As it was closed: whole. Anything else nobody has closed.
            if closed != nil, closed == status { node.closed = closed } else { node.isRecovered = true }
            if row.isClosePublished { node.publishedClose = closed }
            if node.isRecovered { unclosed.append(node) }
        } catch {
            // It had become an object before the crash.
            if let entry = try? adopted(row.address, closed?.modified, row.entry) {
                (node.entry, node.isEntryNew) = (entry, true)
            } else {
                Log.error("a file that was written before a crash is not there any more", ["file": row.file])
            }
        }
        return node
    }

    /// The entry of an object that a working file became.
    private func adopted(_ address: String, _ modified: Timestamp?, _ old: Entry?) throws -> Entry? {
        var entry = Entry(
            address: address, lastModified: modified ?? .now(), size: 0, eTag: "", metadata: old?.metadata ?? [:],
            contentType: old?.contentType ?? "application/octet-stream")
        guard let piece = try view.open(entry, at: nil) else { return nil }
        defer { piece.close() }
        entry.size = piece.byteCount
        entry.eTag = try EntityTag.of(piece.descriptor, size: piece.byteCount)
        return entry
    }

    /// Takes up a file that a version before working trees was writing when it died.
    func restore(_ name: String, _ record: WriteStaging.LegacyRecord) throws {
        let file = try WorkingFile(staging, recovering: name, address: record.address)
        let status = file.status
        for path in [record.path] + record.others {
            var parent = Self.root
            var parts = path.bytes.split(separator: Paths.slash).map(Array.init)
            guard let last = parts.popLast() else { continue }
            for part in parts { parent = try (find(parent, part) ?? makeFolder(parent, part, mode: 0o755)).number }
            if let linked = state.withLock({ state in state.nodes.values.first { $0.file === file } }) {
                _ = try makeHardLink(linked.number, parent, last)
                continue
            }
            let node: Node
            if let known = try find(parent, last) {
                node = known
            } else {
                node = try makeFile(parent, last, mode: 0o644)
                finish(try openMade(node))
            }
            let unwanted = state.withLock { state in
                defer {
                    node.file = file
                    node.content += 1
                    node.attributes = Attributes(record.metadata)
                    node.closed = record.closed == nil ? nil : status
                    node.publishedClose = nil
                    node.isRecovered = record.closed == nil
                    note(node, &state)
                }
                return node.file
            }
            unwanted?.drop()
        }
        try writeRows()
        try staging.forgetLegacy(name)
    }

    /// Nothing of it is wanted any more: its branch is gone.
    func discard() {
        isGone.store(true, ordering: .releasing)
        let files = state.withLock { state in
            hold.add(-state.dirty.count)
            state.dirty = [:]
            state.unwritten = [:]
            state.settled = [:]
            return state.nodes.values.compactMap { node in
                defer { if node.handles == 0 { node.file = nil } }
                return node.file
            }
        }
        for file in files {
            Log.warning("a file that was written in a mount goes with its deleted branch", ["file": file.name])
            file.drop()
        }
        do { try staging.removeTree(id) } catch {
            Log.error("the index of a deleted branch stays", ["branch": id.branch.text, "reason": "\(error)"])
        }
    }
}
