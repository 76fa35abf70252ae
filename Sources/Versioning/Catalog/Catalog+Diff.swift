package import Foundations

/// One line of a diff as the doors tell it.
package struct DiffEntry: Sendable {
    package let kind: Difference.Kind
    /// The path, or the common prefix.
    package let path: Key
    /// The entry on the left, and on the right; nil where there is none, and for prefixes.
    package let left: Entry?
    package let right: Entry?
}

extension Catalog {
    /// What a diff is asked for.
    package struct DiffQuery: Sendable {
        package var prefix = Key([]), delimiter = Key([]), after = Key([])
        package var limit = 100
        package init() {}
    }

    /// One page of a diff, common prefixes told once.
    private func page(_ cursor: any DifferenceCursor, _ query: DiffQuery) throws -> Page<DiffEntry> {
        var found: [DiffEntry] = []
        var bytes = 0
        var limit = query.limit
        let start =
            query.after.isEmpty
            ? query.prefix
            : max(query.prefix, Grouping.next(after: query.after, delimiter: query.delimiter, prefix: query.prefix))
        cursor.end(before: query.prefix.upperBound)
        try cursor.seek(start)
        while found.count <= limit, let difference = try cursor.next(), difference.key.hasPrefix(query.prefix) {
            if let group = Grouping.commonPrefix(of: difference.key, prefix: query.prefix, delimiter: query.delimiter) {
                found.append(DiffEntry(kind: .prefixChanged, path: group, left: nil, right: nil))
                guard let next = group.upperBound else { break }
                try cursor.seek(next)
                continue
            }
            found.append(
                DiffEntry(
                    kind: difference.kind, path: difference.key,
                    left: try difference.left.map { try Entry(decoding: $0.data) },
                    right: try difference.right.map { try Entry(decoding: $0.data) }))
            bytes += (difference.left?.data.count ?? 0) + (difference.right?.data.count ?? 0)
            if bytes > Self.largestPage, found.count > 1 { limit = min(limit, found.count - 1) }
        }
        return Page(found, limit: limit)
    }

    /// The uncommitted changes of a branch.
    package func diffUncommitted(_ id: BranchName, in repositoryID: RepositoryID, _ query: DiffQuery) throws -> Page<
        DiffEntry
    > {
        unsettled.settle(id, in: repositoryID)
        let repository = try repository(repositoryID)
        let branch = try branch(id, in: repository).branch
        return try page(uncommitted(branch, tokens: branch.tokens, in: repository), query)
    }

    /// What the change of an event does to the objects of its branch, in order; nothing for events of refs alone.
    package func forEachChange(of event: HookEvent, _ body: (DiffEntry) throws -> Void) throws {
        guard let commit = event.commit else { return }
        let repository = try repository(event.repository)
        var query = DiffQuery()
        query.limit = 1000
        func walk(_ cursor: () throws -> any DifferenceCursor) throws {
            while true {
                let page = try page(cursor(), query)
                for change in page.items { try body(change) }
                guard page.hasMore, let last = page.items.last else { return }
                query.after = last.path
            }
        }
        if commit.metaRangeID.isEmpty, !event.kind.isBehind {
            unsettled.settle(event.branch, in: event.repository)
            let branch = try branch(event.branch, in: repository).branch
            return try walk { try uncommitted(branch, tokens: branch.tokens, in: repository) }
        }
        let left = try commit.parents.first.map { try metaRange(of: $0, in: repository) } ?? ""
        let namespace = try repository.namespace
        try walk {
            MetaRangeDiff(
                try committed.scan(left, in: namespace), try committed.scan(commit.metaRangeID, in: namespace))
        }
    }

    /// The differences of two refs. Two dots compare them as they are, three what the right one did since their merge
    /// base.
    package func diff(
        _ left: String, _ right: String, isThreeDot: Bool, in repositoryID: RepositoryID, _ query: DiffQuery
    )
        throws -> Page<DiffEntry>
    {
        let repository = try repository(repositoryID)
        let namespace = try repository.namespace
        _ = try resolveCommit(left, in: repository)
        if isThreeDot { _ = try resolveCommit(right, in: repository) }
        let leftRef = try resolve(left, in: repository)
        let rightRef = try resolve(right, in: repository)
        let leftRange = try metaRange(of: leftRef)
        let rightRange = try metaRange(of: rightRef)
        // By delimiter it goes in leaps.
        func walker(_ metaRange: String) throws -> MetaRangeCursor {
            query.delimiter.isEmpty
                ? try committed.scan(metaRange, in: namespace) : try committed.cursor(metaRange, in: namespace)
        }
        guard isThreeDot else {
            if right.hasSuffix("$") {
                return try page(StagedDiff(self, left: leftRange, right: rightRef, rightRange), query)
            }
            return try page(MetaRangeDiff(try walker(leftRange), try walker(rightRange)), query)
        }
        guard let base = try refs.mergeBase(leftRef.commitID, rightRef.commitID, in: repository) else {
            throw LakeError(.notFound(.commit), "\(left) and \(right) have no common history")
        }
        let baseRange = try metaRange(of: base, in: repository)
        let comparison = MetaRangeComparison(destination: try walker(leftRange), source: try walker(rightRange)) {
            [committed] key in
            try committed.record(key, metaRange: baseRange, in: namespace)
        }
        return try page(comparison, query)
    }
}

/// A commit on the left against a branch with its uncommitted changes on the right. Source: `lakefs-formats.md` 7.5.
private final class StagedDiff: DifferenceCursor {
    private let catalog: Catalog
    private let namespace: StorageNamespace
    private let left: String
    private let committedDiff: MetaRangeDiff
    private var staging: StagingCursor
    private var pending: Difference?
    private var isRead = false

    init(_ catalog: Catalog, left: String, right: ResolvedRef, _ rightRange: String) throws {
        self.catalog = catalog
        self.left = left
        namespace = try right.repository.namespace
        committedDiff = MetaRangeDiff(
            try catalog.committed.cursor(left, in: namespace), try catalog.committed.cursor(rightRange, in: namespace))
        staging = StagingCursor(catalog.store, tokens: right.tokens)
    }

    func seek(_ target: Key) throws {
        try committedDiff.seek(target)
        try staging.seek(target)
        isRead = false
    }

    private var end: Key?
    func end(before end: Key?) {
        self.end = end
        committedDiff.end(before: end)
    }

    func next() throws -> Difference? {
        while true {
            if !isRead {
                pending = try committedDiff.next()
                isRead = true
            }
            guard let change = try staging.current(), end.map({ change.key < $0 }) ?? true,
                pending.map({ !($0.key < change.key) }) ?? true
            else {
                isRead = false
                return pending
            }
            if pending?.key == change.key { isRead = false }
            try staging.advance(past: change.key)
            let old = try catalog.committed.record(change.key, metaRange: left, in: namespace)
            if let difference = Difference(change.key, from: old, to: change.envelope) { return difference }
        }
    }
}

/// Common prefixes of listings. Source: `lakefs-formats.md` 7.10.
enum Grouping {
    /// The part of `key` up to and with the first delimiter behind `prefix`, or nil if there is none.
    static func commonPrefix(of key: Key, prefix: Key, delimiter: Key) -> Key? {
        guard !delimiter.isEmpty, key.count >= prefix.count + delimiter.count else { return nil }
        let bytes = key.bytes
        let wanted = delimiter.bytes
        let last = bytes.count - wanted.count
        var position = prefix.count
        while position <= last {
            if bytes[position] == wanted[0],
                wanted.count == 1 || Array(bytes[position..<position + wanted.count]) == wanted
            {
                return Key(Array(bytes[..<(position + wanted.count)]))
            }
            position += 1
        }
        return nil
    }

    /// Where a listing goes on behind `after`: behind all of a common prefix, or behind one key.
    static func next(after: Key, delimiter: Key, prefix: Key) -> Key {
        if after.hasPrefix(prefix), let group = commonPrefix(of: after, prefix: prefix, delimiter: delimiter),
            group == after, let bound = group.upperBound
        {
            return bound
        }
        return after.successor
    }
}
