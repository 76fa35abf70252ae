/// Something that a policy allows or denies: an action on a resource. Source: `lakefs-behaviour.md` section 4.
package struct Permission: Sendable, Equatable {
    package let action: String
    package let resource: String
    package init(_ action: String, _ resource: String) {
        self.action = action
        self.resource = resource
    }

    // The forms of resources.
    package static func repository(_ action: String, _ id: String) -> Permission { Permission("fs:" + action, "arn:lakefs:fs:::repository/\(id)") }
    package static func object(_ action: String, _ repository: String, _ path: Key) -> Permission { Permission("fs:" + action, "arn:lakefs:fs:::repository/\(repository)/object/\(path)") }
    package static func branch(_ action: String, _ repository: String, _ id: String) -> Permission { Permission("fs:" + action, "arn:lakefs:fs:::repository/\(repository)/branch/\(id)") }
    package static func tag(_ action: String, _ repository: String, _ id: String) -> Permission { Permission("fs:" + action, "arn:lakefs:fs:::repository/\(repository)/tag/\(id)") }
    package static func pulls(_ action: String, _ repository: String) -> Permission { Permission("pr:" + action, "arn:lakefs:fs:::repository/\(repository)") }
    package static func user(_ action: String, _ id: String) -> Permission { Permission("auth:" + action, "arn:lakefs:auth:::user/\(id)") }
    package static func all(_ action: String) -> Permission { Permission(action, "*") }
}

/// One statement of a policy.
package struct Statement: Sendable, Equatable {
    package var effect: String
    package var actions: [String]
    package var resource: String
    package init(effect: String, actions: [String], resource: String) {
        self.effect = effect
        self.actions = actions
        self.resource = resource
    }

    /// `*` is any run of characters, `?` one; case counts.
    static func matches(_ pattern: String, _ text: String) -> Bool {
        let pattern = Array(pattern.utf8), text = Array(text.utf8)
        var p = 0, t = 0, star = -1, mark = 0
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

    /// Whether the statement speaks of this permission; `${user}` is the caller's name.
    func covers(_ permission: Permission, user: String) -> Bool {
        guard actions.contains(where: { Self.matches($0, permission.action) }) else { return false }
        if resource == "*" { return true }
        // The parts before the last colon must be equal; wildcards count in the last one only.
        let own = resource.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false).map(String.init)
        let asked = permission.resource.split(separator: ":", maxSplits: 5, omittingEmptySubsequences: false).map(String.init)
        guard own.count == 6, asked.count == 6, own[..<5] == asked[..<5] else { return false }
        return Self.matches(own[5].split(separator: "${user}", omittingEmptySubsequences: false).joined(separator: user), asked[5])
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
            case 3:
                var statement = Statement(effect: "", actions: [], resource: "")
                try readProtobuf(field.bytes) { inner in
                    switch inner.number {
                    case 1: statement.effect = inner.string
                    case 2: statement.actions.append(inner.string)
                    case 3: statement.resource = inner.string
                    default: break
                    }
                }
                statements.append(statement)
            default: break
            }
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.time(1, creationDate)
        writer.string(2, name)
        for statement in statements {
            writer.message(3) {
                $0.string(1, statement.effect)
                $0.strings(2, statement.actions)
                $0.string(3, statement.resource)
            }
        }
        writer.message(4) { _ in }  // lakeFS always sets the ACL message.
        return writer.bytes
    }
}
