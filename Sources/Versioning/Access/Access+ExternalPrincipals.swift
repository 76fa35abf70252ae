import Foundations

/// Somebody whom another system knows, and who logs in here as a user: a role of AWS, by its ARN.
package struct ExternalPrincipal: Sendable, Equatable {
    package let id: String
    package let userName: String
    /// What was said of it when it was made, as JSON; empty for nothing.
    package let settings: [UInt8]

    init(id: String, userName: String, settings: [UInt8]) {
        self.id = id
        self.userName = userName
        self.settings = settings
    }

    init(decoding bytes: [UInt8]) throws {
        var (id, userName) = ("", "")
        var settings: [UInt8] = []
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: id = field.string
            case 2: userName = field.string
            case 3: settings = field.array
            default: break
            }
        }
        self.init(id: id, userName: userName, settings: settings)
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, id)
        writer.string(2, userName)
        if !settings.isEmpty { writer.bytes(3, settings) }
        return writer.bytes
    }
}

/// External principals: each is one user's. Their ids hold slashes: in keys they are in hexadecimal digits, which keep
/// their order. The records are ours; lakeFS keeps none.
extension Access {
    private static let principals = "lakefuse_principals/"

    private static func key(ofPrincipal id: String) -> Key { Key(principals + Hex.text(Array(id.utf8))) }
    private static func folder(of user: String) -> String { "lakefuse_user_principals/\(user)/" }
    private static func key(ofPrincipal id: String, of user: String) -> Key {
        Key(folder(of: user) + Hex.text(Array(id.utf8)))
    }

    private static let longestPrincipal = 2048

    /// - Throws: `.alreadyExists(.externalPrincipal)`, whoever it belongs to; `.notFound(.user)`, `.invalidValue`.
    package func createExternalPrincipal(_ id: String, of user: String, settings: [UInt8]) throws {
        guard !id.isEmpty, id.utf8.count <= Self.longestPrincipal else {
            throw LakeError(
                .invalidValue, "principal id '\(id.prefix(80))' is not valid: 1 to \(Self.longestPrincipal) bytes are")
        }
        let principal = ExternalPrincipal(id: id, userName: user, settings: settings)
        do throws(StoreError) {
            try store.write(
                [
                    .require(Self.auth, Kind.user.key(user), .present),
                    .require(Self.auth, Self.key(ofPrincipal: id), .absent),
                    .set(Self.auth, Self.key(ofPrincipal: id), principal.encoded),
                    .set(Self.auth, Self.key(ofPrincipal: id, of: user), principal.encoded),
                ], .durable)
        } catch {
            guard error.code == .preconditionFailed else { throw error }
            _ = try self.user(user)
            throw LakeError(.alreadyExists(.externalPrincipal), "external principal \(id): already exists")
        }
    }

    package func externalPrincipal(_ id: String) throws -> ExternalPrincipal {
        guard let found = try findExternalPrincipal(id) else { throw LakeError.notFound(.externalPrincipal, id) }
        return found
    }

    package func findExternalPrincipal(_ id: String) throws -> ExternalPrincipal? {
        try store.value(for: Self.key(ofPrincipal: id), in: Self.auth).map { try ExternalPrincipal(decoding: $0) }
    }

    /// Whether there is any: without one nobody can log in so.
    package func hasExternalPrincipals() throws -> Bool {
        try !store.page(of: Self.auth, prefix: Key(Self.principals), limit: 1).isEmpty
    }

    package func listExternalPrincipals(of user: String, prefix: String, after: String, limit: Int) throws -> Page<
        ExternalPrincipal
    > {
        _ = try self.user(user)
        let folder = Self.folder(of: user)
        let found = try store.page(
            of: Self.auth, prefix: Key(folder + Hex.text(Array(prefix.utf8))),
            from: after.isEmpty ? nil : Self.key(ofPrincipal: after, of: user).successor, limit: limit + 1)
        return Page(try found.map { try ExternalPrincipal(decoding: $0.value) }, limit: limit)
    }

    /// Removes one: who logged in by it is logged out.
    /// - Throws: `.notFound`, if it is not there or another user's too.
    package func deleteExternalPrincipal(_ id: String, of user: String) throws {
        _ = try self.user(user)
        guard try findExternalPrincipal(id)?.userName == user else { throw LakeError.notFound(.externalPrincipal, id) }
        try store.write(
            [
                .remove(Self.auth, Self.key(ofPrincipal: id)), .remove(Self.auth, Self.key(ofPrincipal: id, of: user)),
            ], .durable)
    }

    /// Keys of all principals of a user.
    func principalKeys(of user: String) throws -> [Key] {
        let folder = Key(Self.folder(of: user))
        return try keys([folder]).flatMap { [Key(Array(Self.principals.utf8) + $0.bytes.dropFirst(folder.count)), $0] }
    }
}
