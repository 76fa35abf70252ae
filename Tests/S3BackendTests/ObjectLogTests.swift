import FoundationEssentials
import Foundations
import LakeTestSupport
import Synchronization
import Testing
import Versioning

@testable import S3Backend

/// Small objects on their way to be files. A copy of the folder is what a crash at that moment leaves.
@Suite struct ObjectLogTests {
    private let folder = TemporaryFolder()
    private var root: String { folder.path + "/objects" }

    private static func place(_ name: String) -> ObjectLocation {
        ObjectLocation(scheme: "local", path: "ns/data/\(name)")
    }

    private func segments(of root: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: root + "/.log").sorted()
    }

    private func isFile(_ name: String, in root: String) -> Bool {
        FileManager.default.fileExists(atPath: "\(root)/ns/data/\(name)")
    }

    /// Opens a copy of the folder as it is now.
    private func afterACrash(_ body: (LocalObjectStore, String) throws -> Void) throws {
        let copy = folder.path + "/copy-\(UUID().uuidString)"
        try FileManager.default.copyItem(atPath: root, toPath: copy)
        let store = try LocalObjectStore(root: copy)
        defer { store.close() }
        try body(store, copy)
    }

    @Test func aDurableObjectSurvivesACrashBeforeItIsAFile() throws {
        let store = try LocalObjectStore(root: root, keepsLog: true)
        try store.put([1, 2, 3], at: Self.place("a"))
        try store.put([], at: Self.place("empty"))
        #expect(try store.readAll(Self.place("a")) == [1, 2, 3])
        #expect(try store.size(of: Self.place("empty")) == 0)
        #expect(!isFile("a", in: root))
        try afterACrash { (store: LocalObjectStore, root: String) throws in
            #expect(try store.readAll(Self.place("a")) == [1, 2, 3])
            #expect(try store.readAll(Self.place("empty")).isEmpty)
            #expect(isFile("a", in: root))
            #expect(isFile("empty", in: root))
            #expect(try segments(of: root).isEmpty)
        }
        store.close()
        #expect(isFile("a", in: root))
        #expect(try segments(of: root).isEmpty)
    }

    @Test func anOrderedObjectIsDurableWithTheNextSync() throws {
        let store = try LocalObjectStore(root: root, keepsLog: true)
        defer { store.close() }
        try store.put([7], at: Self.place("a"), .ordered)
        #expect(try store.readAll(Self.place("a")) == [7])
        try afterACrash { (store: LocalObjectStore, _: String) throws in
            #expect(try store.size(of: Self.place("a")) == nil)
        }
        try store.synchronize()
        try afterACrash { (store: LocalObjectStore, _: String) throws in
            #expect(try store.readAll(Self.place("a")) == [7])
        }
    }

    @Test func aWalkOfOneObjectGivesIt() throws {
        let store = try LocalObjectStore(root: root, keepsLog: true)
        defer { store.close() }
        try store.put([1, 2], at: Self.place("a"))
        var found: [StoredObject] = []
        try store.walk(Self.place("a")) { found.append($0) }
        #expect(found.map(\.location) == [Self.place("a")])
        #expect(found.map(\.byteCount) == [2])
    }

    @Test func whatWasRemovedDoesNotComeBack() throws {
        let store = try LocalObjectStore(root: root, keepsLog: true)
        defer { store.close() }
        try store.put([1], at: Self.place("a"))
        try store.put([2], at: Self.place("unwritten"), .ordered)
        try store.remove(Self.place("a"))
        try store.remove(Self.place("unwritten"))
        #expect(try store.size(of: Self.place("a")) == nil)
        try store.put([3], at: Self.place("b"))
        try afterACrash { (store: LocalObjectStore, root: String) throws in
            #expect(try store.readAll(Self.place("b")) == [3])
            #expect(!isFile("a", in: root) && !isFile("unwritten", in: root))
        }
        // Nor when its turn to be a file comes.
        _ = try store.list(ObjectLocation(scheme: "local", path: "ns"), after: nil, limit: 10)
        #expect(isFile("b", in: root) && !isFile("a", in: root))
    }

    @Test func aLogThatIsCutAnywhereGivesWhatIsWhole() throws {
        let store = try LocalObjectStore(root: root, keepsLog: true)
        var ends: [Int] = []
        let bodies = (0..<6).map { number in (0..<number * 40).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ number) } }
        for (number, body) in bodies.enumerated() {
            try store.put(body, at: Self.place("\(number)"))
            ends.append(try #require(FileManager.default.contents(atPath: root + "/.log/0")).count)
        }
        let log = try #require(FileManager.default.contents(atPath: root + "/.log/0"))
        store.close()
        for cut in 0...log.count {
            let copy = folder.path + "/cut-\(cut)"
            try FileManager.default.createDirectory(atPath: copy + "/.log", withIntermediateDirectories: true)
            // What a disk had there before, instead of what did not arrive.
            let left = log.prefix(cut) + Data(repeating: cut % 2 == 0 ? 0 : 0x4b, count: log.count - cut)
            #expect(FileManager.default.createFile(atPath: copy + "/.log/0", contents: left))
            let store = try LocalObjectStore(root: copy)
            for (number, body) in bodies.enumerated() {
                if ends[number] <= cut {
                    #expect(try store.readAll(Self.place("\(number)")) == body)
                } else {
                    #expect(try store.size(of: Self.place("\(number)")) == nil)
                }
            }
            store.close()
            try FileManager.default.removeItem(atPath: copy)
        }
    }

    /// Several threads write, read, replace and remove their own objects, while all become files again and again.
    @Test func manyAtOnce() throws {
        let store = try LocalObjectStore(root: root, keepsLog: true)
        let left = Mutex<[String: [UInt8]]>([:])
        let threads = (0..<4).map { number in
            Thread(name: "writer") {
                do {
                    var random = SeededRandom(seed: UInt64(number))
                    var mine: [String: [UInt8]] = [:]
                    for round in 0..<400 {
                        let name = "\(number)-\(Int.random(in: 0..<20, using: &random))"
                        switch Int.random(in: 0..<10, using: &random) {
                        case 0..<5:
                            let body = [UInt8](
                                repeating: UInt8(truncatingIfNeeded: round),
                                count: Int.random(in: 0..<40_000, using: &random))
                            try store.put(
                                body, at: Self.place(name), Bool.random(using: &random) ? .durable : .ordered)
                            mine[name] = body
                        case 5..<7:
                            try store.remove(Self.place(name))
                            mine[name] = nil
                        case 7:
                            _ = try store.list(ObjectLocation(scheme: "local", path: "ns"), after: nil, limit: 5)
                        case 8:
                            let piece = mine[name] == nil ? nil : try store.file(Self.place(name))
                            defer { piece?.close() }
                            if let piece {
                                #expect(piece.offset == 0)
                                #expect(try piece.read(0..<100_000) == mine[name])
                            }
                        default:
                            let piece = mine[name] == nil ? nil : try store.piece(Self.place(name))
                            defer { piece?.close() }
                            if let piece { #expect(try piece.read(0..<100_000) == mine[name]) }
                        }
                        if let body = mine[name] {
                            #expect(try store.readAll(Self.place(name)) == body)
                        } else {
                            #expect(try store.size(of: Self.place(name)) == nil)
                        }
                    }
                    left.withLock { [mine] in $0.merge(mine) { $1 } }
                } catch {
                    Issue.record(error)
                }
            }
        }
        for thread in threads { thread.join() }
        try store.synchronize()
        let wanted = left.withLock { $0 }
        func check(_ store: LocalObjectStore) throws {
            let found = try store.list(ObjectLocation(scheme: "local", path: "ns"), after: nil, limit: 1000)
            #expect(Set(found.map(\.location)) == Set(wanted.keys.map { Self.place($0) }))
            for (name, body) in wanted { #expect(try store.readAll(Self.place(name)) == body) }
        }
        try check(store)
        store.close()
        try afterACrash { (store: LocalObjectStore, _: String) throws in try check(store) }
    }
}
