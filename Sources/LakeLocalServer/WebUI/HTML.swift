import Foundations
import Transport
import Versioning

/// HTML that is safe by construction. What stands in the source is markup; what is put in is text, and escaped, wherever
/// it stands: between tags and in quoted attributes.
///
///     let row: HTML = "<td title=\"\(name)\">\(name)</td>"
///
/// A `StaticString` alone is taken for markup, so that nothing that came from outside can be.
struct HTML: ExpressibleByStringInterpolation, Sendable {
    fileprivate(set) var bytes: [UInt8] = []

    init() {}
    init(stringLiteral markup: StaticString) { append(markup) }
    init(stringInterpolation: StringInterpolation) { bytes = stringInterpolation.html.bytes }

    /// Markup that a renderer made which escapes by itself.
    init(rendered bytes: [UInt8]) { self.bytes = bytes }

    static func += (left: inout HTML, right: HTML) { left.bytes += right.bytes }

    fileprivate mutating func append(_ markup: StaticString) {
        markup.withUTF8Buffer { unsafe bytes.append(contentsOf: $0) }
    }

    /// Source: the OWASP cheat sheet on cross-site scripting, rules 1 and 2.
    fileprivate mutating func append(text: some Sequence<UInt8>) {
        for byte in text {
            switch byte {
            case 0x26: append("&amp;")
            case 0x3c: append("&lt;")
            case 0x3e: append("&gt;")
            case 0x22: append("&quot;")
            case 0x27: append("&#39;")
            case 0: append("\u{fffd}")  // No character of HTML.
            default: bytes.append(byte)
            }
        }
    }

    struct StringInterpolation: StringInterpolationProtocol {
        fileprivate var html = HTML()

        init(literalCapacity: Int, interpolationCount: Int) {
            html.bytes.reserveCapacity(literalCapacity + 16 * interpolationCount)
        }

        mutating func appendLiteral(_ markup: StaticString) { html.append(markup) }
        // A literal that is put in is markup as the one around it, though it could be a text: hence the attribute.
        @_disfavoredOverload mutating func appendInterpolation(_ text: String) { html.append(text: text.utf8) }
        @_disfavoredOverload mutating func appendInterpolation(_ text: Substring) { html.append(text: text.utf8) }
        mutating func appendInterpolation(_ number: some BinaryInteger) { html.append(text: "\(number)".utf8) }
        mutating func appendInterpolation(_ name: some Identifier) { html.append(text: name.text.utf8) }
        mutating func appendInterpolation(_ link: Link) { html.append(text: link.text.utf8) }
        mutating func appendInterpolation(_ part: HTML) { html.bytes += part.bytes }
        mutating func appendInterpolation(_ part: HTML?) { if let part { html.bytes += part.bytes } }
        mutating func appendInterpolation(_ parts: [HTML]) { for part in parts { html.bytes += part.bytes } }
        /// Markup that is there on a condition.
        mutating func appendInterpolation(_ markup: StaticString, if isThere: Bool) {
            if isThere { html.append(markup) }
        }
    }
}

extension Array where Element == HTML {
    /// The parts with something between them.
    func joined(by separator: HTML) -> HTML {
        var all = HTML()
        for (index, part) in enumerated() {
            if index > 0 { all += separator }
            all += part
        }
        return all
    }
}

/// The address of a page: parts of a path and a query, percent-encoded byte by byte, so that any name can be linked to.
struct Link: Sendable {
    private(set) var text: String

    /// - Parameter query: what is nil is left out.
    init(_ parts: [String], _ query: KeyValuePairs<String, Key?> = [:]) {
        text = "/" + parts.map { URIEncoding.encode($0) }.joined(separator: "/")
        for (name, value) in query { add(name, value) }
    }

    private mutating func add(_ name: String, _ value: Key?) {
        guard let value else { return }
        text +=
            (text.utf8.contains(0x3f) ? "&" : "?") + URIEncoding.encode(name) + "="
            + URIEncoding.encode(value.bytes, keepsSlash: true)
    }

    /// The same with one more value in its query.
    func with(_ name: String, _ value: Key?) -> Link {
        var link = self
        link.add(name, value)
        return link
    }
}

extension Link {
    /// A page of a repository.
    init(_ repository: RepositoryID, _ page: String..., query: KeyValuePairs<String, Key?> = [:]) {
        self.init(["repositories", repository.text] + page, query)
    }
}
