import FoundationEssentials
import Foundations
import Glibc
import LakeAPI
import LakeLocalServer
import Transport

/// Where the server is and how it is asked: lakectl's configuration file, then its environment.
struct ClientSettings {
    private(set) var values: [String: String] = [:]

    /// Names that the file may have, besides those below `mount.` and `metastore.`. Source: lakectl's documentation.
    static let names: Set<String> = [
        "base_uri", "credentials.access_key_id", "credentials.secret_access_key", "credentials.session_token",
        "credentials.provider.type", "experimental.local.posix_permissions.enabled",
        "experimental.local.posix_permissions.include_uid", "experimental.local.posix_permissions.include_gid",
        "local.skip_non_regular_files", "local.symlink_support", "network.http2.enabled", "options.parallelism",
        "server.endpoint_url", "server.login_retries.enabled", "server.login_retries.max_attempts",
        "server.login_retries.max_wait_interval", "server.login_retries.min_wait_interval",
        "server.retries.enabled", "server.retries.max_attempts", "server.retries.max_wait_interval",
        "server.retries.min_wait_interval",
    ]
    private static let families = ["mount", "metastore", "credentials.provider.aws_iam"]

    /// - Throws: `CommandError` in lakectl's words.
    init(_ invocation: Invocation) throws {
        let environment = invocation.environment
        let chosen =
            invocation.values["config"]?.last ?? environment["LAKECTL_CONFIG_FILE"] ?? environment["LAKECTL_CONFIG"]
        let file = chosen ?? Self.path(environment)
        if unsafe chosen != nil || access(file, F_OK) == 0 {
            let bytes: [UInt8]
            do { bytes = try Files.input(file) } catch {
                throw CommandError("error reading configuration file: \(Failure(error).message)")
            }
            let pairs: [(key: String, value: String)]
            do { pairs = try YAML.flatten(bytes, file: file) } catch {
                let reason = LakeError(error).message
                // What misses its end is told at the last line.
                let told = reason.firstRange(of: ", line ").flatMap { mark in
                    Int(reason[mark.upperBound...].prefix { $0.isNumber })
                }
                let line = min(told ?? 1, max(1, bytes.split(separator: 0x0a).count))
                throw CommandError(
                    "error reading configuration file: While parsing config: yaml: line \(line): did not find expected node content",
                    hint: reason)
            }
            var unknown: Set<String> = []
            for (key, value) in pairs {
                let name = key.lowercased()
                if Self.names.contains(name) || Self.families.contains(where: { name.hasPrefix($0 + ".") }) {
                    values[name] = value
                } else {
                    unknown.insert(key)
                }
            }
            guard unknown.isEmpty else {
                throw CommandError(
                    "error unmarshal configuration: decoding failed due to the following error(s):\n\n'' has invalid keys: \(unknown.sorted().joined(separator: ", "))"
                )
            }
        }
        for key in Self.names {
            if let value = environment["LAKECTL_" + key.uppercased().replacing(".", with: "_")] { values[key] = value }
        }
    }

    static func path(_ environment: [String: String]) -> String { (environment["HOME"] ?? "") + "/.lakectl.yaml" }

    func isOn(_ name: String, orElse standard: Bool = false) -> Bool {
        values[name].map { ["true", "1", "yes", "on"].contains($0.lowercased()) } ?? standard
    }

    func number(_ name: String) -> Int? { values[name].flatMap { Int($0) } }

    /// - Parameters:
    ///   - impatient: whether a server that does not answer is given up soon.
    ///   - stallSeconds: how long nothing may come or go before a connection is given up; 0 for as long as it takes.
    func client(impatient: Bool = false, stallSeconds: Int = 0) -> LakeClient {
        let id = values["credentials.access_key_id"] ?? ""
        let secret = values["credentials.secret_access_key"] ?? ""
        let endpoint = values["server.endpoint_url"] ?? ""
        guard !impatient else { return LakeClient(impatientTo: endpoint, accessKeyID: id, secretAccessKey: secret) }
        var client = LakeClient(
            endpoint: endpoint, accessKeyID: id, secretAccessKey: secret, http: HTTPClient(stallSeconds: stallSeconds))
        if isOn("server.retries.enabled", orElse: true) {
            client.retries = (
                most: number("server.retries.max_attempts") ?? 4,
                firstWait: milliseconds("server.retries.min_wait_interval") ?? 200,
                longestWait: milliseconds("server.retries.max_wait_interval") ?? 30_000
            )
        }
        return client
    }

    private func milliseconds(_ name: String) -> Int? {
        values[name].flatMap { GoDuration.milliseconds($0) }.map { Int(min($0, 1e9)) }
    }
}

extension Invocation {
    /// The server that client commands talk to.
    var client: LakeClient { get throws { try ClientSettings(self).client() } }
    func client(impatient: Bool) throws -> LakeClient { try ClientSettings(self).client(impatient: impatient) }
}
