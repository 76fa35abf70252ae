import Foundations
package import Versioning

/// Whom another system vouches for.
struct ExternalIdentity: Sendable {
    let userName: String
    var friendlyName = "", email = ""
    /// Groups of this lake that the user is put into when they come for the first time; those that are not here are
    /// passed over.
    var groups: [String] = []
    /// The same where none of them is here.
    var defaults: [String] = []
}

extension Access {
    func welcome(_ found: ExternalIdentity, from source: String) throws -> User {
        try welcome(
            found.userName, from: source, friendlyName: found.friendlyName, email: found.email, groups: found.groups,
            otherwise: found.defaults)
    }
}

/// Another system that knows users and their passwords.
protocol PasswordAuthenticator: Sendable {
    /// Its name in the records of users who come from it.
    var source: String { get }
    /// Who it is; nil for a password that is wrong. May take as long as the system does.
    /// - Throws: `.unavailable` if it does not answer.
    func identity(of userName: String, password: String) throws -> ExternalIdentity?
}

/// Other systems whose users may log in here: passwords that they check, and OpenID Connect.
package struct ExternalLogins: Sendable {
    let passwords: [any PasswordAuthenticator]
    package let openID: OpenIDConnect?
    let access: Access

    package init(
        _ access: Access, remote: RemoteAuthenticator.Settings?, directory: DirectoryAuthenticator.Settings?,
        openID: OpenIDConnect.Settings?, signing login: Login
    ) {
        self.access = access
        passwords =
            (directory.map { [DirectoryAuthenticator($0)] } ?? [] as [any PasswordAuthenticator])
            + (remote.map { [RemoteAuthenticator($0)] } ?? [])
        self.openID = openID.map { OpenIDConnect($0, login: login) }
    }

    /// The user whom one of the systems knows by a password; nil if none does.
    func user(_ userName: String, password: String) throws -> User? {
        // An empty one binds to a directory as nobody (RFC 4513, 5.1.2), and is none anywhere.
        guard !userName.isEmpty, !password.isEmpty else { return nil }
        for system in passwords {
            if let found = try system.identity(of: userName, password: password) {
                return try access.welcome(found, from: system.source)
            }
        }
        return nil
    }
}
