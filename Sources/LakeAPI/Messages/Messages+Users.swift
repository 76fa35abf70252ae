// Users, groups, policies and keys. Source: `swagger.yml`, tag auth.

package struct CredentialsWithSecret: Codable, Sendable {
    package var accessKeyId: String
    package var creationDate: Int64
    package var secretAccessKey: String
    package init(accessKeyId: String, creationDate: Int64, secretAccessKey: String) {
        self.accessKeyId = accessKeyId
        self.creationDate = creationDate
        self.secretAccessKey = secretAccessKey
    }
}

package struct CredentialsMessage: Codable, Sendable {
    package var accessKeyId: String
    package var creationDate: Int64
    package init(accessKeyId: String, creationDate: Int64) {
        self.accessKeyId = accessKeyId
        self.creationDate = creationDate
    }
}

package struct LoginInformation: Codable, Sendable {
    package var accessKeyId: String
    package var secretAccessKey: String
}

package struct AuthenticationToken: Codable, Sendable {
    package var token: String
    package var tokenExpiration: Int64
    package init(token: String, tokenExpiration: Int64) {
        self.token = token
        self.tokenExpiration = tokenExpiration
    }
}

package struct UserMessage: Codable, Sendable {
    package var id: String
    package var creationDate: Int64
    package var friendlyName: String?
    package var email: String?
    package init(id: String, creationDate: Int64, friendlyName: String?, email: String?) {
        self.id = id
        self.creationDate = creationDate
        self.friendlyName = friendlyName
        self.email = email
    }
}

package struct CurrentUser: Codable, Sendable {
    package var user: UserMessage
    package init(user: UserMessage) { self.user = user }
}

package struct UserCreation: Codable, Sendable {
    package var id: String
    package var inviteUser: Bool?
}

package struct GroupCreation: Codable, Sendable {
    package var id: String
    package var description: String?
}

package struct GroupMessage: Codable, Sendable {
    package var id: String
    package var name: String
    package var description: String
    package var creationDate: Int64
    package init(id: String, name: String, description: String, creationDate: Int64) {
        self.id = id
        self.name = name
        self.description = description
        self.creationDate = creationDate
    }
}

package struct StatementMessage: Codable, Sendable {
    package var effect: String
    package var resource: String
    package var action: [String]
    package var condition: [String: [String: [String]]]?
    package init(effect: String, resource: String, action: [String], condition: [String: [String: [String]]]?) {
        self.effect = effect
        self.resource = resource
        self.action = action
        self.condition = condition
    }
}

package struct PolicyMessage: Codable, Sendable {
    package var id: String
    package var creationDate: Int64?
    package var statement: [StatementMessage]
    package init(id: String, creationDate: Int64?, statement: [StatementMessage]) {
        self.id = id
        self.creationDate = creationDate
        self.statement = statement
    }
}

/// What a group may do, in one word.
package struct GroupLevel: Codable, Sendable {
    package var permission: String
    package init(permission: String) { self.permission = permission }
}
