import Foundations
import LakeAPI
import Versioning

extension Command {
    static let yes = Flag(name: "yes", short: "y", description: "agree without being asked")
    static let amount = Flag(name: "amount", value: "N", description: "how many to show (default 100)")
    static let after = Flag(name: "after", value: "NAME", description: "show what follows this one")
    static let prefix = Flag(name: "prefix", value: "TEXT", description: "show only names that begin so")
    static let message = Flag(name: "message", short: "m", value: "TEXT", description: "commit message")
    static let meta = Flag(
        name: "meta", value: "KEY=VALUE", description: "commit metadata; may be repeated", repeats: true)
    static let allowEmptyMessage = Flag(name: "allow-empty-message", description: "take an empty message")

    static let repositoryCommands: [Command] = [
        Command(path: ["repo", "list"], summary: "List repositories", flags: [amount, after, prefix]) { invocation in
            let found = try invocation.client.list(
                API.Repository.self, ["repositories"], [("prefix", invocation.value("prefix"))],
                amount: invocation.number("amount", default: 100), after: invocation.value("after") ?? "")
            for item in found.items {
                Output.line(
                    [item.id, Output.time(item.creationDate), item.defaultBranch, item.storageNamespace].joined(
                        separator: "\t"))
            }
        },
        Command(
            path: ["repo", "create"], arguments: ["<repository URI>", "<storage namespace>"], optional: 1,
            summary: "Create a repository (storage namespace: local://NAME unless given)",
            flags: [
                Flag(name: "default-branch", short: "d", value: "NAME", description: "its first branch (default main)")
            ]
        ) { invocation in
            let uri = try invocation.uri(0)
            Output.line("Repository: \(uri.description)")
            let namespace = invocation.arguments.count > 1 ? invocation.arguments[1] : "local://\(uri.repository)"
            let made = try Coding.decode(
                API.Repository.self,
                invocation.client.post(
                    ["repositories"],
                    API.RepositoryCreation(
                        name: uri.repository, storageNamespace: namespace,
                        defaultBranch: invocation.value("default-branch"))))
            Output.line(
                "Repository '\(made.id)' created:\nstorage namespace: \(made.storageNamespace)\ndefault branch: \(made.defaultBranch)\ntimestamp: \(made.creationDate)"
            )
        },
        Command(
            path: ["repo", "delete"], arguments: ["<repository URI>"],
            summary: "Delete a repository; its objects stay in storage", flags: [yes]
        ) { invocation in
            let uri = try invocation.uri(0)
            Output.line("Repository: \(uri.description)")
            try Output.confirm("Delete repository '\(uri.repository)'?", invocation)
            unsafe try invocation.client.send("DELETE", ["repositories", uri.repository])
            Output.line("Repository '\(uri.repository)' deleted")
        },
        Command(
            path: ["branch", "list"], arguments: ["<repository URI>"], summary: "List branches",
            flags: [amount, after, prefix]
        ) { invocation in
            let uri = try invocation.uri(0)
            let found = try invocation.client.list(
                API.Ref.self, ["repositories", uri.repository, "branches"], [("prefix", invocation.value("prefix"))],
                amount: invocation.number("amount", default: 100), after: invocation.value("after") ?? "")
            for item in found.items { Output.line("\(item.id)\t\(item.commitId)") }
        },
        Command(
            path: ["branch", "create"], arguments: ["<branch URI>"], summary: "Create a branch from a ref",
            flags: [Flag(name: "source", short: "s", value: "URI", description: "where it begins")]
        ) { invocation in
            let uri = try invocation.uri(0)
            let name = try uri.requireRef()
            guard let source = invocation.value("source") else {
                throw UsageError("required flag(s) \"source\" not set")
            }
            let from = try LakeURI(source, base: invocation.value("base-uri"))
            Output.line("Source ref: \(from.description)")
            guard from.repository == uri.repository else {
                throw LakeError(.invalidValue, "source branch must be in the same repository")
            }
            let commit = try invocation.client.post(
                ["repositories", uri.repository, "branches"], API.BranchCreation(name: name, source: from.requireRef()))
            Output.line("created branch '\(name)' \(String(decoding: commit, as: UTF8.self))")
        },
        Command(
            path: ["branch", "delete"], arguments: ["<branch URI>"],
            summary: "Delete a branch and its uncommitted changes", flags: [yes]
        ) { invocation in
            let uri = try invocation.uri(0)
            let name = try uri.requireRef()
            try Output.confirm("Delete branch '\(name)'?", invocation)
            Output.line("Branch: \(uri.description)")
            unsafe try invocation.client.send("DELETE", ["repositories", uri.repository, "branches", name])
        },
        Command(path: ["branch", "show"], arguments: ["<branch URI>"], summary: "Show a branch's commit") {
            invocation in
            let uri = try invocation.uri(0)
            Output.line("Branch: \(uri.description)")
            Output.line(
                "Commit ID: "
                    + (try invocation.client.get(
                        API.Ref.self, ["repositories", uri.repository, "branches", uri.requireRef()])).commitId)
        },
        Command(
            path: ["branch", "reset"], arguments: ["<branch URI>"],
            summary: "Drop uncommitted changes: all, of one object, or under a prefix",
            flags: [
                Flag(name: "object", value: "PATH", description: "only this object"),
                Flag(name: "prefix", value: "PATH", description: "only what begins so"), yes,
            ]
        ) { invocation in
            let uri = try invocation.uri(0)
            let name = try uri.requireRef()
            Output.line("Branch: \(uri.description)")
            try Output.confirm("Reset branch '\(name)'?", invocation)
            let reset =
                invocation.value("object").map { API.ResetCreation(type: "object", path: $0) } ?? invocation.value(
                    "prefix"
                )
                .map { API.ResetCreation(type: "common_prefix", path: $0) }
                ?? API.ResetCreation(type: "reset", path: nil)
            try invocation.client.post(["repositories", uri.repository, "branches", name], reset, method: "PUT")
        },
        Command(
            path: ["tag", "list"], arguments: ["<repository URI>"], summary: "List tags",
            flags: [amount, after, prefix]
        ) { invocation in
            let uri = try invocation.uri(0)
            let found = try invocation.client.list(
                API.Ref.self, ["repositories", uri.repository, "tags"], [("prefix", invocation.value("prefix"))],
                amount: invocation.number("amount", default: 100), after: invocation.value("after") ?? "")
            for item in found.items { Output.line("\(item.id)\t\(item.commitId)") }
        },
        Command(
            path: ["tag", "create"], arguments: ["<tag URI>", "<commit URI>"], summary: "Create a tag",
            flags: [Flag(name: "force", short: "f", description: "move a tag that is there")]
        ) { invocation in
            let uri = try invocation.uri(0)
            let from = try invocation.uri(1)
            guard from.repository == uri.repository else {
                throw LakeError(.invalidValue, "both references must belong to the same repository")
            }
            let made = try Coding.decode(
                API.Ref.self,
                invocation.client.post(
                    ["repositories", uri.repository, "tags"],
                    API.TagCreation(
                        id: uri.requireRef(), ref: from.requireRef(), force: invocation.has("force") ? true : nil)))
            Output.line("Created tag '\(made.id)' ({\(made.commitId) \(made.id)})")
        },
        Command(path: ["tag", "show"], arguments: ["<tag URI>"], summary: "Show a tag's commit") { invocation in
            let uri = try invocation.uri(0)
            let found = try invocation.client.get(
                API.Ref.self, ["repositories", uri.repository, "tags", uri.requireRef()])
            Output.line("\(found.id) \(found.commitId)")
        },
        Command(path: ["tag", "delete"], arguments: ["<tag URI>"], summary: "Delete a tag", flags: [yes]) {
            invocation in
            let uri = try invocation.uri(0)
            try Output.confirm("Delete tag '\(uri.requireRef())'?", invocation)
            unsafe try invocation.client.send("DELETE", ["repositories", uri.repository, "tags", uri.requireRef()])
        },
    ]
}
