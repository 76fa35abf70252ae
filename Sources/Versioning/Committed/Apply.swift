package import Foundations

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
    /// Lays `changes` over the metarange `base`: ranges that no change touches are taken over unopened, and so are
    /// blocks of those that are touched. Returns the new metarange's id, and what counted as a change. Source:
    /// `lakefs-formats.md` 7.2, apply.
    ///
    /// The new tree is cut where a range is bound to end, whatever else it holds: behind a key whose hash says so. What
    /// lies between two cuts is written on its own, several such pieces at once.
    ///
    /// - Parameter mostUnitBytes: bytes of changes to gather before they are handed to who writes them, cut or not.
    package func apply(
        _ changes: inout some ChangeCursor, to base: String, in namespace: StorageNamespace,
        mostUnitBytes: Int = 4 << 20
    ) throws -> (metaRange: String, count: ChangeCount) {
        let units = ApplyUnits(store: self, namespace: namespace, mostUnitBytes: mostUnitBytes)
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
    var byteCount: Int { bytes.count + items.count * MemoryLayout<(Int, Int, Int)>.size }
    var isEmpty: Bool { items.isEmpty }

    mutating func append(_ key: Key, _ envelope: [UInt8]?) {
        let start = bytes.count
        bytes += key.bytes
        let middle = bytes.count
        if let envelope { bytes += envelope }
        items.append((start, middle, envelope == nil ? -1 : bytes.count))
    }

    /// The key of a change and its value, nil for a removal.
    func with<Result>(_ index: Int, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer?) throws -> Result) rethrows
        -> Result
    {
        unsafe try bytes.withUnsafeBytes { all in
            let item = items[index]
            return unsafe try body(
                UnsafeRawBufferPointer(rebasing: all[item.key..<item.value]),
                item.end < 0 ? nil : UnsafeRawBufferPointer(rebasing: all[item.value..<item.end]))
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
    private var unitBytes = 0
    /// The unit's beginning, being written already: it grew too large to be kept until its end.
    private var open: OpenRun?

    private let mostUnitBytes: Int

    init(store: CommittedStore, namespace: StorageNamespace, mostUnitBytes: Int) {
        self.store = store
        self.namespace = namespace
        self.mostUnitBytes = mostUnitBytes
        work = ApplyWork(store: store, namespace: namespace)
    }

    /// Whether a range ends behind this key in any case.
    private func isCut(_ key: Key) -> Bool {
        unsafe store.parameters.minRangeSizeBytes == 0
            && key.bytes.withUnsafeBytes { unsafe store.parameters.breaks(after: $0, estimatedSize: 0) }
    }

    func cut(_ changes: inout some ChangeCursor, _ base: String) throws {
        let ranges = try store.cursor(base, in: namespace)
        var change = try changes.next()
        while let range = ranges.range {
            guard let first = change, !(range.maxKey < first.key) else {
                try flush()
                work.copy(range)
                try ranges.nextRange()
                continue
            }
            var isLastRemoved = false
            try gather(ApplyPiece(range: range), &change, &changes) { current in
                guard !(range.maxKey < current.key) else { return false }
                isLastRemoved = current.envelope == nil && current.key == range.maxKey
                return true
            }
            if !isLastRemoved && isCut(range.maxKey) { try flush() }
            try ranges.nextRange()
        }
        try gather(ApplyPiece(), &change, &changes) { _ in true }
        try flush()
    }

    /// Takes changes into a piece as long as they belong to it, ending it where a range ends in any case, or memory
    /// says so.
    private func gather(
        _ first: ApplyPiece, _ change: inout (key: Key, envelope: [UInt8]?)?, _ changes: inout some ChangeCursor,
        while belongs: ((key: Key, envelope: [UInt8]?)) -> Bool
    ) throws {
        var piece = first
        while let current = change, belongs(current) {
            piece.changes.append(current.key, current.envelope)
            change = try changes.next()
            let isCut = current.envelope != nil && isCut(current.key)
            guard isCut || unitBytes + piece.changes.byteCount > mostUnitBytes else { continue }
            piece.last = current.key
            take(piece)
            if isCut { try flush() } else { try spill() }
            piece = ApplyPiece(range: first.range, after: current.key)
        }
        take(piece)
    }

    private func take(_ piece: ApplyPiece) {
        guard piece.range != nil || !piece.changes.isEmpty else { return }
        unit.append(piece)
        unitBytes += piece.changes.byteCount
    }

    /// Hands over what there is of the unit; what follows goes on in the same range.
    private func spill() throws {
        let run = try open ?? work.begin()
        open = run
        run.add(unit)
        unit = []
        unitBytes = 0
    }

    private func flush() throws {
        if let run = open {
            try spill()
            open = nil
            return run.close()
        }
        guard !unit.isEmpty else { return }
        let (pieces, byteCount) = (unit, unitBytes)
        unit = []
        unitBytes = 0
        try work.start(pieces, byteCount: byteCount)
    }

    func drain() {
        open?.close()
        work.drain()
    }
    func finish() throws -> ([CommittedRange], ChangeCount) { try work.finish() }
}
