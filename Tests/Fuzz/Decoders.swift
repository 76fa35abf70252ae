import Foundations
import Glibc

@testable import Versioning

// Compiled with libFuzzer and the address sanitizer (run.sh): whatever bytes the decoders are given, they answer with a
// value or an error, never with a crash. Checksums are not looked at here, or nothing would get behind them.

/// The first byte chooses a decoder, the rest is its input.
public func fuzzDecoders(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    guard let start, count > 1 else { return 0 }
    let bytes = Array(UnsafeBufferPointer(start: start + 1, count: count - 1))
    switch start.pointee % 18 {
    case 0, 1: readTable(bytes)
    case 2: readBlock(bytes)
    case 3: readSnappy(bytes)
    case 4: readRecords(bytes)
    case 5: readIdentities(bytes)
    case 6: readPolicies(bytes)
    case 7: readRequest(bytes)
    case 8: readSignature(bytes)
    case 9: readChunks(bytes)
    case 10: readXML(bytes)
    case 11: readForm(bytes)
    case 12: readMessages(bytes)
    case 13: readYAML(bytes)
    case 14: readFacts(bytes)
    case 15: readHooks(bytes)
    default: askServer(bytes)
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
    let other = table.scan()
    let third = table.scan()
    _ = try? TableCursor.skipEqualBlocks(other, third)
    let writer = TableWriter(type: "ranges")
    let source = table.scan()
    while let (entry, block) = (try? source.nextBlock()) ?? nil {
        guard let stored = try? source.stored(entry.handle),
            (try? writer.take(block, stored: stored, indexKey: entry.key, breaks: { _, _ in false })) == true
        else { return }
        source.passBlock()
    }
}

private func readBlock(_ bytes: [UInt8]) {
    let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: max(bytes.count, 1))
    copy.initialize(from: bytes, count: bytes.count)
    guard let block = try? Block(taking: copy, count: bytes.count) else { return }
    var cursor = BlockCursor(block)
    var count = 0
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
    guard (try? Snappy.decompress(Snappy.compress(bytes)[...], limit: bytes.count)) == bytes else {
        fatalError("Snappy does not give back what it was given")
    }
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
    let staged = try? StagedEntry(key: "k", decoding: bytes).envelope?.bytes
    let quick = try? StagedEntry.envelope(of: bytes, key: "k")
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
private func writeSeeds(
    _ count: UnsafeMutablePointer<Int32>?,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>?
) -> Int32 {
    guard let folder = getenv("LAKEFUSE_FUZZ_CORPUS") else { return 0 }
    for (index, records) in [0, 1, 20, 300, 3000].enumerated() {
        let writer = TableWriter(type: "ranges")
        for record in 0..<records {
            try? writer.add(
                Array("key-\(1_000_000 + record)".utf8),
                Envelope(
                    identity: Array("\(record)".utf8),
                    data: [UInt8](repeating: UInt8(record & 0xff), count: record % 300)
                ).bytes)
        }
        save("table-\(index)", [0] + writer.finish().bytes, in: String(cString: folder))
    }
    for (index, seed) in seeds.enumerated() {
        save("seed-\(index)", [seed.decoder] + Array(seed.text.utf8), in: String(cString: folder))
    }
    return 0
}

private func save(_ name: String, _ bytes: [UInt8], in folder: String) {
    let file = open(folder + "/" + name, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    _ = write(file, bytes, bytes.count)
    close(file)
}

/// What the decoders of text are to begin with.
private let seeds: [(decoder: UInt8, text: String)] = [
    (
        7,
        "GET\n/api/v1/repositories?prefix=a%20b&amount=3\nHost: x\nContent-Length: 3\nRange: bytes=0-4\nIf-None-Match: \"a\", W/\"b\"\nIf-Modified-Since: Mon, 02 Jan 2006 15:04:05 GMT"
    ),
    (7, "PUT\nhttp://h:1/repo/main/k%ff?x\nHost: x\nTransfer-Encoding: chunked\nCookie: internal_auth_session=a.b.c"),
    (
        8,
        "AWS4-HMAC-SHA256 Credential=AKIAJFUZZINGFUZZIN0Q/20260101/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=00"
    ),
    (
        8,
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAJFUZZINGFUZZIN0Q%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=0"
    ),
    (8, "AWSAccessKeyId=AKIAJFUZZINGFUZZIN0Q&Signature=x&Expires=9999999999"),
    (
        9,
        "5;chunk-signature=abc\r\nhello\r\n0;chunk-signature=def\r\nx-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:00\r\n\r\n"
    ),
    (
        10,
        "<?xml version=\"1.0\"?><Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key>a&amp;b</Key></Object><Quiet>true</Quiet></Delete>"
    ),
    (
        10,
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"00\"</ETag></Part></CompleteMultipartUpload>"
    ),
    (
        11,
        "--b\r\nContent-Disposition: form-data; name=\"content\"; filename=\"f\"\r\nContent-Type: text/plain\r\n\r\nbody\r\n--b--\r\n"
    ),
    (12, "{\"name\":\"repo\",\"storage_namespace\":\"mem://x\",\"default_branch\":\"main\",\"read_only\":false}"),
    (
        12,
        "{\"message\":\"m\",\"metadata\":{\"a\":\"b\"},\"date\":1,\"paths\":[{\"path\":\"p\",\"destination\":\"d\",\"type\":\"object\"}]}"
    ),
    (13, "listen_address: 127.0.0.1:8000\nblockstore:\n  type: local\n  local: {path: /x, allowed: [a, b]}\n"),
    (
        14,
        "POST\n/api/v1/repositories/repo/branches/main/commits\nContent-Type: application/json\n\n{\"message\":\"m\"}"
    ),
    (14, "GET\n/api/v1/repositories/repo/refs/main~1/objects/ls?prefix=a&after=b&amount=5&delimiter=/\nHost: x\n\n"),
    (15, "GET\n/repo/?list-type=2&prefix=main/&max-keys=3&start-after=main/a\nHost: x\n\n"),
    (
        15,
        "PUT\n/api/v1/repositories/repo/branches/main/objects?path=k\nContent-Type: application/json\n\n{\"physical_address\":\"mem://repo/data/x\",\"checksum\":\"c\",\"size_bytes\":9223372036854775807}"
    ),
]

/// libFuzzer's driver, under the name that SwiftPM makes the program begin at.
@_extern(c, "LLVMFuzzerRunDriver") private func runDriver(
    _ count: UnsafeMutablePointer<Int32>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
    _ test: @convention(c) (UnsafePointer<UInt8>?, Int) -> Int32
) -> Int32

@c(Fuzz_main) public func main(_ count: Int32, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?)
    -> Int32
{
    var count = count
    var arguments = arguments
    _ = writeSeeds(nil, nil)
    return runDriver(&count, &arguments) { fuzzDecoders($0, $1) }
}
