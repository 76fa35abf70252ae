import Foundations
import LakeLocalServer
import Versioning

/// YAML files of settings, as flat names: `a: {b: c}` is `a.b` = `c`; lists are joined by commas, and
/// what is in maps of lists is named `a[0].b`.
enum YAML {
    /// A text as it stands behind a name: in quotes where it would be taken for something else.
    static func scalar(_ text: String) -> String {
        let isPlain =
            !text.isEmpty
            && text.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
                    || "._-/:+~@".utf8.contains(byte)
            } && !":-~@".utf8.contains(text.utf8.first!) && text.utf8.last != 0x3a
        if isPlain { return text }
        let quoted = text.unicodeScalars.map { scalar in
            switch scalar {
            case "\"", "\\": "\\\(scalar)"
            case "\n": "\\n"
            default: scalar.value < 0x20 || scalar.value == 0x7f ? "\\x" + Hex.text([UInt8(scalar.value)]) : "\(scalar)"
            }
        }
        return "\"" + quoted.joined() + "\""
    }

    /// - Throws: `LakeError` that names the line.
    static func flatten(_ text: [UInt8], file: String) throws -> [(key: String, value: String)] {
        var result: [(key: String, value: String)] = []
        do {
            if let root = try YAMLNode.read(text) { try collect(root, "", &result) }
        } catch {
            throw LakeError(.invalidValue, "\(file), \(LakeError(error).message)")
        }
        return result
    }

    private static func collect(_ node: YAMLNode, _ prefix: String, _ result: inout [(key: String, value: String)])
        throws
    {
        switch node.content {
        case .map(let pairs):
            for (key, value) in pairs {
                guard let name = key.text else {
                    throw LakeError(.invalidValue, "line \(key.line): a name under '\(prefix)' is no text")
                }
                try collect(value, prefix.isEmpty ? name : prefix + "." + name, &result)
            }
        case .list(let nodes):
            var items: [String] = []
            let count = result.count
            for (index, node) in nodes.enumerated() {
                if let text = node.text {
                    items.append(text)
                } else {
                    try collect(node, prefix + "[\(index)]", &result)
                }
            }
            if !items.isEmpty || result.count == count { result.append((prefix, items.joined(separator: ","))) }
        case .scalar(let text, _): if !prefix.isEmpty { result.append((prefix, text)) }
        }
    }
}
