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

    /// Links of records to others: of a group to its members, of users and groups to their policies.
    enum Links: String {
        case members = "gUsers", userPolicies = "uPolicies", groupPolicies = "gPolicies"

        private var target: Kind { self == .members ? .user : .policy }

        /// What stands before the names that a record is linked to.
        func folder(of name: Key) -> Key {
            Key(Array("\(rawValue)/".utf8) + name.bytes + Array("/\(target.rawValue)/".utf8))
        }
        func key(of name: Key, to other: String) -> Key { Key(folder(of: name).bytes + Array(other.utf8)) }

        /// The record of a link to a name. Source: `lakefs-formats.md` 5.5, SecondaryIndex.
        func record(to other: String) -> [UInt8] {
            var writer = ProtobufWriter()
            writer.bytes(1, target.key(other).bytes)
            return writer.bytes
        }
    }

    /// Names behind a folder of keys. Cut as bytes: a letter may be more than one, and join what stands before it.
    func names(below folder: Key) throws -> [Key] {
        try keys([folder]).map { Key(Array($0.bytes.dropFirst(folder.count))) }
    }

    /// A page of the records that names mean, as far as they are there.
    /// - Parameter next: the names, in order.
    func page<Item>(
        _ kind: Kind, prefix: String, after: String, limit: Int, of next: () throws -> Key?,
        _ decode: ([UInt8]) throws -> Item
    ) throws -> Page<Item> {
        let (prefix, after) = (Key(prefix), Key(after))
        var found: [Item] = []
        while found.count <= limit, let name = try next() {
            guard name.hasPrefix(prefix), after < name else { continue }
            if let record = try store.value(for: kind.key(name), in: Self.auth) { found.append(try decode(record)) }
        }
        return Page(found, limit: limit)
    }

    /// The same of the names behind a folder of links.
    func linked<Item>(
        _ folder: Key, _ kind: Kind, prefix: String, after: String, limit: Int, _ decode: ([UInt8]) throws -> Item
    ) throws -> Page<Item> {
        let whole = Key(folder.bytes + Array(prefix.utf8))
        var cursor = PartitionCursor(
            store, Self.auth, from: max(whole, Key(folder.bytes + Array(after.utf8))), before: whole.upperBound)
        return try page(
            kind, prefix: prefix, after: after, limit: limit,
            of: {
                defer { cursor.advance() }
                return try cursor.current().map { Key(Array($0.key.bytes.dropFirst(folder.count))) }
            }, decode)
    }

    /// Makes a link to a record, if both ends are there.
    /// - Throws: `.notFound`, `.alreadyExists`.
    func link(_ links: Links, from holder: (kind: Kind, name: String), to target: (kind: Kind, name: String)) throws {
        let key = links.key(of: Key(holder.name), to: target.name)
        do throws(StoreError) {
            try store.write(
                [
                    .require(Self.auth, holder.kind.key(holder.name), .present),
                    .require(Self.auth, target.kind.key(target.name), .present),
                    .require(Self.auth, key, .absent), .set(Self.auth, key, links.record(to: target.name)),
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
        _ links: Links, from holder: (kind: Kind, name: String), to target: (kind: Kind, name: String), isNeeded: Bool
    ) throws {
        _ = try record(holder.kind, holder.name)
        let key = links.key(of: Key(holder.name), to: target.name)
        let isThere = try store.value(for: key, in: Self.auth) != nil
        guard isThere || !isNeeded else { throw LakeError.notFound(target.kind.thing, target.name) }
        try store.remove(key, in: Self.auth)
        forgetStatements()
    }

    /// Keys below some prefixes, or those of them that end so.
    func keys(_ prefixes: [Key], endingIn end: String = "") throws -> [Key] {
        let end = Array(end.utf8)
        var found: [Key] = []
        for prefix in prefixes {
            var cursor = PartitionCursor(store, Self.auth, from: prefix, before: prefix.upperBound)
            while let key = try cursor.current()?.key {
                if key.bytes.suffix(end.count).elementsEqual(end) { found.append(key) }
                cursor.advance()
            }
        }
        return found
    }

    /// Keys of what hangs on a record.
    private func hanging(on kind: Kind, _ name: String) throws -> [Key] {
        switch kind {
        case .user:
            try keys([Key("uCredentials/\(name)/credentials/"), Links.userPolicies.folder(of: Key(name))])
                + groupNames(of: name).map { Links.members.key(of: $0, to: name) } + principalKeys(of: name)
        case .group: try keys([Links.members.folder(of: Key(name)), Links.groupPolicies.folder(of: Key(name))])
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

    /// Lets somebody in whom another system vouches for: who comes for the first time becomes a user, in those of the
    /// groups that are here, or else in the others.
    /// - Throws: `.unauthenticated` if a user of that name comes from elsewhere: a name is not taken over.
    package func welcome(
        _ name: String, from source: String, friendlyName: String, email: String, groups: [String],
        otherwise defaults: [String]
    ) throws -> User {
        try checkName(name, of: .user)
        var user = User(name: name, creationDate: .now())
        user.source = source
        user.friendlyName = friendlyName
        user.email = email
        let isNew = try findUser(name) == nil
        if isNew {
            func here(_ groups: [String]) throws -> [String] {
                try Set(groups).sorted().filter { try store.value(for: Kind.group.key($0), in: Self.auth) != nil }
            }
            var chosen = try here(groups)
            if chosen.isEmpty { chosen = try here(defaults) }
            var batch: [Mutation] = [
                .require(Self.auth, Kind.user.key(name), .absent), .set(Self.auth, Kind.user.key(name), user.encoded),
            ]
            for group in chosen {
                batch.append(
                    .set(Self.auth, Links.members.key(of: Key(group), to: name), Links.members.record(to: name)))
            }
            // Of two who come at once one is made, with all groups; the other finds the user there.
            if try store.tryWrite(batch, .durable) {
                forgetStatements()
                return user
            }
        }
        guard let known = try findUser(name), known.source == source else {
            Log.warning(
                "a name that another system vouches for is another user's", ["user": name, "source": source])
            throw LakeError(.unauthenticated, "error authenticating request")
        }
        return known
    }

    package func findUser(_ name: String) throws -> User? {
        try store.value(for: Kind.user.key(name), in: Self.auth).map { try User(decoding: $0) }
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

    package func addMember(_ user: String, to group: String) throws {
        try link(.members, from: (.group, group), to: (.user, user))
    }

    /// Nothing happens if the user is no member.
    package func removeMember(_ user: String, from group: String) throws {
        try unlink(.members, from: (.group, group), to: (.user, user), isNeeded: false)
    }

    package func listMembers(of group: String, prefix: String, after: String, limit: Int) throws -> Page<User> {
        _ = try record(.group, group)
        return try linked(Links.members.folder(of: Key(group)), .user, prefix: prefix, after: after, limit: limit) {
            try User(decoding: $0)
        }
    }

    /// Names of the groups that a user is in, in order.
    func groupNames(of user: String) throws -> [Key] {
        try names(below: "groups/").filter {
            try store.value(for: Links.members.key(of: $0, to: user), in: Self.auth) != nil
        }
    }

    package func listGroups(of user: String, prefix: String, after: String, limit: Int) throws -> Page<Group> {
        _ = try record(.user, user)
        var names = try groupNames(of: user).makeIterator()
        return try page(.group, prefix: prefix, after: after, limit: limit, of: { names.next() }) {
            try Group(decoding: $0)
        }
    }
}
