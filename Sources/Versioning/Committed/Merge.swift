package import Foundations

/// Who wins where both sides of a merge changed the same entry.
package enum MergeStrategy: String, Sendable {
    /// Nobody: the merge is refused with the list of conflicts.
    case none = ""
    case destinationWins = "dest-wins"
    case sourceWins = "source-wins"
}

extension CommittedStore {
    /// The three-way merge of two metaranges over their base. Ranges that only one side changed are copied unopened.
    /// Source: `lakefs-formats.md` 7.6; base records are compared by key, as is the evident intent there.
    /// - Parameter spans: what the destination has there counts as not there (imports, 7.13).
    /// - Throws: `LakeError.conflict` with every conflicting path, if `strategy` is `.none`.
    package func merge(
        source: String, into destination: String, base: String, strategy: MergeStrategy, hiding spans: [KeySpan] = [],
        in namespace: StorageNamespace
    ) throws -> String {
        let ours = try scan(destination, in: namespace)
        ours.hide(spans)
        let merge = ThreeWayMerge(
            store: self, namespace: namespace, base: base, strategy: strategy, source: try scan(source, in: namespace),
            destination: ours)
        return try merge.run()
    }
}

/// One walk over source and destination. See `CommittedStore.merge`.
private final class ThreeWayMerge {
    private let store: CommittedStore
    private let namespace: StorageNamespace
    private let base: String
    private let strategy: MergeStrategy
    private let source: MetaRangeCursor
    private let destination: MetaRangeCursor
    private let writer: MetaRangeWriter
    private var conflicts: [Key] = []

    init(
        store: CommittedStore, namespace: StorageNamespace, base: String, strategy: MergeStrategy,
        source: MetaRangeCursor, destination: MetaRangeCursor
    ) {
        self.store = store
        self.namespace = namespace
        self.base = base
        self.strategy = strategy
        self.source = source
        self.destination = destination
        writer = MetaRangeWriter(store: store, namespace: namespace)
    }

    /// The base range that overlaps `range`, if any.
    private func overlap(_ range: CommittedRange) throws -> CommittedRange? {
        guard let found = try store.range(reaching: range.minKey, metaRange: base, in: namespace),
            !(range.maxKey < found.minKey)
        else { return nil }
        return found
    }

    private func baseRecord(_ key: [UInt8]) throws -> Envelope? {
        try store.record(Key(key), metaRange: base, in: namespace)
    }

    func run() throws -> String {
        while let s = source.range, let d = destination.range {
            switch (source.hasRecord, destination.hasRecord) {
            case (false, false): try heads(s, d)
            case (true, false): try record(of: source, beside: destination, d)
            case (false, true): try record(of: destination, beside: source, s)
            case (true, true):
                let order = source.order(to: destination)
                if order < 0 {
                    try alone(source)
                } else if order > 0 {
                    try alone(destination)
                } else {
                    try both()
                }
            }
        }
        try rest(source)
        try rest(destination)
        guard conflicts.isEmpty else { throw LakeError.conflict(conflicts) }
        return try writer.finish()
    }

    private func heads(_ s: CommittedRange, _ d: CommittedRange) throws {
        if s.id == d.id {
            try writer.add(d)
            try source.nextRange()
            try destination.nextRange()
        } else if s.minKey == d.minKey && s.maxKey == d.maxKey {
            let old = try overlap(s)?.id
            guard old == s.id || old == d.id else { return try nextOnBoth() }
            try writer.add(old == s.id ? d : s)
            try source.nextRange()
            try destination.nextRange()
        } else if s.maxKey < d.minKey {
            if try !passOver(source, s) { try nextOnBoth() }
        } else if d.maxKey < s.minKey {
            if try !passOver(destination, d) { try nextOnBoth() }
        } else {
            try nextOnBoth()
        }
    }

    /// Goes on on both sides. Blocks that are the same on both are so in the merge, whatever the base says.
    private func nextOnBoth() throws { try MetaRangeCursor.nextOnBoth(source, destination, taking: writer.take) }

    /// Copies or drops a range that the other side has nothing of; false if the base has to be asked record by record.
    private func passOver(_ side: MetaRangeCursor, _ range: CommittedRange) throws -> Bool {
        let old = try overlap(range)
        if old == nil {
            if side.mayHide(in: range) {
                try side.next()
                return true
            }
            try writer.add(range)
        } else if old!.id != range.id {
            return false
        }  // Else the other side removed it, as it was.
        try side.nextRange()
        return true
    }

    private func record(of side: MetaRangeCursor, beside other: MetaRangeCursor, _ head: CommittedRange) throws {
        if side.order(to: head.minKey.bytes) < 0 {
            try alone(side)
        } else if side.order(to: head.maxKey.bytes) > 0 {
            if try !passOver(other, head) { try other.next() }
        } else {
            try other.next()
        }
    }

    /// A record that only one side has.
    private func alone(_ side: MetaRangeCursor) throws {
        let key = side.key!
        let value = try side.envelope()
        if let old = try baseRecord(key) {
            if !old.hasIdentity(of: value) {
                // Removed there, changed here.
                switch strategy {
                case .none: conflicts.append(Key(key))
                case .sourceWins: if side === source { try writer.add(key, value.bytes) }
                case .destinationWins: if side === destination { try writer.add(key, value.bytes) }
                }
            }
        } else {
            try writer.add(key, value.bytes)
        }
        try side.next()
    }

    private func both() throws {
        let key = source.key!
        let ours = try destination.envelope()
        let theirs = try source.envelope()
        if ours.hasIdentity(of: theirs) {
            try writer.add(key, theirs.bytes)
        } else {
            let old = try baseRecord(key)
            if let old, old.hasIdentity(of: theirs) {
                try writer.add(key, ours.bytes)
            } else if let old, old.hasIdentity(of: ours) {
                try writer.add(key, theirs.bytes)
            } else {
                switch strategy {
                case .none: conflicts.append(Key(key))
                case .sourceWins: try writer.add(key, theirs.bytes)
                case .destinationWins: try writer.add(key, ours.bytes)
                }
            }
        }
        try nextOnBoth()
    }

    private func rest(_ side: MetaRangeCursor) throws {
        while let range = side.range {
            if side.hasRecord {
                try alone(side)
            } else if try !passOver(side, range) {
                try side.next()
            }
        }
    }
}
