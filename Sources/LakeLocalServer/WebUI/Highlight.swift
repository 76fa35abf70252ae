/// Colours for source text: comments, strings, numbers and words of the language, by a scan that any language bears. It
/// knows no grammar: where it errs, a word has the wrong colour.
enum Highlight {
    private struct Language {
        var comments: [String] = ["#"]
        var block: (open: String, close: String)?
        var words: Set<Substring> = []
    }

    private static func words(_ text: String) -> Set<Substring> { Set(text.split(separator: " ")) }

    private static func language(_ suffix: String) -> Language? {
        switch suffix {
        case "py":
            Language(
                words: words(
                    "and as assert async await break class continue def del elif else except False finally for from global if import in is lambda None not or pass raise return True try while with yield"
                ))
        case "sql":
            Language(
                comments: ["--"], block: ("/*", "*/"),
                words: words(
                    "select from where group by order having join left right inner outer on as and or not null insert into values update set delete create table view drop alter with union all distinct limit case when then else end is in like between SELECT FROM WHERE GROUP BY ORDER HAVING JOIN LEFT RIGHT INNER OUTER ON AS AND OR NOT NULL INSERT INTO VALUES UPDATE SET DELETE CREATE TABLE VIEW DROP ALTER WITH UNION ALL DISTINCT LIMIT CASE WHEN THEN ELSE END IS IN LIKE BETWEEN"
                ))
        case "json", "geojson": Language(comments: [], words: words("true false null"))
        case "yaml", "yml", "toml", "ini", "cfg": Language(words: words("true false null yes no"))
        case "sh", "bash":
            Language(words: words("if then else elif fi for while do done case esac in function return local export"))
        case "js", "ts", "java", "scala", "go", "rs", "c", "h", "cpp", "swift", "kt":
            Language(
                comments: ["//"], block: ("/*", "*/"),
                words: words(
                    "class struct enum func function def fn let var val const if else for while do switch case default break continue return import package new this self null nil true false try catch throw throws async await public private static final override extends implements interface protocol extension type void int long float double bool string"
                ))
        case "lua":
            Language(
                comments: ["--"],
                words: words(
                    "and break do else elseif end false for function if in local nil not or repeat return then true until while"
                ))
        case "r": Language(words: words("function if else for while in TRUE FALSE NULL NA library return"))
        default: nil
        }
    }

    /// Lines of a text with marks around what is coloured.
    /// - Parameter suffix: of the file's name.
    static func lines(_ text: String, _ suffix: String) -> [HTML] {
        let lines = ObjectFile.lines(text)
        guard let language = language(suffix) else { return lines.map { "\($0)" } }
        var isInBlock = false
        return lines.map { line in
            // A line that no person has written is not worth it.
            line.utf8.count > 2000 ? "\(line)" : html(line, language, &isInBlock)
        }
    }

    private static func html(_ line: Substring, _ language: Language, _ isInBlock: inout Bool) -> HTML {
        var html = HTML()
        var rest = line
        func take(_ count: Int) -> Substring {
            defer { rest = rest.dropFirst(count) }
            return rest.prefix(count)
        }
        while let first = rest.first {
            if isInBlock {
                let end = language.block.flatMap { rest.firstRange(of: $0.close)?.upperBound }
                isInBlock = end == nil
                html += "<i class=\"c\">\(rest[..<(end ?? rest.endIndex)])</i>"
                rest = rest[(end ?? rest.endIndex)...]
            } else if let block = language.block, rest.hasPrefix(block.open) {
                html += "<i class=\"c\">\(take(block.open.count))</i>"
                isInBlock = true
            } else if language.comments.contains(where: { rest.hasPrefix($0) }) {
                html += "<i class=\"c\">\(rest)</i>"
                return html
            } else if first == "\"" || first == "'" {
                var count = 1
                var isEscaped = false
                for character in rest.dropFirst() {
                    count += 1
                    if isEscaped {
                        isEscaped = false
                    } else if character == "\\" {
                        isEscaped = true
                    } else if character == first {
                        break
                    }
                }
                html += "<i class=\"s\">\(take(count))</i>"
            } else if first.isNumber {
                html +=
                    "<i class=\"n\">\(take(rest.prefix { $0.isNumber || $0 == "." || $0 == "_" || $0 == "x" || $0 == "e" }.count))</i>"
            } else if first.isLetter || first == "_" {
                let word = take(rest.prefix { $0.isLetter || $0.isNumber || $0 == "_" }.count)
                html += language.words.contains(word) ? "<i class=\"k\">\(word)</i>" : "\(word)"
            } else {
                html += "\(take(1))"
            }
        }
        return html
    }
}
