import Foundations

/// Walking commits: merge base and log. Source: `lakefs-formats.md` 7.8, 7.9.
extension RefStore {
    /// The best common ancestor by generation, or nil.
    func mergeBase(_ left: CommitID, _ right: CommitID, in repository: Repository) throws -> CommitID? {
        if left == right { return left }
        let pair = CommitPair(partition: repository.partition, left: left, right: right)
        if let known = mergeBases[pair] { return known }
        let found = try findMergeBase(left, right, in: repository)
        if let found { mergeBases.insert(found, for: pair) }
        return found
    }

    private func findMergeBase(_ left: CommitID, _ right: CommitID, in repository: Repository) throws -> CommitID? {
        var flags: [CommitID: UInt8] = [right: 2]
        flags[left, default: 0] |= 1
        var queue: [(id: CommitID, commit: Commit)] = []
        func push(_ id: CommitID) throws {
            let commit = try commit(id, in: repository)
            // Greatest generation first, then the later date; an insertion keeps the queue sorted, greatest last.
            let place =
                queue.firstIndex { other in
                    (other.commit.generation, other.commit.creationDate) > (commit.generation, commit.creationDate)
                } ?? queue.count
            queue.insert((id, commit), at: place)
        }
        try push(left)
        try push(right)
        while let current = queue.popLast() {
            for parent in current.commit.parents {
                if flags[parent] == nil { try push(parent) }
                flags[parent, default: 0] |= flags[current.id]!
                if flags[parent] == 3 { return parent }
            }
        }
        return nil
    }
}

/// The commits reachable from one, newest first; of equal dates the greater id first.
struct LogCursor {
    private let refs: RefStore
    private let repository: Repository
    private let firstParentOnly: Bool
    private let since: Timestamp?
    /// A binary heap, the newest on top.
    private var heap: [(id: CommitID, commit: Commit)] = []
    private var seen: Set<CommitID> = []

    init(_ refs: RefStore, _ repository: Repository, from id: CommitID, firstParentOnly: Bool, since: Timestamp?) throws
    {
        self.refs = refs
        self.repository = repository
        self.firstParentOnly = firstParentOnly
        self.since = since
        try push(id)
    }

    private static func isNewer(_ a: (id: CommitID, commit: Commit), _ b: (id: CommitID, commit: Commit)) -> Bool {
        a.commit.creationDate != b.commit.creationDate ? a.commit.creationDate > b.commit.creationDate : a.id > b.id
    }

    private mutating func push(_ id: CommitID) throws {
        guard seen.insert(id).inserted else { return }
        let commit = try refs.commit(id, in: repository)
        if let since, commit.creationDate < since { return }
        heap.append((id, commit))
        var child = heap.count - 1
        while child > 0, Self.isNewer(heap[child], heap[(child - 1) / 2]) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private mutating func pop() -> (id: CommitID, commit: Commit)? {
        guard let top = heap.first else { return nil }
        let last = heap.removeLast()
        guard !heap.isEmpty else { return top }
        heap[0] = last
        var parent = 0
        while true {
            var best = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && Self.isNewer(heap[child], heap[best]) { best = child }
            if best == parent { return top }
            heap.swapAt(parent, best)
            parent = best
        }
    }

    mutating func next() throws -> (id: CommitID, commit: Commit)? {
        guard let top = pop() else { return nil }
        for parent in firstParentOnly ? Array(top.commit.parents.prefix(1)) : top.commit.parents { try push(parent) }
        return top
    }
}
