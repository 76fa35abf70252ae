import FoundationEssentials
import Foundations
import Glibc
import LakeTestSupport
import Synchronization
import Testing
import Versioning

@testable import CacheStore

@Suite(.enabled(if: PostgresServer.isInstalled, "PostgreSQL 15 is not installed (make test-packages does it)"))
struct PostgresStoreTests {
    /// A store with a table of its own.
    private func open(_ table: String = "t\(XID.make())", on server: PostgresServer? = nil) throws -> PostgresStore {
        var settings = PostgresStore.Settings()
        settings.address = try (server ?? PostgresServer.shared.get()).address + "&lakefskv_table=\(table)"
        return try PostgresStore(settings)
    }

    @Test(arguments: 1...4) func suite(seed: UInt64) throws {
        let store = try open()
        defer { store.close() }
        try checkKeyValueStore(store, seed: seed)
    }

    @Test func requirements() throws {
        let store = try open()
        defer { store.close() }
        try checkRequirements(store)
    }

    @Test func manyAtOnce() throws {
        let store = try open()
        defer { store.close() }
        try checkConcurrency(store)
    }

    /// lakeFS's own dump opens: every record is found by its key, in the part of the table that is computed for it.
    @Test func partsAreThoseOfTheServer() throws {
        let server = try PostgresServer.shared.get()
        let table = "t\(XID.make())"
        let store = try open(table)
        defer { store.close() }
        let connection = try PostgresConnection(server.address, name: "test")
        var shape = PostgresTable(table)
        try shape.setUp(connection)
        #expect(shape.isDivided)
        #expect(PostgresTable.lock(ofTable: "kv") == 4_109_714_936)
        for length in 1..<80 {
            let partition = Partition(Key((0..<length).map { UInt8(truncatingIfNeeded: $0 &* 91 &+ length) }))
            try store.set([1], for: "k", in: partition)
            let found = try connection.run([
                PostgresStatement(
                    "SELECT tableoid::regclass::text FROM \(table) WHERE partition_key = $1",
                    [.bytes(partition.name.bytes)])
            ])[0].rows
            #expect(
                found.map { String(decoding: $0[0]!, as: UTF8.self) } == [
                    "\(table)_\(PostgresTable.partNumber(of: partition.name.bytes))"
                ])
        }
    }

    /// Any table of the three columns and the key will do; others are refused, in words.
    @Test func otherTables() throws {
        let server = try PostgresServer.shared.get()
        let connection = try PostgresConnection(server.address, name: "test")
        for statement in [
            "CREATE TABLE plain (partition_key BYTEA NOT NULL, key BYTEA NOT NULL, value BYTEA NOT NULL, PRIMARY KEY (partition_key, key))",
            "CREATE TABLE texts (partition_key TEXT NOT NULL, key BYTEA NOT NULL, value BYTEA NOT NULL)",
            "CREATE TABLE keyless (partition_key BYTEA NOT NULL, key BYTEA NOT NULL, value BYTEA NOT NULL)",
        ] { _ = try connection.run([PostgresStatement(statement, [])]) }
        let plain = try open("plain")
        defer { plain.close() }
        try checkKeyValueStore(plain, seed: 9)
        for table in ["texts", "keyless"] {
            #expect { try open(table) } throws: {
                ($0 as? StoreError)?.code == .refused && ($0 as? StoreError)?.message.contains(table) == true
            }
        }
        var wrong = PostgresStore.Settings()
        wrong.address = server.address.split(separator: "secret").joined(separator: "guess")
        #expect { try PostgresStore(wrong) } throws: {
            let message = ($0 as? StoreError)?.message ?? ""
            return message.contains("password") && !message.contains("guess") && !message.contains("\n")
        }
    }

    @Test func notificationsAreHeard() throws {
        let table = "t\(XID.make())"
        let first = try open(table)
        let second = try open(table)
        defer {
            first.close()
            second.close()
        }
        let heard = CountingSemaphore()
        #expect(second.listen { heard.post() })
        #expect(heard.wait(milliseconds: 5000), "once when it begins")
        // The connection may not be there yet.
        var isHeard = false
        for _ in 0..<50 where !isHeard {
            first.announce()
            isHeard = heard.wait(milliseconds: 100)
        }
        #expect(isHeard)
    }

    /// A server that is killed and comes back amid writes: what was acknowledged is there, and nothing was done twice.
    @Test func killedAmidWrites() throws {
        let server = try PostgresServer()
        defer { server.end() }
        let store = try open("kv", on: server)
        defer { store.close() }
        let partition = Partition("p")
        let isOver = Atomic<Bool>(false)
        let told = Mutex<(done: Int, unknown: Int, keys: [Key])>((0, 0, []))
        try store.set(Array("0".utf8), for: "counter", in: partition)
        let threads = (0..<6).map { worker in
            Thread(name: "writer") {
                var number = 0
                while !isOver.load(ordering: .relaxed) {
                    number += 1
                    do {
                        if worker < 3 {
                            // Counts in one record, and leaves a record of its own for each step.
                            let old = try store.value(for: "counter", in: partition)!
                            let next = Int(String(decoding: old, as: UTF8.self))! + 1
                            let isDone = try store.tryWrite(
                                [
                                    .require(partition, "counter", .matches(old)),
                                    .set(partition, "counter", Array("\(next)".utf8)),
                                    .set(partition, Key("step/\(next)"), [UInt8(worker)]),
                                ], .durable)
                            if isDone { told.withLock { $0.done += 1 } }
                        } else {
                            let key = Key("own/\(worker)/\(number)")
                            try store.set([1], for: key, in: partition)
                            told.withLock { $0.keys.append(key) }
                        }
                    } catch let error as StoreError {
                        if error.message.contains("whether") { told.withLock { $0.unknown += 1 } }
                        #expect(error.code == .away)
                    } catch { Issue.record(error) }
                }
            }
        }
        for _ in 0..<3 {
            sleep(milliseconds: 700)
            try server.kill()
            sleep(milliseconds: 300)
            try server.start()
        }
        sleep(milliseconds: 700)
        isOver.store(true, ordering: .relaxed)
        for thread in threads { thread.join() }
        let (done, unknown, keys) = told.withLock { $0 }
        let last = try #require(try store.value(for: "counter", in: partition))
        let counter = Int(String(decoding: last, as: UTF8.self))!
        #expect(done > 100 && keys.count > 100, "\(done) \(keys.count)")
        #expect(
            (done...done + unknown).contains(counter), "\(done) acknowledged, \(unknown) unknown, \(counter) counted")
        let steps = try store.page(of: partition, prefix: "step/", limit: 1_000_000)
        #expect(steps.count == counter)
        let own = Set(try store.page(of: partition, prefix: "own/", limit: 1_000_000).map(\.key))
        #expect(keys.allSatisfy(own.contains))
    }

    /// A disk without room refuses writes, and what is there can be read; with room again all is well.
    @Test(.enabled(if: getuid() == 0, "needs root for a disk of its own")) func fullDisk() throws {
        let folder = "/tmp/lakefuse-full-\(XID.make())"
        try PostgresServer.run(["mkdir", "-p", folder], as: false)
        try PostgresServer.run(["mount", "-t", "tmpfs", "-o", "size=120m,mode=1777", "tmpfs", folder], as: false)
        defer {
            try? PostgresServer.run(["umount", "-l", folder], as: false)
            unsafe rmdir(folder)
        }
        let server = try PostgresServer(folder: folder + "/pg")
        defer { server.end() }
        let store = try open("kv", on: server)
        defer { store.close() }
        let partition = Partition("p")
        try store.set([7], for: "first", in: partition)
        var random = SystemRandomNumberGenerator()
        let large = (0..<400_000).map { _ in UInt8.random(in: 0...255, using: &random) }
        var written = 0
        var failure: StoreError?
        for number in 0..<400 where failure == nil {
            do throws(StoreError) {
                try store.set(large, for: Key("k\(number)"), in: partition)
                written += 1
            } catch { failure = error }
        }
        #expect(failure?.code == .noSpace || failure?.code == .away, "\(String(describing: failure))")
        #expect(written > 10)
        try PostgresServer.run(["mount", "-o", "remount,size=400m", folder], as: false)
        // A log that could not be written may have made it restart.
        var isBack = false
        for _ in 0..<100 where !isBack {
            isBack = (try? store.set([8], for: "again", in: partition)) != nil
            if !isBack { sleep(milliseconds: 100) }
            if !isBack, (try? server.start()) != nil { continue }
        }
        #expect(isBack)
        #expect(try store.value(for: "first", in: partition) == [7])
        for number in 0..<written { #expect(try store.value(for: Key("k\(number)"), in: partition) == large) }
    }
}
