import CSQLite
import Foundations
import Glibc
import Synchronization
import Versioning

/// Checksums on the pages of SQLite's databases, so that a damaged page is an error and never another answer.
///
/// A column with a checksum for each row would not do: a bit that turns in a key, or in the pages above, makes a row
/// that is there look as if it were not, without any row being read. So every page has one, in the bytes that SQLite
/// leaves free at its end when asked to (file format, 1.3.3), written and compared below SQLite, in the layer that
/// reads and writes files. SQLite's own checksum VFS does the same but comes in no Debian package; ours is this: the
/// system's VFS with two of its methods replaced.
///
///     offset  size  field
///     4088    4     CRC-32C of the page's first 4,088 bytes and its offset in the file, little-endian
///     4092    4     "LKP1"
///
/// The offset is part of it so that a page in another's place shows. The log (`-wal`) has SQLite's own checksums, which
/// it compares when it recovers: see `WriteAheadLog`.
enum PageChecksums {
    /// The VFS that writes and compares checksums, and the one that only writes them: for making a file over.
    static let name = "lake-pages", writingName = "lake-pages-writing"
    static let reservedBytes: Int32 = 8
    private static let lockOffset: Int64 = 1 << 30
    fileprivate static let pageBytes = 4096, mark: [UInt8] = Array("LKP1".utf8)
    /// What SQLite's callers are told: SQLITE_IOERR_DATA, "a checksum on a page is wrong" (a macro that Swift does not
    /// see).
    static let damaged: Int32 = 10 | 32 << 8

    /// Makes the VFSs known to SQLite, once for the process.
    static func register() { _ = registration }

    private static let registration: Bool = {
        unsafe add(
            name, { _, path, file, flags, out in unsafe PageChecksums.open(path, file, flags, out, compares: true) })
        unsafe add(
            writingName,
            { _, path, file, flags, out in unsafe PageChecksums.open(path, file, flags, out, compares: false) })
        return true
    }()

    private typealias Open =
        @convention(c) (
            UnsafeMutablePointer<sqlite3_vfs>?, UnsafePointer<CChar>?, UnsafeMutablePointer<sqlite3_file>?, Int32,
            UnsafeMutablePointer<Int32>?
        ) -> Int32

    /// A copy of the system's VFS that opens files by `open`; it lives as long as the process.
    private static func add(_ name: String, _ open: Open) {
        let vfs = UnsafeMutablePointer<sqlite3_vfs>.allocate(capacity: 1)
        unsafe vfs.initialize(to: sqlite3_vfs_find(nil).pointee)
        unsafe vfs.pointee.zName = UnsafePointer(strdup(name))
        unsafe vfs.pointee.pNext = nil
        unsafe vfs.pointee.xOpen = unsafe open
        unsafe sqlite3_vfs_register(vfs, 0)
    }

    /// What replaces a file's methods: a copy of them, and where the replaced ones are.
    @safe private struct Methods {
        var table: sqlite3_io_methods
        let original: UnsafePointer<sqlite3_io_methods>
    }

    /// The two replacements of one table of methods. Never changed once made, never freed: open files point to them.
    @safe private struct Replacements: @unchecked Sendable {
        let comparing: UnsafeMutablePointer<Methods>, writing: UnsafeMutablePointer<Methods>
    }
    /// By the address of the table that is replaced.
    private static let tables = Mutex<[UInt: Replacements]>([:])

    private static func open(
        _ path: UnsafePointer<CChar>?, _ file: UnsafeMutablePointer<sqlite3_file>?, _ flags: Int32,
        _ out: UnsafeMutablePointer<Int32>?, compares: Bool
    ) -> Int32 {
        let system = unsafe sqlite3_vfs_find(nil)!
        let status = unsafe system.pointee.xOpen(system, path, file, flags, out)
        // Logs, journals and temporary files are no pages.
        guard status == SQLITE_OK, flags & SQLITE_OPEN_MAIN_DB != 0, let methods = unsafe file!.pointee.pMethods else {
            return status
        }
        let address = UInt(bitPattern: methods)
        let table = tables.withLock { tables in
            if let known = tables[address] { return known }
            let methods = unsafe UnsafePointer<sqlite3_io_methods>(bitPattern: address)!
            let made = unsafe Replacements(
                comparing: make(methods, compares: true), writing: make(methods, compares: false))
            tables[address] = made
            return made
        }
        unsafe file!.pointee.pMethods = unsafe UnsafeRawPointer(compares ? table.comparing : table.writing)
            .assumingMemoryBound(to: sqlite3_io_methods.self)
        return status
    }

    private static func make(_ methods: UnsafePointer<sqlite3_io_methods>, compares: Bool) -> UnsafeMutablePointer<
        Methods
    > {
        let made = UnsafeMutablePointer<Methods>.allocate(capacity: 1)
        unsafe made.initialize(to: Methods(table: methods.pointee, original: methods))
        if compares {
            unsafe made.pointee.table.xRead = { file, buffer, count, offset in
                let status = unsafe PageChecksums.original(file).pointee.xRead(file, buffer, count, offset)
                guard status == SQLITE_OK, Int(count) == PageChecksums.pageBytes,
                    offset % Int64(PageChecksums.pageBytes) == 0
                else { return status }
                return unsafe PageChecksums.isRight(
                    UnsafeRawBufferPointer(start: buffer, count: Int(count)), at: offset)
                    ? SQLITE_OK : PageChecksums.damaged
            }
        }
        unsafe made.pointee.table.xWrite = { file, buffer, count, offset in
            if Int(count) == PageChecksums.pageBytes, offset % Int64(PageChecksums.pageBytes) == 0 {
                // SQLite's own pages, which it leaves these bytes of to us: it reads them no more before they are
                // written.
                unsafe PageChecksums.seal(
                    UnsafeMutableRawBufferPointer(start: UnsafeMutableRawPointer(mutating: buffer), count: Int(count)),
                    at: offset)
            }
            return unsafe PageChecksums.original(file).pointee.xWrite(file, buffer, count, offset)
        }
        // Pages that are mapped would be read past these methods.
        unsafe made.pointee.table.xFetch = { _, _, _, page in
            unsafe page?.pointee = nil
            return SQLITE_OK
        }
        return unsafe made
    }

    private static func original(_ file: UnsafeMutablePointer<sqlite3_file>?) -> UnsafePointer<sqlite3_io_methods> {
        unsafe UnsafeRawPointer(file!.pointee.pMethods!).assumingMemoryBound(to: Methods.self).pointee.original
    }

    private static func sum(_ page: UnsafeRawBufferPointer, at offset: Int64) -> UInt32 {
        unsafe withUnsafeBytes(of: offset.littleEndian) {
            unsafe CRC32C.sum(UnsafeRawBufferPointer(rebasing: page[..<(pageBytes - 8)]), then: $0)
        }
    }

    private static func seal(_ page: UnsafeMutableRawBufferPointer, at offset: Int64) {
        unsafe page.storeBytes(
            of: sum(UnsafeRawBufferPointer(page), at: offset).littleEndian, toByteOffset: pageBytes - 8, as: UInt32.self
        )
        unsafe page.baseAddress!.advanced(by: pageBytes - 4).copyMemory(from: mark, byteCount: 4)
    }

    fileprivate static func isRight(_ page: UnsafeRawBufferPointer, at offset: Int64) -> Bool {
        unsafe page[(pageBytes - 4)...].elementsEqual(mark)
            && UInt32(littleEndian: page.loadUnaligned(fromByteOffset: pageBytes - 8, as: UInt32.self))
                == sum(page, at: offset)
    }

    // MARK: files made without checksums

    /// Whether a file is a database whose pages leave no room for checksums: made by an earlier version of this
    /// program.
    private static func needsConversion(_ path: String) -> Bool {
        let descriptor = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var head = [UInt8](repeating: 0, count: pageBytes)
        guard unsafe pread(descriptor, &head, pageBytes, 0) >= 100 else { return false }
        // With the mark at its end the page had a checksum, and is damaged where it says that it has none.
        return head.starts(with: Array("SQLite format 3\0".utf8)) && head[20] == 0
            && !head.suffix(4).elementsEqual(mark)
    }

    /// Gives the pages of an older file checksums: all of it is written anew beside it, synced, and takes its place.
    static func convert(_ path: String) throws(StoreError) {
        guard needsConversion(path) else { return }
        let new = path + ".new"
        unsafe unlink(new)
        do {
            // The log goes first: it belongs to the old pages.
            let old = try Connection(path: path, vfs: nil)
            try old.execute("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE")
        }
        do {
            let source = try Connection(path: path, vfs: writingName)
            try source.reserve(reservedBytes)
            try source.execute(
                "VACUUM INTO '\(new.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "''"))'")
        }
        let descriptor = unsafe Glibc.open(new, O_RDWR | O_CLOEXEC)
        let folder = unsafe Glibc.open(
            String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]) + "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        defer {
            close(descriptor)
            close(folder)
        }
        guard descriptor >= 0, fsync(descriptor) == 0, unsafe rename(new, path) == 0, folder >= 0, fsync(folder) == 0
        else {
            throw StoreError(
                .unavailable, unsafe "the database could not be given checksums: \(String(cString: strerror(errno)))")
        }
    }

    /// Compares every page of a database with its checksum. Returns the numbers of those that are damaged, the first
    /// hundred of them.
    static func damagedPages(of path: String) throws(StoreError) -> [Int] {
        let descriptor = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw StoreError(.unavailable, unsafe "the database cannot be opened: \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        guard let status = FileStatus(descriptor) else {
            throw StoreError(.unavailable, "the database cannot be looked at")
        }
        let file = FilePiece(descriptor: descriptor, offset: 0, byteCount: status.size)
        var found: [Int] = []
        // SQLite locks bytes of one page, and never writes it (sqlite.org/fileformat.html, the lock-byte page).
        for offset in stride(from: 0, to: file.byteCount, by: pageBytes) where offset != lockOffset && found.count < 100
        {
            let page = try file.read(offset..<offset + Int64(pageBytes))
            let isWhole = unsafe page.withUnsafeBytes { bytes in
                unsafe bytes.count == pageBytes && isRight(bytes, at: offset)
            }
            if !isWhole { found.append(Int(offset) / pageBytes + 1) }
        }
        return found
    }
}
