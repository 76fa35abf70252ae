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
    package func protectionRules(_ repository: Repository) throws -> (rules: [ProtectionRule], checksum: String) {
        guard let bytes = try store.value(for: Self.protectionKey, in: repository.partition), !bytes.isEmpty else { return ([], "") }
        var rules: [ProtectionRule] = []
        try readProtobuf(bytes) { field in
            guard field.number == 1 else { return }
            let pair = try field.pair()
            var actions: [ProtectionRule.Action] = []
            try readProtobuf(pair.value) { value in
                if value.bytes.isEmpty, let action = ProtectionRule.Action(rawValue: value.integer) { actions.append(action) }
                var position = value.bytes.startIndex
                while let raw = value.bytes.varint(at: &position) { if let action = ProtectionRule.Action(rawValue: raw) { actions.append(action) } }
            }
            rules.append(ProtectionRule(pattern: String(decoding: pair.key, as: UTF8.self), blocked: actions))
        }
        return (rules, Hex.text(Hash.digest(.sha256, bytes)))
    }

    /// - Parameter checksum: if given, the rules must still be those it stands for.
    package func setProtectionRules(_ rules: [ProtectionRule], in repository: Repository, ifChecksum checksum: String?) throws {
        for rule in rules {
            guard Glob(rule.pattern) != nil else { throw LakeError(.invalidValue, "branch pattern '\(rule.pattern)' is not a valid glob") }
        }
        var writer = ProtobufWriter()
        for rule in rules {
            writer.message(1) { entry in
                entry.always(1, Array(rule.pattern.utf8))
                var packed: [UInt8] = []
                for action in rule.blocked { packed.append(varint: action.rawValue) }
                var value = ProtobufWriter()
                value.bytes(1, packed)
                entry.always(2, value.bytes)
            }
        }
        let old = try store.value(for: Self.protectionKey, in: repository.partition)
        if let checksum {
            let current = old.map { $0.isEmpty ? "" : Hex.text(Hash.digest(.sha256, $0)) } ?? ""
            guard checksum == current else { throw LakeError(.preconditionFailed, "the rules were changed by someone else: read them again") }
        }
        guard try store.trySet(writer.bytes, for: Self.protectionKey, in: repository.partition, if: checksum == nil ? nil : old.map { .matches($0) } ?? .absent) else {
            throw LakeError(.preconditionFailed, "the rules were changed by someone else: read them again")
        }
    }

    func checkProtection(of branch: String, blocks action: ProtectionRule.Action, in repository: Repository) throws {
        for rule in try protectionRules(repository).rules where rule.blocked.contains(action) && Glob(rule.pattern)?.matches(branch) == true {
            throw LakeError(.protectedBranch, "branch \(branch) is protected by the rule '\(rule.pattern)': cannot write to protected branch")
        }
    }
}

/// A glob over names: `*` crosses everything.
package struct Glob: Sendable {
    private indirect enum Part { case literal(Character), any, run, set([ClosedRange<Character>], isNegated: Bool), alternatives([[Part]]) }
    private let parts: [Part]

    /// Nil if the pattern is malformed.
    package init?(_ pattern: String) {
        var rest = Array(pattern)[...]
        guard !pattern.isEmpty, let parts = Self.parse(&rest, isNested: false), rest.isEmpty else { return nil }
        self.parts = parts
    }

    private static func parse(_ rest: inout ArraySlice<Character>, isNested: Bool) -> [Part]? {
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
                var isNegated = false, ranges: [ClosedRange<Character>] = []
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
                    guard let choice = parse(&rest, isNested: true), let end = rest.popFirst() else { return nil }
                    choices.append(choice)
                    if end == "}" { break }
                }
                parts.append(.alternatives(choices))
            default: parts.append(.literal(character))
            }
        }
        return isNested ? nil : parts
    }

    package func matches(_ text: String) -> Bool { Self.match(parts[...], Array(text)[...]) }

    private static func match(_ parts: ArraySlice<Part>, _ text: ArraySlice<Character>) -> Bool {
        guard let part = parts.first else { return text.isEmpty }
        let rest = parts.dropFirst()
        switch part {
        case .run:
            var tail = text
            while true {
                if match(rest, tail) { return true }
                guard tail.popFirst() != nil else { return false }
            }
        case .alternatives(let choices): return choices.contains { match(($0 + rest)[...], text) }
        case .literal(let character): return text.first == character && match(rest, text.dropFirst())
        case .any: return !text.isEmpty && match(rest, text.dropFirst())
        case .set(let ranges, let isNegated):
            guard let character = text.first, ranges.contains(where: { $0.contains(character) }) != isNegated else { return false }
            return match(rest, text.dropFirst())
        }
    }
}
