import Foundations
import Glibc
import Synchronization

/// How far a transfer or a task is: one line on a terminal, drawn over again; nothing elsewhere. Safe from any thread.
final class Progress: Sendable {
    private struct State {
        var things = 0
        var bytes: Int64 = 0
        var drawn: Int64 = 0
    }
    /// Whether a line stands on the terminal that has to go before another is written.
    static let isDrawn = Atomic<Bool>(false)
    private let state = Mutex(State())
    private let what: String
    private let totalThings: Int?, totalBytes: Int64?
    private let isShown: Bool
    private let started = Timestamp.monotonicMilliseconds()

    /// - Parameters:
    ///   - things: how many there are to do, where that is known.
    ///   - bytes: how many bytes they have.
    init(_ what: String, things: Int? = nil, bytes: Int64? = nil, isShown: Bool = true) {
        self.what = what
        (totalThings, totalBytes) = (things, bytes)
        self.isShown = isShown && Output.isErrorTerminal
    }

    func add(things: Int = 0, bytes: Int64 = 0) {
        guard isShown else { return }
        let shown = state.withLock { state -> String? in
            state.things += things
            state.bytes += bytes
            let now = Timestamp.monotonicMilliseconds()
            guard now - state.drawn >= 100 else { return nil }
            state.drawn = now
            return line(state, now)
        }
        if let shown {
            Output.write("\r\u{1b}[K" + shown, to: 2)
            Self.isDrawn.store(true, ordering: .relaxed)
        }
    }

    /// How far a task is that somebody else does.
    func set(things: Int) { add(things: things - state.withLock { $0.things }) }

    private func line(_ state: State, _ now: Int64) -> String {
        let seconds = max(0.001, Double(now - started) / 1000)
        var text = "\(what) \(state.things)" + (totalThings.map { "/\($0)" } ?? "")
        if state.bytes > 0 {
            text += ", \(Output.humanSize(state.bytes))" + (totalBytes.map { " of \(Output.humanSize($0))" } ?? "")
            text += ", \(Output.humanSize(Int64(Double(state.bytes) / seconds)))/s"
        } else {
            text += ", \(Int(Double(state.things) / seconds))/s"
        }
        let done =
            totalBytes.map { Double(state.bytes) / Double(max(1, $0)) }
            ?? totalThings.map { Double(state.things) / Double(max(1, $0)) }
        if let done, done > 0.001, seconds > 1 {
            let left = Int(seconds / done - seconds)
            text += ", \(left / 60):\(left % 60 < 10 ? "0" : "")\(left % 60) left"
        }
        return text
    }

    /// Takes the line away.
    func end() { if isShown { Output.write("\r\u{1b}[K", to: 2) } }
}

/// Files that are half-written: gone when the program is told to end (SIGINT, SIGTERM), which then exits with 128 and the
/// signal's number.
enum HalfWritten {
    private struct State {
        var paths: Set<String> = []
        var hasEnded = false
    }
    private static let state = Mutex(State())
    private static let waiting = Mutex<Thread?>(nil)
    private static let watches = Atomic<Bool>(false)

    /// Waits for signals from now on. Called before other threads are started, which inherit that they are blocked.
    static func watch() {
        Output.isWork.store(true, ordering: .relaxed)
        guard !watches.exchange(true, ordering: .relaxed) else { return }
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe sigaddset(&signals, SIGINT)
        unsafe sigaddset(&signals, SIGTERM)
        unsafe pthread_sigmask(SIG_BLOCK, &signals, nil)
        let thread = Thread(name: "signals") { [signals] in
            var (signals, received) = (signals, Int32(0))
            guard unsafe sigwait(&signals, &received) == 0 else { return }
            removeAll()
            if Output.isErrorTerminal { Output.write("\r\u{1b}[K", to: 2) }
            _exit(128 + received)
        }
        waiting.withLock { $0 = thread }
    }

    private static func removeAll() {
        state.withLock { state in
            state.hasEnded = true
            for path in state.paths { unsafe unlink(path) }
        }
    }

    /// Opens a file that goes if the program is told to end; once it was, nothing is opened any more.
    /// - Returns: negative if it cannot be; `errno` says why.
    static func open(_ path: String, _ flags: Int32) -> Int32 {
        let (descriptor, number) = state.withLock { state -> (Int32, Int32) in
            guard !state.hasEnded else { return (-1, 0) }
            let descriptor = unsafe Glibc.open(path, flags, 0o644)
            if descriptor >= 0 { state.paths.insert(path) }
            return (descriptor, errno)
        }
        // The program is about to end, by another thread.
        while descriptor < 0 && number == 0 { sleep(milliseconds: 1000) }
        errno = number
        return descriptor
    }

    /// It has its final name, or went, or stays.
    static func forget(_ path: String) { state.withLock { _ = $0.paths.remove(path) } }
}
