import Foundations
import LakeAPI
import Versioning

extension Command {
    private static func show(_ commit: API.Commit) {
        var text = "\nID:            \(commit.id)\n"
        if commit.parents.count > 1 { text += "Merge:         \(commit.parents.joined(separator: ", "))\n" }
        if !commit.committer.isEmpty { text += "Author:        \(commit.committer)\n" }
        text += "Date:          \(Output.time(commit.creationDate))\n\n\t\(commit.message)\n"
        if let metadata = commit.metadata, !metadata.isEmpty {
            text += "\nMetadata:\n"
            for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
                text += "\n\t\(key.padding(18)) = \(value)\n"
            }
        }
        Output.line(text)
    }

    static let versionCommands: [Command] = [
        Command(
            path: ["commit"], arguments: ["<branch URI>"], optional: 1,
            summary: "Commit a branch's changes: that of the mount that you are in, unless named",
            flags: [
                message, meta, allowEmptyMessage,
                Flag(name: "allow-empty-commit", description: "commit even if nothing changed"),
                Flag(name: "epoch-time-seconds", value: "N", description: "the commit's date"),
            ]
        ) { invocation in
            let text = invocation.value("message") ?? ""
            guard !invocation.arguments.isEmpty else {
                let mount = try MountedFolder()
                try mount.order(text, "commit")
                return Output.write(try mount.read("commit"))
            }
            let uri = try invocation.uri(0)
            let branch = try uri.requireRef()
            guard !text.isEmpty || invocation.has("allow-empty-message") else {
                throw UsageError("commit message is empty: pass -m, or --allow-empty-message")
            }
            Output.line("Branch: \(uri.description)")
            let date = try invocation.value("epoch-time-seconds").map { _ in
                Int64(try invocation.number("epoch-time-seconds", default: 0))
            }
            let metadata = try invocation.metadata()
            let creation = API.CommitCreation(
                message: text, metadata: metadata.isEmpty ? nil : metadata, date: date,
                allowEmpty: invocation.has("allow-empty-commit") ? true : nil)
            let made = try Coding.decode(
                API.Commit.self,
                invocation.client.post(["repositories", uri.repository, "branches", branch, "commits"], creation))
            Output.line(
                "Commit for branch \"\(branch)\" completed.\n\nID: \(made.id)\nMessage: \(made.message)\nTimestamp: \(Output.time(made.creationDate))\nParents: \(made.parents.joined(separator: ", "))\n"
            )
        },
        Command(
            path: ["log"], arguments: ["<ref URI>"], optional: 1,
            summary: "Show the history of a ref: that of the mount that you are in, unless named",
            flags: [
                amount, after, Flag(name: "limit", description: "stop after the amount"),
                Flag(name: "objects", value: "PATH", description: "only commits that changed it", repeats: true),
                Flag(
                    name: "prefixes", value: "PREFIX", description: "only commits that changed something under it",
                    repeats: true), Flag(name: "first-parent", description: "only first parents of merges"),
                Flag(name: "since", value: "TIME", description: "only from then on (RFC 3339)"),
                Flag(name: "stop-at", value: "REF", description: "the last commit to show"),
            ]
        ) { invocation in
            guard !invocation.arguments.isEmpty else { return Output.write(try MountedFolder().read("log")) }
            let uri = try invocation.uri(0)
            var query: [(String, String?)] = [
                ("since", invocation.value("since")), ("stop_at", invocation.value("stop-at")),
            ]
            query +=
                invocation.all("objects").map { ("objects", $0) } + invocation.all("prefixes").map { ("prefixes", $0) }
            if invocation.has("limit") { query.append(("limit", "true")) }
            if invocation.has("first-parent") { query.append(("first_parent", "true")) }
            let found = try invocation.client.list(
                API.Commit.self, ["repositories", uri.repository, "refs", uri.requireRef(), "commits"], query,
                amount: invocation.number("amount", default: 100), after: invocation.value("after") ?? "")
            for commit in found.items { show(commit) }
        },
        Command(path: ["show", "commit"], arguments: ["<commit URI>"], summary: "Show a commit") { invocation in
            let uri = try invocation.uri(0)
            show(
                try invocation.client.get(
                    API.Commit.self, ["repositories", uri.repository, "commits", uri.requireRef()]))
        },
        Command(
            path: ["diff"], arguments: ["<ref URI>", "<other ref URI>"], optional: 2,
            summary:
                "Show uncommitted changes of a branch (that of the mount that you are in, unless named), or the changes between two refs",
            flags: [
                Flag(name: "two-way", description: "compare the refs as they are, not from their merge base"), prefix,
            ]
        ) { invocation in
            guard !invocation.arguments.isEmpty else { return Output.write(try MountedFolder().read("diff")) }
            let uri = try invocation.uri(0)
            let ref = try uri.requireRef()
            var parts = ["repositories", uri.repository, "branches", ref, "diff"]
            var query: [(String, String?)] = [("prefix", invocation.value("prefix"))]
            if invocation.arguments.count > 1 {
                let other = try invocation.uri(1)
                Output.line("Left ref: \(uri.description)\nRight ref: \(other.description)")
                guard other.repository == uri.repository else {
                    throw LakeError(.invalidValue, "both references must belong to the same repository")
                }
                parts = ["repositories", uri.repository, "refs", ref, "diff", try other.requireRef()]
                query.append(("type", invocation.has("two-way") ? "two_dot" : "three_dot"))
            } else {
                Output.line("Ref: \(uri.description)")
            }
            for item in try invocation.client.list(API.Diff.self, parts, query, amount: .max).items {
                let mark =
                    switch item.type {
                    case "added": "+ added"
                    case "removed": "- removed"
                    case "changed": "~ modified"
                    default: "* \(item.type)"
                    }
                Output.line("\(mark) \(item.path)")
            }
        },
        Command(
            path: ["merge"], arguments: ["<source ref URI>", "<destination branch URI>"],
            summary: "Merge a ref into a branch",
            flags: [
                message, meta, allowEmptyMessage,
                Flag(
                    name: "strategy", value: "NAME",
                    description: "dest-wins or source-wins, where both changed the same"),
                Flag(name: "squash", description: "one commit without the source as parent"),
                Flag(name: "allow-empty", description: "merge even if nothing changes"),
                Flag(name: "force", description: "merge into a read-only repository"),
            ]
        ) { invocation in
            let source = try invocation.uri(0)
            let target = try invocation.uri(1)
            let from = try source.requireRef()
            let into = try target.requireRef()
            Output.line("Source: \(source.description)\nDestination: \(target.description)")
            guard source.repository == target.repository else {
                throw LakeError(.invalidValue, "both references must belong to the same repository")
            }
            var creation = API.Merge()
            creation.message = invocation.value("message")
            creation.metadata = try invocation.metadata()
            creation.strategy = invocation.value("strategy")
            creation.squashMerge = invocation.has("squash")
            creation.allowEmpty = invocation.has("allow-empty")
            creation.force = invocation.has("force")
            let made = try Coding.decode(
                API.MergeResult.self,
                invocation.client.post(["repositories", source.repository, "refs", from, "merge", into], creation))
            Output.line("Merged \"\(from)\" into \"\(into)\" to get \"\(made.reference)\".")
        },
    ]
}

extension String {
    /// The text with spaces behind it, up to `width` characters.
    func padding(_ width: Int) -> String { self + String(repeating: " ", count: Swift.max(0, width - count)) }
}
