package import Foundations
import Synchronization

/// One change of what a branch shows.
package struct Change: Sendable {
    package enum Kind: Sendable {
        /// These keys were written or removed.
        case keys([Key])
        /// The committed data went from one metarange to another; uncommitted changes stayed.
        case moved(from: String, to: String)
        /// Uncommitted changes became committed; no content changed.
        case committed
        /// Anything may have changed.
        case everything
        /// The branch, or its repository, is gone.
        case removed
    }
    /// Nil if it concerns every repository.
    package let repository: RepositoryID?
    /// Nil if it concerns every branch of the repository.
    package let branch: BranchName?
    package let kind: Kind
    /// Who made it, if that one needs no telling.
    package let origin: Int?

    package init(repository: RepositoryID?, branch: BranchName?, kind: Kind, origin: Int? = nil) {
        self.repository = repository
        self.branch = branch
        self.kind = kind
        self.origin = origin
    }
}

/// Every change of a branch, made by this process or told by another (`ChangeLog`), for those who keep copies: mounts,
/// which invalidate the kernel's caches. Safe from any thread; nothing is held while listeners run.
package final class ChangeFeed: Sendable {
    /// Takes a change and returns what to wait for until copies of the old state are gone, or nil. Must not block.
    package typealias Listener = @Sendable (Change) -> CountingSemaphore?

    private let listeners = Mutex<(next: Int, all: [Int: Listener])>((1, [:]))
    /// How long a writer waits for copies to go; a mount that hangs must not hold up the others.
    private static let patienceMilliseconds = 1000

    package init() {}

    /// A change that another process made: nobody here waits for copies to go.
    static func elsewhere(repository: RepositoryID?, branch: BranchName?, _ kind: Change.Kind) -> Change {
        Change(repository: repository, branch: branch, kind: kind, origin: 0)
    }

    /// Returns the subscription's number, which is also its `origin`.
    package func subscribe(_ make: (Int) -> Listener) -> Int {
        let number = listeners.withLock { state in
            defer { state.next += 1 }
            return state.next
        }
        let listener = make(number)
        listeners.withLock { $0.all[number] = listener }
        return number
    }

    package func unsubscribe(_ number: Int) { _ = listeners.withLock { $0.all.removeValue(forKey: number) } }

    /// Whether there is anybody to tell.
    package var hasListeners: Bool { listeners.withLock { !$0.all.isEmpty } }

    /// Tells all listeners. Changes of a mount (`origin` given) do not wait: the kernel may hold locks for them
    /// (`mount.md`, "Invalidation without deadlock").
    package func publish(_ change: Change) {
        let all = listeners.withLock { $0.all }
        guard !all.isEmpty else { return }
        let pending = all.compactMap { $0.value(change) }
        guard change.origin == nil else { return }
        for semaphore in pending where !semaphore.wait(milliseconds: Self.patienceMilliseconds) { return }
    }
}
