import Foundations
import LakeAPI
import Versioning

/// How values look on pages.
enum Show {
    /// A name with what cannot be seen made visible: control characters, marks that turn the direction of text, bytes that
    /// are no UTF-8. Who copies a name uses the button beside it, which has it as it is.
    static func name(_ key: some Collection<UInt8>) -> HTML {
        var html: HTML = "<bdi>"
        var plain = ""
        func flush(_ html: inout HTML) {
            if !plain.isEmpty { html += "\(plain)" }
            plain = ""
        }
        var decoder = UTF8()
        var iterator = key.makeIterator()
        while true {
            switch decoder.decode(&iterator) {
            case .scalarValue(let scalar) where isHidden(scalar):
                flush(&html)
                html += "<i class=\"odd\">\(escape(scalar))</i>"
            case .scalarValue(let scalar): plain.unicodeScalars.append(scalar)
            case .emptyInput:
                flush(&html)
                html += "</bdi>"
                return html
            case .error:
                flush(&html)
                html += "<i class=\"odd\" title=\"not UTF-8\">?</i>"
            }
        }
    }

    static func name(_ text: String) -> HTML { name(text.utf8) }
    static func name(_ key: Key) -> HTML { name(key.bytes) }

    private static func escape(_ scalar: Unicode.Scalar) -> String {
        switch scalar {
        case "\n": "\\n"
        case "\r": "\\r"
        case "\t": "\\t"
        default: "U+" + String(scalar.value, radix: 16, uppercase: true)
        }
    }

    private static func isHidden(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7f..<0xa0, 0x200b...0x200f, 0x2028...0x202e, 0x2060...0x2069, 0xfeff: true
        default: false
        }
    }

    private static let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]

    /// `12.3 MiB`, with the number of bytes behind it on demand.
    static func size(_ bytes: Int64) -> HTML {
        "<span title=\"\(grouped(bytes)) bytes\">\(sizeText(bytes))</span>"
    }

    static func sizeText(_ bytes: Int64) -> String {
        var unit = 0
        var tenths = bytes * 10
        while tenths >= 10_240, unit < units.count - 1 {
            tenths /= 1024
            unit += 1
        }
        if unit == 0 { return "\(bytes) B" }
        return tenths >= 1000 ? "\(tenths / 10) \(units[unit])" : "\(tenths / 10).\(tenths % 10) \(units[unit])"
    }

    /// `1,234,567`.
    static func grouped(_ number: some BinaryInteger) -> String {
        let digits = Array("\(number.magnitude)")
        var text = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % 3 == 0 { text += "," }
            text.append(digit)
        }
        return (number < 0 ? "-" : "") + text
    }

    /// `3 changes`, `1 change`, `10,000+ changes`.
    static func count(_ number: Int, _ one: String, _ many: String? = nil, orMore: Bool = false) -> String {
        "\(grouped(number))\(orMore ? "+" : "") \(number == 1 && !orMore ? one : many ?? one + "s")"
    }

    /// How long ago, the time itself on demand.
    static func time(_ time: Timestamp) -> HTML {
        "<time datetime=\"\(time.rfc3339)\" title=\"\(absolute(time))\">\(relative(time, .now()))</time>"
    }

    static func time(_ seconds: Int64) -> HTML { time(Timestamp(seconds: seconds)) }

    /// A time of the API, `2006-01-02T15:04:05Z`; as it is if it is none.
    static func time(_ text: String) -> HTML { Timestamp(rfc3339: text).map { time($0) } ?? "\(text)" }

    private static func absolute(_ time: Timestamp) -> String {
        time.rfc3339.replacing("T", with: " ").replacing("Z", with: " UTC")
    }

    private static func relative(_ time: Timestamp, _ now: Timestamp) -> String {
        let seconds = now.seconds - time.seconds
        func told(_ number: Int64, _ unit: String) -> String {
            let text = "\(number) \(unit)\(number == 1 ? "" : "s")"
            return seconds < 0 ? "in \(text)" : "\(text) ago"
        }
        let magnitude = Int64(clamping: seconds.magnitude)
        switch magnitude {
        case 0..<10: return "just now"
        case 10..<60: return told(magnitude, "second")
        case 60..<3600: return told(magnitude / 60, "minute")
        case 3600..<86_400: return told(magnitude / 3600, "hour")
        case 86_400..<2_592_000: return told(magnitude / 86_400, "day")
        default: return String(time.rfc3339.prefix(10))
        }
    }

    /// How long something took, in seconds.
    static func duration(_ seconds: Int64) -> String {
        switch seconds {
        case ..<1: "under a second"
        case ..<60: "\(seconds) s"
        case ..<3600: "\(seconds / 60) min \(seconds % 60) s"
        default: "\(seconds / 3600) h \(seconds / 60 % 60) min"
        }
    }

    /// The first digits of a commit's id.
    static func short(_ id: String) -> String { String(id.prefix(12)) }

    /// The first line of a message.
    static func title(_ message: String) -> String {
        let line = message.split(whereSeparator: \.isNewline).first.map(String.init) ?? ""
        return line.count > 120 ? String(line.prefix(119)) + "…" : line.isEmpty ? "(no message)" : line
    }

    /// A commit in a cell: what, by whom and when.
    static func commit(_ commit: API.Commit, of id: RepositoryID) -> HTML {
        "<a href=\"\(Link(id, "commits", commit.id))\">\(title(commit.message))</a> <span class=\"faint\">\(commit.committer), \(time(commit.creationDate))</span>"
    }

    /// What names a row within a page, for what is loaded later: any name may be in it, so it is a digest.
    static func mark(_ name: some Sequence<UInt8>) -> String { short(Hex.text(Hash.digest(.md5, Array(name)))) }

    /// A button that copies a text.
    static func copy(_ text: String, _ what: String) -> HTML {
        "<button type=\"button\" class=\"copy\" data-copy=\"\(text)\" aria-label=\"Copy \(what)\" hidden>copy</button>"
    }

    /// A line that can be copied.
    static func copied(_ label: String, _ text: String) -> HTML {
        "<div class=\"copied\"><dt>\(label)</dt><dd><code>\(name(text))</code> \(copy(text, label))</dd></div>"
    }

    /// A word for the shell.
    static func quoted(_ word: String) -> String {
        let isPlain =
            !word.isEmpty
            && word.utf8.allSatisfy { byte in
                (byte >= 48 && byte <= 57) || (byte >= 65 && byte <= 90) || (byte >= 97 && byte <= 122)
                    || "-_./:@=+,~%".utf8.contains(byte)
            }
        return isPlain ? word : "'" + word.replacing("'", with: "'\\''") + "'"
    }
}
