import CacheStore
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
    /// The embedded engines, where they are used.
    let database: SQLiteStore?, localObjects: LocalObjectStore?
    private let locks: [FileLock]
    private let close: [() -> Void]
    private let checkNamespace: (StorageNamespace) throws(StoreError) -> Void

    /// - Throws: in one line, what is wrong with an engine and what to do.
    init(_ configuration: Configuration, in directory: DataDirectory) throws {
        var locks: [FileLock] = []
        var close: [() -> Void] = []
        let blockstore = configuration.blockstore
        let engine: any ObjectStore
        var localObjects: LocalObjectStore?
        var check: (StorageNamespace) throws(StoreError) -> Void = { _ in }
        switch blockstore.type {
        case "mem": engine = MemoryObjectStore()
        case "s3":
            var identity = blockstore.s3Identity
            identity.region = blockstore.s3.region
            let store = S3ObjectStore(blockstore.s3, identity: AWSIdentity(identity))
            try store.checkKeys()
            check = { namespace throws(StoreError) in
                try store.check(String(namespace.path.prefix { $0 != "/" }))
            }
            engine = store
            close.append { store.close() }
        default:
            let root = configuration.objectsFolder(in: directory)
            try Files.makeFolder(root)
            // Two lakes on the same objects would collect each other's. Before they are looked at: what another process
            // is about to write is not a leftover.
            locks.append(try FileLock(root + "/.lock", what: "the objects in \(root)"))
            let local = try LocalObjectStore(
                root: root, externalPrefixes: blockstore.externalPrefixes,
                closedFolders: configuration.closedFolders(in: directory), keepsLog: true)
            localObjects = local
            engine = local
            close.append { local.close() }
        }
        let objectCalls = CallMeter.ofObjects()
        let objects = InterposedObjectStore(engine, objectCalls)
        var database: SQLiteStore?
        switch configuration.databaseType {
        case "mem":
            let metered = MeteredKeyValueStore(InMemoryKeyValueStore())
            recordCalls = metered.meter
            store = metered
        case "postgres":
            let postgres = try PostgresStore(configuration.postgres)
            close.insert({ postgres.close() }, at: 0)
            let metered = MeteredKeyValueStore(postgres)
            recordCalls = metered.meter
            store = Self.cached(metered)
        default:
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
            close.insert({ sqlite.close() }, at: 0)
            // The file is locked: nobody else writes. Staged entries are too many to keep.
            let metered = MeteredKeyValueStore(sqlite)
            recordCalls = metered.meter
            store = RecordCache(metered, caching: { !RefStore.isStaging($0) })
        }
        self.objects = objects
        self.objectCalls = objectCalls
        self.database = database
        self.localObjects = localObjects
        self.locks = locks
        self.close = close
        checkNamespace = check
        isAlone = !configuration.isShared
        isFar = configuration.isShared || engine.capabilities.presigner != nil
    }

    /// Looks into where the objects of some repositories are.
    /// - Throws: if none of them can be looked into: what is wrong, and what to do.
    func check(_ catalog: Catalog) throws {
        var failure: StoreError?
        var seen: Set<String> = []
        for repository in try catalog.listRepositories(prefix: "", after: "", limit: 20).items {
            guard let namespace = try? repository.namespace, namespace.scheme == objects.capabilities.schemes.first,
                seen.insert(String(namespace.path.prefix { $0 != "/" })).inserted
            else { continue }
            do { return try checkNamespace(namespace) } catch {
                Log.warning(
                    "the objects of a repository cannot be looked at",
                    ["repository": repository.id.text, "reason": error.message])
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
    }

    /// Records that others may change, kept for a second where that is soon enough: rules, settings, users.
    private static func cached(_ store: MeteredKeyValueStore<some KeyValueStore>) -> any KeyValueStore {
        BriefCache(store, milliseconds: 1000) { partition, key in
            key.hasPrefix("settings/") || ["auth", "basicAuth"].contains(partition.description)
        }
    }

    /// Ends the engines, records first. To be called when nobody asks any more.
    func stop() {
        // What cannot be made durable now has been acknowledged to nobody.
        try? objects.synchronize()
        for close in close { close() }
    }
}
