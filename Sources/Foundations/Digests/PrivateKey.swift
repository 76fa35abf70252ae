import CCrypto

/// An RSA key that signs (PKCS #1 v1.5, SHA-256; RFC 7518, RS256).
@safe package final class PrivateKey: Sendable {
    // Immutable after it was made; OpenSSL counts its users.
    private nonisolated(unsafe) let key: OpaquePointer

    /// A key as PEM files have it (RFC 7468: `PRIVATE KEY` or `RSA PRIVATE KEY`); nil if the text holds none.
    package init?(pem text: String) {
        let lines = text.split(whereSeparator: \.isNewline)
        guard let first = lines.firstIndex(where: { $0.hasPrefix("-----BEGIN") && $0.hasSuffix("PRIVATE KEY-----") }),
            let last = lines[first...].firstIndex(where: { $0.hasPrefix("-----END") }),
            let bytes = Base64.decode(lines[lines.index(after: first)..<last].joined())
        else { return nil }
        let made = unsafe bytes.withUnsafeBufferPointer { buffer -> OpaquePointer? in
            var start = buffer.baseAddress
            return unsafe d2i_AutoPrivateKey(nil, &start, buffer.count)
        }
        guard let made = unsafe made else { return nil }
        unsafe key = unsafe made
    }

    deinit { unsafe EVP_PKEY_free(key) }

    /// Nil if the key cannot sign.
    package func sign(_ message: [UInt8]) -> [UInt8]? {
        guard let context = unsafe EVP_MD_CTX_new() else { return nil }
        defer { unsafe EVP_MD_CTX_free(context) }
        var count = 0
        guard unsafe EVP_DigestSignInit(context, nil, EVP_sha256(), nil, key) == 1,
            unsafe EVP_DigestSign(context, nil, &count, message, message.count) == 1
        else { return nil }
        var signature = [UInt8](repeating: 0, count: count)
        guard unsafe EVP_DigestSign(context, &signature, &count, message, message.count) == 1 else { return nil }
        return Array(signature.prefix(count))
    }
}
