package import Glibc

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

/// Lets the calling thread wait.
package func sleep(milliseconds: Int) {
    usleep(UInt32(clamping: max(0, milliseconds) * 1000))
}
