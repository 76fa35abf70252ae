import Foundations
import Glibc
import LakeAPI

extension Command {
    /// The folder that a command is about: its argument, else the current one.
    private static func folder(_ invocation: Invocation) -> String { invocation.arguments.first ?? "." }

    private static func told(_ left: String, _ right: LakeURI) -> String {
        "diff '\(left)' <--> '\(right.description)'...\n"
    }

    /// Changes as a table with lines around it, on a terminal and elsewhere.
    private static func table(_ changes: [(source: String, change: LocalDiff.Change)]) -> String {
        let rows =
            [["SOURCE", "CHANGE", "PATH"]]
            + changes.map { [$0.source, $0.change.kind.rawValue, Output.name($0.change.path)] }
        let widths = (0..<3).map { column in rows.map { $0[column].count }.max()! }
        func line(_ left: String, _ middle: String, _ right: String) -> String {
            left + widths.map { String(repeating: "═", count: $0 + 2) }.joined(separator: middle) + right + "\n"
        }
        func row(_ cells: [String]) -> String {
            "║" + zip(cells, widths).map { " \($0.padding($1)) " }.joined(separator: "║") + "║\n"
        }
        return line("╔", "╦", "╗") + row(rows[0]) + line("╠", "╬", "╣") + rows.dropFirst().map(row).joined()
            + line("╚", "╩", "╝")
    }

    private static func status(_ invocation: Invocation) throws {
        let sync = try LocalSync(LocalLink(near: folder(invocation)), invocation)
        let link = sync.link
        if !invocation.isJSON { Output.write("\n" + told("local://\(link.folder)", link.at(link.head))) }
        let local = try sync.localChanges(from: link.head)
        var remote: [LocalDiff.Change] = []
        if !invocation.has("local") {
            if !invocation.isJSON { Output.write(told(link.at(link.head).description, link.source)) }
            remote = try sync.remoteChanges(from: link.head, to: link.ref)
        }
        let changes = merged(local, remote)
        if invocation.isJSON {
            return Output.json(
                changes.map { ["source": $0.source, "change": $0.change.kind.rawValue, "path": $0.change.path] })
        }
        Output.write(changes.isEmpty ? "\nNo diff found.\n" : "\n" + table(changes) + "\n")
    }

    /// Changes of both sides by path; what both changed is a conflict.
    private static func merged(_ local: [LocalDiff.Change], _ remote: [LocalDiff.Change]) -> [(
        source: String, change: LocalDiff.Change
    )] {
        let others = Set(remote.map { Array($0.path.utf8) })
        let own = Set(local.map { Array($0.path.utf8) })
        let all =
            local.map { change in
                (
                    "local",
                    others.contains(Array(change.path.utf8))
                        ? LocalDiff.Change(kind: .conflict, path: change.path) : change
                )
            } + remote.filter { !own.contains(Array($0.path.utf8)) }.map { ("remote", $0) }
        return all.sorted { $0.1.path.utf8.lexicographicallyPrecedes($1.1.path.utf8) }.map {
            (source: $0.0, change: $0.1)
        }
    }

    private static func checkFolder(_ folder: String) throws -> String {
        let whole = Files.absolute(folder)
        try Files.makeFolder(whole)
        return whole.hasSuffix("/") ? String(whole.dropLast()) : whole
    }

    /// A path URI whose path is a folder.
    private static func source(_ invocation: Invocation) throws -> LakeURI {
        let (_, repository, ref, path) = try invocation.path()
        return LakeURI(
            repository: repository, ref: ref, path: path.isEmpty || path.hasSuffix("/") ? path : path + "/")
    }

    private static func head(_ source: LakeURI, _ invocation: Invocation) throws -> String {
        try invocation.client.get(
            API.Commit.self, ["repositories", source.repository, "commits", source.ref ?? ""]
        ).id
    }

    private static func commit(_ invocation: Invocation) throws {
        let message = invocation.value("message") ?? ""
        guard !message.isEmpty || invocation.has("allow-empty-message") else { throw noMessage }
        let metadata = try invocation.metadata()
        var sync = try LocalSync(LocalLink(near: folder(invocation)), invocation)
        let link = sync.link
        // What is missing was not removed by anybody.
        guard ["", "commit"].contains(link.operation) else {
            throw CommandError(
                "an earlier \(link.operation) of \(link.folder) did not end: 'local pull --force' brings what is missing"
            )
        }
        Output.line("\nGetting branch: \(link.ref)")
        let client = sync.transfers.client
        let branch = try client.get(
            API.Ref.self, ["repositories", link.source.repository, "branches", link.ref])
        Output.write("\n" + told("local://\(link.folder)", link.at(link.head)))
        let changes = try sync.localChanges(from: link.head)
        let own = Set(changes.map { Array($0.path.utf8) })
        var theirs = 0
        if branch.commitId != link.head {
            Output.write("\n" + told(link.at(branch.commitId).description, link.source))
            let found = try sync.remoteChanges(from: link.head, to: branch.commitId)
            let both = found.filter { own.contains(Array($0.path.utf8)) }.map(\.path)
            guard both.isEmpty else {
                throw CommandError(
                    "Conflicts found between local directory and remote in the following files:\n\(both.joined(separator: "\n"))",
                    hint: "'local pull --force' takes the branch's")
            }
            theirs = found.count { $0.kind != .removed }
        }
        if !invocation.has("force") { try checkStaged(link, own, client) }
        guard !changes.isEmpty else { return Output.line("\nNo changes") }
        try sync.during("commit") { sync in
            var summary = try sync.up(changes)
            summary.downloaded = theirs
            summary.write("Sync")
            Output.line("Finished syncing changes. Perform commit on branch...")
            let made = try client.post(
                API.Commit.self, ["repositories", link.source.repository, "branches", link.ref, "commits"],
                API.CommitCreation(message: message, metadata: metadata.isEmpty ? nil : metadata))
            Output.write(told(made, of: link.ref))
            // What others did below the path came with the commit, or before it: the folder has it too, or the next
            // commit would take it away.
            let others = try sync.remoteChanges(from: link.head, to: made.id).filter {
                !own.contains(Array($0.path.utf8))
            }
            _ = try sync.down(others, to: made.id)
            sync.link.head = made.id
        }
    }

    /// What is staged elsewhere on the branch would be committed too, and what others have staged of the same files would
    /// be lost.
    private static func checkStaged(_ link: LocalLink, _ own: Set<[UInt8]>, _ client: LakeClient) throws {
        var outside = false
        var both: [String] = []
        let skipped = link.prefix.utf8.count
        try client.pages(
            API.Diff.self, ["repositories", link.source.repository, "branches", link.ref, "diff"]
        ) { page in
            outside = page.contains { !$0.path.utf8.starts(with: link.prefix.utf8) }
            both += page.filter { own.contains(Array($0.path.utf8.dropFirst(skipped))) }.map(\.path)
            return !outside
        }
        // What a commit that was cut has sent is this folder's own.
        guard both.isEmpty || link.operation == "commit" else {
            throw CommandError(
                "others have staged changes of the same files: \(both.prefix(10).joined(separator: ", "))",
                hint: "--force commits yours in their place")
        }
        guard outside else { return }
        throw CommandError(
            "branch \(link.ref) contains uncommitted changes outside of the synced path: use --force to commit them too"
        )
    }

    private static func pull(_ invocation: Invocation) throws {
        var sync = try LocalSync(LocalLink(near: folder(invocation)), invocation)
        let link = sync.link
        Output.write("\n" + told("local://\(link.folder)", link.at(link.head)))
        var local = try sync.localChanges(from: link.head)
        let head = try sync.remoteHead()
        if !local.isEmpty, ["pull", "clone", "checkout"].contains(link.operation) {
            // What an earlier one has brought is no change of anybody's.
            let others = Set(try sync.localChanges(from: head).map { Array($0.path.utf8) })
            local = local.filter { others.contains(Array($0.path.utf8)) && $0.kind != .removed }
        }
        guard local.isEmpty || invocation.has("force") else {
            throw CommandError(
                "there are \(local.count) uncommitted changes. Either commit them first or use --force to revert local changes",
                hint: link.operation.isEmpty ? nil : "an earlier \(link.operation) did not end: --force completes it")
        }
        let wasCut = !link.operation.isEmpty
        try sync.during("pull") { sync in
            let summary = try bring(&sync, local, to: head, wasCut: wasCut)
            Output.write("\nSuccessfully synced changes!\n")
            summary.write("Pull")
        }
    }

    /// Brings a folder to a commit; what was changed in it goes.
    private static func bring(
        _ sync: inout LocalSync, _ local: [LocalDiff.Change], to head: String, wasCut: Bool
    ) throws
        -> TransferSummary
    {
        // Where an earlier one did not end, what is there is held against where it is to go.
        let theirs =
            wasCut
            ? try sync.localChanges(from: head).map { change in
                LocalDiff.Change(
                    kind: change.kind == .added ? .removed : .modified, path: change.path, remote: change.remote)
            } : try sync.remoteChanges(from: sync.link.head, to: head)
        let known = Set(theirs.map { Array($0.path.utf8) })
        // What was added here goes, what was changed or removed comes back.
        let own = local.filter { !known.contains(Array($0.path.utf8)) }.map { change in
            LocalDiff.Change(
                kind: change.kind == .added ? .removed : .modified, path: change.path, remote: change.remote)
        }
        let summary = try sync.down(theirs + own, to: head)
        sync.link.head = head
        return summary
    }

    private static func checkout(_ invocation: Invocation, _ folder: String) throws {
        var sync = try LocalSync(LocalLink(near: folder), invocation)
        let link = sync.link
        Output.write("\n" + told("local://\(link.folder)", link.at(link.head)))
        let local = try sync.localChanges(from: link.head)
        if !local.isEmpty {
            Output.line("Uncommitted changes exist, the operation will revert all changes on local directory.")
            try Output.confirm("Proceed", invocation, orElse: "command aborted")
        }
        var source = link.source
        if let text = invocation.value("ref"), !text.isEmpty {
            let (_, repository, ref) = try invocation.ref(text, "ref")
            guard repository == link.source.repository else {
                throw CommandError(
                    "cannot check out another repository: the folder is linked to \(link.source.repository)")
            }
            source = LakeURI(repository: repository, ref: ref, path: link.prefix)
        }
        let head = try head(source, invocation)
        let wasCut = !link.operation.isEmpty
        try sync.during("checkout") { sync in
            let summary = try bring(&sync, local, to: head, wasCut: wasCut)
            sync.link.source = source
            Output.write("\nSuccessfully checked out \(source.description)\n")
            summary.write("Checkout")
        }
    }

    /// Folders below one that are linked, by their paths below it.
    private static func links(below root: String) throws -> [(path: String, link: LocalLink)] {
        var found: [(path: String, link: LocalLink)] = []
        func look(_ path: String) throws {
            let folder = path.isEmpty ? root : root + "/" + path
            if unsafe access(folder + "/" + LocalWalk.reference, F_OK) == 0 {
                do { found.append((path.isEmpty ? "." : path, try LocalLink(of: folder))) } catch {
                    Output.note("\(folder) is passed over: \(Failure(error).message)")
                }
                return
            }
            for entry in try Folder.entries(of: folder) where entry.isFolder {
                let name = String(decoding: entry.name, as: UTF8.self)
                try look(path.isEmpty ? name : path + "/" + name)
            }
        }
        try look("")
        return found.sorted { $0.path < $1.path }
    }

    static let localCommands: [Command] = [
        Command(
            path: ["local", "init"], arguments: ["<path URI> [directory]"], takes: 1...2,
            summary: "set a local directory to sync with a lakeFS path.",
            example: "lakectl local init lakefs://demo/dev/work/ work",
            flags: [
                Flag(name: "force", description: "Overwrites if directory already linked to a lakeFS path"), .gitignore,
            ], isLakectl: true
        ) { invocation in
            let source = try source(invocation)
            let commit = try head(source, invocation)
            let folder = try checkFolder(invocation.arguments.count > 1 ? invocation.arguments[1] : ".")
            guard unsafe invocation.has("force") || access(folder + "/" + LocalWalk.reference, F_OK) != 0 else {
                throw CommandError(
                    "directory '\(folder)' already linked to a lakeFS path, run command with --force to overwrite")
            }
            let link = LocalLink(folder, source, head: commit)
            try link.save()
            if invocation.has("gitignore") { try link.updateGitignore() }
            Output.line("Successfully linked local directory '\(folder)' with remote '\(source.description)'")
        },
        Command(
            path: ["local", "clone"], arguments: ["<path URI> [directory]"], takes: 1...2,
            summary: "Clone a path from a lakeFS repository into a new directory.",
            example: "lakectl local clone lakefs://demo/dev/work/ clone",
            flags: [.gitignore, .noProgress, .parallelism, .preSign], isLakectl: true
        ) { invocation in
            let source = try source(invocation)
            let last = source.path?.split(separator: "/").last.map(String.init) ?? source.repository
            let folder = Files.absolute(invocation.arguments.count > 1 ? invocation.arguments[1] : last)
            if FileStatus(path: folder) != nil, !(try Folder.names(of: folder).isEmpty) {
                throw CommandError("directory '\(folder)' exists and is not empty")
            }
            let commit = try head(source, invocation)
            HalfWritten.watch()
            _ = try checkFolder(folder)
            let link = LocalLink(folder, source, head: commit)
            var sync = try LocalSync(link, invocation)
            try sync.during("clone") { sync in
                let changes = try sync.localChanges(from: commit)
                let summary = try sync.down(
                    changes.map { LocalDiff.Change(kind: .added, path: $0.path, remote: $0.remote) }, to: commit)
                Output.line("\nSuccessfully cloned \(source.description) to \(folder).")
                summary.write("Clone")
            }
            if invocation.has("gitignore") { try link.updateGitignore() }
        },
        Command(
            path: ["local", "list"], arguments: ["[directory]"], takes: 0...1,
            summary: "find and list directories that are synced with lakeFS.", example: "lakectl local list",
            isLakectl: true
        ) { invocation in
            let folder = Files.absolute(folder(invocation))
            let root = invocation.arguments.isEmpty ? LocalLink.gitRoot(folder) ?? folder : folder
            let found = try links(below: root)
            if invocation.isJSON {
                return Output.json(
                    found.map { ["directory": $0.path, "src": $0.link.source.description, "at_head": $0.link.head] })
            }
            guard Output.isTerminal else {
                return Output.write(
                    found.map { "\($0.path)\t\($0.link.source.description)\t\($0.link.head)\n" }.joined())
            }
            var list = Listing(["Directory", "Remote URI", "Synced commit"])
            for (path, link) in found { list.add([path, link.source.description, link.head]) }
            list.write()
        },
        Command(
            path: ["local", "status"], arguments: ["[directory]"], takes: 0...1,
            summary: "show modifications (both remote and local) to the directory and the remote location it tracks",
            example: "lakectl local status work",
            flags: [Flag(name: "local", short: "l", description: "Don't compare against remote changes")],
            isLakectl: true
        ) { try status($0) },
        Command(
            path: ["local", "commit"], arguments: ["[directory]"], takes: 0...1,
            summary: "Commit changes from local directory to the lakeFS branch it tracks.",
            example: "lakectl local commit work -m 'From my folder'",
            flags: [
                .allowEmptyMessage,
                Flag(
                    name: "force",
                    description:
                        "Commit changes even if remote branch includes uncommitted changes external to the synced path"),
                .message, .meta, .noProgress, .parallelism, .preSign, .yes,
            ], isLakectl: true
        ) { invocation in
            HalfWritten.watch()
            try commit(invocation)
        },
        Command(
            path: ["local", "pull"], arguments: ["[directory]"], takes: 0...1,
            summary: "Fetch latest changes from lakeFS.", example: "lakectl local pull clone",
            flags: [
                Flag(name: "force", description: "Reset any uncommitted local change"), .noProgress, .parallelism,
                .preSign,
            ], isLakectl: true
        ) { invocation in
            HalfWritten.watch()
            try pull(invocation)
        },
        Command(
            path: ["local", "checkout"], arguments: ["[directory]"], takes: 0...1,
            summary: "Sync local directory with the remote state.",
            example: "lakectl local checkout clone --ref lakefs://demo/main --yes",
            flags: [
                Flag(name: "all", description: "Checkout given source branch or reference for all linked directories"),
                .noProgress, .parallelism, .preSign,
                Flag(name: "ref", short: "r", value: "string", description: "Checkout the given reference"), .yes,
            ], exclusive: ["ref", "all"], isLakectl: true
        ) { invocation in
            HalfWritten.watch()
            guard invocation.has("all") else { return try checkout(invocation, folder(invocation)) }
            for (_, link) in try links(below: Files.absolute(folder(invocation))) {
                try checkout(invocation, link.folder)
            }
        },
    ]
}
