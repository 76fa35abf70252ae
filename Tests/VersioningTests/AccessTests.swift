import FoundationEssentials
import Foundations
import LakeTestSupport
import Testing

@testable import Versioning

/// Who may what: lakeFS's answers to policies, and addresses.
@Suite struct AccessTests {
    private struct Case: Decodable {
        struct StatementMessage: Decodable {
            var effect: String
            var action: [String]
            var resource: String
            var condition: [String: [String: [String]]]?
        }
        var statements: [StatementMessage]
        var request: String
        var allowed: Bool
    }

    /// What the recorded requests ask for.
    private static func permission(_ request: String) throws -> Permission {
        let parts = request.split(separator: " ")
        let path = parts[1].split(separator: "?")[0]
        switch (parts[0], path) {
        case ("GET", "/repositories/rr1/refs/main/objects"): return .object("ReadObject", "rr1", "dir/key")
        case ("GET", "/repositories/rr1/branches"): return .repository("ListBranches", "rr1")
        case ("GET", "/auth/users/admin"): return .user("ReadUser", "admin")
        case ("GET", "/auth/users/u1"): return .user("ReadUser", "u1")
        default: throw LakeError(.invalidValue, "no permission is known for \(request)")
        }
    }

    /// Effects that are neither `allow` nor `deny` deny here, where lakeFS lets them pass (`better-than-lakefs.md`).
    private static func wanted(_ item: Case) -> Bool {
        item.allowed && item.statements.allSatisfy { ["allow", "deny"].contains($0.effect) }
    }

    /// Whoever asks with made-up key ids has the store read a little, however many pairs there are.
    @Test func unknownKeysCostLittle() throws {
        let cut = Cut()
        let access = Access(store: CutKeyValueStore(InMemoryKeyValueStore(), cut), secretKey: "s")
        let first = try access.setUp(userName: "admin")
        #expect(try access.credentials(first.accessKeyID)?.secretAccessKey == first.secretAccessKey)
        let before = cut.calls
        for number in 0..<500 { #expect(try access.credentials("AKIA\(number)") == nil) }
        #expect(cut.calls - before < 100, "500 unknown ids took \(cut.calls - before) calls of the store")
        // What is made or removed here is known at once.
        let second = try access.createCredentials(for: "admin")
        #expect(try access.credentials(second.accessKeyID)?.userName == "admin")
        try access.deleteCredentials(second.accessKeyID, of: "admin")
        #expect(try access.credentials(second.accessKeyID) == nil)
        #expect(try access.credentials("") == nil && access.credentials("x/credentials/\(first.accessKeyID)") == nil)
    }

    @Test func recordedPolicies() throws {
        let cases = try JSONDecoder().decode(
            [Case].self, from: Data(Fixtures.bytes("permissions/policy-language.json")))
        #expect(cases.count == 118)
        for (index, item) in cases.enumerated() {
            let statements = item.statements.map {
                Statement(
                    effect: $0.effect, actions: $0.action, resource: $0.resource,
                    condition: Condition($0.condition ?? [:]))
            }
            // Through the stored form, as `kv load` brings it.
            let stored = try Policy(decoding: Policy(name: "p", statements: statements).encoded)
            #expect(stored.statements == statements)
            let lake = try PolicyLake(stored)
            let isAllowed = try lake.access.isAllowed(
                Self.permission(item.request), for: Caller("admin", from: IPAddress("127.0.0.1")))
            #expect(isAllowed == Self.wanted(item), "case \(index): \(item)")
        }
    }

    /// A store in which user `admin` has one policy.
    private struct PolicyLake {
        let access: Access
        init(_ policy: Policy) throws {
            let store = InMemoryKeyValueStore()
            let auth = Partition("auth")
            access = Access(store: store, secretKey: "s")
            try store.set(policy.encoded, for: "policies/p", in: auth)
            try store.set([], for: "uPolicies/admin/policies/p", in: auth)
        }
    }

    @Test func whatCannotBeToldDenies() throws {
        let permission = Permission.object("ReadObject", "r", "k")
        let here = Caller("admin", from: IPAddress("127.0.0.1"))
        func isAllowed(_ statements: [Statement], _ caller: Caller) throws -> Bool {
            try PolicyLake(Policy(name: "p", statements: statements)).access.isAllowed(permission, for: caller)
        }
        let all = Statement(effect: "allow", actions: ["*"], resource: "*")
        #expect(try isAllowed([all], here))
        // A list of resources that is none, an address that nobody knows.
        #expect(
            try !isAllowed(
                [all, Statement(effect: "deny", actions: ["fs:*"], resource: "[\"arn:lakefs:fs:::repository/other")],
                here))
        let inside = Condition(["IpAddress": ["SourceIp": ["127.0.0.0/8"]]])
        #expect(try isAllowed([Statement(effect: "allow", actions: ["*"], resource: "*", condition: inside)], here))
        #expect(
            try !isAllowed(
                [Statement(effect: "allow", actions: ["*"], resource: "*", condition: inside)], Caller("admin")))
        #expect(
            try !isAllowed(
                [Statement(effect: "allow", actions: ["*"], resource: "*", condition: Condition(["Unknown": [:]]))],
                here))
    }

    @Test func whatMayBeAllowedIsToldBeforeTheRestIsKnown() throws {
        func may(_ resource: String, _ effect: String = "allow") throws -> Bool {
            let lake = try PolicyLake(
                Policy(name: "p", statements: [Statement(effect: effect, actions: ["fs:Delete*"], resource: resource)]))
            do {
                try lake.access.requireSome(
                    "fs:DeleteObject", below: Permission.object("", "rr1", Key([])).resource, for: Caller("admin"))
            } catch { return false }
            return true
        }
        #expect(
            try may("*") && may("arn:lakefs:fs:::repository/rr1/object/dir/*") && may("arn:lakefs:fs:::repository/r*")
                && may("[\"arn:lakefs:fs:::repository/rr1/object/k\"]"))
        #expect(
            try !may("arn:lakefs:fs:::repository/rr2/object/dir/*") && !may("*", "deny")
                && !may("arn:lakefs:fs:::repository/rr1"))
    }

    @Test(
        arguments: [
            ("127.0.0.0/8", "127.255.0.1", true), ("127.0.0.0/8", "128.0.0.1", false), ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false), ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "2001:db8::1", false), ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false), ("::/0", "::1", true), ("::ffff:10.0.0.0/104", "10.200.0.1", true),
        ] as [(String, String, Bool)])
    func networks(network: String, address: String, isInside: Bool) throws {
        #expect(try #require(IPNetwork(network)).contains(#require(IPAddress(address))) == isInside)
    }

    @Test(arguments: ["", "nonsense", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0/8", "1.2.3.4/8/8", "::1/129", "/8"])
    func noNetworks(text: String) { #expect(IPNetwork(text) == nil) }

    @Test func endedSessionsStayEnded() throws {
        let access = Access(store: InMemoryKeyValueStore(), secretKey: "s")
        let now = Timestamp.now().seconds
        try access.endSession("old", end: now - 10)
        try access.endSession("new", end: now + 100)
        #expect(try access.isSessionEnded("new") && !access.isSessionEnded("other"))
        // Those that have run out by themselves need no record.
        try access.endSession("third", end: now + 100)
        #expect(try !access.isSessionEnded("old"))
    }
}
