package import Foundations

/// Some users, who may together what its policies say. Source: `lakefs-formats.md` 5.6, GroupData.
package struct Group: Sendable, Equatable {
    package var name: String
    package var creationDate: Timestamp
    package var description: String

    init(name: String, creationDate: Timestamp = .now(), description: String = "") {
        self.name = name
        self.creationDate = creationDate
        self.description = description
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(name: "", creationDate: Timestamp(seconds: 0))
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: creationDate = try field.time()
            case 2: name = field.string
            case 3: description = field.string
            default: break
            }
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.time(1, creationDate)
        writer.string(2, name)
        writer.string(3, description)
        return writer.bytes
    }
}

/// Users and groups: made, listed and removed.
extension Access {
    // MARK: names and records

    /// Kinds of records that have a name.
    enum Kind: String {
        case user = "users", group = "groups", policy = "policies"

        func key(_ name: String) -> Key { key(Key(name)) }
        func key(_ name: Key) -> Key { Key(Array("\(rawValue)/".utf8) + name.bytes) }

        var thing: LakeError.Thing {
            switch self {
            case .user: .user
            case .group: .group
            case .policy: .policy
            }
        }
    }

    /// Bytes of a name at most.
    private static let longestName = 255

    /// - Throws: `.invalidValue` for what nothing new may be called: names are parts of keys and of ARNs, in which a
    /// user's name may stand for `${user}`.
    func checkName(_ name: String, of kind: Kind) throws {
        guard !name.isEmpty else { throw LakeError(.invalidValue, "empty name: give the \(kind.thing.rawValue) one") }
        guard name.utf8.count <= Self.longestName,
            !name.utf8.contains(where: { $0 < 0x20 || "/*?".utf8.contains($0) || $0 == 0x7f })
        else {
            throw LakeError(
                .invalidValue,
                "\(kind.thing.rawValue) name '\(name.prefix(80))' is not allowed: at most \(Self.longestName) bytes, none of / * ? and no control characters"
            )
        }
    }

    /// Stores a new record.
    /// - Throws: `.alreadyExists`.
    func create(_ kind: Kind, _ name: String, _ record: [UInt8]) throws {
        try checkName(name, of: kind)
        guard try store.trySet(record, for: kind.key(name), in: Self.auth, if: .absent) else {
            throw LakeError(.alreadyExists(kind.thing), "\(kind.thing.rawValue) \(name): already exists")
        }
    }

    /// - Throws: `.notFound`.
    func record(_ kind: Kind, _ name: String) throws -> [UInt8] {
        guard let bytes = try store.value(for: kind.key(name), in: Self.auth) else {
            throw LakeError.notFound(kind.thing, name)
        }
        return bytes
    }

    func list<Item>(
        _ kind: Kind, prefix: String, after: String, limit: Int, _ decode: ([UInt8]) throws -> Item
    ) throws -> Page<Item> {
        let found = try store.page(
            of: Self.auth, prefix: kind.key(prefix), from: after.isEmpty ? nil : kind.key(after).successor,
            limit: limit + 1)
        return Page(try found.map { try decode($0.value) }, limit: limit)
    }

    /// Names behind a folder of keys. Cut as bytes: a letter may be more than one, and join what stands before it.
    func names(below folder: String) throws -> [Key] {
        let count = folder.utf8.count
        return try keys([folder]).map { Key(Array($0.bytes.dropFirst(count))) }
    }

    /// A page of the records that names mean, as far as they are there. There are not many: all are looked at.
    func page<Item>(
        _ names: [Key], _ kind: Kind, prefix: String, after: String, limit: Int, _ decode: ([UInt8]) throws -> Item
    ) throws -> Page<Item> {
        let (prefix, after) = (Key(prefix), Key(after))
        var found: [Item] = []
        for name in names where name.hasPrefix(prefix) && after < name {
            guard found.count <= limit else { break }
            if let record = try store.value(for: kind.key(name), in: Self.auth) { found.append(try decode(record)) }
        }
        return Page(found, limit: limit)
    }

    func linked<Item>(
        _ folder: String, _ kind: Kind, prefix: String, after: String, limit: Int, _ decode: ([UInt8]) throws -> Item
    ) throws -> Page<Item> {
        try page(names(below: folder), kind, prefix: prefix, after: after, limit: limit, decode)
    }

    /// Makes a link to a record, if both ends are there.
    /// - Throws: `.notFound`, `.alreadyExists`.
    func link(_ key: String, from holder: (kind: Kind, name: String), to target: (kind: Kind, name: String)) throws {
        var writer = ProtobufWriter()
        writer.bytes(1, target.kind.key(target.name).bytes)
        do throws(StoreError) {
            try store.write(
                [
                    .require(Self.auth, holder.kind.key(holder.name), .present),
                    .require(Self.auth, target.kind.key(target.name), .present),
                    .require(Self.auth, Key(key), .absent), .set(Self.auth, Key(key), writer.bytes),
                ], .durable)
        } catch {
            guard error.code == .preconditionFailed else { throw error }
            for end in [holder, target] { _ = try record(end.kind, end.name) }
            throw LakeError(
                .alreadyExists(target.kind.thing),
                "\(target.kind.thing.rawValue) \(target.name) of \(holder.kind.thing.rawValue) \(holder.name): already exists"
            )
        }
        forgetStatements()
    }

    /// Removes a link.
    /// - Parameter isNeeded: whether it must have been there.
    /// - Throws: `.notFound`.
    func unlink(
        _ key: String, from holder: (kind: Kind, name: String), to target: (kind: Kind, name: String), isNeeded: Bool
    ) throws {
        _ = try record(holder.kind, holder.name)
        let isThere = try store.value(for: Key(key), in: Self.auth) != nil
        guard isThere || !isNeeded else { throw LakeError.notFound(target.kind.thing, target.name) }
        try store.remove(Key(key), in: Self.auth)
        forgetStatements()
    }

    /// Keys below some prefixes, or those of them that end so.
    func keys(_ prefixes: [String], endingIn end: String = "") throws -> [Key] {
        let end = Array(end.utf8)
        var found: [Key] = []
        for prefix in prefixes {
            var after: Key?
            while true {
                let page = try store.page(of: Self.auth, prefix: Key(prefix), from: after, limit: 1000)
                for record in page where record.key.bytes.suffix(end.count).elementsEqual(end) {
                    found.append(record.key)
                }
                guard page.count == 1000 else { break }
                after = page.last!.key.successor
            }
        }
        return found
    }

    /// Keys of what hangs on a record.
    private func hanging(on kind: Kind, _ name: String) throws -> [Key] {
        switch kind {
        case .user:
            try keys(["uCredentials/\(name)/credentials/", "uPolicies/\(name)/policies/"])
                + groupNames(of: name).map { Self.membership(name, $0) }
        case .group: try keys(["gUsers/\(name)/users/", "gPolicies/\(name)/policies/"])
        case .policy: try keys(["uPolicies/", "gPolicies/"], endingIn: "/policies/\(name)")
        }
    }

    /// Removes a record and what hangs on it: that first, so that a removal that was cut off can be done again; and once
    /// more behind it, for what came meanwhile.
    func remove(_ kind: Kind, _ name: String) throws {
        _ = try record(kind, name)
        defer {
            forgetStatements()
            if kind == .user { forgetCredentials() }
        }
        try removeAll(hanging(on: kind, name) + [kind.key(name)])
        try removeAll(hanging(on: kind, name))
    }

    private func removeAll(_ keys: [Key]) throws {
        if !keys.isEmpty { try store.writeMany(keys.map { .remove(Self.auth, $0) }, .durable) }
    }

    // MARK: users

    /// A new user, who may nothing yet and has no key.
    /// - Throws: `.alreadyExists(.user)`, `.invalidValue`.
    package func createUser(_ name: String) throws -> User {
        let user = User(name: name, creationDate: .now())
        try create(.user, name, user.encoded)
        return user
    }

    package func user(_ name: String) throws -> User { try User(decoding: record(.user, name)) }

    package func listUsers(prefix: String, after: String, limit: Int) throws -> Page<User> {
        try list(.user, prefix: prefix, after: after, limit: limit) { try User(decoding: $0) }
    }

    /// Removes a user with all keys: their sessions end.
    package func deleteUser(_ name: String) throws { try remove(.user, name) }

    // MARK: groups

    /// - Throws: `.alreadyExists(.group)`, `.invalidValue`.
    package func createGroup(_ name: String, description: String) throws -> Group {
        let group = Group(name: name, description: description)
        try create(.group, name, group.encoded)
        return group
    }

    package func group(_ name: String) throws -> Group { try Group(decoding: record(.group, name)) }

    package func listGroups(prefix: String, after: String, limit: Int) throws -> Page<Group> {
        try list(.group, prefix: prefix, after: after, limit: limit) { try Group(decoding: $0) }
    }

    package func deleteGroup(_ name: String) throws { try remove(.group, name) }

    private static func membership(_ user: String, _ group: String) -> String { "gUsers/\(group)/users/\(user)" }
    private static func membership(_ user: String, _ group: Key) -> Key {
        Key(Array("gUsers/".utf8) + group.bytes + Array("/users/\(user)".utf8))
    }

    package func addMember(_ user: String, to group: String) throws {
        try link(Self.membership(user, group), from: (.group, group), to: (.user, user))
    }

    /// Nothing happens if the user is no member.
    package func removeMember(_ user: String, from group: String) throws {
        try unlink(Self.membership(user, group), from: (.group, group), to: (.user, user), isNeeded: false)
    }

    package func listMembers(of group: String, prefix: String, after: String, limit: Int) throws -> Page<User> {
        _ = try record(.group, group)
        return try linked("gUsers/\(group)/users/", .user, prefix: prefix, after: after, limit: limit) {
            try User(decoding: $0)
        }
    }

    /// Names of the groups that a user is in, in order.
    func groupNames(of user: String) throws -> [Key] {
        try names(below: "groups/").filter {
            try store.value(for: Self.membership(user, $0), in: Self.auth) != nil
        }
    }

    package func listGroups(of user: String, prefix: String, after: String, limit: Int) throws -> Page<Group> {
        _ = try record(.user, user)
        return try page(groupNames(of: user), .group, prefix: prefix, after: after, limit: limit) {
            try Group(decoding: $0)
        }
    }
}
