import Foundations

/// The server's environment as hooks may see it: `{{ ENV.NAME }}` in their properties.
/// Source: lakeFS documentation, "Actions"; the settings `actions.env.*`.
package struct HookEnvironment: Sendable {
    package var isEnabled = true
    /// What the names of variables begin with that hooks may see.
    package var prefix = "LAKEFSACTION_"
    package var variables: [String: String]
    /// False where a file is only looked at: any variable may be set where it will run.
    private var isKnown = true
    static let unknown: HookEnvironment = {
        var environment = HookEnvironment()
        environment.isKnown = false
        return environment
    }()

    package init(_ variables: [String: String] = [:]) { self.variables = variables }

    struct Missing: Error, CustomStringConvertible {
        let name: String
        var description: String { "\(name) not found: missing env var" }
    }

    /// A text that may hold secrets: it is shown without them.
    struct Text: Sendable {
        let value: String
        let hasSecret: Bool
        var shown: String { hasSecret ? "*******" : value }
    }

    /// Puts variables in their places. A name that hooks may not see stands for nothing.
    /// - Throws: `Missing` for a variable that they may see and that is not set.
    func fill(_ text: String) throws(Missing) -> Text {
        guard text.contains("{{") else { return Text(value: text, hasSecret: false) }
        var result = ""
        var hasSecret = false
        var rest = text[...]
        while let open = rest.firstRange(of: "{{") {
            let inside = rest[open.upperBound...]
            guard let close = inside.firstRange(of: "}}") else { break }
            let words = inside[..<close.lowerBound].split(whereSeparator: \.isWhitespace)
            result += rest[..<open.lowerBound]
            if words.count == 1, words[0].hasPrefix("ENV."),
                words[0].dropFirst(4).allSatisfy({ $0.isLetter || $0.isNumber || $0 == "_" })
            {
                result += try value(of: String(words[0].dropFirst(4)))
                hasSecret = true
            } else {
                result += rest[open.lowerBound..<close.upperBound]
            }
            rest = rest[close.upperBound...]
        }
        return Text(value: result + rest, hasSecret: hasSecret)
    }

    private func value(of name: String) throws(Missing) -> String {
        guard isKnown, isEnabled, !prefix.isEmpty, name.hasPrefix(prefix) else { return "" }
        guard let value = variables[name] else { throw Missing(name: name) }
        return value
    }
}
