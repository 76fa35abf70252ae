import CHTTP
import Foundations
import Synchronization

/// How many of a daemon's connections are suspended: it must not be stopped while one is. Source: libmicrohttpd manual,
/// `MHD_suspend_connection`.
final class SuspendedConnections: Sendable {
    /// Negative once none may be suspended any more.
    private let count = Atomic<Int>(0)

    /// A suspended connection: only who resumes it touches it.
    @safe struct Resumable: @unchecked Sendable {
        fileprivate let connection: OpaquePointer
        fileprivate let owner: SuspendedConnections
        /// To be called once, on any thread.
        func resume() {
            unsafe MHD_resume_connection(connection)
            owner.count.subtract(1, ordering: .releasing)
        }
    }

    /// Suspends a connection. To be called on its own thread.
    /// - Returns: nil if none may be suspended any more: the daemon is about to stop, and the connection is to be ended.
    func suspend(_ connection: OpaquePointer) -> Resumable? {
        guard count.add(1, ordering: .relaxed).newValue > 0 else {
            count.subtract(1, ordering: .relaxed)
            return nil
        }
        unsafe MHD_suspend_connection(connection)
        return unsafe Resumable(connection: connection, owner: self)
    }

    /// Whether none is suspended; from then on none can be.
    func close() -> Bool {
        let (isClosed, found) = count.compareExchange(
            expected: 0, desired: Int.min / 2, ordering: .acquiringAndReleasing)
        return isClosed || found < 0
    }
}

/// A connection that its stream may suspend, and the pool that works meanwhile.
@safe struct LentConnection: @unchecked Sendable {
    private let connection: OpaquePointer
    private let pool: WorkerPool
    private let suspended: SuspendedConnections
    init(_ connection: OpaquePointer, _ pool: WorkerPool, _ suspended: SuspendedConnections) {
        unsafe self.connection = connection
        self.pool = pool
        self.suspended = suspended
    }

    /// Suspends it until `work` is done. To be called on its own thread.
    /// - Returns: whether it could.
    func suspend(for work: @escaping @Sendable () -> Void) -> Bool {
        guard let resumable = unsafe suspended.suspend(connection) else { return false }
        pool.run {
            work()
            resumable.resume()
        }
        return true
    }
}
