import Foundations

/// Rules that keep writers off branches. Source: `lakefs-formats.md` 7.15, 5.6.
package struct ProtectionRule: Sendable, Equatable {
    package enum Action: UInt64, Sendable { case stagingWrite, commit }
    /// A glob: `*` any run of characters, `?` one, `[…]` one of a set, `{a,b}` one of several.
    package var pattern: String
    package var blocked: [Action]
    package init(pattern: String, blocked: [Action] = [.stagingWrite, .commit]) {
        self.pattern = pattern
        self.blocked = blocked
    }
}

extension Catalog {
    private static let protectionKey = Key("settings/protected_branches")

    /// The rules in the order they were set, and the checksum that a conditional change names.
    private func protectionRules(_ repository: Repository) throws -> (rules: [ProtectionRule], checksum: String) {
        guard let bytes = try store.value(for: Self.protectionKey, in: repository.partition), !bytes.isEmpty else {
            return ([], "")
        }
        return (try protectionRules(decoding: bytes), Hex.text(Hash.digest(.sha256, bytes)))
    }

    private func protectionRules(decoding bytes: [UInt8]) throws -> [ProtectionRule] {
        var rules: [ProtectionRule] = []
        try readProtobuf(bytes) { field in
            guard field.number == 1 else { return }
            let pair = try field.pair()
            var actions: [ProtectionRule.Action] = []
            try readProtobuf(pair.value) { value in
                if value.bytes.isEmpty, let action = ProtectionRule.Action(rawValue: value.integer) {
                    actions.append(action)
                }
                var position = value.bytes.startIndex
                while let raw = value.bytes.varint(at: &position) {
                    if let action = ProtectionRule.Action(rawValue: raw) { actions.append(action) }
                }
            }
            rules.append(ProtectionRule(pattern: String(decoding: pair.key, as: UTF8.self), blocked: actions))
        }
        return rules
    }

    package func protectionRules(of repositoryID: RepositoryID) throws -> (rules: [ProtectionRule], checksum: String) {
        try protectionRules(repository(repositoryID))
    }

    /// - Parameter checksum: if given, the rules must still be those it stands for; nobody can name the absence of
    ///   rules.
    package func setProtectionRules(
        _ rules: [ProtectionRule], in repositoryID: RepositoryID, ifChecksum checksum: String?
    )
        throws
    {
        let repository = try writableRepository(repositoryID, force: false)
        let old = try store.value(for: Self.protectionKey, in: repository.partition)
        let changed = LakeError(.preconditionFailed, "the rules were changed by someone else: read them again")
        if let checksum {
            guard let old, !old.isEmpty, checksum == Hex.text(Hash.digest(.sha256, old)) else { throw changed }
        }
        guard try set(rules, in: repository, if: checksum == nil ? nil : old.map { .matches($0) }) else {
            throw changed
        }
    }

    /// Changes the rules from what they are, whoever else does at the same time.
    package func updateProtectionRules(of repositoryID: RepositoryID, _ change: (inout [ProtectionRule]) throws -> Void)
        throws
    {
        let repository = try writableRepository(repositoryID, force: false)
        for attempt in 0..<Self.tries {
            let old = try store.value(for: Self.protectionKey, in: repository.partition)
            var rules = try protectionRules(decoding: old ?? [])
            try change(&rules)
            if try set(rules, in: repository, if: old.map { .matches($0) } ?? .absent) { return }
            pauseBeforeRetry(attempt)
        }
        throw LakeError(.tooManyTries, "the protection rules of \(repositoryID) keep changing: try again")
    }

    /// False if the condition does not hold. Of two rules with one pattern the last one stays.
    private func set(_ rules: [ProtectionRule], in repository: Repository, if condition: Precondition?) throws -> Bool {
        var writer = ProtobufWriter()
        for (index, rule) in rules.enumerated() {
            guard Glob(rule.pattern) != nil else {
                throw LakeError(.invalidValue, "branch pattern '\(rule.pattern)' is not a valid glob")
            }
            guard !rules[(index + 1)...].contains(where: { $0.pattern == rule.pattern }) else { continue }
            writer.message(1) { entry in
                entry.always(1, Array(rule.pattern.utf8))
                var packed: [UInt8] = []
                for action in rule.blocked { packed.append(varint: action.rawValue) }
                var value = ProtobufWriter()
                value.bytes(1, packed)
                entry.always(2, value.bytes)
            }
        }
        return try store.trySet(writer.bytes, for: Self.protectionKey, in: repository.partition, if: condition)
    }

    func checkProtection(of branch: BranchName, blocks action: ProtectionRule.Action, in repository: Repository) throws
    {
        for rule in try protectionRules(repository).rules
        where rule.blocked.contains(action) && Glob(rule.pattern)?.matches(branch.text) == true {
            throw LakeError(
                .protectedBranch,
                "branch \(branch) is protected by the rule '\(rule.pattern)': cannot write to protected branch")
        }
    }
}

/// A glob over names: `*` crosses everything.
package struct Glob: Sendable {
    private indirect enum Part {
        case literal(Character)
        case any, run
        case set([ClosedRange<Character>], isNegated: Bool)
        case alternatives([[Part]])
    }
    private let parts: [Part]

    private static let longest = 256, deepest = 8

    /// Nil if the pattern is malformed, longer than 256 characters, or has braces in braces more than eight deep.
    package init?(_ pattern: String) {
        var rest = Array(pattern.prefix(Self.longest + 1))[...]
        guard !pattern.isEmpty, rest.count <= Self.longest, let parts = Self.parse(&rest, depth: 0), rest.isEmpty else {
            return nil
        }
        self.parts = parts
    }

    private static func parse(_ rest: inout ArraySlice<Character>, depth: Int) -> [Part]? {
        guard depth <= deepest else { return nil }
        let isNested = depth > 0
        var parts: [Part] = []
        while let character = rest.first {
            if isNested && (character == "," || character == "}") { return parts }
            rest.removeFirst()
            switch character {
            case "*": parts.append(.run)
            case "?": parts.append(.any)
            case "\\":
                guard let escaped = rest.popFirst() else { return nil }
                parts.append(.literal(escaped))
            case "[":
                var isNegated = false
                var ranges: [ClosedRange<Character>] = []
                if rest.first == "!" {
                    isNegated = true
                    rest.removeFirst()
                }
                while true {
                    guard let low = rest.popFirst() else { return nil }
                    if low == "]" && !ranges.isEmpty { break }
                    if rest.first == "-", rest.count > 1, rest[rest.startIndex + 1] != "]" {
                        rest.removeFirst()
                        guard let high = rest.popFirst(), low <= high else { return nil }
                        ranges.append(low...high)
                    } else {
                        ranges.append(low...low)
                    }
                }
                parts.append(.set(ranges, isNegated: isNegated))
            case "{":
                var choices: [[Part]] = []
                while true {
                    guard let choice = parse(&rest, depth: depth + 1), let end = rest.popFirst() else { return nil }
                    choices.append(choice)
                    if end == "}" { break }
                }
                parts.append(.alternatives(choices))
            default: parts.append(.literal(character))
            }
        }
        return isNested ? nil : parts
    }

    package func matches(_ text: String) -> Bool {
        let text = Array(text)
        return Self.ends(of: parts, in: text, from: [0]).contains(text.count)
    }

    /// Where a match of the parts may end, of all places where it may begin: each place is gone on from once, however
    /// many ways lead to it.
    private static func ends(of parts: [Part], in text: [Character], from starts: Set<Int>) -> Set<Int> {
        var places = starts
        for part in parts {
            func step(_ isWanted: (Character) -> Bool) -> Set<Int> {
                Set(places.filter { $0 < text.count && isWanted(text[$0]) }.map { $0 + 1 })
            }
            switch part {
            case .run: places = places.min().map { Set($0...text.count) } ?? []
            case .alternatives(let choices):
                places = choices.reduce(into: []) { $0.formUnion(ends(of: $1, in: text, from: places)) }
            case .literal(let character): places = step { $0 == character }
            case .any: places = step { _ in true }
            case .set(let ranges, let isNegated):
                places = step { character in ranges.contains { $0.contains(character) } != isNegated }
            }
        }
        return places
    }
}
