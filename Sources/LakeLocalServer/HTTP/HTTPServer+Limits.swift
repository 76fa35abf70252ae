import Foundations
import Glibc

extension HTTPServer {
    /// How connections are taken.
    package struct Limits: Sendable {
        /// Threads that read and answer.
        package var threads: UInt32 = 4
        /// Bytes of memory a connection; also the size of a body's pieces. It is cleared for every request, so more of
        /// it makes small requests slower than it makes large bodies faster.
        package var connectionMemoryBytes = 64 * 1024
        /// `limits.connections`, `limits.connections_per_address`. With `connectionMemoryBytes` it bounds what heads
        /// take.
        package var connections = 2048, connectionsPerAddress = 1024
        /// Seconds after which a silent connection is closed.
        package var idleSeconds: UInt32 = 300
        /// Seconds for the head of a request, and for the first one of a connection.
        package var headSeconds: UInt32 = 30
        /// A body or an answer that moves less than a KiB in so many seconds is given up.
        package var progressSeconds: UInt32 = 60
        package init() {}

        /// Descriptors that are not for connections: tables that stay open, the database, mounts.
        private static let otherDescriptors = 700

        /// No more connections than there are descriptors for, with a file each.
        var fitting: Connections.Limits {
            var limit = rlimit()
            var result = Connections.Limits()
            result.most = connections
            if unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur != rlim_t.max
            {
                let room = Int(clamping: limit.rlim_cur)
                result.most = min(
                    connections,
                    max(16, room > 2 * Self.otherDescriptors ? (room - Self.otherDescriptors) / 2 : room / 4))
            }
            result.mostOfOneAddress = min(connectionsPerAddress, result.most)
            result.idleMilliseconds = Int64(idleSeconds) * 1000
            result.headMilliseconds = Int64(headSeconds) * 1000
            result.progressMilliseconds = Int64(progressSeconds) * 1000
            return result
        }
    }
}
