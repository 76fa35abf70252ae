import Foundations
import Transport

/// The address of a hook.
struct HookURL {
    /// As it is written.
    let text: String
    /// Whether its query may hold what must not be told: another server made it of one that did.
    private let hasSecrets: Bool

    init(_ text: String, hasSecrets: Bool = false) {
        self.text = text
        self.hasSecrets = hasSecrets
    }

    /// Without a password, and without a query that may hold secrets.
    var shown: String {
        hasSecrets ? String(withoutPassword.prefix { $0 != "?" }) : withoutPassword
    }

    /// What stands between the scheme and the path, and where its login ends; nil where there is no scheme.
    private var place: (authority: Substring, loginEnd: Substring.Index?)? {
        guard let scheme = text.firstRange(of: "://") else { return nil }
        let authority = text[scheme.upperBound...].prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        return (authority, authority.lastIndex(of: "@"))
    }

    private var withoutPassword: String {
        guard let (authority, end) = place, let end, let colon = authority[..<end].firstIndex(of: ":") else {
            return text
        }
        return String(text[..<colon] + ":***" + text[end...])
    }

    /// `host:port`, for what is told of a connection.
    var authority: String {
        guard let (authority, end) = place else { return text }
        let host = end.map { authority[authority.index(after: $0)...] } ?? authority
        return host.contains(":") ? String(host) : String(host) + (text.hasPrefix("https") ? ":443" : ":80")
    }

    /// Without a login and a query: what another server may be told.
    var referer: String {
        let rest = text.prefix { $0 != "?" && $0 != "#" }
        guard let (authority, end) = place, let end else { return String(rest) }
        return String(rest[..<authority.startIndex] + rest[rest.index(after: end)...])
    }

    /// What is asked for: encoded where it must be, its query sorted by name with more in it.
    /// - Throws: `HookFailure` for what is no address.
    func target(adding parameters: [(String, String)] = []) throws -> String {
        guard let scheme = text.firstRange(of: "://"), scheme.lowerBound > text.startIndex else {
            let first = text.prefix { $0 != "/" && $0 != "?" }
            throw HookFailure(
                first.contains(":")
                    ? "parse \"\(text)\": first path segment in URL cannot contain colon"
                    : "Post \"\(text)\": unsupported protocol scheme \"\"")
        }
        guard ["http", "https"].contains(text[..<scheme.lowerBound].lowercased()) else {
            throw HookFailure("Post \"\(shown)\": unsupported protocol scheme \"\(text[..<scheme.lowerBound])\"")
        }
        let whole = text.prefix { $0 != "#" }
        let mark = whole.firstIndex(of: "?") ?? whole.endIndex
        var bytes: [UInt8] = []
        for byte in whole[..<mark].utf8 {
            if byte > 0x20, byte < 0x7f, !"\"<>\\^`{|}".utf8.contains(byte) {
                bytes.append(byte)
            } else {
                bytes += "%\(Hex.text([byte]).uppercased())".utf8
            }
        }
        let given = mark == whole.endIndex ? "" : String(whole[whole.index(after: mark)...])
        var items = URIEncoding.query(given, plusIsSpace: true).map { ($0.name, $0.value) }
        items += parameters
        guard !items.isEmpty else { return String(decoding: bytes, as: UTF8.self) }
        let query = items.enumerated().sorted { ($0.element.0, $0.offset) < ($1.element.0, $1.offset) }.map {
            "\(Self.escaped($0.element.0))=\(Self.escaped($0.element.1))"
        }
        return String(decoding: bytes, as: UTF8.self) + "?" + query.joined(separator: "&")
    }

    private static func escaped(_ text: String) -> String {
        URIEncoding.encode(text).replacing("%20", with: "+")
    }
}
