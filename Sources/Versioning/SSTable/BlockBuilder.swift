import Foundations
import Glibc

/// Builds one key/value block: entries with shared prefixes, then restart offsets, then their count.
///
///     entry: uvarint shared · uvarint unshared · uvarint value length · unshared key bytes · value
///
/// Source: `lakefs-formats.md` 2.3.
struct BlockBuilder {
    /// Every how many entries the whole key is written.
    let restartInterval: Int
    private var bytes: [UInt8] = []
    private var restarts: [UInt32] = []
    private(set) var entryCount = 0
    /// The last key as stored, trailer included.
    private(set) var lastKey: [UInt8] = []

    init(restartInterval: Int) { self.restartInterval = restartInterval }

    var isEmpty: Bool { entryCount == 0 }

    /// What the block would take: 4 bytes when empty.
    var estimate: Int { bytes.count + 4 * restarts.count + 4 }

    /// Adds an entry. The new key's part that may be shared ends at `shareLimit` (its user key's length; the whole key
    /// in raw blocks).
    mutating func add(_ key: [UInt8], shareLimit: Int, value: [UInt8]) {
        unsafe key.withUnsafeBytes { key in
            unsafe value.withUnsafeBytes {
                unsafe add(
                    UnsafeRawBufferPointer(rebasing: key[..<shareLimit]),
                    trailer: UnsafeRawBufferPointer(rebasing: key[shareLimit...]), value: $0)
            }
        }
    }

    /// Adds an entry whose key is `userKey` and `trailer`.
    mutating func add(_ userKey: UnsafeRawBufferPointer, trailer: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer)
    {
        var shared = 0
        if entryCount % restartInterval == 0 {
            restarts.append(UInt32(bytes.count))
        } else {
            shared = unsafe lastKey.withUnsafeBytes { unsafe Self.sharedLength(userKey, $0) }
        }
        let unshared = userKey.count - shared + trailer.count
        // At most ten bytes for each of the three numbers.
        bytes.reserveCapacity(bytes.count + 30 + unshared + value.count)
        bytes.append(varint: UInt64(shared))
        bytes.append(varint: UInt64(unshared))
        bytes.append(varint: UInt64(value.count))
        unsafe bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: userKey[shared...]))
        unsafe bytes.append(contentsOf: trailer)
        unsafe bytes.append(contentsOf: value)
        lastKey.removeLast(lastKey.count - shared)
        unsafe lastKey.append(contentsOf: UnsafeRawBufferPointer(rebasing: userKey[shared...]))
        unsafe lastKey.append(contentsOf: trailer)
        entryCount += 1
    }

    private static func sharedLength(_ key: UnsafeRawBufferPointer, _ last: UnsafeRawBufferPointer) -> Int {
        let limit = min(key.count, last.count)
        var shared = 0
        while shared + 8 <= limit {
            let difference =
                unsafe key.loadUnaligned(fromByteOffset: shared, as: UInt64.self)
                ^ last.loadUnaligned(fromByteOffset: shared, as: UInt64.self)
            if difference != 0 { return shared + difference.trailingZeroBitCount >> 3 }
            shared += 8
        }
        while unsafe shared < limit && key[shared] == last[shared] { shared += 1 }
        return shared
    }

    /// Whether the block ends before an entry of these sizes is added (`lakefs-formats.md` 2.4).
    func isFull(beforeKeySize keySize: Int, valueSize: Int) -> Bool {
        guard !isEmpty else { return false }
        let size = estimate
        if size >= TableWriter.blockSize { return true }
        if size <= TableWriter.blockSizeThreshold { return false }
        let restart = entryCount % restartInterval == 0 ? 4 : 0
        return size + keySize + valueSize + restart + 4 + varintLength(keySize) + varintLength(valueSize)
            > TableWriter.blockSize
    }

    /// Gives the finished block to `use`; the builder is empty again.
    mutating func finish<Result>(_ use: (UnsafeRawBufferPointer) -> Result) -> Result {
        if restarts.isEmpty { restarts.append(0) }
        for restart in restarts { bytes.append(littleEndian: restart) }
        bytes.append(littleEndian: UInt32(restarts.count))
        defer {
            bytes.removeAll(keepingCapacity: true)
            restarts.removeAll(keepingCapacity: true)
            entryCount = 0
            lastKey.removeAll(keepingCapacity: true)
        }
        return unsafe bytes.withUnsafeBytes(use)
    }

    mutating func finish() -> [UInt8] { unsafe finish { unsafe Array($0) } }

    private func varintLength(_ value: Int) -> Int {
        var rest = value
        var length = 1
        while rest >= 0x80 {
            rest >>= 7
            length += 1
        }
        return length
    }
}
