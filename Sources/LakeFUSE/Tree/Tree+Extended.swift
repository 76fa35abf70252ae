import CacheStore
import Foundations
import Glibc
import Synchronization
import Versioning

/// Extended attributes (xattr(7)): `user.*` as programs set them, kept in the tree; `user.lake.*` tell what a file is
/// on the branch.
extension Tree {
    /// Bytes of all names and values of one node, as ext4 bounds them.
    private static let mostExtended = 64 << 10

    private static let prefix = Key("user."), lake = Key("user.lake.")
    private static let state = Key("user.lake.state"), checksum = Key("user.lake.checksum"),
        address = Key("user.lake.physical_address"), commit = Key("user.lake.commit")

    /// - Throws: `ENODATA`; `EOPNOTSUPP` for other kinds of attributes: programs stop asking then.
    func extended(_ node: Node, _ name: Key, _ rights: Rights) throws -> [UInt8] {
        guard name.hasPrefix(Self.prefix) else { throw Errno(EOPNOTSUPP) }
        if name.hasPrefix(Self.lake) {
            guard let value = try lakeFact(node, name) else { throw Errno(ENODATA) }
            return Array(value.utf8)
        }
        guard let value = state.withLock({ _ in node.extended[name] }) else { throw Errno(ENODATA) }
        return value
    }

    private func lakeFact(_ node: Node, _ name: Key) throws -> String? {
        let (entry, isChanged, isNew) = state.withLock { state in
            (
                node.entry, state.dirty[node.number] != nil || node.hasNewBytes || node.isUnclosed,
                Self.published(node).isEmpty
            )
        }
        switch name {
        case Self.checksum: return isChanged ? nil : entry?.eTag
        case Self.address: return try isChanged ? nil : entry.map { try view.location($0) }
        case Self.commit: return try view.commitID().text
        case Self.state: return isNew ? "added" : try isChanged ? "changed" : committedState(node)
        default: return nil
        }
    }

    /// Whether what the branch has of a node is in its commit.
    private func committedState(_ node: Node) throws -> String {
        guard let path = state.withLock({ _ in Self.published(node).first }) else { return "added" }
        let key = node.isFolder ? Paths.prefix(path) : path
        guard let committed = try view.committed(key) else { return "added" }
        return committed.address == entry(of: node)?.address && committed.metadata == entry(of: node)?.metadata
            ? "committed" : "changed"
    }

    func extendedNames(_ node: Node) -> [Key] {
        let own = state.withLock { _ in node.extended.keys.sorted() }
        guard node.number != Self.root, node.kind.isCommittable else { return own }
        return own + (node.isFolder ? [] : [Self.commit, Self.checksum, Self.address, Self.state])
    }

    /// Sets an attribute, or (nil) removes it.
    func setExtended(_ node: Node, _ name: Key, _ value: [UInt8]?, flags: Int32, _ rights: Rights) throws {
        try requireChangeable(node, rights)
        try view.checkWritable()
        guard name.hasPrefix(Self.prefix) else { throw Errno(EOPNOTSUPP) }
        guard !name.hasPrefix(Self.lake) else { throw Errno(EPERM) }
        // xattr(7): only these may have user attributes.
        guard node.kind == .file || node.isFolder else { throw Errno(EPERM) }
        let create: Int32 = 1
        let replace: Int32 = 2  // XATTR_CREATE, XATTR_REPLACE
        try state.withLock { state in
            let isThere = node.extended[name] != nil
            if flags & create != 0, isThere { throw Errno(EEXIST) }
            if !isThere, value == nil || flags & replace != 0 { throw Errno(ENODATA) }
            if let value {
                let bytes = node.extended.reduce(name.count + value.count) {
                    $0 + ($1.key == name ? 0 : $1.key.count + $1.value.count)
                }
                guard bytes <= Self.mostExtended else { throw Errno(ENOSPC) }
            }
            node.extended[name] = value
            node.changed = .now()
            // The branch keeps none of it.
            state.unwritten[node.number] = node
        }
        wake()
    }
}
