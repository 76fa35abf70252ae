package import Foundations

/// One difference between two trees.
package struct Difference: Sendable {
    package enum Kind: String, Sendable {
        case added, removed, changed, conflict
        /// A common prefix under which something differs.
        case prefixChanged = "prefix_changed"
    }
    package var kind: Kind
    package var key: Key
    /// The value on the left; nil where there is none.
    package var left: Envelope?
    /// The value on the right; nil where there is none.
    package var right: Envelope?

    package init(kind: Kind, key: Key, left: Envelope?, right: Envelope?) {
        self.kind = kind
        self.key = key
        self.left = left
        self.right = right
    }

    /// What became of a key's value; nil if it is the same, or there is none on either side.
    init?(_ key: Key, from left: Envelope?, to right: Envelope?) {
        switch (left, right) {
        case (nil, nil): return nil
        case (nil, _): kind = .added
        case (_, nil): kind = .removed
        case (let left?, let right?):
            if left.hasIdentity(of: right) { return nil }
            kind = .changed
        }
        self.key = key
        self.left = left
        self.right = right
    }
}

/// Differences in ascending key order, found as they are asked for.
package protocol DifferenceCursor: AnyObject {
    /// The next difference, or nil at the end.
    func next() throws -> Difference?
    /// Goes on at the first difference whose key is not below `target`.
    func seek(_ target: Key) throws
    /// Ends before `end`, without looking for differences behind it; nil for no such end.
    func end(before end: Key?)
}

/// The differences of two metaranges; ranges that both sides share are skipped unopened, and so are blocks of ranges
/// where both cursors read ahead.
/// Source: `lakefs-formats.md` 7.5.
package final class MetaRangeDiff: DifferenceCursor {
    private let left: MetaRangeCursor
    private let right: MetaRangeCursor

    package init(_ left: MetaRangeCursor, _ right: MetaRangeCursor) {
        self.left = left
        self.right = right
    }

    package func seek(_ target: Key) throws {
        try left.seek(target)
        try right.seek(target)
    }

    private var end: Key?
    package func end(before end: Key?) { self.end = end }

    private func removed() throws -> Difference {
        let difference = Difference(kind: .removed, key: Key(left.key!), left: try left.envelope(), right: nil)
        try left.next()
        return difference
    }

    private func added() throws -> Difference {
        let difference = Difference(kind: .added, key: Key(right.key!), left: nil, right: try right.envelope())
        try right.next()
        return difference
    }

    package func next() throws -> Difference? {
        while true {
            if end != nil && left.isBehind(end) && right.isBehind(end) { return nil }
            if left.hasRecord && right.hasRecord {
                let order = left.order(to: right)
                if order < 0 { return try removed() }
                if order > 0 { return try added() }
                if left.range! === right.range! || left.range!.id == right.range!.id {
                    // At the same record of the same range.
                    try left.nextRange()
                    try right.nextRange()
                } else if try left.hasIdentity(of: right) {
                    try MetaRangeCursor.nextOnBoth(left, right)
                } else {
                    let difference = Difference(
                        kind: .changed, key: Key(left.key!), left: try left.envelope(), right: try right.envelope())
                    try MetaRangeCursor.nextOnBoth(left, right)
                    return difference
                }
                continue
            }
            guard let l = left.range else {
                guard right.range != nil else { return nil }
                if right.isAtHead { try right.next() } else { return try added() }
                continue
            }
            guard let r = right.range else {
                if left.isAtHead { try left.next() } else { return try removed() }
                continue
            }
            if left.hasRecord {
                if left.order(to: r.minKey.bytes) < 0 { return try removed() }
                try right.next()
            } else if right.hasRecord {
                if right.order(to: l.minKey.bytes) < 0 { return try added() }
                try left.next()
            } else if l.id == r.id {
                try left.nextRange()
                try right.nextRange()
            } else if l.minKey < r.minKey {
                try left.next()
            } else if r.minKey < l.minKey {
                try right.next()
            } else {
                try MetaRangeCursor.nextOnBoth(left, right)
            }
        }
    }
}

/// What a merge of `source` into `destination` would bring: the differences from destination to source that the source
/// made since `base`, and the conflicts. Source: `lakefs-formats.md` 7.5, Compare.
package final class MetaRangeComparison: DifferenceCursor {
    private let diff: MetaRangeDiff
    private let base: (Key) throws -> Envelope?

    /// - Parameter base: the merge base's value of a key.
    package init(destination: MetaRangeCursor, source: MetaRangeCursor, base: @escaping (Key) throws -> Envelope?) {
        diff = MetaRangeDiff(destination, source)
        self.base = base
    }

    package func seek(_ target: Key) throws { try diff.seek(target) }
    package func end(before end: Key?) { diff.end(before: end) }

    package func next() throws -> Difference? {
        while var difference = try diff.next() {
            let old = try base(difference.key)
            switch difference.kind {
            case .added:
                guard let old else { return difference }
                if old.hasIdentity(of: difference.right!) { continue }
            case .changed:
                if let old {
                    if old.hasIdentity(of: difference.right!) { continue }
                    if old.hasIdentity(of: difference.left!) { return difference }
                }
            case .removed:
                guard let old else { continue }
                if old.hasIdentity(of: difference.left!) { return difference }
            case .conflict, .prefixChanged: return difference
            }
            difference.kind = .conflict
            return difference
        }
        return nil
    }
}
