package import Foundations
import Glibc
import Versioning

/// What a write-ahead log holds behind its first frame that is wrong. SQLite takes a log up to there and says nothing:
/// right after the machine stopped amid a write, wrong where a disk gave back other bytes, since what was acknowledged
/// is dropped then. Source: sqlite.org/fileformat2.html, the write-ahead log.
///
///     offset  bytes  header of 32 bytes               offset  bytes  each frame: 24 bytes, and a page
///     0       4      0x377f0682, or …83               0       4      number of the page
///     8       4      size of a page                   4       4      size of the database after a commit, or 0
///     16      8      salt                             8       8      salt
///     24      8      checksum of the first 24         16      8      checksum of all up to here
package struct WriteAheadLog: Equatable {
    /// Frames that are taken.
    package private(set) var whole = 0
    /// Frames of the same log behind the first wrong one, that one included; their pages are lost.
    package private(set) var lost = 0

    private static let headerBytes: Int64 = 32, frameHeaderBytes = 24

    /// - Returns: nil if there is no log, or an empty one.
    /// - Throws: `.unavailable` if it cannot be read.
    package init?(of database: String) throws(StoreError) {
        let descriptor = unsafe open(database + "-wal", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        guard let status = FileStatus(descriptor), status.size > Self.headerBytes else { return nil }
        let file = FilePiece(descriptor: descriptor, offset: 0, byteCount: status.size)
        let header = try file.read(0..<Self.headerBytes)
        let isBig = header[3] & 1 == 1
        let pageBytes = Int(Self.number(header, 8))
        let frameBytes = Self.frameHeaderBytes + pageBytes
        var sum = Sum(isBig: isBig)
        sum.add(header[..<24])
        guard header.starts(with: [0x37, 0x7f, 0x06]), pageBytes >= 512, pageBytes <= 65536, sum.equals(header, at: 24)
        else {
            // A header of zeros is one that was never written.
            if header.contains(where: { $0 != 0 }) { lost = Int(status.size / 4096) }
            return
        }
        var offset = Self.headerBytes
        var isWrong = false
        while offset + Int64(frameBytes) <= status.size {
            let frame = try file.read(offset..<offset + Int64(frameBytes))
            // Another salt: left by an earlier log, and of no more use.
            guard frame[8..<16].elementsEqual(header[16..<24]) || !isWrong && Self.isLikeNext(frame, header) else {
                break
            }
            if !isWrong {
                sum.add(frame[..<8])
                sum.add(frame[Self.frameHeaderBytes...])
                isWrong = !sum.equals(frame, at: 16) || !frame[8..<16].elementsEqual(header[16..<24])
            }
            if isWrong { lost += 1 } else { whole += 1 }
            offset += Int64(frameBytes)
        }
    }

    /// Whether only one of a salt's two halves is another one: that is damage, and no earlier log, whose halves both
    /// differ.
    private static func isLikeNext(_ frame: [UInt8], _ header: [UInt8]) -> Bool {
        frame[8..<12].elementsEqual(header[16..<20]) || frame[12..<16].elementsEqual(header[20..<24])
    }

    private static func number(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
        bytes[offset..<offset + 4].reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// Two sums over words of four bytes that run on from frame to frame.
    private struct Sum {
        let isBig: Bool
        var first: UInt32 = 0, second: UInt32 = 0

        init(isBig: Bool) { self.isBig = isBig }

        mutating func add(_ bytes: ArraySlice<UInt8>) {
            unsafe bytes.withUnsafeBytes { bytes in
                for offset in stride(from: 0, to: bytes.count - 7, by: 8) {
                    let left = unsafe bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
                    let right = unsafe bytes.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self)
                    first = first &+ (isBig ? UInt32(bigEndian: left) : UInt32(littleEndian: left)) &+ second
                    second = second &+ (isBig ? UInt32(bigEndian: right) : UInt32(littleEndian: right)) &+ first
                }
            }
        }

        func equals(_ bytes: [UInt8], at offset: Int) -> Bool {
            number(bytes, offset) == first && number(bytes, offset + 4) == second
        }
    }
}
