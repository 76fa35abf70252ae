import CSodium
import Foundations

/// How secrets of key pairs are kept. Source: `lakefs-formats.md` 5.5.
///
///     salt (8) · nonce (24) · NaCl secretbox of the secret
///
/// The box's key is scrypt(password, salt, N = 512, r = 8, p = 1).
package struct SecretBox: Sendable {
    private let password: [UInt8]
    private static let saltSize = 8, nonceSize = 24, macSize = 16

    /// - Parameter password: the configuration's `auth.encrypt.secret_key`.
    package init(password: String) { self.password = Array(password.utf8) }

    private func key(salt: ArraySlice<UInt8>) -> [UInt8] {
        var key = [UInt8](repeating: 0, count: 32)
        let salt = Array(salt)
        let status = unsafe crypto_pwhash_scryptsalsa208sha256_ll(
            password, password.count, salt, salt.count, 512, 8, 1, &key, key.count)
        precondition(status == 0, "scrypt failed: no memory")
        return key
    }

    package func seal(_ secret: String) -> [UInt8] {
        let salt = randomBytes(Self.saltSize)
        let nonce = randomBytes(Self.nonceSize)
        let message = Array(secret.utf8)
        var box = [UInt8](repeating: 0, count: message.count + Self.macSize)
        unsafe crypto_secretbox_easy(&box, message, UInt64(message.count), nonce, key(salt: salt[...]))
        return salt + nonce + box
    }

    /// Nil if the box was made with another password, or damaged.
    package func open(_ sealed: [UInt8]) -> String? {
        let head = Self.saltSize + Self.nonceSize
        guard sealed.count >= head + Self.macSize else { return nil }
        let nonce = Array(sealed[Self.saltSize..<head])
        let box = Array(sealed[head...])
        var message = [UInt8](repeating: 0, count: box.count - Self.macSize)
        guard
            unsafe crypto_secretbox_open_easy(
                &message, box, UInt64(box.count), nonce, key(salt: sealed[..<Self.saltSize])) == 0
        else { return nil }
        return String(decoding: message, as: UTF8.self)
    }
}
