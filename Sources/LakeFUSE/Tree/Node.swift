import CacheStore
import Foundations
import Glibc
import Synchronization
import Versioning

/// One inode of a tree. While nobody has changed it, its name in its folder says what it is on the branch (it is
/// *natural*); what was changed stays here until the branch has it too.
///
/// Fields are guarded by the tree's lock, but for those that say otherwise.
final class Node: @unchecked Sendable {
    enum Kind: UInt8 {
        case file = 1
        case folder, link, pipe, socket, character, block
        /// What entries can hold; the others stay in the tree.
        var isCommittable: Bool { self == .file || self == .folder || self == .link }
    }

    struct Name: Equatable {
        let folder: Node, name: Key
        static func == (left: Name, right: Name) -> Bool { left.folder === right.folder && left.name == right.name }
    }

    /// Where the branch has what nobody changed of a folder.
    enum Base: Equatable {
        /// Where its name says, seen from the base of the folder that it lies in.
        case natural
        /// Nowhere: it was made here, and all that is in it is known.
        case none
        /// Under this path, whatever it is called here: it was renamed.
        case at(Key)
    }

    /// A working file as it was when it was last closed.
    struct Closed: Equatable {
        let size: Int64, modified: Timestamp
    }

    /// A working file that nobody writes to any more.
    struct Whole {
        let file: WorkingFile, closed: Closed
    }

    let number: UInt64
    let kind: Kind
    /// Several for files that were linked (link(2)), none for what was removed, or replaced by another door.
    var names: [Name] = []
    /// What is known of a folder: all that was changed in it, and what the kernel knows.
    var children: [Key: Node] = [:]
    var base = Base.natural
    /// Counts changes of a folder's names: what was read of the branch before one may be wrong after it.
    var version: UInt64 = 0
    /// The name that was looked for in a folder last and was not there, and the version that holds for.
    var absent: (name: Key, version: UInt64)?
    /// A folder from which something went may be empty now, and want a marker.
    var mayBeEmpty = false
    /// The object that holds its bytes, or a folder's marker.
    var entry: Entry?
    /// The branch has not this entry yet.
    var isEntryNew = false
    /// What the branch has had since before its bytes were changed here; nil for nothing, and while they are not.
    var replaced: Entry?
    /// The paths that the branch has it under; nil if it is natural. A folder's without the slash of its marker.
    var published: [Key]?
    var attributes: Attributes
    /// atime and ctime, where they are not the time of the last write.
    var accessed: Timestamp?, changed: Timestamp?
    /// For folders: when something last came into or went from it. Objects keep no such time.
    var filled: Timestamp?
    var device: UInt64 = 0
    var extended: [Key: [UInt8]] = [:]
    /// The bytes while they are being written, or are not published.
    var file: WorkingFile?
    var closed: Closed?
    /// What was published of the working file: if it is as it was closed, there is nothing to publish.
    var publishedClose: Closed?
    /// What was closed last, and is not published, while a copy of it is being written: a crash must not lose it.
    var whole: Whole?
    /// The file that is made an object now: it stays, though the node may have another since.
    var freezing: WorkingFile?
    /// When a close last came, and how long publishing took, in milliseconds.
    var touched: Int64 = 0, took: Int64 = 0
    /// The branch has it, but perhaps not on disk: since which publish, where it had it before, and where a folder lay.
    var settledAt: UInt64 = 0, settledOld: [Key] = [], settledBase: Key?
    /// Paths that a publish is about to give it on the branch.
    var planned: [Key] = []
    /// A publish is under way that has chosen it: it is not let go of meanwhile, so that no other node gets its number.
    /// Within that, from the plan until it is settled: what is removed then may come to the branch all the same.
    var isChosen = false, isPlanned = false
    /// Counts changes, for a publish to see whether it is up to date when it ends.
    var edits: UInt64 = 0
    /// It was being written when the server died: nobody closed it, so it is no change of the branch until somebody
    /// does.
    var isRecovered = false
    /// Why the branch did not take it.
    var refusal: String?
    /// How often the kernel was told of it (fuse_lowlevel.h, forget).
    var lookups: UInt64 = 0
    /// Open handles; those of them that write.
    var handles = 0, writers = 0
    /// Counts working files: an open handle whose bytes are of an earlier one looks again.
    var content = 0
    /// What a set-user-id file was when somebody who is not root began to write: if that changes, so do its permissions
    /// (chmod(2)).
    var strippedUnless: Closed?
    /// Handles that the kernel reads and writes by itself: the file behind them is not to become an object.
    var lent = 0
    /// The index has rows of it: the names that it is stored under, and how many rows lie below a folder.
    var storedNames: [Name] = [], isStored = false, storedChildren = 0
    /// Held over I/O while the working file is made or becomes an object; taken before the tree's lock.
    let io = Mutex<Void>(())

    init(number: UInt64, kind: Kind, entry: Entry? = nil, attributes: Attributes = Attributes()) {
        self.number = number
        self.kind = kind
        self.entry = entry
        self.attributes = attributes
    }

    var isFolder: Bool { kind == .folder }
    /// Kept in the tree though the branch has it: what an entry cannot say.
    var isPinned: Bool { names.count > 1 || !extended.isEmpty || !kind.isCommittable || refusal != nil }
    /// Its working file has been closed, and the branch has not what was closed.
    var hasNewBytes: Bool { whole != nil || (file != nil && closed != nil && closed != publishedClose && !isRecovered) }
    /// Nobody has closed it, or it was written since, as far as is known.
    var isUnclosed: Bool { file != nil && (closed == nil || isRecovered || writers > 0) }
}

/// Paths of a tree, as bytes.
enum Paths {
    static let slash: UInt8 = 0x2f

    static func join(_ folder: Key, _ name: [UInt8]) -> Key {
        guard !folder.isEmpty else { return Key(name) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(folder.count + 1 + name.count)
        bytes += folder.bytes
        bytes.append(slash)
        bytes += name
        return Key(bytes)
    }

    /// What the keys of everything in a folder begin with; also the key of its marker.
    static func prefix(_ folder: Key) -> Key { folder.isEmpty ? folder : Key(folder.bytes + [slash]) }

    /// What a path begins with up to its last slash.
    static func folder(of path: Key) -> Key {
        Key(Array(path.bytes[..<(path.bytes.lastIndex(of: slash).map { $0 + 1 } ?? 0)]))
    }

    static func isMarker(_ key: Key) -> Bool { key.bytes.last == slash }

    /// The same without the slash of a marker.
    static func trimmed(_ key: Key) -> Key { isMarker(key) ? Key(Array(key.bytes.dropLast())) : key }

    /// Whether a part of a key can be the name of a file (`mount.md` section 1).
    static func isName(_ name: some Collection<UInt8>) -> Bool {
        !name.isEmpty && name.count <= 255 && !name.elementsEqual([0x2e]) && !name.elementsEqual([0x2e, 0x2e])
            && !name.contains(0) && !name.contains(slash)
    }
}
