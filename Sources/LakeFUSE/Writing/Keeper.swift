import CLinux
import CacheStore
import Foundations
import Glibc
import Synchronization
import Versioning

/// The thread of a tree that does what nobody waits for: rows go to the index within some milliseconds, to disk within
/// a second, and what has been quiet for a while to the branch.
final class Keeper: Sendable {
    private let signal = CountingSemaphore()
    private let isAsleep = Atomic<Bool>(false), isStopping = Atomic<Bool>(false)
    private let threads = Mutex<[Thread]>([])
    /// The publisher's: what it is to do, and whether it is at it.
    private let publishSignal = CountingSemaphore()
    private let isPublishing = Atomic<Bool>(false)
    /// How much had been done when there was last nothing to publish, and when that was.
    private let seen = Atomic<UInt64>(0), published = Atomic<Int64>(0)
    /// Rows that could not be written yet.
    let backlog = Mutex<[WriteStaging.Change]>([])

    /// Milliseconds.
    private static let rowDelay: UInt32 = 10, syncDelay: Int64 = 1000
    private static let quiet: Int64 = 1000, longest: Int64 = 5000
    /// The same where servers look that cannot have it settled first.
    private static let quietOfShared: Int64 = 250, longestOfShared: Int64 = 1000
    /// Changes that are held back at most before they are published though others come.
    private static let mostDirty = 50_000

    /// How long what is closed is held back after the last change.
    static func quiet(_ tree: Tree) -> Int64 { tree.view.isShared ? quietOfShared : quiet }
    /// And how long while others come.
    private static func longest(_ tree: Tree) -> Int64 { tree.view.isShared ? longestOfShared : longest }

    /// There is something to do.
    func wake() { if isAsleep.exchange(false, ordering: .acquiringAndReleasing) { signal.post() } }

    func start(_ tree: Tree) {
        published.store(Timestamp.monotonicMilliseconds(), ordering: .relaxed)
        let keeper = Thread(name: "tree-keeper") { [self, weak tree] in
            var synced: Int64 = 0
            var wait = 60_000
            var hasFailed = false
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
                    considerPublishing(tree, now)
                    hasFailed = false
                } catch {
                    report(error, tree, isFirst: !hasFailed)
                    hasFailed = true
                }
                wait = hasFailed ? 1000 : tree.isIdle(since: seen.load(ordering: .acquiring)) ? 60_000 : 100
            }
        }
        // Hashing takes long, and rows must not wait for it.
        let publisher = Thread(name: "tree-publisher") { [self, weak tree] in
            var hasFailed = false
            while true {
                publishSignal.wait()
                guard !isStopping.load(ordering: .acquiring), let tree else { return }
                let (active, actions, dirty) = tree.activity
                do {
                    let isDone = try tree.publish(dirty > Self.mostDirty ? .closed : .quiet)
                    if isDone, Timestamp.monotonicMilliseconds() - active >= Self.quiet(tree) {
                        seen.store(actions, ordering: .releasing)
                    }
                    hasFailed = false
                } catch {
                    report(error, tree, isFirst: !hasFailed)
                    hasFailed = true
                    usleep(500_000)
                }
                published.store(Timestamp.monotonicMilliseconds(), ordering: .releasing)
                isPublishing.store(false, ordering: .releasing)
                wake()
            }
        }
        threads.withLock { $0 = [keeper, publisher] }
    }

    /// Has the publisher begin, if it is time and it is not at it.
    private func considerPublishing(_ tree: Tree, _ now: Int64) {
        let (active, actions, dirty) = tree.activity
        guard tree.publishesByItself, dirty > 0, actions != seen.load(ordering: .acquiring) else { return }
        guard
            now - active >= Self.quiet(tree)
                || now - published.load(ordering: .acquiring)
                    >= Self.longest(tree)
                || dirty > Self.mostDirty
        else { return }
        if !isPublishing.exchange(true, ordering: .acquiringAndReleasing) { publishSignal.post() }
    }

    private func report(_ error: any Error, _ tree: Tree, isFirst: Bool) {
        if isFirst {
            Log.error(
                "what was written in a mount could not be kept",
                ["branch": tree.id.branch.text, "reason": LakeError(error).message])
        }
        tree.failure.withLock { $0 = LakeError(error).message }
    }

    func stop() {
        isStopping.store(true, ordering: .releasing)
        signal.post()
        publishSignal.post()
        for thread in threads.withLock({ $0 }) { thread.join() }
    }
}

extension Tree {
    /// Whether rows wait to be written.
    var hasUnwritten: Bool { state.withLock { !$0.unwritten.isEmpty } }
    /// When something was last done, and how much the branch does not have.
    var activity: (active: Int64, actions: UInt64, dirty: Int) {
        state.withLock { ($0.active, $0.actions, $0.dirty.count) }
    }

    /// Whether there is nothing to be done later.
    /// - Parameter seen: what had been done when there was last nothing to publish.
    func isIdle(since seen: UInt64) -> Bool {
        !hasUnsyncedBytes.load(ordering: .acquiring)
            && state.withLock {
                ($0.dirty.isEmpty || !publishesByItself || $0.actions == seen) && $0.unwritten.isEmpty
                    && $0.settled.isEmpty
            }
    }

    /// Makes durable what was done: bytes before names. What the branch has on disk the index need not have any more.
    func keepDurable() throws {
        let (hasSettled, publishes) = state.withLock { (!$0.settled.isEmpty, $0.publishes) }
        if hasSettled {
            try synchronizeBranch()
            state.withLock { state in
                for (number, node) in state.settled where node.settledAt <= publishes {
                    state.settled[number] = nil
                    (node.settledOld, node.settledBase) = ([], nil)
                    state.unwritten[number] = node
                }
            }
            try writeRows()
        }
        guard hasUnsyncedBytes.exchange(false, ordering: .acquiringAndReleasing) else { return }
        do {
            try synchronizeBytes()
            let unnamed = state.withLock { state in
                defer { state.unnamed = [] }
                return state.unnamed
            }
            do { try staging.synchronize() } catch {
                state.withLock { $0.unnamed += unnamed }
                throw error
            }
            for file in unnamed { file.drop() }
        } catch {
            hasUnsyncedBytes.store(true, ordering: .releasing)
            if LakeError(error).code == .noSpace { removeDropped() }
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

    /// Makes durable what was published. Who comes while it is under way waits for it.
    func synchronizeBranch() throws {
        try syncing.withLock { _ in
            guard hasUnsyncedObjects.exchange(false, ordering: .acquiringAndReleasing) else { return }
            do { try view.synchronize() } catch {
                hasUnsyncedObjects.store(true, ordering: .releasing)
                throw error
            }
        }
    }
}
