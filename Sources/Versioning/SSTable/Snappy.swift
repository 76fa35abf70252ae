import Glibc

/// The Snappy block format. The compressor emits the same bytes as golang/snappy 0.0.4, because compressed sizes
/// decide where ranges break and enter metarange ids. Source: `lakefs-formats.md` 2.10.
package enum Snappy {
    /// A piece is compressed alone; offsets never cross pieces.
    private static let pieceSize = 65536

    package static func compress(_ input: [UInt8]) -> [UInt8] {
        unsafe input.withUnsafeBytes { bytes in
            unsafe [UInt8](unsafeUninitializedCapacity: bound(bytes.count)) { target, count in
                count = unsafe compress(bytes, into: target.baseAddress!)
            }
        }
    }

    /// The most bytes that `count` bytes may become.
    static func bound(_ count: Int) -> Int { 32 + count + count / 6 }

    /// Writes the compressed form to `output`, which has room for `bound` bytes, and returns its length.
    static func compress(_ input: UnsafeRawBufferPointer, into output: UnsafeMutablePointer<UInt8>) -> Int {
        var out = unsafe output
        var rest = input.count
        while rest >= 0x80 {
            unsafe out.pointee = UInt8(truncatingIfNeeded: rest) | 0x80
            unsafe out += 1
            rest >>= 7
        }
        unsafe out.pointee = UInt8(rest)
        unsafe out += 1
        var start = 0
        while start < input.count {
            let end = min(start + pieceSize, input.count)
            unsafe compress(input.baseAddress! + start, end - start, &out)
            start = end
        }
        return unsafe out - output
    }

    @inline(__always)
    private static func literal(_ bytes: UnsafeRawPointer, _ count: Int, _ out: inout UnsafeMutablePointer<UInt8>) {
        let n = count - 1
        if n < 60 {
            unsafe out[0] = UInt8(n << 2)
            unsafe out += 1
        } else if n < 256 {
            unsafe out[0] = 0xf0
            unsafe out[1] = UInt8(n)
            unsafe out += 2
        } else {
            unsafe out[0] = 0xf4
            unsafe out[1] = UInt8(truncatingIfNeeded: n)
            unsafe out[2] = UInt8(truncatingIfNeeded: n >> 8)
            unsafe out += 3
        }
        unsafe memcpy(out, bytes, count)
        unsafe out += count
    }

    @inline(__always)
    private static func copy(offset: Int, length: Int, _ out: inout UnsafeMutablePointer<UInt8>) {
        func long(_ length: Int) {
            unsafe out[0] = UInt8((length - 1) << 2 | 2)
            unsafe out[1] = UInt8(truncatingIfNeeded: offset)
            unsafe out[2] = UInt8(truncatingIfNeeded: offset >> 8)
            unsafe out += 3
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
            unsafe out[0] = UInt8(truncatingIfNeeded: (offset >> 8) << 5 | (rest - 4) << 2 | 1)
            unsafe out[1] = UInt8(truncatingIfNeeded: offset)
            unsafe out += 2
        }
    }

    private static func compress(_ piece: UnsafeRawPointer, _ count: Int, _ out: inout UnsafeMutablePointer<UInt8>) {
        guard count >= 17 else { return unsafe literal(piece, count, &out) }
        var size = 256
        var shift: UInt32 = 24
        while size < 16384 && size < count {
            size *= 2
            shift -= 1
        }
        // In bounds: positions handed to `load` are at most count - 4, as the limit below sees to.
        func load(_ position: Int) -> UInt32 { unsafe piece.loadUnaligned(fromByteOffset: position, as: UInt32.self) }
        func hash(_ position: Int) -> Int { Int((load(position) &* 0x1e35_a7bd) >> shift) }
        unsafe withUnsafeTemporaryAllocation(of: UInt16.self, capacity: size) { table in
            let table = table.baseAddress!
            unsafe table.initialize(repeating: 0, count: size)
            let limit = count - 15
            var nextEmit = 0
            var s = 1
            var nextHash = hash(1)
            search: while true {
                var skip = 32
                var nextS = s
                var candidate = 0
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
                unsafe literal(piece + nextEmit, s - nextEmit, &out)
                while true {
                    let base = s
                    s += 4
                    var i = candidate + 4
                    // Eight bytes at a time: the first bit that differs tells how many are equal.
                    while s + 8 <= count {
                        let difference =
                            unsafe piece.loadUnaligned(fromByteOffset: i, as: UInt64.self)
                            ^ piece.loadUnaligned(fromByteOffset: s, as: UInt64.self)
                        if difference != 0 {
                            s += difference.trailingZeroBitCount >> 3
                            i = -1
                            break
                        }
                        i += 8
                        s += 8
                    }
                    while unsafe i >= 0 && s < count
                        && piece.load(fromByteOffset: i, as: UInt8.self)
                            == piece.load(fromByteOffset: s, as: UInt8.self)
                    {
                        i += 1
                        s += 1
                    }
                    unsafe copy(offset: base - candidate, length: s - base, &out)
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
            if nextEmit < count { unsafe literal(piece + nextEmit, count - nextEmit, &out) }
        }
    }

    /// - Throws: `SSTableError.malformed` for anything that is no Snappy block, or that says it is larger than `limit`.
    package static func decompress(_ input: ArraySlice<UInt8>, limit: Int) throws(SSTableError) -> [UInt8] {
        var failure: SSTableError?
        let output = unsafe input.withUnsafeBytes { bytes -> [UInt8] in
            var position = 0
            var total = 0
            do throws(SSTableError) { total = unsafe try decompressedLength(bytes, &position, limit: limit) } catch {
                failure = error
                return []
            }
            return unsafe [UInt8](unsafeUninitializedCapacity: total) { target, count in
                if unsafe decompress(
                    bytes, from: position, into: UnsafeMutableBufferPointer(rebasing: target[..<total]))
                {
                    count = total
                } else {
                    failure = .malformed("snappy data")
                }
            }
        }
        if let failure { throw failure }
        return output
    }

    /// The length that a Snappy block says it has; `position` moves behind it.
    static func decompressedLength(_ input: UnsafeRawBufferPointer, _ position: inout Int, limit: Int)
        throws(SSTableError) -> Int
    {
        var length = 0
        var shift = 0
        while position < input.count, shift < 35 {
            let byte = unsafe input[position]
            position += 1
            length |= Int(byte & 0x7f) << shift
            if byte < 0x80 {
                guard length <= limit else { break }
                return length
            }
            shift += 7
        }
        throw .malformed("snappy length")
    }

    /// Decompresses what follows the length. False if it is no Snappy block, or not of exactly the target's length.
    static func decompress(
        _ input: UnsafeRawBufferPointer, from start: Int, into target: UnsafeMutableBufferPointer<UInt8>
    ) -> Bool {
        let total = target.count
        let sourceEnd = input.count
        guard total > 0 else { return start == sourceEnd }
        let source = input.baseAddress!
        let to = UnsafeMutableRawPointer(target.baseAddress!)
        var s = start
        var d = 0
        while s < sourceEnd {
            let tag = unsafe Int(source.load(fromByteOffset: s, as: UInt8.self))
            s += 1
            if tag & 3 == 0 {
                var length = tag >> 2
                if length >= 60 {
                    let width = length - 59
                    guard sourceEnd - s >= width else { return false }
                    length = 0
                    for index in 0..<width {
                        unsafe length |= Int(source.load(fromByteOffset: s + index, as: UInt8.self)) << (8 * index)
                    }
                    s += width
                }
                length += 1
                guard sourceEnd - s >= length, total - d >= length else { return false }
                if length <= 16, sourceEnd - s >= 16, total - d >= 16 {
                    // Short ones are most: two words, of which the end is written over by what follows.
                    unsafe (to + d).storeBytes(
                        of: source.loadUnaligned(fromByteOffset: s, as: SIMD16<UInt8>.self), as: SIMD16<UInt8>.self)
                } else {
                    unsafe (to + d).copyMemory(from: source + s, byteCount: length)
                }
                s += length
                d += length
                continue
            }
            let width = tag & 3 == 1 ? 1 : tag & 3 == 2 ? 2 : 4
            guard sourceEnd - s >= width else { return false }
            var length = (tag >> 2) + 1
            var back = 0
            if width == 2 {
                back = unsafe Int(source.loadUnaligned(fromByteOffset: s, as: UInt16.self))
            } else {
                for index in 0..<width {
                    unsafe back |= Int(source.load(fromByteOffset: s + index, as: UInt8.self)) << (8 * index)
                }
            }
            s += width
            if width == 1 {
                length = (tag >> 2 & 7) + 4
                back |= (tag >> 5) << 8
            }
            guard back > 0, back <= d, total - d >= length else { return false }
            if back >= 16, length <= 16, total - d >= 16 {
                unsafe (to + d).storeBytes(
                    of: UnsafeRawPointer(to).loadUnaligned(fromByteOffset: d - back, as: SIMD16<UInt8>.self),
                    as: SIMD16<UInt8>.self)
            } else if back >= length {
                unsafe (to + d).copyMemory(from: to + d - back, byteCount: length)
            } else {
                for index in 0..<length { unsafe target[d + index] = unsafe target[d + index - back] }
            }
            d += length
        }
        return d == total
    }
}
