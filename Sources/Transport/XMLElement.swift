import CExpat
import Foundations

/// One element of a parsed document: its name without namespace, text and children.
package final class XMLElement {
    package let name: String
    package fileprivate(set) var text = ""
    package fileprivate(set) var children: [XMLElement] = []

    fileprivate init(_ name: String) { self.name = name }

    package func first(_ name: String) -> XMLElement? { children.first { $0.name == name } }
    package func all(_ name: String) -> [XMLElement] { children.filter { $0.name == name } }
    package func value(_ name: String) -> String? { first(name)?.text }

    /// What the parser's callbacks work on. It ends the parser as soon as the document is none that S3 knows, so that
    /// what it takes in memory follows the bounds and not the document.
    @safe private final class Builder {
        let parser: XML_Parser
        var open: [XMLElement] = []
        var root: XMLElement?
        var count = 0
        var isRefused = false
        /// Deeper documents are no request of S3's.
        static let greatestDepth = 16
        /// Elements of a list of 10,000 parts, each with a number, an entity tag and five checksums.
        static let mostElements = 90_000
        /// Bytes of one element's text: a key of 1,024, each byte escaped, and room.
        static let longestText = 8192

        init(_ parser: XML_Parser) { unsafe self.parser = unsafe parser }

        func refuse() {
            isRefused = true
            unsafe XML_StopParser(parser, XML_Bool(XML_FALSE))
        }
    }

    private static func builder(_ context: UnsafeMutableRawPointer?) -> Builder {
        unsafe Unmanaged<Builder>.fromOpaque(context!).takeUnretainedValue()
    }

    /// The document's root, or nil if it is not well-formed, larger than any request of S3's, or has a DOCTYPE: there
    /// entities are defined, and expat does expand those that a document defines itself.
    package static func parse(_ bytes: [UInt8]) -> XMLElement? {
        // The separator makes expat tell names as `namespace name`.
        guard let parser = unsafe XML_ParserCreateNS(nil, 0x20) else { return nil }
        defer { unsafe XML_ParserFree(parser) }
        let builder = unsafe Builder(parser)
        unsafe XML_SetUserData(parser, Unmanaged.passUnretained(builder).toOpaque())
        unsafe XML_SetStartDoctypeDeclHandler(parser) { context, _, _, _, _ in
            unsafe XMLElement.builder(context).refuse()
        }
        unsafe XML_SetElementHandler(
            parser,
            { context, name, _ in
                let builder = unsafe XMLElement.builder(context)
                guard !builder.isRefused else { return }
                builder.count += 1
                guard builder.open.count < Builder.greatestDepth, builder.count <= Builder.mostElements else {
                    return builder.refuse()
                }
                let element = unsafe XMLElement(String(String(cString: name!).split(separator: " ").last ?? ""))
                builder.open.last?.children.append(element)
                if builder.root == nil { builder.root = element }
                builder.open.append(element)
            },
            { context, _ in
                _ = unsafe XMLElement.builder(context).open.popLast()
            })
        unsafe XML_SetCharacterDataHandler(parser) { context, text, count in
            let builder = unsafe XMLElement.builder(context)
            guard !builder.isRefused, let element = builder.open.last else { return }
            guard element.text.utf8.count + Int(count) <= Builder.longestText else { return builder.refuse() }
            unsafe element.text += String(
                decoding: UnsafeRawBufferPointer(start: text, count: Int(count)), as: UTF8.self)
        }
        let status = unsafe bytes.withUnsafeBytes {
            unsafe XML_Parse(parser, $0.baseAddress?.assumingMemoryBound(to: CChar.self), Int32($0.count), 1)
        }
        return status == XML_STATUS_OK && !builder.isRefused ? builder.root : nil
    }
}
