import Foundations
import Synchronization
package import Versioning

/// Pages that are open, and want to hear when what they show changes. One listener of the change feed serves all of them; none
/// holds a thread. Safe from any thread.
package final class LivePages: Sendable {
    private struct Open {
        let queue: EventQueue
        let repository: RepositoryID
        /// Nil for all branches.
        let branch: BranchName?
        /// When it was opened, in milliseconds.
        let since = Timestamp.monotonicMilliseconds()
    }

    private let pages = Mutex<(next: Int, all: [Int: Open])>((0, [:]))
    private let feed: ChangeFeed
    private let subscription = Mutex<Int?>(nil)
    private let heart = Mutex<Thread?>(nil)
    private let stopping = CountingSemaphore()
    /// Pages that may be open at once.
    private static let most = 1000
    /// How often a page hears that nothing has happened: so that a client which is gone is noticed.
    private static let heartbeatMilliseconds = 15_000
    private static let longestMilliseconds: Int64 = 600_000

    package init(_ feed: ChangeFeed) { self.feed = feed }

    package func start() {
        let number = feed.subscribe { _ in
            { [weak self] change in
                self?.tell(change)
                return nil
            }
        }
        subscription.withLock { $0 = number }
        heart.withLock {
            $0 = Thread(name: "live-pages") { [self] in
                while !stopping.wait(milliseconds: Self.heartbeatMilliseconds) {
                    send(": \n\n") { _ in true }
                    endOld()
                }
            }
        }
    }

    /// Ends all; pages come back to whoever serves them next.
    package func stop() {
        if let number = subscription.withLock({ $0.take() }) { feed.unsubscribe(number) }
        stopping.post()
        let thread = heart.withLock { $0.take() }
        thread?.join()
        for open in pages.withLock({ Array($0.all.values) }) { open.queue.end() }
    }

    /// The answer to a page that listens.
    func response(for repository: RepositoryID, ref: String?) -> Response {
        let queue = EventQueue()
        let branch = ref.map { BranchName(String($0.prefix { $0 != "@" && $0 != "~" && $0 != "^" && $0 != "$" })) }
        let isRoom = pages.withLock { pages in
            if pages.all.count >= Self.most { pages.all = pages.all.filter { !$0.value.queue.isEnded } }
            guard pages.all.count < Self.most else { return false }
            pages.all[pages.next] = Open(queue: queue, repository: repository, branch: branch)
            pages.next += 1
            return true
        }
        // A browser does not ask again after this: the page works without.
        guard isRoom else { return Response(status: 204) }
        queue.send("retry: 2000\n\n")
        return Response(
            status: 200,
            headers: [
                ("Content-Type", "text/event-stream"), ("Cache-Control", "no-store"), ("X-Accel-Buffering", "no"),
            ], body: .events(queue))
    }

    private func tell(_ change: Change) {
        send("event: change\ndata: \n\n") { open in
            (change.repository == nil || change.repository == open.repository)
                && (change.branch == nil || open.branch == nil || change.branch == open.branch)
        }
    }

    /// A page asks again when its stream ends, and is asked then whether it still may.
    private func endOld() {
        let now = Timestamp.monotonicMilliseconds()
        for open in pages.withLock({ $0.all.values.filter { now - $0.since > Self.longestMilliseconds } }) {
            open.queue.end()
        }
    }

    private func send(_ text: String, where isMeant: (Open) -> Bool) {
        let meant = pages.withLock { pages in pages.all.filter { isMeant($0.value) } }
        let gone = meant.filter { !$0.value.queue.send(text) }.keys
        guard !gone.isEmpty else { return }
        pages.withLock { pages in for number in gone { pages.all[number] = nil } }
    }
}
