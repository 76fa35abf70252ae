import CacheStore
import Foundations
import Glibc
import Synchronization
import Versioning

/// The step from the tree to the branch: files become objects, and names entries (`mount.md` section 2, publishing). It
/// runs on threads that may wait, never in a request of the kernel; one at a time.
extension Tree {
    enum Scope {
        /// What nobody has touched for a while.
        case quiet
        /// Everything that was closed: somebody looks.
        case closed
        /// One node, and the folders made for it.
        case one(Node)
    }

    /// Takes changes to the branch. Files that are open for writing are as they were when they were last closed, if
    /// they were.
    /// - Returns: whether nothing of the scope is left for later.
    /// - Throws: the first error; what it does not concern is published all the same.
    @discardableResult
    func publish(_ scope: Scope, _ durability: Durability = .eventual) throws -> Bool {
        guard !isReadOnly else { return true }
        return try publishing.withLock { _ in
            guard !isGone.load(ordering: .acquiring) else { throw Errno(EIO) }
            var (nodes, isDone) = choose(scope)
            var problem: (any Error)?
            var empty: String?
            defer {
                state.withLock { state in
                    for node in nodes {
                        node.isChosen = false
                        Self.release(node, &state)
                    }
                }
            }
            for node in nodes where state.withLock({ _ in node.hasNewBytes && !node.names.isEmpty }) {
                do { try freeze(node, &empty) } catch {
                    // It was removed meanwhile.
                    guard state.withLock({ _ in node.hasNewBytes && !node.names.isEmpty }) else { continue }
                    problem = problem ?? error
                    isDone = false
                }
            }
            if durability == .durable { try view.synchronizeObjects() }
            do { try stage(nodes, durability, &empty) } catch let error as LakeError
                where error.code == .invalidValue && nodes.count > 1
            {
                // One that the branch will never take must not keep the others: it is named by status.
                for node in nodes { do { try stage([node], durability, &empty) } catch { refuse(node, error) } }
            } catch {
                problem = problem ?? error
            }
            if let problem { throw problem }
            failure.withLock { $0 = nil }
            return isDone
        }
    }

    private func refuse(_ node: Node, _ error: any Error) {
        state.withLock { state in
            node.refusal = LakeError(error).message
            noteClean(node, &state)
        }
        Log.warning(
            "the branch does not take a file of a mount",
            ["path": path(of: node).description, "reason": LakeError(error).message])
    }

    /// The nodes to publish, with the new folders that they lie in.
    private func choose(_ scope: Scope) -> (nodes: [Node], isDone: Bool) {
        let now = Timestamp.monotonicMilliseconds()
        return state.withLock { state in
            var isDone = true
            var chosen: [UInt64: Node] = [:]
            func choose(_ node: Node) {
                guard chosen.updateValue(node, forKey: node.number) == nil else { return }
                node.isChosen = true
                for name in node.names {
                    // The marker of a folder goes when something comes into it.
                    if Self.hasBareMarker(name.folder), name.folder.number != Self.root {
                        name.folder.mayBeEmpty = true
                        note(name.folder, &state)
                    }
                    if name.folder.base == .none || name.folder.mayBeEmpty, state.dirty[name.folder.number] != nil {
                        choose(name.folder)
                    }
                }
            }
            switch scope {
            case .one(let node) where state.moved.isEmpty: choose(node)
            case .quiet where state.moved.isEmpty:
                for node in state.dirty.values {
                    // A large file that is closed again and again is not hashed again and again.
                    if node.hasNewBytes, !node.names.isEmpty,
                        now - node.touched < max(Keeper.quiet(self), 2 * node.took)
                    {
                        isDone = false
                    } else {
                        choose(node)
                    }
                }
            default:
                // What lies in a renamed folder moves with it, or not at all; what has several names says by itself
                // where it is.
                if !state.moved.isEmpty {
                    for node in state.nodes.values
                    where state.dirty[node.number] == nil && node.kind.isCommittable && !node.names.isEmpty {
                        if let published = node.published, Set(published) != Set(node.names.map { Self.path($0) }) {
                            note(node, &state)
                        }
                    }
                }
                for node in state.dirty.values { choose(node) }
            }
            return (Array(chosen.values), isDone)
        }
    }

    /// A folder's marker is one of ours, and says nothing but that the folder is there.
    static func hasBareMarker(_ folder: Node) -> Bool {
        folder.entry.map { $0.size == 0 && $0.contentType == folderType } ?? false
    }

    /// Nothing of a node is to be published any more. Under the lock.
    func noteClean(_ node: Node, _ state: inout State) {
        if state.dirty[node.number] === node {
            state.dirty[node.number] = nil
            hold.add(-1)
        }
        // The index keeps it until the branch has it on disk.
        if node.isStored {
            node.settledAt = state.publishes
            state.settled[node.number] = node
            state.unwritten[node.number] = node
        }
    }

    // MARK: entries

    /// What a node is to be on the branch, as planned.
    private struct Step {
        let node: Node
        let edits: UInt64
        /// Where it is to be, and where it was. A folder's without a slash.
        var paths: [Key] = [], old: [Key] = []
        var entry: Entry?
        /// A folder's marker is to go, or it has none.
        var isUnmarked = false
    }

    private struct Plan {
        var steps: [Step] = []
        var changes: [Key: Entry?] = [:]
        var expected: [Key: String?] = [:]
        /// Folders that were renamed: where they were.
        var moved: [(node: Node, old: Key)] = []
    }

    static let mostFreezes = 8

    /// Stages what nodes are in one step.
    private func stage(_ nodes: [Node], _ durability: Durability, _ empty: inout String?) throws {
        for attempt in 1... {
            let hasMoves = state.withLock { !$0.moved.isEmpty }
            // What is in a renamed folder is looked for elsewhere from one moment to the next.
            if hasMoves { moving.writeLock() }
            defer { if hasMoves { moving.unlock() } }
            if state.withLock({ !hasMoves && !$0.moved.isEmpty }) { continue }
            let bare = try emptyFolders(nodes)
            let needsEmpty = state.withLock { (state) -> Bool in
                nodes.contains { state.dirty[$0.number] != nil && ($0.kind == .link || $0.isFolder) && $0.entry == nil }
            }
            if needsEmpty { _ = try emptyAddress(&empty) }
            var plan = state.withLock { [empty] state in self.plan(nodes, bare, empty, &state) }
            do {
                if hasMoves { try addMoves(&plan) }
                // The new paths do not show by themselves until the tree knows that they are there.
                state.withLock { state in
                    for step in plan.steps where !step.node.isFolder && step.entry != nil {
                        for path in step.paths { state.hidden.insert(path, step.node) }
                    }
                }
                try writeRows()
            } catch {
                state.withLock { abandon(plan, &$0) }
                throw error
            }
            if plan.changes.isEmpty { return state.withLock { settle(plan, &$0) } }
            do {
                take(
                    try view.stage(
                        plan.changes.map { ($0.key, $0.value) }, durability,
                        expecting: plan.expected.map { ($0.key, $0.value) }), &plan)
            } catch {
                state.withLock { abandon(plan, &$0) }
                guard let error = error as? LakeError, error.code == .preconditionFailed, attempt < Self.mostFreezes
                else { throw error }
                if let rule = view.conflicts {
                    try resolveConflicts(plan.steps.map { ($0.node, $0.entry, $0.paths) }, plan.expected, rule)
                }
                try reconcile(plan)
                continue
            }
            if durability != .durable { hasUnsyncedObjects.store(true, ordering: .releasing) }
            return state.withLock { settle(plan, &$0) }
        }
    }

    /// The lake made other entries of what was staged.
    private func take(_ made: [String: Entry], _ plan: inout Plan) {
        guard !made.isEmpty else { return }
        state.withLock { _ in
            for index in plan.steps.indices {
                guard let given = plan.steps[index].entry?.address, let new = made[given] else { continue }
                plan.steps[index].entry?.address = new.address
                plan.steps[index].entry?.eTag = new.eTag
                plan.steps[index].entry?.metadata = new.metadata
                let node = plan.steps[index].node
                guard node.entry?.address == given else { continue }
                node.entry?.address = new.address
                node.entry?.eTag = new.eTag
                node.entry?.metadata = new.metadata
            }
        }
    }

    /// Nothing was staged: what shows is what the tree says. Under the lock.
    private func abandon(_ plan: Plan, _ state: inout State) {
        for step in plan.steps {
            for path in step.paths where step.node.published?.contains(path) != true {
                state.hidden.remove(path, step.node)
            }
            step.node.isPlanned = false
            if step.node.names.isEmpty, step.node.published?.isEmpty == true { noteClean(step.node, &state) }
        }
    }

    /// Folders among the nodes in which nothing is that the branch can have.
    private func emptyFolders(_ nodes: [Node]) throws -> Set<UInt64> {
        var found: Set<UInt64> = []
        for node in nodes where node.isFolder {
            let base: Key?? = state.withLock { _ in
                guard node.mayBeEmpty, !node.names.isEmpty,
                    !node.children.values.contains(where: {
                        $0.kind.isCommittable && ($0.entry != nil || $0.kind != .file || $0.hasNewBytes)
                    })
                else { return .none }
                return .some(Self.base(node))
            }
            guard let base else { continue }
            if let base, try hasVisible(under: base) { continue }
            found.insert(node.number)
        }
        return found
    }

    /// What to stage for nodes. Under the lock.
    private func plan(_ nodes: [Node], _ bare: Set<UInt64>, _ empty: String?, _ state: inout State) -> Plan {
        var plan = Plan()
        for node in nodes where state.dirty[node.number] === node {
            var step = Step(node: node, edits: node.edits)
            step.old = Self.published(node)
            step.paths = node.names.map { Self.path($0) }
            var entry = node.entry
            if node.isFolder {
                let isPlain = { () -> Bool in
                    var plain = Metadata()
                    node.attributes.write(into: &plain, isFolder: true)
                    return plain.isEmpty
                }()
                step.isUnmarked =
                    isPlain && !bare.contains(node.number)
                    && (entry == nil || (Self.hasBareMarker(node) && node.mayBeEmpty))
                if entry == nil {
                    entry = Entry(
                        address: empty ?? "", lastModified: .now(), size: 0, eTag: Self.emptyTag,
                        contentType: Self.folderType)
                }
            } else if node.kind == .link, entry == nil {
                entry = Self.entry(
                    nil, address: empty ?? "", size: 0, eTag: Self.emptyTag, modified: node.changed ?? .now())
            }
            for old in step.old {
                let key = node.isFolder ? Paths.prefix(old) : old
                if plan.changes[key] == nil { plan.changes[key] = .some(nil) }
                if let known = node.isEntryNew ? view.conflicts == nil ? nil : node.replaced : node.entry {
                    plan.expected[key] = known.address
                }
            }
            if var entry, !step.isUnmarked {
                node.attributes.write(into: &entry.metadata, isFolder: node.isFolder)
                step.entry = entry
                for path in step.paths {
                    plan.changes[node.isFolder ? Paths.prefix(path) : path] = entry
                }
            }
            node.isPlanned = true
            // A crash may come when the branch has it and we do not know yet.
            node.planned = step.entry == nil ? [] : step.paths.filter { !step.old.contains($0) }
            if !node.planned.isEmpty { state.unwritten[node.number] = node }
            plan.steps.append(step)
        }
        // What is new here must not be there.
        if view.conflicts != nil {
            for step in plan.steps where step.entry != nil && !step.node.isFolder {
                for path in step.paths where plan.expected[path] == nil && step.node.isEntryNew {
                    plan.expected[path] = .some(nil)
                }
            }
            for step in plan.steps where step.node.isFolder {
                for path in step.paths { plan.expected[Paths.prefix(path)] = nil }
            }
        }
        return plan
    }

    static let folderType = "application/x-directory"

    /// Entries that one rename of a folder may take along: they are staged in one transaction.
    private static let mostMoved = 2_000_000

    /// What nobody changed in renamed folders moves with them.
    private func addMoves(_ plan: inout Plan) throws {
        let moved = state.withLock { state in
            state.moved.values.compactMap { node -> (node: Node, old: Key, new: Key)? in
                guard case .at(let old) = node.base, !node.names.isEmpty else { return nil }
                return (node, old, Self.path(node))
            }
        }
        for (node, old, new) in moved {
            plan.moved.append((node, old))
            let marker = Paths.prefix(old)
            try eachVisible(under: old) { path, entry in
                // A marker that is known goes with its folder.
                guard path != marker || node.entry == nil else { return }
                guard plan.changes.count < Self.mostMoved else {
                    throw LakeError(.invalidValue, "folder \(new) holds too many entries to be renamed in one step")
                }
                if plan.changes[path] == nil { plan.changes[path] = .some(nil) }
                let target = Key(new.bytes + path.bytes.dropFirst(old.count))
                if plan.changes[target] == nil || plan.changes[target]! == nil { plan.changes[target] = entry }
                plan.expected[path] = entry.address
            }
        }
    }

    /// The branch has what was planned. Under the lock.
    private func settle(_ plan: Plan, _ state: inout State) {
        state.publishes += 1
        for (node, old) in plan.moved {
            guard node.base == .at(old) else { continue }
            node.base = .natural
            node.settledBase = old
            state.moved[node.number] = nil
            state.hidden.remove(old, node)
            state.unwritten[node.number] = node
        }
        // What was staged over something that another node had there is not that one's to remove any more.
        let planned = Set(plan.steps.map { ObjectIdentifier($0.node) })
        for node in state.dirty.values where !planned.contains(ObjectIdentifier(node)) {
            guard let published = node.published else { continue }
            for path in published where plan.changes[node.isFolder ? Paths.prefix(path) : path] != nil {
                node.published?.removeAll { $0 == path }
                state.hidden.remove(path, node)
                state.unwritten[node.number] = node
            }
        }
        // Folders first, and those that hold others before these: what lies in them is where they say.
        let folders = plan.steps.filter(\.node.isFolder).sorted {
            $0.paths.first?.count ?? 0 < $1.paths.first?.count ?? 0
        }
        for step in folders { settle(step, &state) }
        for step in plan.steps where !step.node.isFolder { settle(step, &state) }
    }

    private func settle(_ step: Step, _ state: inout State) {
        let node = step.node
        let isAsPlanned = node.edits == step.edits
        node.isPlanned = false
        node.planned = []
        if step.entry?.address == node.entry?.address || node.entry == nil {
            node.isEntryNew = false
            node.replaced = nil
        } else if step.entry != nil {
            node.replaced = step.entry
        }
        if node.isFolder {
            if isAsPlanned { node.mayBeEmpty = false }
            node.entry = step.isUnmarked || step.paths.isEmpty ? nil : step.entry
            if node.base == .none, let path = step.paths.first, !node.names.isEmpty {
                node.base = .natural
                if Self.base(node) != path {
                    node.base = .at(path)
                    state.moved[node.number] = node
                    state.hidden.insert(path, node)
                }
            }
        } else if let entry = step.entry, node.entry == nil || node.entry?.address == entry.address {
            node.entry = entry
        }
        var published = step.entry == nil ? [] : step.paths
        // A folder that was removed meanwhile does not show until what was removed in it is gone from the branch too.
        if node.isFolder, node.names.isEmpty, !isAsPlanned {
            published += (node.published ?? []).filter { !published.contains($0) }
        }
        node.published = published
        if node.names.count == 1, step.paths.count <= 1, let name = node.names.first {
            let natural = Self.base(name.folder).map { Paths.join($0, name.name.bytes) }
            // Where its name says: the branch shows it by itself; or there is nothing that it could show.
            if node.published!.first == natural || (node.published!.isEmpty && node.isFolder) {
                node.published = nil
            }
        }
        for path in step.old + step.paths { state.hidden.remove(path, node) }
        for path in node.published ?? [] { state.hidden.insert(path, node) }
        if case .at(let base) = node.base, node.isFolder { state.hidden.insert(base, node) }
        state.unwritten[node.number] = node
        node.settledOld = step.old
        guard isAsPlanned else {
            // Removed or renamed meanwhile: the branch is to follow.
            if state.dirty.updateValue(node, forKey: node.number) == nil { hold.add(1) }
            state.actions += 1
            return
        }
        if !node.hasNewBytes { noteClean(node, &state) }
        Self.release(node, &state)
    }

    /// Other doors changed what was to be moved or marked: their version is the newer one.
    private func reconcile(_ plan: Plan) throws {
        for step in plan.steps where !step.old.isEmpty {
            for old in step.old {
                let current = try view.find(step.node.isFolder ? Paths.prefix(old) : old)
                state.withLock { state in
                    let node = step.node
                    guard let expected = plan.expected[node.isFolder ? Paths.prefix(old) : old],
                        current?.address != expected
                    else { return }
                    if let current, let own = node.entry, current.eTag == own.eTag, current.size == own.size {
                        // The same bytes: a commit keeps the entry that it had, and with it another object.
                        node.entry?.address = current.address
                        return
                    }
                    guard node.edits == step.edits else { return }
                    if node.names.isEmpty || current == nil || Self.published(node).count > 1 {
                        // Removed here, and written there since; or the other way round; or one name of several is
                        // another file's now.
                        if let name = node.names.first(where: { Self.path($0) == old }), node.names.count > 1 {
                            node.names.removeAll { $0 == name }
                            if name.folder.children[name.name] === node { name.folder.children[name.name] = nil }
                            name.folder.version += 1
                        }
                        node.published = Self.published(node).filter { $0 != old }
                        state.hidden.remove(old, node)
                        if current == nil, !node.names.isEmpty, !node.isFolder { loseNames(of: node, &state) }
                    } else {
                        node.entry = current
                        if let current, node.file == nil {
                            let mode = node.attributes
                            node.attributes = Attributes(current.metadata)
                            if node.published == nil {
                                (node.attributes.mode, node.attributes.owner, node.attributes.group) = (
                                    mode.mode, mode.owner, mode.group
                                )
                            }
                        }
                    }
                }
            }
        }
    }

    // MARK: looking

    /// Somebody looks at the branch, or at one path of it: what was closed is published before.
    func settle(_ path: Key?) {
        let scope = state.withLock { state -> Scope? in
            guard !state.dirty.isEmpty else { return nil }
            return path.map { concern($0, state) } ?? .closed
        }
        guard let scope else { return }
        do { try publish(scope) } catch {
            failure.withLock { $0 = LakeError(error).message }
            Log.error(
                "what was written in a mount could not be published",
                ["branch": id.branch.text, "reason": LakeError(error).message])
        }
    }

    /// What must be published for a path of the branch to be as the tree has it. Under the lock.
    private func concern(_ path: Key, _ state: State) -> Scope? {
        guard state.moved.isEmpty else { return .closed }
        var folder = state.nodes[Self.root]!
        var parts = path.bytes.split(separator: Paths.slash, omittingEmptySubsequences: false).map { Key(Array($0)) }
        if parts.last?.isEmpty == true { parts.removeLast() }
        for (index, part) in parts.enumerated() {
            guard let child = folder.children[part] else {
                // What comes into a folder that the branch does not have makes it one that it has.
                if folder.base == .none { return .one(folder) }
                return Self.isHidden(path, below: Key([]), state) ? .closed : nil
            }
            if index < parts.count - 1, child.isFolder {
                if state.dirty[child.number] != nil, child.published?.isEmpty == false { return .closed }
                folder = child
                continue
            }
            guard state.dirty[child.number] != nil else {
                return Self.isHidden(path, below: Key([]), state) && child.published?.contains(path) != true
                    ? .closed : nil
            }
            // What another had there before goes with it.
            let isAlone =
                child.names.count == 1 && Self.published(child).allSatisfy { $0 == path }
                && !state.hidden.contains(path, but: child)
            return isAlone ? .one(child) : .closed
        }
        return .closed
    }
}
