import Glibc

// Compiled together with the sources of Versioning, with libFuzzer (run.sh): whatever bytes the decoders are given, they
// answer with a value or an error, never with a crash. Checksums are not looked at here, or nothing would get behind them.

/// The first byte chooses a decoder, the rest is its input.
@c(LLVMFuzzerTestOneInput) public func fuzzDecoders(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    guard let start, count > 1 else { return 0 }
    let bytes = Array(UnsafeBufferPointer(start: start + 1, count: count - 1))
    switch start.pointee % 6 {
    case 0, 1: readTable(bytes)
    case 2: readBlock(bytes)
    case 3: readSnappy(bytes)
    case 4: readRecords(bytes)
    default: readIdentities(bytes)
    }
    return 0
}

/// Every record forwards, ahead of the cursor and through the cache; then some places in it.
private func readTable(_ bytes: [UInt8]) {
    let cache = BlockCache(budgetBytes: 1 << 16)
    guard let table = try? TableReader(name: "fuzzed", source: MemoryTable(bytes), cache: cache) else { return }
    var keys: [[UInt8]] = []
    let scan = table.scan()
    while (try? scan.advance()) == true, keys.count < 2000 {
        keys.append(scan.key)
        _ = try? Envelope(decoding: scan.value)
    }
    for key in keys.prefix(8) + [[], [0xff, 0xff], Array("key-1".utf8)] {
        let cursor = table.cursor()
        if (try? cursor.seek(key)) == true { _ = try? cursor.seek(key + [1]) }
        _ = try? table.value(for: key)
    }
    // The same table beside itself, and its blocks taken into another.
    let other = table.scan(), third = table.scan()
    _ = try? TableCursor.skipEqualBlocks(other, third)
    let writer = TableWriter(type: "ranges"), source = table.scan()
    while let (entry, block) = (try? source.nextBlock()) ?? nil {
        guard let stored = try? source.stored(entry.handle), (try? writer.take(block, stored: stored, indexKey: entry.key, breaks: { _, _ in false })) == true else { return }
        source.passBlock()
    }
}

private func readBlock(_ bytes: [UInt8]) {
    let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: max(bytes.count, 1))
    copy.initialize(from: bytes, count: bytes.count)
    guard let block = try? Block(taking: copy, count: bytes.count) else { return }
    var cursor = BlockCursor(block), count = 0
    while (try? cursor.advance()) == true, count < 10_000 { count += 1 }
    for target in [[], [0x61], [0xff, 0xff, 0xff]] as [[UInt8]] {
        for trailer in [0, 8] {
            var seeking = BlockCursor(block)
            _ = try? seeking.seek(target, trailer: trailer)
        }
    }
}

private func readSnappy(_ bytes: [UInt8]) {
    _ = try? Snappy.decompress(bytes[...], limit: 1 << 20)
    guard (try? Snappy.decompress(Snappy.compress(bytes)[...], limit: bytes.count)) == bytes else { fatalError("Snappy does not give back what it was given") }
}

private func readRecords(_ bytes: [UInt8]) {
    _ = try? Entry(decoding: bytes)
    _ = try? Commit(decoding: bytes).encoded
    _ = try? Branch(decoding: bytes).encoded
    _ = try? Tag(decoding: bytes).encoded
    _ = try? Repository(decoding: bytes).encoded
    _ = try? PullRequest(decoding: bytes).encoded
    _ = try? ImportStatus(decoding: bytes).encoded
    _ = try? TaskRecord(decoding: bytes).encoded
    _ = try? GarbageCollectionRules(decoding: bytes).encoded
    let staged = try? StagedEntry(key: "k", decoding: bytes).envelope?.bytes, quick = try? StagedEntry.envelope(of: bytes, key: "k")
    guard staged == quick else { fatalError("two ways of reading a staged entry differ") }
}

private func readIdentities(_ bytes: [UInt8]) {
    _ = try? Envelope(decoding: bytes)
    _ = try? CommittedRange(decoding: bytes)
    bytes.withUnsafeBytes { all in _ = try? Envelope.haveSameIdentity(all, all) }
    _ = Base64.decode(String(decoding: bytes, as: UTF8.self))
    _ = Hex.bytes(bytes)
    _ = Timestamp(rfc3339: String(decoding: bytes, as: UTF8.self))
    _ = try? RefExpression(String(decoding: bytes, as: UTF8.self))
    if let glob = Glob(String(decoding: bytes.prefix(24), as: UTF8.self)) { _ = glob.matches("main") }
}

/// Tables to begin with: small and large values, with one and with two levels of index.
@c(LLVMFuzzerInitialize) public func writeSeeds(_ count: UnsafeMutablePointer<Int32>?, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>?) -> Int32 {
    guard let folder = getenv("LAKEFUSE_FUZZ_CORPUS") else { return 0 }
    for (index, records) in [0, 1, 20, 300, 3000].enumerated() {
        let writer = TableWriter(type: "ranges")
        for record in 0..<records { try? writer.add(Array("key-\(1_000_000 + record)".utf8), Envelope(identity: Array("\(record)".utf8), data: [UInt8](repeating: UInt8(record & 0xff), count: record % 300)).bytes) }
        let file = open(String(cString: folder) + "/table-\(index)", O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        let bytes = [0] + writer.finish().bytes
        _ = write(file, bytes, bytes.count)
        close(file)
    }
    return 0
}
