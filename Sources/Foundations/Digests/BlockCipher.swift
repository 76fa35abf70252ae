import CCrypto

/// AES in cipher block chaining, with padding as PKCS #7 has it (NIST SP 800-38A, 6.2; RFC 5652, 6.3). It hides, it does not
/// vouch: what comes out may be anybody's.
package enum AESCBC {
    package static let blockBytes = 16

    /// The initial vector, made up, and what is hidden. Nil for a key of other than 16, 24 or 32 bytes.
    package static func encrypt(_ plain: [UInt8], key: [UInt8]) -> [UInt8]? {
        let vector = randomBytes(blockBytes)
        return run(plain, key: key, vector: vector, encrypts: true).map { vector + $0 }
    }

    /// What `encrypt` was given. Nil for another key, and for what it did not make.
    package static func decrypt(_ hidden: [UInt8], key: [UInt8]) -> [UInt8]? {
        guard hidden.count >= 2 * blockBytes, hidden.count % blockBytes == 0 else { return nil }
        return run(
            Array(hidden[blockBytes...]), key: key, vector: Array(hidden[..<blockBytes]), encrypts: false)
    }

    private static func run(_ input: [UInt8], key: [UInt8], vector: [UInt8], encrypts: Bool) -> [UInt8]? {
        guard let cipher = unsafe [16: EVP_aes_128_cbc(), 24: EVP_aes_192_cbc(), 32: EVP_aes_256_cbc()][key.count],
            let context = unsafe EVP_CIPHER_CTX_new()
        else { return nil }
        defer { unsafe EVP_CIPHER_CTX_free(context) }
        guard unsafe EVP_CipherInit_ex(context, cipher, nil, key, vector, encrypts ? 1 : 0) == 1 else { return nil }
        var output = [UInt8](repeating: 0, count: input.count + blockBytes)
        var count: Int32 = 0
        var rest: Int32 = 0
        let isWhole = unsafe output.withUnsafeMutableBufferPointer { output in
            unsafe EVP_CipherUpdate(context, output.baseAddress, &count, input, Int32(input.count)) == 1
                && EVP_CipherFinal_ex(context, output.baseAddress! + Int(count), &rest) == 1
        }
        guard isWhole else { return nil }
        output.removeLast(output.count - Int(count + rest))
        return output
    }
}
