import Foundations

/// Policies, and who has them.
extension Access {
    /// Who policies are attached to.
    package enum Holder: Sendable {
        case user(String), group(String)

        fileprivate var end: (kind: Kind, name: String) {
            switch self {
            case .user(let name): (.user, name)
            case .group(let name): (.group, name)
            }
        }
        fileprivate var links: Links {
            switch self {
            case .user: .userPolicies
            case .group: .groupPolicies
            }
        }
        /// Where its attachments are.
        fileprivate var folder: Key { links.folder(of: Key(end.name)) }
    }

    /// - Throws: `.alreadyExists(.policy)`, `.invalidValue`.
    package func createPolicy(_ policy: Policy) throws {
        try policy.check()
        try create(.policy, policy.name, policy.encoded)
    }

    /// Replaces the statements of a policy. Whoever has it is held to the new ones.
    package func updatePolicy(_ name: String, _ statements: [Statement]) throws -> Policy {
        while true {
            let bytes = try record(.policy, name)
            var policy = try Policy(decoding: bytes)
            policy.statements = statements
            try policy.check()
            if try store.trySet(policy.encoded, for: Kind.policy.key(name), in: Self.auth, if: .matches(bytes)) {
                forgetStatements()
                return policy
            }
        }
    }

    package func policy(_ name: String) throws -> Policy { try Policy(decoding: record(.policy, name)) }

    package func listPolicies(prefix: String, after: String, limit: Int) throws -> Page<Policy> {
        try list(.policy, prefix: prefix, after: after, limit: limit) { try Policy(decoding: $0) }
    }

    package func deletePolicy(_ name: String) throws { try remove(.policy, name) }

    package func attachPolicy(_ policy: String, to holder: Holder) throws {
        try link(holder.links, from: holder.end, to: (.policy, policy))
    }

    /// - Throws: `.notFound` if it is not attached.
    package func detachPolicy(_ policy: String, from holder: Holder) throws {
        try unlink(holder.links, from: holder.end, to: (.policy, policy), isNeeded: true)
    }

    package func listPolicies(of holder: Holder, prefix: String, after: String, limit: Int) throws -> Page<Policy> {
        _ = try record(holder.end.kind, holder.end.name)
        return try linked(holder.folder, .policy, prefix: prefix, after: after, limit: limit) {
            try Policy(decoding: $0)
        }
    }

    /// Names of the policies that hold for a user, their own and those of their groups, in order.
    func policyNames(of user: String) throws -> [Key] {
        var found = Set(try names(below: Holder.user(user).folder))
        for group in try groupNames(of: user) {
            found.formUnion(try names(below: Links.groupPolicies.folder(of: group)))
        }
        return found.sorted()
    }

    /// The policies that hold for a user, those of their groups too.
    package func effectivePolicies(of user: String, prefix: String, after: String, limit: Int) throws -> Page<Policy> {
        _ = try record(.user, user)
        var names = try policyNames(of: user).makeIterator()
        return try page(.policy, prefix: prefix, after: after, limit: limit, of: { names.next() }) {
            try Policy(decoding: $0)
        }
    }

    // MARK: levels

    /// What a group may do, in one word: lakeFS's access control lists. Each is the policies of a stock group.
    package enum Level: String, Sendable, CaseIterable {
        case read = "Read", write = "Write", `super` = "Super", admin = "Admin"

        var group: StockGroup {
            switch self {
            case .read: .viewers
            case .write: .developers
            case .super: .superUsers
            case .admin: .administrators
            }
        }
    }

    /// The level whose policies a group has, just these; nil if there is none.
    package func level(of group: String) throws -> Level? {
        let names = Set(try listPolicies(of: .group(group), prefix: "", after: "", limit: 1000).items.map(\.name))
        return Level.allCases.first { Set($0.group.policies.map(\.name)) == names }
    }

    /// Gives a group the policies of a level in place of those it has.
    package func setLevel(_ level: Level, of group: String) throws {
        let folder = Holder.group(group).folder
        let wanted = level.group.policies
        let kept = Set(wanted.map { Links.groupPolicies.key(of: Key(group), to: $0.name) })
        for _ in 0..<Self.tries {
            _ = try record(.group, group)
            var changes: [Mutation] = [.require(Self.auth, Kind.group.key(group), .present)]
            for policy in wanted {
                let key = Kind.policy.key(policy.name)
                let isThere = try store.value(for: key, in: Self.auth) != nil
                changes.append(.require(Self.auth, key, isThere ? .present : .absent))
                if !isThere { changes.append(.set(Self.auth, key, policy.encoded)) }
            }
            changes += try keys([folder]).filter { !kept.contains($0) }.map { .remove(Self.auth, $0) }
            changes += level.group.links(as: group)
            do throws(StoreError) { try store.write(changes, .durable) } catch {
                guard error.code == .preconditionFailed else { throw error }
                continue  // A policy came or went meanwhile.
            }
            forgetStatements()
            // What was attached meanwhile is not of the level.
            if try keys([folder]).allSatisfy(kept.contains) { return }
        }
        throw LakeError(.tooManyTries, "the policies of group \(group) keep changing: try again")
    }

    private static let tries = 20
}

extension Policy {
    /// Bytes of a policy at most: they are read with each check of who has it.
    private static let largest = 64 << 10
    /// Services that actions belong to. Source: `lakefs-behaviour.md` section 4.
    private static let services: Set<String> = ["fs", "auth", "ci", "retention", "branches", "pr", "catalog"]

    /// - Throws: `.invalidValue` for a policy that says nothing, or something that cannot be held to.
    func check() throws {
        guard !statements.isEmpty else { throw refuse("it needs a statement at least") }
        guard encoded.count <= Self.largest else { throw refuse("it has more than \(Self.largest) bytes") }
        for statement in statements {
            guard ["allow", "deny"].contains(statement.effect) else {
                throw refuse("effect '\(statement.effect)' is not known: allow or deny are")
            }
            guard !statement.actions.isEmpty else { throw refuse("a statement needs an action at least") }
            for action in statement.actions {
                let service = action.prefix { $0 != ":" }
                guard
                    action == "*" || service.contains("*") || service.contains("?")
                        || Self.services.contains(String(service)) && action.utf8.count > service.utf8.count + 1
                else { throw refuse("action '\(action.prefix(80))' is not known: \(Self.known)") }
            }
            guard statement.areResourcesValid else {
                throw refuse(
                    "resource '\(statement.resource.prefix(200))' is not valid: give *, an ARN as arn:lakefs:fs:::repository/NAME, or a JSON list of these"
                )
            }
            if let fault = statement.condition.fault { throw refuse(fault) }
        }
    }

    private func refuse(_ text: String) -> LakeError {
        LakeError(.invalidValue, "policy '\(name.prefix(80))': \(text)")
    }

    private static let known = "actions are SERVICE:NAME with a service of \(services.sorted().joined(separator: ", "))"
}
