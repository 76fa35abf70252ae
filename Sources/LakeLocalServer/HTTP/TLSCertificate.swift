import CTLS
import Foundations
import Synchronization
import Versioning

/// The certificate that this process shows over TLS, and its key. It may be replaced at any time: connections that begin
/// from then on get the new one. Source: GnuTLS manual, "Using a callback to select the certificate to use".
package enum TLSCertificate {
    /// A chain of certificates and the key of the first. Never freed: a handshake may be using it.
    @safe fileprivate struct Chain: @unchecked Sendable {
        let certificates: UnsafeMutablePointer<gnutls_pcert_st>
        let count: UInt32
        let key: gnutls_privkey_t
    }

    private static let current = Mutex<Chain?>(nil)
    /// Certificates of a chain at most.
    private static let longestChain: UInt32 = 16

    /// Reads a chain and its key, and shows them from now on. If that fails, what was shown before stays.
    /// - Parameters:
    ///   - certificateFile: PEM: the server's certificate, then those that lead to an authority.
    ///   - keyFile: PEM.
    /// - Throws: `.invalidValue`, naming the file and what is wrong with it.
    package static func load(certificateFile: String, keyFile: String) throws {
        func check(_ status: Int32, _ file: String) throws {
            guard status < 0 else { return }
            throw LakeError(
                .invalidValue, "cannot use \(file) for TLS: \(unsafe String(cString: gnutls_strerror(status)))")
        }
        // That both belong together shows when they are taken as such.
        var trial: gnutls_certificate_credentials_t?
        unsafe gnutls_certificate_allocate_credentials(&trial)
        defer { unsafe gnutls_certificate_free_credentials(trial) }
        var text = unsafe gnutls_datum_t()
        try check(unsafe gnutls_load_file(certificateFile, &text), certificateFile)
        defer { unsafe lake_tls_free(text.data) }
        let certificates = UnsafeMutablePointer<gnutls_pcert_st>.allocate(capacity: Int(longestChain))
        var count = longestChain
        try check(
            unsafe gnutls_pcert_list_import_x509_raw(certificates, &count, &text, GNUTLS_X509_FMT_PEM, 0),
            certificateFile)
        var keyText = unsafe gnutls_datum_t()
        try check(unsafe gnutls_load_file(keyFile, &keyText), keyFile)
        defer { unsafe lake_tls_free(keyText.data) }
        try check(
            unsafe gnutls_certificate_set_x509_key_mem(trial, &text, &keyText, GNUTLS_X509_FMT_PEM),
            "\(certificateFile) and \(keyFile)")
        var key: gnutls_privkey_t?
        unsafe gnutls_privkey_init(&key)
        try check(unsafe gnutls_privkey_import_x509_raw(key, &keyText, GNUTLS_X509_FMT_PEM, nil, 0), keyFile)
        let chain = unsafe Chain(certificates: certificates, count: count, key: key!)
        current.withLock { $0 = chain }
    }

    /// What libmicrohttpd asks for each connection.
    nonisolated(unsafe) static let callback = unsafe lake_tls_function { _, _, _, _, _, certificates, count, key in
        guard let chain = current.withLock({ $0 }) else { return -1 }
        unsafe certificates!.pointee = chain.certificates
        unsafe count!.pointee = chain.count
        unsafe key!.pointee = chain.key
        return 0
    }

    /// TLS 1.2 and 1.3, with what is safe today.
    static let priorities: StaticString = "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
}
