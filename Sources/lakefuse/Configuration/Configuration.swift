import FoundationEssentials
import Foundations
import Glibc
import LakeFUSE
import LakeLocalServer
import Versioning

/// What a server runs with. Defaults stand beside the properties; names of keys are lakeFS's where it has one.
struct Configuration {
    /// Everything the server keeps lies under this folder unless a key says otherwise.
    var dataDirectory = ".lakefuse"
    /// `listen_address`: HOST:PORT; port 0 is any free one. Loopback, unlike lakeFS: a lake on a laptop is its owner's.
    var listenAddress = "127.0.0.1:8000"
    /// `database.type`: `sqlite` (also by lakeFS's name for its embedded store, `local`) or `mem`.
    var databaseType = "sqlite"
    /// `database.sqlite.path`: a file; `<data>/lake.db` if empty.
    var databasePath = ""
    /// `blockstore.type`: `local` or `mem`.
    var blockstoreType = "local"
    /// `blockstore.local.path`: a folder; `<data>/objects` if empty.
    var blockstorePath = ""
    /// `blockstore.local.import_enabled`, `blockstore.local.allowed_external_prefixes` (comma-separated folders): what
    /// imports may name.
    var isImportEnabled = false, allowedExternalPrefixes: [String] = []
    /// Folders outside of the store that may be read.
    var externalPrefixes: [String] { isImportEnabled ? allowedExternalPrefixes : [] }
    /// `blockstore.signing.secret_key`: signs upload addresses; made up and kept in `<data>/secrets` if empty.
    var signingSecret = ""
    /// `auth.encrypt.secret_key`: encrypts stored secrets and signs tokens; made up and kept in `<data>/secrets` if
    /// empty.
    var encryptSecret = ""
    /// `installation.user_name`, `.access_key_id`, `.secret_access_key`: the first user of an empty lake.
    var userName = "admin", accessKeyID = "", secretAccessKey = ""
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
    /// `logging.level`, `logging.format`, and at which level each request has its line: `logging.audit_log_level`.
    var logLevel = Log.Level.info, logFormat = Log.Format.text, accessLogLevel = Log.Level.debug
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

    /// Sets one key from text.
    private mutating func set(_ key: String, _ value: String) throws {
        func number(_ least: Int) throws -> Int {
            guard let number = Int(value), number >= least else {
                throw LakeError(
                    .invalidValue, "configuration key \(key): '\(value)' is not a number of at least \(least)")
            }
            return number
        }
        func seconds() throws -> UInt32 { UInt32(min(try number(1), 86_400)) }
        func choice(_ allowed: [String]) throws -> String {
            guard allowed.contains(value) else {
                throw LakeError(
                    .invalidValue,
                    "configuration key \(key): '\(value)' is not known: \(allowed.joined(separator: ", ")) are")
            }
            return value
        }
        func level() throws -> Log.Level {
            guard let level = Log.Level(name: value) else {
                throw LakeError(
                    .invalidValue,
                    "configuration key \(key): '\(value)' is not known: trace, debug, info, warn, error, none are")
            }
            return level
        }
        switch key {
        case "data": dataDirectory = value
        case "listen_address": listenAddress = value
        case "database.type": databaseType = try choice(["sqlite", "local", "mem"])
        case "database.sqlite.path": databasePath = value
        case "blockstore.type": blockstoreType = try choice(["local", "mem"])
        case "blockstore.local.path": blockstorePath = value
        case "blockstore.local.import_enabled": isImportEnabled = try choice(["true", "false"]) == "true"
        case "blockstore.local.allowed_external_prefixes":
            allowedExternalPrefixes = value.split(separator: ",").map(String.init)
        case "blockstore.signing.secret_key": signingSecret = value
        case "auth.encrypt.secret_key": encryptSecret = value
        case "installation.user_name": userName = value
        case "installation.access_key_id": accessKeyID = value
        case "installation.secret_access_key": secretAccessKey = value
        case "gateways.s3.region": region = value
        case "gateways.s3.create_repositories": createsRepositories = try choice(["true", "false"]) == "true"
        case "gateways.s3.abandoned_upload_hours": abandonedUploadHours = min(try number(1), 1 << 20)
        case "gateways.s3.fallback_url":
            guard value.isEmpty || value.hasPrefix("http://") || value.hasPrefix("https://") else {
                throw LakeError(
                    .invalidValue, "configuration key \(key): '\(value)' is no address: http://HOST:PORT is one")
            }
            s3FallbackURL = value
        case "gateways.s3.domain_name": s3Domains = value.split(separator: ",").map(String.init)
        case "committed.sstable.memory.cache_size_bytes": cacheBytes = try number(0)
        case "logging.level": logLevel = try level()
        case "logging.audit_log_level": accessLogLevel = try level()
        case "logging.format": logFormat = try choice(["text", "json"]) == "json" ? .json : .text
        case "logging.output": logOutput = value
        case "logging.file_max_size_mb": logFileMegabytes = min(try number(0), 1 << 30)
        case "logging.files_keep": logFilesKept = min(try number(0), 10_000)
        case "limits.memory_bytes": memoryBytes = try number(16 << 20)
        case "limits.connections": limits.connections = try number(16)
        case "limits.connections_per_address": limits.connectionsPerAddress = try number(1)
        case "limits.idle_seconds": limits.idleSeconds = try seconds()
        case "limits.head_seconds": limits.headSeconds = try seconds()
        case "limits.progress_seconds": limits.progressSeconds = try seconds()
        case "mounts.allowed_folders": mountFolders = value.split(separator: ",").map(String.init)
        case "mounts.passthrough": levers.passthrough = try choice(["true", "false"]) == "true"
        case "mounts.directory_cache": levers.directoryCache = try choice(["true", "false"]) == "true"
        case "mounts.events": levers.announcesEvents = try choice(["true", "false"]) == "true"
        case "mounts.read_ahead_kib": levers.readAheadKiB = min(try number(0), 1 << 20)
        case "blockstore.verify_reads": verifiesReads = try choice(["true", "false"]) == "true"
        case "committed.permanent.min_range_size_bytes": ranges.minRangeSizeBytes = try number(0)
        case "committed.permanent.max_range_size_bytes": ranges.maxRangeSizeBytes = try number(1)
        case "committed.permanent.range_raggedness_entries": ranges.raggednessEntries = UInt64(try number(1))
        default: throw LakeError(.invalidValue, "configuration key '\(key)' is not known")
        }
    }

    /// What a command's flags and environment say.
    static func load(_ invocation: Invocation) throws -> Configuration {
        var configuration = try load(file: invocation.value("config"), environment: invocation.environment)
        if let data = invocation.value("data") { configuration.dataDirectory = data }
        return configuration
    }

    /// Has the log be as it is told to be. Called again, it opens the log's file anew: the old one may have been moved
    /// away.
    func openLog() throws {
        let output: Log.Output =
            switch logOutput {
            case "=": .descriptor(2)
            case "-": .descriptor(1)
            default:
                .file(path: Files.absolute(logOutput), mostBytes: Int64(logFileMegabytes) << 20, kept: logFilesKept)
            }
        try Log.configure(level: logLevel, format: logFormat, output: output)
    }

    /// The folder of the objects, where they are files.
    func objectsFolder(in directory: DataDirectory) -> String {
        blockstorePath.isEmpty ? directory.path + "/objects" : Files.absolute(blockstorePath)
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

    /// All keys: what the environment is searched for.
    static let keys = [
        "data", "listen_address", "database.type", "database.sqlite.path", "blockstore.type", "blockstore.local.path",
        "blockstore.local.import_enabled",
        "blockstore.local.allowed_external_prefixes", "blockstore.signing.secret_key", "auth.encrypt.secret_key",
        "installation.user_name", "installation.access_key_id", "installation.secret_access_key", "gateways.s3.region",
        "gateways.s3.domain_name", "gateways.s3.create_repositories", "gateways.s3.abandoned_upload_hours",
        "gateways.s3.fallback_url",
        "logging.level", "logging.audit_log_level", "logging.format", "logging.output", "logging.file_max_size_mb",
        "logging.files_keep",
        "limits.memory_bytes", "limits.connections", "limits.connections_per_address", "limits.idle_seconds",
        "limits.head_seconds", "limits.progress_seconds", "mounts.allowed_folders",
        "mounts.passthrough", "mounts.directory_cache", "mounts.events", "mounts.read_ahead_kib",
        "blockstore.verify_reads",
        "committed.sstable.memory.cache_size_bytes", "committed.permanent.min_range_size_bytes",
        "committed.permanent.max_range_size_bytes", "committed.permanent.range_raggedness_entries",
    ]

    /// The file's keys, then the environment's (`LAKEFUSE_…` before `LAKEFS_…`).
    static func load(file: String?, environment: [String: String]) throws -> Configuration {
        var configuration = Configuration()
        if let file {
            for (key, value) in try YAML.flatten(Files.read(file), file: file) { try configuration.set(key, value) }
        }
        for key in keys {
            let name = key.uppercased().split(separator: ".").joined(separator: "_")
            if let value = environment["LAKEFUSE_" + name] ?? environment["LAKEFS_" + name] {
                try configuration.set(key, value)
            }
        }
        return configuration
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
        return unsafe String(cString: current) + "/" + path
    }
}
