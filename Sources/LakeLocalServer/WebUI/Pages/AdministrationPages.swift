import Foundations
import LakeAPI
import Transport
import Versioning

/// Users, groups, policies, keys, and how the server is.
enum AdministrationPages {
    static let routes: [WebRoute] = [
        .part("auth", "/auth") { visit in visit.web.redirect(Link(["auth", "credentials"])) },
        .page("users", "/auth/users") { visit in try users(visit) },
        .form("users.create", "/auth/users") { visit in
            let name = visit.field("name")
            try visit.answer(.createUser, body: API.UserCreation(id: name))
            return visit.see(Link(["auth", "users", name]), note: "The user \(name) is made.")
        },
        .page("users.one", "/auth/users/*") { visit in try user(visit, visit.names[0]) },
        .form("users.delete", "/auth/users/*/delete") { visit in
            try visit.answer(.deleteUser, [.userId: visit.names[0]])
            return visit.see(Link(["auth", "users"]), note: "The user \(visit.names[0]) is deleted.")
        },
        .form("users.policy", "/auth/users/*/policies") { visit in
            try visit.answer(
                visit.isChecked("remove") ? .detachPolicyFromUser : .attachPolicyToUser,
                [.userId: visit.names[0], .policyId: visit.field("policy")])
            return visit.see(
                Link(["auth", "users", visit.names[0]]), note: visit.isChecked("remove") ? "Detached." : "Attached.")
        },
        .form("users.group", "/auth/users/*/groups") { visit in
            try visit.answer(
                visit.isChecked("remove") ? .deleteGroupMembership : .addGroupMembership,
                [.groupId: visit.field("group"), .userId: visit.names[0]])
            return visit.see(
                Link(["auth", "users", visit.names[0]]), note: visit.isChecked("remove") ? "Removed." : "Added.")
        },
        .form("keys.create", "/auth/users/*/keys") { visit in Layout.response(try newKey(visit), visit) },
        .form("keys.delete", "/auth/users/*/keys/delete") { visit in
            try visit.answer(.deleteCredentials, [.userId: visit.names[0], .accessKeyId: visit.field("key")])
            return visit.see(
                visit.names[0] == visit.user
                    ? Link(["auth", "credentials"]) : Link(["auth", "users", visit.names[0]]),
                note: "The key pair \(visit.field("key")) is deleted.")
        },
        .page("keys", "/auth/credentials") { visit in
            WebPage(
                "Key pairs", place: "auth",
                "\(places(visit, "credentials"))<h1>Your key pairs</h1>\(keys(visit, of: visit.user))")
        },
        .page("groups", "/auth/groups") { visit in try groups(visit) },
        .form("groups.create", "/auth/groups") { visit in
            let name = visit.field("name")
            try visit.answer(.createGroup, body: API.GroupCreation(id: name, description: visit.field("description")))
            return visit.see(Link(["auth", "groups", name]), note: "The group \(name) is made.")
        },
        .page("groups.one", "/auth/groups/*") { visit in try group(visit, visit.names[0]) },
        .form("groups.delete", "/auth/groups/*/delete") { visit in
            try visit.answer(.deleteGroup, [.groupId: visit.names[0]])
            return visit.see(Link(["auth", "groups"]), note: "The group \(visit.names[0]) is deleted.")
        },
        .form("groups.policy", "/auth/groups/*/policies") { visit in
            try visit.answer(
                visit.isChecked("remove") ? .detachPolicyFromGroup : .attachPolicyToGroup,
                [.groupId: visit.names[0], .policyId: visit.field("policy")])
            return visit.see(
                Link(["auth", "groups", visit.names[0]]), note: visit.isChecked("remove") ? "Detached." : "Attached.")
        },
        .form("groups.member", "/auth/groups/*/members") { visit in
            try visit.answer(
                visit.isChecked("remove") ? .deleteGroupMembership : .addGroupMembership,
                [.groupId: visit.names[0], .userId: visit.field("user")])
            return visit.see(
                Link(["auth", "groups", visit.names[0]]), note: visit.isChecked("remove") ? "Removed." : "Added.")
        },
        .page("policies", "/auth/policies") { visit in try policies(visit) },
        .form("policies.create", "/auth/policies") { visit in
            let name = visit.field("name")
            try visit.answer(.createPolicy, body: API.Policy(id: name, statement: statements(visit)))
            return visit.see(Link(["auth", "policies", name]), note: "The policy \(name) is made.")
        },
        .page("policies.one", "/auth/policies/*") { visit in try policy(visit, visit.names[0]) },
        .form("policies.update", "/auth/policies/*") { visit in
            let name = visit.names[0]
            try visit.answer(.updatePolicy, [.policyId: name], body: API.Policy(id: name, statement: statements(visit)))
            return visit.see(Link(["auth", "policies", name]), note: "The policy is changed.")
        },
        .form("policies.delete", "/auth/policies/*/delete") { visit in
            try visit.answer(.deletePolicy, [.policyId: visit.names[0]])
            return visit.see(Link(["auth", "policies"]), note: "The policy \(visit.names[0]) is deleted.")
        },
        .page("may", "/auth/may") { visit in try may(visit) },
        .page("server", "/server") { visit in try server(visit) },
    ]

    // MARK: pieces

    private static func places(_ visit: Visit, _ current: String) -> HTML {
        func item(_ place: String, _ label: String, _ isThere: Bool, at link: Link? = nil) -> HTML? {
            guard isThere else { return nil }
            return
                "<li><a href=\"\(link ?? Link(["auth", place]))\"\(" aria-current=\"page\"", if: place == current)>\(label)</a></li>"
        }
        return """
            <nav aria-label="Administration"><ul class="tabs">\(item("credentials", "Your key pairs", true))\(item("users", "Users", visit.may(.listUsers)))\(item("groups", "Groups", visit.may(.listGroups)))\(item("policies", "Policies", visit.may(.listPolicies)))\(item("may", "Who may what?", visit.may(.listUsers)))\(item("server", "Server and audit", mayWatch(visit), at: Link(["server"])))</ul></nav>
            """
    }

    /// Who may see how the server is: who may read its settings and its users.
    private static func mayWatch(_ visit: Visit) -> Bool { visit.may(.getStorageConfig) && visit.may(.listUsers) }

    private static func next(_ place: String, _ page: API.Pagination, _ visit: Visit) -> HTML {
        Layout.more(
            Link(["auth", place], ["prefix": visit.text("prefix").map { Key($0) }, "after": Key(page.nextOffset)]),
            page.hasMore, visit)
    }

    private static func query(_ visit: Visit) -> Visit.Query {
        ["prefix": visit.text("prefix").map { Key($0) }, "after": visit.text("after").map { Key($0) }, "amount": "100"]
    }

    private static func create(_ what: String, _ place: String, _ visit: Visit, more: HTML? = nil) -> HTML {
        "<details class=\"menu\"><summary class=\"button primary\">New \(what)</summary><form method=\"post\" action=\"\(Link(["auth", place]))\" class=\"card\">\(Layout.token(visit))<label>Name <input name=\"name\" required spellcheck=\"false\" autocapitalize=\"off\"></label>\(more)<button class=\"primary\">Create</button></form></details>"
    }

    /// Things that are attached to something, each with a button, and a form for one more.
    private static func attached(
        _ title: String, _ names: [String], field: String, at link: Link, to page: (String) -> Link, mayAdd: Bool,
        mayRemove: Bool, _ visit: Visit
    ) -> HTML {
        let rows = names.map { name -> HTML in
            "<li><a href=\"\(page(name))\">\(Show.name(name))</a> \(mayRemove ? Layout.button("Remove", to: link, visit, fields: [field: name, "remove": "1"], kind: "quiet danger") : nil)</li>"
        }
        let add: HTML? =
            mayAdd
            ? "<form method=\"post\" action=\"\(link)\" class=\"row\">\(Layout.token(visit))<label>\(field.capitalizedFirst) <input name=\"\(field)\" required spellcheck=\"false\" autocapitalize=\"off\"></label><button>Add</button></form>"
            : nil
        return
            "<section class=\"card\"><h2>\(title)</h2>\(rows.isEmpty ? "<p class=\"faint\">None.</p>" : "<ul class=\"plain\">\(rows)</ul>")\(add)</section>"
    }

    // MARK: users

    private static func users(_ visit: Visit) throws -> WebPage {
        let found: ResultList<API.User> = try visit.get(.listUsers, [:], query(visit))
        let rows = found.results.map { user -> HTML in
            "<tr><th scope=\"row\"><a href=\"\(Link(["auth", "users", user.id]))\" data-open>\(Show.name(user.id))</a></th><td>\(Show.time(user.creationDate))</td></tr>"
        }
        let new: HTML? = visit.may(.user("CreateUser", "*")) ? create("user", "users", visit) : nil
        return WebPage(
            "Users", place: "auth",
            "\(places(visit, "users"))<div class=\"bar\"><h1>Users</h1>\(Layout.search(visit))\(new)</div><div id=\"list\">\(Layout.table("Users", "<th>Name</th><th>Since</th>", rows))\(next("users", found.pagination, visit))</div>"
        )
    }

    private static func user(_ visit: Visit, _ name: String) throws -> WebPage {
        let names: Visit.Names = [.userId: name]
        let user: API.User = try visit.get(.getUser, names)
        let groups: ResultList<API.Group>? = visit.getIfAny(.listUserGroups, names, ["amount": "1000"])
        let policies: ResultList<API.Policy>? = visit.getIfAny(.listUserPolicies, names, ["amount": "1000"])
        let delete: HTML? =
            visit.may(.deleteUser, names) && name != visit.user
            ? Layout.button(
                "Delete", to: Link(["auth", "users", name, "delete"]), visit, kind: "danger",
                asks: "Delete the user \(name) with all key pairs?") : nil
        return WebPage(
            "\(name) · Users", place: "auth",
            """
            \(places(visit, "users"))<div class="bar"><h1>\(Show.name(name))</h1><span class="faint">since \(Show.time(user.creationDate))</span>\(delete)</div>
            \(groups.map { attached("Groups", $0.results.map { $0.name ?? $0.id }, field: "group", at: Link(["auth", "users", name, "groups"]), to: { Link(["auth", "groups", $0]) }, mayAdd: visit.may(.group("AddGroupMember", "*")), mayRemove: visit.may(.group("RemoveGroupMember", "*")), visit) })
            \(policies.map { attached("Policies", $0.results.map(\.id), field: "policy", at: Link(["auth", "users", name, "policies"]), to: { Link(["auth", "policies", $0]) }, mayAdd: visit.may(.attachPolicyToUser, [.userId: name, .policyId: ""]), mayRemove: visit.may(.detachPolicyFromUser, [.userId: name, .policyId: ""]), visit) })
            <section class="card"><h2>Key pairs</h2>\(keys(visit, of: name))</section>
            """)
    }

    private static func keys(_ visit: Visit, of user: String) -> HTML {
        let names: Visit.Names = [.userId: user]
        let found: ResultList<API.Credentials>? = visit.getIfAny(.listUserCredentials, names, ["amount": "1000"])
        guard let found else { return "<p class=\"faint\">You may not see them.</p>" }
        let rows = found.results.map { key -> HTML in
            let delete: HTML? =
                visit.may(.deleteCredentials, [.userId: user, .accessKeyId: key.accessKeyId])
                ? Layout.button(
                    "Delete", to: Link(["auth", "users", user, "keys", "delete"]), visit,
                    fields: ["key": key.accessKeyId], kind: "quiet danger",
                    asks: "Delete this key pair? What uses it is refused from then on.") : nil
            return
                "<tr><th scope=\"row\"><code>\(key.accessKeyId)</code> \(Show.copy(key.accessKeyId, "the key id"))</th><td>\(Show.time(key.creationDate))</td><td>\(delete)</td></tr>"
        }
        let new: HTML? =
            visit.may(.createCredentials, names)
            ? Layout.button("New key pair", to: Link(["auth", "users", user, "keys"]), visit, kind: "primary") : nil
        return
            "\(Layout.table("Key pairs", "<th>Access key id</th><th>Made</th><th><span class=\"hidden\">Actions</span></th>", rows))<div>\(new)</div>"
    }

    private static func newKey(_ visit: Visit) throws -> WebPage {
        let made: API.CredentialsWithSecret = try visit.get(.createCredentials, [.userId: visit.names[0]])
        return WebPage(
            "New key pair", place: "auth",
            "\(places(visit, ""))<section class=\"card narrow\"><h1>New key pair</h1><p>The secret is not shown again.</p><dl class=\"addresses\">\(Show.copied("Access key id", made.accessKeyId))\(Show.copied("Secret access key", made.secretAccessKey))</dl><p><a class=\"button\" href=\"\(Link(["auth", "users", visit.names[0]]))\">Done</a></p></section>"
        )
    }

    // MARK: groups

    private static func groups(_ visit: Visit) throws -> WebPage {
        let found: ResultList<API.Group> = try visit.get(.listGroups, [:], query(visit))
        let rows = found.results.map { group -> HTML in
            let name = group.name ?? group.id
            return
                "<tr><th scope=\"row\"><a href=\"\(Link(["auth", "groups", name]))\" data-open>\(Show.name(name))</a></th><td>\(group.description ?? "")</td><td>\(Show.time(group.creationDate))</td></tr>"
        }
        let new: HTML? =
            visit.may(.group("CreateGroup", "*"))
            ? create("group", "groups", visit, more: "<label>Description <input name=\"description\"></label>") : nil
        return WebPage(
            "Groups", place: "auth",
            "\(places(visit, "groups"))<div class=\"bar\"><h1>Groups</h1>\(Layout.search(visit))\(new)</div><div id=\"list\">\(Layout.table("Groups", "<th>Name</th><th>Description</th><th>Since</th>", rows))\(next("groups", found.pagination, visit))</div>"
        )
    }

    private static func group(_ visit: Visit, _ name: String) throws -> WebPage {
        let names: Visit.Names = [.groupId: name]
        let group: API.Group = try visit.get(.getGroup, names)
        let members: ResultList<API.User> = try visit.get(.listGroupMembers, names, ["amount": "1000"])
        let policies: ResultList<API.Policy> = try visit.get(.listGroupPolicies, names, ["amount": "1000"])
        let delete: HTML? =
            visit.may(.deleteGroup, names)
            ? Layout.button(
                "Delete", to: Link(["auth", "groups", name, "delete"]), visit, kind: "danger",
                asks: "Delete the group \(name)?") : nil
        return WebPage(
            "\(name) · Groups", place: "auth",
            """
            \(places(visit, "groups"))<div class="bar"><h1>\(Show.name(name))</h1><span class="faint">\(group.description ?? "")</span>\(delete)</div>
            \(attached("Members", members.results.map(\.id), field: "user", at: Link(["auth", "groups", name, "members"]), to: { Link(["auth", "users", $0]) }, mayAdd: visit.may(.addGroupMembership, [.groupId: name, .userId: ""]), mayRemove: visit.may(.deleteGroupMembership, [.groupId: name, .userId: ""]), visit))
            \(attached("Policies", policies.results.map(\.id), field: "policy", at: Link(["auth", "groups", name, "policies"]), to: { Link(["auth", "policies", $0]) }, mayAdd: visit.may(.attachPolicyToGroup, [.groupId: name, .policyId: ""]), mayRemove: visit.may(.detachPolicyFromGroup, [.groupId: name, .policyId: ""]), visit))
            """)
    }

    // MARK: policies

    /// What the editor holds: a statement, a list of them, or a whole policy.
    private static func statements(_ visit: Visit) throws -> [API.Statement] {
        let bytes = Array(visit.field("statement").utf8)
        struct Whole: Decodable { let statement: [API.Statement] }
        if let whole = try? Coding.decode(Whole.self, bytes) { return whole.statement }
        if let one = try? Coding.decode(API.Statement.self, bytes) { return [one] }
        do { return try Coding.decode([API.Statement].self, bytes) } catch {
            throw PageError(
                400,
                "The statements cannot be read: \(Coding.explain(error, in: API.Policy.self)). Write a JSON list like [{\"effect\": \"allow\", \"action\": [\"fs:Read*\"], \"resource\": \"*\"}]."
            )
        }
    }

    private static func policies(_ visit: Visit) throws -> WebPage {
        let found: ResultList<API.Policy> = try visit.get(.listPolicies, [:], query(visit))
        let rows = found.results.map { policy -> HTML in
            "<tr><th scope=\"row\"><a href=\"\(Link(["auth", "policies", policy.id]))\" data-open>\(Show.name(policy.id))</a></th><td>\(policy.statement.prefix(3).map { explained($0) }.joined(by: "<br>"))\("<br>…", if: policy.statement.count > 3)</td></tr>"
        }
        let new: HTML? =
            visit.may(.policy("CreatePolicy", "*"))
            ? create(
                "policy", "policies", visit,
                more: editor("[{\"effect\": \"allow\", \"action\": [\"fs:Read*\", \"fs:List*\"], \"resource\": \"*\"}]")
            ) : nil
        return WebPage(
            "Policies", place: "auth",
            "\(places(visit, "policies"))<div class=\"bar\"><h1>Policies</h1>\(Layout.search(visit))\(new)</div><div id=\"list\">\(Layout.table("Policies", "<th>Name</th><th>What it says</th>", rows))\(next("policies", found.pagination, visit))</div>"
        )
    }

    private static func editor(_ text: String) -> HTML {
        "<label>Statements (JSON) <textarea name=\"statement\" rows=\"10\" class=\"wide\" spellcheck=\"false\" required>\(text)</textarea></label>"
    }

    /// A statement in words.
    private static func explained(_ statement: API.Statement) -> HTML {
        let what: HTML =
            statement.action == ["*"] || statement.action.contains("*")
            ? "everything" : statement.action.map { "<code>\($0)</code>" as HTML }.joined(by: ", ")
        let where_: HTML = statement.resource == "*" ? "anything" : "<code>\(statement.resource)</code>"
        let condition: HTML? =
            (statement.condition ?? [:]).isEmpty ? nil : " <span class=\"faint\">under conditions</span>"
        return
            "<span class=\"badge \(statement.effect == "allow" ? "added" : "removed" as HTML)\">\(statement.effect)</span> \(what) on \(where_)\(condition)"
    }

    private static func policy(_ visit: Visit, _ name: String) throws -> WebPage {
        let names: Visit.Names = [.policyId: name]
        let policy: API.Policy = try visit.get(.getPolicy, names)
        let lines = policy.statement.map { String(decoding: Coding.encode($0), as: UTF8.self) }.joined(
            separator: ",\n  ")
        let text = "[\n  \(lines)\n]"
        let edit: HTML =
            visit.may(.updatePolicy, names)
            ? "<form method=\"post\" action=\"\(Link(["auth", "policies", name]))\" class=\"card\">\(Layout.token(visit))\(editor(text))<button class=\"primary\">Change</button></form>"
            : "<pre class=\"code\"><code>\(text)</code></pre>"
        let delete: HTML? =
            visit.may(.deletePolicy, names)
            ? Layout.button(
                "Delete", to: Link(["auth", "policies", name, "delete"]), visit, kind: "danger",
                asks: "Delete the policy \(name)?") : nil
        return WebPage(
            "\(name) · Policies", place: "auth",
            """
            \(places(visit, "policies"))<div class="bar"><h1>\(Show.name(name))</h1>\(delete)</div><section class="card"><h2>What it says</h2><ul class="plain">\(policy.statement.map { "<li>\(explained($0))</li>" as HTML })</ul></section>\(edit)
            """)
    }

    /// Whether somebody may do something, and what says so.
    private static func may(_ visit: Visit) throws -> WebPage {
        try visit.require(.all("auth:ListUsers"))
        let (user, action, resource) = (
            visit.text("user") ?? "", visit.text("action") ?? "", visit.text("resource") ?? ""
        )
        var verdict: HTML?
        if !user.isEmpty, !action.isEmpty {
            let _: API.User = try visit.get(.getUser, [.userId: user])
            let permission = Permission(action, resource.isEmpty ? "*" : resource)
            let isAllowed = try visit.rest.access.isAllowed(
                permission, for: Caller(user, from: visit.request.peer?.address))
            let policies: ResultList<API.Policy> = try visit.get(
                .listUserPolicies, [.userId: user], ["effective": "true", "amount": "1000"])
            let rows = policies.results.map { policy -> HTML in
                "<tr><th scope=\"row\"><a href=\"\(Link(["auth", "policies", policy.id]))\">\(Show.name(policy.id))</a></th><td>\(policy.statement.map { explained($0) }.joined(by: "<br>"))</td></tr>"
            }
            verdict = """
                <p class="verdict" id="verdict"><span class="badge \(isAllowed ? "added" : "removed" as HTML)">\(isAllowed ? "yes" : "no")</span> \(user) \(isAllowed ? "may" : "may not") <code>\(action)</code> on <code>\(permission.resource)</code>.</p>
                <h2>Policies of \(user), its groups' among them</h2>\(Layout.table("Policies", "<th>Policy</th><th>What it says</th>", rows))
                """
        }
        return WebPage(
            "Who may what?", place: "auth",
            """
            \(places(visit, "may"))<h1>Who may what?</h1><form method="get" class="card fields"><label>May the user <input name="user" value="\(user)" required spellcheck="false"></label><label>do <input name="action" value="\(action)" required placeholder="fs:ReadObject" spellcheck="false"></label><label class="wide">on <input name="resource" value="\(resource)" placeholder="arn:lakefs:fs:::repository/NAME/object/PATH" spellcheck="false"></label><button class="primary">Ask</button></form>\(verdict)
            """)
    }

    // MARK: the server

    private static func server(_ visit: Visit) throws -> WebPage {
        guard mayWatch(visit) else {
            throw LakeError(
                .permissionDenied, "insufficient permissions: not allowed to fs:ReadConfig and auth:ListUsers")
        }
        var state: HTML = "<span class=\"badge added\">answer</span>"
        do { try visit.catalog.checkEngines() } catch {
            state = "<span class=\"badge removed\">fail</span> \(LakeError(error).message)"
        }
        let stores = visit.rest.settings.stores.map { "<li>\($0.type) <code>\($0.example)</code></li>" as HTML }
        // A point in time is no measure.
        let gauges = visit.web.telemetry.values.filter { $0.name.description != "process_start_time_seconds" }.map {
            "<tr><th scope=\"row\">\($0.help.description)</th><td class=\"number\">\(Show.grouped(Int64($0.value.rounded())))</td></tr>"
                as HTML
        }
        let audits = visit.web.telemetry.audits.reversed().map { audit -> HTML in
            "<tr><td>\(Show.time(audit.time))</td><td>\(Show.name(audit.user))</td><td>\(audit.operation)</td><td><code>\(Show.name(audit.path))</code></td><td>\(audit.status)</td><td>\(audit.address)</td></tr>"
        }
        return WebPage(
            "Server", place: "auth",
            """
            \(places(visit, "server"))<h1>Server</h1><div class="sides"><section class="card"><h2>Engines</h2><p>They \(state)</p><ul class="plain">\(stores)</ul><p class="faint">Tables and objects are looked through by <code>lakefuse check</code>.</p></section>
            <section class="card"><h2>Measures</h2><table><tbody>\(gauges)</tbody></table><p><a href="/metrics">All of them, for Prometheus</a></p></section></div>
            <h2 id="audit">Audit log</h2><p class="faint">The last \(Telemetry.mostAudits) of this process: logins, changes of who may what, and refusals. All are in the server's log.</p>\(audits.isEmpty ? "<p class=\"faint\">None yet.</p>" : Layout.table("Audit log", "<th>When</th><th>Who</th><th>What</th><th>Where</th><th>Answer</th><th>From</th>", Array(audits)))
            """)
    }
}

extension String {
    fileprivate var capitalizedFirst: String { prefix(1).uppercased() + dropFirst() }
}
