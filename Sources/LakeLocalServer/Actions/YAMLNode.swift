import CYAML
import Foundations
package import LakeAPI

/// A part of a YAML document, with the line it stands on. Read by libyaml; what plain words mean follows YAML 1.2's core
/// schema, which is what lakeFS's reader goes by.
package struct YAMLNode: Sendable {
    package enum Content: Sendable {
        /// - Parameter isPlain: not in quotes, so that it may be a number, a flag or nothing.
        case scalar(String, isPlain: Bool)
        case list([YAMLNode])
        /// In the order written.
        case map([(key: YAMLNode, value: YAMLNode)])
    }

    package let content: Content
    /// From 1.
    package let line: Int

    /// Nodes of a document and bytes of its texts, those that aliases repeat counted each time, and how deep they may lie.
    private static let mostNodes = 100_000, mostBytes = 4 << 20, deepest = 64

    private struct Budget { var nodes = mostNodes, bytes = mostBytes }

    /// Reads the first document of a text; nil if there is none in it.
    /// - Throws: `LakeError` that says what is wrong in which line.
    package static func read(_ text: [UInt8]) throws -> YAMLNode? {
        unsafe try parsing(text) { unsafe try checkDepth($0) }
        return unsafe try parsing(text) { parser in
            unsafe try withUnsafeTemporaryAllocation(of: yaml_document_t.self, capacity: 1) { document in
                let document = document.baseAddress!
                guard unsafe yaml_parser_load(parser, document) == 1 else {
                    // Where what is wrong began, if that is known: an open bracket is noticed at the end.
                    let mark =
                        unsafe parser.pointee.context == nil
                        ? parser.pointee.problem_mark : parser.pointee.context_mark
                    throw LakeError(
                        .invalidValue,
                        unsafe "line \(mark.line + 1): \(parser.pointee.problem.map { unsafe String(cString: $0) } ?? "this is no YAML")"
                    )
                }
                defer { unsafe yaml_document_delete(document) }
                guard let root = unsafe yaml_document_get_root_node(document) else { return nil }
                var left = Budget()
                return unsafe try YAMLNode(root, in: document, depth: 0, left: &left)
            }
        }
    }

    /// Lends a parser at the beginning of a text.
    private static func parsing<Result>(
        _ text: [UInt8], _ body: (UnsafeMutablePointer<yaml_parser_t>) throws -> Result
    ) throws -> Result {
        unsafe try withUnsafeTemporaryAllocation(of: yaml_parser_t.self, capacity: 1) { parser in
            let parser = parser.baseAddress!
            guard unsafe yaml_parser_initialize(parser) == 1 else {
                throw LakeError(.unavailable, "no memory for reading YAML")
            }
            defer { unsafe yaml_parser_delete(parser) }
            return unsafe try text.withUnsafeBufferPointer { bytes in
                unsafe yaml_parser_set_input_string(parser, bytes.baseAddress, bytes.count)
                return unsafe try body(parser)
            }
        }
    }

    /// Looks through a document once without keeping anything: what is nested deep takes the library a time that grows
    /// with the square of the depth. What is no YAML is told by who reads it.
    private static func checkDepth(_ parser: UnsafeMutablePointer<yaml_parser_t>) throws {
        var depth = 0
        while true {
            var event = unsafe yaml_event_t()
            guard unsafe yaml_parser_parse(parser, &event) == 1 else { return }
            defer { unsafe yaml_event_delete(&event) }
            switch unsafe event.type {
            case YAML_SEQUENCE_START_EVENT, YAML_MAPPING_START_EVENT:
                depth += 1
                guard depth <= deepest else {
                    throw LakeError(
                        .invalidValue,
                        unsafe "line \(event.start_mark.line + 1): values are nested deeper than \(deepest)")
                }
            case YAML_SEQUENCE_END_EVENT, YAML_MAPPING_END_EVENT: depth -= 1
            case YAML_DOCUMENT_END_EVENT, YAML_STREAM_END_EVENT: return
            default: break
            }
        }
    }

    private init(
        _ node: UnsafeMutablePointer<yaml_node_t>, in document: UnsafeMutablePointer<yaml_document_t>, depth: Int,
        left: inout Budget
    ) throws {
        let line = unsafe Int(node.pointee.start_mark.line) + 1
        self.line = line
        left.nodes -= 1
        guard left.nodes >= 0 else {
            throw LakeError(.invalidValue, "line \(line): the document has more than \(Self.mostNodes) values")
        }
        guard depth < Self.deepest else {
            throw LakeError(.invalidValue, "line \(line): values are nested deeper than \(Self.deepest)")
        }
        func child(_ index: Int32, _ left: inout Budget) throws -> YAMLNode {
            guard let found = unsafe yaml_document_get_node(document, index) else {
                throw LakeError(.invalidValue, "line \(line): a value is not there")
            }
            return unsafe try YAMLNode(found, in: document, depth: depth + 1, left: &left)
        }
        switch unsafe node.pointee.type {
        case YAML_MAPPING_NODE:
            var pairs: [(YAMLNode, YAMLNode)] = []
            var pair = unsafe node.pointee.data.mapping.pairs.start!
            while unsafe pair < node.pointee.data.mapping.pairs.top {
                let key = unsafe try child(pair.pointee.key, &left)
                pairs.append((key, unsafe try child(pair.pointee.value, &left)))
                unsafe pair += 1
            }
            content = .map(pairs)
        case YAML_SEQUENCE_NODE:
            var items: [YAMLNode] = []
            var item = unsafe node.pointee.data.sequence.items.start!
            while unsafe item < node.pointee.data.sequence.items.top {
                items.append(unsafe try child(item.pointee, &left))
                unsafe item += 1
            }
            content = .list(items)
        default:
            let scalar = unsafe node.pointee.data.scalar
            left.bytes -= unsafe scalar.length
            guard left.bytes >= 0 else {
                throw LakeError(
                    .invalidValue, "line \(line): the document's texts have more than \(Self.mostBytes) bytes")
            }
            let text = unsafe String(
                decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
            content = .scalar(text, isPlain: unsafe scalar.style == YAML_PLAIN_SCALAR_STYLE)
        }
    }

    /// A scalar's text as it is written, whatever it means; nil for lists and maps.
    package var text: String? { if case .scalar(let text, _) = content { text } else { nil } }

    /// What stands under a name of a map; nil if nothing does, or this is no map.
    package subscript(name: String) -> YAMLNode? {
        guard case .map(let pairs) = content else { return nil }
        return pairs.last { $0.key.text == name }?.value
    }

    package var isNull: Bool { value == .null }

    /// What it means.
    package var value: JSONValue {
        switch content {
        case .scalar(let text, isPlain: false): return .text(text)
        case .scalar(let text, isPlain: true): return Self.meaning(of: text)
        case .list(let items): return .list(items.map(\.value))
        case .map(let pairs):
            return .object(Dictionary(pairs.map { ($0.key.text ?? "", $0.value.value) }) { $1 })
        }
    }

    /// Whether a text means itself where it stands without quotes.
    package static func isPlainText(_ text: String) -> Bool { meaning(of: text) == .text(text) }

    private static func meaning(of text: String) -> JSONValue {
        switch text {
        case "", "~", "null", "Null", "NULL": return .null
        case "true", "True", "TRUE": return .flag(true)
        case "false", "False", "FALSE": return .flag(false)
        case ".inf", "+.inf", ".Inf": return .number(.infinity)
        case "-.inf", "-.Inf": return .number(-.infinity)
        case ".nan", ".NaN": return .number(.nan)
        default: break
        }
        guard let first = text.utf8.first, (48...57).contains(first) || "+-.".utf8.contains(first) else {
            return .text(text)
        }
        let digits = text.hasPrefix("-") || text.hasPrefix("+") ? text.dropFirst() : text[...]
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] where digits.hasPrefix(prefix) {
            guard let first = digits.dropFirst(2).first, first != "-", first != "+",
                let number = Int64(digits.dropFirst(2), radix: radix)
            else { return .text(text) }
            return .integer(text.hasPrefix("-") ? -number : number)
        }
        if let number = Int64(text) { return .integer(number) }
        guard digits.utf8.allSatisfy({ (48...57).contains($0) || ".eE+-".utf8.contains($0) }),
            digits.utf8.contains(where: { (48...57).contains($0) }), let number = Double(text)
        else { return .text(text) }
        return .number(number)
    }
}
