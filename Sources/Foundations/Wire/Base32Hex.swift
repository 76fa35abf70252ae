/// Bytes as text of 32 digits in ascending order (RFC 4648, section 7), upper case: keys of CosmosDB.
package enum Base32Hex {
    private static let digits = Array("0123456789ABCDEFGHIJKLMNOPQRSTUV".utf8)

    /// - Parameter pads: fills up with `=` to whole groups of eight.
    package static func encode(_ bytes: [UInt8], pads: Bool = true) -> String {
        var text = digits(of: bytes, digits)
        if pads { while text.count % 8 != 0 { text.append(0x3d) } }
        return String(decoding: text, as: UTF8.self)
    }

    /// Five bits at a time, the most significant first; the last ones filled up with zeros.
    static func digits(of bytes: [UInt8], _ alphabet: [UInt8]) -> [UInt8] {
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 4) / 5 * 8)
        var bits: UInt32 = 0
        var count: UInt32 = 0
        for byte in bytes {
            bits = bits << 8 | UInt32(byte)
            count += 8
            while count >= 5 {
                count -= 5
                text.append(alphabet[Int(bits >> count & 31)])
            }
        }
        if count > 0 { text.append(alphabet[Int(bits << (5 - count) & 31)]) }
        return text
    }

    /// Nil if `text` is none.
    package static func decode(_ text: String) -> [UInt8]? {
        let characters = Array(text.utf8)
        return bytes(of: characters[..<(characters.lastIndex { $0 != 0x3d }.map { $0 + 1 } ?? 0)], digits)?.bytes
    }

    /// What `digits` are of, and the bits that are left over behind the last byte; nil if one of them is none.
    static func bytes(of text: some Sequence<UInt8>, _ alphabet: [UInt8]) -> (bytes: [UInt8], rest: UInt32)? {
        var bytes: [UInt8] = []
        var bits: UInt32 = 0
        var count: UInt32 = 0
        for character in text {
            guard let digit = alphabet.firstIndex(of: character) else { return nil }
            bits = bits << 5 | UInt32(digit)
            count += 5
            if count >= 8 {
                count -= 8
                bytes.append(UInt8(truncatingIfNeeded: bits >> count))
            }
        }
        return (bytes, bits & (1 << count - 1))
    }
}
