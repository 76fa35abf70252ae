package import Foundations

/// Walks a metarange: it stands at the head of a range, or at a record in one. A range whose head is passed over with
/// `nextRange` is never opened. Used by one thread at a time.
package final class MetaRangeCursor {
    private let store: CommittedStore
    private let namespace: StorageNamespace
    private let metaRange: String
    /// Ranges are read whole, past the cache.
    private let isScan: Bool
    private var ranges: TableCursor?
    private var records: TableCursor?

    /// The range that the cursor is in, or nil at the end.
    package private(set) var range: CommittedRange?
    /// Whether it stands at a record; at the head of a range, or at the end, it does not.
    package private(set) var hasRecord = false

    /// Stands at the head of the first range.
    init(store: CommittedStore, namespace: StorageNamespace, metaRange: String, isScan: Bool) throws {
        self.store = store
        self.namespace = namespace
        self.metaRange = metaRange
        self.isScan = isScan
        if !metaRange.isEmpty { ranges = try store.table(metaRange, in: namespace).cursor() }
        try nextRange()
    }

    /// Keys whose records are passed over.
    private var hidden: [KeySpan] = []

    /// Passes over records with these keys from now on. Heads of ranges are still stood at.
    func hide(_ spans: [KeySpan]) { hidden = spans }

    /// Whether the range has room for a record that is passed over.
    func mayHide(in range: CommittedRange) -> Bool {
        hidden.contains { span in !(range.maxKey < span.lower) && (span.upper.map { range.minKey < $0 } ?? true) }
    }

    /// Leaves records that are hidden behind.
    private func passHidden() throws {
        while let key, let span = hidden.first(where: { $0.contains(key) }) {
            guard let bound = span.upper else {
                records = nil
                hasRecord = false
                range = nil
                return
            }
            try seek(bound)
        }
    }

    /// Whether nothing below `end` is left; nil for no end.
    func isBehind(_ end: Key?) -> Bool {
        guard let range else { return true }
        guard let end else { return false }
        return hasRecord ? records!.order(to: end.bytes) >= 0 : !(range.minKey < end)
    }

    package var isAtHead: Bool { range != nil && !hasRecord }

    /// The record's key; nil at the head of a range.
    package var key: [UInt8]? { hasRecord ? records!.key : nil }

    /// Negative, zero or positive: how the record's key compares with another, without copying it.
    func order(to key: [UInt8]) -> Int { records!.order(to: key) }
    func order(to other: MetaRangeCursor) -> Int { records!.order(to: other.records!) }

    /// The value of the record under the cursor.
    package func envelope() throws -> Envelope { try store.wrap(range!.id) { try Envelope(decoding: records!.value) } }

    /// Whether both cursors' records have the same identity.
    func hasIdentity(of other: MetaRangeCursor) throws -> Bool {
        try store.wrap(range!.id) {
            unsafe try Envelope.haveSameIdentity(records!.valueBuffer, other.records!.valueBuffer)
        }
    }

    /// Passes over what is left of the range, to the head of the next one.
    package func nextRange() throws {
        records = nil
        hasRecord = false
        range = try store.wrap(metaRange) {
            try ranges?.advance() == true ? CommittedRange(decoding: ranges!.value) : nil
        }
    }

    private func open(_ range: CommittedRange) throws {
        guard records == nil else { return }
        let table = try store.table(range.id, in: namespace, as: range)
        records = isScan ? table.scan() : table.cursor()
    }

    /// Enters the range, or goes to its next record, or behind the last one to the head of the next range.
    package func next() throws {
        guard let range else { return }
        var found = false
        do {
            if records == nil { try open(range) }
            found = try records!.advance()
        } catch {
            try store.wrap(range.id) { throw error }
        }
        if found { hasRecord = true } else { try nextRange() }
        if !hidden.isEmpty { try passHidden() }
    }

    /// As `next` on both, but passes over whole blocks that both hold with the same bytes.
    /// - Parameter take: is given those blocks; the first that it refuses is read on in.
    static func nextOnBoth(_ left: MetaRangeCursor, _ right: MetaRangeCursor, taking take: TableCursor.TakeBlock? = nil)
        throws
    {
        if left.isScan, right.isScan, left.hidden.isEmpty, right.hidden.isEmpty, left.records?.isAtBlockEnd ?? true,
            right.records?.isAtBlockEnd ?? true,
            let l = left.range, let r = right.range
        {
            try left.store.wrap(l.id) {
                try left.open(l)
                try right.store.wrap(r.id) {
                    try right.open(r)
                    if let take {
                        try TableCursor.takeEqualBlocks(left.records!, right.records!, take)
                    } else {
                        try TableCursor.skipEqualBlocks(left.records!, right.records!)
                    }
                }
            }
        }
        try left.next()
        try right.next()
    }

    /// Goes to the first record not below `target`; stays at the head of a range that lies behind it as a whole.
    package func seek(_ target: Key) throws {
        guard !metaRange.isEmpty else { return }
        if let range, hasRecord, range.maxKey >= target, records!.order(to: target.bytes) < 0 {
            // In the same range: no need to look the range up again.
            return try enter(range, at: target)
        }
        records = nil
        hasRecord = false
        range = try store.wrap(metaRange) {
            try ranges!.seek(target.bytes) ? CommittedRange(decoding: ranges!.value) : nil
        }
        if let range, range.minKey < target { try enter(range, at: target) }
    }

    private func enter(_ range: CommittedRange, at target: Key) throws {
        let found = try store.wrap(range.id) {
            try open(range)
            return try records!.seek(target.bytes)
        }
        if found { hasRecord = true } else { try nextRange() }
    }

    /// Goes to the next record, entering ranges at their heads; false at the end.
    package func nextRecord() throws -> Bool {
        repeat { try next() } while isAtHead
        return range != nil
    }
}
