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

    /// Commits that a walk reads one by one: behind them, all of a repository's are read in a row.
    private static let mostSteps = 500

    private func findMergeBase(_ left: CommitID, _ right: CommitID, in repository: Repository) throws -> CommitID? {
        func link(_ id: CommitID) throws -> (link: CommitLink<CommitID>, isRead: Bool) {
            let commit = try commit(id, in: repository)
            return (CommitLink(commit.generation, commit.creationDate, commit.parents), true)
        }
        var walk = try AncestorWalk.from(left, right, most: Self.mostSteps, link)
        guard case .tooFar = walk else { return walk.base }
        // The history is long. What was read in a row before may do.
        if let from = CommitDigest(left), let to = CommitDigest(right) {
            let known = graphs[repository.partition]
            for find in [{ known }, { known?.isWhole == false ? known : try self.readGraph(of: repository) }] {
                guard let graph = try find(), graph.isWhole else { continue }
                let found: AncestorWalk<CommitDigest>? = try? AncestorWalk.from(from, to, most: Self.mostSteps) {
                    digest in
                    if let link = graph.links[digest] { return (link, false) }
                    let commit = try commit(digest.id, in: repository)
                    // One whose id is none is no reason to fail: it is looked for by name then.
                    let parents = commit.parents.compactMap { CommitDigest($0) }
                    guard parents.count == commit.parents.count else { throw CommitGraph.Odd() }
                    return (CommitLink(commit.generation, commit.creationDate, parents), true)
                }
                // What goes wrong here goes wrong by name too, and is told then.
                guard let found else { break }
                if case .tooFar = found { continue }
                return found.base?.id
            }
        }
        walk = try AncestorWalk.from(left, right, most: .max, link)
        return walk.base
    }

    /// Which commit follows which, of all of a repository; not whole, which is remembered too, if it has too many to be
    /// kept in memory, ids that are none, or records that cannot be read.
    private func readGraph(of repository: Repository) throws -> CommitGraph {
        var graph = CommitGraph()
        let folder = Key("commits/")
        var cursor = PartitionCursor(
            store, repository.partition, from: folder, before: folder.upperBound, pageSize: 10_000)
        while let record = try cursor.current() {
            cursor.advance()
            // A commit that is damaged is told of by who needs it.
            guard graph.links.count < CommitGraph.mostCommits,
                let digest = CommitDigest(record.key.bytes.dropFirst(folder.bytes.count)),
                let link = try? CommitLink(decoding: record.value)
            else {
                let none = CommitGraph(links: [:], isWhole: false)
                graphs.insert(none, for: repository.partition, cost: 1)
                return none
            }
            graph.links[digest] = link
        }
        graphs.insert(graph, for: repository.partition, cost: graph.links.count)
        return graph
    }
}

/// What a walk over ancestors needs of a commit.
struct CommitLink<ID: Hashable & Sendable>: Sendable {
    let generation: Int32
    let date: Timestamp
    let parents: [ID]

    init(_ generation: Int32, _ date: Timestamp, _ parents: [ID]) {
        (self.generation, self.date, self.parents) = (generation, date, parents)
    }
}

extension CommitLink<CommitDigest> {
    /// Of a stored commit; nil if it follows something whose id is none. Source: `lakefs-formats.md` 5.3.
    init?(decoding bytes: [UInt8]) throws {
        var (generation, date, parents) = (Int32(0), Timestamp(seconds: 0), [CommitDigest?]())
        try readProtobuf(bytes) { field in
            switch field.number {
            case 4: date = try field.time()
            case 7: parents.append(CommitDigest(field.bytes))
            case 9: generation = Int32(truncatingIfNeeded: field.signed)
            default: break
            }
        }
        guard parents.allSatisfy({ $0 != nil }) else { return nil }
        self.init(generation, date, parents.compactMap(\.self))
    }
}

/// The 32 bytes that a commit's id spells.
struct CommitDigest: Hashable, Sendable {
    private let words: SIMD4<UInt64>

    /// Nil for what is not 64 hex digits.
    init?(_ digits: some Collection<UInt8>) {
        guard digits.count == 64 else { return nil }
        var words = SIMD4<UInt64>()
        for (index, digit) in digits.enumerated() {
            let value: UInt8
            switch digit {
            case 0x30...0x39: value = digit - 0x30
            case 0x61...0x66: value = digit - 0x61 + 10
            default: return nil
            }
            words[index / 16] = words[index / 16] << 4 | UInt64(value)
        }
        self.words = words
    }

    init?(_ id: CommitID) { self.init(id.text.utf8) }

    var id: CommitID {
        CommitID(
            (0..<4).map { index in
                let digits = String(words[index], radix: 16)
                return String(repeating: "0", count: 16 - digits.count) + digits
            }.joined())
    }
}

/// All commits of a repository, each with what it follows.
struct CommitGraph: Sendable {
    /// Commits that are kept in memory, some 160 bytes each.
    static let mostCommits = 300_000
    var links: [CommitDigest: CommitLink<CommitDigest>] = [:]
    var isWhole = true
    /// There is a commit whose id is none.
    struct Odd: Error {}
}

/// The search for the best common ancestor of two commits.
enum AncestorWalk<ID: Hashable & Sendable> {
    case found(ID)
    case nothing
    /// More commits than it might read lie between.
    case tooFar

    var base: ID? { if case .found(let id) = self { id } else { nil } }

    /// By generation; of equal ones the later date.
    /// - Parameters:
    ///   - most: commits that may be read.
    ///   - link: a commit's, and whether it was read for this.
    static func from(
        _ left: ID, _ right: ID, most: Int, _ link: (ID) throws -> (link: CommitLink<ID>, isRead: Bool)
    ) throws -> Self {
        var flags: [ID: UInt8] = [right: 2]
        flags[left, default: 0] |= 1
        var queue: [(id: ID, link: CommitLink<ID>)] = []
        var read = 0
        func push(_ id: ID) throws {
            let (link, isRead) = try link(id)
            if isRead { read += 1 }
            // Greatest generation first, then the later date; an insertion keeps the queue sorted, greatest last.
            let place =
                queue.firstIndex { other in
                    (other.link.generation, other.link.date) > (link.generation, link.date)
                } ?? queue.count
            queue.insert((id, link), at: place)
        }
        try push(left)
        try push(right)
        while let current = queue.popLast() {
            for parent in current.link.parents {
                if flags[parent] == nil {
                    guard read < most else { return .tooFar }
                    try push(parent)
                }
                flags[parent, default: 0] |= flags[current.id]!
                if flags[parent] == 3 { return .found(parent) }
            }
        }
        return .nothing
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
