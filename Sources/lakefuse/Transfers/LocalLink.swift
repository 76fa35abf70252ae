import FoundationEssentials
import Foundations
import Glibc
import LakeAPI
import LakeFUSE
import Versioning

/// A folder of this machine that is linked to a path of a branch, by the file that says so. Source: lakectl's sessions.
struct LocalLink {
    let folder: String
    /// `lakefs://repository/ref/path/`.
    var source: LakeURI
    /// The commit that the folder was at last.
    var head: String
    /// What was under way: if it did not end, it says so.
    var operation = ""

    /// The folder, or one that it lies in, that is linked.
    /// - Throws: `CommandError`.
    init(near folder: String) throws {
        var place = Files.absolute(folder)
        guard FileStatus(path: place) != nil else {
            throw CommandError("\(place): stat \(place): no such file or directory")
        }
        while unsafe access(place + "/" + LocalWalk.reference, F_OK) != 0 {
            guard place != "/", !place.isEmpty else {
                throw CommandError(
                    "could not find lakefs reference file in path \(Files.absolute(folder)) or parents: file does not exist",
                    hint: "'local init' or 'local clone' links a folder")
            }
            place = place.lastIndex(of: "/").flatMap { $0 > place.startIndex ? String(place[..<$0]) : nil } ?? "/"
        }
        try self.init(of: place)
    }

    init(of folder: String) throws {
        self.folder = folder
        let file = folder + "/" + LocalWalk.reference
        var values: [String: String] = [:]
        for (key, value) in try YAML.flatten(Files.read(file), file: file) { values[key] = value }
        let uri = try LakeURI(values["src"] ?? "", what: file)
        guard let ref = uri.ref, let head = values["at_head"] else {
            throw CommandError("\(file) does not say what the folder is linked to", hint: "'local init --force' does")
        }
        source = LakeURI(repository: uri.repository, ref: ref, path: uri.path ?? "")
        self.head = head
        operation = values["active_operation"] ?? ""
    }

    init(_ folder: String, _ source: LakeURI, head: String) {
        (self.folder, self.source, self.head) = (folder, source, head)
    }

    /// Writes the file that says so, whole or not at all.
    func save() throws {
        let text =
            "src: \(YAML.scalar(source.description))\nat_head: \(head)\nactive_operation: \(YAML.scalar(operation))\n"
        try Files.write(Array(text.utf8), to: folder + "/" + LocalWalk.reference, mode: 0o644)
    }

    var prefix: String { source.path ?? "" }
    var ref: String { source.ref ?? "" }
    /// The source at the commit that the folder was at last.
    func at(_ commit: String) -> LakeURI {
        LakeURI(repository: source.repository, ref: commit, path: prefix)
    }

    /// Has git pass over the folder's files, where it lies in a git repository.
    func updateGitignore() throws {
        guard let root = Self.gitRoot(folder), root != folder else { return }
        let relative = String(folder.dropFirst(root.count + 1))
        let file = root + "/.gitignore"
        let isThere = unsafe access(file, F_OK) == 0 || errno != ENOENT
        let old = isThere ? try String(decoding: Files.read(file), as: UTF8.self) : ""
        let lines = ["\(relative)/*", "!\(relative)/\(LocalWalk.reference)"]
        guard !lines.allSatisfy({ old.split(separator: "\n").contains(Substring($0)) }) else { return }
        let added =
            (old.isEmpty || old.hasSuffix("\n") ? "" : "\n")
            + "# ignored by lakectl local for directory \(relative)\n\(lines.joined(separator: "\n"))\n"
        try Files.write(Array((old + added).utf8), to: file, mode: 0o644)
    }

    static func gitRoot(_ folder: String) -> String? {
        var place = folder
        while unsafe access(place + "/.git", F_OK) != 0 {
            guard let slash = place.lastIndex(of: "/"), slash > place.startIndex else { return nil }
            place = String(place[..<slash])
        }
        return place
    }
}

/// Work on a linked folder.
struct LocalSync {
    var link: LocalLink
    let invocation: Invocation
    let transfers: Transfers
    private let settings: ClientSettings
    private let progress: Progress

    init(_ link: LocalLink, _ invocation: Invocation) throws {
        self.link = link
        self.invocation = invocation
        settings = try ClientSettings(invocation)
        transfers = try Transfers(invocation, repository: link.source.repository, ref: link.ref)
        progress = Progress("sync", isShown: !invocation.has("no-progress"))
    }

    private var isPOSIX: Bool { settings.isOn("experimental.local.posix_permissions.enabled") }

    private var makesLinks: Bool { settings.isOn("local.symlink_support") }

    private func walk() -> LocalWalk {
        LocalWalk(
            link.folder, tellsLinks: makesLinks,
            skipsOthers: settings.isOn("local.skip_non_regular_files"))
    }

    /// What a commit has below the link's path.
    private func listing(_ commit: String) throws -> any RemoteFiles {
        LocalIndex(
            invocation.environment, endpoint: transfers.client.endpoint, repository: link.source.repository,
            commit: commit, prefix: link.prefix
        ).files(try Transfers(invocation, repository: link.source.repository, ref: commit), prefix: link.prefix)
    }

    /// What was changed in the folder since it was at `commit`.
    func localChanges(from commit: String) throws -> [LocalDiff.Change] {
        var changes: [LocalDiff.Change] = []
        var walk = walk()
        try LocalDiff.each(
            &walk, listing(commit), root: link.folder, posix: isPOSIX, ignoresLinks: !makesLinks
        ) { changes.append($0) }
        return changes
    }

    /// What was committed below the path from one commit to another.
    func remoteChanges(from commit: String, to other: String) throws -> [LocalDiff.Change] {
        guard commit != other else { return [] }
        var changes: [LocalDiff.Change] = []
        let skipped = link.prefix.utf8.count
        try transfers.client.pages(
            API.Diff.self, ["repositories", link.source.repository, "refs", commit, "diff", other],
            [("prefix", link.prefix), ("type", "two_dot")]
        ) { page in
            for item in page where item.pathType == "object" && !item.path.hasSuffix("/") {
                let kind: LocalDiff.Kind =
                    item.type == "removed" ? .removed : item.type == "added" ? .added : .modified
                let path = String(decoding: Array(item.path.utf8.dropFirst(skipped)), as: UTF8.self)
                if LocalWalk.isOwn(path) { continue }
                changes.append(LocalDiff.Change(kind: kind, path: path))
            }
            return true
        }
        return changes
    }

    /// The commit that the link's ref stands on now.
    func remoteHead() throws -> String {
        try transfers.client.get(
            API.Commit.self, ["repositories", link.source.repository, "commits", link.ref]
        ).id
    }

    /// Brings files of the folder to what a commit has.
    func down(_ changes: [LocalDiff.Change], to commit: String) throws -> TransferSummary {
        let source = try Transfers(invocation, repository: link.source.repository, ref: commit)
        let places = LocalPlaces(link.folder)
        let (keepsModes, makesLinks, prefix) = (isPOSIX, makesLinks, link.prefix)
        let isRoot = getuid() == 0
        var summary = TransferSummary()
        for change in changes {
            if change.kind == .removed { summary.removed += 1 } else { summary.downloaded += 1 }
        }
        defer { progress.end() }
        // What goes makes room for what comes: a folder may become a file.
        for change in changes where change.kind == .removed {
            try places.remove(change.path)
            Output.line("delete local: \(Output.name(change.path))".padding(40) + " ... done!")
        }
        try source.each(changes.filter { $0.kind != .removed }) { [progress] change in
            defer { progress.add(things: 1) }
            let stats = try change.remote?.stats ?? source.stat(prefix + change.path)
            let file = try places.file(change.path)
            if let target = stats.metadata?[Attributes.targetKey] {
                guard makesLinks else { return nil }
                unsafe unlink(file)
                guard unsafe symlink(target, file) == 0 else {
                    throw CommandError(unsafe "symlink \(file): \(String(cString: strerror(errno)).lowercased())")
                }
            } else {
                try source.download(prefix + change.path, stats, to: file, progress)
                Self.restore(stats, file, keepsModes: keepsModes, isRoot: isRoot)
            }
            return "download \(Output.name(change.path))".padding(40) + " ... done!"
        }
        return summary
    }

    /// Gives a file the time, and perhaps the owner and permissions, that it was sent with.
    private static func restore(_ stats: API.ObjectStats, _ file: String, keepsModes: Bool, isRoot: Bool) {
        let kept = Attributes(Metadata(stats.metadata ?? [:]))
        let time = timespec(
            tv_sec: Int(kept.modified?.seconds ?? stats.mtime), tv_nsec: Int(kept.modified?.nanoseconds ?? 0))
        unsafe utimensat(AT_FDCWD, file, [time, time], 0)
        guard keepsModes else { return }
        if isRoot, let owner = kept.owner, let group = kept.group { unsafe _ = chown(file, owner, group) }
        if let mode = kept.mode { unsafe _ = chmod(file, mode) }
    }

    /// Brings the branch to what the folder has.
    func up(_ changes: [LocalDiff.Change]) throws -> TransferSummary {
        var summary = TransferSummary()
        for change in changes { if change.kind == .removed { summary.removed += 1 } else { summary.uploaded += 1 } }
        let (folder, prefix, keepsModes) = (link.folder, link.prefix, isPOSIX)
        defer { progress.end() }
        try transfers.each(changes) { [transfers, progress] change in
            defer { progress.add(things: 1) }
            guard let file = change.local, change.kind != .removed else {
                unsafe try transfers.client.send(
                    "DELETE", ["repositories", transfers.repository, "branches", transfers.ref, "objects"],
                    [("path", prefix + change.path)])
                return "delete remote path: \(Output.name(change.path))".padding(40) + " ... done!"
            }
            _ = try transfers.upload(
                file.target == nil ? folder + "/" + file.path : "/dev/null", to: prefix + file.path,
                metadata: file.metadata(posix: keepsModes), progress)
            return "upload \(Output.name(file.path))".padding(40) + " ... done!"
        }
        return summary
    }

    /// Says what is under way in the link's file while `body` works.
    mutating func during(_ operation: String, _ body: (inout LocalSync) throws -> Void) throws {
        link.operation = operation
        try link.save()
        try body(&self)
        link.operation = ""
        try link.save()
    }
}
