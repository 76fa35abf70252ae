import Synchronization

/// 20-character ids that sort by time. Source: `lakefs-formats.md` 1.2.
package enum XID {
    private static let alphabet = Array("0123456789abcdefghijklmnopqrstuv".utf8)
    private static let machine = randomBytes(5)  // Machine id and process id: any bytes that differ between processes.
    private static let counter = Atomic<UInt32>(randomBytes(3).reduce(0) { $0 << 8 | UInt32($1) })

    /// What descending ids count down from, in seconds since 1970: the year 4000 for partitions of objects, 3000 for
    /// pulls and runs.
    private static let far: Int64 = 64_060_588_800, near: Int64 = 32_500_915_200

    package static func make() -> String { make(seconds: Timestamp.now().seconds) }
    /// Newer ones sort first: partitions of objects.
    package static func makeDescending() -> String { make(seconds: far - Timestamp.now().seconds) }
    /// Newer ones sort first, by the second: pull requests and runs. Source: `lakefs-formats.md` 1.3.
    package static func makeRunID() -> String { make(seconds: near - Timestamp.now().seconds) }

    /// What sorts behind the ids of runs since then, and before those of older ones.
    package static func runID(before seconds: Int64) -> String {
        let time = UInt32(truncatingIfNeeded: near - seconds)
        return text([24, 16, 8, 0].map { UInt8(truncatingIfNeeded: time >> $0) } + [UInt8](repeating: 0xff, count: 8))
    }

    private static func make(seconds: Int64) -> String {
        let time = UInt32(truncatingIfNeeded: seconds)
        let count = counter.add(1, ordering: .relaxed).newValue
        var bytes: [UInt8] = []
        for shift in stride(from: UInt32(24), through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: time >> shift))
        }
        bytes += machine
        for shift in stride(from: UInt32(16), through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: count >> shift))
        }
        return text(bytes)
    }

    /// The text of 12 bytes: 96 bits and four zero bits, five at a time, the most significant first.
    package static func text(_ bytes: [UInt8]) -> String {
        precondition(bytes.count == 12)
        return String(decoding: Base32Hex.digits(of: bytes, alphabet), as: UTF8.self)
    }

    /// The 12 bytes of an id, or nil if the text is none.
    package static func bytes(_ text: some StringProtocol) -> [UInt8]? {
        guard text.utf8.count == 20, let found = Base32Hex.bytes(of: text.utf8, alphabet), found.rest == 0
        else { return nil }
        return found.bytes
    }

    /// When the id was made, in seconds since 1970; nil if it is none.
    package static func seconds(_ text: some StringProtocol) -> Int64? {
        bytes(text).map { $0.prefix(4).reduce(0) { $0 << 8 | Int64($1) } }
    }
}

/// A random UUID, version 4.
package func randomUUID() -> String {
    var bytes = randomBytes(16)
    bytes[6] = bytes[6] & 0x0f | 0x40
    bytes[8] = bytes[8] & 0x3f | 0x80
    return textOfUUID(bytes)
}

/// 16 bytes as a UUID is written.
package func textOfUUID(_ bytes: [UInt8]) -> String {
    let hex = Array(Hex.text(bytes))
    return [hex[0..<8], hex[8..<12], hex[12..<16], hex[16..<20], hex[20..<32]].map { String($0) }.joined(separator: "-")
}
