import CacheStore
import Glibc
import LakeTestSupport
import S3Backend
import Testing
import Versioning

@testable import LakeFUSE

/// The tree without a kernel: what requests do, on a local store. The real mount is tested end to end (Tests/EndToEnd).
@Suite struct TreeTests {
    private let folder = TemporaryFolder()
    private let lake: MemoryLake
    private let tree: Tree
    private let staging: WriteStaging

    init() throws {
        lake = MemoryLake(objects: try LocalObjectStore(root: folder.path + "/objects"))
        _ = try lake.catalog.createRepository("repo", storageNamespace: "local://repo", defaultBranch: "main", schemes: ["local"])
        staging = try WriteStaging(folder: folder.path + "/staging")
        tree = Tree(catalog: lake.catalog, repository: "repo", ref: "main", isReadOnly: false, staging: staging)
    }

    private func name(_ text: String) -> [UInt8] { Array(text.utf8) }

    @discardableResult
    private func write(_ path: String, _ text: String) throws -> Node {
        var parent = Tree.root
        let parts = path.split(separator: "/").map(String.init)
        for part in parts.dropLast() { parent = try (try? tree.lookup(parent, name(part)).number) ?? tree.makeFolder(parent, name(part), mode: 0o755).number }
        let node = try (try? tree.lookup(parent, name(parts.last!))) ?? tree.makeFile(parent, name(parts.last!), mode: 0o644)
        tree.beginWriting(node)
        let file = try tree.writable(node, truncates: true)
        _ = try unsafe Array(text.utf8).withUnsafeBytes { try unsafe file.write($0, at: 0, tree.purpose(node)) }
        tree.noteWrite(node)
        try tree.endWriting(node)
        return node
    }

    private func paths() throws -> [String] {
        var query = Catalog.ListQuery()
        query.limit = 1000
        return try lake.catalog.list(lake.catalog.resolve("main", in: "repo"), query).items.map(\.path.description)
    }

    private func text(_ path: String) throws -> String {
        let found = try lake.catalog.entry(Key(path), at: "main", in: "repo")
        return String(decoding: try lake.catalog.objects.readAll(found.location), as: UTF8.self)
    }

    @Test func aClosedFileIsAnObjectWithItsChecksum() throws {
        try write("d/f", "hello")
        #expect(try paths() == ["d/f"] && text("d/f") == "hello")
        #expect(try lake.catalog.entry("d/f", at: "main", in: "repo").entry.eTag == "5d41402abc4b2a76b9719d911017c592")
        try write("d/f", "other")
        #expect(try text("d/f") == "other")
    }

    @Test func foldersStayWhenTheyAreEmpty() throws {
        _ = try tree.makeFolder(Tree.root, name("d"), mode: 0o755)
        #expect(try paths() == ["d/"])
        try write("d/f", "x")
        #expect(try paths() == ["d/f"])
        let folder = try tree.lookup(Tree.root, name("d"))
        try tree.unlink(folder.number, name("f"))
        #expect(try paths() == ["d/"])
        #expect(throws: Errno(EISDIR)) { try tree.unlink(Tree.root, name("d")) }
        try tree.removeFolder(Tree.root, name("d"))
        #expect(try paths().isEmpty)
    }

    @Test func renames() throws {
        try write("a/x", "1")
        try write("a/b/y", "2")
        try write("z", "3")
        try tree.rename(Tree.root, name("a"), to: Tree.root, name("c"), replaces: true)
        #expect(try paths() == ["c/b/y", "c/x", "z"] && text("c/b/y") == "2")
        let folder = try tree.lookup(Tree.root, name("c"))
        try tree.rename(Tree.root, name("z"), to: folder.number, name("x"), replaces: true)
        #expect(try paths() == ["c/b/y", "c/x"] && text("c/x") == "3")
        #expect(throws: Errno(EINVAL)) { try tree.rename(Tree.root, name("c"), to: folder.number, name("inside"), replaces: true) }
        #expect(throws: Errno(ENOTDIR)) { try tree.rename(folder.number, name("b"), to: folder.number, name("x"), replaces: true) }
    }

    @Test func whoHasAFileOpenReadsWhatItOpened() throws {
        let node = try write("f", "old")
        guard case .object(let location, _) = try tree.source(node) else { Issue.record("not an object"); return }
        // What an open file of the mount holds: the object's descriptor.
        let opened = try #require(try lake.catalog.objects.file(location))
        defer { opened.close() }
        let upload = try lake.catalog.upload(to: lake.catalog.repository("repo"))
        try unsafe Array("new bytes".utf8).withUnsafeBytes { try unsafe upload.write($0) }
        try upload.finish()
        try lake.catalog.stage(Entry(address: upload.address, lastModified: .now(), size: 9, eTag: "e", contentType: ""), at: "f", on: "main", in: "repo")
        #expect(try tree.isCurrent(location, node) && opened.read(0..<10) == Array("old".utf8))
        #expect(node.entry?.size == 3)
    }

    @Test func permissionsAndTimesAreKept() throws {
        let node = try write("f", "x")
        try tree.change(node) {
            $0.mode = 0o600
            $0.modified = Timestamp(seconds: 1_000_000)
        }
        let metadata = try lake.catalog.entry("f", at: "main", in: "repo").entry.metadata
        #expect(metadata["::lakefs::client-mtime"] == "1000000")
        let read = Attributes(metadata)
        #expect(read.mode == 0o600 && read.modified?.seconds == 1_000_000)
        #expect(Attributes(["::lakefs::posix-permissions": "nonsense"]).mode == nil)
        _ = try tree.makeLink(Tree.root, name("l"), target: "f")
        #expect(try lake.catalog.entry("l", at: "main", in: "repo").entry.metadata["::lakefs::symlink-target"] == "f")
    }

    @Test func aHardLinkIsASecondEntryOfTheObject() throws {
        let node = try write("d/f", "x")
        _ = try tree.makeHardLink(node.number, Tree.root, name("g"))
        #expect(try paths() == ["d/f", "g"] && lake.catalog.entry("g", at: "main", in: "repo").entry.address == lake.catalog.entry("d/f", at: "main", in: "repo").entry.address)
        #expect(throws: Errno(EEXIST)) { try tree.makeHardLink(node.number, Tree.root, name("g")) }
    }

    /// One thread writes on and on, another publishes meanwhile: in the end the branch has the last bytes.
    @Test func publishingWhileWriting() throws {
        let node = try write("f", ""), count = 400
        tree.beginWriting(node)
        let writer = Thread(name: "writer") { [tree] in
            for index in 0..<count {
                do {
                    let file = try tree.writable(node)
                    _ = try unsafe [UInt8(truncatingIfNeeded: index)].withUnsafeBytes { try unsafe file.write($0, at: Int64(index), tree.purpose(node)) }
                    tree.noteWrite(node)
                } catch { Issue.record(error) }
            }
        }
        for _ in 0..<60 { try tree.publish(node, .eventual) }
        writer.join()
        try tree.endWriting(node)
        let found = try lake.catalog.entry("f", at: "main", in: "repo")
        #expect(try lake.catalog.objects.readAll(found.location) == (0..<count).map { UInt8(truncatingIfNeeded: $0) })
        #expect(try found.entry.eTag == Hex.text(Hash.digest(.md5, lake.catalog.objects.readAll(found.location))))
    }

    /// What could not be staged is not forgotten: the next try publishes it.
    @Test func aPublishThatFailedIsTriedAgain() throws {
        let node = try write("f", "old")
        tree.beginWriting(node)
        let file = try tree.writable(node, truncates: true)
        _ = try unsafe Array("new".utf8).withUnsafeBytes { try unsafe file.write($0, at: 0, tree.purpose(node)) }
        tree.noteWrite(node)
        try lake.catalog.setProtectionRules([ProtectionRule(pattern: "main")], in: "repo", ifChecksum: nil)
        expectFailure(.protectedBranch) { try tree.publish(node, .eventual) }
        expectFailure(.protectedBranch) { try tree.publish(node, .durable) }
        try lake.catalog.setProtectionRules([], in: "repo", ifChecksum: nil)
        try tree.endWriting(node)
        #expect(try text("f") == "new")
    }

    /// What a crash left staged becomes what it was to become, before anything is mounted.
    @Test func leftoversArePublished() throws {
        let left = try WriteStaging(folder: folder.path + "/left"), made = try left.make(), half = try left.make()
        try left.register(made.name, WriteStaging.Record(repository: "repo", branch: "main", path: "d/left", address: lake.catalog.newAddress()))
        #expect(unsafe Glibc.write(made.descriptor, "bytes", 5) == 5 && Glibc.write(half.descriptor, "half", 4) == 4)
        left.close()
        let registry = try MountRegistry(catalog: lake.catalog, staging: folder.path + "/left")
        defer { registry.stop() }
        #expect(try text("d/left") == "bytes" && paths() == ["d/left"])
    }

    @Test func aSnapshotRefusesWrites() throws {
        try write("f", "x")
        let commit = try lake.catalog.commit(CommitRequest(committer: "t", message: "m"), on: "main", in: "repo").id
        let snapshot = Tree(catalog: lake.catalog, repository: "repo", ref: commit, isReadOnly: true, staging: staging)
        #expect(throws: Errno(EROFS)) { try snapshot.makeFile(Tree.root, name("g"), mode: 0o644) }
        #expect(throws: Errno(EROFS)) { try snapshot.unlink(Tree.root, name("f")) }
        #expect(try snapshot.lookup(Tree.root, name("f")).entry?.size == 1)
    }
}
