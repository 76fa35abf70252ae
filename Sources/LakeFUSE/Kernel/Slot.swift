package import Foundations
import Glibc
import Synchronization
import Versioning

/// What a mount is asked to be, beside which ref it shows.
package struct MountOptions: Sendable, Equatable {
    /// The folder that is shown, with a slash at its end; empty for all.
    package var prefix = Key([])
    /// Who owns what says nothing of an owner, and the permissions that it does not have (mount(8), `uid`, `gid`,
    /// `umask`).
    package var owner: UInt32?, group: UInt32?, umask: UInt32?
    /// Whether a close returns when the file is on disk.
    package var syncsOnClose = false
    /// Whether the kernel opens and closes files without asking, which is for what never changes (linux/fuse.h,
    /// FUSE_NO_OPEN_SUPPORT): a file that it has in its cache is read without a request. It holds for all files of a
    /// mount, so there is no `.lake/` then, and excludes passthrough.
    package var skipsOpen = false
    /// Whether other users may look (mount.fuse3(8), `allow_other`); they may where root has mounted.
    package var allowsOthers = false
    package init() {}

    /// For refs that are browsed: all of them.
    var browsing: MountOptions {
        var options = self
        options.prefix = Key([])
        return options
    }

    /// The permissions of what says nothing of them.
    func mode(_ standard: UInt32, isFolder: Bool) -> UInt32 {
        umask.map { (isFolder ? 0o777 : 0o666) & ~$0 } ?? standard
    }
}

/// One of the trees of a mount. The kernel knows its nodes by their numbers, with the slot's above them.
final class Slot: Sendable {
    static let shift: UInt64 = 56
    let tree: Tree
    let index: UInt64
    let options: MountOptions
    /// The kernel knows nothing of it any more, or all it knew is to be forgotten.
    let isRetired = Atomic<Bool>(false)
    /// The node of the folder that is shown.
    private let rootNumber = Atomic<UInt64>(Tree.root)

    /// - Parameter makesRoot: whether the folder that is to be shown is made if there is none.
    /// - Throws: `.notFound(.object)` if there is none.
    init(_ tree: Tree, index: UInt64, _ options: MountOptions, _ rights: Tree.Rights, makesRoot: Bool) throws {
        self.tree = tree
        self.index = index
        self.options = options
        try findRoot(rights, makes: makesRoot)
    }

    var prefix: Key { options.prefix }
    var root: UInt64 { rootNumber.load(ordering: .acquiring) }

    /// How the kernel knows a node.
    func number(_ local: UInt64) -> UInt64 { index << Self.shift | local }

    /// Sees to it that the folder that is shown is there: another door may have taken it away, or all that was in it.
    func findRoot(_ rights: Tree.Rights, makes: Bool) throws {
        guard !prefix.isEmpty else { return }
        try finding.withLock { _ in try findRootAlone(rights, makes) }
    }
    private let finding = Mutex<Void>(())

    private func findRootAlone(_ rights: Tree.Rights, _ makes: Bool) throws {
        let old = root
        if old != Tree.root, let node = try? tree.node(old), tree.isNamed(node) { return }
        var folder = try tree.node(Tree.root)
        let parts = prefix.bytes.split(separator: Paths.slash).map(Array.init)
        for (index, part) in parts.enumerated() {
            if let known = try tree.find(folder.number, part, counts: index == parts.count - 1) {
                guard known.isFolder else {
                    throw LakeError(.invalidValue, "\(prefix) is no folder: it is a file of the ref")
                }
                folder = known
                continue
            }
            guard makes, !tree.isReadOnly else {
                throw LakeError(.notFound(.object), "there is nothing under \(prefix)")
            }
            folder = try tree.makeFolder(folder.number, part, mode: 0o755, rights)
            // A folder that was made is known to the kernel once.
            if index < parts.count - 1 { tree.forget(folder.number, 1) }
        }
        rootNumber.store(folder.number, ordering: .releasing)
        if old != Tree.root { tree.forget(old, 1) }
    }

    /// The folder is shown no more.
    func leaveRoot() { if root != Tree.root { tree.forget(root, 1) } }
}
