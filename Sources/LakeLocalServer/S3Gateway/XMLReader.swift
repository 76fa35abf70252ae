import CExpat

/// One element of a parsed document: its name without namespace, text and children.
final class XMLElement {
    let name: String
    fileprivate(set) var text = ""
    fileprivate(set) var children: [XMLElement] = []

    fileprivate init(_ name: String) { self.name = name }

    func first(_ name: String) -> XMLElement? { children.first { $0.name == name } }
    func all(_ name: String) -> [XMLElement] { children.filter { $0.name == name } }
    func value(_ name: String) -> String? { first(name)?.text }

    /// What the parser's callbacks work on.
    private final class Builder {
        var open: [XMLElement] = []
        var root: XMLElement?
        /// Deeper documents are no request of S3's.
        static let greatestDepth = 16
        var isTooDeep = false
    }

    /// The document's root, or nil if it is not well-formed. Entities are not expanded: expat has no source for them here.
    static func parse(_ bytes: [UInt8]) -> XMLElement? {
        // The separator makes expat tell names as `namespace name`.
        guard let parser = unsafe XML_ParserCreateNS(nil, 0x20) else { return nil }
        defer { unsafe XML_ParserFree(parser) }
        let builder = Builder()
        unsafe XML_SetUserData(parser, Unmanaged.passUnretained(builder).toOpaque())
        unsafe XML_SetElementHandler(parser, { context, name, _ in
            let builder = unsafe Unmanaged<Builder>.fromOpaque(context!).takeUnretainedValue()
            let element = unsafe XMLElement(String(String(cString: name!).split(separator: " ").last ?? ""))
            if builder.open.count >= Builder.greatestDepth {
                // Not chained to its parent: freeing a deep chain would need as deep a stack.
                builder.isTooDeep = true
                builder.open.append(element)
                return
            }
            builder.open.last?.children.append(element)
            if builder.root == nil { builder.root = element }
            builder.open.append(element)
        }, { context, _ in
            let builder = unsafe Unmanaged<Builder>.fromOpaque(context!).takeUnretainedValue()
            _ = builder.open.popLast()
        })
        unsafe XML_SetCharacterDataHandler(parser) { context, text, count in
            let builder = unsafe Unmanaged<Builder>.fromOpaque(context!).takeUnretainedValue()
            unsafe builder.open.last?.text += String(decoding: UnsafeRawBufferPointer(start: text, count: Int(count)), as: UTF8.self)
        }
        let status = unsafe bytes.withUnsafeBytes { unsafe XML_Parse(parser, $0.baseAddress?.assumingMemoryBound(to: CChar.self), Int32($0.count), 1) }
        return status == XML_STATUS_OK && !builder.isTooDeep ? builder.root : nil
    }
}
