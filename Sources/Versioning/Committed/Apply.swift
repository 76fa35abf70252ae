/// Changes in ascending key order: what a commit lays over its parent.
package protocol ChangeCursor {
    /// The next change: a new value, or nil for a removal. Nil at the end.
    mutating func next() throws -> (key: Key, envelope: Envelope?)?
}

/// How many entries a commit or merge changed.
package struct ChangeCount: Sendable, Equatable {
    package var added = 0, removed = 0, changed = 0
    package var total: Int { added + removed + changed }
}

extension CommittedStore {
    /// Lays `changes` over the metarange `base`: ranges that no change touches are taken over unopened.
    /// Returns the new metarange's id, and what counted as a change. Source: `lakefs-formats.md` 7.2, apply.
    package func apply(_ changes: inout some ChangeCursor, to base: String, in namespace: StorageNamespace) throws -> (metaRange: String, count: ChangeCount) {
        let cursor = try cursor(base, in: namespace)
        let writer = MetaRangeWriter(store: self, namespace: namespace)
        var count = ChangeCount()
        var change = try changes.next()
        while let current = change, let range = cursor.range {
            guard let baseKey = cursor.key else {
                if range.maxKey < current.key {
                    try writer.add(range)
                    try cursor.nextRange()
                } else {
                    try cursor.next()
                }
                continue
            }
            let order = baseKey.compare(current.key.bytes)
            if order < 0 {
                try writer.add(baseKey, cursor.envelope().bytes)
                try cursor.next()
                continue
            }
            if let envelope = current.envelope {
                if order == 0 {
                    let old = try cursor.envelope()
                    if old.hasIdentity(of: envelope) {
                        try writer.add(baseKey, old.bytes)
                    } else {
                        try writer.add(current.key.bytes, envelope.bytes)
                        count.changed += 1
                    }
                } else {
                    try writer.add(current.key.bytes, envelope.bytes)
                    count.added += 1
                }
            } else if order == 0 {
                count.removed += 1
            }
            if order == 0 { try cursor.next() }
            change = try changes.next()
        }
        while let range = cursor.range {
            if let key = cursor.key {
                try writer.add(key, cursor.envelope().bytes)
                try cursor.next()
            } else {
                try writer.add(range)
                try cursor.nextRange()
            }
        }
        while let current = change {
            if let envelope = current.envelope {
                try writer.add(current.key.bytes, envelope.bytes)
                count.added += 1
            }
            change = try changes.next()
        }
        return (try writer.finish(), count)
    }
}
