/// Changes in ascending key order: what a commit lays over its parent.
package protocol ChangeCursor {
    /// The next change: an encoded value (`Envelope`), or nil for a removal. Nil at the end.
    mutating func next() throws -> (key: Key, envelope: [UInt8]?)?
}

/// How many entries a commit or merge changed.
package struct ChangeCount: Sendable, Equatable {
    package var added = 0, removed = 0, changed = 0
    package var total: Int { added + removed + changed }

    static func += (left: inout ChangeCount, right: ChangeCount) {
        left.added += right.added
        left.removed += right.removed
        left.changed += right.changed
    }
}

extension CommittedStore {
    /// Lays `changes` over the metarange `base`: ranges that no change touches are taken over unopened, and so are blocks of
    /// those that are touched. Returns the new metarange's id, and what counted as a change. Source: `lakefs-formats.md` 7.2, apply.
    ///
    /// The new tree is cut where a range is bound to end, whatever else it holds: behind a key whose hash says so. What lies
    /// between two cuts is written on its own, several such pieces at once.
    package func apply(_ changes: inout some ChangeCursor, to base: String, in namespace: StorageNamespace) throws -> (metaRange: String, count: ChangeCount) {
        let units = ApplyUnits(store: self, namespace: namespace)
        do {
            try units.cut(&changes, base)
        } catch {
            units.drain()
            throw error
        }
        let (ranges, count) = try units.finish()
        return (try putMetaRange(ranges, in: namespace), count)
    }
}

/// Changes of one piece of work, in one block of memory.
struct ChangeList: Sendable {
    private var bytes: [UInt8] = []
    private var items: [(key: Int, value: Int, end: Int)] = []

    var count: Int { items.count }
    var isEmpty: Bool { items.isEmpty }

    mutating func append(_ key: Key, _ envelope: [UInt8]?) {
        let start = bytes.count
        bytes += key.bytes
        let middle = bytes.count
        if let envelope { bytes += envelope }
        items.append((start, middle, envelope == nil ? -1 : bytes.count))
    }

    /// The key of a change and its value, nil for a removal.
    func with<Result>(_ index: Int, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer?) throws -> Result) rethrows -> Result {
        unsafe try bytes.withUnsafeBytes { all in
            let item = items[index]
            return unsafe try body(UnsafeRawBufferPointer(rebasing: all[item.key..<item.value]), item.end < 0 ? nil : UnsafeRawBufferPointer(rebasing: all[item.value..<item.end]))
        }
    }
}

/// A part of a base range, with the changes that fall into it; or changes behind all ranges.
struct ApplyPiece: Sendable {
    /// Nil behind the last range.
    var range: CommittedRange?
    /// Records up to and with this key belong to the piece before.
    var after: Key?
    /// Records behind this key belong to the next piece; nil for all that is left of the range.
    var last: Key?
    var changes = ChangeList()
}

/// The pieces of one commit on their way: cut by the caller's thread, written by the pool's.
private final class ApplyUnits {
    private let work: ApplyWork
    private let store: CommittedStore
    private let namespace: StorageNamespace
    /// What lies between two cuts: some pieces, whose ranges may run on from one to the next.
    private var unit: [ApplyPiece] = []

    init(store: CommittedStore, namespace: StorageNamespace) {
        self.store = store
        self.namespace = namespace
        work = ApplyWork(store: store, namespace: namespace)
    }

    /// Whether a range ends behind this key in any case.
    private func isCut(_ key: Key) -> Bool {
        unsafe store.parameters.minRangeSizeBytes == 0 && key.bytes.withUnsafeBytes { unsafe store.parameters.breaks(after: $0, estimatedSize: 0) }
    }

    func cut(_ changes: inout some ChangeCursor, _ base: String) throws {
        let ranges = try store.cursor(base, in: namespace)
        var change = try changes.next()
        while let range = ranges.range {
            guard let first = change, !(range.maxKey < first.key) else {
                try flush()
                try work.copy(range)
                try ranges.nextRange()
                continue
            }
            var piece = ApplyPiece(range: range), isLastRemoved = false
            while let current = change, !(range.maxKey < current.key) {
                piece.changes.append(current.key, current.envelope)
                isLastRemoved = current.envelope == nil && current.key == range.maxKey
                change = try changes.next()
                if current.envelope != nil, current.key != range.maxKey, isCut(current.key) {
                    piece.last = current.key
                    unit.append(piece)
                    try flush()
                    piece = ApplyPiece(range: range, after: current.key)
                }
            }
            unit.append(piece)
            if !isLastRemoved && isCut(range.maxKey) { try flush() }
            try ranges.nextRange()
        }
        var rest = ApplyPiece()
        while let current = change {
            rest.changes.append(current.key, current.envelope)
            change = try changes.next()
            if current.envelope != nil, isCut(current.key) {
                unit.append(rest)
                try flush()
                rest = ApplyPiece()
            }
        }
        if !rest.changes.isEmpty { unit.append(rest) }
        try flush()
    }

    private func flush() throws {
        guard !unit.isEmpty else { return }
        let pieces = unit
        unit = []
        try work.start(pieces)
    }

    func drain() { work.drain() }
    func finish() throws -> ([CommittedRange], ChangeCount) { try work.finish() }
}
