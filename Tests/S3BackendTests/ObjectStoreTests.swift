import FoundationEssentials
import LakeTestSupport
import S3Backend
import Testing
import Versioning

@Suite struct ObjectStoreTests {
    @Test func memory() throws { try checkObjectStore(MemoryObjectStore(), scheme: "mem") }

    @Test func local() throws {
        let folder = TemporaryFolder(), store = try LocalObjectStore(root: folder.path + "/objects")
        defer { store.close() }
        try checkObjectStore(store, scheme: "local")
    }

    @Test(arguments: ["../x", "a/../../x", "/etc/passwd", "a//b", ".", "a/./b", ""]) func addressesStayUnderTheRoot(path: String) throws {
        let folder = TemporaryFolder(), store = try LocalObjectStore(root: folder.path + "/objects")
        defer { store.close() }
        #expect(throws: StoreError.self) { try store.put([1], at: ObjectLocation(scheme: "local", path: path)) }
        #expect(throws: StoreError.self) { try store.read(ObjectLocation(scheme: "local", path: path), 0..<1) }
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
        let folder = TemporaryFolder(), store = try LocalObjectStore(root: folder.path + "/objects"), place = ObjectLocation(scheme: "local", path: "ns/data/x")
        defer { store.close() }
        #expect(FileManager.default.createFile(atPath: folder.path + "/file", contents: Data([1, 2, 3])))
        #expect(try store.adopt(file: folder.path + "/file", as: place, .eventual) == 3)
        try store.synchronize()
        #expect(try store.readAll(place) == [1, 2, 3] && !FileManager.default.fileExists(atPath: folder.path + "/file"))
    }
}
