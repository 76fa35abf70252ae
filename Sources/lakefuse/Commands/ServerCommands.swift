import FoundationEssentials
import Foundations
import Glibc
import LakeAPI
import LakeLocalServer
import S3Backend
import Versioning

/// What is done at the server's own machine. Source: `docs/lakefs-behaviour.md` section 7, the server's command line.
extension Command {
    static let serverCommands: [Command] =
        [runServer, quickstart, showConfiguration, web, check, setUp, superuser] + migrateCommands + [
            flare, simulateCollection, runScript,
        ]

    /// The users and policies of a lake that is not running.
    private static func withAccess(
        _ invocation: Invocation, mayMake: Bool = false, _ body: (Access, any KeyValueStore) throws -> Void
    ) throws {
        try withRecords(invocation, mayMake: mayMake) { store, configuration, directory in
            let given = configuration.encryptSecret
            try body(Access(store: store, secretKey: given.isEmpty ? directory.secret("encrypt") : given), store)
        }
    }

    /// A key pair as lakeFS tells a new one, so that it can be a client's configuration.
    private static func tell(_ pair: Credentials) {
        Output.line(
            "credentials:\n  access_key_id: \(pair.accessKeyID)\n  secret_access_key: \(pair.secretAccessKey)")
    }

    /// A key pair that was given, or nil for one to be made.
    private static func given(_ invocation: Invocation, for user: String) throws -> Credentials? {
        let (id, secret) = (invocation.value("access-key-id"), invocation.value("secret-access-key"))
        guard (id == nil) == (secret == nil) else {
            throw CommandError("--access-key-id and --secret-access-key go together: give both or none")
        }
        guard let id, let secret else { return nil }
        return Credentials(accessKeyID: id, secretAccessKey: secret, userName: user, issued: .now())
    }

    private static let firstUserFlags: [Flag] = [
        .required(Flag(name: "user-name", value: "NAME", description: "the user's name")),
        Flag(name: "access-key-id", value: "ID", description: "the key pair's id (default: one is made)"),
        Flag(name: "secret-access-key", value: "SECRET", description: "the key pair's secret"),
        .stoppedData, .serverConfiguration,
    ]

    private static let setUp = Command(
        path: ["setup"], aliases: ["init"],
        summary: "Create the first user of a lake that is not running, who may do everything, and print the key pair",
        example: "lakefuse setup --user-name admin --data new-lake",
        flags: firstUserFlags + [
            Flag(name: "no-check", description: "no failure where there is one already: nothing is done then")
        ]
    ) { invocation in
        try withAccess(invocation, mayMake: true) { access, store in
            guard try !access.isSetUp() else {
                if invocation.has("no-check") { return }
                throw CommandError(
                    "Setup is already complete.", hint: "'lakefuse superuser' makes another administrator")
            }
            let name = invocation.value("user-name")!
            try checkSchema(of: store)
            tell(try access.setUp(userName: name, credentials: try given(invocation, for: name)))
        }
    }

    private static let superuser = Command(
        path: ["superuser"],
        summary: "Create an administrator of a lake that is not running: for who has lost the key pair",
        example: "lakefuse superuser --user-name rescue --data new-lake", flags: firstUserFlags
    ) { invocation in
        try withAccess(invocation) { access, _ in
            let name = invocation.value("user-name")!
            let pair = try given(invocation, for: name)
            guard try access.isSetUp() else {
                tell(try access.setUp(userName: name, credentials: pair))
                return
            }
            try access.addStockGroups()
            if try access.findUser(name) == nil { _ = try access.createUser(name) }
            try access.addMember(name, to: "Admins")
            tell(try access.createCredentials(for: name, pair))
        }
    }

    /// Writes the schema's version down where there is none; an older one than lakeFS's present one is lakeFS's to migrate,
    /// and said so.
    private static func checkSchema(of store: any KeyValueStore) throws {
        let pool = WorkerPool(name: "worker", width: 1)
        defer { pool.stop() }
        let committed = CommittedStore(objects: MemoryObjectStore(), pool: pool, cacheBytes: 1 << 20)
        try Catalog(store: store, committed: committed, tasks: pool).checkSchema()
    }

    private static let migrateCommands: [Command] = [
        Command(
            path: ["migrate", "version"], summary: "Show the schema version of a lake that is not running",
            example: "lakefuse migrate version --data lake", flags: [.stoppedData, .serverConfiguration]
        ) { invocation in
            try withStore(invocation) { store in
                let key = Key("kv/schema/version")
                guard let bytes = try store.value(for: key, in: Partition("kv-internal-metadata")) else {
                    throw CommandError("No version information - KV not initialized.")
                }
                Output.line("Database schema version: \(String(decoding: bytes, as: UTF8.self))")
            }
        },
        Command(
            path: ["migrate", "up"], summary: "Bring the schema of a lake that is not running to this program's",
            example: "lakefuse migrate up --data lake", flags: [.stoppedData, .serverConfiguration]
        ) { invocation in
            try withStore(invocation) { store in
                try checkSchema(of: store)
                Output.line("No migrations to apply.")
            }
        },
    ]

    private static let flare = Command(
        path: ["flare"],
        summary:
            "Write down the server's settings and environment for who is to help: secrets are left out, and not hashed",
        example: "lakefuse flare --stdout",
        flags: [
            Flag(name: "output", short: "o", value: "DIR", standard: "flare", description: "folder for the files"),
            Flag(name: "stdout", description: "write all of it to standard output"),
            Flag(
                name: "include-env-vars", standard: "true",
                description: "tell the environment's LAKEFS_ and LAKEFUSE_ names"),
            .serverConfiguration,
            Flag(name: "data", value: "DIR", description: "folder for everything that is kept"),
        ]
    ) { invocation in
        let settings = try settingsText(Configuration.load(invocation))
        let names = invocation.environment.keys.filter { $0.hasPrefix("LAKEFS_") || $0.hasPrefix("LAKEFUSE_") }.sorted()
        // What a variable says may be a secret whatever it is called: whether it is set is what helps.
        let variables = invocation.has("include-env-vars") ? names.map { "\($0)=(set)\n" }.joined() : ""
        guard !invocation.has("stdout") else { return Output.write(settings + variables) }
        let folder = invocation.value("output")!
        try Files.makeFolder(folder)
        try Files.write(Array(settings.utf8), to: folder + "/lakefuse-config.yaml", mode: 0o600)
        try Files.write(Array(variables.utf8), to: folder + "/lakefuse-env.txt", mode: 0o600)
        Output.line("wrote \(folder)/lakefuse-config.yaml and \(folder)/lakefuse-env.txt")
    }

    private static let simulateCollection = Command(
        path: ["gc", "simulate"], arguments: ["<rules.json>", "<dump.json>"],
        summary: "Tell which commits garbage collection would keep by some rules, of a dump of 'kv dump'",
        example: "lakefuse gc simulate gc.json dump.json",
        flags: [Flag(name: "output", short: "o", value: "FILE", description: "where to (default standard output)")]
    ) { invocation in
        let rules: API.GarbageCollectionRules
        do { rules = try Coding.decode(API.GarbageCollectionRules.self, Files.read(invocation.arguments[0])) } catch {
            throw CommandError("\(invocation.arguments[0]): \(LakeError(error).message)")
        }
        let store = InMemoryKeyValueStore()
        var loader = RecordLoader(store: store)
        try loader.load(invocation.arguments[1])
        let pool = WorkerPool(name: "worker", width: 1)
        defer { pool.stop() }
        let committed = CommittedStore(
            objects: MemoryObjectStore(), pool: pool, cacheBytes: 1 << 20)
        let catalog = Catalog(store: store, committed: committed, tasks: pool)
        var text = "repository,commit_id,expired\n"
        for repository in try catalog.listRepositories(prefix: "", after: "", limit: 100_000).items {
            let found = try catalog.simulateCollection(
                in: repository.id,
                GarbageCollectionRules(
                    defaultDays: rules.defaultRetentionDays,
                    branches: rules.branches.map { (BranchName($0.branchId), $0.retentionDays) }))
            for id in found.kept { text += "\(repository.id),\(id),false\n" }
            for id in found.expired { text += "\(repository.id),\(id),true\n" }
        }
        guard let file = invocation.value("output") else { return Output.write(text) }
        try Files.write(Array(text.utf8), to: file, mode: 0o644)
    }

    private static let runScript = Command(
        path: ["lua", "run"], arguments: ["<file>"], optional: 1,
        summary:
            "Run a script as hooks run theirs, with the same bounds, without a lake (standard input without a file)",
        example: "echo 'print(1 + 1)' | lakefuse lua run"
    ) { invocation in
        let file = invocation.arguments.first ?? "-"
        let text = try Files.input(file)
        do { try LuaScript.run(text) { Output.write($0) } } catch { throw CommandError("\(error)") }
    }
}
