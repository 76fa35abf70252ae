import FoundationEssentials
import Foundations
import Glibc
import LakeTestSupport
import Testing
import Versioning

@testable import S3Backend

@Suite struct ObjectStoreTests {
    @Test func memory() throws { try checkObjectStore(MemoryObjectStore(), scheme: "mem") }

    @Test func local() throws {
        let folder = TemporaryFolder()
        let store = try LocalObjectStore(root: folder.path + "/objects")
        defer { store.close() }
        try checkObjectStore(store, scheme: "local")
    }

    @Test func localWithALog() throws {
        let folder = TemporaryFolder()
        let store = try LocalObjectStore(root: folder.path + "/objects", keepsLog: true)
        defer { store.close() }
        try checkObjectStore(store, scheme: "local")
    }

    @Test func metered() throws {
        let folder = TemporaryFolder()
        let base = try LocalObjectStore(root: folder.path + "/objects", keepsLog: true)
        defer { base.close() }
        let meter = CallMeter.ofObjects()
        let store = InterposedObjectStore(base, meter)
        try checkObjectStore(store, scheme: "local")
        try checkObjectStore(InterposedObjectStore(MemoryObjectStore(), CallMeter.ofObjects()), scheme: "mem")
        expectFailure(.invalidValue) { try store.put([1], at: ObjectLocation(scheme: "local", path: "../x")) }
        let counts = Dictionary(uniqueKeysWithValues: meter.counts.map { ($0.name, $0.count) })
        for name in ["read", "head", "list", "remove", "copy", "join", "adopt", "sync"] {
            #expect(counts[name]!.calls > 0 && counts[name]!.microseconds > 0, "\(name)")
        }
        #expect(counts["put"]!.calls > 1300 && counts["put"]!.failures == 1 && counts["read"]!.failures == 0)
    }

    /// Whoever has a while's failures made good behind him sees none.
    @Test func triedAgain() throws {
        var pace = Retries.Pace()
        (pace.wait, pace.tries, pace.budget) = (0, 20, 1_000_000)
        let outages = Outages(every: 3)
        let flaky = InterposedObjectStore(MemoryObjectStore(), outages)
        try checkObjectStore(InterposedObjectStore(flaky, Retries(pace)), scheme: "mem")
        #expect(outages.count > 1000)
    }

    /// An engine that is down is asked little more often than one that is well, and what fails for good once.
    @Test func retriesEnd() throws {
        var pace = Retries.Pace()
        (pace.wait, pace.tries, pace.budget) = (0, 4, 10)
        let retries = Retries(pace)
        let down = Outages(every: 1)
        let store = InterposedObjectStore(InterposedObjectStore(MemoryObjectStore(), down), retries)
        let location = ObjectLocation(scheme: "mem", path: "ns/x")
        expectFailure(.unavailable) { try store.head(location) }
        #expect(down.count == 4, "three more times")
        for _ in 0..<100 { expectFailure(.unavailable) { try store.head(location) } }
        #expect(down.count == 101 + 10, "the budget is spent")
        let well = InterposedObjectStore(InterposedObjectStore(MemoryObjectStore(), Outages(every: 1000)), retries)
        for _ in 0..<100 { _ = try? well.head(location) }
        _ = try? store.head(location)
        #expect(down.count == 101 + 10 + 4, "what succeeds gives it back")
        let cut = Cut(at: 1)
        expectFailure(.unavailable) {
            try InterposedObjectStore(InterposedObjectStore(MemoryObjectStore(), cut), retries).head(location)
        }
        #expect(cut.calls == 1)
    }

    @Test func memoryThatFails() throws { try checkObjectStoreFaults(scheme: "mem") { MemoryObjectStore() } }

    @Test(arguments: [false, true]) func localThatFails(keepsLog: Bool) throws {
        let folder = TemporaryFolder()
        var store: LocalObjectStore?
        var count = 0
        try checkObjectStoreFaults(scheme: "local") {
            store?.close()
            count += 1
            store = try LocalObjectStore(root: "\(folder.path)/\(count)", keepsLog: keepsLog)
            return store!
        }
        store?.close()
    }

    @Test(arguments: ["../x", "a/../../x", "/etc/passwd", "a//b", ".", "a/./b", ""]) func addressesStayUnderTheRoot(
        path: String
    ) throws {
        let folder = TemporaryFolder()
        let store = try LocalObjectStore(root: folder.path + "/objects")
        defer { store.close() }
        expectFailure(.invalidValue) { try store.put([1], at: ObjectLocation(scheme: "local", path: path)) }
        expectFailure(path.hasPrefix("/") ? .dataGone : .invalidValue) {
            try store.read(ObjectLocation(scheme: "local", path: path), 0..<1)
        }
    }

    @Test func temporaryFilesOfACrashAreRemoved() throws {
        let folder = TemporaryFolder()
        var store = try LocalObjectStore(root: folder.path + "/objects")
        _ = try store.makeWriter(ObjectLocation(scheme: "local", path: "ns/x"))
        store.close()
        #expect(FileManager.default.createFile(atPath: folder.path + "/objects/.incoming/left", contents: nil))
        store = try LocalObjectStore(root: folder.path + "/objects")
        defer { store.close() }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path + "/objects/.incoming").isEmpty)
    }

    @Test func filesAreAdopted() throws {
        let folder = TemporaryFolder()
        let store = try LocalObjectStore(root: folder.path + "/objects")
        let place = ObjectLocation(scheme: "local", path: "ns/data/x")
        defer { store.close() }
        #expect(FileManager.default.createFile(atPath: folder.path + "/file", contents: Data([1, 2, 3])))
        #expect(try store.adopt(file: folder.path + "/file", as: place, .eventual) == 3)
        try store.synchronize()
        #expect(
            try store.readAll(place) == [1, 2, 3] && !FileManager.default.fileExists(atPath: folder.path + "/file"))
    }

    /// More writers at once than threads that write beside them: every object is what was given, byte for byte.
    @Test func largeObjectsAreWhole() throws {
        let folder = TemporaryFolder()
        let store = try LocalObjectStore(root: folder.path + "/objects")
        defer { store.close() }
        let threads = (0..<5).map { number in
            Thread(name: "writer") {
                do {
                    var random = SeededRandom(seed: UInt64(number))
                    let place = ObjectLocation(scheme: "local", path: "ns/large-\(number)")
                    let writer = try store.makeWriter(place)
                    var given: [UInt8] = []
                    while given.count < 6 << 20 {
                        let piece = (0..<Int.random(in: 1...300_000, using: &random)).map {
                            UInt8(truncatingIfNeeded: $0 &* 31 &+ given.count)
                        }
                        unsafe try piece.withUnsafeBytes { unsafe try writer.write($0) }
                        given += piece
                    }
                    #expect(try writer.finish(.durable) == Int64(given.count))
                    #expect(try store.readAll(place) == given)
                    let second = try store.makeWriter(ObjectLocation(scheme: "local", path: "ns/given-up-\(number)"))
                    unsafe try given.withUnsafeBytes { unsafe try second.write($0) }
                    second.abort()
                } catch { Issue.record(error) }
            }
        }
        for thread in threads { thread.join() }
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path + "/objects/.incoming").isEmpty)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path + "/objects/ns").count == 5)
    }

    /// What goes wrong on the thread beside is told at the latest when the object is finished.
    @Test func fullDisksAreTold() throws {
        let writers = FileOutput.Threads(width: 1)
        defer { writers.stop() }
        let file = unsafe open("/dev/zero", O_WRONLY)
        let output = FileOutput(file, threads: writers)
        let piece = [UInt8](repeating: 1, count: 1 << 20)
        defer { close(file) }
        for _ in 0..<4 { unsafe try piece.withUnsafeBytes { unsafe try output.write($0) } }
        try output.wait()
        let full = unsafe open("/dev/full", O_WRONLY)
        defer { close(full) }
        #expect(dup2(full, file) == file)
        #expect {
            for _ in 0..<4 { unsafe try piece.withUnsafeBytes { unsafe try output.write($0) } }
            try output.flush()
        } throws: { ($0 as? StoreError)?.code == .noSpace }
    }
}
