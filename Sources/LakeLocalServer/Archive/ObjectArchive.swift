import Foundations
import Versioning

/// An archive of the objects under a prefix, made while it is fetched. Used by one thread at a time.
final class ObjectArchive: @unchecked Sendable {
    // The HTTP server asks for one piece after the other.
    private let catalog: Catalog
    private let ref: ResolvedRef
    private let refText: String
    private let repository: RepositoryID
    private let writer: ArchiveWriter
    private var query: Catalog.ListQuery
    private var page: ArraySlice<(path: Key, entry: Entry)> = []
    private var hasMore = true
    private var current: (location: ObjectLocation, size: Int64)?
    private var isDone = false
    private let allows: @Sendable (Key) throws -> Void
    private let most: Int
    private var count = 0

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

    /// - Parameter allows: throws for an object that the caller may not read. A branch may have others by the time they
    ///   are sent than when all was looked at.
    init(
        _ catalog: Catalog, _ scope: Scope, _ format: ArchiveFormat, allows: @escaping @Sendable (Key) throws -> Void
    ) throws {
        self.catalog = catalog
        self.allows = allows
        most = format.mostMembers
        ref = try catalog.resolve(scope.ref, in: scope.repository)
        refText = scope.ref
        repository = scope.repository
        query = scope.query
        writer = try ArchiveWriter(format)
    }

    private static func checkName(_ path: Key) throws {
        let parts = path.bytes.split(separator: 0x2f, omittingEmptySubsequences: false)
        guard path.bytes.first != 0x2f, !path.bytes.contains(0), !parts.contains(where: { $0 == [0x2e, 0x2e] })
        else { throw LakeError(.invalidValue, "path \(path) cannot be in an archive: it names no place within one") }
    }

    /// Walks all that an archive is to hold, before the first byte of it is sent: what is wrong can be told then.
    /// - Parameter allows: whether the caller may read an object.
    /// - Throws: `.permissionDenied` with the first one that may not be read, `.invalidValue` for names that would leave
    ///   the folder that the archive is unpacked in, and for too many.
    static func check(
        _ catalog: Catalog, _ scope: Scope, _ format: ArchiveFormat, allows: (Key) throws -> Void
    ) throws {
        let ref = try catalog.resolve(scope.ref, in: scope.repository)
        var query = scope.query
        var count = 0
        while true {
            let page = try catalog.list(ref, query)
            for case .object(let path, _) in page.items {
                try allows(path)
                count += 1
                try checkName(path)
            }
            guard count <= format.mostMembers else {
                throw LakeError(
                    .invalidValue,
                    "a zip may have \(format.mostMembers) members, and there are more: ask for format=tar")
            }
            guard page.hasMore, let last = page.items.last else { return }
            query.after = last.path
        }
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
        if page.isEmpty, hasMore {
            let found = try catalog.list(ref, query)
            hasMore = found.hasMore
            if let last = found.items.last { query.after = last.path }
            page =
                found.items.compactMap { if case .object(let path, let entry) = $0 { (path, entry) } else { nil } }[...]
            return
        }
        guard let (path, listed) = page.popFirst() else {
            try writer.end()
            isDone = true
            return
        }
        try Self.checkName(path)
        try allows(path)
        count += 1
        guard count <= most else { throw LakeError(.invalidValue, "more than \(most) members came into the archive") }
        guard let (entry, location) = try find(path, listed) else { return }
        try writer.begin(path, byteCount: entry.size, modified: entry.lastModified)
        if writer.missing > 0 { current = (location, entry.size) }
    }

    /// An object that is there: on a branch it may have been replaced since it was listed, or removed.
    private func find(_ path: Key, _ listed: Entry) throws -> (Entry, ObjectLocation)? {
        let location = try listed.location(in: ref.repository.namespace)
        if try catalog.objects.size(of: location) == listed.size { return (listed, location) }
        do {
            let found = try catalog.entry(path, at: refText, in: repository)
            return (found.entry, found.location)
        } catch let error as LakeError where error.code == .notFound(.object) { return nil }
    }
}
