import Glibc
import Synchronization

/// What an operator should know of: one line a message, a constant sentence and values. Never a secret.
package enum Log {
    /// How much a message matters. Names are lakeFS's (`logging.level`).
    package enum Level: Int, Sendable, Comparable, CaseIterable {
        case trace, debug, info, warning, error, none

        /// By a name of lakeFS's settings, in any case; nil for what is none.
        package init?(name: String) {
            switch name.lowercased() {
            case "trace": self = .trace
            case "debug": self = .debug
            case "info": self = .info
            case "warn", "warning": self = .warning
            case "error", "fatal", "panic": self = .error
            case "null", "none": self = .none
            default: return nil
            }
        }

        package static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }
    }

    /// `logging.format`: logfmt, or a JSON object a line.
    package enum Format: String, Sendable { case text, json }

    /// Where lines go.
    package enum Output: Sendable {
        /// An open file, which stays open: 1 is standard output, 2 standard error.
        case descriptor(Int32)
        /// A file, made if it is not there and added to. When it has `mostBytes` it becomes `path.1`, what was that
        /// `path.2`, and so on up to `kept`; a new one is begun.
        case file(path: String, mostBytes: Int64, kept: Int)
    }

    private struct State {
        var format = Format.text
        var descriptor: Int32 = 2
        /// The file that the descriptor is of, if it is one that is turned.
        var file: LogFile?
        var second: Int64 = 0, lines = 0, dropped = 0
    }

    /// Lines a second, so that who makes errors fast cannot fill a disk; the rest are counted. The access log has what
    /// it has.
    private static let mostASecond = 50
    private static let state = Mutex(State())
    private static let least = Atomic<Int>(Level.info.rawValue)

    /// Says what is shown, how, and where. Said again, it opens a file anew: the old one may have been moved away.
    /// - Throws: `.invalidValue` for a file that cannot be written.
    package static func configure(level: Level, format: Format, output: Output = .descriptor(2)) throws {
        var descriptor: Int32
        var file: LogFile?
        switch output {
        case .descriptor(let given): descriptor = given
        case .file(let path, let mostBytes, let kept):
            if let current = state.withLock({ $0.file }), current.path == path {
                try current.reopen()
                file = current
            } else {
                file = try LogFile(path, mostBytes: mostBytes, kept: kept)
            }
            descriptor = file!.descriptor
        }
        least.store(level.rawValue, ordering: .relaxed)
        state.withLock { [descriptor, file] in ($0.format, $0.descriptor, $0.file) = (format, descriptor, file) }
    }

    /// Whether messages of a level are shown.
    package static func shows(_ level: Level) -> Bool {
        level.rawValue >= least.load(ordering: .relaxed) && level != .none
    }

    /// Something that happened as it should.
    package static func info(_ sentence: StaticString, _ values: KeyValuePairs<String, String> = [:]) {
        write(.info, sentence, values, isBounded: true)
    }

    /// Something that is not as it should be, and can be gone on with.
    package static func warning(_ sentence: StaticString, _ values: KeyValuePairs<String, String> = [:]) {
        write(.warning, sentence, values, isBounded: true)
    }

    /// Something that failed.
    package static func error(_ sentence: StaticString, _ values: KeyValuePairs<String, String> = [:]) {
        write(.error, sentence, values, isBounded: true)
    }

    private static func quoted(_ value: String) -> String {
        var result = "\""
        for scalar in value.unicodeScalars.prefix(1000) {
            switch scalar {
            case "\"", "\\": result += "\\\(scalar)"
            case "\n": result += "\\n"
            default: result += scalar.value < 0x20 || scalar.value == 0x7f ? "\u{fffd}" : String(scalar)
            }
        }
        return result + "\""
    }

    /// - Parameter isBounded: whether it is one of the lines of which there are so many a second at most.
    package static func write(
        _ level: Level, _ sentence: StaticString, _ values: KeyValuePairs<String, String>, isBounded: Bool = false
    ) {
        guard shows(level) else { return }
        let now = Timestamp.now()
        let (isOver, dropped, format, descriptor, file) = state.withLock { state in
            var dropped = 0
            if isBounded {
                if state.second != now.seconds {
                    dropped = state.dropped
                    (state.second, state.lines, state.dropped) = (now.seconds, 0, 0)
                }
                state.lines += 1
                if state.lines > mostASecond { state.dropped += 1 }
            }
            return (isBounded && state.lines > mostASecond, dropped, state.format, state.descriptor, state.file)
        }
        guard !isOver else { return }
        var line: String
        switch format {
        case .text:
            line = "time=\(now.rfc3339Milliseconds) level=\(level) msg=\(quoted("\(sentence)"))"
            for (name, value) in values { line += " \(name)=\(quoted(value))" }
            if dropped > 0 { line += " lines_dropped=\(dropped)" }
        case .json:
            line = "{\"time\":\"\(now.rfc3339Milliseconds)\",\"level\":\"\(level)\",\"msg\":\(quoted("\(sentence)"))"
            for (name, value) in values { line += ",\"\(name)\":\(quoted(value))" }
            if dropped > 0 { line += ",\"lines_dropped\":\(dropped)" }
            line += "}"
        }
        let written = unsafe Array((line + "\n").utf8).withUnsafeBytes {
            unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
        }
        file?.wrote(written)
    }
}
