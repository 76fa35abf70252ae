/// Base64 with padding (RFC 4648, section 4), and the URL form without it (section 5).
package enum Base64 {
    private static let standard = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    private static let url = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    package static func encode(_ bytes: [UInt8]) -> String { encode(bytes, standard, pads: true) }
    package static func encodeURL(_ bytes: [UInt8]) -> String { encode(bytes, url, pads: false) }

    private static func encode(_ bytes: [UInt8], _ alphabet: [UInt8], pads: Bool) -> String {
        var text: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let count = min(3, bytes.count - start)
            var group: UInt32 = 0
            for index in 0..<3 { group = group << 8 | (index < count ? UInt32(bytes[start + index]) : 0) }
            for index in 0...count { text.append(alphabet[Int(group >> UInt32(18 - 6 * index) & 63)]) }
            if pads { text += [UInt8](repeating: 0x3d, count: 3 - count) }
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Takes both alphabets, with or without padding; nil for anything else.
    package static func decode(_ text: some StringProtocol) -> [UInt8]? {
        var bytes: [UInt8] = []
        var group: UInt32 = 0
        var bits: UInt32 = 0
        var digits = Array(text.utf8)[...]
        while digits.last == 0x3d, digits.count > 0 { digits.removeLast() }
        guard text.utf8.count - digits.count <= 2, digits.count % 4 != 1 else { return nil }
        for digit in digits {
            let value: UInt32
            switch digit {
            case 65...90: value = UInt32(digit - 65)
            case 97...122: value = UInt32(digit - 71)
            case 48...57: value = UInt32(digit + 4)
            case 0x2b, 0x2d: value = 62
            case 0x2f, 0x5f: value = 63
            default: return nil
            }
            group = group << 6 | value
            bits += 6
            if bits >= 8 {
                bits -= 8
                bytes.append(UInt8(truncatingIfNeeded: group >> bits))
            }
        }
        return bytes
    }
}
