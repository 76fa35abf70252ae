import Foundations
import Synchronization
import Versioning

/// Hears of other processes' notifications (`LISTEN`), on a connection and a thread of its own.
final class PostgresListener: Sendable {
    let channel: String
    private let address: String
    private let isStopping = Atomic<Bool>(false)
    private let thread = Mutex<Thread?>(nil)
    /// How long it takes until an end is noticed.
    private static let turnMilliseconds = 500

    init(_ address: String, channel: String) {
        self.address = address
        self.channel = channel
    }

    func start(_ heard: @escaping @Sendable () -> Void) {
        thread.withLock { thread in
            guard thread == nil else { return }
            thread = Thread(name: "postgres-listen") { [self] in
                while !isStopping.load(ordering: .relaxed) {
                    // What was missed meanwhile is looked for.
                    heard()
                    do { try hear(heard) } catch {
                        Log.info("notifications are not heard for now", ["reason": "\(error)"])
                    }
                    sleep(milliseconds: Self.turnMilliseconds)
                }
            }
        }
    }

    private func hear(_ heard: @Sendable () -> Void) throws {
        let connection = try PostgresConnection(address, name: "lakefuse-listen")
        _ = try connection.run([PostgresStatement("LISTEN \(PostgresTable.quote(channel))", [])])
        while !isStopping.load(ordering: .relaxed) {
            guard let isHeard = connection.awaitNotification(milliseconds: Self.turnMilliseconds) else { return }
            if isHeard { heard() }
        }
    }

    func stop() {
        isStopping.store(true, ordering: .relaxed)
        thread.withLock { thread in
            defer { thread = nil }
            return thread
        }?.join()
    }
}
