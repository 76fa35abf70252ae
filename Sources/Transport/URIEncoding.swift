import Versioning

/// Percent-encoding (RFC 3986, section 2), as AWS signatures want it: everything but unreserved characters.
package enum URIEncoding {
    private static let hex = Array("0123456789ABCDEF".utf8)

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        (byte >= 97 && byte <= 122) || (byte >= 65 && byte <= 90) || (byte >= 48 && byte <= 57) || byte == 0x2d || byte == 0x2e || byte == 0x5f || byte == 0x7e
    }

    /// - Parameter keepsSlash: true for paths.
    package static func encode(_ bytes: some Collection<UInt8>, keepsSlash: Bool = false) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count)
        for byte in bytes {
            if isUnreserved(byte) || (keepsSlash && byte == 0x2f) {
                result.append(byte)
            } else {
                result += [0x25, hex[Int(byte >> 4)], hex[Int(byte & 15)]]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    package static func encode(_ text: String, keepsSlash: Bool = false) -> String { encode(text.utf8, keepsSlash: keepsSlash) }

    /// Escapes that are none stay as they are.
    /// - Parameter plusIsSpace: true for query strings of forms.
    package static func decode(_ text: some StringProtocol, plusIsSpace: Bool = false) -> [UInt8] {
        var result: [UInt8] = []
        let bytes = Array(text.utf8)
        var position = 0
        while position < bytes.count {
            let byte = bytes[position]
            if byte == 0x25, position + 2 < bytes.count, let value = Hex.bytes(bytes[position + 1...position + 2]) {
                result += value
                position += 3
                continue
            }
            result.append(plusIsSpace && byte == 0x2b ? 0x20 : byte)
            position += 1
        }
        return result
    }

    /// Names and values of a query string, decoded, in order.
    package static func query(_ text: some StringProtocol, plusIsSpace: Bool) -> [(name: String, value: String)] {
        text.split(separator: "&").map { pair in
            let mark = pair.firstIndex(of: "=") ?? pair.endIndex
            let value = mark == pair.endIndex ? "" : pair[pair.index(after: mark)...]
            return (String(decoding: decode(pair[..<mark], plusIsSpace: plusIsSpace), as: UTF8.self), String(decoding: decode(value, plusIsSpace: plusIsSpace), as: UTF8.self))
        }
    }
}
