import CacheStore
import Foundations
import Glibc
import LakeAPI
import LakeFUSE
import LakeLocalServer
import Versioning

/// One running lake: stores, core, doors, started and stopped in this order and its reverse.
final class Lake {
    let catalog: Catalog
    let address: String
    private let directory: DataDirectory
    private let engines: Engines
    private let pool: WorkerPool
    private let requests: WorkerPool, long: WorkerPool
    private let tasks: WorkerPool
    private let server = HTTPServer()
    private let delays: Delays
    private let outside = OutsideCalls()
    private let actions: ActionRunner
    private let mounts: MountRegistry?
    private let stopping = CountingSemaphore()
    private let readiness: Readiness
    private let live: LivePages
    private let upkeep: Thread

    /// How often it is looked whether there is something to tidy up; dropped staging tokens every minute.
    private static let upkeepMilliseconds = 5000

    /// Threads for parts of one operation, and for requests that block: most wait for the disk's sync, hence many.
    private static let poolWidth = 4, requestWidth = 48
    /// Threads for requests that take as long as the repository is large; changes that wait for hooks hold most of them.
    private static let longWidth = ActionRunner.mostWaiting + 16
    /// Imports, dumps and deletions at once; others wait.
    private static let taskWidth = 4

    init(_ configuration: Configuration) throws {
        directory = try DataDirectory(configuration.dataDirectory)
        engines = try Engines(configuration, in: directory)
        let (store, objects) = (engines.store, engines.objects)
        pool = WorkerPool(name: "worker", width: Self.poolWidth)
        requests = WorkerPool(name: "request", width: Self.requestWidth)
        long = WorkerPool(name: "long", width: Self.longWidth)
        let committed = CommittedStore(
            objects: objects, pool: pool, cacheBytes: configuration.cacheBytes, parameters: configuration.ranges)
        tasks = WorkerPool(name: "task", width: Self.taskWidth)
        actions = ActionRunner(configuration.actions)
        catalog = Catalog(
            store: store, committed: committed, tasks: tasks, isAlone: engines.isAlone, hooks: actions)
        try catalog.checkSchema()
        try engines.check(catalog)
        if engines.database != nil { try directory.noteDatabase(configuration.databaseFile(in: directory)) }
        catalog.recover()
        upkeep = Self.keepUp(
            catalog, directory, actions, until: stopping,
            abandonedSeconds: Int64(configuration.abandonedUploadHours) * 3600)

        let secret = configuration.encryptSecret.isEmpty ? try directory.secret("encrypt") : configuration.encryptSecret
        let access = Access(store: store, secretKey: secret)
        let login = Login(
            access: access, secretKey: secret, seconds: configuration.loginSeconds,
            longest: configuration.longestLoginSeconds,
            isSecure: configuration.isTLS || configuration.oidc.callbackBase.hasPrefix("https://"))
        delays = login.delays
        var settings = ServerSettings(
            signingSecret: try Self.signingSecret(configuration, directory))
        settings.stores = configuration.stores.map(\.told)
        settings.region = configuration.region
        settings.verifiesReads = configuration.verifiesReads
        settings.createsRepositories = configuration.createsRepositories
        settings.s3Domains = configuration.s3Domains
        settings.s3FallbackURL = configuration.s3FallbackURL
        settings.stsEndpoint = configuration.stsEndpoint
        settings.serverNames = configuration.serverNames
        settings.allowedOrigins = configuration.allowedOrigins
        settings.loginFailedMessage = configuration.loginFailedMessage
        settings.isTLS = configuration.isTLS
        try configuration.loadCertificate()
        // Staged on the objects' own disk: publishing is a rename.
        mounts =
            configuration.stores[0].type == "mem"
            ? nil
            : try Self.mounts(
                catalog, staging: configuration.stagingFolder(in: directory), levers: configuration.levers, directory)
        settings.mountFolders = configuration.mountFolders

        let budget = MemoryBudget(limitBytes: configuration.memoryBytes)
        let rest = REST(
            catalog: catalog, access: access, login: login, settings: settings, mounts: mounts, budget: budget,
            externalLogins: ExternalLogins(
                access, remote: configuration.isRemoteAuthenticated ? configuration.remoteAuthenticator : nil,
                directory: configuration.ldap.endpoint.isEmpty ? nil : configuration.ldap,
                openID: configuration.oidc.issuer.isEmpty ? nil : configuration.oidc, signing: login),
            outside: outside)
        let gateway = S3Gateway(catalog: catalog, access: access, login: login, settings: settings, budget: budget)
        let (host, port) = try configuration.address
        try Self.setUp(access, configuration, directory)
        mounts?.restore { [access] user, repository in access.mountRights(of: Caller(user), in: repository) }
        let telemetry = Telemetry(
            accessLevel: configuration.accessLogLevel,
            meters: [
                .init("kv_request", "Calls of the key-value store", engines.recordCalls),
                .init("object_store_call", "Calls of the object store", engines.objectCalls),
            ]
        ) { [mounts, committed, catalog, actions, objectCache = engines.objectCache] in
            let cache = committed.cacheCounters
            let blocks = objectCache?.counters ?? (hits: 0, misses: 0, bytes: 0)
            return [
                .init(
                    "lakefuse_object_cache_hits_total", "Blocks of objects behind a network that were here.",
                    isCounter: true, Double(blocks.hits)),
                .init(
                    "lakefuse_object_cache_misses_total", "Blocks of objects behind a network that were fetched.",
                    isCounter: true, Double(blocks.misses)),
                .init(
                    "lakefuse_object_cache_bytes", "Bytes of such blocks on the local disk.", Double(blocks.bytes)),
                .init(
                    "lakefuse_mounts", "Mounts of this server.", Double(mounts?.mounts(isDetailed: false).count ?? 0)),
                .init(
                    "lakefuse_staged_entries_total", "Uncommitted changes that were written to branches.",
                    isCounter: true, Double(catalog.stagedCount)),
                .init(
                    "lakefuse_hook_runs_total", "Runs of hooks that have ended.", isCounter: true,
                    Double(actions.runsEnded.all)),
                .init(
                    "lakefuse_hook_runs_failed_total", "Runs of hooks that have failed.", isCounter: true,
                    Double(actions.runsEnded.failed)),
                .init(
                    "lakefuse_table_cache_hits_total", "Blocks of committed tables that were in memory.",
                    isCounter: true, Double(cache.hits)),
                .init(
                    "lakefuse_table_cache_misses_total", "Blocks of committed tables that were read.", isCounter: true,
                    Double(cache.misses)),
            ]
        }
        readiness = Readiness(catalog)
        live = LivePages(catalog.events)
        live.start()
        let doors = Server(
            rest: rest, gateway: gateway, access: access, telemetry: telemetry, readiness: readiness, live: live)
        actions.start(catalog, api: LakeAPICalls(doors, login: login, access: access))
        try server.start(
            host: host, port: port, handler: doors,
            pool: requests, long: long, budget: budget, limits: configuration.limits, isTLS: configuration.isTLS,
            beginsInPool: engines.isFar)
        address =
            "\(configuration.isTLS ? "https" : "http")://\(host.isEmpty || host == "0.0.0.0" ? "127.0.0.1" : host):\(server.port)"
        do { try directory.updateEndpoint(address) } catch {
            Log.warning(
                "the file of the first key pair does not tell the server's address",
                ["reason": LakeError(error).message])
        }
    }

    private static func keepUp(
        _ catalog: Catalog, _ directory: DataDirectory, _ actions: ActionRunner, until stopping: CountingSemaphore,
        abandonedSeconds: Int64
    ) -> Thread {
        Thread(name: "upkeep") {
            var turn = 0
            while !stopping.wait(milliseconds: upkeepMilliseconds) {
                turn += 1
                if turn % 12 == 0 { directory.keepReserve() }
                do {
                    // One of all that share the records does it.
                    guard try catalog.isAlone ? turn % 12 == 0 : catalog.holds(lease: "upkeep") else { continue }
                    if !catalog.isAlone { actions.takeUpWhatIsLeft() }
                    if turn % 12 == 0 { catalog.cleanUp() }
                    if turn % 120 == 0, !catalog.isAlone { catalog.takeUpWhatIsLeft() }
                    guard turn % 720 == 0 else { continue }
                    actions.cleanUp()
                    try catalog.removeAbandonedUploads(after: abandonedSeconds)
                } catch {
                    Log.warning("upkeep is left to the next turn", ["reason": LakeError(error).message])
                }
            }
        }
    }

    /// What addresses and tokens are signed with: the same at all servers of a lake.
    private static func signingSecret(_ configuration: Configuration, _ directory: DataDirectory) throws -> String {
        if !configuration.signingSecret.isEmpty { return configuration.signingSecret }
        guard configuration.isShared else { return try directory.secret("signing") }
        return Hex.text(Hash.hmac(key: Array(configuration.encryptSecret.utf8), Array("signing".utf8)))
    }

    /// Without room for its index no mount is begun; the other doors work.
    private static func mounts(_ catalog: Catalog, staging: String, levers: Levers, _ directory: DataDirectory) throws
        -> MountRegistry?
    {
        do {
            return try directory.withRoom { try MountRegistry(catalog: catalog, staging: staging, levers: levers) }
        } catch {
            guard LakeError(error).code == .noSpace else { throw error }
            Log.error("the disk is full: nothing can be mounted until there is room and the server starts again")
            return nil
        }
    }

    /// Creates the first user of an empty lake.
    private static func setUp(_ access: Access, _ configuration: Configuration, _ directory: DataDirectory) throws {
        try access.adoptBasicUser()
        try access.addStockGroups()
        guard try !access.isSetUp(), configuration.makesFirstUser else { return }
        if configuration.accessKeyID.isEmpty != configuration.secretAccessKey.isEmpty {
            throw LakeError(
                .invalidValue,
                "installation.access_key_id and installation.secret_access_key go together: set both or none")
        }
        if !configuration.accessKeyID.isEmpty {
            let given = Credentials(
                accessKeyID: configuration.accessKeyID, secretAccessKey: configuration.secretAccessKey,
                userName: configuration.userName, issued: .now())
            _ = try access.setUp(userName: configuration.userName, credentials: given)
            return
        }
        let made = Credentials.make(for: configuration.userName)
        // The file first: a pair that is stored but told to nobody would lock everyone out.
        try directory.write(made, endpoint: "http://\(configuration.listenAddress)")
        _ = try access.setUp(userName: configuration.userName, credentials: made)
        let notice =
            "first user '\(configuration.userName)': access key id \(made.accessKeyID), \(isatty(2) != 0 ? "secret access key \(made.secretAccessKey) " : "")(kept in \(directory.credentialsFile))\n"
        Output.write(notice, to: 2)
    }

    /// Ends mounts, requests and stores, in this order. What was acknowledged is durable already: a caller that has no
    /// time left may end the process instead.
    func stop() {
        readiness.end()
        catalog.stop()
        stopping.post()
        upkeep.join()
        mounts?.stop()
        delays.stop()
        outside.stop()
        live.stop()
        guard server.stop() else {
            Log.error("requests did not end in time: the process ends without them")
            return
        }
        requests.stop()
        long.stop()
        actions.stop()
        tasks.stop()
        pool.stop()
        catalog.finish()
        engines.stop()
    }
}
