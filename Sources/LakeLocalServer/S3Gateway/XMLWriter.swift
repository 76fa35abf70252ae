import Foundations

/// Writes XML documents of S3.
struct XMLWriter {
    static let s3Namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    private(set) var bytes = Array("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".utf8)

    /// What says of a grantee that it is a user (Amazon S3 API reference, "Grantee").
    static let canonicalUser = "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\""

    private mutating func open(_ name: String, _ attributes: String? = nil) {
        bytes.append(0x3c)
        bytes.append(contentsOf: name.utf8)
        if let attributes {
            bytes.append(0x20)
            bytes.append(contentsOf: attributes.utf8)
        }
        bytes.append(0x3e)
    }

    private mutating func close(_ name: String) {
        bytes.append(0x3c)
        bytes.append(0x2f)
        bytes.append(contentsOf: name.utf8)
        bytes.append(0x3e)
    }

    /// An element with others in it; `attributes` are written as they are.
    mutating func element(_ name: String, attributes: String? = nil, _ content: (inout XMLWriter) -> Void) {
        open(name, attributes)
        content(&self)
        close(name)
    }

    mutating func element(_ name: String, namespace: String, _ content: (inout XMLWriter) -> Void) {
        element(name, attributes: "xmlns=\"\(namespace)\"", content)
    }

    /// What is written for a byte that cannot stand as it is; nil for one that can. Characters that XML cannot hold are
    /// replaced, as S3 clients that need them ask for `encoding-type=url`.
    private static func escape(_ byte: UInt8) -> String? {
        switch byte {
        case 0x26: "&amp;"
        case 0x3c: "&lt;"
        case 0x3e: "&gt;"
        case 0x22: "&#34;"
        case 0x0d: "&#xD;"
        case 0x09: "&#x9;"
        case 0x0a: "&#xA;"
        case 0..<0x20: "\u{fffd}"
        default: nil
        }
    }

    /// Appends UTF-8, in runs between what is to be escaped.
    private mutating func append(_ text: UnsafeBufferPointer<UInt8>) {
        var begin = 0
        for position in text.indices {
            guard let escape = unsafe Self.escape(text[position]) else { continue }
            unsafe bytes.append(contentsOf: UnsafeBufferPointer(rebasing: text[begin..<position]))
            bytes.append(contentsOf: escape.utf8)
            begin = position + 1
        }
        unsafe bytes.append(contentsOf: UnsafeBufferPointer(rebasing: text[begin...]))
    }

    /// An element with text in it.
    mutating func text(_ name: String, _ value: String) {
        open(name)
        append(value)
        close(name)
    }

    private mutating func append(_ text: String) {
        var text = text
        text.withUTF8 { unsafe append($0) }
    }

    /// An element with pieces of a key in it; what is no UTF-8 is replaced.
    mutating func text(_ name: String, _ folder: [UInt8], _ key: Key) {
        guard key.bytes.allSatisfy({ $0 < 0x80 }) else { return text(name, Key(folder + key.bytes).description) }
        open(name)
        unsafe folder.withUnsafeBufferPointer { unsafe append($0) }
        unsafe key.bytes.withUnsafeBufferPointer { unsafe append($0) }
        close(name)
    }

    mutating func text(_ name: String, _ value: some BinaryInteger) { text(name, String(value)) }

    /// An element with an entity tag in it, in quotes.
    mutating func tag(_ name: String, _ value: String) {
        open(name)
        bytes.append(contentsOf: "&#34;".utf8)
        append(value)
        bytes.append(contentsOf: "&#34;".utf8)
        close(name)
    }

    /// An element with a moment in it.
    mutating func time(_ name: String, _ value: Timestamp) {
        open(name)
        value.appendMilliseconds(to: &bytes)
        close(name)
    }

    /// Room for so many bytes more.
    mutating func reserve(_ count: Int) { bytes.reserveCapacity(bytes.count + count) }
}
