import Foundations
import Versioning

/// An archive of the objects under a prefix, made while it is fetched. Used by one thread at a time.
final class ObjectArchive: @unchecked Sendable {
    // The HTTP server asks for one piece after the other.
    private let catalog: Catalog
    private let scope: Scope
    private let writer: ArchiveWriter
    private var members: Members
    private var current: (location: ObjectLocation, size: Int64)?
    private var isDone = false

    /// What is looked for.
    struct Scope {
        let ref: String, repository: RepositoryID
        let prefix: Key
        /// Whether what lies in folders below is wanted too.
        let isRecursive: Bool

        var query: Catalog.ListQuery {
            var query = Catalog.ListQuery()
            query.prefix = prefix
            query.delimiter = isRecursive ? Key([]) : Key("/")
            query.limit = 1000
            return query
        }
    }

    /// The objects of a scope one after the other, each held against what an archive may have in it.
    private struct Members {
        let catalog: Catalog
        let ref: ResolvedRef
        var query: Catalog.ListQuery
        /// How many there may be.
        let most: Int
        let allows: @Sendable (Key) throws -> Void
        private var page: ArraySlice<(path: Key, entry: Entry)> = []
        private var hasMore = true
        private var count = 0

        init(
            _ catalog: Catalog, _ ref: ResolvedRef, _ query: Catalog.ListQuery, most: Int,
            allows: @escaping @Sendable (Key) throws -> Void
        ) {
            self.catalog = catalog
            self.ref = ref
            self.query = query
            self.most = most
            self.allows = allows
        }

        mutating func next() throws -> (path: Key, entry: Entry)? {
            while page.isEmpty {
                guard hasMore else { return nil }
                let found = try catalog.list(ref, query)
                hasMore = found.hasMore
                if let last = found.items.last { query.after = last.path }
                page =
                    found.items.compactMap {
                        if case .object(let path, let entry) = $0 { (path, entry) } else { nil }
                    }[...]
            }
            let member = page.removeFirst()
            try allows(member.path)
            try checkName(member.path)
            count += 1
            guard count <= most else {
                throw LakeError(
                    .invalidValue, "a zip may have \(most) members, and there are more: ask for format=tar")
            }
            return member
        }

        private func checkName(_ path: Key) throws {
            let parts = path.bytes.split(separator: 0x2f, omittingEmptySubsequences: false)
            guard path.bytes.first != 0x2f, !path.bytes.contains(0), !parts.contains(where: { $0 == [0x2e, 0x2e] })
            else {
                throw LakeError(.invalidValue, "path \(path) cannot be in an archive: it names no place within one")
            }
        }
    }

    /// Walks all that the archive is to hold, before the first byte of it is sent: what is wrong can be told then.
    /// - Parameter allows: throws for an object that the caller may not read. It is asked again as each is sent: a
    ///   branch may have others by then.
    /// - Throws: what `allows` does, `.invalidValue` for names that would leave the folder that the archive is unpacked
    ///   in, and for too many.
    init(
        _ catalog: Catalog, _ scope: Scope, _ format: ArchiveFormat, allows: @escaping @Sendable (Key) throws -> Void
    ) throws {
        self.catalog = catalog
        self.scope = scope
        members = Members(
            catalog, try catalog.resolve(scope.ref, in: scope.repository), scope.query, most: format.mostMembers,
            allows: allows)
        var trial = members
        while try trial.next() != nil {}
        writer = try ArchiveWriter(format)
    }

    /// The next piece; empty at the end.
    func next() throws -> [UInt8] {
        while true {
            let made = writer.take()
            if !made.isEmpty || isDone { return made }
            try step()
        }
    }

    private func step() throws {
        if let (location, size) = current, writer.missing > 0 {
            let start = size - writer.missing
            let bytes = try catalog.objects.read(location, start..<min(start + 256 << 10, size))
            guard !bytes.isEmpty else { throw LakeError(.dataGone, "the object at \(location) ended early") }
            return try writer.write(bytes)
        }
        current = nil
        guard let (path, listed) = try members.next() else {
            try writer.end()
            isDone = true
            return
        }
        guard let (entry, location) = try find(path, listed) else { return }
        try writer.begin(path, byteCount: entry.size, modified: entry.lastModified)
        if writer.missing > 0 { current = (location, entry.size) }
    }

    /// An object that is there: on a branch it may have been replaced since it was listed, or removed.
    private func find(_ path: Key, _ listed: Entry) throws -> (Entry, ObjectLocation)? {
        let location = try listed.location(in: members.ref.repository.namespace)
        if try catalog.objects.size(of: location) == listed.size { return (listed, location) }
        do {
            let found = try catalog.entry(path, at: scope.ref, in: scope.repository)
            return (found.entry, found.location)
        } catch let error as LakeError where error.code == .notFound(.object) { return nil }
    }
}
