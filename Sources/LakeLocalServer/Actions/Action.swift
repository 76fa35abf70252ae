import Foundations
package import LakeAPI
package import Versioning

/// A file of actions: which hooks run at which events. Source: lakeFS documentation, "Actions", and
/// `lakefs-behaviour.md` section 5.
package struct Action: Sendable {
    package let name: String, description: String
    /// By event, patterns of the branches that it is for; none for all.
    package let events: [HookEvent.Kind: [BranchPattern]]
    package let hooks: [Hook]

    /// Bytes that an action file may have.
    package static let largestFile = 1 << 20

    package struct Hook: Sendable {
        package enum Kind: String, Sendable, CaseIterable { case webhook, airflow, lua, check }
        package let id: String, kind: Kind, description: String
        /// An expression over `success()` and `failure()`; empty for the first.
        package let condition: String
        package let properties: [String: JSONValue]
    }

    /// What is wrong with an action file.
    struct Fault: Error, CustomStringConvertible {
        /// In lakeFS's words.
        let reason: String
        let line: Int?
        /// What would be right; empty where that says itself.
        let hint: String

        init(_ reason: String, at node: YAMLNode?, _ hint: String = "") {
            self.reason = reason
            line = node?.line
            self.hint = hint
        }

        var description: String {
            let place = [line.map { "line \($0)" }, hint.isEmpty ? nil : hint].compactMap(\.self)
            return reason + (place.isEmpty ? "" : " (\(place.joined(separator: ": ")))")
        }
    }

    /// - Throws: `LakeError` that says what is wrong in which line, and what is allowed.
    package init(reading text: [UInt8]) throws {
        do { try self.init(text) } catch let fault as Fault {
            throw LakeError(.invalidValue, fault.description)
        }
    }

    /// Holds a file against everything that can be known of it before it runs: properties and conditions too.
    /// - Throws: `LakeError` as `init` does.
    package static func validate(_ text: [UInt8]) throws {
        for hook in try Action(reading: text).hooks {
            do {
                _ = try hook.made(.unknown)
                _ = try HookCondition.holds(hook.condition, hasFailed: false)
            } catch { throw LakeError(.invalidValue, "hook '\(hook.id)': \(error)") }
        }
    }

    private init(_ text: [UInt8]) throws {
        guard text.count <= Self.largestFile else {
            throw Fault("the file has \(text.count) bytes: \(Self.largestFile) at most: invalid action", at: nil)
        }
        let root: YAMLNode?
        do { root = try YAMLNode.read(text) } catch { throw Fault("yaml: \(LakeError(error).message)", at: nil) }
        if let root, !root.isNull {
            guard case .map = root.content else {
                throw Fault("the file is no map: invalid action", at: root, "name:, on: and hooks: stand at its top")
            }
        }
        let nameHint = "a name has two characters or more: a letter or digit, then letters, digits, -, _, . and spaces"
        guard let named = root?["name"], !named.isNull, let name = named.text, !name.isEmpty else {
            throw Fault("'name' is required: invalid action", at: root, nameHint)
        }
        guard Self.isName(name) else { throw Fault("'name' is invalid: invalid action", at: named, nameHint) }
        self.name = name
        description = root?["description"]?.text ?? ""
        guard let on = root?["on"], !on.isNull else {
            throw Fault("'on' is required: invalid action", at: root, Self.eventsHint)
        }
        events = try Self.events(on)
        hooks = try Self.hooks(root?["hooks"])
    }

    private static let eventsHint =
        "events are \(HookEvent.Kind.allCases.map(\.rawValue).joined(separator: ", "))"

    private static func events(_ on: YAMLNode) throws -> [HookEvent.Kind: [BranchPattern]] {
        guard case .map(let pairs) = on.content else {
            throw Fault("'on' is no map of events: invalid action", at: on, eventsHint)
        }
        var result: [HookEvent.Kind: [BranchPattern]] = [:]
        for (key, filter) in pairs {
            let text = key.text ?? ""
            guard let kind = HookEvent.Kind(rawValue: text) else {
                throw Fault("event '\(text)' is not supported: invalid action", at: key, eventsHint)
            }
            guard !filter.isNull else {
                result[kind] = []
                continue
            }
            guard case .map = filter.content else {
                throw Fault(
                    "event '\(text)' has something else than 'branches': invalid action", at: filter,
                    "branches: [main, 'release/*'] is allowed")
            }
            guard let branches = filter["branches"], !branches.isNull else {
                result[kind] = []
                continue
            }
            guard case .list(let items) = branches.content else {
                throw Fault("'branches' is no list: invalid action", at: branches, "branches: [main, 'release/*']")
            }
            guard !kind.isOfTag else {
                throw Fault(
                    "'branches' is not supported in tag event types. invalid event parameter", at: branches)
            }
            result[kind] = try items.map { item in
                guard let pattern = item.text.flatMap({ BranchPattern($0) }) else {
                    throw Fault("syntax error in pattern", at: item, "*, ? and [a-z] stand for what a branch is called")
                }
                return pattern
            }
        }
        return result
    }

    private static func hooks(_ node: YAMLNode?) throws -> [Hook] {
        guard let node, !node.isNull else { return [] }
        guard case .list(let items) = node.content else {
            throw Fault("'hooks' is no list: invalid action", at: node, "each begins with - id:")
        }
        var ids: Set<String> = []
        return try items.enumerated().map { index, item in
            guard let idNode = item["id"], let id = idNode.text, isID(id) else {
                throw Fault(
                    "hook[\(index)] missing ID: invalid action", at: item["id"] ?? item,
                    "an id has two characters or more: a letter or _, then letters, digits, - and _")
            }
            guard ids.insert(id).inserted else {
                throw Fault("hook[\(index)] duplicate ID '\(id)': invalid action", at: idNode)
            }
            let type = item["type"]?.text ?? ""
            guard let kind = Hook.Kind(rawValue: type) else {
                throw Fault(
                    "hook[\(index)] type '\(type)' unknown: invalid action", at: item["type"] ?? item,
                    "types are \(Hook.Kind.allCases.map(\.rawValue).joined(separator: ", "))")
            }
            var properties: [String: JSONValue] = [:]
            if let given = item["properties"], !given.isNull {
                guard case .object(let named) = given.value else {
                    throw Fault("hook[\(index)] 'properties' is no map: invalid action", at: given)
                }
                properties = named
            }
            for wanted in kind.required where properties[wanted] == nil || properties[wanted] == .null {
                throw Fault(
                    "hook[\(index)] type '\(type)': '\(wanted)' must be supplied in properties: invalid action",
                    at: item)
            }
            if kind == .lua, !["script", "script_path"].contains(where: { properties[$0]?.text?.isEmpty == false }) {
                throw Fault(
                    "hook[\(index)] type 'lua': 'script' or 'script_path' must be supplied in properties: invalid action",
                    at: item)
            }
            return Hook(
                id: id, kind: kind, description: item["description"]?.text ?? "", condition: item["if"]?.text ?? "",
                properties: properties)
        }
    }

    private static func isWord(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte) || byte == 0x5f
    }

    private static func isName(_ text: String) -> Bool {
        guard text.utf8.count >= 2, let first = text.utf8.first, isWord(first) else { return false }
        return text.utf8.allSatisfy { isWord($0) || $0 >= 0x80 || $0 == 0x2d || $0 == 0x2e || $0 == 0x20 }
    }

    private static func isID(_ text: String) -> Bool {
        guard (2...256).contains(text.utf8.count), let first = text.utf8.first, isWord(first),
            !(48...57).contains(first)
        else { return false }
        return text.utf8.allSatisfy { isWord($0) || $0 == 0x2d }
    }

    /// Whether its hooks run at an event.
    func isFor(_ event: HookEvent) -> Bool {
        guard let patterns = events[event.kind] else { return false }
        return patterns.isEmpty || patterns.contains { $0.matches(event.branch.text) }
    }
}

extension Action.Hook.Kind {
    /// Properties that it cannot do without.
    fileprivate var required: [String] {
        switch self {
        case .webhook: ["url"]
        case .airflow: ["url", "dag_id", "username", "password"]
        case .lua, .check: []
        }
    }
}

/// A pattern of branches' names: `*` for any run of characters without a slash, `?` for one, `[a-z]` for one of a set,
/// `\` before a character that stands for itself. Source: Go's `path.Match`, which lakeFS goes by.
package struct BranchPattern: Sendable {
    private enum Part: Sendable {
        case literal(UInt8)
        case any, run
        case set([ClosedRange<UInt8>], isNegated: Bool)
    }
    private let parts: [Part]

    /// Nil if the pattern is malformed.
    package init?(_ pattern: String) {
        var parts: [Part] = []
        var rest = Array(pattern.utf8)[...]
        func one() -> UInt8? {
            guard let byte = rest.popFirst() else { return nil }
            return byte == UInt8(ascii: "\\") ? rest.popFirst() : byte
        }
        while let byte = rest.first {
            switch byte {
            case UInt8(ascii: "*"):
                rest.removeFirst()
                parts.append(.run)
            case UInt8(ascii: "?"):
                rest.removeFirst()
                parts.append(.any)
            case UInt8(ascii: "["):
                rest.removeFirst()
                let isNegated = rest.first == UInt8(ascii: "^")
                if isNegated { rest.removeFirst() }
                var ranges: [ClosedRange<UInt8>] = []
                while true {
                    if rest.first == UInt8(ascii: "]"), !ranges.isEmpty { break }
                    guard rest.first != UInt8(ascii: "]"), rest.first != UInt8(ascii: "-"), let low = one() else {
                        return nil
                    }
                    var high = low
                    if rest.first == UInt8(ascii: "-") {
                        rest.removeFirst()
                        guard rest.first != UInt8(ascii: "]"), let end = one(), end >= low else { return nil }
                        high = end
                    }
                    ranges.append(low...high)
                }
                rest.removeFirst()
                parts.append(.set(ranges, isNegated: isNegated))
            default:
                guard let literal = one() else { return nil }
                parts.append(.literal(literal))
            }
        }
        self.parts = parts
    }

    package func matches(_ name: String) -> Bool {
        // Where a match of the parts so far may end: each place is gone on from once.
        let text = Array(name.utf8)
        let slash = UInt8(ascii: "/")
        var places = [Bool](repeating: false, count: text.count + 1)
        places[0] = true
        for part in parts {
            var next = [Bool](repeating: false, count: text.count + 1)
            for place in places.indices where places[place] {
                switch part {
                case .run:
                    var end = place
                    next[end] = true
                    while end < text.count, text[end] != slash {
                        end += 1
                        if next[end] { break }
                        next[end] = true
                    }
                case .any: if place < text.count, text[place] != slash { next[place + 1] = true }
                case .literal(let byte): if place < text.count, text[place] == byte { next[place + 1] = true }
                case .set(let ranges, let isNegated):
                    guard place < text.count, text[place] != slash else { continue }
                    if ranges.contains(where: { $0.contains(text[place]) }) != isNegated { next[place + 1] = true }
                }
            }
            places = next
        }
        return places[text.count]
    }
}
