import CPattern
import Foundations

/// A regular expression, by PCRE2. It understands what Go's regexp does (RE2's syntax, `\C` aside) and more; over
/// some texts it would take long, and gives up.
@safe final class Pattern {
    private let code: OpaquePointer
    private let data: OpaquePointer

    private let steps: UInt32

    /// - Parameter steps: tries that a match may take: a million take some milliseconds.
    /// - Throws: `HookFailure` in Go's words where it has some.
    init(_ text: [UInt8], steps: UInt32 = 10_000_000) throws {
        self.steps = steps
        var error: Int32 = 0
        var offset = 0
        guard let code = unsafe lake_pattern_compile(text, text.count, &error, &offset) else {
            throw HookFailure("error parsing regexp: \(Self.reason(error, text, offset))")
        }
        guard let data = unsafe lake_pattern_data(code) else {
            unsafe lake_pattern_free(code)
            throw HookFailure("no memory for a regular expression")
        }
        unsafe self.code = code
        unsafe self.data = data
    }

    deinit {
        unsafe lake_pattern_data_free(data)
        unsafe lake_pattern_free(code)
    }

    /// Source: pcre2api(3), "Error codes"; Go's package regexp/syntax.
    private static func reason(_ error: Int32, _ text: [UInt8], _ offset: Int) -> String {
        let whole = String(decoding: text, as: UTF8.self)
        switch error {
        case 114: return "missing closing ): `\(whole)`"
        case 106: return "missing closing ]: `\(whole)`"
        case 122: return "unexpected ): `\(whole)`"
        case 109:
            return
                "missing argument to repetition operator: `\(String(decoding: text.prefix(max(offset, 1)).suffix(1), as: UTF8.self))`"
        case 101: return "trailing backslash at end of expression: ``"
        case 108: return "invalid character class range: `\(whole)`"
        default:
            var buffer = [UInt8](repeating: 0, count: 256)
            let count = unsafe lake_pattern_message(error, &buffer, buffer.count)
            return "\(String(decoding: buffer.prefix(Int(max(0, count))), as: UTF8.self)) at byte \(offset): `\(whole)`"
        }
    }

    /// The first match: all of it, then what its groups matched; nil if there is none.
    func first(in text: [UInt8]) throws -> [[UInt8]]? { try match(text, from: 0)?.groups }

    /// Matches that do not overlap.
    /// - Parameter most: below 0 for all.
    func all(in text: [UInt8], most: Int) throws -> [[[UInt8]]] {
        var result: [[[UInt8]]] = []
        var start = 0
        while start <= text.count, most < 0 || result.count < most,
            let (groups, end, isEmpty) = try match(text, from: start)
        {
            result.append(groups)
            start = end
            guard isEmpty else { continue }
            start += 1
            while start < text.count, text[start] & 0xc0 == 0x80 { start += 1 }
        }
        return result
    }

    private func match(_ text: [UInt8], from start: Int) throws -> (groups: [[UInt8]], end: Int, isEmpty: Bool)? {
        let count = unsafe lake_pattern_match(code, text, text.count, start, data, steps)
        guard count != PCRE2_ERROR_NOMATCH else { return nil }
        guard count > 0 else { throw HookFailure("the regular expression needs too many steps for this text") }
        let places = unsafe lake_pattern_places(data)!
        let groups = unsafe (0..<Int(lake_pattern_groups(data))).map { group -> [UInt8] in
            let (low, high) = unsafe (places[2 * group], places[2 * group + 1])
            // A group that took no part has the largest number there is.
            guard group < Int(count), low >= 0, low <= high, high <= text.count else { return [] }
            return Array(text[low..<high])
        }
        return unsafe (groups, places[1], places[0] == places[1])
    }
}
