import Foundations
import LakeAPI
import Versioning

extension Command {
    /// A commit as `log` shows it. Source: lakectl's sessions.
    static func text(_ commit: API.Commit, showsMetaRange: Bool) -> String {
        var text = "ID:            \(Style.yellow(commit.id))\n"
        if !commit.committer.isEmpty { text += "Author:        \(commit.committer)\n" }
        text += "Date:          \(Output.time(commit.creationDate))\n"
        if commit.parents.count > 1 { text += "Merge:         \(commit.parents.joined(separator: ", "))\n" }
        if showsMetaRange { text += "Meta Range ID: \(commit.metaRangeId)\n" }
        text += "\n\t\(Output.isTerminal ? Output.lines(commit.message) : commit.message)\n\n"
        if let metadata = commit.metadata, !metadata.isEmpty {
            text += "Metadata:\n"
            for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
                text += "\t\n\t\(key.padding(18)) = \(value)\n"
            }
            text += "\t\n"
        }
        return text
    }

    /// What a commit's making says.
    static func told(_ made: API.Commit, of branch: String) -> String {
        "Commit for branch \"\(branch)\" completed.\n\nID: \(made.id)\nMessage: \(made.message)\nTimestamp: \(Output.time(made.creationDate))\nParents: \(made.parents.joined(separator: ", "))\n\n"
    }

    static let noMessage = CommandError(
        "commit with no message without specifying the \"--allow-empty-message\" flag", hint: "-m 'what was done'")

    /// A time of the command line.
    private static func since(_ invocation: Invocation) throws -> String? {
        guard let text = invocation.value("since") else { return nil }
        guard Timestamp(rfc3339: text) != nil else {
            throw CommandError(
                "Failed to parse 'since' - parsing time \"\(text)\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\(text)\" as \"2006\""
            )
        }
        return text
    }

    /// What a mount that one is in says, where no URI is named.
    private static func ofMount(_ name: String, _ invocation: Invocation) throws {
        let mount = try MountedFolder()
        try requireNoFlags(but: [], mount, invocation)
        Output.write(try mount.read(name))
    }

    /// A mount's own files know no flags: what they would not heed is refused.
    private static func requireNoFlags(but known: Set<String>, _ mount: MountedFolder, _ invocation: Invocation) throws
    {
        let own = Set(invocation.command.flags.map(\.name)).union(["output"]).subtracting(known)
        guard let flag = invocation.values.keys.first(where: { own.contains($0) }) else { return }
        let uri = try mount.read("status").split(separator: " ").first ?? "lakefs://repository/branch"
        throw CommandError("--\(flag) needs the URI to be named: \(uri)")
    }

    private static func html(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("'", with: "&#39;").replacing("\"", with: "&#34;")
    }

    private static func dot(_ commit: API.Commit, _ repository: String, _ endpoint: String) -> String {
        let label = "\(commit.id.prefix(8))<br/> \(html(commit.message))"
        let isMerge = commit.parents.count > 1
        var text =
            "\n\t\"\(commit.id)\" [shape=note target=\"_blank\" href=\"\(endpoint)/repositories/\(repository)/commits/\(commit.id)\" label=< \(isMerge ? "<b>\(label)</b>" : label) >]\n"
        for parent in commit.parents { text += "\t\"\(parent)\" -> \"\(commit.id)\";\n" }
        return text
    }

    /// `+ added path`, in its colour.
    static func line(_ change: API.Diff) -> String {
        switch change.type {
        case "added": Style.green("+ added \(Output.name(change.path))")
        case "removed": Style.red("- removed \(Output.name(change.path))")
        case "changed": Style.yellow("~ modified \(Output.name(change.path))")
        default: Style.red("* \(change.type) \(Output.name(change.path))")
        }
    }

    private static func log(_ invocation: Invocation) throws {
        guard !invocation.arguments.isEmpty else { return try ofMount("log", invocation) }
        let (_, repository, ref) = try invocation.ref()
        var query: [(String, String?)] = [("since", try since(invocation)), ("stop_at", invocation.value("stop-at"))]
        query +=
            invocation.list("objects").map { ("objects", $0) } + invocation.list("prefixes").map { ("prefixes", $0) }
        if invocation.has("limit") { query.append(("limit", "true")) }
        if invocation.has("first-parent") { query.append(("first_parent", "true")) }
        let (client, amount) = (try invocation.client, try invocation.number("amount"))
        let isDot = invocation.has("dot")
        var json = Output.JSONList(invocation)
        var isFirst = true
        var pending = ""
        let next = try client.pages(
            API.Commit.self, ["repositories", repository, "refs", ref, "commits"], query,
            amount: amount > 0 ? amount : .max, after: invocation.value("after") ?? ""
        ) { page in
            for commit in page where !(invocation.has("no-merges") && commit.parents.count > 1) {
                if json.takes(commit) { continue }
                pending +=
                    isDot
                    ? dot(commit, repository, client.endpoint)
                    : text(commit, showsMetaRange: invocation.has("show-meta-range-id"))
            }
            guard !invocation.isJSON else { return true }
            // A screen's pager wants all of it; who reads it otherwise gets it as it comes.
            if isFirst { pending = (isDot ? "digraph {\n\trankdir=\"BT\"\n" : "\n") + pending }
            isFirst = false
            if !Output.isTerminal || isDot {
                Output.write(pending)
                pending = ""
            }
            return true
        }
        if invocation.isJSON { return json.end() }
        Pager.write(pending + (isDot ? "\n}\n" : ""))
        if Output.isTerminal, amount > 0, let next { Output.note("There is more: --after \(next) shows it.") }
    }

    static let versionCommands: [Command] = [
        Command(
            path: ["commit"], arguments: ["<branch URI>"], takes: 0...1, lakectlTakes: 1...1,
            summary: "Commit changes on a given branch",
            example: "lakectl commit lakefs://demo/dev -m 'New numbers' --meta source=nightly",
            flags: [
                Flag(name: "allow-empty-commit", description: "allow a commit with no changes"), .allowEmptyMessage,
                .message, .meta,
                Flag(name: "epoch-time-seconds", value: "int", description: "the commit's time", isHidden: true),
            ], isLakectl: true
        ) { invocation in
            let text = invocation.value("message") ?? ""
            guard !invocation.arguments.isEmpty else {
                let mount = try MountedFolder()
                try requireNoFlags(but: ["message", "allow-empty-message"], mount, invocation)
                guard !text.isEmpty || invocation.has("allow-empty-message") else { throw noMessage }
                try mount.order(text, "commit")
                return Output.write(try mount.read("commit"))
            }
            guard !text.isEmpty || invocation.has("allow-empty-message") else { throw noMessage }
            let metadata = try invocation.metadata()
            let (uri, repository, branch) = try invocation.branch()
            Output.line("Branch: \(uri.description)")
            let made = try invocation.client.post(
                API.Commit.self, ["repositories", repository, "branches", branch, "commits"],
                API.CommitCreation(
                    message: text, metadata: metadata.isEmpty ? nil : metadata,
                    date: invocation.isGiven("epoch-time-seconds")
                        ? Int64(try invocation.number("epoch-time-seconds")) : nil,
                    allowEmpty: invocation.has("allow-empty-commit") ? true : nil))
            Output.write(told(made, of: branch))
        },
        Command(
            path: ["log"], arguments: ["<ref URI>"], takes: 0...1, lakectlTakes: 1...1, summary: "Show log of commits",
            details: "Show log of commits for a given reference", example: "lakectl log lakefs://demo/main --amount 5",
            flags: [
                .after,
                Flag(
                    name: "amount", value: "int",
                    description: "number of results to return. By default, all results are returned"),
                Flag(name: "dot", description: "return results in a dotgraph format"), .firstParent,
                Flag(
                    name: "limit",
                    description: "limit result just to amount. By default, returns whether more items are available."),
                Flag(name: "no-merges", description: "skip merge commits"),
                Flag(
                    name: "objects", value: "strings",
                    description:
                        "show results that contains changes to at least one path in that list of objects. Use comma separator to pass all objects together",
                    repeats: true),
                Flag(
                    name: "prefixes", value: "strings",
                    description:
                        "show results that contains changes to at least one path in that list of prefixes. Use comma separator to pass all prefixes together",
                    repeats: true), Flag(name: "show-meta-range-id", description: "also show meta range ID"),
                Flag(name: "since", value: "string", description: "show results since this date-time (RFC3339 format)"),
                Flag(name: "stop-at", value: "string", description: "a Ref to stop at (included in results)"),
            ], isLakectl: true
        ) { try log($0) },
        Command(
            path: ["show", "commit"], arguments: ["<commit URI>"], takes: 1...1,
            summary: "See detailed information about a commit", example: "lakectl show commit lakefs://demo/main",
            flags: [Flag(name: "show-meta-range-id", description: "show meta range ID")], isLakectl: true
        ) { invocation in
            let (_, repository, ref) = try invocation.ref(0, "commit URI")
            let found = try invocation.client.get(API.Commit.self, ["repositories", repository, "commits", ref])
            if invocation.isJSON { return Output.json(found) }
            Output.write(String(("\n" + text(found, showsMetaRange: invocation.has("show-meta-range-id"))).dropLast()))
        },
        Command(
            path: ["diff"], arguments: ["<ref URI> [ref URI]"], takes: 0...2, lakectlTakes: 1...2,
            summary: "Show changes between two commits, or the currently uncommitted changes",
            example: "lakectl diff lakefs://demo/main lakefs://demo/dev",
            flags: [
                Flag(name: "prefix", value: "string", description: "Show only changes in the given prefix."),
                Flag(
                    name: "two-way",
                    description:
                        "Use two-way diff: show difference between the given refs, regardless of a common ancestor."),
            ], isLakectl: true
        ) { invocation in
            guard !invocation.arguments.isEmpty else {
                return try ofMount("diff", invocation)
            }
            let client = try invocation.client
            var json = Output.JSONList(invocation)
            func show(_ parts: [String], _ query: [(String, String?)]) throws {
                try client.pages(API.Diff.self, parts, query) { page in
                    let lines = page.filter { !json.takes($0) }.map { line($0) + "\n" }
                    Output.write(lines.joined())
                    return true
                }
                json.end()
            }
            guard invocation.arguments.count > 1 else {
                let (uri, repository, branch) = try invocation.ref()
                if !invocation.isJSON { Output.line("Ref: \(uri.description)") }
                return try show(["repositories", repository, "branches", branch, "diff"], [])
            }
            let (left, repository, from) = try invocation.ref(0, "left ref URI")
            let (right, other, to) = try invocation.ref(1, "right ref URI")
            if !invocation.isJSON { Output.line("Left ref: \(left.description)\nRight ref: \(right.description)") }
            guard repository == other else {
                throw CommandError("both references must belong to the same repository")
            }
            do {
                try show(
                    ["repositories", repository, "refs", from, "diff", to],
                    [
                        ("prefix", invocation.value("prefix")),
                        ("type", invocation.has("two-way") ? "two_dot" : "three_dot"),
                    ])
            } catch let error as LakeClientError {
                throw CommandError("diff remote failed. HTTP \(error.status): remote failure", hint: error.message)
            }
        },
        Command(
            path: ["merge"], arguments: ["<source ref> <destination ref>"], takes: 2...2, lakectlTakes: 2...6,
            summary: "Merge & commit changes from source branch into destination branch",
            example: "lakectl merge lakefs://demo/dev lakefs://demo/main",
            flags: [
                Flag(name: "allow-empty", description: "Allow merge when the branches have the same content"),
                .allowsEmptyMessage,
                Flag(
                    name: "force",
                    description: "Allow merge into a read-only branch or into a branch with the same content"),
                .message, .meta,
                Flag(name: "squash", description: "Squash all changes from source into a single commit on destination"),
                Flag(
                    name: "strategy", value: "string",
                    description:
                        "In case of a merge conflict, this option will force the merge process to automatically favor changes from the dest branch (\"dest-wins\") or from the source branch(\"source-wins\"). In case no selection is made, the merge process will fail in case of a conflict"
                ),
            ], isLakectl: true
        ) { invocation in
            guard invocation.arguments.count == 2 else {
                throw UsageError("accepts 2 arg(s), received \(invocation.arguments.count)")
            }
            let (source, repository, from) = try invocation.ref(0, "source ref URI")
            let (target, other, into) = try invocation.ref(1, "destination ref URI")
            Output.line("Source: \(source.description)\nDestination: \(target.description)")
            guard repository == other else {
                throw CommandError("both references must belong to the same repository")
            }
            if let strategy = invocation.value("strategy"), !["dest-wins", "source-wins"].contains(strategy) {
                throw CommandError("Invalid strategy value. Expected \"dest-wins\" or \"source-wins\"")
            }
            var creation = API.Merge()
            creation.message = invocation.value("message")
            creation.metadata = try invocation.metadata()
            creation.strategy = invocation.value("strategy")
            creation.squashMerge = invocation.has("squash")
            creation.allowEmpty = invocation.has("allow-empty")
            creation.force = invocation.has("force")
            do {
                let made = try invocation.client.post(
                    API.MergeResult.self, ["repositories", repository, "refs", from, "merge", into], creation)
                Output.line("Merged \"\(from)\" into \"\(into)\" to get \"\(made.reference)\".")
            } catch let error as LakeClientError where error.status == 409 {
                throw CommandError(
                    "Conflict found.",
                    hint: "both changed the same: 'lakefuse diff' shows what, --strategy says who wins")
            }
        },
        Command(
            path: ["find-merge-base"], arguments: ["<source ref URI> <destination ref URI>"], takes: 2...2,
            summary: "Find the commits for the merge operation",
            example: "lakectl find-merge-base lakefs://demo/dev lakefs://demo/main", isHidden: true, isLakectl: true
        ) { invocation in
            let (source, repository, from) = try invocation.ref(0, "source ref URI")
            let (target, other, into) = try invocation.ref(1, "destination ref URI")
            if !invocation.isJSON {
                Output.line("Source: \(source.description)\nDestination: \(target.description)")
            }
            guard repository == other else {
                throw CommandError("both references must belong to the same repository")
            }
            let found = try invocation.client.get(
                API.FindMergeBaseResult.self, ["repositories", repository, "refs", from, "merge", into])
            if invocation.isJSON { return Output.json(found) }
            Output.line(
                "Found base \"\(found.baseCommitId)\" when merging \"\(found.sourceCommitId)\" into \"\(found.destinationCommitId)\"."
            )
        },
        Command(
            path: ["cherry-pick"], arguments: ["<commit URI> <branch>"], takes: 2...2,
            summary: "Apply the changes introduced by an existing commit",
            details:
                "Apply the changes from the given commit to the tip of the branch. The changes will be added as a new commit.",
            example: "lakectl cherry-pick lakefs://demo/main lakefs://demo/dev",
            flags: [
                Flag(
                    name: "parent-number", short: "m", value: "int",
                    description:
                        "the parent number (starting from 1) of the cherry-picked commit. The cherry-pick will apply the change relative to the specified parent."
                )
            ], isLakectl: true
        ) { invocation in
            let (_, repository, ref) = try invocation.ref(0, "commit URI")
            let (uri, other, branch) = try invocation.branch(1)
            Output.line("Branch: \(uri.description)")
            guard repository == other else {
                throw CommandError("both references must belong to the same repository")
            }
            var pick = API.CherryPickCreation(ref: ref)
            if invocation.isGiven("parent-number") { pick.parentNumber = try invocation.number("parent-number") }
            let made = try invocation.client.post(
                API.Commit.self, ["repositories", repository, "branches", branch, "cherry-pick"], pick)
            Output.write(text(made, showsMetaRange: false))
        },
        Command(
            path: ["annotate"], aliases: ["blame"], arguments: ["<path URI>"], takes: 1...1,
            summary: "List entries under a given path, annotating each with the latest modifying commit",
            example: "lakectl annotate lakefs://demo/main/ --recursive",
            flags: [
                .firstParent,
                Flag(
                    name: "recursive", short: "r",
                    description: "recursively annotate all entries under a given path or prefix"),
            ], isLakectl: true
        ) { invocation in
            let (_, repository, ref, path) = try invocation.path()
            let client = try invocation.client
            let isRecursive = invocation.has("recursive")
            var json = Output.JSONList(invocation)
            try client.pages(
                API.ObjectStats.self, ["repositories", repository, "refs", ref, "objects", "ls"],
                [("prefix", path), ("delimiter", isRecursive ? nil : "/")]
            ) { page in
                for item in page {
                    let isFolder = item.pathType != "object"
                    let found = try client.list(
                        API.Commit.self, ["repositories", repository, "refs", ref, "commits"],
                        [
                            (isFolder ? "prefixes" : "objects", item.path), ("limit", "true"),
                            ("first_parent", invocation.has("first-parent") ? "true" : nil),
                        ], amount: 1
                    ).items.first
                    if json.takes(Annotation(path: item.path, commit: found)) { continue }
                    let commit = found.map {
                        "\($0.id.prefix(16))  \($0.committer)  \(Output.time($0.creationDate))  \($0.message.prefix { $0 != "\n" })"
                    }
                    Output.line("\(Output.name(item.path))  \(commit ?? "(uncommitted)")")
                }
                return true
            }
            json.end()
        },
    ]

    /// An entry, and the commit that changed it last.
    private struct Annotation: JSONWritable {
        let path: String
        let commit: API.Commit?

        func write(to json: inout JSONWriter) {
            json.object { json in
                json.member("path", path)
                if let commit {
                    json.name("commit")
                    commit.write(to: &json)
                }
            }
        }
    }
}
