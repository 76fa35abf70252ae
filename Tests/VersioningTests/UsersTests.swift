import Foundations
import LakeTestSupport
import Testing

@testable import Versioning

/// Users, groups and policies: made, tied to each other, and gone with all that hangs on them.
@Suite struct UsersTests {
    private let store = InMemoryKeyValueStore()
    private let access: Access

    init() throws {
        access = Access(store: store, secretKey: "s")
        _ = try access.setUp(userName: "admin")
    }

    private func may(_ user: String, _ action: String, _ resource: String = "*") throws -> Bool {
        try access.isAllowed(Permission(action, resource), for: Caller(user))
    }

    private func names<Item>(_ page: Page<Item>, _ name: (Item) -> String) -> [String] { page.items.map(name) }

    @Test func stockGroupsMayWhatTheyAreFor() throws {
        let object = "arn:lakefs:fs:::repository/r/object/k"
        for (group, reads, writes, makes, manages) in [
            ("Admins", true, true, true, true), ("SuperUsers", true, true, true, false),
            ("Developers", true, true, false, false), ("Viewers", true, false, false, false),
        ] {
            let user = "of-\(group)"
            _ = try access.createUser(user)
            #expect(try !may(user, "fs:ReadObject", object))
            try access.addMember(user, to: group)
            #expect(try may(user, "fs:ReadObject", object) == reads, "\(group)")
            #expect(try may(user, "fs:WriteObject", object) == writes, "\(group)")
            #expect(try may(user, "fs:CreateRepository", "arn:lakefs:fs:::repository/r") == makes, "\(group)")
            #expect(try may(user, "auth:CreateUser", "arn:lakefs:auth:::user/x") == manages, "\(group)")
            #expect(try may(user, "auth:CreateCredentials", "arn:lakefs:auth:::user/\(user)"), "\(group): its own key")
            #expect(try may(user, "auth:CreateCredentials", "arn:lakefs:auth:::user/admin") == manages, "\(group)")
            try access.removeMember(user, from: group)
            #expect(try !may(user, "fs:ReadObject", object))
        }
        #expect(
            try names(access.listGroups(prefix: "", after: "", limit: 10)) { $0.name }
                == ["Admins", "Developers", "SuperUsers", "Viewers"])
    }

    /// A lake that was set up before there were these groups gets those it lacks, once.
    @Test func anOlderLakeGetsTheGroups() throws {
        let auth = Partition("auth")
        // Viewers was narrowed by hand; two groups are not there.
        for name in ["SuperUsers", "Developers"] { try access.deleteGroup(name) }
        try access.detachPolicy("FSReadAll", from: .group("Viewers"))
        try store.remove("installation_metadata/lakefuse_groups", in: auth)
        try access.addStockGroups()
        #expect(try access.listGroups(prefix: "", after: "", limit: 10).items.count == 4)
        #expect(try may("admin", "fs:ReadObject"))
        let narrowed = try access.listPolicies(of: .group("Viewers"), prefix: "", after: "", limit: 10).items
        #expect(!narrowed.contains { $0.name == "FSReadAll" }, "what was taken from a group stays taken")
        #expect(try access.level(of: "Developers") == .write)
        try access.deleteGroup("Viewers")
        try access.addStockGroups()
        expectFailure(.notFound(.group)) { try access.group("Viewers") }
    }

    @Test func membership() throws {
        _ = try access.createGroup("team", description: "who works")
        #expect(try access.group("team").description == "who works")
        for user in ["b", "a", "c"] {
            _ = try access.createUser(user)
            try access.addMember(user, to: "team")
        }
        try access.addMember("a", to: "Viewers")
        expectFailure(.alreadyExists(.user)) { try access.addMember("a", to: "team") }
        expectFailure(.notFound(.user)) { try access.addMember("nobody", to: "team") }
        expectFailure(.notFound(.group)) { try access.addMember("a", to: "none") }
        expectFailure(.alreadyExists(.user)) { try access.createUser("a") }
        expectFailure(.alreadyExists(.group)) { try access.createGroup("team", description: "") }
        let page = try access.listMembers(of: "team", prefix: "", after: "", limit: 2)
        #expect(names(page) { $0.name } == ["a", "b"] && page.hasMore)
        let rest = try access.listMembers(of: "team", prefix: "", after: "b", limit: 2)
        #expect(names(rest) { $0.name } == ["c"] && !rest.hasMore)
        #expect(
            try names(access.listGroups(of: "a", prefix: "", after: "", limit: 10)) { $0.name } == ["Viewers", "team"])
        #expect(
            try names(access.listGroups(of: "a", prefix: "", after: "Viewers", limit: 10)) { $0.name } == ["team"])
        try access.removeMember("a", from: "team")
        try access.removeMember("a", from: "team")
        #expect(try names(access.listGroups(of: "a", prefix: "", after: "", limit: 10)) { $0.name } == ["Viewers"])
        try access.deleteGroup("team")
        #expect(try access.listGroups(of: "b", prefix: "", after: "", limit: 10).items.isEmpty)
        _ = try access.createGroup("team", description: "")
        #expect(
            try access.listMembers(of: "team", prefix: "", after: "", limit: 10).items.isEmpty, "a new one is empty")
        for name in ["", "a/b", "a*", "?", "a\nb", String(repeating: "x", count: 256)] {
            expectFailure(.invalidValue) { try access.createUser(name) }
            expectFailure(.invalidValue) { try access.createGroup(name, description: "") }
        }
    }

    @Test func policies() throws {
        func policy(_ effect: String, _ actions: [String], _ resource: String = "*") -> Policy {
            Policy(name: "p", statements: [Statement(effect: effect, actions: actions, resource: resource)])
        }
        _ = try access.createUser("u")
        try access.createPolicy(policy("allow", ["fs:ReadObject"]))
        expectFailure(.alreadyExists(.policy)) { try access.createPolicy(policy("allow", ["fs:ReadObject"])) }
        try access.attachPolicy("p", to: .user("u"))
        expectFailure(.alreadyExists(.policy)) { try access.attachPolicy("p", to: .user("u")) }
        expectFailure(.notFound(.policy)) { try access.attachPolicy("q", to: .user("u")) }
        expectFailure(.notFound(.user)) { try access.attachPolicy("p", to: .user("nobody")) }
        #expect(try may("u", "fs:ReadObject") && !may("u", "fs:WriteObject"))
        _ = try access.updatePolicy("p", policy("allow", ["fs:WriteObject"]).statements)
        #expect(try !may("u", "fs:ReadObject") && may("u", "fs:WriteObject"), "held to the new statements at once")
        try access.addMember("u", to: "Viewers")
        #expect(
            try names(access.effectivePolicies(of: "u", prefix: "", after: "", limit: 3)) { $0.name }
                == ["AuthManageOwnCredentials", "CatalogReadAll", "FSReadAll"])
        #expect(
            try names(access.effectivePolicies(of: "u", prefix: "", after: "FSReadAll", limit: 3)) { $0.name } == ["p"])
        #expect(try names(access.listPolicies(of: .user("u"), prefix: "", after: "", limit: 3)) { $0.name } == ["p"])
        try access.detachPolicy("p", from: .user("u"))
        expectFailure(.notFound(.policy)) { try access.detachPolicy("p", from: .user("u")) }
        #expect(try !may("u", "fs:WriteObject"))
        try access.attachPolicy("p", to: .group("Viewers"))
        #expect(try may("u", "fs:WriteObject"))
        try access.deletePolicy("p")
        #expect(try !may("u", "fs:WriteObject"))
        try access.createPolicy(policy("allow", ["fs:WriteObject"]))
        #expect(try !may("u", "fs:WriteObject"), "a new one of its name is not attached")

        for refused in [
            policy("permit", ["fs:*"]), policy("allow", []), policy("allow", ["nothing:Read"]),
            policy("allow", ["fs:"]),
            policy("allow", ["fs:*"], "repository/r"), policy("allow", ["fs:*"], "[\"*\""),
            policy("allow", ["fs:*"], "[]"), Policy(name: "p2", statements: []),
            Policy(
                name: "p2",
                statements: [
                    Statement(
                        effect: "allow", actions: ["fs:*"], resource: "*",
                        condition: Condition(["IpAddress": ["SourceIp": ["300.1.1.1"]]]))
                ]),
            Policy(
                name: "p2",
                statements: [
                    Statement(
                        effect: "allow", actions: ["fs:*"], resource: "*", condition: Condition(["Whatever": [:]]))
                ]),
        ] {
            expectFailure(.invalidValue) { try access.createPolicy(refused) }
            expectFailure(.invalidValue) { _ = try access.updatePolicy("p", refused.statements) }
        }
        #expect(try access.policy("p").statements == policy("allow", ["fs:WriteObject"]).statements)
    }

    /// Names are bytes: letters of more than one, those that join what stands before them, and pairs that look alike.
    @Test func namesOfAllLetters() throws {
        let deny = "\u{301}Deny"
        for (group, user) in [("Büro", "Müller"), ("\u{301}x", "\u{302}y")] {
            _ = try access.createGroup(group, description: "")
            _ = try access.createUser(user)
            try access.attachPolicy("FSFullAccess", to: .group(group))
            try access.addMember(user, to: group)
            #expect(try names(access.listMembers(of: group, prefix: "", after: "", limit: 5)) { $0.name } == [user])
            #expect(
                try names(access.listPolicies(of: .group(group), prefix: "", after: "", limit: 5)) { $0.name }
                    == ["FSFullAccess"])
            #expect(try may(user, "fs:WriteObject"))
            try access.setLevel(.read, of: group)
            #expect(try access.level(of: group) == .read && !may(user, "fs:WriteObject") && may(user, "fs:ReadObject"))
        }
        try access.createPolicy(
            Policy(name: deny, statements: [Statement(effect: "deny", actions: ["fs:*"], resource: "*")]))
        try access.attachPolicy(deny, to: .user("Müller"))
        #expect(try !may("Müller", "fs:ReadObject"))
        // Composed and decomposed: two users.
        let (one, other) = ("Andr\u{e9}", "Andre\u{301}")
        _ = try access.createUser(one)
        _ = try access.createUser(other)
        try access.addMember(one, to: "Admins")
        #expect(try may(one, "fs:ReadObject") && !may(other, "fs:ReadObject"))
    }

    /// A name is a name, also one from before that has a star in it.
    @Test func aNameIsNoPattern() throws {
        try store.set(User(name: "*", creationDate: .now()).encoded, for: "users/*", in: Partition("auth"))
        try access.addMember("*", to: "Viewers")
        #expect(try may("*", "auth:CreateCredentials", "arn:lakefs:auth:::user/*"))
        #expect(try !may("*", "auth:CreateCredentials", "arn:lakefs:auth:::user/admin"))
    }

    @Test func levels() throws {
        _ = try access.createGroup("g", description: "")
        _ = try access.createUser("u")
        try access.addMember("u", to: "g")
        #expect(try access.level(of: "g") == nil)
        for (level, writes) in [
            (Access.Level.admin, true), (.read, false), (.write, true), (.super, true), (.read, false),
        ] {
            try access.setLevel(level, of: "g")
            #expect(try access.level(of: "g") == level)
            #expect(try may("u", "fs:WriteObject") == writes && may("u", "fs:ReadObject"))
        }
        expectFailure(.notFound(.group)) { try access.setLevel(.read, of: "none") }
    }

    /// Who is gone leaves nothing to whoever has the name next.
    @Test func usersGoWithAllThatIsTheirs() throws {
        _ = try access.createUser("u")
        let keys = try [access.createCredentials(for: "u"), access.createCredentials(for: "u")]
        try access.addMember("u", to: "Admins")
        try access.attachPolicy("FSReadAll", to: .user("u"))
        #expect(try access.credentials(keys[0].accessKeyID)?.userName == "u")
        try access.deleteUser("u")
        for key in keys { #expect(try access.credentials(key.accessKeyID) == nil) }
        expectFailure(.notFound(.user)) { try access.createCredentials(for: "u") }
        expectFailure(.notFound(.user)) { try access.deleteUser("u") }
        _ = try access.createUser("u")
        #expect(try !may("u", "fs:ReadObject"))
        #expect(try access.listCredentials(of: "u", after: "", limit: 10).items.isEmpty)
        #expect(try access.listGroups(of: "u", prefix: "", after: "", limit: 10).items.isEmpty)
        #expect(try access.listPolicies(of: .user("u"), prefix: "", after: "", limit: 10).items.isEmpty)
    }

    /// A removal that is cut off at any call leaves a user that can be removed again, or none, and no key without one.
    @Test func aRemovalThatIsCutOffIsDoneAgain() throws {
        for limit in 1..<40 {
            let store = InMemoryKeyValueStore()
            let whole = Access(store: store, secretKey: "s")
            _ = try whole.setUp(userName: "admin")
            _ = try whole.createUser("u")
            _ = try whole.createCredentials(for: "u")
            try whole.addMember("u", to: "Viewers")
            let cut = Cut(at: limit)
            let access = Access(store: CutKeyValueStore(store, cut), secretKey: "s")
            do { try access.deleteUser("u") } catch { #expect(cut.isDead, "\(error)") }
            let after = Access(store: store, secretKey: "s")
            do { try after.deleteUser("u") } catch let error as LakeError { #expect(error.code == .notFound(.user)) }
            let left = try store.page(of: Partition("auth"), from: nil, before: nil, limit: 1000).map(\.key.description)
            #expect(!left.contains { $0.contains("/u/") || $0.hasSuffix("/u") }, "cut at \(limit): \(left)")
            if !cut.isDead { return }
        }
        Issue.record("the removal took more calls than were tried")
    }
}
