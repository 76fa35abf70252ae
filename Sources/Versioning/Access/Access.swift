import Foundations
import Synchronization

/// Users, key pairs, policies, and the one place that says what a user may do. Safe from any thread.
/// Records: `lakefs-formats.md` 5.5; policy language: `lakefs-behaviour.md` section 4.
package final class Access: Sendable {
    let store: any KeyValueStore
    let box: SecretBox
    /// Opened key pairs and users' statements as of a short while ago: opening a secret takes a millisecond.
    private let credentialsCache = LRUCache<String, (credentials: Credentials, read: Timestamp)>(budget: 1024)
    private let statementsCache = LRUCache<Key, (statements: [PreparedStatement], read: Timestamp)>(budget: 1024)
    private static let lifetimeSeconds: Int64 = 20
    /// Counts changes of what is remembered: what was read before one is not kept behind it.
    private let generation = Atomic<Int>(0)

    static let auth = Partition("auth")
    private static let setupKey = Key("installation_metadata/setup_timestamp")

    /// - Parameter secretKey: the configuration's `auth.encrypt.secret_key`.
    package init(store: any KeyValueStore, secretKey: String) {
        self.store = store
        box = SecretBox(password: secretKey)
    }

    // MARK: set-up

    /// Whether the lake has had its first user.
    package func isSetUp() throws -> Bool { try store.value(for: Self.setupKey, in: Self.auth) != nil }

    /// The id of this installation, made when it is first asked for.
    package func installationID() throws -> String {
        let key = Key("installation_id")
        if let known = try store.value(for: key, in: Self.auth) { return String(decoding: known, as: UTF8.self) }
        _ = try store.trySet(Array(randomUUID().utf8), for: key, in: Self.auth, if: .absent)
        return String(decoding: try store.value(for: key, in: Self.auth) ?? [], as: UTF8.self)
    }

    /// It is a part of a key: with a slash nobody would find it.
    private static func checkID(of given: Credentials) throws {
        guard given.accessKeyID.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != 0x2f && $0 != 0x3a }) else {
            throw LakeError(.invalidValue, "access_key_id is not valid: letters, digits and signs but / and : are")
        }
    }

    /// Creates the first user, who may do everything.
    /// - Parameter asksPreferences: whether somebody is to be asked what letters they want.
    /// - Throws: `.alreadyExists(.user)` if the lake has one.
    package func setUp(userName: String, credentials given: Credentials? = nil, asksPreferences: Bool = false) throws
        -> Credentials
    {
        guard try !isSetUp() else { throw LakeError(.alreadyExists(.user), "lakeFS already initialized") }
        try checkName(userName, of: .user)
        try given.map(Self.checkID)
        let credentials = given ?? .make(for: userName)
        // Claimed first: of two who come at once, one is refused.
        guard try store.trySet(Array(Timestamp.now().rfc3339.utf8), for: Self.setupKey, in: Self.auth, if: .absent)
        else { throw LakeError(.alreadyExists(.user), "lakeFS already initialized") }
        let batch =
            administration(of: User(name: userName, creationDate: .now())) + [
                .set(Self.auth, Key(Self.key(of: credentials)), encode(credentials)),
                .set(Self.auth, Self.preferencesKey, Array((asksPreferences ? "false" : "true").utf8)),
            ]
        do { try store.write(batch, .durable) } catch {
            try? store.remove(Self.setupKey, in: Self.auth)
            throw error
        }
        index.withLock { $0.made = nil }
        return credentials
    }

    /// Whether somebody has said what letters they want. Source: `lakefs-formats.md` 5.5, installation_metadata.
    private static let preferencesKey = Key("installation_metadata/comm_prefs_set")

    /// Whether nobody has said yet what letters they want, and somebody is to.
    package func areLetterPreferencesMissing() throws -> Bool {
        guard let known = try store.value(for: Self.preferencesKey, in: Self.auth) else { return try !isSetUp() }
        return known != Array("true".utf8)
    }

    /// Notes that somebody has said what letters they want: once.
    /// - Throws: `.preconditionFailed` before the lake is set up, `.alreadyExists(.settings)` if it was said before.
    package func noteLetterPreferences() throws {
        guard try isSetUp() else {
            throw LakeError(.preconditionFailed, "the lake is not set up: that comes first")
        }
        let asked = Precondition.matches(Array("false".utf8))
        guard try store.trySet(Array("true".utf8), for: Self.preferencesKey, in: Self.auth, if: asked) else {
            throw LakeError(.alreadyExists(.settings), "preferences of letters were given before")
        }
    }

    /// Says that the stock groups were made once: who removes one does not want it back.
    private static let groupsKey = Key("installation_metadata/lakefuse_groups")

    /// The records of a user who may do everything, with the stock groups and policies.
    private func administration(of user: User) -> [Mutation] {
        let administrators = Key(StockGroup.administrators.rawValue)
        return StockGroup.allCases.flatMap(\.records) + [
            .set(Self.auth, Self.groupsKey, Array("1".utf8)), .set(Self.auth, Kind.user.key(user.name), user.encoded),
            .set(
                Self.auth, Links.members.key(of: administrators, to: user.name), Links.members.record(to: user.name)),
        ]
    }

    /// Gives a lake that was set up before there were more groups than one the stock groups that it lacks.
    package func addStockGroups() throws {
        guard try isSetUp(), try store.value(for: Self.groupsKey, in: Self.auth) == nil else { return }
        var batch: [Mutation] = [.set(Self.auth, Self.groupsKey, Array("1".utf8))]
        for group in StockGroup.allCases {
            // One that is there is as somebody wants it.
            let isNew = try store.value(for: Kind.group.key(group.rawValue), in: Self.auth) == nil
            for record in group.records where isNew {
                // So is a policy.
                if case .set(let partition, let key, _) = record, try store.value(for: key, in: partition) == nil {
                    batch.append(record)
                }
            }
        }
        try store.write(batch, .durable)
    }

    /// Takes over the one user of a lakeFS without roles, who may do everything. Their records stay where they are.
    /// Source: `lakefs-formats.md` 5.5, `basicAuth`.
    package func adoptBasicUser() throws {
        let basic = Partition("basicAuth")
        let prefix: Key = "uCredentials/superAdmin/credentials/"
        guard try listUsers(prefix: "", after: "", limit: 1).items.isEmpty,
            try store.value(for: Self.groupsKey, in: Self.auth) == nil,
            let bytes = try store.value(for: "users/superAdmin", in: basic)
        else { return }
        let user = try User(decoding: bytes)
        var batch = administration(of: user)
        for record in try store.page(of: basic, prefix: prefix, limit: 100) {
            batch.append(
                .set(
                    Self.auth,
                    Key("uCredentials/\(user.name)/credentials/\(record.key.description.dropFirst(prefix.count))"),
                    record.value))
        }
        try store.write(batch, .durable)
    }

    private static func key(of credentials: Credentials) -> String {
        "uCredentials/\(credentials.userName)/credentials/\(credentials.accessKeyID)"
    }

    private func encode(_ credentials: Credentials) -> [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, credentials.accessKeyID)
        writer.bytes(2, box.seal(credentials.secretAccessKey))
        writer.time(3, credentials.issued)
        writer.string(4, credentials.userName)
        return writer.bytes
    }

    // MARK: key pairs

    /// A user's key pairs, secrets left empty.
    package func listCredentials(of user: String, after: String, limit: Int) throws -> Page<Credentials> {
        _ = try self.user(user)
        let folder = "uCredentials/\(user)/credentials/"
        let found = try store.page(
            of: Self.auth, prefix: Key(folder), from: after.isEmpty ? nil : Key(folder + after).successor,
            limit: limit + 1)
        return Page(
            try found.map { record in
                var id = ""
                var issued = Timestamp(seconds: 0)
                try readProtobuf(record.value) { field in
                    if field.number == 1 { id = field.string } else if field.number == 3 { issued = try field.time() }
                }
                return Credentials(accessKeyID: id, secretAccessKey: "", userName: user, issued: issued)
            }, limit: limit)
    }

    /// - Parameter given: a key pair; one is made unless it is there.
    package func createCredentials(for user: String, _ given: Credentials? = nil) throws -> Credentials {
        try given.map(Self.checkID)
        let credentials = given ?? .make(for: user)
        if try self.credentials(credentials.accessKeyID) != nil {
            throw LakeError(.invalidValue, "the access key id \(credentials.accessKeyID) is taken")
        }
        do throws(StoreError) {
            try store.write(
                [
                    .require(Self.auth, Kind.user.key(user), .present),
                    .set(Self.auth, Key(Self.key(of: credentials)), encode(credentials)),
                ], .durable)
        } catch {
            guard error.code == .preconditionFailed else { throw error }
            throw LakeError.notFound(.user, user)
        }
        index.withLock { $0.made = nil }
        return credentials
    }

    package func deleteCredentials(_ accessKeyID: String, of user: String) throws {
        let key = Key("uCredentials/\(user)/credentials/\(accessKeyID)")
        guard try store.value(for: key, in: Self.auth) != nil else {
            throw LakeError.notFound(.credentials, accessKeyID)
        }
        try store.remove(key, in: Self.auth)
        generation.add(1, ordering: .acquiringAndReleasing)
        index.withLock { _ = $0.places.removeValue(forKey: accessKeyID) }
        credentialsCache.remove(accessKeyID)
    }

    /// The key pair of an id, with its secret; nil if there is none.
    package func credentials(_ accessKeyID: String) throws -> Credentials? {
        let now = Timestamp.now()
        let generation = generation.load(ordering: .acquiring)
        if let known = credentialsCache[accessKeyID], now.seconds - known.read.seconds < Self.lifetimeSeconds {
            return known.credentials
        }
        guard let key = try place(of: accessKeyID), let value = try store.value(for: key, in: Self.auth) else {
            return nil
        }
        var sealed: [UInt8] = []
        var user = ""
        var issued = Timestamp(seconds: 0)
        try readProtobuf(value) { field in
            switch field.number {
            case 2: sealed = field.array
            case 3: issued = try field.time()
            case 4: user = field.string
            default: break
            }
        }
        guard let secret = box.open(sealed) else {
            throw LakeError(
                .unavailable,
                "the secret of key \(accessKeyID) cannot be read: auth.encrypt.secret_key is not the one it was stored with"
            )
        }
        let found = Credentials(accessKeyID: accessKeyID, secretAccessKey: secret, userName: user, issued: issued)
        if generation == self.generation.load(ordering: .acquiring) {
            credentialsCache.insert((found, now), for: accessKeyID)
        }
        return found
    }

    /// Where the key pairs lie, by their ids: lakeFS keeps them under their users.
    private struct Index {
        var places: [String: Key] = [:]
        /// When it was made, in milliseconds; nil if something changed since.
        var made: Int64?
    }
    private let index = Mutex(Index())
    /// How old the index may be when an id is not in it: who asks for unknown ids has all pairs read once in that time.
    private static let indexMilliseconds: Int64 = 1000

    private func place(of accessKeyID: String) throws -> Key? {
        let asked = Timestamp.monotonicMilliseconds()
        let (known, isFresh) = index.withLock { index in
            (index.places[accessKeyID], index.made.map { asked - $0 < Self.indexMilliseconds } ?? false)
        }
        if known != nil || isFresh { return known }
        var places: [String: Key] = [:]
        for key in try keys(["uCredentials/"]) {
            guard let slash = key.bytes.lastIndex(of: 0x2f) else { continue }
            places[String(decoding: key.bytes[(slash + 1)...], as: UTF8.self)] = key
        }
        index.withLock { $0 = Index(places: places, made: asked) }
        return places[accessKeyID]
    }

    /// Drops what is remembered of key pairs.
    func forgetCredentials() {
        generation.add(1, ordering: .acquiringAndReleasing)
        index.withLock { $0 = Index() }
        credentialsCache.removeAll()
    }

    // MARK: authorising

    /// Drops what is remembered of who may what: other processes go by the memory's lifetime.
    func forgetStatements() {
        generation.add(1, ordering: .acquiringAndReleasing)
        statementsCache.removeAll()
    }

    private func statements(of user: String) throws -> [PreparedStatement] {
        let now = Timestamp.now()
        let generation = generation.load(ordering: .acquiring)
        if let known = statementsCache[Key(user)], now.seconds - known.read.seconds < Self.lifetimeSeconds {
            return known.statements
        }
        var statements: [PreparedStatement] = []
        for name in try policyNames(of: user) {
            if let bytes = try store.value(for: Kind.policy.key(name), in: Self.auth) {
                statements += try Policy(decoding: bytes).statements.map { PreparedStatement($0, for: user) }
            }
        }
        // What changed since it was read is not to be remembered as it was.
        if generation == self.generation.load(ordering: .acquiring) {
            statementsCache.insert((statements, now), for: Key(user))
        }
        return statements
    }

    /// Whether `caller` may do this: something allows it and nothing denies it.
    package func isAllowed(_ permission: Permission, for caller: Caller) throws -> Bool {
        var isAllowed = false
        let permission = PreparedPermission(permission, for: caller.user)
        for statement in try statements(of: caller.user) {
            switch statement.verdict(on: permission, for: caller) {
            case .nothing: break
            case .allows: isAllowed = true
            case .denies: return false
            }
        }
        return isAllowed
    }

    /// Whether `caller` may do these to everything that begins with `resource`: what need not be asked one by one then.
    /// Where that cannot be told at once it is false.
    package func isFree(to actions: [String], below resource: String, for caller: Caller) throws -> Bool {
        let all = try statements(of: caller.user)
        return actions.allSatisfy { action in
            !all.contains { $0.statement.mayDeny(action) }
                && all.contains { $0.statement.allowsAll(action, below: resource, user: caller.user) }
        }
    }

    /// What a mount asks for every path, and whether it need not ask. Where it cannot be told it is not allowed.
    package func mountRights(of caller: Caller, in repository: RepositoryID) -> (
        allows: @Sendable (Permission) -> Bool, isFree: @Sendable () -> Bool
    ) {
        let objects = "arn:lakefs:fs:::repository/\(repository)/object/"
        let actions = ["fs:ReadObject", "fs:WriteObject", "fs:DeleteObject"]
        return (
            { [self] in (try? isAllowed($0, for: caller)) ?? false },
            { [self] in (try? isFree(to: actions, below: objects, for: caller)) ?? false }
        )
    }

    /// Lets pass who may do all of these.
    /// - Throws: `.permissionDenied`, naming the first action that is missing.
    package func require(_ permissions: [Permission], for caller: Caller) throws {
        for permission in permissions where try !isAllowed(permission, for: caller) {
            throw Self.denied(permission.action)
        }
    }

    private static func denied(_ action: String) -> LakeError {
        LakeError(.permissionDenied, "insufficient permissions: not allowed to \(action)")
    }

    /// Lets pass who might do `action` on something that begins with `resource`: asked before a body is read that says
    /// on what.
    /// - Throws: `.permissionDenied` for who may do it on nothing there.
    package func requireSome(_ action: String, below resource: String, for caller: Caller) throws {
        guard
            try statements(of: caller.user).contains(where: {
                $0.statement.mayAllow(action, below: resource, user: caller.user)
            })
        else { throw Self.denied(action) }
    }

    // MARK: sessions

    private static func sessionKey(_ id: String) -> Key { Key("expiredTokens/\(id)") }

    /// Ends a session before its time: its token is worth nothing from now on. Those that have run out by themselves
    /// are forgotten.
    /// - Parameter end: seconds since 1970 when the token would have ended. Source: `lakefs-formats.md` 5.5, TokenData.
    package func endSession(_ id: String, end: Int64) throws { _ = try endSession(id, end: end, once: false) }

    /// The same.
    /// - Parameter once: whether it must not have ended before.
    /// - Returns: false, and nothing has changed, if it had to be the first time and is not.
    package func endSession(_ id: String, end: Int64, once: Bool) throws -> Bool {
        var writer = ProtobufWriter()
        writer.string(1, id)
        writer.time(2, Timestamp(seconds: end))
        if once {
            do throws(StoreError) {
                try store.set(writer.bytes, for: Self.sessionKey(id), in: Self.auth, if: .absent)
            } catch {
                if error.code == .preconditionFailed { return false }
                throw error
            }
        }
        var batch: [Mutation] = once ? [] : [.set(Self.auth, Self.sessionKey(id), writer.bytes)]
        let now = Timestamp.now()
        for record in try store.page(of: Self.auth, prefix: Key("expiredTokens/"), limit: 100) {
            var expires = now
            try readProtobuf(record.value) { if $0.number == 2 { expires = try $0.time() } }
            if expires < now { batch.append(.remove(Self.auth, record.key)) }
        }
        if !batch.isEmpty { try store.write(batch, .durable) }
        return true
    }

    package func isSessionEnded(_ id: String) throws -> Bool {
        try store.value(for: Self.sessionKey(id), in: Self.auth) != nil
    }
}
