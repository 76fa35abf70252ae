import FoundationEssentials
package import Foundations
import Glibc
import Synchronization
package import Testing
package import Versioning

/// Random numbers that a seed repeats (SplitMix64).
package struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64
    package init(seed: UInt64) { state = seed }
    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

/// The call fails, and just so: an error of another code is as wrong as none.
package func expectFailure<Result>(
    _ code: LakeError.Code, _ comment: @autoclosure () -> String = "",
    sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Result
) {
    do {
        _ = try body()
        Issue.record("nothing was thrown where \(code) was to be. \(comment())", sourceLocation: sourceLocation)
    } catch {
        #expect(LakeError(error).code == code, "\(error) \(comment())", sourceLocation: sourceLocation)
    }
}

/// A folder that is gone when the test is.
package final class TemporaryFolder: Sendable {
    package let path: String
    package init() {
        path = "/tmp/lakefuse-test-\(randomUUID())"
        unsafe mkdir(path, 0o700)
    }
    deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// Golden data: what is in `Tests/Golden`, and more of it beside the project, which a user's clone has not.
package enum Fixtures {
    // Tests run in the package's folder.
    private static let golden = FileManager.default.currentDirectoryPath + "/Tests/Golden/"
    private static let shared: String? = {
        let path = FileManager.default.currentDirectoryPath + "/../shared/fixtures"
        guard FileManager.default.fileExists(atPath: path) else {
            print("skipped: ../shared/fixtures is not here, so tests against what is there do not run")
            return nil
        }
        return path + "/"
    }()
    /// Whether there is more than `Tests/Golden`.
    package static var areShared: Bool { shared != nil }

    private static func path(_ name: String) -> String {
        let own = golden + name
        return FileManager.default.fileExists(atPath: own) ? own : (shared ?? golden) + name
    }

    package static func bytes(_ name: String) throws -> [UInt8] {
        guard let data = FileManager.default.contents(atPath: path(name)) else {
            throw LakeError(.unavailable, "no fixture \(name)")
        }
        return Array(data)
    }

    package static func json(_ name: String) throws -> JSON {
        try JSONDecoder().decode(JSON.self, from: Data(bytes(name)))
    }
    /// Unpacks an archive into a folder.
    package static func unpack(_ name: String, into folder: String) throws {
        var process: pid_t = 0
        var status: Int32 = 0
        let arguments: [String] = ["tar", "xzf", path(name), "-C", folder]
        var words: [UnsafeMutablePointer<CChar>?] = unsafe []
        for argument in arguments { unsafe words.append(strdup(argument)) }
        unsafe words.append(nil)
        defer { unsafe words.forEach { unsafe free($0) } }
        guard unsafe posix_spawnp(&process, "tar", nil, nil, &words, environ) == 0,
            unsafe waitpid(process, &status, 0) == process, status == 0
        else {
            throw LakeError(.unavailable, "cannot unpack \(name)")
        }
    }

    package static func lines(_ name: String) throws -> [JSON] {
        try bytes(name).split(separator: 0x0a).map { try JSONDecoder().decode(JSON.self, from: Data($0)) }
    }
}

/// Any JSON value, for reading fixtures.
package indirect enum JSON: Decodable, Sendable {
    case null
    case bool(Bool)
    case number(Double)
    case text(String)
    case list([JSON])
    case object([String: JSON])

    package init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let flag = try? value.decode(Bool.self) {
            self = .bool(flag)
        } else if let number = try? value.decode(Double.self) {
            self = .number(number)
        } else if let text = try? value.decode(String.self) {
            self = .text(text)
        } else if let list = try? value.decode([JSON].self) {
            self = .list(list)
        } else {
            self = .object(try value.decode([String: JSON].self))
        }
    }

    package subscript(key: String) -> JSON? { if case .object(let fields) = self { fields[key] } else { nil } }
    package var string: String { if case .text(let text) = self { text } else { "" } }
    package var integer: Int { if case .number(let number) = self { Int(number) } else { 0 } }
    package var items: [JSON] { if case .list(let list) = self { list } else { [] } }
    package var fields: [String: JSON] { if case .object(let fields) = self { fields } else { [:] } }
}

/// Every `KeyValueStore` passes this, whatever it is made of: a model in memory, conditions, pages, batches.
package func checkKeyValueStore(_ store: some KeyValueStore, seed: UInt64) throws {
    let partitions = [Partition("p"), Partition("p/q"), Partition("other")]
    var model: [Partition: [Key: [UInt8]]] = [:]
    var random = SeededRandom(seed: seed)
    func key() -> Key {
        Key(
            (0..<Int.random(in: 1...3, using: &random)).map { _ in
                [0, 1, 0x2f, 0x61, 0xff].randomElement(using: &random)!
            })
    }
    for step in 0..<300 {
        let partition = partitions.randomElement(using: &random)!
        let key = key()
        let value = (0..<Int.random(in: 0...20, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
        let old = model[partition]?[key]
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<6:
            let condition: Precondition? = [nil, .absent, .present, .matches(old ?? []), .matches([1])].randomElement(
                using: &random)!
            let isAllowed =
                switch condition {
                case nil: true
                case .absent: old == nil
                case .present: old != nil
                case .matches(let bytes): old == bytes
                }
            let isDone = try store.trySet(
                value, for: key, in: partition, if: condition, Bool.random(using: &random) ? .durable : .eventual)
            #expect(isDone == isAllowed, "step \(step), seed \(seed)")
            if isDone { model[partition, default: [:]][key] = value }
        case 6:
            try store.remove(key, in: partition)
            model[partition]?[key] = nil
        case 7:
            let other = Key(key.bytes + [7])
            try store.write(
                [.set(partition, key, value), .remove(partition, other), .set(partitions[0], other, [9])], .durable)
            model[partition, default: [:]][key] = value
            model[partition]?[other] = nil
            model[partitions[0], default: [:]][other] = [9]
        case 8 where step % 50 == 0:
            try store.removeAll(in: partition)
            model[partition] = nil
        default:
            let from = Bool.random(using: &random) ? key : nil
            let end = Bool.random(using: &random) ? Key(key.bytes + [3]) : nil
            let limit = Int.random(in: 1...9, using: &random)
            let wanted = (model[partition] ?? [:]).filter {
                ($0.key >= from ?? Key([])) && (end == nil || $0.key < end!)
            }.sorted { $0.key < $1.key }.prefix(limit)
            let page = try store.page(of: partition, from: from, before: end, limit: limit)
            #expect(
                page.map(\.key) == wanted.map(\.key) && page.map(\.value) == wanted.map(\.value),
                "step \(step), seed \(seed)")
        }
        #expect(try store.value(for: key, in: partition) == model[partition]?[key], "step \(step), seed \(seed)")
    }
    #expect(try store.partitions() == model.filter { !$0.value.isEmpty }.keys.sorted { $0.name < $1.name })
}

/// What a batch requires holds for all of it, before all of it.
package func checkRequirements(_ store: any KeyValueStore) throws {
    let partition = Partition("p")
    #expect(
        try store.tryWrite(
            [.set(partition, "a", [1]), .require(partition, "a", .absent), .set(partition, "b", [1])], .durable)
    )
    #expect(
        try !store.tryWrite(
            [
                .remove(partition, "b"), .require(partition, "b", .matches([1])),
                .require(partition, "a", .matches([2])),
            ], .durable))
    #expect(try !store.tryWrite([.require(partition, "c", .present), .set(partition, "a", [9])], .eventual))
    #expect(try store.value(for: "a", in: partition) == [1] && store.value(for: "b", in: partition) == [1])
    #expect(
        try store.tryWrite(
            [
                .require(partition, "b", .matches([1])), .require(partition, "c", .absent),
                .remove(partition, "b"),
            ], .durable))
    #expect(try store.value(for: "b", in: partition) == nil)
    let names: [(partition: Partition, key: Key)] = [
        (partition, "b"), (partition, "a"), (Partition("q"), "a"), (partition, "a"),
    ]
    #expect(try store.values(for: names) == [nil, [1], nil, [1]])
}

/// Many threads at once: of those who count in one record none is lost, of those who race for a name one wins, and
/// everybody reads what was acknowledged before.
package func checkConcurrency(_ store: any KeyValueStore, threads width: Int = 12, steps: Int = 40) throws {
    let partition = Partition("p")
    let won = Mutex<[Key: Int]>([:])
    try store.set(Array("0".utf8), for: "counter", in: partition)
    let threads = (0..<width).map { worker in
        Thread(name: "writer") {
            do {
                for step in 0..<steps {
                    while true {
                        let old = try store.value(for: "counter", in: partition)!
                        let next = Array("\(Int(String(decoding: old, as: UTF8.self))! + 1)".utf8)
                        if try store.trySet(next, for: "counter", in: partition, if: .matches(old)) { break }
                    }
                    let name = Key("name/\(step)")
                    if try store.trySet([UInt8(worker)], for: name, in: partition, if: .absent) {
                        won.withLock { $0[name, default: 0] += 1 }
                    }
                    let own = Key("own/\(worker)/\(step)")
                    // Beside a record that others look at meanwhile, and one that none of them may make.
                    let isDone = try store.tryWrite(
                        [
                            .require(partition, "name/0", .present), .require(partition, "never", .absent),
                            .set(Partition("q"), own, [UInt8(step)]), .set(partition, own, [UInt8(step)]),
                        ], step % 2 == 0 ? .durable : .eventual)
                    #expect(isDone)
                    let read = try store.values(for: [(partition, own), (Partition("q"), own), (partition, "never")])
                    #expect(read == [[UInt8(step)], [UInt8(step)], nil])
                }
            } catch { Issue.record(error) }
        }
    }
    for thread in threads { thread.join() }
    #expect(try store.value(for: "counter", in: partition) == Array("\(width * steps)".utf8))
    let winners = won.withLock { $0 }
    #expect(winners.count == steps && winners.values.allSatisfy { $0 == 1 })
    #expect(try store.page(of: partition, prefix: "own/", limit: 100_000).count == width * steps)
    #expect(try store.value(for: "never", in: partition) == nil)
}

/// A catalog on stores in memory, without threads but its pool's.
package final class MemoryLake: Sendable {
    package let pool = WorkerPool(name: "test", width: 2)
    private let tasks = WorkerPool(name: "test-task", width: 1)
    package let store: any KeyValueStore
    package let catalog: Catalog

    package init(
        store: any KeyValueStore = InMemoryKeyValueStore(), objects: any ObjectStore, raggedness: UInt64 = 50_000,
        isAlone: Bool = true, pace: ChangeLog.Pace = ChangeLog.Pace(), hooks: (any HookRunner)? = nil
    ) {
        self.store = store
        var parameters = CommittedStore.Parameters()
        parameters.raggednessEntries = raggedness
        catalog = Catalog(
            store: store,
            committed: CommittedStore(objects: objects, pool: pool, cacheBytes: 1 << 20, parameters: parameters),
            tasks: tasks, isAlone: isAlone, pace: pace, hooks: hooks)
    }

    deinit { stop() }

    /// Ends its threads; what they were at is done then. Nothing can be asked of it afterwards.
    package func stop() {
        catalog.stop()
        tasks.stop()
        pool.stop()
    }

    package func make(_ name: RepositoryID = "repo") throws {
        _ = try catalog.createRepository(
            name, storageNamespace: "mem://\(name)", defaultBranch: "main", schemes: ["mem"])
    }

    /// An entry whose content is told by `text`.
    package func entry(_ text: String) -> Entry {
        Entry(
            address: "data/\(text)", lastModified: Timestamp(seconds: 1), size: Int64(text.utf8.count),
            eTag: Hex.text(Hash.digest(.md5, Array(text.utf8))), contentType: "text/plain")
    }

    package func put(_ path: String, _ text: String, on branch: BranchName = "main") throws {
        try catalog.stage(entry(text), at: Key(path), on: branch, in: "repo")
    }

    /// A commit's id, as a ref.
    @discardableResult
    package func commit(_ message: String, on branch: BranchName = "main") throws -> String {
        try catalog.commit(CommitRequest(committer: "t", message: message), on: branch, in: "repo").id.text
    }

    /// Every path and the text of its entry.
    package func contents(_ ref: String) throws -> [String: String] {
        var query = Catalog.ListQuery()
        query.limit = 1_000_000
        var found: [String: String] = [:]
        for case .object(let path, let entry) in try catalog.list(catalog.resolve(ref, in: "repo"), query).items {
            found[path.description] = String(entry.address.dropFirst(5))
        }
        return found
    }
}

// Tests name things by what they put together; the product makes ids of text where it comes in.
extension RepositoryID: ExpressibleByStringInterpolation {}
extension BranchName: ExpressibleByStringInterpolation {}
extension CommitID: ExpressibleByStringInterpolation {}
extension StagingToken: ExpressibleByStringInterpolation {}
