import CYAML
import Foundations
import Versioning

/// YAML files of settings, as flat names: `a: {b: c}` is `a.b` = `c`; lists are joined by commas, and
/// what is in maps of lists is named `a[].b`.
enum YAML {
    /// - Throws: `LakeError` that names the line.
    static func flatten(_ text: [UInt8], file: String) throws -> [(key: String, value: String)] {
        unsafe try withUnsafeTemporaryAllocation(of: yaml_parser_t.self, capacity: 1) { parser in
            let parser = parser.baseAddress!
            guard unsafe yaml_parser_initialize(parser) == 1 else {
                throw LakeError(.unavailable, "no memory for reading \(file)")
            }
            defer { unsafe yaml_parser_delete(parser) }
            return unsafe try text.withUnsafeBufferPointer { bytes in
                unsafe yaml_parser_set_input_string(parser, bytes.baseAddress, bytes.count)
                return unsafe try withUnsafeTemporaryAllocation(of: yaml_document_t.self, capacity: 1) { document in
                    let document = document.baseAddress!
                    guard unsafe yaml_parser_load(parser, document) == 1 else {
                        throw LakeError(
                            .invalidValue,
                            unsafe "\(file), line \(parser.pointee.problem_mark.line + 1): \(parser.pointee.problem.map { unsafe String(cString: $0) } ?? "this is no YAML")"
                        )
                    }
                    defer { unsafe yaml_document_delete(document) }
                    var result: [(key: String, value: String)] = []
                    if let root = unsafe yaml_document_get_root_node(document) {
                        unsafe try collect(document, root, "", &result, file)
                    }
                    return result
                }
            }
        }
    }

    private static func scalar(_ node: UnsafeMutablePointer<yaml_node_t>) -> String {
        unsafe String(
            decoding: UnsafeBufferPointer(
                start: node.pointee.data.scalar.value, count: node.pointee.data.scalar.length), as: UTF8.self)
    }

    private static func collect(
        _ document: UnsafeMutablePointer<yaml_document_t>, _ node: UnsafeMutablePointer<yaml_node_t>, _ prefix: String,
        _ result: inout [(key: String, value: String)], _ file: String
    ) throws {
        switch unsafe node.pointee.type {
        case YAML_MAPPING_NODE:
            var pair = unsafe node.pointee.data.mapping.pairs.start!
            while unsafe pair < node.pointee.data.mapping.pairs.top {
                guard let key = unsafe yaml_document_get_node(document, pair.pointee.key),
                    let value = unsafe yaml_document_get_node(document, pair.pointee.value),
                    unsafe key.pointee.type == YAML_SCALAR_NODE
                else {
                    throw LakeError(.invalidValue, "\(file): a name under '\(prefix)' is no text")
                }
                unsafe try collect(
                    document, value, prefix.isEmpty ? scalar(key) : prefix + "." + scalar(key), &result, file)
                unsafe pair += 1
            }
        case YAML_SEQUENCE_NODE:
            var items: [String] = []
            let count = result.count
            var item = unsafe node.pointee.data.sequence.items.start!
            while unsafe item < node.pointee.data.sequence.items.top {
                guard let value = unsafe yaml_document_get_node(document, item.pointee) else {
                    throw LakeError(.invalidValue, "\(file): an item of '\(prefix)' is not there")
                }
                if unsafe value.pointee.type == YAML_SCALAR_NODE {
                    unsafe items.append(scalar(value))
                } else {
                    unsafe try collect(document, value, prefix + "[]", &result, file)
                }
                unsafe item += 1
            }
            if !items.isEmpty || result.count == count { result.append((prefix, items.joined(separator: ","))) }
        default: if !prefix.isEmpty { unsafe result.append((prefix, scalar(node))) }
        }
    }
}
