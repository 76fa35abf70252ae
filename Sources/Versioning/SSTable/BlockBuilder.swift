/// Builds one key/value block: entries with shared prefixes, then restart offsets, then their count.
///
///     entry: uvarint shared · uvarint unshared · uvarint value length · unshared key bytes · value
///
/// Source: `lakefs-formats.md` 2.3.
struct BlockBuilder {
    /// Every how many entries the whole key is written.
    let restartInterval: Int
    private(set) var bytes: [UInt8] = []
    private(set) var restarts: [UInt32] = []
    private(set) var entryCount = 0
    /// The last key as stored, trailer included.
    private(set) var lastKey: [UInt8] = []

    init(restartInterval: Int) { self.restartInterval = restartInterval }

    var isEmpty: Bool { entryCount == 0 }

    /// What the block would take: 4 bytes when empty.
    var estimate: Int { bytes.count + 4 * restarts.count + 4 }

    /// Adds an entry. The new key's part that may be shared ends at `shareLimit` (its user key's length; the whole key in raw blocks).
    mutating func add(_ key: [UInt8], shareLimit: Int, value: [UInt8]) {
        var shared = 0
        if entryCount % restartInterval == 0 {
            restarts.append(UInt32(bytes.count))
        } else {
            let limit = min(shareLimit, lastKey.count)
            unsafe key.withUnsafeBufferPointer { key in
                unsafe lastKey.withUnsafeBufferPointer { last in
                    while unsafe shared < limit && key[shared] == last[shared] { shared += 1 }
                }
            }
        }
        bytes.append(varint: UInt64(shared))
        bytes.append(varint: UInt64(key.count - shared))
        bytes.append(varint: UInt64(value.count))
        bytes.append(contentsOf: key[shared...])
        bytes.append(contentsOf: value)
        lastKey = key
        entryCount += 1
    }

    /// Whether the block ends before an entry of these sizes is added (`lakefs-formats.md` 2.4).
    func isFull(beforeKeySize keySize: Int, valueSize: Int) -> Bool {
        guard !isEmpty else { return false }
        let size = estimate
        if size >= TableWriter.blockSize { return true }
        if size <= TableWriter.blockSizeThreshold { return false }
        let restart = entryCount % restartInterval == 0 ? 4 : 0
        return size + keySize + valueSize + restart + 4 + varintLength(keySize) + varintLength(valueSize) > TableWriter.blockSize
    }

    /// The finished block; the builder is empty again.
    mutating func finish() -> [UInt8] {
        var block = bytes
        if restarts.isEmpty { restarts = [0] }
        for restart in restarts { block.append(littleEndian: restart) }
        block.append(littleEndian: UInt32(restarts.count))
        bytes.removeAll(keepingCapacity: true)
        restarts.removeAll(keepingCapacity: true)
        entryCount = 0
        lastKey = []
        return block
    }

    private func varintLength(_ value: Int) -> Int {
        var rest = value, length = 1
        while rest >= 0x80 {
            rest >>= 7
            length += 1
        }
        return length
    }
}
