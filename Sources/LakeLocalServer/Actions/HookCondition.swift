import Foundations

/// The `if` of a hook: a small language over what went before it. It has `success()`, `failure()`, `true`, `false`,
/// `!` and `not`, `&&` and `and`, `||` and `or`, `==`, `!=` and parentheses.
struct HookCondition {
    struct Fault: Error, CustomStringConvertible { let description: String }

    private enum Token: Equatable {
        case word(String), number(String), text(String), sign(String), end

        var shown: String {
            switch self {
            case .word(let text): "Identifier(\"\(text)\")"
            case .number(let text): "Number(\"\(text)\")"
            case .text(let text): "String(\"\(text)\")"
            case .sign(let text): ["(", ")"].contains(text) ? "Bracket(\"\(text)\")" : "Operator(\"\(text)\")"
            case .end: "EOF"
            }
        }
    }

    private enum Value: Equatable { case flag(Bool), number(String), text(String) }

    private let source: String
    private var tokens: [(token: Token, column: Int)] = []
    private var position = 0
    private let hasFailed: Bool
    private var unknown: Fault?
    /// Parentheses and negations within each other: each is a call.
    private var depth = 0
    private static let deepest = 64, longest = 4096

    /// What an expression says behind hooks of which one has failed, or none. An empty one asks that none has.
    static func holds(_ source: String, hasFailed: Bool) throws(Fault) -> Bool {
        guard source.contains(where: { !$0.isWhitespace }) else { return !hasFailed }
        var reader = try HookCondition(source, hasFailed: hasFailed)
        let value = try reader.either()
        if reader.peek != .end { throw reader.unexpected() }
        if let unknown = reader.unknown { throw unknown }
        guard case .flag(let flag) = value else {
            throw Fault(description: "hook 'if' expression should evaluate to a boolean")
        }
        return flag
    }

    private init(_ source: String, hasFailed: Bool) throws(Fault) {
        guard source.utf8.count <= Self.longest else {
            throw Fault(description: "hook 'if' expression has \(source.utf8.count) bytes: \(Self.longest) at most")
        }
        self.source = source
        self.hasFailed = hasFailed
        let text = Array(source)
        var index = 0
        while index < text.count {
            let start = index
            let character = text[index]
            index += 1
            func run(_ isPart: (Character) -> Bool) -> String {
                while index < text.count, isPart(text[index]) { index += 1 }
                return String(text[start..<index])
            }
            if character.isWhitespace { continue }
            if character.isLetter || character == "_" {
                let word = run { $0.isLetter || $0.isNumber || $0 == "_" }
                tokens.append((["and", "or", "not"].contains(word) ? .sign(word) : .word(word), start))
            } else if character.isNumber {
                tokens.append((.number(run { $0.isNumber || $0 == "." }), start))
            } else if character == "\"" || character == "'" {
                while index < text.count, text[index] != character { index += 1 }
                guard index < text.count else {
                    throw Self.fault("literal not terminated", source, column: text.count)
                }
                tokens.append((.text(String(text[(start + 1)..<index])), start))
                index += 1
            } else {
                let pair = index < text.count ? String([character, text[index]]) : ""
                if ["&&", "||", "==", "!="].contains(pair) {
                    index += 1
                    tokens.append((.sign(pair), start))
                } else if ["(", ")", "!"].contains(character) {
                    tokens.append((.sign(String(character)), start))
                } else {
                    throw Self.fault(
                        "unrecognized character: U+\(Self.hex(character)) '\(character)'", source, column: start)
                }
            }
        }
        tokens.append((.end, text.count))
    }

    private static func hex(_ character: Character) -> String {
        let digits = String(character.unicodeScalars.first?.value ?? 0, radix: 16, uppercase: true)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }

    private static func fault(_ reason: String, _ source: String, column: Int) -> Fault {
        let line = source.split(separator: "\n", omittingEmptySubsequences: false).first ?? ""
        return Fault(
            description: "\(reason) (1:\(column + 1))\n | \(line)\n | \(String(repeating: ".", count: column))^")
    }

    private var peek: Token { tokens[position].token }

    private func unexpected() -> Fault {
        Self.fault("unexpected token \(peek.shown)", source, column: tokens[position].column)
    }

    private mutating func take(_ signs: String...) -> String? {
        guard case .sign(let sign) = peek, signs.contains(sign) else { return nil }
        position += 1
        return sign
    }

    private func flag(_ value: Value, of sign: String) throws(Fault) -> Bool {
        guard case .flag(let flag) = value else {
            throw Fault(description: "invalid operation: \(sign) (mismatched types): both sides must be true or false")
        }
        return flag
    }

    private mutating func either() throws(Fault) -> Value {
        var left = try both()
        while let sign = take("||", "or") {
            let right = try flag(try both(), of: sign)
            left = .flag(try flag(left, of: sign) || right)
        }
        return left
    }

    private mutating func both() throws(Fault) -> Value {
        var left = try equal()
        while let sign = take("&&", "and") {
            let right = try flag(try equal(), of: sign)
            left = .flag(try flag(left, of: sign) && right)
        }
        return left
    }

    private mutating func equal() throws(Fault) -> Value {
        var left = try negation()
        while let sign = take("==", "!=") { left = .flag((left == (try negation())) == (sign == "==")) }
        return left
    }

    private mutating func negation() throws(Fault) -> Value {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.deepest else {
            throw Fault(description: "hook 'if' expression is nested deeper than \(Self.deepest)")
        }
        guard let sign = take("!", "not") else { return try primary() }
        return .flag(!(try flag(try negation(), of: sign)))
    }

    private mutating func primary() throws(Fault) -> Value {
        if take("(") != nil {
            let value = try either()
            guard take(")") != nil else { throw unexpected() }
            return value
        }
        switch peek {
        case .number(let text):
            position += 1
            return .number(text)
        case .text(let text):
            position += 1
            return .text(text)
        case .word("true"), .word("false"):
            defer { position += 1 }
            return .flag(peek == .word("true"))
        case .word(let name) where name == "success" || name == "failure":
            position += 1
            guard take("(") != nil, take(")") != nil else { throw unexpected() }
            return .flag((name == "failure") == hasFailed)
        case .word(let name):
            // Told if nothing is wrong with how it is written.
            unknown =
                unknown
                ?? Self.fault(
                    "unknown name \(name): success() and failure() are known", source, column: tokens[position].column)
            position += 1
            if take("(") != nil, take(")") == nil { throw unexpected() }
            return .flag(false)
        default: throw unexpected()
        }
    }
}
