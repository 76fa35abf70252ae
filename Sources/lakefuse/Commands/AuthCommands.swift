import Foundations
import LakeAPI
import Transport

extension Command {
    private static let users = ["auth", "users"], groups = ["auth", "groups"], policies = ["auth", "policies"]

    /// The user that a flag names, else who asks.
    private static func user(_ invocation: Invocation, _ flag: String = "id") throws -> String {
        if let id = invocation.value(flag), !id.isEmpty { return id }
        return try invocation.client.get(API.CurrentUser.self, ["user"]).user.id
    }

    private static func id(_ invocation: Invocation) -> String { invocation.value("id")! }

    private static func showPolicies(_ invocation: Invocation, _ parts: [String], _ query: [(String, String?)] = [])
        throws
    {
        try invocation.showList(API.Policy.self, parts, query, next: \.id, ["Policy ID", "Creation date"]) {
            [$0.id, Output.time($0.creationDate ?? 0)]
        }
    }

    private static func showGroups(_ invocation: Invocation, _ parts: [String]) throws {
        try invocation.showList(API.Group.self, parts, next: \.id, ["Group ID", "Creation date"]) {
            [$0.id, Output.time($0.creationDate)]
        }
    }

    private static func showUsers(_ invocation: Invocation, _ parts: [String]) throws {
        try invocation.showList(API.User.self, parts, next: \.id, ["User ID", "Creation date"]) {
            [$0.id, Output.time($0.creationDate)]
        }
    }

    /// A policy as a file of its statements has it.
    private static func show(_ policy: API.Policy) {
        Output.line("ID: \(policy.id)\nCreation Date: \(Output.time(policy.creationDate ?? 0))\nStatements:")
        Output.json(policy.statement)
    }

    private static func statements(_ file: String) throws -> [API.Statement] {
        struct Document: Decodable { let statement: [API.Statement] }
        let bytes = try Files.input(file)
        do { return try Coding.decode(Document.self, bytes).statement } catch {
            throw CommandError(
                "\(file): it is no document with a 'statement'",
                hint: #"{"statement": [{"action": ["fs:ReadObject"], "effect": "allow", "resource": "*"}]}"#)
        }
    }

    private static func attach(_ invocation: Invocation, _ parts: [String], _ method: String) throws {
        unsafe try invocation.client.send(method, parts)
    }

    static let authCommands: [Command] = [
        Command(
            path: ["auth", "users", "list"], takes: 0...0, summary: "List users", example: "lakectl auth users list",
            flags: [.amount, .after, .prefix], isLakectl: true
        ) { try showUsers($0, users) },
        Command(
            path: ["auth", "users", "create"], takes: 0...0, summary: "Create a user",
            example: "lakectl auth users create --id ada",
            flags: [.required(Flag(name: "id", value: "string", description: "Username"))], isLakectl: true
        ) { invocation in
            let made = try invocation.client.post(API.User.self, users, API.UserCreation(id: id(invocation)))
            Output.line("User created successfully.\nID: \(made.id)\nCreation Date: \(Output.time(made.creationDate))")
        },
        Command(
            path: ["auth", "users", "delete"], takes: 0...0, summary: "Delete a user",
            example: "lakectl auth users delete --id ada", flags: [.required(Flag.userID)], isLakectl: true
        ) { invocation in
            unsafe try invocation.client.send("DELETE", users + [id(invocation)])
            Output.line("User deleted successfully")
        },
        Command(
            path: ["auth", "users", "credentials", "list"], takes: 0...0, summary: "List user credentials",
            example: "lakectl auth users credentials list --id ada", flags: [.perhapsUserID, .amount, .after, .prefix],
            isLakectl: true
        ) { invocation in
            try invocation.showList(
                API.Credentials.self, users + [user(invocation), "credentials"], next: \.accessKeyId,
                ["Access Key ID", "Issued Date"]
            ) { [$0.accessKeyId, Output.time($0.creationDate)] }
        },
        Command(
            path: ["auth", "users", "credentials", "create"], takes: 0...0, summary: "Create user credentials",
            example: "lakectl auth users credentials create --id ada", flags: [.perhapsUserID], isLakectl: true
        ) { invocation in
            let answer = unsafe try invocation.client.send("POST", users + [user(invocation), "credentials"])
            let made = try Coding.decode(API.CredentialsWithSecret.self, answer.body)
            if invocation.isJSON { return Output.json(made) }
            Output.line(
                "Credentials created successfully.\nAccess Key ID: \(made.accessKeyId)\nAccess Secret Key: \(made.secretAccessKey)\n\nKeep these somewhere safe since you will not be able to see the secret key again"
            )
        },
        Command(
            path: ["auth", "users", "credentials", "delete"], takes: 0...0, summary: "Delete user credentials",
            example: "lakectl auth users credentials delete --id ada --access-key-id AKIAIOSFODNN7EXAMPLE",
            flags: [
                .required(Flag(name: "access-key-id", value: "string", description: "Access key ID to delete")),
                .perhapsUserID,
            ], isLakectl: true
        ) { invocation in
            try attach(
                invocation, users + [user(invocation), "credentials", invocation.value("access-key-id")!], "DELETE")
            Output.line("Credentials deleted successfully")
        },
        Command(
            path: ["auth", "users", "groups", "list"], takes: 0...0, summary: "List groups for the given user",
            example: "lakectl auth users groups list --id ada",
            flags: [.required(Flag.userID), .amount, .after, .prefix], isLakectl: true
        ) { try showGroups($0, users + [id($0), "groups"]) },
        Command(
            path: ["auth", "users", "policies", "list"], takes: 0...0, summary: "List policies for the given user",
            example: "lakectl auth users policies list --id ada --effective",
            flags: [
                Flag(
                    name: "effective",
                    description: "List all distinct policies attached to the user, including by group memberships"),
                .required(Flag.userID), .amount, .after, .prefix,
            ], isLakectl: true
        ) { invocation in
            try showPolicies(
                invocation, users + [id(invocation), "policies"],
                [("effective", invocation.has("effective") ? "true" : nil)])
        },
        Command(
            path: ["auth", "users", "policies", "attach"], takes: 0...0, summary: "Attach a policy to a user",
            example: "lakectl auth users policies attach --id ada --policy FSReadAll",
            flags: [.required(Flag.userID), .required(Flag.policy)], isLakectl: true
        ) { invocation in
            try attach(invocation, users + [id(invocation), "policies", invocation.value("policy")!], "PUT")
            Output.line("Policy attached successfully")
        },
        Command(
            path: ["auth", "users", "policies", "detach"], takes: 0...0, summary: "Detach a policy from a user",
            example: "lakectl auth users policies detach --id ada --policy FSReadAll",
            flags: [.required(Flag.userID), .required(Flag.policy)], isLakectl: true
        ) { invocation in
            try attach(invocation, users + [id(invocation), "policies", invocation.value("policy")!], "DELETE")
            Output.line("Policy detached successfully")
        },
        Command(
            path: ["auth", "users", "aws-iam", "list"], takes: 0...0,
            summary: "List all IAM roles attached to a lakeFS user",
            example: "lakectl auth users aws-iam list --id ada", flags: [.principalUser, .amount, .after, .prefix],
            isLakectl: true
        ) { invocation in
            try invocation.showList(
                API.ExternalPrincipal.self, users + [user(invocation), "external", "principals", "ls"], next: \.id,
                ["Principal ID", "User ID"]
            ) { [$0.id, $0.userId] }
        },
        Command(
            path: ["auth", "users", "aws-iam", "attach"], takes: 0...0, summary: "Attach an IAM role to a lakeFS user",
            example:
                "lakectl auth users aws-iam attach --id ada --principal-id arn:aws:sts::123456789012:assumed-role/reader",
            flags: [.principalUser, .required(Flag.principalID)], isLakectl: true
        ) { invocation in
            let principal = invocation.value("principal-id")!
            unsafe try invocation.client.send(
                "POST", users + [user(invocation), "external", "principals"], [("principalId", principal)],
                headers: [("Content-Type", "application/json")],
                body: .bytes(Coding.encode(API.ExternalPrincipalCreation())))
            Output.line("Attached principal ID \"\(principal)\" to user")
        },
        Command(
            path: ["auth", "users", "aws-iam", "detach"], takes: 0...0,
            summary: "Detach an IAM Role from a lakeFS user",
            example:
                "lakectl auth users aws-iam detach --id ada --principal-id arn:aws:sts::123456789012:assumed-role/reader",
            flags: [.principalUser, .required(Flag.principalID)], isLakectl: true
        ) { invocation in
            let principal = invocation.value("principal-id")!
            unsafe try invocation.client.send(
                "DELETE", users + [user(invocation), "external", "principals"], [("principalId", principal)])
            Output.line("Detached principal ID \"\(principal)\" from user")
        },
        Command(
            path: ["auth", "users", "aws-iam", "lookup"], takes: 0...0, summary: "Lookup IAM Role attachments",
            example: "lakectl auth users aws-iam lookup --principal-id arn:aws:sts::123456789012:assumed-role/reader",
            flags: [.required(Flag.principalID)], isLakectl: true
        ) { invocation in
            let found = try invocation.client.get(
                API.ExternalPrincipal.self, ["auth", "external", "principals"],
                [("principalId", invocation.value("principal-id"))])
            if invocation.isJSON { return Output.json(found) }
            Output.line("Principal ID: \(found.id)\nUser ID: \(found.userId)")
        },
        Command(
            path: ["auth", "groups", "list"], takes: 0...0, summary: "List groups", example: "lakectl auth groups list",
            flags: [.amount, .after, .prefix], isLakectl: true
        ) { try showGroups($0, groups) },
        Command(
            path: ["auth", "groups", "create"], takes: 0...0, summary: "Create a group",
            example: "lakectl auth groups create --id Analysts", flags: [.required(Flag.groupID)], isLakectl: true
        ) { invocation in
            let made = try invocation.client.post(API.Group.self, groups, API.GroupCreation(id: id(invocation)))
            Output.line("Group created successfully.\nID: \(made.id)\nCreation Date: \(Output.time(made.creationDate))")
        },
        Command(
            path: ["auth", "groups", "delete"], takes: 0...0, summary: "Delete a group",
            example: "lakectl auth groups delete --id Analysts", flags: [.required(Flag.groupID)], isLakectl: true
        ) { invocation in
            unsafe try invocation.client.send("DELETE", groups + [id(invocation)])
            Output.line("Group deleted successfully")
        },
        Command(
            path: ["auth", "groups", "members", "list"], takes: 0...0, summary: "List users in a group",
            example: "lakectl auth groups members list --id Analysts",
            flags: [.required(Flag.groupID), .amount, .after, .prefix], isLakectl: true
        ) { try showUsers($0, groups + [id($0), "members"]) },
        Command(
            path: ["auth", "groups", "members", "add"], takes: 0...0, summary: "Add a user to a group",
            example: "lakectl auth groups members add --id Analysts --user ada",
            flags: [.required(Flag.groupID), .perhapsUser], isLakectl: true
        ) { invocation in
            try attach(invocation, groups + [id(invocation), "members", user(invocation, "user")], "PUT")
            Output.line("User successfully added to group")
        },
        Command(
            path: ["auth", "groups", "members", "remove"], takes: 0...0, summary: "Remove a user from a group",
            example: "lakectl auth groups members remove --id Analysts --user ada",
            flags: [.required(Flag.groupID), .perhapsUser], isLakectl: true
        ) { invocation in
            try attach(invocation, groups + [id(invocation), "members", user(invocation, "user")], "DELETE")
            Output.line("User successfully removed from group")
        },
        Command(
            path: ["auth", "groups", "policies", "list"], takes: 0...0, summary: "List policies for the given group",
            example: "lakectl auth groups policies list --id Analysts",
            flags: [.required(Flag.groupID), .amount, .after, .prefix], isLakectl: true
        ) { try showPolicies($0, groups + [id($0), "policies"]) },
        Command(
            path: ["auth", "groups", "policies", "attach"], takes: 0...0, summary: "Attach a policy to a group",
            example: "lakectl auth groups policies attach --id Analysts --policy FSReadAll",
            flags: [
                .required(Flag(name: "id", value: "string", description: "User identifier")), .required(Flag.policy),
            ], isLakectl: true
        ) { invocation in
            try attach(invocation, groups + [id(invocation), "policies", invocation.value("policy")!], "PUT")
            Output.line("Policy attached successfully")
        },
        Command(
            path: ["auth", "groups", "policies", "detach"], takes: 0...0, summary: "Detach a policy from a group",
            example: "lakectl auth groups policies detach --id Analysts --policy FSReadAll",
            flags: [
                .required(Flag(name: "id", value: "string", description: "User identifier")), .required(Flag.policy),
            ], isLakectl: true
        ) { invocation in
            try attach(invocation, groups + [id(invocation), "policies", invocation.value("policy")!], "DELETE")
            Output.line("Policy detached successfully")
        },
        Command(
            path: ["auth", "groups", "acl", "get"], takes: 0...0, summary: "Get ACL of group",
            example: "lakectl auth groups acl get --id Analysts", flags: [.required(Flag.groupID)], isLakectl: true
        ) { invocation in
            let found = try invocation.client.get(API.ACL.self, groups + [id(invocation), "acl"])
            if invocation.isJSON { return Output.json(found) }
            Output.line("Group \(id(invocation)):\nACL: \(found.permission)")
        },
        Command(
            path: ["auth", "groups", "acl", "set"], takes: 0...0, summary: "Set ACL of group",
            details: "Set ACL of group. permission will be attached to all repositories.",
            example: "lakectl auth groups acl set --id Analysts --permission Read",
            flags: [
                .required(Flag.groupID),
                .required(
                    Flag(
                        name: "permission", value: "string",
                        description: "Permission, typically one of \"Read\", \"Write\", \"Super\" or \"Admin\"")),
            ], isLakectl: true
        ) { invocation in
            try invocation.client.post(
                groups + [id(invocation), "acl"], API.ACL(permission: invocation.value("permission")!))
            Output.line("ACL set successfully")
        },
        Command(
            path: ["auth", "policies", "list"], takes: 0...0, summary: "List policies",
            example: "lakectl auth policies list", flags: [.amount, .after, .prefix], isLakectl: true
        ) { try showPolicies($0, policies) },
        Command(
            path: ["auth", "policies", "show"], takes: 0...0, summary: "Show a policy",
            example: "lakectl auth policies show --id FSReadAll", flags: [.required(Flag.policyID)], isLakectl: true
        ) { invocation in
            let found = try invocation.client.get(API.Policy.self, policies + [id(invocation)])
            if invocation.isJSON { return Output.json(found) }
            show(found)
        },
        Command(
            path: ["auth", "policies", "create"], takes: 0...0, summary: "Create a policy",
            example: "lakectl auth policies create --id Readers --statement-document policy.json",
            flags: [
                .required(Flag.policyID),
                .required(
                    Flag(
                        name: "statement-document", value: "string",
                        description: "JSON statement document path (or \"-\" for stdin)")),
            ], isLakectl: true
        ) { invocation in
            let made = try invocation.client.post(
                API.Policy.self, policies,
                API.Policy(id: id(invocation), statement: statements(invocation.value("statement-document")!)))
            Output.line("Policy created successfully.")
            show(made)
        },
        Command(
            path: ["auth", "policies", "delete"], takes: 0...0, summary: "Delete a policy",
            example: "lakectl auth policies delete --id Readers", flags: [.required(Flag.policyID)], isLakectl: true
        ) { invocation in
            unsafe try invocation.client.send("DELETE", policies + [id(invocation)])
            Output.line("Policy deleted successfully")
        },
    ]
}
