import CacheStore
import FoundationEssentials
import Foundations
import Glibc
import LakeAPI
import Versioning

extension Command {
    static let keyValueCommands: [Command] = [
        Command(
            path: ["kv", "load"], arguments: ["<file>"], optional: 1,
            summary:
                "Load the records of 'lakefs kv dump' or 'lakefs kv scan', or of 'lakefuse kv dump' (- for standard input)",
            example: "lakefuse kv load dump.json --data new-lake",
            flags: [
                .stoppedData, .serverConfiguration,
                Flag(name: "input", value: "FILE", description: "the same as the argument, as lakeFS has it"),
                Flag(
                    name: "strategy", value: "NAME", standard: "overwrite",
                    description: "what becomes of records that are there: overwrite, or skip"),
            ]
        ) { invocation in
            guard let file = invocation.arguments.first ?? invocation.value("input") else {
                throw UsageError("accepts 1 arg(s), received 0")
            }
            guard let strategy = invocation.value("strategy"), ["overwrite", "skip"].contains(strategy) else {
                throw CommandError("strategy '\(invocation.value("strategy") ?? "")' is none: overwrite and skip are")
            }
            try withStore(invocation, mayMake: true) { store in
                var loader = RecordLoader(store: store, skips: strategy == "skip")
                try loader.load(file)
                guard loader.loaded + loader.passedOver + loader.skipped > 0 else {
                    throw LakeError(.invalidValue, "\(file) holds no records")
                }
                Output.line(
                    "loaded \(loader.loaded) records" + (loader.skipped > 0 ? ", \(loader.skipped) were there" : "")
                        + (loader.passedOver > 0
                            ? ", passed over \(loader.passedOver) that are shown without their bytes" : ""))
                Output.line(
                    "key pairs among them open with the auth.encrypt.secret_key that they were stored with: set it, or copy DIR/secrets of a lakefuse"
                )
                for name in try orphans(store) {
                    Output.write(
                        "warning: no record of the repository behind '\(name)': load the output of 'lakefs kv scan graveler' too\n",
                        to: 2)
                }
            }
        },
        Command(
            path: ["kv", "dump"], summary: "Write all records as the document of 'lakefs kv dump'",
            example: "lakefuse kv dump --data lake --output dump.json",
            flags: [
                .stoppedData, .serverConfiguration,
                Flag(name: "output", short: "o", value: "FILE", description: "where to (default standard output)"),
            ]
        ) { invocation in
            try withStore(invocation) { store in try dump(store, to: invocation.value("output")) }
        },
        Command(
            path: ["kv", "get"], arguments: ["<partition>", "<key>"], summary: "Show one record, its value in base64",
            example: "lakefuse kv get kv-internal-metadata kv/schema/version --data lake",
            flags: [.stoppedData, .serverConfiguration]
        ) { invocation in
            try withStore(invocation) { store in
                let (partition, key) = (Partition(invocation.arguments[0]), Key(invocation.arguments[1]))
                guard let value = try store.value(for: key, in: partition) else {
                    throw CommandError("no record \(key) in partition \(partition)")
                }
                Output.write(line(partition, key, value))
            }
        },
        Command(
            path: ["kv", "scan"], arguments: ["<partition>", "<prefix>"], optional: 1,
            summary: "Show the records of a partition, one a line, their values in base64",
            example: "lakefuse kv scan graveler --data lake",
            flags: [
                .stoppedData, .serverConfiguration,
                Flag(name: "until", value: "KEY", description: "stop before this key"),
                Flag(name: "limit", value: "int", standard: "0", description: "stop after so many (0: all)"),
            ]
        ) { invocation in
            let prefix = Key(invocation.arguments.count > 1 ? invocation.arguments[1] : "")
            let limit = try invocation.number("limit")
            try withStore(invocation) { store in
                let partition = Partition(invocation.arguments[0])
                var cursor = PartitionCursor(
                    store, partition, from: prefix,
                    before: invocation.value("until").map { Key($0) } ?? prefix.upperBound)
                var count = 0
                while let record = try cursor.current(), limit <= 0 || count < limit {
                    cursor.advance()
                    count += 1
                    Output.write(line(partition, record.key, record.value))
                }
            }
        },
        Command(
            path: ["kv", "copy"],
            summary:
                "Copy all records of one lake's key-value store to another's, of any engine; done again, it goes on",
            example: "lakefuse kv copy --from embedded.yaml --to postgres.yaml",
            flags: [
                Flag(name: "from", value: "FILE", description: "configuration file of the server to copy from"),
                Flag(name: "to", value: "FILE", description: "configuration file of the server to copy to"),
                Flag(
                    name: "force", description: "replace records that differ there, and remove those that are not here"),
            ]
        ) { invocation in try copy(invocation) },
    ]

    /// A record as a line of JSON.
    private static func line(_ partition: Partition, _ key: Key, _ value: [UInt8]) -> [UInt8] {
        var json = JSONWriter()
        json.object { json in
            json.member("partition", partition.description)
            json.member("key", key.description)
            json.member("value", Base64.encode(value))
        }
        return json.bytes + [0x0a]
    }

    /// The key-value store of a lake that is not running, where it is embedded.
    /// - Parameter mayMake: whether the lake is made if it is not there.
    static func withStore(
        _ invocation: Invocation, mayMake: Bool = false, _ body: (any KeyValueStore) throws -> Void
    ) throws {
        try withRecords(invocation, mayMake: mayMake) { store, _, _ in try body(store) }
    }

    /// The same, with what else is known of the lake.
    static func withRecords(
        _ invocation: Invocation, mayMake: Bool = false,
        _ body: (any KeyValueStore, Configuration, DataDirectory) throws -> Void
    ) throws {
        let configuration = try Configuration.load(invocation)
        try configuration.check()
        if !mayMake, ["sqlite", "local"].contains(configuration.databaseType),
            FileStatus(path: configuration.dataDirectory)?.isFolder != true
        {
            throw CommandError("there is no lake in \(configuration.dataDirectory)", hint: "--data DIR names one")
        }
        let directory = try DataDirectory(configuration.dataDirectory)
        let (store, close) = try Engines.records(configuration, in: directory)
        defer { close() }
        try withExtendedLifetime(directory) { try body(store, configuration, directory) }
    }

    /// Two stores, by a configuration file each.
    private static func copy(_ invocation: Invocation) throws {
        guard let from = invocation.value("from"), let to = invocation.value("to") else {
            throw LakeError(
                .invalidValue, "kv copy needs --from FILE and --to FILE: the configuration of either server")
        }
        func open(_ file: String) throws -> (directory: DataDirectory, store: any KeyValueStore, close: () -> Void) {
            // What the environment says would be said of both.
            let configuration = try Configuration.load(file: file)
            try configuration.check()
            let directory = try DataDirectory(configuration.dataDirectory)
            let (store, close) = try Engines.records(configuration, in: directory)
            return (directory, store, close)
        }
        let source = try open(from)
        defer { source.close() }
        let target = try open(to)
        defer { target.close() }
        try withExtendedLifetime((source.directory, target.directory)) {
            let copy = RecordCopy(from: source.store, to: target.store, skipping: isPrivate) { text in
                if isatty(2) != 0 { Output.write("\r\u{1b}[K\(text)", to: 2) }
            }
            let result = try copy.run(replaces: invocation.has("force"))
            if isatty(2) != 0 { Output.write("\r\u{1b}[K", to: 2) }
            Output.line(
                "copied \(result.copied) records of \(result.partitions) partitions (\(result.same) were there already); both stores hold \(result.count) with the hash \(result.hash)"
            )
            Output.line(
                "key pairs among them open with the auth.encrypt.secret_key that they were stored with: give the new server the same one"
            )
        }
    }

    /// Partitions of repositories that no record names.
    private static func orphans(_ store: any KeyValueStore) throws -> [String] {
        let known = Set(
            try store.page(of: Partition("graveler"), prefix: "repos/", limit: Int.max).map {
                try Repository(decoding: $0.value).partition
            })
        return try store.partitions().filter { partition in
            guard !known.contains(partition) else { return false }
            // What only the partition of a repository has: the last part of its name is an xid.
            guard let mark = partition.description.lastIndex(of: "-"),
                XID.bytes(partition.description[partition.description.index(after: mark)...]) != nil
            else { return false }
            return try !store.page(of: partition, from: nil, before: nil, limit: 1).isEmpty
        }.map(\.description)
    }

    /// Partitions that are this program's own: caches and work in progress.
    private static func isPrivate(_ partition: Partition) -> Bool {
        ["lakefuse-", "import:"].contains { partition.description.hasPrefix($0) }
    }

    private static func dump(_ store: any KeyValueStore, to file: String?) throws {
        var descriptor: Int32 = 1
        if let file {
            descriptor = unsafe open(file + ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else {
                throw LakeError(.unavailable, unsafe "cannot write \(file): \(String(cString: strerror(errno)))")
            }
        }
        var text: [UInt8] = []
        var count = 0
        func quote(_ key: Key) throws -> String {
            guard let name = String(validating: key.bytes, as: UTF8.self) else {
                throw LakeError(
                    .invalidValue,
                    "the key \(key) is not UTF-8, and the document has no way to tell it: commit or reset the branch first"
                )
            }
            return String(decoding: try JSONEncoder().encode(name), as: UTF8.self)
        }
        text += Array(#"{"version":"1.0","timestamp":"\#(Timestamp.now().rfc3339)","entries":["#.utf8)
        for partition in try store.partitions() where !isPrivate(partition) {
            var cursor = PartitionCursor(store, partition)
            let name = try quote(partition.name)
            while let record = try cursor.current() {
                cursor.advance()
                text += Array(
                    "\(count == 0 ? "" : ",")\n{\"partition\":\(name),\"key\":\(try quote(record.key)),\"value\":\"\(Base64.encode(record.value))\"}"
                        .utf8)
                count += 1
                if text.count > 1 << 16 {
                    Output.write(text, to: descriptor)
                    text = []
                }
            }
        }
        Output.write(text + Array("\n]}\n".utf8), to: descriptor)
        if let file {
            guard fsync(descriptor) == 0, close(descriptor) == 0, unsafe rename(file + ".new", file) == 0 else {
                let number = errno
                unsafe unlink(file + ".new")
                errno = number
                throw LakeError(.unavailable, unsafe "cannot write \(file): \(String(cString: strerror(errno)))")
            }
            Output.line("wrote \(count) records to \(file)")
        }
    }
}

/// Reads records as they come: entries of a dump, or one JSON object a line (`kv scan`, or hex values).
struct RecordLoader {
    let store: any KeyValueStore
    private(set) var loaded = 0
    private(set) var passedOver = 0
    /// Records that were there already.
    private(set) var skipped = 0
    private var batch: [Mutation] = []
    private var path = ""

    private let skips: Bool

    /// - Parameter skips: whether records that are there already stay as they are.
    init(store: any KeyValueStore, skips: Bool = false) { (self.store, self.skips) = (store, skips) }

    private struct Record: Decodable {
        let partition: String
        let key: String
        let value: Value
    }

    /// A value as text (base64 in dumps, hex in lines that say which message it is), or decoded by `kv scan`.
    private enum Value: Decodable {
        case text(String)
        case repository(RepositoryFields)
        case staged(StagedFields)
        case other

        struct RepositoryFields: Decodable {
            struct Time: Decodable { var seconds: Int64?, nanos: Int32? }
            let id: String, storage_namespace: String, instance_uid: String
            var default_branch_id: String?, creation_date: Time?, read_only: Bool?, storage_id: String?, state: Int64?
        }

        struct StagedFields: Decodable {
            let key: String
            var identity: String?, data: String?
        }

        init(from decoder: any Decoder) throws {
            let container = try decoder.singleValueContainer()
            if let text = try? container.decode(String.self) {
                self = .text(text)
            } else if let fields = try? container.decode(RepositoryFields.self) {
                self = .repository(fields)
            } else if let fields = try? container.decode(StagedFields.self) {
                self = .staged(fields)
            } else {
                self = .other
            }
        }
    }

    mutating func load(_ path: String) throws {
        self.path = path
        let descriptor = path == "-" ? 0 : unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw LakeError(.invalidValue, unsafe "cannot read \(path): \(String(cString: strerror(errno)))")
        }
        defer { if descriptor > 0 { close(descriptor) } }
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        var splitter = ObjectSplitter()
        while true {
            let count = unsafe read(descriptor, &piece, piece.count)
            guard count >= 0 else {
                throw LakeError(.invalidValue, unsafe "cannot read \(path): \(String(cString: strerror(errno)))")
            }
            if count == 0 { break }
            try splitter.feed(piece[..<count]) { try take($0) }
        }
        guard splitter.isComplete else { throw LakeError(.invalidValue, "\(path) ends in the middle of a record") }
        try flush()
    }

    private mutating func flush() throws {
        try store.write(batch, .durable)
        loaded += batch.count
        batch = []
    }

    private mutating func take(_ object: [UInt8]) throws {
        let text = Data(object)
        guard let record = try? JSONDecoder().decode(Record.self, from: text), !record.partition.isEmpty,
            !record.key.isEmpty
        else {
            throw LakeError(
                .invalidValue,
                "\(path) holds something that is no record of a key-value store: \(String(decoding: object.prefix(80), as: UTF8.self))"
            )
        }
        let value: [UInt8]
        switch record.value {
        case .text(let encoded):
            struct Line: Decodable { var message: String? }
            let isHex = (try? JSONDecoder().decode(Line.self, from: text))?.message != nil
            guard let bytes = isHex ? Hex.bytes(encoded.utf8) : Base64.decode(encoded) else {
                throw LakeError(
                    .invalidValue,
                    "\(path): the value of \(record.partition)/\(record.key) is no \(isHex ? "hex" : "base64")")
            }
            value = bytes
        case .repository(let fields) where record.partition == "graveler":
            let date = Timestamp(
                seconds: fields.creation_date?.seconds ?? 0, nanoseconds: fields.creation_date?.nanos ?? 0)
            var repository = Repository(
                id: RepositoryID(fields.id), storageNamespace: fields.storage_namespace,
                defaultBranch: BranchName(fields.default_branch_id ?? ""), creationDate: date,
                instanceUID: fields.instance_uid,
                isReadOnly: fields.read_only ?? false)
            repository.storageID = fields.storage_id ?? ""
            repository.state = Repository.State(rawValue: fields.state ?? 0) ?? .active
            value = repository.encoded
        case .staged(let fields) where record.partition.contains(":"):
            var writer = ProtobufWriter()
            writer.bytes(1, Base64.decode(fields.key) ?? [])
            writer.bytes(2, fields.identity.flatMap { Base64.decode($0) } ?? [])
            writer.bytes(3, fields.data.flatMap { Base64.decode($0) } ?? [])
            value = writer.bytes
        default:
            passedOver += 1
            return
        }
        let (partition, key) = (Partition(record.partition), Key(record.key))
        if skips, try store.value(for: key, in: partition) != nil {
            skipped += 1
            return
        }
        batch.append(.set(partition, key, value))
        if batch.count == 1000 { try flush() }
    }
}

/// Cuts a stream of JSON into its records: objects in an array of the outermost object, or outermost objects without
/// such an array.
private struct ObjectSplitter {
    private var stack: [UInt8] = []
    private var isText = false, isEscaped = false
    private var object: [UInt8] = []
    /// The outermost object has an array of its own: its elements are the records.
    private var isDocument = false

    var isComplete: Bool { stack.isEmpty }

    mutating func feed(_ bytes: ArraySlice<UInt8>, _ take: ([UInt8]) throws -> Void) throws {
        for byte in bytes {
            object.append(byte)
            if isText {
                if isEscaped {
                    isEscaped = false
                } else if byte == 0x5c {
                    isEscaped = true
                } else if byte == 0x22 {
                    isText = false
                }
                continue
            }
            switch byte {
            case 0x22: isText = true
            case 0x7b, 0x5b:
                stack.append(byte)
                if stack == [0x7b, 0x5b] { isDocument = true }
                // A record begins.
                if byte == 0x7b, stack.count == 1 || stack == [0x7b, 0x5b, 0x7b] { object = [byte] }
            case 0x7d, 0x5d:
                if byte == 0x7d, isDocument ? stack == [0x7b, 0x5b, 0x7b] : stack == [0x7b] {
                    try take(object)
                    object = []
                }
                if !stack.isEmpty { stack.removeLast() }
                if stack.isEmpty { isDocument = false }
            default: break
            }
            // Between records nothing is kept.
            if isDocument && stack.count == 2 { object = [] }
        }
    }
}
