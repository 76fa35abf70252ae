import CacheStore
import Glibc
import LakeAPI
import LakeFUSE
import LakeLocalServer
import S3Backend
import Versioning

/// One running lake: stores, core, doors, started and stopped in this order and its reverse.
final class Lake {
    let catalog: Catalog
    let address: String
    private let directory: DataDirectory
    private let store: any KeyValueStore
    private let database: SQLiteStore?
    /// Held as long as the database is open.
    private let lock: FileLock?
    private let objects: any ObjectStore
    private let pool: WorkerPool
    private let requests: WorkerPool
    private let tasks: WorkerPool
    private let server = HTTPServer()
    private let mounts: MountRegistry?
    private let stopping = CountingSemaphore()
    private let upkeep: Thread

    /// How often dropped staging tokens are looked for.
    private static let upkeepMilliseconds = 60_000

    /// Threads for parts of one operation, and for requests that block: most wait for the disk's sync, hence many.
    private static let poolWidth = 4, requestWidth = 48
    /// Imports, dumps and deletions at once; others wait.
    private static let taskWidth = 4

    init(_ configuration: Configuration) throws {
        directory = try DataDirectory(configuration.dataDirectory)
        let data = directory.path
        let root = configuration.blockstorePath.isEmpty ? data + "/objects" : Files.absolute(configuration.blockstorePath)
        let objects: any ObjectStore = configuration.blockstoreType == "mem" ? MemoryObjectStore() : try LocalObjectStore(root: root, externalPrefixes: configuration.externalPrefixes, closedFolders: configuration.closedFolders(in: directory))
        self.objects = objects
        if configuration.databaseType == "mem" {
            database = nil
            lock = nil
            store = InMemoryKeyValueStore()
        } else {
            let path = configuration.databaseFile(in: directory)
            lock = try FileLock(path + ".lock", what: "database \(path)")
            let database = try SQLiteStore(path: path, beforeSync: { () throws(StoreError) in try objects.synchronize() })
            self.database = database
            // The file is locked: nobody else writes. Staged entries are too many to keep.
            store = RecordCache(database, caching: { !RefStore.isStaging($0) })
        }
        pool = WorkerPool(name: "worker", width: Self.poolWidth)
        requests = WorkerPool(name: "request", width: Self.requestWidth)
        let committed = CommittedStore(objects: objects, pool: pool, cacheBytes: configuration.cacheBytes, parameters: configuration.ranges)
        tasks = WorkerPool(name: "task", width: Self.taskWidth)
        catalog = Catalog(store: store, committed: committed, tasks: tasks)
        try catalog.checkSchema()
        catalog.recover()
        upkeep = Self.keepUp(catalog, until: stopping)

        let secret = configuration.encryptSecret.isEmpty ? try directory.secret("encrypt") : configuration.encryptSecret
        let access = Access(store: store, secretKey: secret), login = Login(access: access, secretKey: secret)
        var settings = ServerSettings(signingSecret: configuration.signingSecret.isEmpty ? try directory.secret("signing") : configuration.signingSecret)
        settings.blockstoreType = configuration.blockstoreType
        settings.schemes = [configuration.blockstoreType]
        settings.isImportEnabled = configuration.isImportEnabled
        settings.region = configuration.region
        settings.verifiesReads = configuration.verifiesReads
        settings.s3Domains = configuration.s3Domains
        // Staged on the objects' own disk: publishing is a rename.
        mounts = configuration.blockstoreType == "local" ? try MountRegistry(catalog: catalog, staging: root + "/.staging") : nil

        let budget = MemoryBudget(limitBytes: configuration.memoryBytes)
        let rest = REST(catalog: catalog, access: access, login: login, settings: settings, mounts: mounts, budget: budget)
        let gateway = S3Gateway(catalog: catalog, access: access, login: login, settings: settings, budget: budget)
        let (host, port) = try configuration.address
        try Self.setUp(access, configuration, directory)
        try server.start(host: host, port: port, handler: Server(rest: rest, gateway: gateway, access: access), pool: requests, budget: budget, limits: configuration.limits)
        address = "http://\(host.isEmpty || host == "0.0.0.0" ? "127.0.0.1" : host):\(server.port)"
        try directory.updateEndpoint(address)
    }

    private static func keepUp(_ catalog: Catalog, until stopping: CountingSemaphore) -> Thread {
        Thread(name: "upkeep") { while !stopping.wait(milliseconds: upkeepMilliseconds) { catalog.cleanUp() } }
    }

    /// Creates the first user of an empty lake.
    private static func setUp(_ access: Access, _ configuration: Configuration, _ directory: DataDirectory) throws {
        try access.adoptBasicUser()
        guard try !access.isSetUp() else { return }
        if configuration.accessKeyID.isEmpty != configuration.secretAccessKey.isEmpty {
            throw LakeError(.invalidValue, "installation.access_key_id and installation.secret_access_key go together: set both or none")
        }
        if !configuration.accessKeyID.isEmpty {
            let given = Credentials(accessKeyID: configuration.accessKeyID, secretAccessKey: configuration.secretAccessKey, userName: configuration.userName, issued: .now())
            _ = try access.setUp(userName: configuration.userName, credentials: given)
            return
        }
        let made = Credentials.make(for: configuration.userName)
        // The file first: a pair that is stored but told to nobody would lock everyone out.
        try directory.write(made, endpoint: "http://\(configuration.listenAddress)")
        _ = try access.setUp(userName: configuration.userName, credentials: made)
        let notice = "first user '\(configuration.userName)': access key id \(made.accessKeyID), secret access key \(made.secretAccessKey) (kept in \(directory.credentialsFile))\n"
        Output.write(notice, to: 2)
    }

    /// Ends mounts, requests and stores, in this order.
    func stop() {
        catalog.stop()
        stopping.post()
        upkeep.join()
        mounts?.stop()
        server.stop()
        requests.stop()
        tasks.stop()
        pool.stop()
        try? objects.synchronize()
        database?.close()
        (objects as? LocalObjectStore)?.close()
    }
}
