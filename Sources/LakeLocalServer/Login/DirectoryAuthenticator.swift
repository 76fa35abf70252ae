import CLDAP
import Foundations
import Glibc
import Versioning

/// A directory of users and their groups, asked by LDAP: it is searched for the user, then bound to with the user's
/// password (RFC 4511, RFC 4513). Source: ldap(3), lakeFS's documentation of `auth.ldap`.
package struct DirectoryAuthenticator: PasswordAuthenticator {
    /// `auth.ldap.*`.
    package struct Settings: Sendable {
        /// `ldap://HOST:PORT` or `ldaps://HOST:PORT`.
        package var endpoint = ""
        /// Who looks users up; empty for nobody.
        package var bindName = "", bindPassword = ""
        /// The attribute that holds the name that a user logs in by.
        package var userAttribute = "uid"
        /// Where users are looked for, and what else must hold of them.
        package var userBase = "", userFilter = "(objectClass=inetOrgPerson)"
        /// Where groups are looked for (nowhere if empty), the attribute that names their members, and the one that
        /// holds their own name.
        package var groupBase = "", memberAttribute = "member", groupAttribute = "cn"
        /// The group of those whom no group of the directory puts into one that is here.
        package var defaultGroup = "Viewers"
        package init() {}
    }

    private let settings: Settings
    let source = "ldap"
    private static let timeoutSeconds = 10

    init(_ settings: Settings) { self.settings = settings }

    func identity(of userName: String, password: String) throws -> ExternalIdentity? {
        let connection = try Connection(settings.endpoint, seconds: Self.timeoutSeconds)
        guard try connection.bind(settings.bindName, settings.bindPassword) else {
            throw LakeError(.unavailable, "the directory does not take the name and password of auth.ldap.bind_dn")
        }
        let filter = "(&\(settings.userFilter)(\(settings.userAttribute)=\(Self.escaped(userName))))"
        let found = try connection.search(settings.userBase, filter, [settings.userAttribute, "cn", "mail"])
        // Two of one name are nobody.
        guard found.count == 1, let entry = found.first else { return nil }
        guard try Connection(settings.endpoint, seconds: Self.timeoutSeconds).bind(entry.name, password) else {
            return nil
        }
        var groups: [String] = []
        if !settings.groupBase.isEmpty {
            groups = try connection.search(
                settings.groupBase, "(\(settings.memberAttribute)=\(Self.escaped(entry.name)))",
                [settings.groupAttribute]
            ).compactMap { $0.values[settings.groupAttribute.lowercased()] }
        }
        return ExternalIdentity(
            // As the directory writes it: it takes letters of either case for the same.
            userName: entry.values[settings.userAttribute.lowercased()] ?? userName,
            friendlyName: entry.values["cn"] ?? "", email: entry.values["mail"] ?? "",
            groups: groups, defaults: [settings.defaultGroup])
    }

    /// A value in a filter (RFC 4515, 3).
    static func escaped(_ text: String) -> String {
        text.utf8.map { byte in
            switch byte {
            case 0, 0x28, 0x29, 0x2a, 0x5c, 0x80...: "\\" + Hex.text([byte])
            default: String(UnicodeScalar(byte))
            }
        }.joined()
    }

    private struct Entry {
        let name: String
        /// The first value of each attribute, by its name in lower case.
        let values: [String: String]
    }

    /// One connection, used by one thread.
    @safe private final class Connection {
        private let handle: OpaquePointer
        private let seconds: Int

        init(_ endpoint: String, seconds: Int) throws {
            var made: OpaquePointer?
            guard unsafe ldap_initialize(&made, endpoint) == LDAP_SUCCESS, let made = unsafe made else {
                throw LakeError(.unavailable, "auth.ldap.server_endpoint '\(endpoint)' is no address of a directory")
            }
            unsafe handle = unsafe made
            self.seconds = seconds
            var version = LDAP_VERSION3
            var timeout = timeval(tv_sec: seconds, tv_usec: 0)
            unsafe ldap_set_option(handle, LDAP_OPT_PROTOCOL_VERSION, &version)
            unsafe ldap_set_option(handle, LDAP_OPT_NETWORK_TIMEOUT, &timeout)
            unsafe ldap_set_option(handle, LDAP_OPT_TIMEOUT, &timeout)
            // Answers that point elsewhere are not followed: the password would go there.
            unsafe ldap_set_option(handle, LDAP_OPT_REFERRALS, nil)
        }

        deinit { unsafe ldap_unbind_ext_s(handle, nil, nil) }

        private func failure(_ status: Int32) -> LakeError {
            LakeError(.unavailable, "the directory does not answer: \(unsafe String(cString: ldap_err2string(status)))")
        }

        /// False if the directory knows no such name with this password.
        func bind(_ name: String, _ password: String) throws -> Bool {
            var password = Array(password.utf8)
            let status = unsafe password.withUnsafeMutableBytes { bytes in
                var value = unsafe berval(
                    bv_len: ber_len_t(bytes.count), bv_val: bytes.baseAddress?.assumingMemoryBound(to: CChar.self))
                return unsafe ldap_sasl_bind_s(handle, name, nil, &value, nil, nil, nil)
            }
            switch status {
            case LDAP_SUCCESS: return true
            case LDAP_INVALID_CREDENTIALS, LDAP_NO_SUCH_OBJECT, LDAP_INAPPROPRIATE_AUTH, LDAP_UNWILLING_TO_PERFORM:
                return false
            default: throw failure(status)
            }
        }

        private static let mostEntries: Int32 = 1000

        func search(_ base: String, _ filter: String, _ attributes: [String]) throws -> [Entry] {
            var names: [UnsafeMutablePointer<CChar>?] = unsafe attributes.map { unsafe strdup($0) } + [nil]
            defer { for index in 0..<attributes.count { unsafe free(names[index]) } }
            var timeout = timeval(tv_sec: seconds, tv_usec: 0)
            var result: OpaquePointer?
            let status = unsafe ldap_search_ext_s(
                handle, base, ber_int_t(LDAP_SCOPE_SUBTREE), filter, &names, 0, nil, nil, &timeout, Self.mostEntries,
                &result)
            defer { unsafe _ = ldap_msgfree(result) }
            if status == LDAP_NO_SUCH_OBJECT { return [] }
            guard status == LDAP_SUCCESS else { throw failure(status) }
            var found: [Entry] = []
            var entry = unsafe ldap_first_entry(handle, result)
            while unsafe entry != nil {
                let name = unsafe ldap_get_dn(handle, entry)
                defer { unsafe ldap_memfree(name) }
                var values: [String: String] = [:]
                for attribute in attributes {
                    guard let all = unsafe ldap_get_values_len(handle, entry, attribute) else { continue }
                    if let first = unsafe all.pointee?.pointee {
                        values[attribute.lowercased()] = unsafe String(
                            decoding: UnsafeRawBufferPointer(start: first.bv_val, count: Int(first.bv_len)),
                            as: UTF8.self)
                    }
                    unsafe ldap_value_free_len(all)
                }
                if let name = unsafe name { found.append(Entry(name: unsafe String(cString: name), values: values)) }
                unsafe entry = unsafe ldap_next_entry(handle, entry)
            }
            return found
        }
    }
}
