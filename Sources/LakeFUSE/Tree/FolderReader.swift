import Foundations
import Glibc
import Synchronization
import Versioning

/// A folder being read. What was changed in it is taken down when reading begins, and merged with pages of the branch,
/// so that memory follows the changes and not the folder's size. A page begins behind the last name of the one before,
/// never at a number: who removes as they go misses nothing (readdir(3)).
final class FolderReader: Sendable {
    struct Item {
        let name: Key
        let isFolder: Bool
        /// What a page of the branch said of a file.
        var entry: Entry?
        /// What is known of it.
        var node: Node?
    }

    private struct State {
        /// Names that the tree knows of, in the order of the branch's keys.
        var known: [Item] = [], nextKnown = 0
        var isBegun = false
        /// Items that were read and may be asked for again: those of the last pages.
        var items: [Item] = [], firstItem = 0
        /// The last key of the branch that was read; nil at its end.
        var after: Key? = Key([])
        var page: [Item] = [], nextOfPage = 0
        /// The folder's version before the page was read.
        var version: UInt64 = 0
    }
    private let state = Mutex(State())
    private static let pageSize = 1000

    /// Forgets what was read (rewinddir(3)).
    func restart() { state.withLock { $0 = State() } }

    /// The version of the folder that what comes from the branch now is true for.
    var version: UInt64 { state.withLock { $0.version } }

    /// The item at an index; nil at the end.
    func item(_ index: Int, _ folder: Node, _ tree: Tree) throws -> Item? {
        try state.withLock { state in
            if index < state.firstItem { state = State() }  // Somebody went back (seekdir(3)): all is read again.
            if !state.isBegun { begin(&state, folder, tree) }
            while index >= state.firstItem + state.items.count {
                guard let item = try next(&state, folder, tree) else { return nil }
                if state.items.count >= 2 * Self.pageSize {
                    state.items.removeFirst(Self.pageSize)
                    state.firstItem += Self.pageSize
                }
                state.items.append(item)
            }
            return state.items[index - state.firstItem]
        }
    }

    /// Where a name comes among the keys: a folder's end in a slash.
    private static func order(_ item: Item) -> Key { item.isFolder ? Paths.prefix(item.name) : item.name }

    private func begin(_ state: inout State, _ folder: Node, _ tree: Tree) {
        state.known = tree.state.withLock { tree in
            folder.children.compactMap { name, child in
                // What is natural and unchanged the branch shows by itself.
                child.published == nil && child.base == .natural && tree.dirty[child.number] == nil
                    ? nil : Item(name: name, isFolder: child.isFolder, node: child)
            }
        }
        state.known.sort { Self.order($0) < Self.order($1) }
        state.isBegun = true
    }

    /// The next item of either.
    private func next(_ state: inout State, _ folder: Node, _ tree: Tree) throws -> Item? {
        while true {
            while state.nextOfPage == state.page.count, state.after != nil { try read(&state, folder, tree) }
            let onBranch = state.nextOfPage < state.page.count ? state.page[state.nextOfPage] : nil
            let here = state.nextKnown < state.known.count ? state.known[state.nextKnown] : nil
            guard let here else {
                state.nextOfPage += onBranch == nil ? 0 : 1
                return onBranch
            }
            if let onBranch {
                if Self.order(onBranch) < Self.order(here) {
                    state.nextOfPage += 1
                    return onBranch
                }
                if onBranch.name == here.name { state.nextOfPage += 1 }  // It was published meanwhile.
            }
            state.nextKnown += 1
            // It may have gone since.
            if tree.state.withLock({ _ in folder.children[here.name] === here.node }) { return here }
        }
    }

    private func read(_ state: inout State, _ folder: Node, _ tree: Tree) throws {
        tree.moving.readLock()
        defer { tree.moving.unlock() }
        for _ in 0..<Self.mostTries {
            let (base, version, publishes) = tree.state.withLock { (Tree.base(folder), folder.version, $0.publishes) }
            state.page = []
            state.nextOfPage = 0
            state.version = version
            guard let base else {
                state.after = nil
                return
            }
            // What was hidden when the page was read may be gone from the branch, and be hidden no more.
            if try read(&state, folder, tree, base, ifPublishes: publishes) { return }
        }
        throw Errno(EAGAIN)
    }

    private static let mostTries = 1000

    private func read(_ state: inout State, _ folder: Node, _ tree: Tree, _ base: Key, ifPublishes publishes: UInt64)
        throws -> Bool
    {
        var query = Catalog.ListQuery()
        query.prefix = Paths.prefix(base)
        query.delimiter = "/"
        // Behind the last name, wherever the folder lies now.
        query.after = state.after!.isEmpty ? Key([]) : Paths.join(base, state.after!.bytes)
        query.limit = Self.pageSize
        let page = try tree.view.list(query)
        let start = query.prefix.count
        var folders: Set<Key> = []
        let isCurrent = tree.state.withLock { tree in
            guard tree.publishes == publishes else { return false }
            for item in page.items {
                let name = Key(Array(Paths.trimmed(item.path).bytes.dropFirst(start)))
                guard Paths.isName(name.bytes) else { continue }
                if !tree.hidden.isEmpty, tree.hidden.contains(Paths.trimmed(item.path)) {
                    // What has the name here shows, as the tree knows it.
                    if let child = folder.children[name] {
                        state.page.append(Item(name: name, isFolder: child.isFolder, node: child))
                    }
                    continue
                }
                switch item {
                case .commonPrefix:
                    folders.insert(name)
                    state.page.append(Item(name: name, isFolder: true))
                case .object(let path, let entry):
                    if !Paths.isMarker(path) { state.page.append(Item(name: name, isFolder: false, entry: entry)) }
                }
            }
            return true
        }
        guard isCurrent else { return false }
        // With both `a` and `a/b` the folder wins (mount.md section 1).
        if !folders.isEmpty { state.page.removeAll { !$0.isFolder && folders.contains($0.name) } }
        state.after = page.hasMore ? page.items.last.map { Key(Array($0.path.bytes.dropFirst(start))) } : nil
        return true
    }
}
