import Foundations

/// Writes XML documents of S3.
struct XMLWriter {
    static let s3Namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    private(set) var bytes = Array("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".utf8)

    /// An element with others in it.
    mutating func element(_ name: String, namespace: String? = nil, _ content: (inout XMLWriter) -> Void) {
        bytes += Array((namespace.map { "<\(name) xmlns=\"\($0)\">" } ?? "<\(name)>").utf8)
        content(&self)
        bytes += Array("</\(name)>".utf8)
    }

    /// What says of a grantee that it is a user (Amazon S3 API reference, "Grantee").
    static let canonicalUser = "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\""

    /// An element with attributes, written as they are.
    mutating func element(_ name: String, attributes: String, _ content: (inout XMLWriter) -> Void) {
        bytes += Array("<\(name) \(attributes)>".utf8)
        content(&self)
        bytes += Array("</\(name)>".utf8)
    }

    /// An element with text in it. Characters that XML cannot hold are left out, as S3 clients that need them ask for
    /// `encoding-type=url`.
    mutating func text(_ name: String, _ value: String) {
        bytes += Array("<\(name)>".utf8)
        for byte in value.utf8 {
            switch byte {
            case 0x26: bytes += Array("&amp;".utf8)
            case 0x3c: bytes += Array("&lt;".utf8)
            case 0x3e: bytes += Array("&gt;".utf8)
            case 0x22: bytes += Array("&#34;".utf8)
            case 0x0d: bytes += Array("&#xD;".utf8)
            case 0x09: bytes += Array("&#x9;".utf8)
            case 0x0a: bytes += Array("&#xA;".utf8)
            case 0..<0x20: bytes += Array("\u{fffd}".utf8)
            default: bytes.append(byte)
            }
        }
        bytes += Array("</\(name)>".utf8)
    }

    mutating func text(_ name: String, _ value: some BinaryInteger) { text(name, String(value)) }
}
