import Foundations
import Glibc
import Versioning

/// A record of the log of small objects. Little-endian: magic (4 bytes), CRC-32C of all that follows (4), length of the
/// path (4), length of the object or `UInt32.max` for one that went (4), path, bytes. What is behind a record that is
/// not whole was never told to be durable (`docs/lakefs-formats.md` 11).
struct ObjectLogRecord {
    let location: ObjectLocation
    /// Where its bytes are; nil for one that went.
    let object: Range<Int>?
    /// Where the next record begins.
    let end: Int

    private static let magic: UInt32 = 0x624f_6b4c
    private static let headerBytes = 16

    /// The record that `bytes` begin with; nil if it is none, or not whole. Its places are those of `bytes`.
    init?(_ bytes: ArraySlice<UInt8>) {
        guard bytes.count >= Self.headerBytes else { return nil }
        func number(_ offset: Int) -> UInt32 {
            (0..<4).reduce(0) { $0 | UInt32(bytes[bytes.startIndex + offset + $1]) << UInt32(8 * $1) }
        }
        let (pathBytes, objectBytes) = (Int(number(8)), number(12) == .max ? nil : Int(number(12)))
        let size = Self.headerBytes + pathBytes + (objectBytes ?? 0)
        guard number(0) == Self.magic, size <= bytes.count,
            number(4) == Self.checksum(bytes.prefix(size).dropFirst(8)),
            let path = String(validating: bytes.dropFirst(Self.headerBytes).prefix(pathBytes), as: UTF8.self)
        else { return nil }
        location = ObjectLocation(scheme: "local", path: path)
        end = bytes.startIndex + size
        let end = end
        object = objectBytes.map { end - $0..<end }
    }

    /// - Parameter object: nil for one that went.
    static func append(_ location: ObjectLocation, _ object: [UInt8]?, to bytes: inout [UInt8]) {
        let start = bytes.count
        bytes.append(littleEndian: magic)
        bytes.append(littleEndian: 0)
        bytes.append(littleEndian: UInt32(location.path.utf8.count))
        bytes.append(littleEndian: object.map { UInt32($0.count) } ?? .max)
        bytes += location.path.utf8
        if let object { bytes += object }
        let sum = checksum(bytes[(start + 8)...])
        for index in 0..<4 { bytes[start + 4 + index] = UInt8(truncatingIfNeeded: sum >> (8 * UInt32(index))) }
    }

    private static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        unsafe bytes.withUnsafeBytes { unsafe CRC32C.sum($0, then: UnsafeRawBufferPointer(start: nil, count: 0)) }
    }
}

/// Small objects that become files, which become durable together.
enum ObjectFile {
    /// Makes a file of these bytes, not durable yet. Readers must have another place to read from until this returns.
    /// - Parameter temporary: a name that only the caller uses.
    static func make(_ path: String, _ bytes: [UInt8], temporary: String) throws(StoreError) {
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC
        var made = path
        var descriptor = unsafe open(path, flags, 0o600)
        if descriptor < 0 && errno == ENOENT {
            try LocalObjectStore.makeFolders(LocalObjectStore.folder(of: path))
            descriptor = unsafe open(path, flags, 0o600)
        }
        // One that is there is replaced as a whole: it may be open, or cut by a crash.
        if descriptor < 0 && errno == EEXIST {
            made = temporary
            descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        }
        guard descriptor >= 0 else { throw LocalObjectStore.failure("cannot make", "an object") }
        do throws(StoreError) {
            defer { close(descriptor) }
            try ObjectLog.write(bytes, to: descriptor, at: 0)
        } catch {
            unsafe unlink(made)
            throw error
        }
        if made != path, unsafe rename(made, path) != 0 { throw LocalObjectStore.failure("cannot write", "an object") }
    }
}
