import Foundations
import Glibc
import LakeAPI
import LakeFUSE
import Versioning

/// An object of a listing, as far as it is held against a file.
struct RemoteFile: Sendable {
    /// Below the prefix that is listed.
    let relative: String
    let path: String
    let size: Int64
    /// What the file's time was when it was sent, else the object's.
    let modified: Int64
    let checksum: String
    let metadata: [String: String]

    /// What is read of an item of a listing, which tells more.
    struct Listed: Decodable, Sendable {
        let path: String
        let checksum: String
        let sizeBytes: Int64?
        let mtime: Int64
        let metadata: API.ObjectUserMetadata?

        private enum CodingKeys: String, CodingKey {
            case path, checksum, mtime, metadata
            case sizeBytes = "size_bytes"
        }
    }

    init(_ item: Listed, below prefix: String) {
        let metadata = item.metadata ?? [:]
        self.init(
            path: item.path, below: prefix, size: item.sizeBytes ?? 0,
            modified: metadata[Attributes.modifiedKey].flatMap { Int64($0) } ?? item.mtime, checksum: item.checksum,
            metadata: metadata)
    }

    init(path: String, below prefix: String, size: Int64, modified: Int64, checksum: String, metadata: [String: String])
    {
        self.path = path
        relative = String(decoding: Array(path.utf8.dropFirst(prefix.utf8.count)), as: UTF8.self)
        (self.size, self.modified, self.checksum, self.metadata) = (size, modified, checksum, metadata)
    }

    /// As a download asks for it.
    var stats: API.ObjectStats {
        API.ObjectStats(
            path: path, pathType: "object", physicalAddress: "", checksum: checksum, sizeBytes: size, mtime: modified,
            metadata: metadata)
    }
}

/// Objects in the order of their paths, one after the other.
protocol RemoteFiles {
    mutating func next() throws -> RemoteFile?
}

/// The objects of a ref below a prefix; markers of folders left out.
struct RemoteListing: RemoteFiles {
    private let pages: PageReader<RemoteFile.Listed>
    private let prefix: String
    private var page: [RemoteFile.Listed] = []
    private var position = 0

    init(_ transfers: Transfers, prefix: String) {
        self.prefix = prefix
        pages = PageReader { [client = transfers.client, repository = transfers.repository, ref = transfers.ref] in
            try client.page(
                ["repositories", repository, "refs", ref, "objects", "ls"],
                [("prefix", prefix), ("user_metadata", "true")], after: $0, amount: $1)
        }
    }

    mutating func next() throws -> RemoteFile? {
        while true {
            while position < page.count {
                position += 1
                let item = page[position - 1]
                if !item.path.hasSuffix("/") { return RemoteFile(item, below: prefix) }
            }
            guard let found = try pages.next() else { return nil }
            (page, position) = (found.items, 0)
        }
    }
}

/// A listing as a sequence; what goes wrong ends it, and is told by `problem`.
final class RemoteSequence: Sequence, IteratorProtocol {
    private var files: any RemoteFiles
    private(set) var problem: (any Error)?
    init(_ files: any RemoteFiles) { self.files = files }
    func next() -> RemoteFile? {
        do { return try files.next() } catch {
            problem = error
            return nil
        }
    }
}

/// What differs between a folder of this machine and objects.
enum LocalDiff {
    enum Kind: String, Sendable { case added, modified, removed, conflict }

    struct Change: Sendable {
        let kind: Kind
        let path: String
        var local: LocalFile?
        var remote: RemoteFile?
    }

    /// Goes through both at once and tells what is not the same, in the order of paths. This program's own files are left
    /// out on either side.
    /// - Parameter ignoresLinks: whether objects that are symbolic links are left out, since none are made here.
    static func each(
        _ walk: inout LocalWalk, _ remote: any RemoteFiles, root: String? = nil, posix: Bool = false,
        ignoresLinks: Bool = false, _ body: (Change) throws -> Void
    ) throws {
        var remote = remote
        func nextObject() throws -> RemoteFile? {
            while let found = try remote.next() {
                if LocalWalk.isOwn(found.relative) { continue }
                if ignoresLinks, found.metadata[Attributes.targetKey] != nil { continue }
                return found
            }
            return nil
        }
        var (file, object) = (try walk.next(), try nextObject())
        while file != nil || object != nil {
            let order =
                file.flatMap { file in object.map { compare(file.path, $0.relative) } } ?? (file == nil ? 1 : -1)
            if order < 0, let found = file {
                try body(Change(kind: .added, path: found.path, local: found))
                file = try walk.next()
            } else if order > 0, let found = object {
                try body(Change(kind: .removed, path: found.relative, remote: found))
                object = try nextObject()
            } else if let local = file, let found = object {
                if try !isSame(local, found, root, posix) {
                    try body(Change(kind: .modified, path: local.path, local: local, remote: found))
                }
                (file, object) = (try walk.next(), try nextObject())
            }
        }
    }

    private static func compare(_ left: String, _ right: String) -> Int {
        var (left, right) = (left, right)
        return left.withUTF8 { left in
            right.withUTF8 { right in
                let shared = min(left.count, right.count)
                let order = unsafe shared == 0 ? 0 : memcmp(left.baseAddress!, right.baseAddress!, shared)
                return order != 0 ? Int(order) : left.count - right.count
            }
        }
    }

    /// By size and time, as lakectl; where the time alone differs, by what is in it.
    private static func isSame(_ file: LocalFile, _ object: RemoteFile, _ root: String?, _ posix: Bool) throws -> Bool {
        guard file.target == object.metadata[Attributes.targetKey] || root == nil, file.size == object.size else {
            return false
        }
        if posix, object.metadata[Attributes.permissionsKey] != nil {
            let (here, there) = (file.attributes, Attributes(Metadata(object.metadata)))
            guard here.mode == there.mode, here.owner == there.owner, here.group == there.group else { return false }
        }
        if file.modified == object.modified || file.target != nil { return true }
        guard let root, file.target == nil, Transfers.isMD5(object.checksum) else { return false }
        return md5(root + "/" + file.path) == object.checksum
    }

    /// Whether a file has what an object has.
    static func isSame(_ file: String, _ object: RemoteFile) -> Bool {
        guard Transfers.isMD5(object.checksum), let status = FileStatus(path: file), status.size == object.size else {
            return false
        }
        return md5(file) == object.checksum
    }

    private static func md5(_ file: String) -> String? {
        let descriptor = unsafe open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        return Transfers.md5(of: descriptor)
    }
}
