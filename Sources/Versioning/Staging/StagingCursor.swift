import Foundations

/// The uncommitted changes of a branch in key order: the first token that has a key decides. Tombstones are kept.
struct StagingCursor: ChangeCursor {
    private var cursors: [PartitionCursor]

    /// - Parameter tokens: newest first.
    init(_ store: any KeyValueStore, tokens: [StagingToken], from: Key? = nil, pageSize: Int = 1000) {
        cursors = tokens.map { PartitionCursor(store, $0.partition, from: from, pageSize: pageSize) }
    }

    /// The change under the cursor, or nil at the end.
    mutating func current() throws -> StagedEntry? {
        var best: (index: Int, record: (key: Key, value: [UInt8]))?
        for index in cursors.indices {
            guard let record = try cursors[index].current() else { continue }
            if best == nil || record.key < best!.record.key { best = (index, record) }
        }
        guard let best else { return nil }
        do {
            return try StagedEntry(key: best.record.key, decoding: best.record.value)
        } catch {
            throw LakeError(.corrupt, "the staged entry of \(best.record.key) is no message")
        }
    }

    /// Passes over `key`, the one under the cursor, in every token.
    mutating func advance(past key: Key) throws {
        for index in cursors.indices {
            if let record = try cursors[index].current(), record.key == key { cursors[index].advance() }
        }
    }

    mutating func seek(_ target: Key) throws {
        for index in cursors.indices { try cursors[index].seek(target) }
    }

    mutating func next() throws -> (key: Key, envelope: [UInt8]?)? {
        if cursors.count == 1 {
            // One token, as nearly always: nothing to compare.
            guard let record = try cursors[0].current() else { return nil }
            cursors[0].advance()
            return (record.key, try StagedEntry.envelope(of: record.value, key: record.key))
        }
        guard let entry = try current() else { return nil }
        try advance(past: entry.key)
        return (entry.key, entry.envelope?.bytes)
    }
}

/// What a ref shows: committed records with uncommitted changes laid over them, tombstones filtered.
struct OverlayCursor {
    private var staging: StagingCursor
    private let committed: MetaRangeCursor
    /// Removals that were passed over so far.
    private(set) var removalsMet = 0
    /// How many to pass over: `next` gives up behind the last of them, as if at the end.
    var mostRemovals = Int.max

    /// Where it ends, whatever lies behind; nil for the end of all.
    private let end: Key?

    /// Stands before the first key not below `from`.
    init(_ staging: StagingCursor, _ committed: MetaRangeCursor, from: Key, before end: Key?) throws {
        self.staging = staging
        self.committed = committed
        self.end = end
        try seek(from)
    }

    mutating func seek(_ target: Key) throws {
        try staging.seek(target)
        try committed.seek(target)
    }

    /// The next record, or nil at the end.
    mutating func next() throws -> (key: Key, envelope: Envelope)? {
        while removalsMet <= mostRemovals {
            var change = try staging.current()
            if let end, let key = change?.key, !(key < end) { change = nil }
            let isOver = committed.isBehind(end)
            if !isOver && committed.isAtHead {
                // Only a range that may hold the next key is opened.
                if let change, change.key < committed.range!.minKey {
                    try staging.advance(past: change.key)
                    if let envelope = change.envelope { return (change.key, envelope) }
                    removalsMet += 1
                    continue
                }
                try committed.next()
                continue
            }
            guard let change else {
                guard !isOver, let key = committed.key else { return nil }
                let envelope = try committed.envelope()
                try committed.next()
                return (Key(key), envelope)
            }
            if !isOver, let key = committed.key {
                let order = key.compare(change.key.bytes)
                if order < 0 {
                    let envelope = try committed.envelope()
                    try committed.next()
                    return (Key(key), envelope)
                }
                if order == 0 { try committed.next() }
            }
            try staging.advance(past: change.key)
            if let envelope = change.envelope { return (change.key, envelope) }
            removalsMet += 1
        }
        return nil
    }
}

/// The uncommitted differences of a branch against its commit. Source: `lakefs-formats.md` 7.3.
/// The changes are looked up in the commit, more of them at once the further it goes, so cost follows their number.
final class UncommittedDiff: DifferenceCursor {
    private var staging: StagingCursor
    private let base: ([Key]) throws -> [Envelope?]
    private var end: Key?
    /// Changes that were looked up and not told yet, and how many to look up next.
    private var batch: ArraySlice<(change: StagedEntry, old: Envelope?)> = []
    private var batchSize = 1
    private static let largestBatch = 512

    /// - Parameter base: gives the commit's records of keys in ascending order.
    init(_ staging: StagingCursor, base: @escaping ([Key]) throws -> [Envelope?]) {
        self.staging = staging
        self.base = base
    }

    func seek(_ target: Key) throws {
        while let first = batch.first, first.change.key < target { batch.removeFirst() }
        guard batch.isEmpty else { return }
        batchSize = 1
        try staging.seek(target)
    }

    func end(before end: Key?) { self.end = end }

    private func lookUp() throws {
        var changes: [StagedEntry] = []
        while changes.count < batchSize, let change = try staging.current() {
            if let end, !(change.key < end) { break }
            try staging.advance(past: change.key)
            changes.append(change)
        }
        batchSize = min(batchSize * 4, Self.largestBatch)
        batch = try zip(changes, base(changes.map(\.key))).map { ($0, $1) }[...]
    }

    func next() throws -> Difference? {
        while true {
            if batch.isEmpty { try lookUp() }
            guard let (change, old) = batch.popFirst() else { return nil }
            if let difference = Difference(change.key, from: old, to: change.envelope) { return difference }
        }
    }
}
