import FoundationEssentials
import Foundations
import Glibc
import LakeAPI
import Synchronization

/// Writing to the terminal, or to who reads this program's output.
enum Output {
    static let isTerminal = isatty(1) != 0
    static let isErrorTerminal = isatty(2) != 0
    /// Whether what is under way is more than what it writes.
    static let isWork = Atomic<Bool>(false)

    static func write(_ text: String, to descriptor: Int32 = 1) { write(Array(text.utf8), to: descriptor) }

    static func line(_ text: String = "") { write(text + "\n") }

    /// Says something beside the output.
    static func note(_ text: String) { write(text + "\n", to: 2) }

    /// All bytes; what cannot be written ends the program, quietly if nobody reads any more.
    static func write(_ bytes: [UInt8], to descriptor: Int32 = 1) {
        if descriptor == 1, isErrorTerminal, Progress.isDrawn.exchange(false, ordering: .relaxed) {
            write("\r\u{1b}[K", to: 2)
        }
        var done = 0
        while done < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(descriptor, $0.baseAddress! + done, bytes.count - done)
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                // Work that changes something goes on though nobody reads of it.
                if descriptor == 1, errno == EPIPE, isWork.load(ordering: .relaxed) { return }
                if descriptor == 1, errno != EPIPE {
                    let reason = unsafe String(cString: strerror(errno))
                    write("cannot write the output: \(reason)\n", to: 2)
                }
                exit(1)
            }
            done += count
        }
    }

    /// Local time, as lakectl shows it.
    static func time(_ seconds: Int64) -> String {
        var time = time_t(seconds)
        var parts = unsafe tm()
        unsafe localtime_r(&time, &parts)
        var buffer = [CChar](repeating: 0, count: 64)
        let count = unsafe strftime(&buffer, buffer.count, "%Y-%m-%d %H:%M:%S %z %Z", &parts)
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// `29.6 kB`
    static func humanSize(_ bytes: Int64) -> String {
        guard bytes >= 1000 else { return "\(bytes) B" }
        var value = Double(bytes)
        var unit = -1
        let units = ["kB", "MB", "GB", "TB", "PB", "EB"]
        while value >= 1000, unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10) \(units[unit])"
    }

    /// Names as one line: control characters as Go writes them.
    static func name(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7f }) else { return text }
        return text.unicodeScalars.map { scalar in
            switch scalar {
            case "\n": "\\n"
            case "\t": "\\t"
            case "\r": "\\r"
            default:
                scalar.value < 0x20 || scalar.value == 0x7f
                    ? "\\x" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16) : String(scalar)
            }
        }.joined()
    }

    /// A text of several lines, without what would command the terminal.
    static func lines(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { name(String($0)) }.joined(separator: "\n")
    }

    /// Asks before something is lost; the end of input is a no. Source: lakectl's sessions (`y` and Enter agree).
    static func agrees(_ question: String, _ invocation: Invocation) -> Bool {
        if invocation.has("yes") { return true }
        write("\(question) [y/N] ")
        guard let answer = readLine(strippingNewline: false) else {
            line()
            return false
        }
        let word = answer.split(whereSeparator: \.isWhitespace).first ?? ""
        return ["", "y", "Y", "yes"].contains(word)
    }

    static func confirm(_ question: String, _ invocation: Invocation, orElse refusal: String) throws {
        guard agrees(question, invocation) else { throw CommandError(refusal) }
    }
}

/// Rows that a list shows: a table on a terminal, else columns that tabs separate. Written in pieces where they are many.
struct Listing {
    private let head: [String]
    private var rows: [[String]] = []

    init(_ head: [String]) { self.head = head }

    mutating func add(_ row: [String]) { rows.append(row.map(Output.name)) }

    /// - Parameter more: the last name, if there is more behind it.
    func write(after more: String? = nil) {
        guard Output.isTerminal else {
            return Output.write(rows.map { $0.joined(separator: "\t") + "\n" }.joined() + "\n")
        }
        let widths = head.indices.map { column in
            ([head[column].count] + rows.map { $0[column].count }).max() ?? 0
        }
        func line(_ cells: [String]) -> String {
            String(
                zip(cells, widths).map { $0.padding($1) }.joined(separator: "  ").trimmedAtEnd) + "\n"
        }
        Pager.write(
            Style.bold(line(head)) + rows.map(line).joined()
                + (more.map { "\nThere is more: --after '\($0)' shows it.\n" } ?? ""))
    }
}

extension String {
    /// Without blanks at the end.
    var trimmedAtEnd: Substring { self[..<(lastIndex { $0 != " " }.map { index(after: $0) } ?? startIndex)] }
}

/// Colours of a terminal that wants some.
enum Style {
    private static let isOn: Bool = {
        let environment = ProcessInfo.processInfo.environment
        let isWanted = environment["NO_COLOR"]?.isEmpty != false && !Program.arguments.contains("--no-color")
        return Output.isTerminal && isWanted && environment["TERM"] != "dumb"
    }()
    static func bold(_ text: String) -> String { isOn ? "\u{1b}[1m\(text)\u{1b}[0m" : text }
    static func green(_ text: String) -> String { isOn ? "\u{1b}[32m\(text)\u{1b}[0m" : text }
    static func red(_ text: String) -> String { isOn ? "\u{1b}[31m\(text)\u{1b}[0m" : text }
    static func yellow(_ text: String) -> String { isOn ? "\u{1b}[33m\(text)\u{1b}[0m" : text }
}

/// Long output on a terminal, a screen at a time, by the program that PAGER names.
enum Pager {
    private static let program: String? = {
        guard let named = ProcessInfo.processInfo.environment["PAGER"] else { return "less -FRX" }
        return named.isEmpty ? nil : named
    }()

    static func write(_ text: String) {
        var size = winsize()
        guard Output.isTerminal, let program, unsafe ioctl(1, UInt(TIOCGWINSZ), &size) == 0,
            text.utf8.count(where: { $0 == 0x0a }) > Int(size.ws_row),
            let pipe = unsafe popen(program, "w")
        else { return Output.write(text) }
        // One that is left early wants no more.
        signal(SIGPIPE, SIG_IGN)
        let bytes = Array(text.utf8)
        unsafe fwrite(bytes, 1, bytes.count, pipe)
        // One that is not there, or fails at once, has shown nothing.
        if unsafe pclose(pipe) != 0 { Output.write(text) }
    }
}

/// `--output json`: messages of the API as they are.
extension Output {
    static func json(_ message: some JSONWritable) {
        var json = JSONWriter()
        message.write(to: &json)
        write(json.bytes + [0x0a])
    }

    /// A list as one array, written while it comes in.
    struct JSONList {
        private let isWanted: Bool
        private var count = 0
        private var pending: [UInt8] = []

        init(_ invocation: Invocation) { isWanted = invocation.isJSON }

        /// Whether it took the item, because JSON is wanted.
        mutating func takes(_ item: some JSONWritable) -> Bool {
            guard isWanted else { return false }
            var json = JSONWriter()
            item.write(to: &json)
            pending += (count == 0 ? "[" : ",\n ").utf8
            pending += json.bytes
            count += 1
            if pending.count > 1 << 16 {
                Output.write(pending)
                pending = []
            }
            return true
        }

        mutating func end() {
            guard isWanted else { return }
            Output.write(pending + (count == 0 ? "[" : "").utf8 + "]\n".utf8)
        }
    }
}

extension Invocation {
    /// Shows a list that pages by name, as much of it as `--amount` says.
    /// - Parameter next: the name that the list goes on behind.
    func showList<Item: Message>(
        _ type: Item.Type, _ parts: [String], _ query: [(String, String?)] = [], next name: (Item) -> String,
        _ head: [String], row: (Item) -> [String]
    ) throws {
        let amount = try number("amount", default: 100)
        let paging = [("prefix", value("prefix") ?? "")]
        let found = try client.list(
            type, parts, paging + query, amount: amount > 0 ? amount : .max, after: value("after") ?? "")
        if isJSON { return Output.json(found.items) }
        var list = Listing(head)
        for item in found.items { list.add(row(item)) }
        list.write(after: found.hasMore ? found.items.last.map(name) : nil)
    }
}
