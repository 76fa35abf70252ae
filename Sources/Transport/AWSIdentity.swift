import FoundationEssentials
package import Foundations
import Glibc
import Synchronization

/// Where a server's key pair for AWS comes from, looked for in the order of Amazon's own clients: given, a file of
/// profiles, the environment, a web identity, the container, the machine. Pairs that end are fetched anew before they do.
/// Source: AWS SDKs and Tools reference guide, "Standardized credential providers". Safe from any thread.
package final class AWSIdentity: Sendable {
    package struct Settings: Sendable {
        package var accessKeyID = "", secretAccessKey = "", sessionToken = ""
        /// A file of profiles; `~/.aws/credentials` if empty.
        package var credentialsFile = ""
        package var profile = ""
        package var region = "us-east-1"
        /// How long roles are asked for, seconds; 0 for what the service has as its default.
        package var sessionSeconds: Int64 = 0
        /// How long before its end a pair is fetched anew, seconds.
        package var windowSeconds: Int64 = 300
        package var environment: [String: String] = [:]
        /// Where roles are asked for; AWS' own service of the region if empty.
        package var stsEndpoint = ""
        package init() {}
    }

    private struct Pair {
        var credentials: AWSCredentials
        /// Seconds since 1970; nil for one that stays.
        var end: Int64?
    }
    private struct State {
        var pair: Pair?
        /// When a failed look was; all who ask within a moment get that.
        var failure: (error: StoreError, at: Int64)?
    }

    private let settings: Settings
    private let client: HTTPClient
    private let state = Mutex(State())
    /// One look at a time.
    private let turns = TurnQueue()

    package init(_ settings: Settings) {
        self.settings = settings
        client = HTTPClient(connectSeconds: 2, stallSeconds: 10)
    }

    /// The pair to sign with now.
    /// - Throws: `.refused` if none is found.
    package func credentials() throws(StoreError) -> AWSCredentials {
        let now = Timestamp.now().seconds
        if let pair = state.withLock({ $0.pair }), pair.end.map({ $0 - now > settings.windowSeconds }) ?? true {
            return pair.credentials
        }
        do {
            return try turns.withTurn(of: "look") { try lookAgain() }
        } catch {
            // Until it has ended the one at hand will do.
            if let pair = state.withLock({ $0.pair }), let end = pair.end, end > Timestamp.now().seconds {
                return pair.credentials
            }
            throw error as? StoreError ?? StoreError(.refused, "\(error)")
        }
    }

    private func lookAgain() throws -> AWSCredentials {
        let now = Timestamp.now().seconds
        let (known, failure) = state.withLock { ($0.pair, $0.failure) }
        if let known, known.end.map({ $0 - now > settings.windowSeconds }) ?? true { return known.credentials }
        let monotonic = Timestamp.monotonicMilliseconds()
        if let failure, monotonic - failure.at < 1000 { throw failure.error }
        do {
            let pair = try look()
            state.withLock { ($0.pair, $0.failure) = (pair, nil) }
            return pair.credentials
        } catch {
            let error = error as? StoreError ?? StoreError(.refused, "no key pair for AWS: \(error)")
            state.withLock { $0.failure = (error, monotonic) }
            throw error
        }
    }

    /// Forgets a pair that was refused, so that what has come since is looked for.
    package func forget() { state.withLock { if $0.pair?.end != nil { $0.pair = nil } } }

    // MARK: looking

    private func look() throws -> Pair {
        if !settings.accessKeyID.isEmpty {
            return pair(settings.accessKeyID, settings.secretAccessKey, settings.sessionToken)
        }
        let environment = settings.environment
        let isNamed = !settings.profile.isEmpty || !settings.credentialsFile.isEmpty
        if isNamed, let found = try profile(settings.profile.isEmpty ? "default" : settings.profile, depth: 0) {
            return found
        }
        if let id = environment["AWS_ACCESS_KEY_ID"], let secret = environment["AWS_SECRET_ACCESS_KEY"] {
            return pair(id, secret, environment["AWS_SESSION_TOKEN"] ?? "")
        }
        if let file = environment["AWS_WEB_IDENTITY_TOKEN_FILE"], let role = environment["AWS_ROLE_ARN"] {
            return try webIdentity(file, role, environment["AWS_ROLE_SESSION_NAME"])
        }
        if !isNamed, let found = try profile(environment["AWS_PROFILE"] ?? "default", depth: 0) { return found }
        if let path = environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] {
            return try container("http://169.254.170.2" + path)
        }
        if let url = environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"] { return try container(url) }
        if environment["AWS_EC2_METADATA_DISABLED"] != "true", let found = try machine() { return found }
        throw StoreError(
            .refused,
            "no key pair for AWS was found: give one in the configuration, by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in ~/.aws/credentials"
        )
    }

    private func pair(_ id: String, _ secret: String, _ token: String, end: Int64? = nil) -> Pair {
        Pair(
            credentials: AWSCredentials(
                accessKeyID: id, secretAccessKey: secret, region: settings.region, sessionToken: token), end: end)
    }

    // MARK: profiles

    /// A profile of the files: a pair, or a role that another one assumes. Nil if there is none of that name.
    private func profile(_ name: String, depth: Int) throws -> Pair? {
        guard depth < 5 else { throw StoreError(.refused, "the profile '\(name)' of AWS names itself as its source") }
        let home = (settings.environment["HOME"] ?? "") + "/.aws/"
        let environment = settings.environment
        let file =
            settings.credentialsFile.isEmpty
            ? environment["AWS_SHARED_CREDENTIALS_FILE"] ?? home + "credentials" : settings.credentialsFile
        var values = Self.section(name, of: try Self.text(file, isWanted: !settings.credentialsFile.isEmpty)) ?? [:]
        let more = try Self.text(environment["AWS_CONFIG_FILE"] ?? home + "config", isWanted: false)
        for (key, value) in Self.section(name == "default" ? name : "profile \(name)", of: more) ?? [:] {
            if values[key] == nil { values[key] = value }
        }
        guard !values.isEmpty else {
            guard settings.profile != name else {
                throw StoreError(.refused, "there is no profile '\(name)' in \(file)")
            }
            return nil
        }
        if let role = values["role_arn"] {
            if let file = values["web_identity_token_file"] {
                return try webIdentity(file, role, values["role_session_name"])
            }
            guard let source = try profile(values["source_profile"] ?? "default", depth: depth + 1) else {
                throw StoreError(.refused, "the profile '\(name)' names no source_profile that there is")
            }
            var query = [("RoleArn", role), ("RoleSessionName", values["role_session_name"] ?? "lakefuse")]
            if let id = values["external_id"] { query.append(("ExternalId", id)) }
            return try assume("AssumeRole", query, signedBy: source.credentials)
        }
        guard let id = values["aws_access_key_id"], let secret = values["aws_secret_access_key"] else { return nil }
        return pair(id, secret, values["aws_session_token"] ?? "")
    }

    private static func text(_ path: String, isWanted: Bool) throws(StoreError) -> String {
        let home = FileManager.default.homeDirectoryForCurrentUser.path()
        let path = path.hasPrefix("~/") ? home + path.dropFirst(2) : path
        guard let data = FileManager.default.contents(atPath: path) else {
            guard !isWanted else { throw StoreError(.refused, "the file of key pairs \(path) cannot be read") }
            return ""
        }
        return String(decoding: data, as: UTF8.self)
    }

    /// The values of a section `[name]`, with lower-case names; nil if there is none.
    static func section(_ name: String, of text: String) -> [String: String]? {
        var found: [String: String]?
        var isInside = false
        for line in text.split(whereSeparator: \.isNewline) {
            let line = String(line).trimmingSpaces
            if line.hasPrefix("["), let end = line.firstIndex(of: "]") {
                isInside = String(line[line.index(after: line.startIndex)..<end]).trimmingSpaces == name
                if isInside, found == nil { found = [:] }
            } else if isInside, !line.hasPrefix("#"), !line.hasPrefix(";"), let mark = line.firstIndex(of: "=") {
                found![String(line[..<mark]).trimmingSpaces.lowercased()] =
                    String(line[line.index(after: mark)...]).trimmingSpaces
            }
        }
        return found
    }

    // MARK: services

    private func webIdentity(_ file: String, _ role: String, _ name: String?) throws -> Pair {
        let token = try Self.text(file, isWanted: true).trimmingSpaces
        return try assume(
            "AssumeRoleWithWebIdentity",
            [("RoleArn", role), ("RoleSessionName", name ?? "lakefuse"), ("WebIdentityToken", token)], signedBy: nil)
    }

    /// Source: AWS Security Token Service API reference.
    private func assume(_ action: String, _ fields: [(String, String)], signedBy keys: AWSCredentials?) throws -> Pair {
        var fields = [("Action", action), ("Version", "2011-06-15")] + fields
        if settings.sessionSeconds > 0 { fields.append(("DurationSeconds", "\(settings.sessionSeconds)")) }
        let endpoint =
            !settings.stsEndpoint.isEmpty
            ? settings.stsEndpoint
            : settings.environment["AWS_ENDPOINT_URL_STS"] ?? "https://sts.\(settings.region).amazonaws.com"
        let body = Array(URIEncoding.query(of: fields).utf8)
        var headers = [("content-type", "application/x-www-form-urlencoded")]
        var url = endpoint + "/"
        if let keys {
            (url, headers) = keys.sign(
                "POST", endpoint: endpoint, path: [0x2f], headers: headers, body: body, service: "sts")
        }
        let answer = try client.fetch("POST", url, headers: headers, body: body)
        guard answer.status == 200, let root = XMLElement.parse(answer.body),
            let found = root.first(action + "Result")?.first("Credentials"), let id = found.value("AccessKeyId"),
            let secret = found.value("SecretAccessKey")
        else {
            let words = XMLElement.parse(answer.body)?.first("Error")?.value("Message") ?? answer.statusLine
            throw StoreError(.refused, "AWS does not let this server take its role: \(words)")
        }
        return pair(
            id, secret, found.value("SessionToken") ?? "",
            end: found.value("Expiration").flatMap { Timestamp(rfc3339: $0)?.seconds })
    }

    /// What containers and machines answer.
    private struct Told: Decodable {
        let AccessKeyId: String, SecretAccessKey: String
        let Token: String?, Expiration: String?
    }

    private func pair(_ answer: HTTPClient.Answer, of whom: String) throws -> Pair {
        guard answer.status == 200, let told = try? JSONDecoder().decode(Told.self, from: Data(answer.body)) else {
            throw StoreError(.refused, "\(whom) has no key pair for AWS: \(answer.statusLine)")
        }
        return pair(
            told.AccessKeyId, told.SecretAccessKey, told.Token ?? "",
            end: told.Expiration.flatMap { Timestamp(rfc3339: $0)?.seconds })
    }

    private func container(_ url: String) throws -> Pair {
        var headers: [(String, String)] = []
        if let token = settings.environment["AWS_CONTAINER_AUTHORIZATION_TOKEN"] {
            headers.append(("Authorization", token))
        } else if let file = settings.environment["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] {
            headers.append(("Authorization", try Self.text(file, isWanted: true).trimmingSpaces))
        }
        return try pair(client.fetch("GET", url, headers: headers), of: "the container")
    }

    /// Source: EC2 user guide, "Use the Instance Metadata Service" (version 2). Nil where there is no such service.
    private func machine() throws -> Pair? {
        let base = settings.environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] ?? "http://169.254.169.254"
        let token: HTTPClient.Answer
        do {
            unsafe token = try client.send(
                "PUT", base + "/latest/api/token", headers: [("X-aws-ec2-metadata-token-ttl-seconds", "21600")],
                milliseconds: 1000)
        } catch is TransportError { return nil }
        guard token.status == 200 else { return nil }
        let headers = [("X-aws-ec2-metadata-token", String(decoding: token.body, as: UTF8.self))]
        let folder = base + "/latest/meta-data/iam/security-credentials/"
        let role = try client.fetch("GET", folder, headers: headers)
        guard role.status == 200,
            let name = String(decoding: role.body, as: UTF8.self).split(whereSeparator: \.isNewline).first
        else { return nil }
        return try pair(client.fetch("GET", folder + name, headers: headers), of: "the machine's role \(name)")
    }
}

extension String {
    fileprivate var trimmingSpaces: String {
        let head = drop { $0.isWhitespace }
        return String(head.dropLast(head.reversed().prefix { $0.isWhitespace }.count))
    }
}
