import CacheStore
import FoundationEssentials
import Foundations
import Glibc
import LakeFUSE
import LakeLocalServer
import S3Backend
import Transport
import Versioning

/// What a server runs with. Defaults stand beside the properties; names of keys are lakeFS's where it has one.
struct Configuration {
    /// Everything the server keeps lies under this folder unless a key says otherwise.
    var dataDirectory = ".lakefuse"
    /// `listen_address`: HOST:PORT; port 0 is any free one. Loopback, unlike lakeFS: a lake on a laptop is its owner's.
    var listenAddress = "127.0.0.1:8000"
    /// `database.type`: `sqlite` (also by lakeFS's name for its embedded store, `local`), `mem`, or an engine that many
    /// servers share: `postgres`, `dynamodb`, `cosmosdb`.
    var databaseType = "sqlite"
    /// `database.sqlite.path`: a file; `<data>/lake.db` if empty.
    var databasePath = ""
    /// `database.postgres.*`.
    var postgres = PostgresStore.Settings()
    /// `database.dynamodb.*`. Without a key pair, what Amazon's own clients look for.
    var dynamoDB = DynamoDBStore.Settings()
    var dynamoDBIdentity = AWSIdentity.Settings()
    /// `database.cosmosdb.*`. Without a key, the machine's identity.
    var cosmosDB = CosmosDBStore.Settings()
    /// `blockstore.*`: the only store of objects.
    var blockstore = Blockstore()
    /// `blockstores.stores`: several, in its place. The first that is `backward_compatible`, or the first of all, is that
    /// of repositories which name none.
    var blockstores: [Blockstore] = []
    /// Those in use, the one of repositories which name none first.
    var stores: [Blockstore] {
        guard let first = blockstores.firstIndex(where: \.isBackwardCompatible) ?? blockstores.indices.first else {
            return [blockstore]
        }
        return [blockstores[first]] + blockstores.indices.filter { $0 != first }.map { blockstores[$0] }
    }
    /// `blockstore.signing.secret_key`: signs upload addresses; made up and kept in `<data>/secrets` if empty.
    var signingSecret = ""
    /// `auth.encrypt.secret_key`: encrypts stored secrets and signs tokens; made up and kept in `<data>/secrets` if
    /// empty.
    var encryptSecret = ""
    /// `installation.user_name`, `.access_key_id`, `.secret_access_key`: the first user of an empty lake.
    var userName = "admin", accessKeyID = "", secretAccessKey = ""
    /// `installation.make_first_user`: whether that user is made at start; otherwise by whoever asks first
    /// (`POST /setup_lakefs`).
    var makesFirstUser = true
    /// `gateways.s3.create_repositories`.
    var createsRepositories = false
    /// `gateways.s3.abandoned_upload_hours`: after how many without a part an upload in parts is ended.
    var abandonedUploadHours = 7 * 24
    /// `gateways.s3.fallback_url`: another S3 server, which gets requests for buckets that are no repositories.
    var s3FallbackURL = ""
    /// `gateways.s3.region`, `gateways.s3.domain_name` (comma-separated).
    var region = "us-east-1", s3Domains = ["s3.local.lakefs.io"]
    /// `committed.sstable.memory.cache_size_bytes`: decoded blocks of tables to keep, bytes.
    var cacheBytes = 64 << 20
    /// `committed.local_cache.dir`, `committed.local_cache.size_bytes`: blocks of objects that are elsewhere, on the local
    /// disk; `<data>/cache` if empty. Not used where the objects are files here.
    var diskCacheFolder = "", diskCacheBytes = 1 << 30
    /// `logging.level`, `logging.format`, and at which level each request has its line: `logging.audit_log_level`.
    var logLevel = Log.Level.info, logFormatName = "text", accessLogLevel = Log.Level.debug
    /// `logging.output`: `=` for standard error, `-` for standard output, else a file, opened anew on SIGHUP.
    var logOutput = "="
    /// `logging.file_max_size_mb`, `logging.files_keep`: when the log's file is turned (MiB; 0 for never), and how many
    /// such files stay. Less than lakeFS keeps, whose ten TiB are no bound.
    var logFileMegabytes = 1024, logFilesKept = 10
    /// `limits.memory_bytes`: what requests under way may hold in memory, all together: bodies that are read whole,
    /// answers that wait.
    var memoryBytes = 128 << 20
    /// `limits.connections`, `limits.connections_per_address`, `limits.idle_seconds`, `limits.head_seconds`,
    /// `limits.progress_seconds`.
    var limits = HTTPServer.Limits()
    /// `mounts.allowed_folders` (comma-separated): where REST may mount on this machine. None: where whoever asks over
    /// the loopback, as the server's own user, owns the folder.
    var mountFolders: [String] = []
    /// `mounts.passthrough`, `mounts.directory_cache`, `mounts.events`, `mounts.read_ahead_kib`: what of the kernel's
    /// offers mounts take.
    var levers = Levers(announcesEvents: true)
    /// `blockstore.verify_reads`: whole reads are held against their checksums; large objects are then read twice.
    var verifiesReads = false
    /// `committed.permanent.*` (`lakefs-formats.md` 4.2).
    var ranges = CommittedStore.Parameters()

    /// `tls.enabled`, `tls.cert_file`, `tls.key_file`: HTTPS with a certificate chain and its key, in PEM; read anew on
    /// SIGHUP.
    var isTLS = false, certificateFile = "", certificateKeyFile = ""
    /// `cors.allowed_origins` (comma-separated; `*` for all): whose pages may call REST and S3 from a browser.
    var allowedOrigins: [String] = []
    /// `auth.login_duration`, `auth.login_max_duration`: how long a login lasts, and what may be asked for, in seconds.
    var loginSeconds: Int64 = 7 * 24 * 3600, longestLoginSeconds: Int64 = 14 * 24 * 3600
    /// `auth.ui_config.login_failed_message`.
    var loginFailedMessage = "The credentials don't match."
    /// `auth.external_aws_auth.sts_endpoint`: where roles of AWS are asked for; empty for AWS' own service.
    var stsEndpoint = ""
    /// `auth.external_aws_auth.server_names` (comma-separated): what clients call this server by, when they log in as a
    /// role of AWS; what they signed for another one is refused.
    var serverNames = ["localhost", "127.0.0.1"]

    /// `auth.remote_authenticator.*`.
    var isRemoteAuthenticated = false
    var remoteAuthenticator = RemoteAuthenticator.Settings(endpoint: "", group: "Viewers", timeoutSeconds: 10)
    /// `auth.ldap.*`: users and groups of a directory, where there is a `server_endpoint`.
    var ldap = DirectoryAuthenticator.Settings()
    /// `auth.oidc.*`: an identity provider, where there is a `url`.
    var oidc = OpenIDConnect.Settings()

    /// `actions.*`: hooks. `actions.env.enabled`, `actions.env.prefix`, `actions.lua.net_http_enabled` are lakeFS's; ours are
    /// what scripts may use and how long runs are kept.
    var actions = ActionRunner.Settings()

    static let settings: [Setting] =
        [
            .text("data", \.dataDirectory),
            .text("listen_address", \.listenAddress),
            .choice("database.type", \.databaseType, ["sqlite", "local", "mem", "postgres", "dynamodb", "cosmosdb"]),
            .text("database.sqlite.path", \.databasePath),
            .secret("database.postgres.connection_string", \.postgres.address),
            .number("database.postgres.max_open_connections", \.postgres.mostOpenConnections, 2, most: 1000),
            .number("database.postgres.max_idle_connections", \.postgres.mostIdleConnections, most: 1000),
            .duration("database.postgres.connection_max_lifetime", \.postgres.lifetimeSeconds),
            .text("database.dynamodb.table_name", \.dynamoDB.table),
            .address("database.dynamodb.endpoint", \.dynamoDB.endpoint),
            .text("database.dynamodb.aws_region", \.dynamoDB.region),
            .text("database.dynamodb.aws_profile", \.dynamoDBIdentity.profile),
            .text("database.dynamodb.aws_access_key_id", \.dynamoDBIdentity.accessKeyID),
            .secret("database.dynamodb.aws_secret_access_key", \.dynamoDBIdentity.secretAccessKey),
            .number("database.dynamodb.scan_limit", \.dynamoDB.pageSize, 1, most: 10_000),
            .number("database.dynamodb.max_attempts", \.dynamoDB.mostAttempts, 1, most: 100),
            .address("database.cosmosdb.endpoint", \.cosmosDB.endpoint),
            .secret("database.cosmosdb.key", \.cosmosDB.key),
            .text("database.cosmosdb.database", \.cosmosDB.database),
            .text("database.cosmosdb.container", \.cosmosDB.container),
            .secret("blockstore.signing.secret_key", \.signingSecret),
            .flag("blockstore.verify_reads", \.verifiesReads),
            .secret("auth.encrypt.secret_key", \.encryptSecret),
            .duration("auth.login_duration", \.loginSeconds),
            .duration("auth.login_max_duration", \.longestLoginSeconds),
            .text("auth.ui_config.login_failed_message", \.loginFailedMessage),
            .address("auth.external_aws_auth.sts_endpoint", \.stsEndpoint),
            .list("auth.external_aws_auth.server_names", \.serverNames),
            .flag("auth.remote_authenticator.enabled", \.isRemoteAuthenticated),
            .address("auth.remote_authenticator.endpoint", \.remoteAuthenticator.endpoint),
            .text("auth.remote_authenticator.default_user_group", \.remoteAuthenticator.group),
            .duration("auth.remote_authenticator.request_timeout", \.remoteAuthenticator.timeoutSeconds),
            .text("auth.ldap.server_endpoint", \.ldap.endpoint),
            .text("auth.ldap.bind_dn", \.ldap.bindName),
            .secret("auth.ldap.bind_password", \.ldap.bindPassword),
            .text("auth.ldap.username_attribute", \.ldap.userAttribute),
            .text("auth.ldap.user_base_dn", \.ldap.userBase),
            .text("auth.ldap.user_filter", \.ldap.userFilter),
            .text("auth.ldap.group_base_dn", \.ldap.groupBase),
            .text("auth.ldap.group_member_attribute", \.ldap.memberAttribute),
            .text("auth.ldap.group_name_attribute", \.ldap.groupAttribute),
            .text("auth.ldap.default_user_group", \.ldap.defaultGroup),
            .address("auth.oidc.url", \.oidc.issuer),
            .text("auth.oidc.client_id", \.oidc.clientID),
            .secret("auth.oidc.client_secret", \.oidc.clientSecret),
            .address("auth.oidc.callback_base_url", \.oidc.callbackBase),
            .list("auth.oidc.scopes", \.oidc.scopes),
            .text("auth.oidc.username_claim_name", \.oidc.nameClaim),
            .text("auth.oidc.friendly_name_claim_name", \.oidc.friendlyNameClaim),
            .text("auth.oidc.initial_groups_claim_name", \.oidc.groupsClaim),
            .list("auth.oidc.default_initial_groups", \.oidc.defaultGroups),
            .flag("installation.make_first_user", \.makesFirstUser),
            .text("installation.user_name", \.userName),
            .text("installation.access_key_id", \.accessKeyID),
            .secret("installation.secret_access_key", \.secretAccessKey),
            .flag("tls.enabled", \.isTLS),
            .text("tls.cert_file", \.certificateFile),
            .text("tls.key_file", \.certificateKeyFile),
            .list("cors.allowed_origins", \.allowedOrigins),
            .text("gateways.s3.region", \.region),
            .list("gateways.s3.domain_name", \.s3Domains),
            .address("gateways.s3.fallback_url", \.s3FallbackURL),
            .flag("gateways.s3.create_repositories", \.createsRepositories),
            .number("gateways.s3.abandoned_upload_hours", \.abandonedUploadHours, 1, most: 1 << 20),
            .number("committed.sstable.memory.cache_size_bytes", \.cacheBytes),
            .text("committed.local_cache.dir", \.diskCacheFolder),
            .number("committed.local_cache.size_bytes", \.diskCacheBytes, 16 << 20),
            .number("committed.permanent.min_range_size_bytes", \.ranges.minRangeSizeBytes),
            .number("committed.permanent.max_range_size_bytes", \.ranges.maxRangeSizeBytes, 1),
            .number("committed.permanent.range_raggedness_entries", \.ranges.raggednessEntries, 1),
            .level("logging.level", \.logLevel),
            .level("logging.audit_log_level", \.accessLogLevel),
            .choice("logging.format", \.logFormatName, ["text", "json"]),
            .text("logging.output", \.logOutput),
            .number("logging.file_max_size_mb", \.logFileMegabytes, most: 1 << 30),
            .number("logging.files_keep", \.logFilesKept, most: 10_000),
            .number("limits.memory_bytes", \.memoryBytes, 16 << 20),
            .number("limits.connections", \.limits.connections, 16),
            .number("limits.connections_per_address", \.limits.connectionsPerAddress, 1),
            .number("limits.idle_seconds", \.limits.idleSeconds, 1, most: 86_400),
            .number("limits.head_seconds", \.limits.headSeconds, 1, most: 86_400),
            .number("limits.progress_seconds", \.limits.progressSeconds, 1, most: 86_400),
            .flag("actions.enabled", \.actions.isEnabled),
            .flag("actions.env.enabled", \.actions.environment.isEnabled),
            .text("actions.env.prefix", \.actions.environment.prefix),
            .flag("actions.lua.net_http_enabled", \.actions.isHTTPEnabled),
            .number("actions.lua.max_memory_bytes", \.actions.lua.memoryBytes, 1 << 20, most: 8 << 30),
            .number("actions.lua.max_instructions", \.actions.lua.instructions, 1_000_000),
            .duration("actions.lua.max_duration", \.actions.lua.seconds),
            .duration("actions.lua.max_processor_time", \.actions.lua.processorSeconds),
            .number("actions.lua.max_scripts", \.actions.lua.atOnce, 1, most: 256),
            .duration("actions.runs_max_age", \.actions.longestKept),
            .number("actions.runs_max_count", \.actions.mostKept, 1),
            .list("mounts.allowed_folders", \.mountFolders),
            .flag("mounts.passthrough", \.levers.passthrough),
            .flag("mounts.directory_cache", \.levers.directoryCache),
            .flag("mounts.events", \.levers.announcesEvents),
            .number("mounts.read_ahead_kib", \.levers.readAheadKiB, most: 1 << 20),
        ] + Blockstore.settings

    /// Where each value that is no default came from.
    private(set) var origins: [String: String] = [:]
    /// What was passed over, with where it stands.
    private(set) var passedOver: [(key: String, origin: String)] = []

    private static let storePrefix = "blockstores.stores["
    private static let mostStores = 100

    /// A setting of an item of `blockstores.stores`: as it is under `blockstore`.
    private mutating func setStore(_ key: String, _ value: String, from origin: String) throws {
        let rest = key.dropFirst(Self.storePrefix.count)
        guard let end = rest.firstIndex(of: "]"), let index = Int(rest[..<end]), index < Self.mostStores,
            rest[end...].hasPrefix("].")
        else { throw LakeError(.invalidValue, "configuration key '\(key)' is not known (\(origin))") }
        let name = String(rest[end...].dropFirst(2))
        while blockstores.count <= index { blockstores.append(Blockstore()) }
        origins[key] = origin
        switch name {
        case "id": blockstores[index].id = value
        case "description": blockstores[index].description = value
        case "backward_compatible": blockstores[index].isBackwardCompatible = value == "true"
        default:
            var one = Configuration()
            one.blockstore = blockstores[index]
            try one.set("blockstore." + name, value, from: origin)
            blockstores[index] = one.blockstore
            passedOver += one.passedOver
        }
    }

    private static let claims = "auth.oidc.validate_id_token_claims."

    /// Sets one key from text.
    private mutating func set(_ key: String, _ value: String, from origin: String) throws {
        if key.hasPrefix(Self.claims) {
            oidc.requiredClaims[String(key.dropFirst(Self.claims.count))] = value
            origins[key] = origin
            return
        }
        if key.hasPrefix(Self.storePrefix) { return try setStore(key, value, from: origin) }
        if key == "blockstores.signing.secret_key" {
            signingSecret = value
            origins["blockstore.signing.secret_key"] = origin
            return
        }
        guard let setting = Self.settings.first(where: { $0.key == key }) else {
            if Setting.passedOver.contains(where: { key.hasPrefix($0) }) {
                return passedOver.append((key, origin))
            }
            throw LakeError(.invalidValue, "configuration key '\(key)' is not known (\(origin))")
        }
        do throws(Setting.Reason) { try setting.set(&self, value) } catch {
            throw LakeError(
                .invalidValue,
                "configuration key \(key): \(setting.isSecret ? "the value" : "'\(value)'") \(error.text)")
        }
        origins[key] = origin
    }

    /// Where the log is written to. Called anew, files are opened anew.
    func openLog() throws {
        let output: Log.Output =
            switch logOutput {
            case "=": .descriptor(2)
            case "-": .descriptor(1)
            default:
                .file(path: Files.absolute(logOutput), mostBytes: Int64(logFileMegabytes) << 20, kept: logFilesKept)
            }
        try Log.configure(level: logLevel, format: logFormatName == "json" ? .json : .text, output: output)
    }

    /// Reads the certificate, where there is to be one. Called anew, it is read anew.
    func loadCertificate() throws {
        guard isTLS else { return }
        guard !certificateFile.isEmpty, !certificateKeyFile.isEmpty else {
            throw LakeError(.invalidValue, "tls.enabled needs tls.cert_file and tls.key_file")
        }
        try TLSCertificate.load(
            certificateFile: Files.absolute(certificateFile), keyFile: Files.absolute(certificateKeyFile))
    }

    private mutating func note(environment: [String: String]) {
        blockstore.note(environment: environment)
        for index in blockstores.indices { blockstores[index].note(environment: environment) }
        dynamoDBIdentity.environment = environment
    }

    /// Whether several servers may work on the records.
    var isShared: Bool { !["sqlite", "local", "mem"].contains(databaseType) }

    /// Refuses settings that want others.
    func check() throws {
        func require(_ holds: Bool, _ reason: String) throws {
            guard holds else { throw LakeError(.invalidValue, reason) }
        }
        try require(
            !isShared || !encryptSecret.isEmpty,
            "database.type \(databaseType) needs auth.encrypt.secret_key, the same for all servers that share the database"
        )
        try require(
            databaseType != "cosmosdb"
                || !(cosmosDB.endpoint.isEmpty || cosmosDB.database.isEmpty || cosmosDB.container.isEmpty),
            "database.type cosmosdb needs database.cosmosdb.endpoint, .database and .container")
        for store in stores {
            try require(
                store.type != "azure" || !store.azure.account.isEmpty, "blockstore.type azure needs storage_account")
        }
        let ids = blockstores.map(\.id)
        try require(
            Set(ids).count == ids.count && (ids.count < 2 || !ids.contains("")),
            "blockstores.stores: each needs an id of its own")
        try require(
            blockstores.filter { $0.type == "local" }.count <= 1, "blockstores.stores: one may be of the type local")
        try require(
            databaseType != "postgres" || !postgres.address.isEmpty,
            "database.type postgres needs database.postgres.connection_string, such as postgres://USER:PASSWORD@HOST:5432/DATABASE"
        )
        try require(
            !isRemoteAuthenticated || !remoteAuthenticator.endpoint.isEmpty,
            "auth.remote_authenticator.enabled needs auth.remote_authenticator.endpoint")
        try require(
            ldap.endpoint.isEmpty || ldap.endpoint.hasPrefix("ldap://") || ldap.endpoint.hasPrefix("ldaps://"),
            "auth.ldap.server_endpoint '\(ldap.endpoint)' is no address of a directory: ldap://HOST:PORT is one")
        try require(
            oidc.issuer.isEmpty || (!oidc.clientID.isEmpty && !oidc.callbackBase.isEmpty),
            "auth.oidc.url needs auth.oidc.client_id and auth.oidc.callback_base_url")
    }

    /// Says which settings have no meaning here.
    func tellPassedOver() {
        for (key, origin) in passedOver {
            Log.warning("a setting has no meaning here and is passed over", ["key": key, "origin": origin])
        }
    }

    /// The folder of the objects, where they are files.
    func objectsFolder(in directory: DataDirectory) -> String {
        (stores.first { $0.type == "local" } ?? blockstore).folder(in: directory)
    }

    /// Where mounts keep what is not published yet: on the objects' own disk, where there is one, so that publishing is a
    /// rename.
    func stagingFolder(in directory: DataDirectory) -> String {
        stores[0].type == "local" ? objectsFolder(in: directory) + "/.staging" : directory.path + "/staging"
    }

    /// The file of the embedded database.
    func databaseFile(in directory: DataDirectory) -> String {
        databasePath.isEmpty ? directory.path + "/lake.db" : Files.absolute(databasePath)
    }

    /// Folders that hold secrets and records: no import reads them.
    func closedFolders(in directory: DataDirectory) -> [String] {
        let database = databaseFile(in: directory)
        return [directory.path, String(database[..<(database.lastIndex(of: "/") ?? database.endIndex)])]
    }

    /// What a file says alone.
    static func load(file: String) throws -> Configuration {
        var configuration = Configuration()
        for (key, value) in try YAML.flatten(Files.read(file), file: file) {
            try configuration.set(key, value, from: file)
        }
        return configuration
    }

    /// What a command's flags and environment say: the file's keys, then the environment's (`LAKEFUSE_...` before
    /// `LAKEFS_...`), then flags.
    static func load(_ invocation: Invocation) throws -> Configuration {
        var configuration = Configuration()
        if let file = invocation.value("config") {
            for (key, value) in try YAML.flatten(Files.read(file), file: file) {
                try configuration.set(key, value, from: file)
            }
        }
        for setting in settings {
            for name in ["LAKEFUSE_" + setting.environmentName, "LAKEFS_" + setting.environmentName] {
                guard let value = invocation.environment[name] else { continue }
                try configuration.set(setting.key, value, from: name)
                break
            }
        }
        // Names of claims have small letters and large ones, which the environment has not.
        let claims = Self.claims.uppercased().split(separator: ".").joined(separator: "_")
        if let name = invocation.environment.keys.first(where: {
            $0.hasPrefix("LAKEFUSE_" + claims) || $0.hasPrefix("LAKEFS_" + claims)
        }) {
            throw LakeError(.invalidValue, "\(name): claims that are asked for stand in the configuration file")
        }
        for name in invocation.environment.keys.sorted() where name.hasPrefix("LAKEFS_") {
            let key = name.dropFirst("LAKEFS_".count)
            let isPassedOver = Setting.passedOver.contains {
                key.hasPrefix(
                    $0.uppercased().split(separator: ".", omittingEmptySubsequences: false).joined(separator: "_"))
            }
            if isPassedOver { configuration.passedOver.append((String(key), name)) }
        }
        for (flag, key) in [("data", "data"), ("listen", "listen_address")] {
            if let value = invocation.value(flag) { try configuration.set(key, value, from: "--" + flag) }
        }
        configuration.actions.environment.variables = invocation.environment
        configuration.note(environment: invocation.environment)
        return configuration
    }

    /// The key pair of lakeFS's quickstart, which everybody knows.
    private static let quickstart = [
        ("installation.user_name", "quickstart"), ("installation.access_key_id", "AKIAIOSFOLQUICKSTART"),
        ("installation.secret_access_key", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ]

    /// `--local-settings` and `--quickstart`, for what nothing else says.
    mutating func setForTrial(_ invocation: Invocation) throws {
        guard invocation.has("quickstart") || invocation.has("local-settings") else { return }
        var standards = [("data", (invocation.environment["HOME"] ?? ".") + "/lakefuse")]
        if invocation.has("quickstart") { standards += Self.quickstart }
        for (key, value) in standards where origins[key] == nil { try set(key, value, from: "--quickstart") }
        Output.note("these settings are to try it with: everybody can know them")
    }

    /// Host and port of `listen_address`.
    var address: (host: String, port: UInt16) {
        get throws {
            guard let colon = listenAddress.lastIndex(of: ":"),
                let port = UInt16(listenAddress[listenAddress.index(after: colon)...])
            else {
                throw LakeError(.invalidValue, "listen address '\(listenAddress)' is not of the form HOST:PORT")
            }
            return (String(listenAddress[..<colon]), port)
        }
    }
}

/// Small files of the program's own.
enum Files {
    static func read(_ path: String) throws -> [UInt8] {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw LakeError(.invalidValue, unsafe "cannot read \(path): \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = unsafe Glibc.read(descriptor, &piece, piece.count)
            guard count >= 0 else {
                throw LakeError(.invalidValue, unsafe "cannot read \(path): \(String(cString: strerror(errno)))")
            }
            if count == 0 { return bytes }
            bytes += piece[..<count]
        }
    }

    /// What a command is to read, or - for its standard input.
    /// - Throws: `CommandError` in lakectl's words.
    static func input(_ path: String) throws -> [UInt8] {
        if FileStatus(path: path)?.isFolder == true { throw CommandError("read \(path): is a directory") }
        do { return try read(path == "-" ? "/dev/stdin" : path) } catch {
            let reason = LakeError(error).message
            let words = reason.split(separator: ": ").last.map { String($0).lowercased() } ?? reason
            throw CommandError("open \(path): \(words)")
        }
    }

    /// Writes a file whole: temporary file, sync, rename.
    static func write(_ bytes: [UInt8], to path: String, mode: mode_t) throws {
        func failure() -> LakeError {
            LakeError(
                errno == ENOSPC ? .noSpace : .unavailable,
                unsafe "cannot write \(path): \(String(cString: strerror(errno)))")
        }
        let temporary = path + ".new"
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw failure() }
        let written = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
        guard written == bytes.count, fsync(descriptor) == 0 else {
            let error = failure()
            close(descriptor)
            unsafe unlink(temporary)
            throw error
        }
        close(descriptor)
        guard unsafe rename(temporary, path) == 0 else { throw failure() }
    }

    static func makeFolder(_ path: String) throws {
        var prefix = path.hasPrefix("/") ? "/" : ""
        for part in path.split(separator: "/") {
            prefix += (prefix.isEmpty || prefix == "/" ? "" : "/") + part
            guard unsafe mkdir(prefix, 0o700) == 0 || errno == EEXIST else {
                throw LakeError(
                    .unavailable, unsafe "cannot make the folder \(prefix): \(String(cString: strerror(errno)))")
            }
        }
    }

    /// The absolute form of a path, symbolic links left as they are.
    static func absolute(_ path: String) -> String {
        guard !path.hasPrefix("/"), let current = unsafe getcwd(nil, 0) else { return path }
        defer { unsafe free(current) }
        var parts = unsafe String(cString: current).split(separator: "/")
        for part in path.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }
}
