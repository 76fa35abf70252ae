import Foundations
import Versioning

/// Text beyond ASCII in headers, as S3 takes and gives it (RFC 2047, "encoded words"; Amazon S3 user guide, "User-defined
/// object metadata").
enum EncodedWord {
    /// A value as a header: what is not printable ASCII, or would be taken for an encoded word, as one.
    static func encode(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f } && !text.hasPrefix("=?")
        return isPlain ? text : "=?UTF-8?B?\(Base64.encode(Array(text.utf8)))?="
    }

    /// A header's value as text: encoded words are taken apart, white space between two of them is none (section 6.2),
    /// and what is none of them stays as it is.
    static func decode(_ value: String) -> String {
        guard value.contains("=?") else { return value }
        var result = ""
        var gap = ""
        var isBehindWord = false
        for piece in pieces(value) {
            if let word = word(piece) {
                if !isBehindWord { result += gap }
                result += word
                (gap, isBehindWord) = ("", true)
            } else if piece.allSatisfy({ $0 == " " || $0 == "\t" }) {
                gap += piece
            } else {
                result += gap + piece
                (gap, isBehindWord) = ("", false)
            }
        }
        return result + gap
    }

    /// Runs of white space, and of anything else.
    private static func pieces(_ value: String) -> [Substring] {
        var pieces: [Substring] = []
        var start = value.startIndex
        var index = start
        while index < value.endIndex {
            let isSpace = value[index] == " " || value[index] == "\t"
            index = value[index...].firstIndex { ($0 == " " || $0 == "\t") != isSpace } ?? value.endIndex
            pieces.append(value[start..<index])
            start = index
        }
        return pieces
    }

    /// What one encoded word says; nil for what is none, or in a character set that nobody sends.
    private static func word(_ text: Substring) -> String? {
        guard text.hasPrefix("=?"), text.hasSuffix("?="), text.utf8.count > 6 else { return nil }
        let parts = text.dropFirst(2).dropLast(2).split(separator: "?", omittingEmptySubsequences: false)
        guard parts.count == 3 else { return nil }
        let bytes: [UInt8]
        switch parts[1].lowercased() {
        case "b":
            guard let decoded = Base64.decode(parts[2]) else { return nil }
            bytes = decoded
        case "q":
            guard let decoded = quoted(parts[2]) else { return nil }
            bytes = decoded
        default: return nil
        }
        // A language may follow the character set (RFC 2231, section 5).
        switch parts[0].prefix(while: { $0 != "*" }).lowercased() {
        case "utf-8", "us-ascii": return String(validating: bytes, as: UTF8.self)
        case "iso-8859-1": return String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) }))
        default: return nil
        }
    }

    /// The Q encoding (section 4.2): `_` is a space, `=` and two hexadecimal digits a byte.
    private static func quoted(_ text: Substring) -> [UInt8]? {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            switch byte {
            case 0x5f: bytes.append(0x20)
            case 0x3d:
                guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
                else { return nil }
                bytes.append(value)
                rest = rest.dropFirst(2)
            default: bytes.append(byte)
            }
        }
        return bytes
    }
}
