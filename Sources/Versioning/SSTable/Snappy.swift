/// The Snappy block format. The compressor emits the same bytes as golang/snappy 0.0.4, because compressed sizes
/// decide where ranges break and enter metarange ids. Source: `lakefs-formats.md` 2.10.
package enum Snappy {
    /// A piece is compressed alone; offsets never cross pieces.
    private static let pieceSize = 65536

    package static func compress(_ input: [UInt8]) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(32 + input.count + input.count / 6)
        output.append(varint: UInt64(input.count))
        unsafe input.withUnsafeBytes { bytes in
            var start = 0
            while start < bytes.count {
                let end = min(start + pieceSize, bytes.count)
                unsafe compress(UnsafeRawBufferPointer(rebasing: bytes[start..<end]), into: &output)
                start = end
            }
        }
        return output
    }

    private static func literal(_ bytes: UnsafeRawBufferPointer, into output: inout [UInt8]) {
        let n = bytes.count - 1
        if n < 60 {
            output.append(UInt8(n << 2))
        } else if n < 256 {
            output.append(0xf0)
            output.append(UInt8(n))
        } else {
            output.append(0xf4)
            output.append(UInt8(truncatingIfNeeded: n))
            output.append(UInt8(truncatingIfNeeded: n >> 8))
        }
        unsafe output.append(contentsOf: bytes)
    }

    private static func copy(offset: Int, length: Int, into output: inout [UInt8]) {
        func long(_ length: Int) {
            output.append(UInt8((length - 1) << 2 | 2))
            output.append(UInt8(truncatingIfNeeded: offset))
            output.append(UInt8(truncatingIfNeeded: offset >> 8))
        }
        var rest = length
        while rest >= 68 {
            long(64)
            rest -= 64
        }
        if rest > 64 {
            long(60)
            rest -= 60
        }
        if rest >= 12 || offset >= 2048 {
            long(rest)
        } else {
            output.append(UInt8(truncatingIfNeeded: (offset >> 8) << 5 | (rest - 4) << 2 | 1))
            output.append(UInt8(truncatingIfNeeded: offset))
        }
    }

    private static func compress(_ piece: UnsafeRawBufferPointer, into output: inout [UInt8]) {
        let count = piece.count
        guard count >= 17 else { return unsafe literal(piece, into: &output) }
        var size = 256, shift: UInt32 = 24
        while size < 16384 && size < count {
            size *= 2
            shift -= 1
        }
        // In bounds: positions handed to `load` are at most count - 4, as the limit below sees to.
        func load(_ position: Int) -> UInt32 { unsafe piece.loadUnaligned(fromByteOffset: position, as: UInt32.self) }
        func hash(_ position: Int) -> Int { Int((load(position) &* 0x1e35_a7bd) >> shift) }
        unsafe withUnsafeTemporaryAllocation(of: UInt16.self, capacity: size) { table in
            unsafe table.initialize(repeating: 0)
            let limit = count - 15
            var nextEmit = 0, s = 1, nextHash = hash(1)
            search: while true {
                var skip = 32, nextS = s, candidate = 0
                repeat {
                    s = nextS
                    let step = skip >> 5
                    nextS = s + step
                    skip += step
                    if nextS > limit { break search }
                    candidate = unsafe Int(table[nextHash])
                    unsafe table[nextHash] = UInt16(truncatingIfNeeded: s)
                    nextHash = hash(nextS)
                } while load(s) != load(candidate)
                unsafe literal(UnsafeRawBufferPointer(rebasing: piece[nextEmit..<s]), into: &output)
                while true {
                    let base = s
                    s += 4
                    var i = candidate + 4
                    while unsafe s < count && piece[i] == piece[s] {
                        i += 1
                        s += 1
                    }
                    copy(offset: base - candidate, length: s - base, into: &output)
                    nextEmit = s
                    if s >= limit { break search }
                    unsafe table[hash(s - 1)] = UInt16(truncatingIfNeeded: s - 1)
                    let here = hash(s)
                    candidate = unsafe Int(table[here])
                    unsafe table[here] = UInt16(truncatingIfNeeded: s)
                    if load(s) != load(candidate) {
                        nextHash = hash(s + 1)
                        s += 1
                        break
                    }
                }
            }
            if nextEmit < count { unsafe literal(UnsafeRawBufferPointer(rebasing: piece[nextEmit...]), into: &output) }
        }
    }

    /// - Throws: `SSTableError.malformed` for anything that is no Snappy block, or that says it is larger than `limit`.
    package static func decompress(_ input: ArraySlice<UInt8>, limit: Int) throws(SSTableError) -> [UInt8] {
        var position = input.startIndex
        guard let declared = input.varint(at: &position), declared <= UInt64(limit) else { throw .malformed("snappy length") }
        let total = Int(declared), end = input.endIndex
        var failed = false
        let output = unsafe input.withUnsafeBufferPointer { source -> [UInt8] in
            let offset = input.startIndex
            var s = position - offset
            let sourceEnd = end - offset
            return unsafe [UInt8](unsafeUninitializedCapacity: total) { target, written in
                var d = 0
                defer { written = failed ? 0 : d }
                while s < sourceEnd {
                    let tag = unsafe Int(source[s])
                    s += 1
                    if tag & 3 == 0 {
                        var length = tag >> 2
                        if length >= 60 {
                            let width = length - 59
                            guard sourceEnd - s >= width else { failed = true; return }
                            length = 0
                            for index in 0..<width { unsafe length |= Int(source[s + index]) << (8 * index) }
                            s += width
                        }
                        length += 1
                        guard sourceEnd - s >= length, total - d >= length else { failed = true; return }
                        unsafe (target.baseAddress! + d).initialize(from: source.baseAddress! + s, count: length)
                        s += length
                        d += length
                        continue
                    }
                    let width = tag & 3 == 1 ? 1 : tag & 3 == 2 ? 2 : 4
                    guard sourceEnd - s >= width else { failed = true; return }
                    var length = (tag >> 2) + 1, back = 0
                    for index in 0..<width { unsafe back |= Int(source[s + index]) << (8 * index) }
                    s += width
                    if width == 1 {
                        length = (tag >> 2 & 7) + 4
                        back |= (tag >> 5) << 8
                    }
                    guard back > 0, back <= d, total - d >= length else { failed = true; return }
                    if back >= length {
                        unsafe (target.baseAddress! + d).initialize(from: target.baseAddress! + d - back, count: length)
                    } else {
                        for index in 0..<length { unsafe (target.baseAddress! + d + index).initialize(to: target[d + index - back]) }
                    }
                    d += length
                }
                if d != total { failed = true }
            }
        }
        if failed { throw .malformed("snappy data") }
        return output
    }
}
