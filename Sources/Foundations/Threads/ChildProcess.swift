package import CLinux
import Glibc

/// A process of this same program, with a socket to it as its standard input. It gets no environment.
package enum ChildProcess {
    /// - Parameters:
    ///   - arguments: behind the program's name.
    ///   - keepsPackets: whether what is written at once is read at once (unix(7), SOCK_SEQPACKET), else bytes flow.
    /// - Returns: nil if it does not start; `errno` says why.
    package static func spawn(_ arguments: [String], keepsPackets: Bool) -> (process: pid_t, channel: Int32)? {
        var pair: [Int32] = [-1, -1]
        let type = keepsPackets ? SOCK_SEQPACKET : SOCK_STREAM
        guard unsafe socketpair(AF_UNIX, Int32(type.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &pair) == 0
        else { return nil }
        var actions = unsafe posix_spawn_file_actions_t()
        var child = pid_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_adddup2(&actions, pair[1], 0)
        var words: [UnsafeMutablePointer<CChar>?] = unsafe (["lakefuse"] + arguments).map { unsafe strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] = unsafe [nil]
        defer { unsafe words.forEach { unsafe free($0) } }
        let failure = unsafe posix_spawn(&child, "/proc/self/exe", &actions, nil, &words, &variables)
        close(pair[1])
        guard failure == 0 else {
            close(pair[0])
            errno = failure
            return nil
        }
        return (child, pair[0])
    }

    /// Whether it has not ended. When it has, nothing is left of it, and `end` is not to be called.
    package static func isAlive(_ process: pid_t) -> Bool {
        var status: Int32 = 0
        return unsafe waitpid(process, &status, WNOHANG) == 0
    }

    /// Ends it, and waits until it is gone.
    package static func end(_ process: pid_t) {
        kill(process, SIGKILL)
        var status: Int32 = 0
        while unsafe waitpid(process, &status, 0) < 0, errno == EINTR {}
    }
}

/// What a program of somebody else's may take.
package struct ProgramBounds: Sendable {
    package var milliseconds = 20_000
    /// Seconds of processor time, and bytes of address space.
    package var processorSeconds = 30
    package var addressSpace = 3 << 30
    /// Bytes of its output; it is ended when it has written more.
    package var output = 1 << 20
    package init() {}
}

/// What a program has said by its end.
package struct ProgramOutcome: Sendable {
    package var output: [UInt8] = []
    package var errors: [UInt8] = []
    /// It has written more than it might, or taken longer.
    package var isCut = false, isLate = false
    /// The exit status was 0.
    package var hasSucceeded = false
}

extension ChildProcess {
    /// A program on the PATH.
    package static func program(named name: String) -> String? {
        guard let path = unsafe getenv("PATH") else { return nil }
        return unsafe String(cString: path).split(separator: ":").map { "\($0)/\(name)" }.first { path in
            unsafe FileStatus(path: path)?.isFolder == false && access(path, X_OK) == 0
        }
    }

    /// The hidden word by which this program becomes another one that is confined.
    package static let confinedCommand = "__confined"

    /// Whether another program can be kept from writing files here (landlock(7)).
    package static var canConfine: Bool { lake_landlock_version() >= 1 }

    /// Puts a program in this one's place that may write nothing but what it has open, has no environment, and is the
    /// first that the system ends when memory runs out.
    /// - Parameter words: its seconds of processor time and bytes of address space, its path, its arguments.
    /// - Returns: only if that cannot be.
    package static func becomeConfined(_ words: [String]) -> Int32 {
        guard words.count >= 3, let seconds = rlim_t(words[0]), let bytes = rlim_t(words[1]) else { return 2 }
        for (resource, bound) in [(RLIMIT_CPU, seconds), (RLIMIT_AS, bytes), (RLIMIT_CORE, 0), (RLIMIT_FSIZE, 0)] {
            var limit = rlimit(rlim_cur: bound, rlim_max: bound)
            guard unsafe setrlimit(__rlimit_resource_t(resource.rawValue), &limit) == 0 else { return 2 }
        }
        setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 15)
        let score = unsafe open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)
        if score >= 0 {
            unsafe write(score, "1000", 4)
            close(score)
        }
        guard lake_forbid_writing() == 0 else { return 2 }
        var arguments: [UnsafeMutablePointer<CChar>?] = unsafe words.dropFirst(2).map { unsafe strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] = unsafe [nil]
        unsafe execve(words[2], &arguments, &variables)
        return 2
    }

    /// Runs a program to its end, confined, nice and without an environment.
    /// - Parameter input: its standard input; stays open.
    /// - Returns: nil if it does not start; `errno` says why.
    package static func run(
        _ program: String, _ arguments: [String], input: Int32, within bounds: ProgramBounds
    ) -> ProgramOutcome? {
        var (output, errors): ([Int32], [Int32]) = ([-1, -1], [-1, -1])
        guard unsafe lake_pipe(&output) == 0 else { return nil }
        defer { close(output[0]) }
        guard unsafe lake_pipe(&errors) == 0 else {
            close(output[1])
            return nil
        }
        defer { close(errors[0]) }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        for (from, to) in [(input, Int32(0)), (output[1], 1), (errors[1], 2)] {
            unsafe posix_spawn_file_actions_adddup2(&actions, from, to)
        }
        let line = [
            "lakefuse", confinedCommand, "\(bounds.processorSeconds)", "\(bounds.addressSpace)", program,
        ]
        var words: [UnsafeMutablePointer<CChar>?] = unsafe (line + arguments).map { unsafe strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] = unsafe [nil]
        defer { unsafe words.forEach { unsafe free($0) } }
        var child = pid_t()
        let failure = unsafe posix_spawn(&child, "/proc/self/exe", &actions, nil, &words, &variables)
        close(output[1])
        close(errors[1])
        guard failure == 0 else {
            errno = failure
            return nil
        }
        var outcome = ProgramOutcome()
        read(output[0], errors[0], &outcome, within: bounds)
        if outcome.isCut || outcome.isLate { kill(child, SIGKILL) }
        var status: Int32 = 0
        while unsafe waitpid(child, &status, 0) < 0, errno == EINTR {}
        outcome.hasSucceeded = status == 0
        return outcome
    }

    /// Reads both pipes to their ends, or as far as it may.
    private static func read(
        _ output: Int32, _ errors: Int32, _ outcome: inout ProgramOutcome, within bounds: ProgramBounds
    ) {
        let deadline = Timestamp.monotonicMilliseconds() + Int64(bounds.milliseconds)
        var piece = [UInt8](repeating: 0, count: 65536)
        var waiting = [output, errors].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        while waiting.contains(where: { $0.fd >= 0 }) {
            let left = deadline - Timestamp.monotonicMilliseconds()
            guard left > 0 else {
                outcome.isLate = true
                return
            }
            guard unsafe poll(&waiting, nfds_t(waiting.count), Int32(left)) > 0 else { continue }
            for index in waiting.indices where waiting[index].fd >= 0 && waiting[index].revents != 0 {
                let count = unsafe Glibc.read(waiting[index].fd, &piece, piece.count)
                guard count > 0 else {
                    waiting[index].fd = -1
                    continue
                }
                if index == 0 { outcome.output += piece[..<count] } else { outcome.errors += piece[..<count] }
                guard outcome.output.count + outcome.errors.count <= bounds.output else {
                    outcome.isCut = true
                    return
                }
            }
        }
    }
}

/// Lets the calling thread wait.
package func sleep(milliseconds: Int) {
    usleep(UInt32(clamping: max(0, milliseconds) * 1000))
}
