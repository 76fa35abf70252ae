import FoundationEssentials
package import Foundations

/// Something that a policy allows or denies: an action on a resource. Source: `lakefs-behaviour.md` section 4.
package struct Permission: Sendable, Equatable {
    package let action: String
    package let resource: String
    package init(_ action: String, _ resource: String) {
        self.action = action
        self.resource = resource
    }

    // The forms of resources.
    package static func repository(_ action: String, _ id: RepositoryID) -> Permission {
        Permission("fs:" + action, "arn:lakefs:fs:::repository/\(id)")
    }
    package static func object(_ action: String, _ repository: RepositoryID, _ path: Key) -> Permission {
        Permission("fs:" + action, "arn:lakefs:fs:::repository/\(repository)/object/\(path)")
    }
    package static func branch(_ action: String, _ repository: RepositoryID, _ id: BranchName) -> Permission {
        Permission("fs:" + action, "arn:lakefs:fs:::repository/\(repository)/branch/\(id)")
    }
    package static func tag(_ action: String, _ repository: RepositoryID, _ id: String) -> Permission {
        Permission("fs:" + action, "arn:lakefs:fs:::repository/\(repository)/tag/\(id)")
    }
    package static func pulls(_ action: String, _ repository: RepositoryID) -> Permission {
        inRepository("pr:" + action, repository)
    }
    package static func user(_ action: String, _ id: String) -> Permission {
        Permission("auth:" + action, "arn:lakefs:auth:::user/\(id)")
    }
    package static func externalPrincipal(_ action: String, _ id: String) -> Permission {
        Permission("auth:" + action, "arn:lakefs:auth:::externalPrincipal/\(id)")
    }
    package static func group(_ action: String, _ id: String) -> Permission {
        Permission("auth:" + action, "arn:lakefs:auth:::group/\(id)")
    }
    package static func policy(_ action: String, _ id: String) -> Permission {
        Permission("auth:" + action, "arn:lakefs:auth:::policy/\(id)")
    }
    /// An action of another family than `fs`, named whole.
    package static func inRepository(_ action: String, _ id: RepositoryID) -> Permission {
        Permission(action, "arn:lakefs:fs:::repository/\(id)")
    }
    package static func all(_ action: String) -> Permission { Permission(action, "*") }
}

/// Who asks for something, and from where.
package struct Caller: Sendable, Hashable {
    package let user: String
    /// Nil where nobody can tell: conditions on addresses then let nothing pass.
    package let address: IPAddress?
    package init(_ user: String, from address: IPAddress? = nil) {
        self.user = user
        self.address = address
    }
}

/// What must hold for a statement to count: operators, each with fields and the values that they are held against.
/// Source: `lakefs-formats.md` 5.6 (StatementData), `fixtures/permissions/policy-language.json`.
package struct Condition: Sendable, Equatable {
    package var operators: [String: [String: [String]]]
    package init(_ operators: [String: [String: [String]]] = [:]) { self.operators = operators }

    private static let sourceAddress = "SourceIp"
    private static let operators = ["IpAddress", "NotIpAddress", "StringLike"]

    /// Whether all operators hold; nil if one of them cannot be told.
    func holds(for caller: Caller) -> Bool? {
        var result = true
        for (name, fields) in operators {
            guard let holds = Self.holds(name, fields, caller) else { return nil }
            result = result && holds
        }
        return result
    }

    /// What cannot be told of it, whoever asks; nil if all can.
    var fault: String? {
        for (name, fields) in operators {
            guard Self.operators.contains(name) else {
                return "condition '\(name.prefix(80))' is not known: \(Self.operators.joined(separator: ", ")) are"
            }
            guard name.hasSuffix("IpAddress") else { continue }
            for (field, values) in fields {
                guard field == Self.sourceAddress else {
                    return "condition \(name) is about '\(field.prefix(80))': \(Self.sourceAddress) is known"
                }
                if let value = values.first(where: { IPNetwork($0) == nil }) {
                    return "condition \(name): '\(value.prefix(80))' is no address and no network"
                }
            }
        }
        return nil
    }

    private static func holds(_ name: String, _ fields: [String: [String]], _ caller: Caller) -> Bool? {
        var result = true
        for (field, values) in fields {
            switch name {
            case "IpAddress", "NotIpAddress":
                // A request has no other address than that one: what is asked of another does not hold.
                guard field == sourceAddress else {
                    result = false
                    continue
                }
                let networks = values.map { IPNetwork($0) }
                guard !networks.contains(where: { $0 == nil }), let address = caller.address else { return nil }
                let isInside = networks.contains { $0!.contains(address) }
                result = result && (isInside == (name == "IpAddress"))
            // Requests here have none of the fields that it is asked of.
            case "StringLike": result = false
            default: return nil
            }
        }
        // An operator that is not known is so with nothing to hold too.
        return operators.contains(name) ? result : nil
    }
}

/// One statement of a policy.
package struct Statement: Sendable, Equatable {
    package var effect: String
    package var actions: [String]
    /// An ARN, `*`, or a JSON list of these.
    package var resource: String
    package var condition: Condition
    package init(effect: String, actions: [String], resource: String, condition: Condition = Condition()) {
        self.effect = effect
        self.actions = actions
        self.resource = resource
        self.condition = condition
    }

    /// `*` is any run of characters, `?` one; case counts.
    static func matches(_ pattern: some Sequence<UInt8>, _ text: some Sequence<UInt8>) -> Bool {
        matches(Array(pattern), Array(text))
    }

    fileprivate static func matches(_ pattern: [UInt8], _ text: [UInt8]) -> Bool {
        var p = 0
        var t = 0
        var star = -1
        var mark = 0
        while t < text.count {
            if p < pattern.count, pattern[p] == 0x2a {
                star = p
                mark = t
                p += 1
            } else if p < pattern.count, pattern[p] == 0x3f || pattern[p] == text[t] {
                p += 1
                t += 1
            } else if star >= 0 {
                p = star + 1
                mark += 1
                t = mark
            } else {
                return false
            }
        }
        while p < pattern.count, pattern[p] == 0x2a { p += 1 }
        return p == pattern.count
    }

    /// What a statement says of a permission.
    package enum Verdict { case nothing, allows, denies }

    /// What the statement says of this permission, asked for by `caller`.
    package func verdict(on permission: Permission, for caller: Caller) -> Verdict {
        PreparedStatement(self, for: caller.user).verdict(
            on: PreparedPermission(permission, for: caller.user), for: caller)
    }

    /// Whether it may allow `action` on anything that begins with `resource`, whoever asks: what can be said before the
    /// rest is known.
    func mayAllow(_ action: String, below resource: String, user: String) -> Bool {
        guard effect == "allow", actions.contains(where: { Self.matches($0.utf8, action.utf8) }), let resources else {
            return false
        }
        return resources.contains { pattern in
            if pattern == "*" { return true }
            let own = Array(Self.named(pattern, user).utf8)
            let asked = Array(resource.utf8)
            // Up to the first wildcard the two must agree, as far as both go; without one it is all that must begin so.
            let plain = own.prefix { $0 != 0x2a && $0 != 0x3f }
            let length = plain.count == own.count ? asked.count : min(plain.count, asked.count)
            return plain.prefix(length).elementsEqual(asked.prefix(length))
        }
    }

    /// Whether it says something against `action`, on whatever.
    func mayDeny(_ action: String) -> Bool {
        effect != "allow" && actions.contains { Self.matches($0.utf8, action.utf8) }
    }

    /// Whether it allows `action` on everything that begins with `resource`, whoever asks and when.
    func allowsAll(_ action: String, below resource: String, user: String) -> Bool {
        guard effect == "allow", condition == Condition(),
            actions.contains(where: { Self.matches($0.utf8, action.utf8) }), let resources
        else { return false }
        return resources.contains { $0.utf8.last == 0x2a && Self.covers($0, resource, user: user) }
    }

    /// Whether each resource is `*` or an ARN of ours.
    var areResourcesValid: Bool {
        guard let resources, !resources.isEmpty else { return false }
        return resources.allSatisfy { resource in
            let parts = resource.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false)
            return resource == "*" || parts.count == 6 && parts[0] == "arn" && parts[1] == "lakefs" && !parts[5].isEmpty
        }
    }

    /// The resources by themselves; nil if a list is no list of texts.
    private var resources: [String]? {
        guard resource.utf8.first == 0x5b else { return [resource] }
        return try? JSONDecoder().decode([String].self, from: Data(resource.utf8))
    }

    private static func named(_ pattern: String, _ user: String) -> String {
        pattern.split(separator: "${user}", omittingEmptySubsequences: false).joined(separator: literal(user))
    }

    /// A text whose stars and question marks are no wildcards in a pattern: a user's name may have some, if it is an old
    /// one.
    private static func literal(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 == 0x2a || $0 == 0x3f }) else { return text }
        return String(decoding: text.utf8.map { $0 == 0x2a ? 1 : $0 == 0x3f ? 2 : $0 }, as: UTF8.self)
    }

    /// Whether a pattern covers a resource; `${user}` is the caller's name.
    private static func covers(_ pattern: String, _ resource: String, user: String) -> Bool {
        ResourcePattern(pattern, for: user).covers(PreparedPermission(Permission("", resource), for: user))
    }

    /// The resources as patterns; nil if a list is no list of texts.
    fileprivate func patterns(for user: String) -> [ResourcePattern]? {
        resources?.map { ResourcePattern($0, for: user) }
    }

    /// The last part of a pattern, with the caller's name in it.
    fileprivate static func last(_ part: Substring, for user: String) -> [UInt8] {
        Array(named(String(part), user).utf8)
    }

    /// The last part of a resource, as such patterns take it.
    fileprivate static func asked(_ part: Substring, by user: String) -> [UInt8] {
        let isPlain = !user.utf8.contains { $0 == 0x2a || $0 == 0x3f }
        return Array((isPlain ? String(part) : literal(String(part))).utf8)
    }
}

/// Which resources a pattern covers: the parts before the last colon must be equal, wildcards count in the last one.
private enum ResourcePattern: Sendable {
    case all, none
    case some(head: [UInt8], last: [UInt8])

    init(_ pattern: String, for user: String) {
        guard pattern != "*" else {
            self = .all
            return
        }
        let parts = pattern.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false)
        guard parts.count == 6 else {
            self = .none
            return
        }
        self = .some(
            head: Array(parts[..<5].joined(separator: ":").utf8), last: Statement.last(parts[5], for: user))
    }

    func covers(_ permission: PreparedPermission) -> Bool {
        switch self {
        case .all: true
        case .none: false
        case .some(let head, let last):
            permission.isARN && head == permission.head && Statement.matches(last, permission.last)
        }
    }
}

/// A permission that is held against many statements: its parts, taken apart once.
struct PreparedPermission: Sendable {
    fileprivate let action: [UInt8]
    fileprivate let isARN: Bool
    fileprivate let head: [UInt8], last: [UInt8]

    init(_ permission: Permission, for user: String) {
        action = Array(permission.action.utf8)
        let parts = permission.resource.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false)
        isARN = parts.count == 6
        head = isARN ? Array(parts[..<5].joined(separator: ":").utf8) : []
        last = isARN ? Statement.asked(parts[5], by: user) : []
    }
}

/// A statement as a user's many requests ask it: patterns taken apart once, with the user's name in them.
struct PreparedStatement: Sendable {
    let statement: Statement
    private let actions: [[UInt8]]
    private let resources: [ResourcePattern]?

    init(_ statement: Statement, for user: String) {
        self.statement = statement
        actions = statement.actions.map { Array($0.utf8) }
        resources = statement.patterns(for: user)
    }

    /// What the statement says of this permission. What cannot be told denies: an effect that is neither, a list of
    /// resources that is none, a condition that cannot be evaluated.
    func verdict(on permission: PreparedPermission, for caller: Caller) -> Statement.Verdict {
        guard actions.contains(where: { Statement.matches($0, permission.action) }) else { return .nothing }
        guard let resources else { return .denies }
        guard resources.contains(where: { $0.covers(permission) }) else { return .nothing }
        guard let holds = statement.condition.holds(for: caller) else { return .denies }
        guard holds else { return .nothing }
        return statement.effect == "allow" ? .allows : .denies
    }
}

/// A named list of statements.
package struct Policy: Sendable, Equatable {
    package var name: String
    package var creationDate: Timestamp
    package var statements: [Statement]
    package init(name: String, creationDate: Timestamp = .now(), statements: [Statement]) {
        self.name = name
        self.creationDate = creationDate
        self.statements = statements
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(name: "", creationDate: Timestamp(seconds: 0), statements: [])
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: creationDate = try field.time()
            case 2: name = field.string
            case 3: statements.append(try Statement(decoding: field.array))
            default: break
            }
        }
    }

    package var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.time(1, creationDate)
        writer.string(2, name)
        for statement in statements { writer.message(3) { statement.encode(to: &$0) } }
        writer.message(4) { _ in }  // lakeFS always sets the ACL message.
        return writer.bytes
    }
}

extension Statement {
    fileprivate init(decoding bytes: [UInt8]) throws {
        self.init(effect: "", actions: [], resource: "")
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: effect = field.string
            case 2: actions.append(field.string)
            case 3: resource = field.string
            case 4:
                let (name, fields) = try Self.entry(field.array) { try Self.entries($0) { try Self.values($0) } }
                condition.operators[name] = fields
            default: break
            }
        }
    }

    /// One entry of a map: its key, and what its value is read as.
    private static func entry<Value>(_ bytes: [UInt8], _ read: ([UInt8]) throws -> Value) throws -> (
        key: String, value: Value
    ) {
        var key = ""
        var value: [UInt8] = []
        try readProtobuf(bytes) { field in
            if field.number == 1 { key = field.string } else if field.number == 2 { value = field.array }
        }
        return (key, try read(value))
    }

    private static func entries<Value>(_ bytes: [UInt8], _ read: ([UInt8]) throws -> Value) throws -> [String: Value] {
        var result: [String: Value] = [:]
        try readProtobuf(bytes) { field in
            guard field.number == 1 else { return }
            let (key, value) = try entry(field.array, read)
            result[key] = value
        }
        return result
    }

    private static func values(_ bytes: [UInt8]) throws -> [String] {
        var result: [String] = []
        try readProtobuf(bytes) { if $0.number == 1 { result.append($0.string) } }
        return result
    }

    fileprivate func encode(to writer: inout ProtobufWriter) {
        writer.string(1, effect)
        writer.strings(2, actions)
        writer.string(3, resource)
        for (name, fields) in condition.operators.sorted(by: { $0.key < $1.key }) {
            writer.message(4) { entry in
                entry.string(1, name)
                entry.message(2) { map in
                    for (field, values) in fields.sorted(by: { $0.key < $1.key }) {
                        map.message(1) { entry in
                            entry.string(1, field)
                            entry.message(2) { $0.strings(1, values) }
                        }
                    }
                }
            }
        }
    }
}
