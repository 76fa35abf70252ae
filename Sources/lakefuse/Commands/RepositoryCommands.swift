import Foundations
import LakeAPI
import Transport

extension Command {
    private static func create(_ invocation: Invocation, isBare: Bool) throws {
        let uri = try invocation.repository()
        Output.line("Repository: \(uri.description)")
        var creation = API.RepositoryCreation(
            name: uri.repository,
            storageNamespace: invocation.arguments.count > 1 ? invocation.arguments[1] : "local://\(uri.repository)",
            defaultBranch: invocation.value("default-branch"))
        if invocation.has("sample-data") { creation.sampleData = true }
        let answer = unsafe try invocation.client.send(
            "POST", ["repositories"], [("bare", isBare ? "true" : nil)],
            headers: [("Content-Type", "application/json")], body: .bytes(Coding.encode(creation)))
        let made = try Coding.decode(API.Repository.self, answer.body)
        Output.line(
            "Repository '\(made.id)' created:\nstorage namespace: \(made.storageNamespace)\ndefault branch: \(made.defaultBranch)\ntimestamp: \(made.creationDate)"
                + (invocation.has("sample-data") ? "\nsample data included" : ""))
    }

    static let repositoryCommands: [Command] = [
        Command(
            path: ["repo", "list"], takes: 0...0, summary: "List repositories", example: "lakectl repo list",
            flags: [.amount, .after, .prefix], isLakectl: true
        ) { invocation in
            try invocation.showList(
                API.Repository.self, ["repositories"], next: \.id,
                [
                    "Repository", "Creation date", "Default branch", "Storage", "Storage namespace",
                ]
            ) {
                [
                    $0.id, Output.time($0.creationDate), $0.defaultBranch,
                    $0.storageId?.isEmpty == false ? $0.storageId! : $0.id, $0.storageNamespace,
                ]
            }
        },
        Command(
            path: ["repo", "create"], arguments: ["<repository URI> <storage namespace>"], takes: 1...2,
            lakectlTakes: 2...2, summary: "Create a new repository",
            example: "lakectl repo create lakefs://example local://example --sample-data",
            flags: [
                Flag(
                    name: "default-branch", short: "d", value: "string", standard: "main",
                    description: "the default branch of this repository"),
                Flag(name: "sample-data", description: "create sample data in the repository"),
            ], isLakectl: true
        ) { try create($0, isBare: false) },
        Command(
            path: ["repo", "create-bare"], arguments: ["<repository URI> <storage namespace>"], takes: 2...2,
            summary: "Create a new repository with no initial branch or commit",
            example: "lakectl repo create-bare lakefs://example-bare local://example-bare",
            flags: [
                Flag(
                    name: "default-branch", short: "d", value: "string", standard: "main",
                    description: "the default branch name of this repository (will not be created)")
            ], isHidden: true, isLakectl: true
        ) { try create($0, isBare: true) },
        Command(
            path: ["repo", "delete"], arguments: ["<repository URI>"], takes: 1...1,
            summary: "Delete existing repository", example: "lakectl repo delete lakefs://example --yes", flags: [.yes],
            isLakectl: true
        ) { invocation in
            let uri = try invocation.repository()
            Output.line("Repository: \(uri.description)")
            try Output.confirm(
                "Are you sure you want to delete repository: \(uri.repository)?", invocation,
                orElse: "Delete Repository '\(uri.repository)' aborted\n")
            unsafe try invocation.client.send("DELETE", ["repositories", uri.repository])
            Output.line("Repository '\(uri.repository)' deleted")
        },
    ]
}
