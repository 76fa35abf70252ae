import CacheStore
import Foundations
import Glibc
import S3Backend
import Versioning

extension Command {
    static let check = Command(
        path: ["check"],
        summary: "Verify a lake that is not running: records, tables, ids, entries, objects; find what nobody names",
        example: "lakefuse check --data lake",
        flags: [
            Flag(
                name: "data", value: "DIR",
                description: "folder of the lake, which must not be running (default .lakefuse)"),
            Flag(name: "config", value: "FILE", description: "the server's configuration file"),
            Flag(name: "repair", description: "remove what nobody names; what is damaged is told, and stays"),
            Flag(name: "skip-checksums", description: "compare lengths of objects, and do not read them"),
        ]
    ) { invocation in
        let configuration = try Configuration.load(invocation)
        guard configuration.databaseType != "mem", configuration.blockstore.type == "local" else {
            throw LakeError(.invalidValue, "the lake is kept in memory: there is nothing to check")
        }
        guard FileStatus(path: configuration.dataDirectory)?.isFolder == true else {
            throw LakeError(.invalidValue, "there is no lake in \(configuration.dataDirectory): --data DIR names one")
        }
        let directory = try DataDirectory(configuration.dataDirectory)
        let root = configuration.objectsFolder(in: directory)
        let path = configuration.databaseFile(in: directory)
        let locks = (
            directory, try FileLock(path + ".lock", what: "database \(path)"),
            try FileLock(root + "/.lock", what: "the objects in \(root)")
        )
        try directory.requireDatabase(path)
        // Looked at before the database is opened: that takes the log as far as it is right, and begins a new one.
        if let log = try WriteAheadLog(of: path), log.lost > 0 {
            throw LakeError(
                .corrupt,
                "the database's log is wrong from its frame \(log.whole + 1) on, with \(log.lost) frames behind: if the server or the machine was stopped amid a write, start the server once and check again; else the disk has damaged it, and newer changes are lost: restore \(path)-wal"
            )
        }
        let objects = try LocalObjectStore(
            root: root, externalPrefixes: configuration.blockstore.externalPrefixes,
            closedFolders: configuration.closedFolders(in: directory))
        let store = try SQLiteStore(path: path)
        let pool = WorkerPool(name: "worker", width: 2)
        let tasks = WorkerPool(name: "task", width: 1)
        defer {
            tasks.stop()
            pool.stop()
            store.close()
            objects.close()
        }
        try withExtendedLifetime(locks) {
            let rows = try store.faults()
            for fault in rows { Output.line("damaged: \(fault)") }
            // What the records say is worth nothing where they cannot be read.
            guard rows.isEmpty else {
                throw LakeError(
                    .corrupt,
                    "the database is damaged in \(rows.count) places: restore it, or dump what can be read with 'lakefuse kv dump'"
                )
            }
            var options = LakeCheck.Options()
            options.repairs = invocation.has("repair")
            // Files that were closed, or are being written, may have become objects that only the mounts' own index
            // names.
            let staging = root + "/.staging"
            if unsafe access(staging, F_OK) == 0 {
                let index = try WriteStaging(folder: staging)
                defer { index.close() }
                options.named = Set(try index.addresses().map(\.address))
            }
            options.readsObjects = !invocation.has("skip-checksums")
            let committed = CommittedStore(
                objects: objects, pool: pool, cacheBytes: configuration.cacheBytes, parameters: configuration.ranges)
            let check = LakeCheck(Catalog(store: store, committed: committed, tasks: tasks), options) {
                Output.line($0)
            }
            try check.run()
            Output.line(
                "checked \(check.repositories) repositories: \(check.commits) commits, \(check.tables) tables, \(check.entries) entries, \(check.objects) objects"
            )
            if check.leftovers > 0 {
                Output.line(
                    "\(check.leftovers) things that nobody names, \(check.leftoverBytes) bytes"
                        + (options.repairs ? ": \(check.removed) removed" : ": --repair removes them"))
            }
            guard check.faults == 0 else { throw LakeError(.corrupt, "the lake is damaged in \(check.faults) places") }
            Output.line("nothing is damaged")
        }
    }
}
