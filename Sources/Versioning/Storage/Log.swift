import Glibc
import Synchronization

/// What an operator should know of: one line a message on standard error, a constant sentence and values (logfmt). Never a secret.
package enum Log {
    /// Lines a second, so that who makes errors fast cannot fill a disk; the rest are counted.
    private static let mostASecond = 50
    private static let state = Mutex((second: Int64(0), lines: 0, dropped: 0))

    /// Something that is not as it should be, and can be gone on with.
    package static func warning(_ sentence: StaticString, _ values: KeyValuePairs<String, String> = [:]) { write("warning", sentence, values) }

    /// Something that failed.
    package static func error(_ sentence: StaticString, _ values: KeyValuePairs<String, String> = [:]) { write("error", sentence, values) }

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

    private static func write(_ level: String, _ sentence: StaticString, _ values: KeyValuePairs<String, String>) {
        let now = Timestamp.now()
        let (isOver, dropped) = state.withLock { state in
            if state.second != now.seconds {
                let dropped = state.dropped
                state = (now.seconds, 1, 0)
                return (false, dropped)
            }
            state.lines += 1
            if state.lines > mostASecond { state.dropped += 1 }
            return (state.lines > mostASecond, 0)
        }
        guard !isOver else { return }
        var line = "time=\(now.rfc3339Milliseconds) level=\(level) msg=\(quoted("\(sentence)"))"
        for (name, value) in values { line += " \(name)=\(quoted(value))" }
        if dropped > 0 { line += " lines_dropped=\(dropped)" }
        _ = unsafe Array((line + "\n").utf8).withUnsafeBytes { unsafe Glibc.write(2, $0.baseAddress, $0.count) }
    }
}
