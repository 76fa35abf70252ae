import Foundations
import LakeTestSupport
import S3Backend
import Synchronization
import Testing

@testable import Versioning

/// Two catalogs on one store are two processes: each has only its own memory.
@Suite struct ManyProcessesTests {
    private let store = InMemoryKeyValueStore()
    private let objects = MemoryObjectStore()
    private let first: MemoryLake, second: MemoryLake
    private let heard = Heard()

    /// Changes that the second process was told.
    private final class Heard: Sendable {
        private let changes = Mutex<[Change]>([])
        private let came = CountingSemaphore()
        func add(_ change: Change) {
            changes.withLock { $0.append(change) }
            came.post()
        }
        /// Waits until a change that fits is there.
        func wait(_ what: String, for fits: (Change) -> Bool) {
            let end = Timestamp.monotonicMilliseconds() + 10_000
            while !changes.withLock({ $0.contains(where: fits) }) {
                guard Timestamp.monotonicMilliseconds() < end else {
                    Issue.record("nobody told: \(what); told: \(changes.withLock { $0 })")
                    return
                }
                _ = came.wait(milliseconds: 100)
            }
        }
        func count(where fits: (Change) -> Bool) -> Int { changes.withLock { $0.filter(fits).count } }
        func clear() { changes.withLock { $0 = [] } }
    }

    private static var pace: ChangeLog.Pace {
        var pace = ChangeLog.Pace()
        (pace.tick, pace.beat, pace.silence) = (20, 50, 500)
        return pace
    }

    init() throws {
        first = MemoryLake(store: store, objects: objects, isAlone: false, pace: Self.pace)
        second = MemoryLake(store: store, objects: objects, isAlone: false, pace: Self.pace)
        try first.make()
        first.catalog.recover()
        second.catalog.recover()
        _ = second.catalog.events.subscribe { [heard] _ in
            { change in
                heard.add(change)
                return nil
            }
        }
    }

    private func end() {
        first.catalog.finish()
        second.catalog.finish()
        first.stop()
        second.stop()
    }

    @Test func whatOneDoesTheOtherIsTold() throws {
        defer { end() }
        try first.put("a/b", "1")
        // Read at once, told soon.
        #expect(try second.contents("main") == ["a/b": "1"])
        heard.wait("a written key") {
            if case .keys(let keys) = $0.kind { $0.branch == "main" && keys.contains("a/b") } else { false }
        }
        try first.commit("one")
        heard.wait("a commit") { if case .committed = $0.kind { $0.repository == "repo" } else { false } }
        _ = try first.catalog.createBranch("side", from: "main", in: "repo")
        try first.put("c", "2", on: "side")
        try first.commit("two", on: "side")
        _ = try first.catalog.merge(
            "side", into: "main", CommitRequest(committer: "t", message: "m"), Catalog.MergeOptions(), in: "repo")
        heard.wait("a merge") { if case .moved = $0.kind { $0.branch == "main" } else { false } }
        _ = try second.catalog.repository("repo")
        try first.catalog.deleteRepository("repo", force: false)
        heard.wait("a deletion") { if case .removed = $0.kind { $0.branch == nil } else { false } }
        expectFailure(.notFound(.repository)) { try second.catalog.repository("repo") }
        // Each is told once, and nobody what it did itself.
        #expect(heard.count { if case .committed = $0.kind { $0.branch == "main" } else { false } } == 1)
    }

    /// A process that is killed between a change and its telling leaves nobody with an old state.
    @Test func whoFallsSilentIsTakenToHaveChangedEverything() throws {
        defer { end() }
        let store = store
        let cut = CutOff(store)
        let third = MemoryLake(store: cut, objects: objects, isAlone: false, pace: Self.pace)
        third.catalog.recover()
        try third.put("x", "1")
        heard.wait("the third's change") { if case .keys(["x"]) = $0.kind { true } else { false } }
        heard.clear()
        cut.end()
        heard.wait("its silence") { if case .everything = $0.kind { $0.repository == "repo" } else { false } }
        #expect(heard.count { if case .everything = $0.kind { true } else { false } } == 1)
        // It was only stopped for a while: what it does now is told again.
        heard.clear()
        cut.begin()
        try third.put("y", "2")
        heard.wait("what it did when it woke") { if case .keys(["y"]) = $0.kind { true } else { false } }
        third.catalog.finish()
        third.stop()
        // An orderly end is none of these.
        heard.clear()
        _ = CountingSemaphore().wait(milliseconds: 800)
        #expect(heard.count { if case .everything = $0.kind { true } else { false } } == 0)
    }

    /// A store whose writes of the change log stop, as those of a process that was killed or stopped do.
    private final class CutOff: KeyValueStore {
        private let base: any KeyValueStore
        private let isCut = Atomic<Bool>(false)
        init(_ base: any KeyValueStore) { self.base = base }
        func end() { isCut.store(true, ordering: .releasing) }
        func begin() { isCut.store(false, ordering: .releasing) }
        private func check() throws(StoreError) {
            if isCut.load(ordering: .acquiring) { throw StoreError(.unavailable, "cut off") }
        }
        func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]? {
            try base.value(for: key, in: partition)
        }
        func set(
            _ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?,
            _ durability: Durability
        ) throws(StoreError) {
            try check()
            try base.set(value, for: key, in: partition, if: condition, durability)
        }
        func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError) {
            try check()
            try base.write(batch, durability)
        }
        func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(
            key: Key, value: [UInt8]
        )] { try base.page(of: partition, from: from, before: end, limit: limit) }
        func removeAll(in partition: Partition) throws(StoreError) { try base.removeAll(in: partition) }
        func partitions() throws(StoreError) -> [Partition] { try base.partitions() }
    }

    /// One process replaces what another one has named a second time.
    @Test func anObjectThatAnotherProcessNamesStays() throws {
        defer { end() }
        let upload = try first.catalog.beginUpload(in: first.catalog.repository("repo"))
        unsafe try Array("bytes".utf8).withUnsafeBytes { unsafe try upload.write($0) }
        try upload.keep()
        var entry = first.entry("bytes")
        entry.address = upload.address
        entry.size = 5
        try first.catalog.stage(entry, at: "a", on: "main", in: "repo")
        let copy = try second.catalog.copy(
            "a", at: "main", from: "repo", to: "b", on: "main", in: "repo", isShallow: true)
        try first.put("a", "other")
        first.catalog.finish()
        #expect(
            try objects.readAll(copy.location(in: second.catalog.repository("repo").namespace)) == Array("bytes".utf8))
    }

    /// What two processes write, commit and merge on the same branches at once is all there.
    @Test func twoWritersAndCommittersLoseNothing() throws {
        defer { end() }
        let lakes = [first, second]
        let failures = Mutex<[String]>([])
        let threads = (0..<4).map { worker in
            Thread(name: "worker") {
                let lake = lakes[worker % 2]
                for number in 0..<60 {
                    do {
                        try lake.put("w\(worker)/\(number)", "\(worker)-\(number)")
                        if number % 10 == 9 {
                            do { try lake.commit("\(worker) \(number)") } catch let error as LakeError
                                where error.code == .noChanges
                            {}
                        }
                    } catch {
                        failures.withLock { $0.append("\(error)") }
                    }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(failures.withLock { $0 } == [])
        for lake in lakes { #expect(try lake.contents("main").count == 240) }
    }

    /// A reader that was too late for some records takes everything as changed.
    @Test func whoIsLateIsToldEverything() throws {
        defer { end() }
        var pace = Self.pace
        pace.keep = 0
        let told = Mutex<[Change]>([])
        let writer = ChangeLog(store, process: "w", pace: pace) { _ in }
        let reader = ChangeLog(store, process: "r", pace: pace) { change in told.withLock { $0.append(change) } }
        try writer.enter("repo")
        for number in 0..<3 {
            writer.add(Change(repository: "repo", branch: "b", kind: .keys([Key("\(number)")])))
            writer.beat()
        }
        reader.beat()
        told.withLock { $0 = [] }
        for number in 3..<9 {
            writer.add(Change(repository: "repo", branch: "b", kind: .keys([Key("\(number)")])))
            _ = CountingSemaphore().wait(milliseconds: 3)
            writer.beat()
        }
        reader.beat()
        #expect(
            told.withLock { $0.contains { if case .everything = $0.kind { $0.repository == "repo" } else { false } } })
    }

    @Test func recordsOfTheLogAreBounded() throws {
        let keys = (0..<5000).map { Key("some/long/path/of/an/object/\($0)") }
        let changes = [
            Change(repository: "r", branch: "b", kind: .keys(keys)),
            Change(repository: "r", branch: nil, kind: .removed),
            Change(repository: nil, branch: nil, kind: .everything),
            Change(repository: "r", branch: "b", kind: .moved(from: "1", to: "2")),
        ]
        let pieces = LoggedChanges.pieces(changes, byteCount: 20_000)
        #expect(pieces.count > 5)
        #expect(pieces.allSatisfy { $0.count < 40_000 })
        let read = try pieces.flatMap { try LoggedChanges.decode($0) }
        var found: [Key] = []
        for change in read { if case .keys(let some) = change.kind { found += some } }
        #expect(found == keys)
        #expect(read.contains { $0.repository == nil && $0.branch == nil })
        guard case .moved("1", "2")? = read.last?.kind else {
            Issue.record("the last is no move: \(read.last!)")
            return
        }
    }
}
