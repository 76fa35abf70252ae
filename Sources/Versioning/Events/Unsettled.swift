package import Foundations
import Synchronization

/// Writers that hold back what they have closed for a while: a mount does so with all of them. Whoever looks at a
/// branch has them settle it first, so that a close is seen at once all the same (`mount.md` section 2, publishing).
/// While nobody holds anything back it costs one atomic read. Safe from any thread.
package final class Unsettled: Sendable {
    /// Publishes what is held back on a branch: what concerns a path, or (nil) all of it.
    package typealias Settle = @Sendable (Key?) -> Void

    private struct Writer {
        let repository: RepositoryID, branch: BranchName
        let settle: Settle
    }

    /// How many things are held back.
    private let count = Atomic<Int>(0)
    private let writers = Mutex<(next: Int, all: [Int: Writer])>((1, [:]))

    /// Registers a writer. Returns its number.
    package func add(repository: RepositoryID, branch: BranchName, _ settle: @escaping Settle) -> Int {
        writers.withLock { writers in
            defer { writers.next += 1 }
            writers.all[writers.next] = Writer(repository: repository, branch: branch, settle: settle)
            return writers.next
        }
    }

    package func remove(_ number: Int) { _ = writers.withLock { $0.all.removeValue(forKey: number) } }

    /// So many more things are held back; fewer, if negative.
    package func hold(_ number: Int = 1) { count.add(number, ordering: .acquiringAndReleasing) }

    /// Whether anything is held back: to look at a branch may take a while then.
    package var isHolding: Bool { count.load(ordering: .acquiring) > 0 }

    /// Has published what is held back on a branch: what concerns a path, or all of it. May block as long as publishing
    /// takes.
    package func settle(_ branch: BranchName, in repository: RepositoryID, _ path: Key? = nil) {
        guard isHolding else { return }
        for writer in writers.withLock({ Array($0.all.values) })
        where writer.repository == repository && writer.branch == branch { writer.settle(path) }
    }
}
