import CacheStore
import Foundations
import LakeAPI
import Synchronization
import Versioning

/// A page of one folder of a lake elsewhere.
struct RemotePage: Sendable {
    /// In byte order.
    let items: [Listing]
    let hasMore: Bool

    /// What the page says of a path; nil if that lies behind it.
    func look(_ path: Key) -> (entry: Entry?, isFolder: Bool)? {
        let folder = Paths.prefix(path)
        if hasMore, let last = items.last, last.path < folder { return nil }
        func item(_ key: Key) -> Listing? {
            var low = 0
            var high = items.count
            while low < high {
                let middle = (low + high) / 2
                if items[middle].path < key { low = middle + 1 } else { high = middle }
            }
            return low < items.count && items[low].path == key ? items[low] : nil
        }
        var entry: Entry?
        if case .object(_, let found)? = item(path) { entry = found }
        return (entry, item(folder) != nil)
    }
}

/// Listings of a ref elsewhere, a folder a page: a look-up asks for the whole folder, since those beside it are asked
/// for next. They hold until the watch tells that something in them changed; on disk they stay for when the server
/// cannot be reached.
final class RemoteListings: Sendable {
    private struct Name: Hashable {
        let prefix: Key, after: Key
        /// Of the folder when the page was asked for: what others change meanwhile may not be in it.
        let version: UInt64
    }
    private struct Versions {
        var all: UInt64 = 0
        var folders: [Key: UInt64] = [:]
    }

    private let remote: Remote
    private let pages = LRUCache<Name, RemotePage>(budget: mostEntries)
    private let versions = Mutex(Versions())
    private let records: SQLiteStore
    private let partition: Partition
    private static let mostEntries = 200_000, mostFolders = 100_000
    static let pageSize = 1000

    init(_ remote: Remote, records: SQLiteStore) {
        self.remote = remote
        self.records = records
        partition = Partition("listings:\(remote.repository)/\(remote.ref)")
    }

    /// A page of a folder: its objects and folders behind `after`.
    /// - Throws: `.unavailable` if it was never seen and the server does not answer.
    func page(_ prefix: Key, after: Key = Key([])) throws -> RemotePage {
        let name = name(prefix, after: after)
        if let known = pages[name] { return known }
        let key = Key(prefix.bytes + [0] + after.bytes)
        do {
            let body = try remote.ask {
                try $0.objects(
                    at: remote.ref, in: remote.repository, prefix: prefix, delimiter: "/", after: after,
                    amount: Self.pageSize)
            }
            let page = try Self.page(body)
            pages.insert(page, for: name, cost: page.items.count + 1)
            do { try records.write([.set(partition, key, body)], .eventual) } catch {
                Log.warning("a listing is not kept for when the server cannot be reached", ["reason": "\(error)"])
            }
            return page
        } catch let error as LakeError where error.code == .unavailable {
            guard let body = try records.value(for: key, in: partition) else { throw error }
            return try Self.page(body)
        }
    }

    private func name(_ prefix: Key, after: Key = Key([])) -> Name {
        Name(prefix: prefix, after: after, version: versions.withLock { $0.all + ($0.folders[prefix] ?? 0) })
    }

    /// Whether a folder was read, and nothing of it was changed since as far as is known.
    func isKnown(_ prefix: Key) -> Bool { pages[name(prefix)] != nil }

    /// Asks for a folder's first page anew. Returns the objects that it shows otherwise than before.
    func changed(in prefix: Key) throws -> [Key] {
        let name = name(prefix)
        guard let old = pages[name] else { return [] }
        let new = try Self.page(
            remote.ask {
                try $0.objects(
                    at: remote.ref, in: remote.repository, prefix: prefix, delimiter: "/", after: Key([]),
                    amount: Self.pageSize)
            })
        func entries(_ page: RemotePage) -> [Key: Entry] {
            Dictionary(
                page.items.compactMap { item in
                    if case .object(let path, let entry) = item { (path, entry) } else { nil }
                }
            ) { $1 }
        }
        let before = entries(old)
        let after = entries(new)
        return before.filter { after[$0.key] != $0.value }.map(\.key) + after.keys.filter { before[$0] == nil }
    }

    /// Objects under a prefix in byte order, folders not grouped, from what was seen.
    func flat(_ prefix: Key, after: Key, limit: Int) throws -> [Listing] {
        var found: [Listing] = []
        var from = Key([])
        while true {
            let page = try page(prefix, after: from)
            for item in page.items where found.count < limit {
                switch item {
                case .object(let path, _): if path > after { found.append(item) }
                case .commonPrefix(let path):
                    if path > after || after.hasPrefix(path) {
                        found += try flat(path, after: after, limit: limit - found.count)
                    }
                }
            }
            guard page.hasMore, found.count < limit, let last = page.items.last else { return found }
            from = last.path
        }
    }

    static func page(_ body: [UInt8]) throws -> RemotePage {
        let list = try Coding.decode(ResultList<API.ObjectStats>.self, body)
        return RemotePage(
            items: list.results.map {
                $0.pathType == "common_prefix" ? .commonPrefix(Key($0.path)) : .object(Key($0.path), Entry($0))
            }, hasMore: list.pagination.hasMore)
    }

    /// What a path shows has changed, and with it perhaps the folders that lead to it.
    func forget(_ path: Key) {
        versions.withLock { versions in
            if versions.folders.count > Self.mostFolders {
                versions.all += versions.folders.values.max() ?? 0
                versions.folders = [:]
            }
            var bytes = path.bytes
            versions.folders[Key([]), default: 0] += 1
            if Paths.isMarker(path) { versions.folders[path, default: 0] += 1 }
            while let last = bytes.popLast() {
                if last == Paths.slash, bytes.count + 1 < path.count {
                    versions.folders[Key(bytes + [Paths.slash]), default: 0] += 1
                }
            }
        }
    }

    func forgetAll() {
        versions.withLock { $0.all += 1 }
        pages.removeAll()
    }
}

extension Entry {
    /// What a server tells of an object.
    init(_ object: API.ObjectStats) {
        self.init(
            address: object.physicalAddress, addressType: .full, lastModified: Timestamp(seconds: object.mtime),
            size: object.sizeBytes ?? 0, eTag: object.checksum,
            metadata: Metadata(object.metadata ?? [:]), contentType: object.contentType ?? "application/octet-stream")
    }
}
