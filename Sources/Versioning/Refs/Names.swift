package import Foundations

/// What names may be. Source: `lakefs-formats.md` 5.1, `lakefs-behaviour.md` 3.1, `better-than-lakefs.md`.
package enum Names {
    package static func checkTag(_ name: String) throws {
        let bytes = Array(name.utf8)
        let forbidden = Set("^:?*[\\/".utf8)
        let isValid =
            (1...1000).contains(bytes.count) && name != "@" && bytes[0] != 0x7e && !name.hasSuffix(".")
            && !name.hasSuffix(".lock")
            && !name.contains("..") && !name.contains("@{")
            && bytes.allSatisfy { $0 > 0x20 && $0 != 0x7f && !forbidden.contains($0) }
        guard isValid else {
            throw LakeError(
                .invalidValue,
                "tag name '\(name.prefix(80))' is not allowed: no spaces, none of ^ : ? * [ \\ /, no '..' or '@{', no ~ in front, not ending in '.' or '.lock'"
            )
        }
    }

    /// 1 to 1,024 bytes.
    package static func checkPath(_ path: Key) throws {
        guard !path.isEmpty else { throw LakeError(.invalidValue, "path is empty: name an object") }
        guard path.count <= 1024 else {
            throw LakeError(.invalidValue, "path of \(path.count) bytes is too long: 1,024 at most")
        }
    }

    package static func isHex(_ text: String, _ lengths: ClosedRange<Int>) -> Bool {
        lengths.contains(text.utf8.count) && text.utf8.allSatisfy { ($0 >= 48 && $0 <= 57) || ($0 >= 97 && $0 <= 102) }
    }
}

/// A ref as it is written: a base, and steps from it. Source: `lakefs-formats.md` 7.9.
struct RefExpression {
    enum Step {
        /// `~n`: the first parent, n times.
        case ancestor(Int)
        /// `^n`: the n-th parent; 0 is the commit itself.
        case parent(Int)
        /// `@`: committed data only.
        case committed
        /// `$`: with uncommitted changes.
        case staged
    }

    let base: String
    var steps: [Step] = []

    init(_ text: String) throws {
        let bytes = Array(text.utf8)
        let marks = Set("~^@$".utf8)
        guard !bytes.isEmpty, bytes.allSatisfy({ $0 > 0x20 }) else { throw Self.invalid(text) }
        var position = bytes.firstIndex { marks.contains($0) } ?? bytes.count
        base = String(decoding: bytes[..<position], as: UTF8.self)
        guard !base.isEmpty else { throw Self.invalid(text) }
        while position < bytes.count {
            let mark = bytes[position]
            let end = bytes[(position + 1)...].firstIndex { marks.contains($0) } ?? bytes.count
            let digits = bytes[position + 1..<end]
            guard digits.allSatisfy({ $0 >= 48 && $0 <= 57 }), digits.count < 10 else { throw Self.invalid(text) }
            let number = digits.isEmpty ? nil : Int(String(decoding: digits, as: UTF8.self))
            switch mark {
            case 0x7e: steps.append(.ancestor(number ?? 1))
            case 0x5e: steps.append(.parent(number ?? 1))
            default:
                // These stand alone.
                guard number == nil, steps.isEmpty, end == bytes.count else { throw Self.invalid(text) }
                steps.append(mark == 0x40 ? .committed : .staged)
            }
            position = end
        }
    }

    static func invalid(_ text: String) -> LakeError {
        LakeError(
            .invalidValue,
            "ref '\(text)' is not valid: name a branch, tag or commit, with ~n, ^n or one @ or $ behind it")
    }
}
