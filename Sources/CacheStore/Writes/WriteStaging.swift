package import Foundations
import Glibc
import Synchronization
package import Versioning

/// The working trees of branches that are mounted for writing, on disk: a folder of working files, and an SQLite index
/// of their inodes and names, so that a crash of the server loses none of them. Safe from any thread. Source:
/// `mount.md` section 2.
package final class WriteStaging: Sendable {
    /// Which branch a working tree is of.
    package struct TreeID: Hashable, Sendable {
        package let repository: RepositoryID, branch: BranchName
        package init(repository: RepositoryID, branch: BranchName) {
            self.repository = repository
            self.branch = branch
        }

        fileprivate static let mark = "tree:"
        fileprivate var partition: Partition { Partition("\(Self.mark)\(repository)/\(branch)") }

        fileprivate init?(_ partition: Partition) {
            let text = partition.description
            // A repository's name has no slash.
            guard text.hasPrefix(Self.mark), let slash = text.firstIndex(of: "/") else { return nil }
            repository = RepositoryID(String(text.dropFirst(Self.mark.count).prefix { $0 != "/" }))
            branch = BranchName(String(text[text.index(after: slash)...]))
        }
    }

    /// One change of the index: an inode or a name, set or (nil) removed.
    package enum Change: Sendable {
        case node(UInt64, NodeRow?)
        case name(folder: UInt64, Key, UInt64?)
    }

    package let folder: String
    private let index: SQLiteStore
    private let count = Atomic<UInt64>(0)
    /// Distinguishes the files of this process from those of one that crashed.
    private let prefix = XID.make()

    package init(folder: String) throws {
        self.folder = folder
        guard unsafe mkdir(folder, 0o700) == 0 || errno == EEXIST else {
            throw LakeError(.unavailable, unsafe "cannot make \(folder): \(String(cString: strerror(errno)))")
        }
        // Whoever writes sees to when it is durable: bytes come before names.
        index = try SQLiteStore(path: folder + "/index.db", syncsByItself: false)
    }

    package func close() { index.close() }

    // MARK: files

    /// A new empty file, and its name. A crash drops it until a row names it.
    package func make() throws -> (name: String, descriptor: Int32) {
        let name = "\(prefix)-\(count.add(1, ordering: .relaxed).newValue)"
        let descriptor = unsafe open(path(name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw LakeError(
                errno == ENOSPC ? .noSpace : .unavailable,
                unsafe "cannot stage a file: \(String(cString: strerror(errno)))")
        }
        return (name, descriptor)
    }

    package func path(_ name: String) -> String { folder + "/" + name }

    package func remove(_ name: String) { unsafe _ = unlink(path(name)) }

    // MARK: index

    private static let nodeMark: UInt8 = 0x6e, nameMark: UInt8 = 0x65

    private static func bytes(_ number: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: number >> (56 - 8 * $0)) }
    }
    private static func number(_ bytes: some Sequence<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }

    /// Writes changes of a tree, all or none; if not durable, they are with the next write that is, of any tree.
    package func write(_ changes: [Change], of tree: TreeID, _ durability: Durability = .eventual) throws {
        let partition = tree.partition
        try index.write(
            changes.map { change in
                switch change {
                case .node(let number, let row):
                    let key = Key([Self.nodeMark] + Self.bytes(number))
                    return row.map { .set(partition, key, $0.encoded) } ?? .remove(partition, key)
                case .name(let folder, let name, let number):
                    let key = Key([Self.nameMark] + Self.bytes(folder) + name.bytes)
                    return number.map { .set(partition, key, Self.bytes($0)) } ?? .remove(partition, key)
                }
            }, durability)
    }

    /// Makes durable what was written to the index.
    package func synchronize() throws { try index.synchronize() }

    /// Trees of which there is anything.
    package func trees() throws -> [TreeID] { try index.partitions().compactMap { TreeID($0) } }

    /// All rows of a tree.
    package func rows(of tree: TreeID) throws -> (
        nodes: [(number: UInt64, row: NodeRow)], names: [(folder: UInt64, name: Key, number: UInt64)]
    ) {
        var nodes: [(number: UInt64, row: NodeRow)] = []
        var names: [(folder: UInt64, name: Key, number: UInt64)] = []
        var from: Key?
        while true {
            let page = try index.page(of: tree.partition, from: from, before: nil, limit: 10_000)
            for (key, value) in page {
                guard key.count >= 9 else { continue }
                let number = Self.number(key.bytes[1..<9])
                if key.bytes[0] == Self.nodeMark {
                    nodes.append((number, try NodeRow(decoding: value)))
                } else {
                    names.append((number, Key(Array(key.bytes[9...])), Self.number(value)))
                }
            }
            guard page.count == 10_000, let last = page.last else { return (nodes, names) }
            from = last.key.successor
        }
    }

    /// Forgets a tree; its files go with the next `sweep`.
    package func removeTree(_ tree: TreeID) throws { try index.removeAll(in: tree.partition) }

    /// The objects that rows name, or will: an unpublished change may be all that does.
    package func addresses() throws -> [(repository: RepositoryID, address: String)] {
        var found = try legacyRecords().map { (RepositoryID($0.record.repository), $0.record.address) }
        for tree in try trees() {
            for (_, row) in try rows(of: tree).nodes {
                for address in [row.address, row.wholeAddress, row.entry?.address] where address?.isEmpty == false {
                    found.append((tree.repository, address!))
                }
            }
        }
        return found
    }

    /// Removes files that no row names: what a crash left of files without a name.
    package func sweep() throws {
        var known = Set(try legacyRecords().map(\.name))
        for tree in try trees() {
            for (_, row) in try rows(of: tree).nodes { known.formUnion([row.file, row.wholeFile]) }
        }
        for name in try Folder.names(of: folder)
        where !name.hasPrefix(".") && !name.hasPrefix("index.db") && !name.hasPrefix(prefix) && !known.contains(name) {
            remove(name)
        }
    }

    // MARK: mounts

    /// A mount that is to be there again when the server starts again.
    package struct KeptMount: Sendable, Equatable {
        /// Whom it is for, and what was asked for, as it was sent.
        package var user: String, request: [UInt8]
        package init(user: String, request: [UInt8]) {
            self.user = user
            self.request = request
        }

        fileprivate init(decoding bytes: [UInt8]) throws {
            self.init(user: "", request: [])
            try readProtobuf(bytes) { field in
                switch field.number {
                case 1: user = field.string
                case 2: request = field.array
                default: break
                }
            }
        }

        fileprivate var encoded: [UInt8] {
            var writer = ProtobufWriter()
            writer.string(1, user)
            writer.bytes(2, request)
            return writer.bytes
        }
    }
    private static let mountsPartition = Partition("mounts")

    /// Keeps a mount point, or (nil) forgets it.
    package func keep(_ mount: KeptMount?, at directory: String) throws {
        try index.write(
            [
                mount.map { .set(Self.mountsPartition, Key(directory), $0.encoded) }
                    ?? .remove(Self.mountsPartition, Key(directory))
            ], .durable)
    }

    package func keptMounts() throws -> [(directory: String, mount: KeptMount)] {
        try index.page(of: Self.mountsPartition, from: nil, before: nil, limit: 10_000).map {
            ($0.key.description, try KeptMount(decoding: $0.value))
        }
    }

    // MARK: what earlier versions left

    /// A file that a version before working trees was writing when it died.
    package struct LegacyRecord: Sendable {
        package var repository = "", branch = "", path = Key([]), others: [Key] = [], address = "",
            metadata: Metadata = [:], closed: Timestamp?

        fileprivate init(decoding bytes: [UInt8]) throws {
            try readProtobuf(bytes) { field in
                switch field.number {
                case 1: repository = field.string
                case 2: branch = field.string
                case 3: path = Key(field.array)
                case 4: address = field.string
                case 5: closed = try field.time()
                case 6: metadata.pairs.append(try field.pair())
                case 7: others.append(Key(field.array))
                default: break
                }
            }
        }
    }
    private static let legacyPartition = Partition("writes")

    package func legacyRecords() throws -> [(name: String, record: LegacyRecord)] {
        try index.page(of: Self.legacyPartition, from: nil, before: nil, limit: 1_000_000).map {
            ($0.key.description, try LegacyRecord(decoding: $0.value))
        }
    }

    package func forgetLegacy(_ name: String) throws {
        try index.write([.remove(Self.legacyPartition, Key(name))], .eventual)
    }
}
