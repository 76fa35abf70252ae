import Foundations
import Glibc
import Versioning

/// Keys of a ref that cannot be files where they are (`mount.md` section 1): with both `a` and `a/b` the folder has the
/// name, and `//`, `.`, `..`, a zero byte or over 255 bytes between slashes make no name at all.
struct Unshown {
    /// Objects whose name a folder has.
    private(set) var shadowed: [(path: Key, entry: Entry)] = []
    /// Keys that are no path.
    private(set) var unnameable: [Key] = []
    /// Whether there may be more.
    private(set) var isCut = false

    /// Keys that are looked at, and that are told, at most.
    private static let mostKeys = 1_000_000, mostTold = 10_000

    /// Looks at all keys of a ref under a prefix, in their order.
    init(_ view: any LakeView, under prefix: Key) throws {
        // Each begins as the one behind it does: what comes between `a` and `a/` does too.
        var open: [(path: Key, entry: Entry, isTold: Bool)] = []
        var query = Catalog.ListQuery()
        var count = 0
        query.prefix = prefix
        query.limit = 1000
        while true {
            let page = try view.list(query)
            for case .object(let path, let entry) in page.items {
                while let last = open.last, !path.hasPrefix(last.path) { open.removeLast() }
                for index in open.indices where !open[index].isTold && path.hasPrefix(Paths.prefix(open[index].path)) {
                    open[index].isTold = true
                    shadowed.append((open[index].path, open[index].entry))
                }
                if !Self.isNameable(path) {
                    unnameable.append(path)
                } else if !Paths.isMarker(path) {
                    open.append((path, entry, false))
                }
            }
            count += page.items.count
            guard page.hasMore, let last = page.items.last else { break }
            guard count < Self.mostKeys, shadowed.count + unnameable.count < Self.mostTold else {
                isCut = true
                break
            }
            query.after = last.path
        }
        shadowed.sort { $0.path < $1.path }
    }

    static func isNameable(_ path: Key) -> Bool {
        Paths.trimmed(path).bytes.split(separator: Paths.slash, omittingEmptySubsequences: false).allSatisfy {
            Paths.isName($0)
        }
    }
}

/// The objects of a ref whose names folders have, as a ref of its own: shown under `.lake/shadowed/`, each where it
/// would be.
final class ShadowedView: LakeView {
    private let view: any LakeView
    /// By the path that they are shown under: one that others lie below is called `NAME~`.
    private let shown: [(path: Key, entry: Entry, real: Key)]

    init(_ view: any LakeView) throws {
        self.view = view
        let shadowed = try Unshown(view, under: Key([])).shadowed
        shown = shadowed.map { path, entry in
            let isFolder = shadowed.contains { $0.path.hasPrefix(Paths.prefix(path)) }
            return (isFolder ? Key(path.bytes + [0x7e]) : path, entry, path)
        }.sorted { $0.path < $1.path }
    }

    func find(_ path: Key) throws -> Entry? { shown.first { $0.path == path }?.entry }
    func hasObjects(under prefix: Key, near: Key?) throws -> Bool { shown.contains { $0.path.hasPrefix(prefix) } }
    func list(_ query: Catalog.ListQuery) throws -> Page<Listing> {
        var items: [Listing] = []
        for (path, entry, _) in shown where path.hasPrefix(query.prefix) && path > query.after {
            if !query.delimiter.isEmpty, let slash = path.bytes[query.prefix.count...].firstIndex(of: Paths.slash) {
                let folder = Key(Array(path.bytes[...slash]))
                if folder > query.after, items.last?.path != folder { items.append(.commonPrefix(folder)) }
            } else {
                items.append(.object(path, entry))
            }
        }
        return Page(items: Array(items.prefix(query.limit)), hasMore: items.count > query.limit)
    }
    private func real(_ path: Key?) -> Key? { path.flatMap { path in shown.first { $0.path == path }?.real } }
    func committed(_ path: Key) throws -> Entry? { try real(path).flatMap { try view.committed($0) } }
    func commitID() throws -> CommitID { try view.commitID() }
    func checkWritable() throws { throw Errno(EROFS) }
    func stage(
        _ changes: [(path: Key, entry: Entry?)], _ durability: Durability, expecting expected: [Catalog.Expected]
    ) throws -> [String: Entry] { throw Errno(EROFS) }
    func open(_ entry: Entry, at path: Key?) throws -> FilePiece? { try view.open(entry, at: real(path)) }
    func read(_ entry: Entry, at path: Key?, _ range: Range<Int64>) throws -> [UInt8] {
        try view.read(entry, at: real(path), range)
    }
    func location(_ entry: Entry) throws -> String { try view.location(entry) }
    func newAddress() -> String { view.newAddress() }
    func adopt(file path: String, as address: String, _ durability: Durability) throws { throw Errno(EROFS) }
    func makeEmpty() throws -> String { throw Errno(EROFS) }
    func synchronizeObjects() throws {}
    func synchronize() throws {}
    func capacity() -> (total: Int64, free: Int64, available: Int64)? { view.capacity() }
    var isElsewhere: Bool { view.isElsewhere }
    var conflicts: ConflictRule? { nil }
    /// It is what it was when it was made.
    func follow(
        _ take: @escaping @Sendable (Change.Kind) -> CountingSemaphore?, settling settle: (@Sendable (Key?) -> Void)?
    ) {}
    func unfollow() {}
    func hold(_ number: Int) {}
    func differing(_ old: String, _ new: String, most: Int) throws -> [Key]? { nil }
    func refs() throws -> [String] { [] }
    func log(_ limit: Int) throws -> [LoggedCommit] { [] }
    func changes(after: Key, limit: Int) throws -> Page<PathChange> { Page(items: [], hasMore: false) }
    func commit(_ message: String, by user: String) throws -> CommitID { throw Errno(EROFS) }
    func counters() -> [(String, Int)] { [] }
}
