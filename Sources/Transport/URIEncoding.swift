import Foundations

/// Percent-encoding (RFC 3986, section 2), as AWS signatures want it: everything but unreserved characters.
package enum URIEncoding {
    private static let hex = Array("0123456789ABCDEF".utf8)

    private static func isUnreserved(_ byte: UInt8) -> Bool {
        (byte >= 97 && byte <= 122) || (byte >= 65 && byte <= 90) || (byte >= 48 && byte <= 57) || byte == 0x2d
            || byte == 0x2e || byte == 0x5f || byte == 0x7e
    }

    /// - Parameter keepsSlash: true for paths.
    package static func encode(_ bytes: some Collection<UInt8>, keepsSlash: Bool = false) -> String {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count)
        append(bytes, keepsSlash: keepsSlash, to: &result)
        return String(decoding: result, as: UTF8.self)
    }

    static func append(_ bytes: some Collection<UInt8>, keepsSlash: Bool, to result: inout [UInt8]) {
        for byte in bytes {
            if isUnreserved(byte) || (keepsSlash && byte == 0x2f) {
                result.append(byte)
            } else {
                result.append(0x25)
                result.append(hex[Int(byte >> 4)])
                result.append(hex[Int(byte & 15)])
            }
        }
    }

    package static func encode(_ text: String, keepsSlash: Bool = false) -> String {
        encode(text.utf8, keepsSlash: keepsSlash)
    }

    private static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case 48...57: digit - 48
        case 65...70: digit - 55
        case 97...102: digit - 87
        default: nil
        }
    }

    /// Escapes that are none stay as they are.
    /// - Parameter plusIsSpace: true for query strings of forms.
    package static func decode(_ bytes: ArraySlice<UInt8>, plusIsSpace: Bool = false) -> [UInt8] {
        var result: [UInt8] = []
        var position = bytes.startIndex
        result.reserveCapacity(bytes.count)
        while position < bytes.endIndex {
            let byte = bytes[position]
            if byte == 0x25, position + 2 < bytes.endIndex, let high = value(bytes[position + 1]),
                let low = value(bytes[position + 2])
            {
                result.append(high << 4 | low)
                position += 3
                continue
            }
            result.append(plusIsSpace && byte == 0x2b ? 0x20 : byte)
            position += 1
        }
        return result
    }

    package static func decode(_ text: some StringProtocol, plusIsSpace: Bool = false) -> [UInt8] {
        decode(Array(text.utf8)[...], plusIsSpace: plusIsSpace)
    }

    /// Names and values of a query string, decoded, in order. Works on bytes: it runs for every request.
    package static func query(_ text: String, plusIsSpace: Bool) -> [QueryItem] {
        let bytes = Array(text.utf8)
        var pairs: [QueryItem] = []
        var start = 0
        while start < bytes.count {
            let end = bytes[start...].firstIndex(of: 0x26) ?? bytes.count
            if end > start {
                let mark = bytes[start..<end].firstIndex(of: 0x3d) ?? end
                let value: [UInt8] = mark < end ? decode(bytes[(mark + 1)..<end], plusIsSpace: plusIsSpace) : []
                pairs.append(
                    QueryItem(
                        name: String(decoding: decode(bytes[start..<mark], plusIsSpace: plusIsSpace), as: UTF8.self),
                        bytes: value))
            }
            start = end + 1
        }
        return pairs
    }

    /// A query string, or the body of a form, of names and values: `query` reads it.
    package static func query(of fields: [(String, String)]) -> String {
        fields.map { "\(encode($0.0))=\(encode($0.1))" }.joined(separator: "&")
    }
}

/// One parameter of a query string. Its value may be the name of an object, and so any bytes.
package struct QueryItem: Sendable {
    package let name: String
    /// The value as text; bytes that are none of UTF-8 are replaced.
    package let value: String
    /// The value where it is no text.
    private let raw: [UInt8]?
    package var bytes: [UInt8] { raw ?? Array(value.utf8) }

    package init(name: String, bytes: [UInt8]) {
        self.name = name
        if let text = String(validating: bytes, as: UTF8.self) {
            value = text
            raw = nil
        } else {
            value = String(decoding: bytes, as: UTF8.self)
            raw = bytes
        }
    }

    /// Whether a name is given more than once, of those that `isMeant`; there are few, so each is compared with each.
    package static func firstRepeated(_ items: [QueryItem], where isMeant: (String) -> Bool = { _ in true }) -> String?
    {
        for index in items.indices.dropFirst() {
            let name = items[index].name
            if items[..<index].contains(where: { $0.name == name }) && isMeant(name) { return name }
        }
        return nil
    }
}

extension [QueryItem] {
    /// The first value of that name; nil if there is none.
    package func value(_ name: String) -> String? { first { $0.name == name }?.value }
}
