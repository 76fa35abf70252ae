import Foundations
import Glibc
import LakeAPI

/// What a commit holds below a prefix, kept on this machine: a commit never changes, so that to list it once is enough. One
/// file a commit and prefix, in the order of paths; it can be removed at any time.
struct LocalIndex {
    /// Written at the beginning of each file; another one is another format.
    private static let head = Array("lakefuse listing 1\n".utf8)
    /// Seconds after which a file that nobody asked for goes.
    private static let longestKept: Int64 = 30 * 24 * 3600

    /// Nil where there is no home to keep anything in.
    private let folder: String?
    private let name: String

    /// - Parameter commit: a whole id.
    init(_ environment: [String: String], endpoint: String, repository: String, commit: String, prefix: String) {
        let cache = environment["XDG_CACHE_HOME"].flatMap { $0.hasPrefix("/") ? $0 : nil }
        let home = environment["HOME"].flatMap { $0.hasPrefix("/") ? $0 + "/.cache" : nil }
        folder = (cache ?? home).map { $0 + "/lakefuse/local" }
        let parts = [endpoint, repository, commit, prefix].joined(separator: "\n")
        name = Hex.text(Hash.digest(.sha256, Array(parts.utf8)))
    }

    /// The listing; read from the server, and kept, if it is not here.
    /// - Parameter transfers: of the commit.
    func files(_ transfers: Transfers, prefix: String) -> any RemoteFiles {
        guard let folder else { return RemoteListing(transfers, prefix: prefix) }
        let file = folder + "/" + name
        if let reader = Reader(file, prefix: prefix) { return reader }
        // Where it cannot be kept, it is listed again the next time.
        return Keeper(RemoteListing(transfers, prefix: prefix), Writer(folder, file))
    }

    /// Keeps what is read of a listing, if that is all of it.
    private struct Keeper: RemoteFiles {
        private var files: RemoteListing
        private let writer: Writer?

        init(_ files: RemoteListing, _ writer: Writer?) { (self.files, self.writer) = (files, writer) }

        mutating func next() throws -> RemoteFile? {
            let file = try files.next()
            if let file { writer?.add(file) } else { writer?.finish() }
            return file
        }
    }

    /// A file that is there when it is whole.
    private final class Writer {
        private let path: String, temporary: String
        private let descriptor: Int32
        private var bytes = LocalIndex.head
        private var position: Int64 = 0
        private var hasFailed = false

        init?(_ folder: String, _ path: String) {
            guard (try? Files.makeFolder(folder)) != nil else { return nil }  // Nothing is kept then.
            LocalIndex.clean(folder)
            self.path = path
            temporary = path + ".\(getpid())"
            descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else { return nil }
        }

        deinit {
            close(descriptor)
            unsafe unlink(temporary)
        }

        func add(_ file: RemoteFile) {
            put(file.path)
            bytes.append(varint: UInt64(bitPattern: file.size))
            bytes.append(varint: UInt64(bitPattern: file.modified))
            put(file.checksum)
            bytes.append(varint: UInt64(file.metadata.count))
            for (name, value) in file.metadata {
                put(name)
                put(value)
            }
            if bytes.count > 1 << 20 { flush() }
        }

        private func put(_ text: String) {
            bytes.append(varint: UInt64(text.utf8.count))
            bytes += text.utf8
        }

        private func flush() {
            hasFailed =
                unsafe hasFailed || !bytes.withUnsafeBytes { unsafe writeWhole($0, to: descriptor, at: position) }
            position += Int64(bytes.count)
            bytes.removeAll(keepingCapacity: true)
        }

        func finish() {
            bytes.append(varint: 0)
            flush()
            if !hasFailed { unsafe _ = rename(temporary, path) }
        }
    }

    /// Removes what nobody has asked for in a while.
    private static func clean(_ folder: String) {
        let now = Timestamp.now().seconds
        for name in (try? Folder.names(of: folder)) ?? [] {  // What cannot be listed stays.
            let path = folder + "/" + name
            if let status = FileStatus(path: path), now - status.modified.seconds > longestKept { unsafe unlink(path) }
        }
    }

    private struct Reader: RemoteFiles {
        private let source: Source
        private let prefix: String
        private final class Source {
            let descriptor: Int32
            init(_ descriptor: Int32) { self.descriptor = descriptor }
            deinit { close(descriptor) }
        }
        private var bytes: [UInt8] = []
        private var position = 0
        private var isAtEnd = false

        init?(_ path: String, prefix: String) {
            let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { return nil }
            source = Source(descriptor)
            self.prefix = prefix
            let size = Int(lseek(descriptor, 0, SEEK_END))
            // One that is not whole does not end with its mark.
            var last: UInt8 = 1
            guard size > LocalIndex.head.count, unsafe pread(descriptor, &last, 1, off_t(size - 1)) == 1, last == 0,
                lseek(descriptor, 0, SEEK_SET) == 0, fill(LocalIndex.head.count),
                bytes.starts(with: LocalIndex.head)
            else { return nil }
            position = LocalIndex.head.count
            futimens(descriptor, nil)  // It has been asked for.
        }

        /// Whether so many bytes are there behind the position.
        private mutating func fill(_ count: Int) -> Bool {
            guard bytes.count - position < count else { return true }
            bytes.removeFirst(position)
            position = 0
            var piece = [UInt8](repeating: 0, count: max(1 << 20, count))
            while bytes.count < count {
                let read = unsafe Glibc.read(source.descriptor, &piece, piece.count)
                guard read > 0 else { return false }
                bytes += piece[..<read]
            }
            return true
        }

        private mutating func number() throws -> UInt64 {
            // At the end of the file fewer may be there than the longest number has.
            _ = fill(10)
            guard let number = bytes[...].varint(at: &position) else { throw broken }
            return number
        }

        private mutating func text() throws -> String {
            let count = Int(clamping: try number())
            guard count < 1 << 24, fill(count) else { throw broken }
            defer { position += count }
            return String(decoding: bytes[position..<position + count], as: UTF8.self)
        }

        private var broken: CommandError {
            CommandError("a listing that is kept on this machine is damaged: remove ~/.cache/lakefuse/local")
        }

        mutating func next() throws -> RemoteFile? {
            guard !isAtEnd else { return nil }
            let path = try text()
            guard !path.isEmpty else {
                isAtEnd = true
                return nil
            }
            let (size, modified) = (Int64(bitPattern: try number()), Int64(bitPattern: try number()))
            let checksum = try text()
            var metadata: [String: String] = [:]
            for _ in 0..<(try number()) {
                let name = try text()
                metadata[name] = try text()
            }
            return RemoteFile(
                path: path, below: prefix, size: size, modified: modified, checksum: checksum, metadata: metadata)
        }
    }
}
