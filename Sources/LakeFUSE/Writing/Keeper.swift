import CacheStore
import CLinux
import Glibc
import Synchronization
import Versioning

/// The thread of a tree that does what nobody waits for: rows go to the index within some milliseconds, to disk within a second,
/// and what has been quiet for a while to the branch.
final class Keeper: Sendable {
    private let signal = CountingSemaphore()
    private let isAsleep = Atomic<Bool>(false), isStopping = Atomic<Bool>(false)
    private let thread = Mutex<Thread?>(nil)
    /// Rows that could not be written yet.
    let backlog = Mutex<[WriteStaging.Change]>([])

    /// Milliseconds.
    private static let rowDelay: UInt32 = 10, syncDelay: Int64 = 1000
    static let quiet: Int64 = 1000, longest: Int64 = 5000
    /// Changes that are held back at most before they are published though others come.
    private static let mostDirty = 50_000

    /// There is something to do.
    func wake() { if isAsleep.exchange(false, ordering: .acquiringAndReleasing) { signal.post() } }

    func start(_ tree: Tree) {
        let thread = Thread(name: "tree-keeper") { [self, weak tree] in
            var synced: Int64 = 0, published = Timestamp.monotonicMilliseconds(), wait = 60_000, hasFailed = false
            // How much had been done when there was last nothing to publish.
            var seen: UInt64 = 0
            while true {
                isAsleep.store(true, ordering: .sequentiallyConsistent)
                if let tree, !tree.hasUnwritten { _ = signal.wait(milliseconds: wait) }
                isAsleep.store(false, ordering: .releasing)
                guard !isStopping.load(ordering: .acquiring) else { return }
                usleep(Self.rowDelay * 1000)  // What comes meanwhile is written with it.
                guard let tree else { return }
                let now = Timestamp.monotonicMilliseconds()
                do {
                    try tree.writeRows()
                    if now - synced >= Self.syncDelay {
                        try tree.keepDurable()
                        synced = Timestamp.monotonicMilliseconds()
                    }
                    let (active, actions, dirty) = tree.activity, isQuiet = now - active >= Self.quiet
                    if dirty > 0, actions != seen, isQuiet || now - published >= Self.longest || dirty > Self.mostDirty {
                        let isDone = try tree.publish(dirty > Self.mostDirty ? .closed : .quiet)
                        if isDone, isQuiet { seen = actions }
                        published = Timestamp.monotonicMilliseconds()
                    }
                    hasFailed = false
                } catch {
                    if !hasFailed { Log.error("what was written in a mount could not be kept", ["branch": tree.id.branch, "reason": LakeError(error).message]) }
                    hasFailed = true
                    tree.failure.withLock { $0 = LakeError(error).message }
                }
                wait = hasFailed ? 1000 : tree.isIdle(since: seen) ? 60_000 : 100
            }
        }
        self.thread.withLock { $0 = thread }
    }

    func stop() {
        isStopping.store(true, ordering: .releasing)
        signal.post()
        let thread = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        thread?.join()
    }
}

extension Tree {
    /// Whether rows wait to be written.
    var hasUnwritten: Bool { state.withLock { !$0.unwritten.isEmpty } }
    /// When something was last done, and how much the branch does not have.
    var activity: (active: Int64, actions: UInt64, dirty: Int) { state.withLock { ($0.active, $0.actions, $0.dirty.count) } }

    /// Whether there is nothing to be done later.
    /// - Parameter seen: what had been done when there was last nothing to publish.
    func isIdle(since seen: UInt64) -> Bool {
        !hasUnsyncedRows.load(ordering: .acquiring) && state.withLock { ($0.dirty.isEmpty || $0.actions == seen) && $0.unwritten.isEmpty && $0.settled.isEmpty }
    }

    /// Makes durable what was done: bytes before names. What the branch has on disk the index need not have any more.
    func keepDurable() throws {
        let settled = state.withLock { state in
            defer { state.settled = [:] }
            return state.settled
        }
        if !settled.isEmpty {
            do { try synchronizeBranch() } catch {
                state.withLock { $0.settled.merge(settled) { now, _ in now } }
                throw error
            }
            state.withLock { state in for (number, node) in settled { state.unwritten[number] = node } }
            try writeRows()
        }
        guard hasUnsyncedRows.exchange(false, ordering: .acquiringAndReleasing) else { return }
        do {
            try synchronizeBytes()
            try staging.synchronize()
        } catch {
            hasUnsyncedRows.store(true, ordering: .releasing)
            throw error
        }
    }

    /// Makes all bytes of working files durable (syncfs(2)).
    private func synchronizeBytes() throws {
        let descriptor = unsafe Glibc.open(staging.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Errno(errno) }
        defer { close(descriptor) }
        guard lake_syncfs(descriptor) == 0 else { throw Errno(errno) }
    }

    func synchronizeBranch() throws {
        hasUnsyncedObjects.store(false, ordering: .releasing)
        do { try view.synchronize() } catch {
            hasUnsyncedObjects.store(true, ordering: .releasing)
            throw error
        }
    }
}
