import Glibc
import Synchronization
import Versioning

/// One file or folder as the kernel knows it. A file keeps the entry it was looked up with: when another door replaces
/// it, the path gets a new node at the next look-up, and who has the old one open reads the old bytes to the end.
///
/// Fields are guarded by the tree's lock, and read through the tree's functions.
final class Node: @unchecked Sendable {
    let number: UInt64
    /// Without a slash at the end; empty for the root. One of its names, if it has several.
    var path: Key
    /// The other names of a file that was linked (link(2)).
    var others: Set<Key> = []
    /// All names.
    var paths: [Key] { [path] + others }
    /// Nil for folders, and for files that were never published.
    var entry: Entry?
    let isFolder: Bool
    var attributes: Attributes
    /// How many times the kernel was told of it (fuse_lowlevel.h, forget).
    var lookups: UInt64 = 0
    /// It no longer has a name; open handles keep it.
    var isUnlinked = false
    /// For folders: made here, its marker object has nothing to tell and goes when something is in the folder.
    var hasBareMarker = false
    /// It was open for writing when the server died: nobody closed it, so it is no change of the branch until somebody does.
    var isRecovered = false
    /// Handles that are open for writing.
    let writers = Atomic<Int>(0)
    /// Handles that were opened for reading while it was being written: they read what was written, whatever becomes of its name.
    let readers = Atomic<Int>(0)
    /// Held while the file is published, renamed or unlinked: one of these at a time. Held over I/O and calls of the core,
    /// and taken before the tree's and the file's own lock.
    let publishing = Mutex<Void>(())
    /// When something last came into or went from a folder, as far as this mount knows; objects keep no such time.
    var changed = Timestamp.now()
    /// When a close last published it, and how long that took, in milliseconds.
    var published: (at: Int64, took: Int64)?
    /// The bytes being written, if any.
    var writing: StagedFile?

    init(number: UInt64, path: Key, entry: Entry?, isFolder: Bool, attributes: Attributes) {
        self.number = number
        self.path = path
        self.entry = entry
        self.isFolder = isFolder
        self.attributes = attributes
    }
}

/// Paths of a tree, as bytes.
enum Paths {
    static let slash: UInt8 = 0x2f

    static func join(_ folder: Key, _ name: [UInt8]) -> Key { folder.isEmpty ? Key(name) : Key(folder.bytes + [slash] + name) }

    /// The folder and the name.
    static func split(_ path: Key) -> (folder: Key, name: [UInt8]) {
        guard let mark = path.bytes.lastIndex(of: slash) else { return (Key([]), path.bytes) }
        return (Key(Array(path.bytes[..<mark])), Array(path.bytes[(mark + 1)...]))
    }

    /// What the keys of everything in a folder begin with; also the key of its marker.
    static func prefix(_ folder: Key) -> Key { folder.isEmpty ? folder : Key(folder.bytes + [slash]) }

    /// Whether a part of a key can be the name of a file (`mount.md` section 1).
    static func isName(_ name: some Collection<UInt8>) -> Bool {
        !name.isEmpty && name.count <= 255 && !name.elementsEqual([0x2e]) && !name.elementsEqual([0x2e, 0x2e]) && !name.contains(0) && !name.contains(slash)
    }
}

/// Owner, permissions, times and link target of a file, as `lakectl local` keeps them in user metadata.
struct Attributes: Equatable {
    static let permissionsKey = "::lakefs::posix-permissions", modifiedKey = "::lakefs::client-mtime", targetKey = "::lakefs::symlink-target"
    /// Ours: `lakectl local` keeps whole seconds.
    static let nanosecondsKey = "::lakefs::client-mtime-nanoseconds"

    /// Permission bits; nil for the default: 0644, folders 0755.
    var mode: UInt32?
    var owner: UInt32?
    var group: UInt32?
    /// A time that a program set; nil for the entry's own.
    var modified: Timestamp?
    var target: [UInt8]?

    init() {}

    /// Reads what an entry's metadata tells; what it does not tell, or not properly, is the default.
    init(_ metadata: Metadata) {
        if let text = metadata[Self.permissionsKey] {
            func number(_ name: String) -> UInt32? {
                guard let mark = text.firstRange(of: "\"\(name)\":") else { return nil }
                return UInt32(text[mark.upperBound...].drop { $0 == " " }.prefix { $0.isNumber })
            }
            mode = number("Mode").map { $0 & 0o7777 }
            owner = number("UID")
            group = number("GID")
        }
        let nanoseconds = metadata[Self.nanosecondsKey].flatMap { Int32($0) }.map { min(max(0, $0), 999_999_999) } ?? 0
        modified = metadata[Self.modifiedKey].flatMap { Int64($0) }.map { Timestamp(seconds: $0, nanoseconds: nanoseconds) }
        target = metadata[bytes: Self.targetKey]
    }

    /// Puts into `metadata` what is not the default.
    func write(into metadata: inout Metadata, isFolder: Bool) {
        let standard: UInt32 = isFolder ? 0o755 : 0o644
        let isPlain = (mode ?? standard) == standard && (owner ?? getuid()) == getuid() && (group ?? getgid()) == getgid()
        metadata[Self.permissionsKey] = isPlain ? nil : "{\"UID\":\(owner ?? getuid()),\"GID\":\(group ?? getgid()),\"Mode\":\(mode ?? standard)}"
        metadata[Self.modifiedKey] = modified.map { String($0.seconds) }
        metadata[Self.nanosecondsKey] = modified.flatMap { $0.nanoseconds > 0 ? String($0.nanoseconds) : nil }
        metadata[bytes: Self.targetKey] = target
    }
}
