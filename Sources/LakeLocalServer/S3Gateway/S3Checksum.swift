import CChecksum
import Foundations
import Versioning

/// A checksum that S3 clients send with an object. Source: Amazon S3 user guide, "Checking object integrity".
struct S3Checksum {
    enum Algorithm: String, CaseIterable {
        case crc32, crc32c, crc64nvme, sha1, sha256
        var header: String { "x-amz-checksum-" + rawValue }
        /// Its name in documents, behind `Checksum`, and in `x-amz-checksum-algorithm`.
        var name: String { rawValue.uppercased() }

        /// How many bits it has, and its polynomial, reflected; nil for one whose parts cannot be put together.
        fileprivate var polynomial: (width: UInt64, bits: UInt64)? {
            switch self {
            case .crc32: (32, 0xedb8_8320)
            case .crc32c: (32, 0x82f6_3b78)
            case .crc64nvme: (64, S3Checksum.nvmePolynomial)
            case .sha1, .sha256: nil
            }
        }
        var isCRC: Bool { polynomial != nil }
    }

    /// A checksum as it is told: with `-N` behind one that was made of the checksums of N parts.
    struct Value: Equatable, Sendable {
        let algorithm: Algorithm
        let text: String

        /// Its kind, as S3 names it.
        var type: String { text.contains("-") ? "COMPOSITE" : "FULL_OBJECT" }

        init(_ algorithm: Algorithm, _ text: String) {
            self.algorithm = algorithm
            self.text = text
        }

        /// How it is stored: `algorithm=value`.
        var stored: String { "\(algorithm.rawValue)=\(text)" }

        init?(stored: some StringProtocol) {
            guard let mark = stored.firstIndex(of: "="), let algorithm = Algorithm(rawValue: String(stored[..<mark]))
            else { return nil }
            self.init(algorithm, String(stored[stored.index(after: mark)...]))
        }
    }

    let algorithm: Algorithm
    private var crc: UInt64
    private var hash: HashBox?

    /// Holds a noncopyable hash; shared by nobody else.
    private final class HashBox {
        private var hash: Hash
        init(_ algorithm: Hash.Algorithm) { hash = Hash(algorithm) }
        func update(_ bytes: UnsafeRawBufferPointer) { unsafe hash.update(bytes) }
        func finish() -> [UInt8] { hash.finish() }
    }

    init(_ algorithm: Algorithm) {
        self.algorithm = algorithm
        switch algorithm {
        case .crc32: crc = 0
        case .crc32c: crc = UInt64(UInt32.max)
        case .crc64nvme: crc = .max
        case .sha1:
            crc = 0
            hash = HashBox(.sha1)
        case .sha256:
            crc = 0
            hash = HashBox(.sha256)
        }
    }

    /// Reflected polynomial of CRC-64/NVME; Debian's ISA-L 2.30 does not have it yet.
    private static let nvmeTable: [UInt64] = (0..<256).map { index in
        (0..<8).reduce(UInt64(index)) { value, _ in value & 1 == 1 ? value >> 1 ^ nvmePolynomial : value >> 1 }
    }
    private static let nvmePolynomial: UInt64 = 0x9a6c_9329_ac4b_c9b5

    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 0 else { return }
        switch algorithm {
        case .crc32:
            crc = unsafe UInt64(
                crc32_gzip_refl(
                    UInt32(crc), bytes.assumingMemoryBound(to: UInt8.self).baseAddress!, UInt64(bytes.count)))
        case .crc32c:
            crc = unsafe UInt64(
                crc32_iscsi(
                    UnsafeMutablePointer(mutating: bytes.assumingMemoryBound(to: UInt8.self).baseAddress!),
                    Int32(bytes.count), UInt32(crc)))
        case .crc64nvme:
            var value = crc
            for index in 0..<bytes.count {
                value = unsafe Self.nvmeTable[Int((value ^ UInt64(bytes[index])) & 0xff)] ^ value >> 8
            }
            crc = value
        case .sha1, .sha256: unsafe hash!.update(bytes)
        }
    }

    /// What it came to. Call once.
    func value() -> Value { Value(algorithm, base64()) }

    /// The checksum as it stands in headers. Call once.
    func base64() -> String {
        func bytes(_ value: UInt64, _ count: UInt64) -> [UInt8] {
            (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * (count - 1 - $0))) }
        }
        return switch algorithm {
        case .crc32: Base64.encode(bytes(crc, 4))
        case .crc32c: Base64.encode(bytes(~crc & 0xffff_ffff, 4))
        case .crc64nvme: Base64.encode(bytes(~crc, 8))
        case .sha1, .sha256: Base64.encode(hash!.finish())
        }
    }

    /// The checksum of bytes that follow each other, from those of the two pieces: the first one's register is moved on
    /// by as many zero bytes as the second has, which is a multiplication by x^(8·length) modulo the polynomial.
    /// - Returns: nil for what is no CRC, or not as long as one.
    static func combine(_ algorithm: Algorithm, _ first: [UInt8], _ second: [UInt8], length: Int64) -> [UInt8]? {
        guard let (width, polynomial) = algorithm.polynomial, first.count == Int(width / 8), second.count == first.count
        else { return nil }
        let one = UInt64(1) << (width - 1)
        func multiply(_ left: UInt64, _ right: UInt64) -> UInt64 {
            var (product, bit, right) = (UInt64(0), one, right)
            while bit != 0 {
                if left & bit != 0 { product ^= right }
                bit >>= 1
                right = right & 1 == 1 ? right >> 1 ^ polynomial : right >> 1
            }
            return product
        }
        func number(_ bytes: [UInt8]) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
        var (power, square, bits) = (one, one >> 1, UInt64(length) * 8)
        while bits > 0 {
            if bits & 1 == 1 { power = multiply(square, power) }
            square = multiply(square, square)
            bits >>= 1
        }
        let sum = multiply(power, number(first)) ^ number(second)
        return (0..<width / 8).map { UInt8(truncatingIfNeeded: sum >> (width - 8 - 8 * $0)) }
    }
}
