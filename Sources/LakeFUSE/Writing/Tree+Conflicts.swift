import Foundations
import Glibc
import Synchronization
import Versioning

/// What was changed here and by others since it was read, in a lake elsewhere (`mount.md` section 2, remote): theirs is
/// never written over unseen.
extension Tree {
    /// Decides what becomes of files whose paths do not show what was expected of them.
    /// - Parameters:
    ///   - steps: what was to be published: nodes, their entries and paths.
    ///   - expected: the addresses that paths were to show.
    func resolveConflicts(
        _ steps: [(node: Node, entry: Entry?, paths: [Key])], _ expected: [Key: String?], _ rule: ConflictRule
    ) throws {
        for (node, entry, paths) in steps where !node.isFolder {
            guard let entry else { continue }
            for path in paths {
                guard let wanted = expected[path] else { continue }
                let current = try view.find(path)
                guard current?.address != wanted, state.withLock({ _ in node.isEntryNew }) else { continue }
                if let current, current.eTag == entry.eTag, current.size == entry.size {
                    // It is what we were to write: a publish that was cut off has got there.
                    state.withLock { _ in
                        node.entry?.address = current.address
                        node.isEntryNew = false
                        node.replaced = nil
                    }
                } else if let replaced = state.withLock({ _ in node.replaced }), let current,
                    current.eTag == replaced.eTag, current.size == replaced.size
                {
                    state.withLock { _ in node.replaced = current }  // The same bytes at another address.
                } else {
                    try resolveConflict(of: node, at: path, with: current, rule)
                }
            }
        }
    }

    private func resolveConflict(of node: Node, at path: Key, with current: Entry?, _ rule: ConflictRule) throws {
        switch rule {
        case .mine: state.withLock { _ in node.replaced = current }
        case .theirs:
            let notices = state.withLock { state -> [Notice] in
                let notices = node.names.map { Notice.name(folder: $0.folder.number, $0.name.bytes) }
                if let file = node.file, node.handles == 0 {
                    state.dropped.append(file)
                    node.file = nil
                }
                loseNames(of: node, &state)
                return notices
            }
            noteConflict("\(path): changed here and elsewhere; theirs was taken", notices)
        case .keep:
            for count in 0... {
                let kept = state.withLock { state -> (name: Key, notices: [Notice])? in
                    guard let index = node.names.firstIndex(where: { Self.path($0) == path }) else {
                        return (Key([]), [])
                    }
                    let old = node.names[index]
                    let name = Self.conflictName(old.name, count)
                    guard old.folder.children[name] == nil else { return nil }
                    if old.folder.children[old.name] === node { old.folder.children[old.name] = nil }
                    Self.materialize(node, &state)
                    node.names[index] = Node.Name(folder: old.folder, name: name)
                    old.folder.children[name] = node
                    node.published?.removeAll { $0 == path }
                    state.hidden.remove(path, node)
                    node.replaced = nil
                    Self.noteChange(in: old.folder)
                    note(node, &state)
                    return (
                        name,
                        [
                            .name(folder: old.folder.number, old.name.bytes),
                            .name(folder: old.folder.number, name.bytes), .node(old.folder.number),
                        ]
                    )
                }
                guard let kept else { continue }
                if !kept.name.isEmpty {
                    noteConflict("\(path): changed here and elsewhere; ours is kept as \(kept.name)", kept.notices)
                }
                return
            }
        }
    }

    /// `NAME.conflict-USER-TIME`, with what NAME loses if that is too long for a name.
    private static func conflictName(_ name: Key, _ count: Int) -> Key {
        let time = Timestamp.now().rfc3339.filter { $0.isNumber }.prefix(14)
        let user = unsafe getpwuid(getuid()).map { unsafe String(cString: $0.pointee.pw_name) } ?? "\(getuid())"
        let mark = Array(".conflict-\(user)-\(time)\(count == 0 ? "" : "-\(count)")".utf8)
        return Key(Array(name.bytes.prefix(255 - mark.count)) + mark)
    }

    private static let mostConflicts = 1000

    private func noteConflict(_ text: String, _ notices: [Notice]) {
        conflicts.withLock { conflicts in
            if conflicts.count == Self.mostConflicts { conflicts.removeFirst() }
            conflicts.append(text)
        }
        Log.warning("a file of a mount was changed elsewhere too", ["conflict": text])
        tell(notices)
        wake()
    }
}
