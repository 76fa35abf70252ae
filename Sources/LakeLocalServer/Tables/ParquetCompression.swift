import CChecksum
import CLZ4
import CZstd
import Versioning

/// How pages are compressed. The codes are those of parquet.thrift's `CompressionCodec`.
enum ParquetCompression: Int64 {
    case none, snappy, gzip, lzo, brotli, lz4, zstd, lz4Raw

    /// As in parquet.thrift; the code itself if it is not known.
    static func name(_ code: Int64) -> String {
        switch Self(rawValue: code) {
        case .some(.none): "UNCOMPRESSED"
        case .snappy: "SNAPPY"
        case .gzip: "GZIP"
        case .lzo: "LZO"
        case .brotli: "BROTLI"
        case .lz4: "LZ4"
        case .zstd: "ZSTD"
        case .lz4Raw: "LZ4_RAW"
        case nil: "codec \(code)"
        }
    }

    /// Decompresses into exactly `count` bytes, which the caller has found to be no more than it wants to hold.
    /// - Throws: `ParquetError` if the bytes are no such data, or of another length when decompressed.
    func decompress(_ input: ArraySlice<UInt8>, count: Int) throws(ParquetError) -> [UInt8] {
        if self == .none {
            guard input.count == count else {
                throw ParquetError("a page that is not compressed has \(input.count) bytes instead of \(count)")
            }
            return Array(input)
        }
        // Writers leave out what is compressed from nothing, or not.
        if count == 0 { return [] }
        let output: [UInt8]?
        switch self {
        case .none: output = nil
        case .snappy: output = try? Snappy.decompress(input, limit: count)
        case .gzip: output = Self.inflate(input, count: count)
        case .zstd: output = Self.zstandard(input, count: count)
        case .lz4Raw: output = Self.block(input, count: count)
        case .lz4: output = Self.hadoopBlocks(input, count: count) ?? Self.block(input, count: count)
        case .lzo, .brotli:
            throw ParquetError("the Parquet file is compressed with \(Self.name(rawValue)), which cannot be read here")
        }
        guard let output, output.count == count else {
            throw ParquetError("a page does not decompress to the \(count) bytes that it claims to have")
        }
        return output
    }

    /// Fills an array by a C function that tells how many bytes it wrote; nil if it failed.
    private static func filled(
        _ input: ArraySlice<UInt8>, count: Int,
        by decompress: (UnsafeRawBufferPointer, UnsafeMutableBufferPointer<UInt8>) -> Int?
    ) -> [UInt8]? {
        var isWhole = false
        let output = unsafe input.withUnsafeBytes { source in
            unsafe [UInt8](unsafeUninitializedCapacity: count) { target, written in
                guard let result = unsafe decompress(source, UnsafeMutableBufferPointer(rebasing: target[..<count])),
                    result == count
                else { return }
                written = count
                isWhole = true
            }
        }
        return isWhole ? output : nil
    }

    /// `ZSTD_decompress`.
    private static func zstandard(_ input: ArraySlice<UInt8>, count: Int) -> [UInt8]? {
        unsafe filled(input, count: count) { source, target in
            let written = unsafe ZSTD_decompress(target.baseAddress, target.count, source.baseAddress, source.count)
            return ZSTD_isError(written) == 0 ? written : nil
        }
    }

    /// `LZ4_decompress_safe`.
    private static func block(_ input: ArraySlice<UInt8>, count: Int) -> [UInt8]? {
        guard let inputCount = Int32(exactly: input.count), let outputCount = Int32(exactly: count) else { return nil }
        return unsafe filled(input, count: count) { source, target in
            let from = unsafe source.baseAddress?.assumingMemoryBound(to: CChar.self)
            let written = unsafe target.withMemoryRebound(to: CChar.self) { target in
                unsafe LZ4_decompress_safe(from, target.baseAddress, inputCount, outputCount)
            }
            return written < 0 ? nil : Int(written)
        }
    }

    /// Hadoop's framing of LZ4: decompressed length, compressed length (4 bytes each, big-endian), a block; repeated.
    /// Source: "Compression" of apache/parquet-format, which does not tell it, and arrow's `Lz4HadoopCodec`.
    private static func hadoopBlocks(_ input: ArraySlice<UInt8>, count: Int) -> [UInt8]? {
        var rest = input
        var output: [UInt8] = []
        while !rest.isEmpty {
            guard rest.count >= 8 else { return nil }
            let head = rest.prefix(8).map { Int($0) }
            let length = head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3]
            let compressed = head[4] << 24 | head[5] << 16 | head[6] << 8 | head[7]
            rest = rest.dropFirst(8)
            guard compressed <= rest.count, length <= count - output.count, compressed > 0,
                let part = block(rest.prefix(compressed), count: length)
            else { return nil }
            output += part
            rest = rest.dropFirst(compressed)
        }
        return output
    }

    /// zlib's `inflate`, of one or more members with gzip's or zlib's head.
    private static func inflate(_ input: ArraySlice<UInt8>, count: Int) -> [UInt8]? {
        guard let inputCount = UInt32(exactly: input.count), let outputCount = UInt32(exactly: count) else {
            return nil
        }
        return unsafe filled(input, count: count) { source, target in
            var stream = unsafe z_stream()
            // 15 bits of window, and 32: gzip's or zlib's head, whichever there is.
            guard unsafe inflateInit2_(&stream, 15 + 32, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
            else { return nil }
            defer { unsafe inflateEnd(&stream) }
            // zlib does not write to its input, though it takes it as if it did.
            unsafe stream.next_in = UnsafeMutablePointer(
                mutating: source.baseAddress?.assumingMemoryBound(to: UInt8.self))
            unsafe stream.avail_in = inputCount
            unsafe stream.next_out = target.baseAddress
            unsafe stream.avail_out = outputCount
            while true {
                let status = unsafe CChecksum.inflate(&stream, Z_FINISH)
                guard status == Z_STREAM_END else { return nil }
                guard unsafe stream.avail_in > 0, unsafe stream.avail_out > 0 else { break }
                guard unsafe inflateReset(&stream) == Z_OK else { return nil }
            }
            return unsafe target.count - Int(stream.avail_out)
        }
    }

    /// Whether `bytes` have the CRC-32 that their page's header tells. zlib's `crc32`.
    static func matches(_ bytes: [UInt8], checksum: Int64) -> Bool {
        let found = unsafe bytes.withUnsafeBytes { bytes in
            unsafe crc32_z(0, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count)
        }
        // An empty page's pointer may be nil, of which zlib makes the checksum of nothing: 0 as well.
        return UInt32(truncatingIfNeeded: found) == UInt32(truncatingIfNeeded: checksum)
    }
}
