import CFUSE
import CacheStore
import Foundations
import Glibc
import Synchronization
import Versioning

/// `.lake/`: versions inside the mount, as plain files that a person or a script uses without any client (`mount.md`
/// section 3). Listings of the root do not tell of it. Its inodes have the last slot's numbers.
final class Control: Sendable {
    /// The slot whose numbers it has.
    static let index: UInt64 = 63
    private static let name = Array(".lake".utf8)

    enum Item: UInt64, CaseIterable {
        case root = 1
        case refs, status, diff, log, ref, commit, push, recover, errors, stats, shadowed, unshown

        var name: String { self == .root ? ".lake" : "\(self)" }
        var isFolder: Bool { self == .root || self == .refs || self == .shadowed }
        var isWritable: Bool { [.ref, .commit, .push, .recover].contains(self) }
        var number: UInt64 { Control.index << Slot.shift | rawValue }
        static let listed = allCases.filter { $0 != .root }.sorted { $0.name < $1.name }
    }

    /// What was done last, and what came of it.
    private let results = Mutex<[Item: String]>([:])

    func note(_ result: String, _ item: Item) { results.withLock { $0[item] = result } }
    func result(_ item: Item) -> String? { results.withLock { $0[item] } }

    // MARK: requests

    static func owns(_ number: fuse_ino_t) -> Bool { UInt64(number) >> Slot.shift == index }
    private static func item(_ number: fuse_ino_t) -> Item? {
        owns(number) ? Item(rawValue: UInt64(number) & (1 << Slot.shift - 1)) : nil
    }

    /// Nothing is made, removed or moved in it.
    static func requireOutside(_ number: fuse_ino_t, else error: Int32 = EROFS) throws {
        if owns(number) { throw Errno(error) }
    }

    /// Answers a look-up that is its own.
    static func lookup(_ request: Operations.Request, _ parent: fuse_ino_t, _ name: [UInt8]) throws -> Bool {
        if UInt64(parent) == Tree.root, name == Self.name, !request.mount.options.skipsOpen {
            reply(request, .root)
            return true
        }
        guard let folder = item(parent) else { return false }
        let text = String(decoding: name, as: UTF8.self)
        switch folder {
        case .root:
            guard let found = Item.listed.first(where: { $0.name == text }) else { throw Errno(ENOENT) }
            if found == .shadowed { return try replyRoot(request, request.mount.browseShadowed()) }
            reply(request, found)
        case .refs:
            let slot: Slot
            do { slot = try request.mount.browse(text) } catch let error as LakeError {
                if case .invalidValue = error.code { throw Errno(ENOENT) }
                throw error
            }
            return try replyRoot(request, slot)
        default: throw Errno(ENOTDIR)
        }
        return true
    }

    private static func replyRoot(_ request: Operations.Request, _ slot: Slot) throws -> Bool {
        var parameters = Operations.entry(try slot.tree.node(Tree.root), slot)
        slot.tree.noteRootLookup()
        // What a name stands for changes, and nobody says when.
        parameters.entry_timeout = 1
        unsafe fuse_reply_entry(request.pointer, &parameters)
        return true
    }

    private static func reply(_ request: Operations.Request, _ item: Item) {
        var parameters = fuse_entry_param()
        parameters.ino = fuse_ino_t(item.number)
        parameters.attr = status(item)
        parameters.entry_timeout = Operations.forever
        unsafe fuse_reply_entry(request.pointer, &parameters)
    }

    /// Answers a request for facts that is its own. They are not kept: sizes are not known before a file is opened.
    static func answerAttributes(_ request: Operations.Request, _ number: fuse_ino_t) -> Bool {
        guard let item = item(number) else { return false }
        var info = status(item)
        unsafe fuse_reply_attr(request.pointer, &info, 0)
        return true
    }

    static func status(_ item: Item) -> stat {
        var info = stat()
        var now = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &now)
        info.st_ino = ino_t(item.number)
        // Who may commit is who mounted, and root.
        info.st_mode = item.isFolder ? S_IFDIR | 0o555 : S_IFREG | (item.isWritable ? 0o644 : 0o444)
        info.st_nlink = 1
        info.st_uid = getuid()
        info.st_gid = getgid()
        info.st_blksize = 4096
        (info.st_mtim, info.st_ctim, info.st_atim) = (now, now, now)
        return info
    }

    /// Answers an open that is its own.
    static func open(_ request: Operations.Request, _ number: fuse_ino_t, _ info: UnsafeMutablePointer<fuse_file_info>)
        throws -> Bool
    {
        guard let item = item(number) else { return false }
        let writes = unsafe info.pointee.flags & O_ACCMODE != O_RDONLY
        if writes, !item.isWritable { throw Errno(EACCES) }
        let text = writes ? [] : Array(try request.mount.text(of: item).utf8)
        unsafe info.pointee.fh = Operations.keep(.control(ControlFile(item, text)), request.mount)
        // Read as it is, to its end, whatever its size is said to be.
        unsafe info.pointee.direct_io = item.isFolder ? 0 : 1
        unsafe fuse_reply_open(request.pointer, info)
        return true
    }
}

/// An open file or folder of `.lake/`: what it said when it was opened.
final class ControlFile: Sendable {
    private let item: Control.Item
    private let text: [UInt8]

    init(_ item: Control.Item, _ text: [UInt8]) {
        self.item = item
        self.text = text
    }

    func answer(_ request: Operations.Request, _ size: Int, _ offset: Int64) {
        let piece = Array(text.dropFirst(Int(min(offset, Int64(text.count)))).prefix(size))
        unsafe piece.withUnsafeBytes { unsafe request.bytes($0) }
    }

    /// One write is one order.
    func write(_ request: Operations.Request, _ bytes: UnsafeRawBufferPointer) throws {
        let order = unsafe String(decoding: bytes, as: UTF8.self).trimmed
        do { try request.mount.obey(order, item) } catch {
            let problem = LakeError(error)
            request.mount.control.note(problem.message, item)
            request.mount.control.note("\(item.name): \(problem.message)\n", .errors)
            if case .noChanges = problem.code { throw Errno(ENODATA) }
            throw error
        }
    }

    func list(_ request: Operations.Request, _ size: Int, _ offset: off_t, withAttributes: Bool) {
        var names: [(name: String, info: stat)] = [(".", Control.status(item)), ("..", Control.status(.root))]
        if item == .root {
            names += Control.Item.listed.map { ($0.name, Control.status($0)) }
        } else {
            for name in String(decoding: text, as: UTF8.self).split(separator: "\n") {
                var info = stat()
                info.st_mode = S_IFDIR
                info.st_ino = ino_t(Tree.number(for: Key(name)))
                names.append((String(name), info))
            }
        }
        unsafe withUnsafeTemporaryAllocation(byteCount: size, alignment: 16) { buffer in
            let start = unsafe buffer.assumingMemoryBound(to: CChar.self).baseAddress!
            var used = 0
            for index in Int(offset)..<max(Int(offset), names.count) {
                var info = names[index].info
                var parameters = fuse_entry_param()
                // Number 0: the kernel is told the name, and looks the rest up.
                parameters.attr = info
                let needed =
                    unsafe withAttributes
                    ? fuse_add_direntry_plus(
                        request.pointer, start + used, size - used, names[index].name, &parameters, off_t(index + 1))
                    : fuse_add_direntry(
                        request.pointer, start + used, size - used, names[index].name, &info, off_t(index + 1))
                guard needed <= size - used else { break }
                used += needed
            }
            unsafe request.bytes(UnsafeRawBufferPointer(start: start, count: used))
        }
    }
}

extension String {
    /// Without white space at its ends.
    fileprivate var trimmed: String {
        var rest = self[...]
        while rest.last?.isWhitespace == true { rest.removeLast() }
        while rest.first?.isWhitespace == true { rest.removeFirst() }
        return String(rest)
    }
}

/// What the files of `.lake/` say, and do.
extension Mount {
    /// Lines of a listing in it; what is more is to be had from the command line.
    private static let mostLines = 100_000

    func text(of item: Control.Item) throws -> String {
        let tree = tree
        let repository = tree.id.repository
        let ref = tree.id.branch
        switch item {
        case .root, .shadowed: return ""
        case .unshown: return try unshown()
        case .ref: return "\(ref)\n"
        case .commit, .push, .recover:
            return item == .recover
                ? tree.recovered().map { $0.description + "\n" }.joined()
                : (control.result(item).map { $0 + "\n" } ?? "")
        case .errors: return (tree.failure.withLock { $0 }.map { $0 + "\n" } ?? "") + (control.result(.errors) ?? "")
        case .refs:
            return try Set(tree.view.refs()).sorted().joined(separator: "\n")
        case .diff: return try changes()
        case .stats: return stats()
        case .log:
            return try tree.view.log(1000).map {
                "commit \($0.id)\nAuthor: \($0.committer)\nDate: \($0.date.rfc3339)\n\n\t\($0.message)\n"
            }.joined(separator: "\n")
        case .status:
            let commit = try tree.view.commitID()
            let own = tree.ownStatus().map { $0 + "\n" }.joined()
            return "lakefs://\(repository)/\(ref) at \(commit)\(tree.isReadOnly || isReadOnly ? ", read-only" : "")\n"
                + (try changes()) + own
        }
    }

    /// Keys that cannot be files here, a line each.
    private func unshown() throws -> String {
        let found = try Unshown(tree.view, under: options.prefix)
        let lines =
            found.shadowed.map {
                "shadowed \($0.path): the folder \(Paths.prefix($0.path)) has its name; its bytes are in .lake/shadowed/\n"
            }
            + found.unnameable.map {
                "no file \($0): it is no path that a file can have; it is there over S3 and REST\n"
            }
        return lines.joined() + (found.isCut ? "and perhaps more: the rest was not looked at\n" : "")
    }

    /// Counters, a line each: `name value`.
    private func stats() -> String {
        let tree = tree
        let requests = context.features.requestCounts
        return
            (tree.counters() + [("pushes_by_hand", tree.publishesByItself ? 0 : 1)] + tree.view.counters() + [
                ("requests", requests.reduce(0) { $0 + $1.count })
            ] + requests.map { ("requests_\($0.name)", $0.count) }).map { "\($0.0) \($0.1)\n" }.joined()
    }

    /// The uncommitted changes, a line each.
    private func changes() throws -> String {
        let tree = tree
        guard !tree.isReadOnly else { return "" }
        var lines: [String] = []
        var after = Key([])
        while true {
            let page = try tree.view.changes(after: after, limit: 1000)
            for entry in page.items where entry.path.hasPrefix(options.prefix) {
                let mark =
                    switch entry.kind {
                    case .added: "+ added"
                    case .removed: "- removed"
                    case .changed: "~ modified"
                    case .conflict, .prefixChanged: "* \(entry.kind.rawValue)"
                    }
                lines.append("\(mark) \(entry.path)\n")
            }
            guard page.hasMore, let last = page.items.last else { break }
            guard lines.count < Self.mostLines else {
                lines.append("and more: lakefuse diff lakefs://\(tree.id.repository)/\(tree.id.branch)\n")
                break
            }
            after = last.path
        }
        return lines.joined()
    }

    /// Does what was written to a file of `.lake/`.
    func obey(_ order: String, _ item: Control.Item) throws {
        let tree = tree
        let repository = tree.id.repository
        let branch = tree.id.branch
        switch item {
        case .commit:
            guard !tree.isReadOnly, !isReadOnly else { throw Errno(EROFS) }
            guard !order.isEmpty else {
                throw LakeError(.invalidValue, "a commit needs a message: write it to .lake/commit")
            }
            guard rights.allows(.branch("CreateCommit", repository, branch)) else {
                throw LakeError(.permissionDenied, "insufficient permissions: not allowed to fs:CreateCommit")
            }
            try tree.publish(.closed)
            let made = try tree.view.commit(order, by: rights.user)
            let open = tree.openForWriting()
            control.note(
                ([made.text] + open.map { "not in it, as it is now: \($0) is open for writing" }).joined(
                    separator: "\n"),
                .commit)
        case .push:
            guard !tree.isReadOnly else { throw Errno(EROFS) }
            try publish()
            control.note("all that was closed is on the branch", .push)
        case .recover: try tree.recover(order == "all" ? nil : Key(order))
        case .ref: try whileNobodyCloses { try show(open(order, false)) }
        default: throw Errno(EACCES)
        }
    }
}

extension Tree {
    /// Files that are open for writing, and not published as they are.
    func openForWriting() -> [Key] {
        state.withLock { state in
            state.nodes.values.filter { $0.writers > 0 && !$0.names.isEmpty && $0.file != nil }.map { Self.path($0) }
        }.sorted()
    }

    /// Files that were being written when the server died.
    func recovered() -> [Key] {
        state.withLock { state in state.nodes.values.filter(\.isRecovered).map { Self.path($0) } }.sorted()
    }

    /// How much is known, open, and not on the branch yet.
    func counters() -> [(String, Int)] {
        let (files, counts) = state.withLock { state in
            let waiting = state.nodes.values.filter { $0.hasNewBytes && !$0.names.isEmpty }
            return (
                waiting.compactMap(\.closed?.size),
                [
                    ("inodes", state.nodes.count), ("open_files", state.nodes.values.reduce(0) { $0 + $1.handles }),
                    ("unpublished_changes", state.dirty.count),
                    ("unindexed_changes", state.unwritten.count), ("publishes", Int(state.publishes)),
                ]
            )
        }
        return counts + [
            ("unpublished_files", files.count), ("unpublished_bytes", Int(files.reduce(0, +))), ("held", hold.held),
        ]
    }

    /// What of the tree a diff of the branch does not tell.
    func ownStatus() -> [String] {
        conflicts.withLock { $0 }.map { "! conflict \($0)" }
            + state.withLock { state in
                state.nodes.values.compactMap { node -> String? in
                    guard !node.names.isEmpty else { return nil }
                    if let refusal = node.refusal { return "! refused \(Self.path(node)): \(refusal)" }
                    if !node.kind.isCommittable {
                        return "! local \(Self.path(node)): a \(node.kind) stays in the mount"
                    }
                    if node.isRecovered {
                        return
                            "! recovered \(Self.path(node)): it was being written when the server died; close it again, or write its path to .lake/recover"
                    }
                    return node.writers > 0 && node.file != nil ? "! open \(Self.path(node))" : nil
                }
            }.sorted()
    }

    /// Files that a crash left open are whole, somebody says: one, or (nil) all.
    /// - Throws: `.notFound(.object)` if there is no such one.
    func recover(_ path: Key?) throws {
        let nodes = state.withLock { state in
            state.nodes.values.filter { $0.isRecovered && (path == nil || Self.path($0) == path) }
        }
        if nodes.isEmpty, let path { throw LakeError.notFound(.object, path) }
        for node in nodes { finish(try open(node, writes: true)) }
    }
}
