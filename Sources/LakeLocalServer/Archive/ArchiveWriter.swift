import CArchive
import Foundations
import Glibc
import Versioning

/// What an archive of objects is: for people who want them all in one file.
enum ArchiveFormat: String, Sendable {
    case zip, tar

    var contentType: String { self == .zip ? "application/zip" : "application/x-tar" }
    /// Members at most: a zip ends with a list of all of them, which is in memory until then.
    var mostMembers: Int { self == .zip ? 500_000 : .max }
}

/// Writes an archive piece by piece, as it is fetched: nothing of it is kept but a piece, and a zip's list of its
/// members. Objects are stored as they are. Over libarchive (archive_write(3)). Used by one thread at a time.
@safe final class ArchiveWriter {
    private let archive: OpaquePointer
    private let output = Output()
    /// Bytes of the member that is being written which are still to come.
    private(set) var missing: Int64 = 0

    /// What libarchive has written, until somebody takes it.
    private final class Output { var bytes: [UInt8] = [] }

    /// libarchive converts names from the locale's character set: ours are UTF-8 whatever the process speaks.
    private nonisolated(unsafe) static let locale = unsafe newlocale(1 << LC_CTYPE, "C.UTF-8", nil)

    private func inUTF8<Result>(_ work: () throws -> Result) rethrows -> Result {
        let old = unsafe uselocale(Self.locale)
        defer { unsafe _ = uselocale(old) }
        return try work()
    }

    /// - Throws: `.unavailable` without memory.
    init(_ format: ArchiveFormat) throws {
        guard let made = unsafe archive_write_new() else { throw LakeError(.unavailable, "no memory for an archive") }
        unsafe archive = unsafe made
        let context = unsafe Unmanaged.passUnretained(output).toOpaque()
        try inUTF8 {
            switch format {
            case .zip:
                try check(unsafe archive_write_set_format_zip(archive))
                try check(unsafe archive_write_set_options(archive, "zip:compression=store,zip:hdrcharset=UTF-8"))
            case .tar: try check(unsafe archive_write_set_format_pax_restricted(archive))
            }
            // Pieces go out as they come, none filled up to a block.
            try check(unsafe archive_write_set_bytes_per_block(archive, 0))
            try check(
                unsafe archive_write_open2(
                    archive, context, nil,
                    { _, context, bytes, count in
                        let output = unsafe Unmanaged<Output>.fromOpaque(context!).takeUnretainedValue()
                        unsafe output.bytes.append(contentsOf: UnsafeRawBufferPointer(start: bytes, count: count))
                        return count
                    }, nil, nil))
        }
    }

    deinit { unsafe archive_write_free(archive) }

    private func check(_ status: Int32) throws {
        // Warnings are of names that cannot be converted: they are written as they are.
        guard status < ARCHIVE_WARN else { return }
        throw LakeError(
            .unavailable,
            "the archive cannot be written: \(unsafe archive_error_string(archive).map { unsafe String(cString: $0) } ?? "")"
        )
    }

    /// Begins a member. One whose path ends with a slash is a folder.
    func begin(_ path: Key, byteCount: Int64, modified: Timestamp) throws {
        guard let entry = unsafe archive_entry_new() else {
            throw LakeError(.unavailable, "no memory for an archive")
        }
        defer { unsafe archive_entry_free(entry) }
        try inUTF8 {
            let isFolder = path.bytes.last == 0x2f
            unsafe (path.bytes + [0]).withUnsafeBytes {
                unsafe archive_entry_set_pathname(entry, $0.baseAddress!.assumingMemoryBound(to: CChar.self))
            }
            unsafe archive_entry_set_filetype(entry, isFolder ? 0o040000 : 0o100000)
            unsafe archive_entry_set_perm(entry, isFolder ? 0o755 : 0o644)
            unsafe archive_entry_set_size(entry, isFolder ? 0 : byteCount)
            unsafe archive_entry_set_mtime(entry, Int(modified.seconds), Int(modified.nanoseconds))
            try check(unsafe archive_write_header(archive, entry))
            missing = isFolder ? 0 : byteCount
        }
    }

    func write(_ bytes: [UInt8]) throws {
        let count = unsafe bytes.withUnsafeBytes { unsafe archive_write_data(archive, $0.baseAddress, $0.count) }
        if count < 0 { try check(ARCHIVE_FATAL) }
        missing -= Int64(bytes.count)
    }

    /// Nothing more comes.
    func end() throws { try inUTF8 { try check(unsafe archive_write_close(archive)) } }

    /// What was written since it was last asked.
    func take() -> [UInt8] {
        defer { output.bytes = [] }
        return output.bytes
    }
}
