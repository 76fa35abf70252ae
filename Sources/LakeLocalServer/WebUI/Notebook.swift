import Foundations
import LakeAPI

/// A Jupyter notebook as text: its cells and what they printed. HTML in it is shown as text. Source: nbformat 4.
enum Notebook {
    private static let mostCells = 500, longestText = 20_000

    static func html(_ bytes: [UInt8]) throws -> HTML {
        guard case .object(let book)? = try? Coding.decodeForeign(JSONValue.self, bytes),
            case .list(let cells)? = book["cells"]
        else { throw PageError(400, "This is no notebook of format 4: it has no list of cells. Its bytes are below.") }
        var language = "py"
        if case .object(let metadata)? = book["metadata"], case .object(let info)? = metadata["language_info"],
            let suffix = info["file_extension"]?.text
        {
            language = String(suffix.drop { $0 == "." })
        }
        let shown = cells.prefix(mostCells).map { cell(($0), language) }
        let rest: HTML? =
            cells.count > mostCells
            ? "<p class=\"faint\">\(cells.count - mostCells) more cells are not shown.</p>" : nil
        return "<div class=\"notebook\">\(shown)\(rest)</div>"
    }

    /// Text that may be a list of lines.
    private static func joined(_ value: JSONValue?) -> String { cut(whole(value)) }

    private static func whole(_ value: JSONValue?) -> String {
        switch value {
        case .text(let text): text
        case .list(let lines): lines.compactMap(\.text).joined()
        default: ""
        }
    }

    private static func cut(_ text: String) -> String {
        text.utf8.count > longestText ? String(text.prefix(longestText)) + "\n…" : text
    }

    private static func cell(_ value: JSONValue, _ language: String) -> HTML {
        guard case .object(let cell) = value else { return "" }
        let source = joined(cell["source"])
        switch cell["cell_type"]?.text {
        case "markdown": return "<div class=\"prose\">\(Markdown.html(Array(source.utf8)))</div>"
        case "code":
            var outputs: [HTML] = []
            if case .list(let list)? = cell["outputs"] { outputs = list.prefix(100).map(output) }
            return
                "<pre class=\"code\" tabindex=\"0\" role=\"group\" aria-label=\"Cell\"><code>\(Highlight.lines(source, language).map { "<span class=\"line\">\($0)\n</span>" as HTML })</code></pre>\(outputs)"
        default:
            return "<pre class=\"code\" tabindex=\"0\" role=\"group\" aria-label=\"Cell\"><code>\(source)</code></pre>"
        }
    }

    private static func output(_ value: JSONValue) -> HTML {
        guard case .object(let output) = value else { return "" }
        if case .object(let data)? = output["data"] {
            for type in ["image/png", "image/jpeg"] {
                // Base64 alone gets into the address.
                let text = whole(data[type]).filter { !$0.isWhitespace }
                if !text.isEmpty, Base64.decode(text) != nil {
                    return
                        "<p class=\"picture\"><img src=\"data:\(type);base64,\(text)\" alt=\"Picture that the cell has made\"></p>"
                }
            }
            return
                "<pre class=\"output\" tabindex=\"0\" role=\"group\" aria-label=\"Output\">\(joined(data["text/plain"] ?? data["text/html"]))</pre>"
        }
        if case .list(let lines)? = output["traceback"] {
            // Without the colours of a terminal.
            let text = lines.compactMap(\.text).joined(separator: "\n").replacing(/\u{1b}\[[0-9;]*m/, with: "")
            return "<pre class=\"output error\" tabindex=\"0\" role=\"group\" aria-label=\"Output\">\(cut(text))</pre>"
        }
        return
            "<pre class=\"output\" tabindex=\"0\" role=\"group\" aria-label=\"Output\">\(joined(output["text"]))</pre>"
    }
}
