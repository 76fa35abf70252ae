import CLinux
package import Foundations
import Glibc
import Synchronization
package import Versioning

/// Objects as files under one folder: `local://name/path` is `<root>/name/path`, as lakeFS lays it out
/// (`lakefs-formats.md` section 1).
///
/// An object is written to a temporary file in the root, synced, renamed to its place, and the folder synced:
/// whole and durable before it is acknowledged. Syncs of folders are shared by all who wait for the same one.
/// Small ones go to a log first, whose sync is shared by all, and become files a little later (`ObjectLog`).
package final class LocalObjectStore: ObjectStore, ObjectFiles {
    package let root: String
    private let incoming: String
    /// Folders outside of the root that may be read: what imports name. As given, and with links resolved; no slash at
    /// the end.
    private let externalPrefixes: (given: [String], resolved: [String])
    /// Folders that stay closed even where they lie under one of these: the root, and what else holds secrets.
    private let closedFolders: [String]
    private let temporaryCount = Atomic<UInt64>(0)
    /// Folders known to exist and to be durable in their parents.
    private let folders = Mutex<Set<String>>([])
    private static let foldersKept = 10_000
    private let folderSync: GroupCommit<String, StoreError?>
    fileprivate let writers = FileOutput.Threads(width: 2)
    /// Objects finished as `.eventual`, and how many of them the last sync covered.
    private let written = Atomic<UInt64>(0), synced = Atomic<UInt64>(0)
    /// One sync of the whole disk at a time; the one lock here that is held over I/O, for that is what it is about.
    private let syncing = Mutex<Void>(())
    fileprivate let log: ObjectLog?

    /// Uses `root`, making it if it is not there. Temporary files that a crash left are removed.
    /// - Parameters:
    ///   - externalPrefixes: folders whose files may be read by full addresses (`local:///folder/file`); none by
    ///     default.
    ///   - closedFolders: folders that may not, though they lie under one of these; the root is one of them anyway.
    ///   - keepsLog: small objects go through a log, until `close`. Without, what a log holds becomes files now.
    package init(
        root: String, externalPrefixes: [String] = [], closedFolders: [String] = [], keepsLog: Bool = false
    ) throws(StoreError) {
        self.root = root
        let given = externalPrefixes.map { prefix in
            prefix.hasSuffix("/") && prefix != "/" ? String(prefix.dropLast()) : prefix
        }
        self.externalPrefixes = (given, given.compactMap(Self.resolved))
        try Self.makeFolders(root)
        self.closedFolders = ([root] + closedFolders).compactMap(Self.resolved)
        incoming = root + "/.incoming"
        folderSync = GroupCommit(limit: 1024) { paths in
            var results: [String: StoreError?] = [:]
            for path in Set(paths) {
                do throws(StoreError) {
                    try LocalObjectStore.synchronize(folder: path)
                    results[path] = .some(nil)
                } catch {
                    results[path] = error
                }
            }
            return paths.map { results[$0] ?? nil }
        }
        try Self.makeFolders(incoming)
        for name in try Folder.names(of: incoming) { unsafe unlink(incoming + "/" + name) }
        let log = try ObjectLog(folder: root + "/.log", root: root)
        if keepsLog {
            self.log = log
        } else {
            self.log = nil
            try log.drain()
            log.close()
        }
    }

    package func close() {
        log?.close()
        folderSync.stop()
        writers.stop()
    }

    // MARK: the file system

    /// An error of the file system. It may be told to a client: so it names what the client knows, not the server's
    /// paths.
    static func failure(_ what: String, _ path: String, _ code: Int32 = errno) -> StoreError {
        let kind: StoreError.Code =
            switch code {
            case ENOSPC, EDQUOT: .noSpace
            case ENOENT, ENOTDIR: .notFound
            case ENAMETOOLONG, EINVAL, EISDIR: .invalid
            default: .unavailable
            }
        return StoreError(kind, unsafe "\(what) \(path): \(String(cString: strerror(code)))")
    }

    static func synchronize(folder: String) throws(StoreError) {
        let descriptor = unsafe open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("cannot open", "a folder of objects") }
        defer { Glibc.close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("cannot sync", "a folder of objects") }
    }

    /// Makes a folder and those above it that are not there; each is durable in its parent then. Only their owner may
    /// look in.
    static func makeFolders(_ path: String) throws(StoreError) {
        var missing = [path]
        while let next = missing.last {
            let parent = next.lastIndex(of: "/").flatMap { $0 > next.startIndex ? String(next[..<$0]) : nil }
            // One that is there may have been made just now by another thread, and not be synced yet.
            if unsafe mkdir(next, 0o700) == 0 || errno == EEXIST {
                if let parent { try synchronize(folder: parent) }
                missing.removeLast()
            } else if errno == ENOENT, let parent {
                missing.append(parent)
            } else {
                throw failure("cannot make", "a folder for objects")
            }
        }
    }

    /// The file of a location, which must stay under the root.
    fileprivate func path(_ location: ObjectLocation) throws(StoreError) -> String {
        guard location.scheme == "local" else { throw StoreError(.invalid, "\(location) is not in local storage") }
        guard Self.isPlain(location.path.utf8) else { throw StoreError(.invalid, "\(location) is not a valid address") }
        // Names with a dot are the store's own.
        guard location.path.utf8.first != 0x2e else {
            throw StoreError(.invalid, "\(location) is not a valid address: a namespace may not begin with a dot")
        }
        return root + "/" + location.path
    }

    /// The file of a location that is only read: under the root, or a file outside that may be.
    /// - Throws: `.notFound` for a file outside that is not there, or not ours to read.
    private func readablePath(_ location: ObjectLocation) throws(StoreError) -> String {
        guard location.scheme == "local", location.isOutside else { return try path(location) }
        guard let resolved = Self.resolved(location.path), Self.lies(resolved, under: externalPrefixes.resolved),
            !Self.lies(resolved, under: closedFolders)
        else {
            throw StoreError(
                .notFound,
                "\(location) is not there, or not under a folder of blockstore.local.allowed_external_prefixes")
        }
        return resolved
    }

    /// Byte by byte: strings that look alike are other folders.
    private static func lies(_ path: String, under prefixes: [String]) -> Bool {
        let path = Array(path.utf8)
        return prefixes.contains { prefix in
            let prefix = Array(prefix.utf8)
            return path.starts(with: Key(prefix))
                && (path.count == prefix.count || prefix == [0x2f] || path[prefix.count] == 0x2f)
        }
    }

    /// Whether every part of a path is a name.
    private static func isPlain(_ path: some Collection<UInt8>) -> Bool {
        path.split(separator: 0x2f, omittingEmptySubsequences: false).allSatisfy { part in
            !part.isEmpty && !part.contains(0) && !part.elementsEqual([0x2e]) && !part.elementsEqual([0x2e, 0x2e])
        }
    }

    package func isOpen(_ location: ObjectLocation) -> Bool {
        guard location.scheme == "local", location.isOutside, Self.lies(location.path, under: externalPrefixes.given),
            Self.isPlain(location.path.utf8.dropFirst())
        else { return false }
        return !Self.lies(location.path, under: closedFolders)
            && !(Self.resolved(location.path).map { Self.lies($0, under: closedFolders) } ?? false)
    }

    /// The absolute path without links (realpath(3)); nil if nothing is there.
    private static func resolved(_ path: String) -> String? {
        guard let found = unsafe realpath(path, nil) else { return nil }
        defer { unsafe free(found) }
        return unsafe String(cString: found)
    }

    static func folder(of path: String) -> String { String(path[..<path.lastIndex(of: "/")!]) }

    fileprivate func temporaryPath() -> String {
        "\(incoming)/\(getpid())-\(temporaryCount.add(1, ordering: .relaxed).newValue)"
    }

    /// Moves a finished file to its place.
    fileprivate func place(
        _ temporary: String, at path: String, _ location: ObjectLocation, _ durability: Durability
    ) throws(StoreError) {
        log?.remove(location)
        let folder = Self.folder(of: path)
        if !folders.withLock({ $0.contains(folder) }) {
            try Self.makeFolders(folder)
            folders.withLock { folders in
                if folders.count >= Self.foldersKept { folders.removeAll() }
                _ = folders.insert(folder)
            }
        }
        if unsafe rename(temporary, path) != 0 {
            // Someone removed the folder behind our back: make it again, once.
            guard errno == ENOENT else { throw Self.failure("cannot write", "an object") }
            try Self.makeFolders(folder)
            guard unsafe rename(temporary, path) == 0 else { throw Self.failure("cannot write", "an object") }
        }
        switch durability {
        case .durable, .ordered:
            if let outcome = folderSync.submit(folder), let error = outcome { throw error }
        case .eventual:
            written.add(1, ordering: .releasing)
        }
    }

    // MARK: the port

    private static let schemes = ["local"]
    package var capabilities: ObjectStoreCapabilities { ObjectStoreCapabilities(schemes: Self.schemes, files: self) }

    package func makeWriter(_ location: ObjectLocation) throws(StoreError) -> any ObjectWriter {
        _ = try path(location)
        return LocalObjectWriter(store: self, location)
    }

    package func makeWriter() throws(StoreError) -> any UnnamedObjectWriter {
        LocalObjectWriter(store: self, nil)
    }

    package func read(_ location: ObjectLocation, _ range: Range<Int64>) throws(StoreError) -> [UInt8] {
        if let bytes = try log?.read(location, range) { return bytes }
        let piece = try opened(location)
        defer { Glibc.close(piece.descriptor) }
        return try piece.read(range)
    }

    package func piece(_ location: ObjectLocation) throws(StoreError) -> FilePiece {
        if let piece = try log?.piece(location) { return piece }
        return try opened(location)
    }

    package func file(_ location: ObjectLocation) throws(StoreError) -> FilePiece {
        do throws(StoreError) { try log?.makeFile(location) } catch {
            // What there is can be read though the disk is full.
            guard error.code == .noSpace, let bytes = try log?.read(location, 0..<Int64.max) else { throw error }
            return try Self.inMemory(bytes)
        }
        return try opened(location)
    }

    private static func inMemory(_ bytes: [UInt8]) throws(StoreError) -> FilePiece {
        let descriptor = unsafe lake_memory_file("object")
        guard descriptor >= 0 else { throw failure("cannot open", "an object") }
        do throws(StoreError) { try ObjectLog.write(bytes, to: descriptor, at: 0) } catch {
            Glibc.close(descriptor)
            throw error
        }
        return FilePiece(descriptor: descriptor, offset: 0, byteCount: Int64(bytes.count))
    }

    private func opened(_ location: ObjectLocation) throws(StoreError) -> FilePiece {
        let path = try readablePath(location)
        // A pipe would hold its reader up until someone writes into it: it is refused below.
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw Self.failure("cannot open", location.description) }
        var info = stat()
        guard unsafe fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG else {
            Glibc.close(descriptor)
            throw StoreError(.notFound, "\(location) is no object")
        }
        return FilePiece(descriptor: descriptor, offset: 0, byteCount: Int64(info.st_size))
    }

    package func head(_ location: ObjectLocation) throws(StoreError) -> StoredObject? {
        if let size = log?.size(of: location) {
            return StoredObject(location: location, byteCount: size, modified: Timestamp.now().seconds)
        }
        var info = stat()
        let path: String
        do throws(StoreError) { path = try readablePath(location) } catch {
            if error.code == .notFound { return nil }
            throw error
        }
        guard unsafe lstat(path, &info) == 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw Self.failure("cannot look at", location.description)
        }
        guard info.st_mode & S_IFMT == S_IFREG else { return nil }
        return StoredObject(
            location: location, byteCount: Int64(info.st_size), modified: Int64(info.st_mtim.tv_sec))
    }

    package func remove(_ location: ObjectLocation) throws(StoreError) {
        let path = try path(location)
        log?.remove(location)
        guard unsafe unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR else {
            throw Self.failure("cannot remove", location.description)
        }
    }

    package func copy(_ source: ObjectLocation, to destination: ObjectLocation) throws(StoreError) -> Int64 {
        try join([source], to: destination)
    }

    package func join(_ parts: [ObjectLocation], to destination: ObjectLocation) throws(StoreError) -> Int64 {
        let target = LocalObjectWriter(store: self, destination)
        do throws(StoreError) {
            for part in parts {
                let piece = try self.piece(part)
                defer { Glibc.close(piece.descriptor) }
                try target.append(piece)
            }
            return try target.finish(.durable)
        } catch {
            target.abort()
            throw error
        }
    }

    package func adopt(file source: String, as location: ObjectLocation, _ durability: Durability) throws(StoreError)
        -> Int64
    {
        let path = try path(location)
        let descriptor = unsafe open(source, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Self.failure("cannot open", "a staged file") }
        defer { Glibc.close(descriptor) }
        if durability != .eventual, fdatasync(descriptor) != 0 { throw Self.failure("cannot sync", "a staged file") }
        var info = stat()
        guard unsafe fstat(descriptor, &info) == 0 else { throw Self.failure("cannot look at", "a staged file") }
        try place(source, at: path, location, durability)
        return Int64(info.st_size)
    }

    package func list(_ prefix: ObjectLocation, after: String?, limit: Int) throws(StoreError) -> [StoredObject] {
        try makeFiles(of: prefix)
        var found: [StoredObject] = []
        struct Enough: Error {}
        do {
            try walk(prefix, after: after ?? "") { object in
                guard found.count < limit else { throw Enough() }
                found.append(object)
            }
        } catch let error as StoreError {
            throw error
        } catch {}
        return found
    }

    /// What is below a prefix is to be found as files.
    private func makeFiles(of prefix: ObjectLocation) throws(StoreError) {
        if !prefix.isOutside { try log?.drain() }
    }

    package func walk(_ prefix: ObjectLocation, _ body: (StoredObject) throws -> Void) throws {
        try makeFiles(of: prefix)
        if let object = try head(prefix) { return try body(object) }
        try walk(prefix, after: "", body)
    }

    private func walk(_ prefix: ObjectLocation, after: String, _ body: (StoredObject) throws -> Void) throws {
        var base = root + "/"
        if prefix.isOutside {
            base = ""
            let resolved = try readablePath(prefix)
            guard !closedFolders.contains(where: { Self.lies($0, under: [resolved]) }) else {
                throw StoreError(.refused, "\(prefix) holds the lake's own folder: name a folder beside it")
            }
        }
        try walk(prefix.path, below: base, Array(after.utf8), body)
    }

    /// Names of one folder on the way, and how many of them are done.
    private struct Level {
        let path: String
        let entries: [Folder.Entry]
        var next = 0

        init(_ path: String, below base: String, isRoot: Bool) throws(StoreError) {
            self.path = path
            var found: [Folder.Entry] = []
            do throws(StoreError) { found = try Folder.entries(of: base + path) } catch {
                guard error.code == .notFound else { throw error }
            }
            if isRoot { found.removeAll { $0.name.first == 0x2e } }
            // A folder sorts as what is in it does: with its slash.
            entries = found.sorted {
                ($0.isFolder ? $0.name + [0x2f] : $0.name).precedes($1.isFolder ? $1.name + [0x2f] : $1.name)
            }
        }
    }

    /// Objects under `base` + `folder` in byte order of their paths; folders that lie before `after` are not opened.
    private func walk(_ folder: String, below base: String, _ after: [UInt8], _ body: (StoredObject) throws -> Void)
        throws
    {
        var levels = [try Level(folder, below: base, isRoot: folder == "" || folder == ".")]
        while var level = levels.popLast() {
            guard level.next < level.entries.count else { continue }
            let entry = level.entries[level.next]
            level.next += 1
            levels.append(level)
            guard let name = String(validating: entry.name, as: UTF8.self) else {
                throw StoreError(
                    .invalid,
                    "the name \(String(decoding: entry.name, as: UTF8.self)) in \(level.path) is not UTF-8: addresses are"
                )
            }
            let path = level.path + "/" + name
            let sort = Array((entry.isFolder ? path + "/" : path).utf8)
            if entry.isFolder {
                if after.starts(with: Key(sort)) || after.precedes(sort) {
                    levels.append(try Level(path, below: base, isRoot: false))
                }
            } else if after.precedes(sort) {
                var info = stat()
                // Gone since it was listed; or a link or a device, which is no object.
                guard unsafe lstat(base + path, &info) == 0, info.st_mode & S_IFMT == S_IFREG else { continue }
                try body(
                    StoredObject(
                        location: ObjectLocation(scheme: "local", path: path), byteCount: Int64(info.st_size),
                        modified: Int64(info.st_mtim.tv_sec)))
            }
        }
    }

    package func capacity() -> (total: Int64, free: Int64, available: Int64)? {
        var info = statvfs()
        guard unsafe statvfs(root, &info) == 0 else { return nil }
        let unit = Int64(info.f_frsize)
        return (Int64(info.f_blocks) * unit, Int64(info.f_bfree) * unit, Int64(info.f_bavail) * unit)
    }

    package func synchronizeOrdered() throws(StoreError) { try log?.synchronize() }

    package func synchronize() throws(StoreError) {
        try log?.synchronize()
        let wanted = written.load(ordering: .acquiring)
        guard synced.load(ordering: .acquiring) < wanted else { return }
        // Whoever comes while a sync runs waits for it, and runs another only if it began too early for them.
        var failure: StoreError?
        syncing.withLock { _ in
            guard synced.load(ordering: .acquiring) < wanted else { return }
            let covered = written.load(ordering: .acquiring)
            do throws(StoreError) {
                try Self.synchronize(disk: root)
                synced.store(covered, ordering: .releasing)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    /// Makes all files durable of the disk that `folder` is on (syncfs(2)).
    static func synchronize(disk folder: String) throws(StoreError) {
        let descriptor = unsafe open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("cannot open", "the folder of objects") }
        defer { Glibc.close(descriptor) }
        guard lake_syncfs(descriptor) == 0 else { throw failure("cannot sync", "the folder of objects") }
    }
}

/// One object on its way into a local store.
private final class LocalObjectWriter: ObjectWriter, UnnamedObjectWriter {
    private let store: LocalObjectStore
    /// Nil as long as it has no name.
    private var location: ObjectLocation?
    /// What there is of an object that may be small enough for the log.
    private var small: [UInt8]?
    /// The file of one that is not, and where it is until it is finished.
    private var output: FileOutput?
    private var temporary = ""

    init(store: LocalObjectStore, _ location: ObjectLocation?) {
        self.store = store
        self.location = location
        small = store.log == nil ? nil : []
    }

    deinit { abort() }

    func write(_ bytes: UnsafeRawBufferPointer) throws(StoreError) {
        if let small, small.count + bytes.count <= ObjectLog.largestObject {
            unsafe self.small!.append(contentsOf: bytes)
        } else {
            unsafe try file().write(bytes)
        }
    }

    /// The object's file, begun with what there is.
    private func file() throws(StoreError) -> FileOutput {
        if let output { return output }
        temporary = store.temporaryPath()
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw LocalObjectStore.failure("cannot make", "an object") }
        let output = FileOutput(descriptor, threads: store.writers)
        self.output = output
        if let small {
            self.small = nil
            var failure: StoreError?
            unsafe small.withUnsafeBytes { bytes in
                do throws(StoreError) { unsafe try output.write(bytes) } catch { failure = error }
            }
            if let failure { throw failure }
        }
        return output
    }

    /// Adds a file's bytes: shared where the disk can, else moved by the kernel (copy_file_range(2)).
    func append(_ piece: FilePiece) throws(StoreError) {
        if let small, Int64(small.count) + piece.byteCount <= ObjectLog.largestObject {
            self.small! += try piece.read(0..<piece.byteCount)
            return
        }
        let output = try file()
        try output.flush()
        var offset = CLongLong(piece.offset)
        var rest = piece.byteCount
        while rest > 0 {
            let count = unsafe lake_copy_file_range(
                piece.descriptor, &offset, output.descriptor, nil, Int(min(rest, 1 << 30)))
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else {
                throw LocalObjectStore.failure("cannot copy to", "an object", count == 0 ? EIO : errno)
            }
            rest -= Int64(count)
        }
        output.skip(piece.byteCount)
    }

    func finish(_ durability: Durability) throws(StoreError) -> Int64 {
        let location = location!
        let path = try store.path(location)
        if let log = store.log, let small, log.append(small, at: location) {
            self.small = nil
            if durability != .ordered { try log.synchronize() }
            return Int64(small.count)
        }
        let output = try file()
        try output.flush()
        if durability != .eventual, fdatasync(output.descriptor) != 0 {
            throw LocalObjectStore.failure("cannot sync", "an object")
        }
        self.output = nil
        do throws(StoreError) {
            guard close(output.descriptor) == 0 else { throw LocalObjectStore.failure("cannot write", "an object") }
            try store.place(temporary, at: path, location, durability)
        } catch {
            unsafe unlink(temporary)
            throw error
        }
        return output.byteCount
    }

    var finishesAtOnce: Bool { small != nil && store.log!.hasRoom }

    func finish(at location: ObjectLocation, _ durability: Durability) throws(StoreError) {
        self.location = location
        _ = try finish(durability)
    }

    func abort() {
        small = nil
        guard let output else { return }
        self.output = nil
        try? output.wait()
        close(output.descriptor)
        unsafe unlink(temporary)
    }
}
