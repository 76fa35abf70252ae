import CCrypto

/// A running hash of OpenSSL's EVP (EVP_DigestInit_ex(3)). Used by one thread at a time.
@safe package struct Hash: ~Copyable {
    package enum Algorithm: Sendable {
        case md5, sha1, sha256

        /// Fetched once: looking an algorithm up costs more than hashing a short key.
        fileprivate var implementation: OpaquePointer {
            switch self {
            case .md5: unsafe Implementations.md5
            case .sha1: unsafe Implementations.sha1
            case .sha256: unsafe Implementations.sha256
            }
        }
    }

    private enum Implementations {
        // EVP_MD objects are immutable after their fetch, and never freed here.
        nonisolated(unsafe) static let md5 = unsafe EVP_MD_fetch(nil, "MD5", nil)!
        nonisolated(unsafe) static let sha1 = unsafe EVP_MD_fetch(nil, "SHA1", nil)!
        nonisolated(unsafe) static let sha256 = unsafe EVP_MD_fetch(nil, "SHA256", nil)!
    }

    private let context: OpaquePointer
    private let implementation: OpaquePointer

    package init(_ algorithm: Algorithm) {
        unsafe implementation = unsafe algorithm.implementation
        unsafe context = unsafe EVP_MD_CTX_new()!
        unsafe EVP_DigestInit_ex2(context, implementation, nil)
    }

    deinit { unsafe EVP_MD_CTX_free(context) }

    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 0 else { return }
        unsafe EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
    }

    package mutating func update(_ bytes: [UInt8]) { unsafe bytes.withUnsafeBytes { unsafe update($0) } }
    package mutating func update(_ text: String) {
        var text = text
        text.withUTF8 { unsafe update(UnsafeRawBufferPointer($0)) }
    }

    /// The digest of all that was fed; the hash is new again afterwards.
    package mutating func finish() -> [UInt8] {
        let digest = unsafe [UInt8](unsafeUninitializedCapacity: 64) { buffer, count in
            var length: UInt32 = 0
            unsafe EVP_DigestFinal_ex(context, buffer.baseAddress, &length)
            count = Int(length)
        }
        unsafe EVP_DigestInit_ex2(context, implementation, nil)
        return digest
    }

    /// The digest of `bytes` alone.
    package static func digest(_ algorithm: Algorithm, _ bytes: [UInt8]) -> [UInt8] {
        var hash = Hash(algorithm)
        hash.update(bytes)
        return hash.finish()
    }

    /// HMAC-SHA256 of `message` under `key` (RFC 2104).
    package static func hmac(key: [UInt8], _ message: [UInt8]) -> [UInt8] { unsafe hmac(EVP_sha256(), key, message) }

    /// HMAC-SHA1, for the signatures of older S3 clients.
    package static func hmacSHA1(key: [UInt8], _ message: [UInt8]) -> [UInt8] { unsafe hmac(EVP_sha1(), key, message) }

    private static func hmac(_ algorithm: OpaquePointer, _ key: [UInt8], _ message: [UInt8]) -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: 64) { buffer, count in
            var length: UInt32 = 0
            unsafe key.withUnsafeBytes { key in
                unsafe message.withUnsafeBytes { message in
                    _ = unsafe HMAC(
                        algorithm, key.baseAddress, Int32(key.count),
                        message.assumingMemoryBound(to: UInt8.self).baseAddress, message.count, buffer.baseAddress,
                        &length)
                }
            }
            count = Int(length)
        }
    }
}

/// Text forms of bytes.
package enum Hex {
    private static let digits = Array("0123456789abcdef".utf8)

    /// Two lower-case digits for each byte.
    package static func text(_ bytes: [UInt8]) -> String { String(decoding: ascii(bytes), as: UTF8.self) }

    package static func ascii(_ bytes: [UInt8]) -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: bytes.count * 2) { buffer, count in
            for (index, byte) in bytes.enumerated() {
                unsafe buffer[index * 2] = digits[Int(byte >> 4)]
                unsafe buffer[index * 2 + 1] = digits[Int(byte & 15)]
            }
            count = bytes.count * 2
        }
    }

    /// Nil if `text` is not an even number of hex digits.
    package static func bytes(_ text: some Collection<UInt8>) -> [UInt8]? {
        guard text.count % 2 == 0 else { return nil }
        var result: [UInt8] = []
        result.reserveCapacity(text.count / 2)
        var high: UInt8?
        for digit in text {
            let value: UInt8
            switch digit {
            case 48...57: value = digit - 48
            case 97...102: value = digit - 87
            case 65...70: value = digit - 55
            default: return nil
            }
            if let first = high {
                result.append(first << 4 | value)
                high = nil
            } else {
                high = value
            }
        }
        return result
    }
}

/// Whether two byte strings are equal, in time that does not tell where they differ.
package func isEqualInConstantTime(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    return unsafe left.withUnsafeBytes { left in
        unsafe right.withUnsafeBytes { right in
            unsafe left.count == 0 || CRYPTO_memcmp(left.baseAddress!, right.baseAddress!, left.count) == 0
        }
    }
}

/// Bytes that nobody can guess (RAND_bytes(3)).
package func randomBytes(_ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let status = unsafe RAND_bytes(&bytes, Int32(count))
    precondition(status == 1, "the system gives no random bytes")
    return bytes
}
