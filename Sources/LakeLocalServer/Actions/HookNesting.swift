import Foundations
import Glibc
import Synchronization

/// How deep hooks are within each other: a script may make a tag, whose hooks run scripts, on the same thread.
final class HookNesting: Sendable {
    private let depths = Mutex<[pthread_t: Int]>([:])
    /// Runs within each other; more are refused.
    static let deepest = 4

    /// Of the calling thread; 0 where no hook runs.
    var depth: Int { depths.withLock { $0[pthread_self()] ?? 0 } }

    /// Runs something on the calling thread as being so deep.
    func within<Result>(_ depth: Int, _ body: () throws -> Result) rethrows -> Result {
        let thread = pthread_self()
        let old = depths.withLock { depths in
            defer { depths[thread] = depth }
            return depths[thread]
        }
        defer { depths.withLock { $0[thread] = old } }
        return try body()
    }
}
