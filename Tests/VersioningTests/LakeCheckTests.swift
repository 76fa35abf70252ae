import Foundations
import LakeTestSupport
import S3Backend
import Testing

@testable import Versioning

/// A check that repairs removes what nobody names, and nothing where it cannot be known who names it.
@Suite struct LakeCheckTests {
    private final class Lake: Sendable {
        let objects = MemoryObjectStore()
        private let memory: MemoryLake
        var catalog: Catalog { memory.catalog }
        var store: any KeyValueStore { memory.store }

        init() throws {
            memory = MemoryLake(objects: objects)
            try memory.make()
            try put("committed")
            try memory.commit("m")
            try put("staged")
            let stray = try catalog.beginUpload(in: catalog.repository("repo"))
            try stray.keep()
        }

        func put(_ path: Key) throws {
            let upload = try catalog.beginUpload(in: catalog.repository("repo"))
            try upload.keep()
            try catalog.stage(
                Entry(
                    address: upload.address, lastModified: .now(), size: 0, eTag: "d41d8cd98f00b204e9800998ecf8427e",
                    contentType: ""), at: path, on: "main", in: "repo")
        }

        var objectCount: Int {
            get throws {
                try objects.list(ObjectLocation(scheme: "mem", path: "repo/data"), after: nil, limit: 1000).count
            }
        }
        var partition: Partition { get throws { try catalog.repository("repo").partition } }

        func repair() throws -> LakeCheck {
            var options = LakeCheck.Options()
            options.repairs = true
            // As another process does it: what this one remembers is not what is there.
            let other = MemoryLake(store: store, objects: objects)
            let check = LakeCheck(other.catalog, options) { _ in }
            try withExtendedLifetime(other) { try check.run() }
            return check
        }
    }

    @Test func whatNobodyNamesGoes() throws {
        let lake = try Lake()
        let check = try lake.repair()
        #expect(try check.faults == 0 && check.removed == 1 && lake.objectCount == 2)
    }

    /// Each of these makes something that names objects unreadable, or lost.
    @Test(arguments: [
        "a commit is gone", "a commit is damaged", "a branch is damaged", "a branch is gone", "a repository is damaged",
        "another namespace",
    ])
    func nothingGoesWhereSomethingIsDamaged(_ damage: String) throws {
        let lake = try Lake()
        let head = try lake.catalog.branch("main", in: lake.catalog.repository("repo")).branch
        switch damage {
        case "a commit is gone": try lake.store.remove(Key("commits/\(head.commitID)"), in: lake.partition)
        case "a commit is damaged":
            try lake.store.set([0xff, 0xff], for: Key("commits/\(head.commitID)"), in: lake.partition)
        case "a branch is damaged": try lake.store.set([0xff, 0xff], for: "branches/main", in: lake.partition)
        case "a branch is gone": try lake.store.remove("branches/main", in: lake.partition)
        case "a repository is damaged": try lake.store.set([0xff, 0xff], for: "repos/other", in: RefStore.graveler)
        default:
            // From before namespaces were exclusive.
            let bytes = try #require(try lake.store.value(for: "repos/repo", in: RefStore.graveler))
            var other = try Repository(decoding: bytes)
            other.id = "other"
            other.instanceUID = XID.make()
            try lake.store.set(other.encoded, for: "repos/other", in: RefStore.graveler)
        }
        let check = try lake.repair()
        #expect(try check.removed == 0 && lake.objectCount == 3)
        #expect(try !lake.store.page(of: head.stagingToken.partition, from: nil, before: nil, limit: 10).isEmpty)
    }
}
