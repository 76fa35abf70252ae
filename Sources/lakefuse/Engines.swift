import CacheStore
import FoundationEssentials
import Foundations
import Glibc
import S3Backend
import Transport
import Versioning

/// What a lake's records and objects are kept in, as its configuration says: opened, and watched.
final class Engines {
    let store: any KeyValueStore
    let objects: any ObjectStore
    /// Calls of either, for the metrics.
    let recordCalls: CallMeter, objectCalls: CallMeter
    /// Whether this is the only process that works on the records.
    let isAlone: Bool
    /// Whether a look at a record or an object is a way over a network.
    let isFar: Bool
    /// Between the server and stores behind a network.
    let objectCache: CachedObjectStore?
    /// The embedded database, where it is used.
    let database: SQLiteStore?
    private var locks: [FileLock] = []
    private var close: [() -> Void] = []
    private var checks: [String: (StorageNamespace) throws(StoreError) -> Void] = [:]

    /// - Throws: in one line, what is wrong with an engine and what to do.
    init(_ configuration: Configuration, in directory: DataDirectory) throws {
        var engines: [String: any ObjectStore] = [:]
        var closing: [() -> Void] = []
        let stores = configuration.stores
        for (index, blockstore) in stores.enumerated() {
            let opened = try Self.open(blockstore, configuration, directory)
            // Records of one store name no id.
            engines[blockstore.id] = opened.store
            if index == 0 { engines[""] = opened.store }
            checks[blockstore.id] = opened.check
            if index == 0 { checks[""] = opened.check }
            if let lock = opened.lock { locks.append(lock) }
            closing.append(opened.close)
        }
        let only = engines[""]!
        let engine: any ObjectStore = stores.count == 1 && stores[0].id.isEmpty ? only : RoutedObjectStore(engines)
        let objectCalls = CallMeter.ofObjects()
        // Counted where they go over the network: what the cache answers is no call.
        let metered = InterposedObjectStore(engine, objectCalls)
        let isFar = engines.values.contains { $0.capabilities.presigner != nil }
        var cache: CachedObjectStore?
        if isFar {
            let folder =
                configuration.diskCacheFolder.isEmpty
                ? directory.path + "/cache" : Files.absolute(configuration.diskCacheFolder)
            try Files.makeFolder(folder)
            // Two processes would not know of each other's files.
            locks.append(try FileLock(folder + "/.lock", what: "the cache in \(folder)"))
            let made = try CachedObjectStore(
                metered, folder: folder + "/blocks", limitBytes: Int64(configuration.diskCacheBytes))
            closing.append { made.close() }
            cache = made
        }
        objectCache = cache
        let objects: any ObjectStore = cache ?? metered
        self.objects = objects
        self.objectCalls = objectCalls
        isAlone = !configuration.isShared
        self.isFar = configuration.isShared || isFar

        if configuration.databaseType == "sqlite" || configuration.databaseType == "local" {
            let path = configuration.databaseFile(in: directory)
            locks.append(try FileLock(path + ".lock", what: "database \(path)"))
            try directory.requireDatabase(path)
            if let log = try WriteAheadLog(of: path), log.lost > 0 {
                Log.error(
                    "the database's log ends early: the server or the machine was stopped amid a write, or the disk has damaged it and newer changes are lost",
                    ["file": path + "-wal", "whole_frames": "\(log.whole)", "lost_frames": "\(log.lost)"])
            }
            let sqlite = try directory.withRoom {
                try SQLiteStore(path: path) { hasEventual throws(StoreError) in
                    if hasEventual { try objects.synchronize() } else { try objects.synchronizeOrdered() }
                }
            }
            database = sqlite
            close = [{ sqlite.close() }]
            // The file is locked: nobody else writes. Staged entries are too many to keep.
            let metered = MeteredKeyValueStore(sqlite)
            recordCalls = metered.meter
            store = RecordCache(metered, caching: { !RefStore.isStaging($0) })
        } else {
            database = nil
            let opened = try Self.records(configuration)
            close = [opened.close]
            (store, recordCalls) = opened.watched
        }
        close += closing
    }

    // MARK: records

    /// An engine that several servers share, or that forgets.
    private static func records(_ configuration: Configuration) throws -> (
        watched: (any KeyValueStore, CallMeter), close: () -> Void
    ) {
        switch configuration.databaseType {
        case "postgres":
            let store = try PostgresStore(configuration.postgres)
            return (watched(store), { store.close() })
        case "dynamodb":
            var identity = configuration.dynamoDBIdentity
            identity.region = configuration.dynamoDB.region
            return (watched(try DynamoDBStore(configuration.dynamoDB, identity: AWSIdentity(identity))), {})
        case "cosmosdb":
            var identity = AzureIdentity.Settings()
            identity.resource = configuration.cosmosDB.endpoint
            identity.environment = configuration.blockstore.environment
            return (watched(try CosmosDBStore(configuration.cosmosDB, identity: AzureIdentity(identity))), {})
        default:
            let metered = MeteredKeyValueStore(InMemoryKeyValueStore())
            return ((metered, metered.meter), {})
        }
    }

    /// With records that others may change kept for a second where that is soon enough: rules, settings, users.
    private static func watched(_ store: some KeyValueStore) -> (any KeyValueStore, CallMeter) {
        let metered = MeteredKeyValueStore(store)
        let cached = BriefCache(metered, milliseconds: 1000) { partition, key in
            key.hasPrefix("settings/") || ["auth", "basicAuth"].contains(partition.description)
        }
        return (cached, metered.meter)
    }

    /// The key-value store alone, of a lake that need not run: for commands.
    static func records(_ configuration: Configuration, in directory: DataDirectory) throws -> (
        store: any KeyValueStore, close: () -> Void
    ) {
        guard configuration.databaseType != "mem" else {
            throw LakeError(.invalidValue, "database.type is mem: there is nothing to load into or dump")
        }
        guard !configuration.isShared else {
            let opened = try records(configuration)
            return (opened.watched.0, opened.close)
        }
        let path = configuration.databaseFile(in: directory)
        let lock = try FileLock(path + ".lock", what: "database \(path)")
        let store = try SQLiteStore(path: path)
        return (store, { withExtendedLifetime(lock) { store.close() } })
    }

    // MARK: objects

    private struct Opened {
        let store: any ObjectStore
        var check: (StorageNamespace) throws(StoreError) -> Void = { _ in }
        var close: () -> Void = {}
        var lock: FileLock?
    }

    private static func open(_ blockstore: Blockstore, _ configuration: Configuration, _ directory: DataDirectory)
        throws -> Opened
    {
        switch blockstore.type {
        case "mem": return Opened(store: MemoryObjectStore())
        case "s3":
            var identity = blockstore.s3Identity
            identity.region = blockstore.s3.region
            let store = S3ObjectStore(blockstore.s3, identity: AWSIdentity(identity))
            try store.checkKeys()
            return Opened(
                store: store,
                check: { namespace throws(StoreError) in
                    try store.check(String(namespace.path.prefix { $0 != "/" }))
                }, close: { store.close() })
        case "gs":
            var json = Array(blockstore.gcsCredentialsJSON.utf8)
            if json.isEmpty, !blockstore.gcsCredentialsFile.isEmpty {
                json = try Files.read(blockstore.gcsCredentialsFile)
            }
            let identity =
                try blockstore.isGCSAnonymous
                ? nil : GoogleIdentity(json: json, environment: blockstore.environment)
            let store = GCSObjectStore(blockstore.gcs, identity: identity)
            return Opened(
                store: store,
                check: { namespace throws(StoreError) in
                    try store.check(String(namespace.path.prefix { $0 != "/" }))
                }, close: { store.close() })
        case "azure":
            var settings = blockstore.azure
            if blockstore.isAzureChina { settings.domain = "blob.core.chinacloudapi.cn" }
            var identity = AzureIdentity.Settings()
            identity.resource = "https://storage.azure.com"
            identity.environment = blockstore.environment
            let store = try AzureObjectStore(settings, identity: AzureIdentity(identity))
            return Opened(
                store: store, check: { namespace throws(StoreError) in try store.check(namespace) },
                close: { store.close() })
        default:
            let root = blockstore.folder(in: directory)
            try Files.makeFolder(root)
            // Two lakes on the same objects would collect each other's. Before they are looked at: what another process
            // is about to write is not a leftover.
            let lock = try FileLock(root + "/.lock", what: "the objects in \(root)")
            let local = try LocalObjectStore(
                root: root, externalPrefixes: blockstore.externalPrefixes,
                closedFolders: configuration.closedFolders(in: directory), keepsLog: true)
            return Opened(store: local, close: { local.close() }, lock: lock)
        }
    }

    /// Looks into where the objects of some repositories are.
    /// - Throws: if none of them can be looked into: what is wrong, and what to do.
    func check(_ catalog: Catalog) throws {
        var failure: StoreError?
        var seen: Set<String> = []
        for repository in try catalog.listRepositories(prefix: "", after: "", limit: 20).items {
            guard let namespace = try? repository.namespace,
                seen.insert("\(namespace.store) \(namespace.path.prefix { $0 != "/" })").inserted
            else { continue }
            do {
                guard let check = checks[namespace.store] else {
                    throw StoreError(
                        .refused,
                        "the store '\(namespace.store)' of repository \(repository.id) is not in blockstores.stores")
                }
                return try check(namespace)
            } catch {
                let error = error as? StoreError ?? StoreError(.unavailable, "\(error)")
                Log.warning(
                    "the objects of a repository cannot be looked at",
                    ["repository": repository.id.text, "reason": error.message])
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
    }

    /// Ends the engines, records first. To be called when nobody asks any more.
    func stop() {
        // What cannot be made durable now has been acknowledged to nobody.
        try? objects.synchronize()
        for close in close { close() }
    }
}
