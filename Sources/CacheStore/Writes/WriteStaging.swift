import Glibc
import Synchronization
package import Versioning

/// Files being written in mounts: their bytes in a folder, and in an SQLite index what each one is to become, so that a
/// crash of the server loses none of them. Safe from any thread.
package final class WriteStaging: Sendable {
    /// What a staged file is to become.
    package struct Record: Sendable, Equatable {
        package var repository: String
        package var branch: String
        package var path: Key
        /// The other names of a file that was linked (link(2)).
        package var others: [Key] = []
        /// The object that the file becomes when it is published: a crash may come between that and its entry.
        package var address: String
        /// What its entry is to have: mode and owner among it.
        package var metadata: Metadata
        /// Somebody closed it, having written to it last at this time: it is to be published. Otherwise it was still being written,
        /// and half a file is nobody's.
        package var closed: Timestamp?

        package init(repository: String, branch: String, path: Key, address: String, metadata: Metadata = [:], closed: Timestamp? = nil, others: [Key] = []) {
            self.others = others
            self.repository = repository
            self.branch = branch
            self.path = path
            self.address = address
            self.metadata = metadata
            self.closed = closed
        }

        fileprivate init(decoding bytes: [UInt8]) throws {
            self.init(repository: "", branch: "", path: "", address: "")
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

        fileprivate var encoded: [UInt8] {
            var writer = ProtobufWriter()
            writer.string(1, repository)
            writer.string(2, branch)
            writer.bytes(3, path.bytes)
            writer.string(4, address)
            writer.time(5, closed)
            writer.map(6, metadata)
            for other in others { writer.bytes(7, other.bytes) }
            return writer.bytes
        }
    }

    private let folder: String
    private let index: SQLiteStore
    private static let partition = Partition("writes")
    private let count = Atomic<UInt64>(0)
    /// Distinguishes the files of this process from those of one that crashed.
    private let prefix = XID.make()

    package init(folder: String) throws {
        self.folder = folder
        guard unsafe mkdir(folder, 0o700) == 0 || errno == EEXIST else { throw LakeError(.unavailable, unsafe "cannot make \(folder): \(String(cString: strerror(errno)))") }
        index = try SQLiteStore(path: folder + "/index.db")
    }

    package func close() { index.close() }

    /// A new empty file, and its name. A crash drops it until it is registered.
    package func make() throws -> (name: String, descriptor: Int32) {
        let name = "\(prefix)-\(count.add(1, ordering: .relaxed).newValue)"
        let descriptor = unsafe open(path(name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw LakeError(errno == ENOSPC ? .noSpace : .unavailable, unsafe "cannot stage a file: \(String(cString: strerror(errno)))") }
        return (name, descriptor)
    }

    package func path(_ name: String) -> String { folder + "/" + name }

    /// From now on a crash publishes the file as `record` says.
    package func register(_ name: String, _ record: Record) throws { try index.write([.set(Self.partition, Key(name), record.encoded)], .eventual) }

    /// Whether a file is still to become something, and nobody closed it.
    package func isOpen(_ name: String) throws -> Bool {
        guard let bytes = try index.value(for: Key(name), in: Self.partition) else { return false }
        return try Record(decoding: bytes).closed == nil
    }

    /// Makes durable what was registered.
    package func synchronize() throws { try index.synchronize() }

    /// A crash drops the file: what it was to become is not wanted any more.
    package func unregister(_ name: String) { try? index.write([.remove(Self.partition, Key(name))], .eventual) }

    /// Forgets a file that was published, or drops one that is not wanted.
    package func forget(_ name: String) {
        unsafe unlink(path(name))
        try? index.write([.remove(Self.partition, Key(name))], .eventual)
    }

    /// All that is registered.
    package func records() throws -> [Record] { try index.page(of: Self.partition, from: nil, before: nil, limit: 1_000_000).map { try Record(decoding: $0.value) } }

    /// What an earlier process left: files that were written and never published. Files that it had not registered go.
    package func leftovers() throws -> [(name: String, record: Record)] {
        let found = try index.page(of: Self.partition, from: nil, before: nil, limit: 1_000_000).filter { !$0.key.description.hasPrefix(prefix) }.map { ($0.key.description, try Record(decoding: $0.value)) }
        let known = Set(found.map(\.0))
        for name in try Folder.names(of: folder) where !name.hasPrefix(".") && !name.hasPrefix("index.db") && !name.hasPrefix(prefix) && !known.contains(name) { unsafe unlink(path(name)) }
        return found
    }
}
