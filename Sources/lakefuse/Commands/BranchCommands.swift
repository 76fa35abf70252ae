import Foundations
import LakeAPI
import Transport

extension Command {
    private static func rules(_ invocation: Invocation) throws -> (
        client: LakeClient, parts: [String], rules: [API.BranchProtectionRule], tag: String?
    ) {
        let uri = try invocation.repository()
        let parts = ["repositories", uri.repository, "settings", "branch_protection"]
        let client = try invocation.client
        let answer = unsafe try client.send("GET", parts)
        return (client, parts, try Coding.decode([API.BranchProtectionRule].self, answer.body), answer.header("etag"))
    }

    /// Sets rules if they are still those that were read.
    private static func set(
        _ rules: [API.BranchProtectionRule], _ parts: [String], _ tag: String?, _ client: LakeClient
    ) throws {
        unsafe try client.send(
            "PUT", parts,
            headers: [("Content-Type", "application/json")]
                + (tag.flatMap { $0.isEmpty ? nil : [("If-Match", $0)] } ?? []),
            body: .bytes(Coding.encode(rules)))
    }

    static let branchCommands: [Command] = [
        Command(
            path: ["branch", "list"], arguments: ["<repository URI>"], takes: 1...1,
            summary: "List branches in a repository", example: "lakectl branch list lakefs://demo",
            flags: [.amount, .after, .prefix], isLakectl: true
        ) { invocation in
            let uri = try invocation.repository()
            try invocation.showList(
                API.Ref.self, ["repositories", uri.repository, "branches"], next: \.id, ["Branch", "Commit"]
            ) { [$0.id, $0.commitId] }
        },
        Command(
            path: ["branch", "create"], arguments: ["<branch URI> -s <source ref URI>"], takes: 1...1,
            summary: "Create a new branch in a repository",
            example: "lakectl branch create lakefs://demo/dev --source lakefs://demo/main",
            flags: [.required(Flag(name: "source", short: "s", value: "string", description: "source branch uri"))],
            isLakectl: true
        ) { invocation in
            let (_, repository, name) = try invocation.branch()
            let (from, other, source) = try invocation.ref(invocation.value("source")!, "source ref URI")
            Output.line("Source ref: \(from.description)")
            guard other == repository else { throw CommandError("source branch must be in the same repository") }
            let commit = try invocation.client.post(
                ["repositories", repository, "branches"], API.BranchCreation(name: name, source: source))
            Output.line("created branch '\(name)' \(String(decoding: commit, as: UTF8.self))")
        },
        Command(
            path: ["branch", "show"], arguments: ["<branch URI>"], takes: 1...1,
            summary: "Show branch latest commit reference", example: "lakectl branch show lakefs://demo/dev",
            isLakectl: true
        ) { invocation in
            let (uri, repository, name) = try invocation.branch()
            let found = { try invocation.client.get(API.Ref.self, ["repositories", repository, "branches", name]) }
            if invocation.isJSON { return try Output.json(found()) }
            Output.line("Branch: \(uri.description)")
            Output.line("Commit ID: \(try found().commitId)")
        },
        Command(
            path: ["branch", "delete"], arguments: ["<branch URI>"], takes: 1...1,
            summary: "Delete a branch in a repository, along with its uncommitted changes (CAREFUL)",
            example: "lakectl branch delete lakefs://demo/dev --yes", flags: [.yes], isLakectl: true
        ) { invocation in
            let (uri, repository, name) = try invocation.branch()
            try Output.confirm("Are you sure you want to delete branch", invocation, orElse: "Delete branch aborted")
            Output.line("Branch: \(uri.description)")
            unsafe try invocation.client.send("DELETE", ["repositories", repository, "branches", name])
        },
        Command(
            path: ["branch", "reset"], arguments: ["<branch URI> [--prefix|--object]"], takes: 1...1,
            summary: "Reset uncommitted changes - all of them, or by path",
            example: "lakectl branch reset lakefs://demo/dev --prefix data/ --yes",
            flags: [
                Flag(name: "object", value: "string", description: "path to object to be reset"),
                Flag(name: "prefix", value: "string", description: "prefix of the objects to be reset"), .yes,
            ], isLakectl: true
        ) { invocation in
            let (uri, repository, name) = try invocation.branch()
            Output.line("Branch: \(uri.description)")
            let (object, prefix) = (invocation.value("object"), invocation.value("prefix"))
            guard prefix != "", object != "" else {
                throw CommandError("an empty --prefix or --object: leave it out to reset everything")
            }
            let (what, reset) =
                if let object {
                    ("to \(object)", API.ResetCreation(type: "object", path: object))
                } else if let prefix {
                    ("under \(prefix)", API.ResetCreation(type: "common_prefix", path: prefix))
                } else {
                    ("", API.ResetCreation(type: "reset", path: nil))
                }
            try Output.confirm(
                "Are you sure you want to reset all uncommitted changes\(what.isEmpty ? "" : " " + what)?", invocation,
                orElse: "Reset aborted")
            try invocation.client.post(["repositories", repository, "branches", name], reset, method: "PUT")
        },
        Command(
            path: ["branch", "revert"], arguments: ["<branch URI> <commit ref to revert> [<more commits>...]"],
            takes: 2...Int.max, summary: "Given a commit, record a new commit to reverse the effect of this commit",
            details: "The commits will be reverted in left-to-right order",
            example: "lakectl branch revert lakefs://demo/dev dev --yes",
            flags: [
                Flag(name: "allow-empty-commit", description: "allow empty commit (revert without changes)"),
                Flag(
                    name: "parent-number", short: "m", value: "int",
                    description:
                        "the parent number (starting from 1) of the mainline. The revert will reverse the change relative to the specified parent."
                ), .yes,
            ], isLakectl: true
        ) { invocation in
            let (uri, repository, name) = try invocation.branch()
            Output.line("Branch: \(uri.description)")
            let commits = invocation.arguments.dropFirst()
            try Output.confirm(
                "Are you sure you want to revert the effect of commits \(commits.joined(separator: ", "))?", invocation,
                orElse: "Revert aborted")
            let client = try invocation.client
            for commit in commits {
                var revert = API.RevertCreation(ref: commit, parentNumber: try invocation.number("parent-number"))
                if invocation.has("allow-empty-commit") { revert.allowEmpty = true }
                try client.post(["repositories", repository, "branches", name, "revert"], revert)
                Output.line("commit \(commit) successfully reverted")
            }
        },
        Command(
            path: ["branch-protect", "list"], arguments: ["<repository URI>"], takes: 1...1,
            summary: "List all branch protection rules", example: "lakectl branch-protect list lakefs://demo",
            isLakectl: true
        ) { invocation in
            let rules = try rules(invocation).rules
            if invocation.isJSON { return Output.json(rules) }
            var list = Listing(["Branch name pattern"])
            for rule in rules { list.add([rule.pattern]) }
            list.write()
        },
        Command(
            path: ["branch-protect", "add"], arguments: ["<repository URI> <pattern>"], takes: 2...2,
            summary: "Add a branch protection rule",
            details: "Add a branch protection rule for a given branch name pattern",
            example: "lakectl branch-protect add lakefs://demo 'stable_*'", isLakectl: true
        ) { invocation in
            let (client, parts, rules, tag) = try rules(invocation)
            guard !rules.contains(where: { $0.pattern == invocation.arguments[1] }) else {
                throw CommandError("rule for branch \"\(invocation.arguments[1])\" already exists")
            }
            try set(rules + [API.BranchProtectionRule(pattern: invocation.arguments[1])], parts, tag, client)
        },
        Command(
            path: ["branch-protect", "delete"], arguments: ["<repository URI> <pattern>"], takes: 2...2,
            summary: "Delete a branch protection rule",
            details: "Delete a branch protection rule for a given branch name pattern",
            example: "lakectl branch-protect delete lakefs://demo 'stable_*'", isLakectl: true
        ) { invocation in
            let (client, parts, rules, tag) = try rules(invocation)
            let left = rules.filter { $0.pattern != invocation.arguments[1] }
            guard left.count < rules.count else {
                throw CommandError("rule for branch \"\(invocation.arguments[1])\" does not exist")
            }
            try set(left, parts, tag, client)
        },
    ]

    static let tagCommands: [Command] = [
        Command(
            path: ["tag", "list"], arguments: ["<repository URI>"], takes: 1...1, summary: "List tags in a repository",
            example: "lakectl tag list lakefs://demo", flags: [.amount, .after, .prefix], isLakectl: true
        ) { invocation in
            let uri = try invocation.repository()
            try invocation.showList(
                API.Ref.self, ["repositories", uri.repository, "tags"], next: \.id, ["Tag", "Commit ID"]
            ) { [$0.id, $0.commitId] }
        },
        Command(
            path: ["tag", "create"], arguments: ["<tag URI> <commit URI>"], takes: 2...2,
            summary: "Create a new tag in a repository",
            example: "lakectl tag create lakefs://demo/v1 lakefs://demo/main",
            flags: [Flag(name: "force", short: "f", description: "override the tag if it exists")], isLakectl: true
        ) { invocation in
            let (_, repository, name) = try invocation.ref(0, "tag URI")
            let (_, other, ref) = try invocation.ref(1, "commit URI")
            guard other == repository else {
                throw CommandError("both references must belong to the same repository")
            }
            let client = try invocation.client
            // A tag that is moved says so.
            let creation = API.TagCreation(id: name, ref: ref, force: invocation.has("force") ? true : nil)
            let made = try client.post(API.Ref.self, ["repositories", repository, "tags"], creation)
            Output.line("Created tag '\(made.id)' ({\(made.commitId) \(made.id)})")
        },
        Command(
            path: ["tag", "show"], arguments: ["<tag URI>"], takes: 1...1, summary: "Show tag's commit reference",
            example: "lakectl tag show lakefs://demo/v1", isLakectl: true
        ) { invocation in
            let (uri, repository, name) = try invocation.ref(0, "tag URI")
            let found = try invocation.client.get(API.Ref.self, ["repositories", repository, "tags", name])
            if invocation.isJSON { return Output.json(found) }
            Output.line("Tag: \(uri.description)\nCommit ID: \(found.commitId)")
        },
        Command(
            path: ["tag", "delete"], arguments: ["<tag URI>"], takes: 1...1, summary: "Delete a tag from a repository",
            example: "lakectl tag delete lakefs://demo/v1 --yes", flags: [.yes], isLakectl: true
        ) { invocation in
            let (_, repository, name) = try invocation.ref(0, "tag URI")
            try Output.confirm("Are you sure you want to delete tag", invocation, orElse: "Delete tag aborted")
            unsafe try invocation.client.send("DELETE", ["repositories", repository, "tags", name])
        },
    ]
}
