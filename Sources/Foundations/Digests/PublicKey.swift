import CCrypto

/// A key that signatures are checked with: RSA (PKCS #1 v1.5, SHA-256) or ECDSA on P-256 (RFC 7518, RS256 and ES256).
@safe package final class PublicKey: Sendable {
    // Immutable after it was made; OpenSSL counts its users.
    private nonisolated(unsafe) let key: OpaquePointer
    private let isElliptic: Bool

    /// An RSA key of these numbers, most significant byte first; nil if they make none.
    package init?(modulus: [UInt8], exponent: [UInt8]) {
        // SubjectPublicKeyInfo (RFC 3279, 2.3.1): rsaEncryption, then the two numbers in a bit string.
        let algorithm = DER.sequence([0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00])
        let numbers = DER.sequence(DER.integer(modulus) + DER.integer(exponent))
        guard modulus.count >= 256, let key = unsafe Self.read(DER.sequence(algorithm + DER.bits(numbers))) else {
            return nil
        }
        unsafe self.key = unsafe key
        isElliptic = false
    }

    /// A point on P-256 by its coordinates of 32 bytes each; nil if there is none.
    package init?(x: [UInt8], y: [UInt8]) {
        // RFC 5480, 2: id-ecPublicKey on prime256v1, then the point, uncompressed.
        let algorithm = DER.sequence([
            0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
            0x07,
        ])
        guard x.count == 32, y.count == 32,
            let key = unsafe Self.read(DER.sequence(algorithm + DER.bits([0x04] + x + y)))
        else { return nil }
        unsafe self.key = unsafe key
        isElliptic = true
    }

    deinit { unsafe EVP_PKEY_free(key) }

    private static func read(_ bytes: [UInt8]) -> OpaquePointer? {
        unsafe bytes.withUnsafeBufferPointer { buffer in
            var position = buffer.baseAddress
            return unsafe d2i_PUBKEY(nil, &position, buffer.count)
        }
    }

    /// Whether this key's owner signed a message.
    /// - Parameter signature: as RFC 7518 has it: of ECDSA the two numbers, 32 bytes each.
    package func verifies(_ signature: [UInt8], of message: [UInt8]) -> Bool {
        var signature = signature
        if isElliptic {
            guard signature.count == 64 else { return false }
            signature = DER.sequence(
                DER.integer(Array(signature.prefix(32))) + DER.integer(Array(signature.suffix(32))))
        }
        guard let context = unsafe EVP_MD_CTX_new() else { return false }
        defer { unsafe EVP_MD_CTX_free(context) }
        guard unsafe EVP_DigestVerifyInit(context, nil, EVP_sha256(), nil, key) == 1 else { return false }
        return unsafe EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
    }
}

/// The few values of ASN.1's DER (X.690) that keys and signatures are made of.
private enum DER {
    static func sequence(_ content: [UInt8]) -> [UInt8] { value(0x30, content) }
    static func bits(_ content: [UInt8]) -> [UInt8] { value(0x03, [0] + content) }

    /// A number that is not negative, from its bytes, most significant first.
    static func integer(_ bytes: [UInt8]) -> [UInt8] {
        let digits = Array(bytes.drop { $0 == 0 })
        return value(0x02, (digits.first ?? 0x80) & 0x80 == 0 ? digits : [0] + digits)
    }

    private static func value(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        let count = content.count
        let length: [UInt8] =
            count < 128
            ? [UInt8(count)]
            : count < 256 ? [0x81, UInt8(count)] : [0x82, UInt8(count >> 8 & 255), UInt8(count & 255)]
        return [tag] + length + content
    }
}
