import Foundations
import Glibc
import Versioning

/// The entity tag of a file as S3 makes it: the MD5 of its bytes; for files over 64 MiB the MD5 of the MD5s of its
/// parts, and their number behind a hyphen. So a hole as large as a part costs nothing, whatever the file's size, and
/// parts could be hashed one beside the other.
struct EntityTag {
    static let partBytes: Int64 = 64 << 20

    private var hash = HashBox()
    private var parts: [[UInt8]] = []
    /// Bytes so far.
    private(set) var byteCount: Int64 = 0

    private final class HashBox {
        var hash = Hash(.md5)
    }

    /// Takes the next bytes.
    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        var rest = unsafe bytes
        while rest.count > 0 {
            let room = Int(Self.partBytes - byteCount % Self.partBytes)
            let piece = unsafe UnsafeRawBufferPointer(rebasing: rest.prefix(room))
            unsafe hash.hash.update(piece)
            byteCount += Int64(piece.count)
            unsafe rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(piece.count))
            if byteCount % Self.partBytes == 0 { closePart() }
        }
    }

    private mutating func closePart() {
        parts.append(hash.hash.finish())
        hash = HashBox()
    }

    /// Takes a whole part of zeros.
    private mutating func updateZeroPart() {
        parts.append(Self.zeroPart)
        byteCount += Self.partBytes
    }

    private static let zeros = [UInt8](repeating: 0, count: 1 << 20)
    private static let zeroPart: [UInt8] = {
        var hash = Hash(.md5)
        for _ in 0..<partBytes / Int64(zeros.count) { hash.update(zeros) }
        return hash.finish()
    }()

    /// The tag of all bytes so far. Call once.
    mutating func finish() -> String {
        if byteCount % Self.partBytes != 0 || parts.isEmpty { closePart() }
        return parts.count == 1
            ? Hex.text(parts[0]) : Hex.text(Hash.digest(.md5, Array(parts.joined()))) + "-\(parts.count)"
    }

    /// The tag of an open file. Holes are not read (lseek(2), SEEK_DATA).
    static func of(_ descriptor: Int32, size: Int64) throws -> String {
        var tag = EntityTag()
        var data = Extents(descriptor, size: size)
        try unsafe withUnsafeTemporaryAllocation(byteCount: 1 << 18, alignment: 16) { buffer in
            while tag.byteCount < size {
                let start = tag.byteCount
                let end = min(size, (start / partBytes + 1) * partBytes)
                let next = data.next(from: start)
                if start % partBytes == 0, end - start == partBytes, next >= end {
                    tag.updateZeroPart()
                } else if next > start {
                    unsafe zeros.withUnsafeBytes {
                        unsafe tag.update(
                            UnsafeRawBufferPointer(
                                rebasing: $0.prefix(Int(min(Int64(zeros.count), min(next, end) - start)))))
                    }
                } else {
                    let count = unsafe pread(
                        descriptor, buffer.baseAddress, Int(min(Int64(buffer.count), end - start)), off_t(start))
                    guard count >= 0 else { throw Errno(errno) }
                    guard count > 0 else { throw Errno(EIO) }  // Cut meanwhile: what was to be hashed is not there.
                    unsafe tag.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                }
            }
        }
        return tag.finish()
    }
}

/// Where a file has data and where holes (lseek(2)). Nothing here moves an offset that anyone uses: all others name
/// their own.
struct Extents {
    private let descriptor: Int32, size: Int64
    /// The run of data that was found last.
    private var data: Range<Int64> = 0..<0
    private static let seekData: Int32 = 3, seekHole: Int32 = 4

    init(_ descriptor: Int32, size: Int64) {
        self.descriptor = descriptor
        self.size = size
    }

    /// The first byte from `position` on that is data; the file's size if there is none.
    mutating func next(from position: Int64) -> Int64 { run(from: position).lowerBound }

    /// The next run of data.
    mutating func run(from position: Int64) -> Range<Int64> {
        if data.contains(position) { return position..<data.upperBound }
        if position < data.lowerBound { return data }
        let start = lseek(descriptor, off_t(position), Self.seekData)
        // No data behind it; or a file system that does not know holes.
        guard start >= 0 else { return errno == ENXIO ? size..<size : position..<size }
        let end = lseek(descriptor, start, Self.seekHole)
        data = min(Int64(start), size)..<min(end > start ? Int64(end) : size, size)
        return data.isEmpty ? size..<size : data
    }
}
