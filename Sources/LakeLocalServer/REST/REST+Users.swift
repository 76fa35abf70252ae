import Foundations
import LakeAPI
import Transport
import Versioning

/// Users, their keys, groups and policies.
extension REST {
    func withSecret(_ made: Credentials) -> API.CredentialsWithSecret {
        API.CredentialsWithSecret(
            accessKeyId: made.accessKeyID, secretAccessKey: made.secretAccessKey, creationDate: made.issued.seconds)
    }

    private func message(_ user: User) -> API.User {
        API.User(
            id: user.name, creationDate: user.creationDate.seconds, friendlyName: user.friendlyName, email: user.email)
    }

    private func message(_ group: Group) -> API.Group {
        API.Group(
            id: group.name, name: group.name, description: group.description, creationDate: group.creationDate.seconds)
    }

    private func message(_ policy: Policy) -> API.Policy {
        API.Policy(
            id: policy.name, creationDate: policy.creationDate.seconds,
            statement: policy.statements.map {
                API.Statement(
                    effect: $0.effect, resource: $0.resource, action: $0.actions,
                    condition: $0.condition.operators.isEmpty ? nil : $0.condition.operators)
            })
    }

    private static func statements(_ message: API.Policy) -> [Statement] {
        message.statement.map {
            Statement(
                effect: $0.effect, actions: $0.action, resource: $0.resource, condition: Condition($0.condition ?? [:]))
        }
    }

    /// What a page of a listing is asked for.
    private func page(_ call: Call) throws -> (prefix: String, after: String, limit: Int) {
        (call.text("prefix") ?? "", call.text("after") ?? "", try call.amount())
    }

    private func told(_ page: Page<User>) -> Reception {
        .respond(.json(200, ResultList(page, maxPerPage: 0, next: \.id) { message($0) }))
    }

    private func told(_ page: Page<Group>) -> Reception {
        .respond(.json(200, ResultList(page, maxPerPage: 0, next: \.id) { message($0) }))
    }

    private func told(_ page: Page<Policy>) -> Reception {
        .respond(.json(200, ResultList(page, maxPerPage: 0, next: \.id) { message($0) }))
    }

    /// A change with nothing to tell.
    private func change(_ call: Call, made: Bool = false, _ body: @escaping @Sendable () throws -> Void) -> Reception {
        call.work {
            try body()
            return made ? Response(status: 201) : .noContent
        }
    }

    func addUsers(_ router: inout Router) {
        router.on(.getCurrentUser) { call in
            call.now {
                guard !call.user.isEmpty else { return .json(200, API.CurrentUser(user: .nobody)) }
                return .json(200, API.CurrentUser(user: message(try access.user(call.user))))
            }
        }
        router.on(.listUsers) { call in
            let (prefix, after, limit) = try page(call)
            return told(try access.listUsers(prefix: prefix, after: after, limit: limit))
        }
        router.on(.createUser) { call in
            call.json(API.UserCreation.self) { body in
                try call.require(.user("CreateUser", body.id))
                guard body.inviteUser != true else {
                    throw LakeError(.invalidValue, "this server sends no mail: create the user without invite_user")
                }
                let made = try access.createUser(body.id)
                return .json(
                    201,
                    API.User(
                        id: made.name, creationDate: made.creationDate.seconds, friendlyName: nil, email: nil))
            }
        }
        router.on(.getUser) { call in .respond(.json(200, message(try access.user(call[.userId])))) }
        router.on(.deleteUser) { call in change(call) { try access.deleteUser(call[.userId]) } }
        router.on(.listUserGroups) { call in
            let (prefix, after, limit) = try page(call)
            return told(try access.listGroups(of: call[.userId], prefix: prefix, after: after, limit: limit))
        }
        addKeys(&router)
        addGroups(&router)
        addPolicies(&router)
    }

    private func addKeys(_ router: inout Router) {
        router.on(.listUserCredentials) { call in
            let (_, after, limit) = try page(call)
            let found = try access.listCredentials(of: call[.userId], after: after, limit: limit)
            return .respond(
                .json(
                    200,
                    ResultList(found, maxPerPage: 0, next: \.accessKeyId) {
                        API.Credentials(accessKeyId: $0.accessKeyID, creationDate: $0.issued.seconds)
                    }))
        }
        router.on(.createCredentials) { call in
            call.work { .json(201, withSecret(try access.createCredentials(for: call[.userId]))) }
        }
        router.on(.getCredentials) { call in
            let found = try access.credentials(call[.accessKeyId])
            guard let found, Key(found.userName) == Key(call[.userId]) else {
                throw LakeError.notFound(.credentials, call[.accessKeyId])
            }
            return .respond(
                .json(200, API.Credentials(accessKeyId: found.accessKeyID, creationDate: found.issued.seconds)))
        }
        router.on(.deleteCredentials) { call in
            change(call) { try access.deleteCredentials(call[.accessKeyId], of: call[.userId]) }
        }
    }

    private func addGroups(_ router: inout Router) {
        router.on(.listGroups) { call in
            let (prefix, after, limit) = try page(call)
            return told(try access.listGroups(prefix: prefix, after: after, limit: limit))
        }
        router.on(.createGroup) { call in
            call.json(API.GroupCreation.self) { body in
                try call.require(.group("CreateGroup", body.id))
                return .json(
                    201, message(try access.createGroup(body.id, description: body.description ?? "")))
            }
        }
        router.on(.getGroup) { call in .respond(.json(200, message(try access.group(call[.groupId])))) }
        router.on(.deleteGroup) { call in change(call) { try access.deleteGroup(call[.groupId]) } }
        router.on(.listGroupMembers) { call in
            let (prefix, after, limit) = try page(call)
            return told(try access.listMembers(of: call[.groupId], prefix: prefix, after: after, limit: limit))
        }
        router.on(.addGroupMembership) { call in
            change(call, made: true) { try access.addMember(call[.userId], to: call[.groupId]) }
        }
        router.on(.deleteGroupMembership) { call in
            change(call) { try access.removeMember(call[.userId], from: call[.groupId]) }
        }
        router.on(.getGroupACL) { call in
            guard let level = try access.level(of: call[.groupId]) else {
                throw LakeError(
                    .notFound(.policy), "group \(call[.groupId]) has no level: its policies are those of none")
            }
            return .respond(.json(200, API.ACL(permission: level.rawValue)))
        }
        router.on(.setGroupACL) { call in
            call.json(API.ACL.self) { body in
                guard let level = Access.Level(rawValue: body.permission) else {
                    let known = Access.Level.allCases.map(\.rawValue).joined(separator: ", ")
                    throw LakeError(
                        .invalidValue, "ACL permission '\(body.permission.prefix(80))' is not known: \(known) are")
                }
                try access.setLevel(level, of: call[.groupId])
                return Response(status: 201)
            }
        }
    }

    private func addPolicies(_ router: inout Router) {
        router.on(.listPolicies) { call in
            let (prefix, after, limit) = try page(call)
            return told(try access.listPolicies(prefix: prefix, after: after, limit: limit))
        }
        router.on(.createPolicy) { call in
            call.json(API.Policy.self) { body in
                try call.require(.policy("CreatePolicy", body.id))
                let policy = Policy(name: body.id, statements: Self.statements(body))
                try access.createPolicy(policy)
                return .json(201, message(policy))
            }
        }
        router.on(.getPolicy) { call in .respond(.json(200, message(try access.policy(call[.policyId])))) }
        router.on(.updatePolicy) { call in
            call.json(API.Policy.self) { body in
                .json(200, message(try access.updatePolicy(call[.policyId], Self.statements(body))))
            }
        }
        router.on(.deletePolicy) { call in change(call) { try access.deletePolicy(call[.policyId]) } }
        router.on(.listUserPolicies) { call in
            let (prefix, after, limit) = try page(call)
            let user = call[.userId]
            return told(
                try call.flag("effective")
                    ? access.effectivePolicies(of: user, prefix: prefix, after: after, limit: limit)
                    : access.listPolicies(of: .user(user), prefix: prefix, after: after, limit: limit))
        }
        router.on(.attachPolicyToUser) { call in
            change(call, made: true) { try access.attachPolicy(call[.policyId], to: .user(call[.userId])) }
        }
        router.on(.detachPolicyFromUser) { call in
            change(call) { try access.detachPolicy(call[.policyId], from: .user(call[.userId])) }
        }
        router.on(.listGroupPolicies) { call in
            let (prefix, after, limit) = try page(call)
            return told(
                try access.listPolicies(of: .group(call[.groupId]), prefix: prefix, after: after, limit: limit))
        }
        router.on(.attachPolicyToGroup) { call in
            change(call, made: true) { try access.attachPolicy(call[.policyId], to: .group(call[.groupId])) }
        }
        router.on(.detachPolicyFromGroup) { call in
            change(call) { try access.detachPolicy(call[.policyId], from: .group(call[.groupId])) }
        }
    }
}

extension API.User {
    /// Who has not logged in.
    fileprivate static var nobody: API.User { API.User(id: "", creationDate: 0, friendlyName: nil, email: nil) }
}
