extension Command {
    /// Every command. (An array of arrays: the type checker takes its time with sums.)
    static let all: [Command] = [
        serverCommands, mountCommands, repositoryCommands, branchCommands, tagCommands, versionCommands,
        objectCommands, localCommands, settingCommands, actionCommands, authCommands, clientCommands, bisectCommands,
        abuseCommands, keyValueCommands,
    ].flatMap { $0 }
}

extension CommandGroup {
    static let all: [CommandGroup] = [
        CommandGroup(
            path: ["abuse"], summary: "Put load on a server, and see how it bears it", isHidden: true, isLakectl: true),
        CommandGroup(path: ["actions"], summary: "Manage Actions commands", isLakectl: true),
        CommandGroup(path: ["actions", "runs"], summary: "Explore runs information", isLakectl: true),
        CommandGroup(path: ["auth"], summary: "Manage authentication and authorization", isLakectl: true),
        CommandGroup(path: ["auth", "groups"], summary: "Manage groups", isLakectl: true),
        CommandGroup(path: ["auth", "groups", "acl"], summary: "Manage ACLs of groups", isLakectl: true),
        CommandGroup(path: ["auth", "groups", "members"], summary: "Manage members of groups", isLakectl: true),
        CommandGroup(path: ["auth", "groups", "policies"], summary: "Manage policies of groups", isLakectl: true),
        CommandGroup(path: ["auth", "policies"], summary: "Manage policies", isLakectl: true),
        CommandGroup(path: ["auth", "users"], summary: "Manage users", isLakectl: true),
        CommandGroup(
            path: ["auth", "users", "aws-iam"], summary: "Manage roles of AWS that users log in by", isLakectl: true),
        CommandGroup(path: ["auth", "users", "credentials"], summary: "Manage key pairs of users", isLakectl: true),
        CommandGroup(path: ["auth", "users", "groups"], summary: "Manage groups of users", isLakectl: true),
        CommandGroup(path: ["auth", "users", "policies"], summary: "Manage policies of users", isLakectl: true),
        CommandGroup(
            path: ["bisect"], summary: "Find the commit that a fault came with, by halves", isHidden: true,
            isLakectl: true),
        CommandGroup(path: ["branch"], summary: "Create and manage branches within a repository", isLakectl: true),
        CommandGroup(path: ["branch-protect"], summary: "Create and manage branch protection rules", isLakectl: true),
        CommandGroup(path: ["fs"], summary: "View and manipulate objects", isLakectl: true),
        CommandGroup(path: ["gc"], summary: "Manage the garbage collection policy", isLakectl: true),
        CommandGroup(path: ["kv"], summary: "Look at a lake's key-value store, and copy it"),
        CommandGroup(path: ["local"], summary: "Sync local directories with lakeFS paths", isLakectl: true),
        CommandGroup(path: ["lua"], summary: "Run scripts as hooks do"),
        CommandGroup(path: ["migrate"], summary: "Look at the schema of a lake's records"),
        CommandGroup(
            path: ["plugin"], summary: "Manage lakectl plugins", isLakectl: true),
        CommandGroup(path: ["repo"], summary: "Manage and explore repos", isLakectl: true),
        CommandGroup(path: ["show"], summary: "See detailed information about an entity", isLakectl: true),
        CommandGroup(path: ["tag"], summary: "Create and manage tags within a repository", isLakectl: true),
        CommandGroup(path: ["usage"], summary: "Usage reports from lakeFS", isHidden: true, isLakectl: true),
    ]
}

extension CommandTable {
    /// As this program was called.
    static let current = CommandTable(called: Program.arguments.first ?? "")
}
