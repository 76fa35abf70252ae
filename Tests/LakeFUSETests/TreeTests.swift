import CacheStore
import Foundations
import Glibc
import LakeTestSupport
import S3Backend
import Synchronization
import Testing
import Versioning

@testable import LakeFUSE

/// A tree that is begun, and ended with the test.
private final class BegunTree: Sendable {
    let tree: Tree
    init(_ lake: MemoryLake, _ staging: WriteStaging, ref: String = "main", isReadOnly: Bool = false) throws {
        tree = Tree(
            CatalogView(lake.catalog, repository: "repo", ref: ref), repository: "repo", ref: ref,
            isReadOnly: isReadOnly, staging: staging)
        _ = try tree.load()
        tree.start()
    }
    deinit { tree.stop() }
}

/// The tree without a kernel: what requests do, on a local store. The real mount is tested end to end (Tests/EndToEnd).
@Suite struct TreeTests: Sendable {
    private let folder = TemporaryFolder()
    private let lake: MemoryLake
    private let begun: BegunTree
    private let staging: WriteStaging
    private var tree: Tree { begun.tree }

    init() throws {
        lake = MemoryLake(objects: try LocalObjectStore(root: folder.path + "/objects"))
        _ = try lake.catalog.createRepository(
            "repo", storageNamespace: "local://repo", defaultBranch: "main", schemes: ["local"])
        staging = try WriteStaging(folder: folder.path + "/staging")
        begun = try BegunTree(lake, staging)
    }

    /// Another mount elsewhere: what it shows comes from the branch alone.
    private func other() -> Tree {
        tree.settle(nil)
        return Tree(
            CatalogView(lake.catalog, repository: "repo", ref: "main"), repository: "repo", ref: "main",
            isReadOnly: true, staging: staging)
    }

    private func name(_ text: String) -> [UInt8] { Array(text.utf8) }

    private func put(_ text: String, at offset: Int64 = 0, _ file: OpenFile) throws {
        let bytes = Array(text.utf8)
        #expect(try unsafe bytes.withUnsafeBytes { try unsafe tree.write(file, $0, at: offset) } == bytes.count)
    }

    private func read(_ node: Node) throws -> String {
        let file = try tree.open(node, writes: false)
        defer { tree.finish(file) }
        return try read(file)
    }

    private func read(_ file: OpenFile) throws -> String {
        var bytes = [UInt8](repeating: 0, count: 1000)
        let count = try unsafe bytes.withUnsafeMutableBytes { try unsafe tree.read(file, into: $0, at: 0) }
        return String(decoding: bytes[..<count], as: UTF8.self)
    }

    @discardableResult
    private func write(_ path: String, _ text: String) throws -> Node {
        var parent = Tree.root
        let parts = path.split(separator: "/").map(String.init)
        for part in parts.dropLast() {
            parent =
                try (try? tree.lookup(parent, name(part)).number)
                ?? tree.makeFolder(parent, name(part), mode: 0o755).number
        }
        let known = try tree.find(parent, name(parts.last!))
        let node = try known ?? tree.makeFile(parent, name(parts.last!), mode: 0o644)
        let file = try known == nil ? tree.openMade(node) : tree.open(node, writes: true, truncates: true)
        try put(text, file)
        tree.finish(file)
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

    /// The kernel lets go of a handle some time after it was closed: when the next writer is amid its work, that says
    /// nothing of what is there by then.
    @Test func aHandleThatIsLetGoOfLate() throws {
        func shown() throws -> String {
            tree.settle("a")
            let found = try lake.catalog.entry("a", at: "main", in: "repo")
            return String(decoding: try lake.catalog.objects.readAll(found.location), as: UTF8.self)
        }
        let node = try tree.makeFile(Tree.root, name("a"), mode: 0o644)
        let first = try tree.openMade(node)
        try put("first", first)
        tree.flush(first)
        let second = try tree.open(node, writes: true, truncates: true)
        try put("sec", second)
        tree.finish(first)
        try put("second", second)
        #expect(try shown() == "first")
        tree.flush(second)
        #expect(try shown() == "second")
        tree.finish(second)
        #expect(try shown() == "second")
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
        #expect(throws: Errno(EINVAL)) {
            try tree.rename(Tree.root, name("c"), to: folder.number, name("inside"), replaces: true)
        }
        #expect(throws: Errno(ENOTDIR)) {
            try tree.rename(folder.number, name("b"), to: folder.number, name("x"), replaces: true)
        }
    }

    @Test func whoHasAFileOpenReadsWhatItOpened() throws {
        let node = try write("f", "old")
        tree.settle(nil)
        let opened = try tree.open(node, writes: false)
        defer { tree.finish(opened) }
        let upload = try lake.catalog.beginUpload(in: lake.catalog.repository("repo"))
        try unsafe Array("new bytes".utf8).withUnsafeBytes { try unsafe upload.write($0) }
        try upload.keep()
        try lake.catalog.stage(
            Entry(address: upload.address, lastModified: .now(), size: 9, eTag: "e", contentType: ""), at: "f",
            on: "main", in: "repo")
        #expect(try read(opened) == "old" && node.entry?.size == 3)
        #expect(try read(tree.lookup(Tree.root, name("f"))) == "new bytes")
    }

    @Test func permissionsAndTimesAreKept() throws {
        let node = try write("f", "x")
        try tree.change(node, Tree.NewFacts(mode: 0o600, modified: Timestamp(seconds: 1_000_000)))
        let metadata = try lake.catalog.entry("f", at: "main", in: "repo").entry.metadata
        #expect(metadata["::lakefs::client-mtime"] == "1000000")
        let read = Attributes(metadata)
        #expect(read.mode == 0o600 && read.modified?.seconds == 1_000_000)
        #expect(Attributes(["::lakefs::posix-permissions": "nonsense"]).mode == nil)
        _ = try tree.makeLink(Tree.root, name("l"), target: name("f"))
        #expect(try lake.catalog.entry("l", at: "main", in: "repo").entry.metadata["::lakefs::symlink-target"] == "f")
    }

    private func address(_ path: Key) throws -> String {
        try lake.catalog.entry(path, at: "main", in: "repo").entry.address
    }

    @Test func aHardLinkIsASecondEntryOfTheObject() throws {
        let node = try write("d/f", "x")
        let linked = try tree.makeHardLink(node.number, Tree.root, name("g"))
        #expect(try paths() == ["d/f", "g"] && address("g") == address("d/f"))
        #expect(throws: Errno(EEXIST)) { try tree.makeHardLink(node.number, Tree.root, name("g")) }
        // One file: what is written by one name is there by the other, at every door; a name that goes leaves the
        // other.
        #expect(linked === node && tree.facts(node).links == 2)
        try write("g", "new")
        #expect(try text("d/f") == "new" && address("g") == address("d/f"))
        try tree.rename(Tree.root, name("g"), to: Tree.root, name("h"), replaces: true)
        #expect(try paths() == ["d/f", "h"] && tree.facts(node).links == 2)
        try tree.unlink(tree.lookup(Tree.root, name("d")).number, name("f"))
        #expect(try paths() == ["d/", "h"] && tree.facts(node).links == 1 && text("h") == "new")
    }

    /// A file that is saved again and again between two commits keeps one object; what a commit took, or two names
    /// share, stays.
    @Test func replacedObjectsGo() throws {
        func objects() throws -> Int {
            tree.settle(nil)
            lake.catalog.finish()
            var count = 0
            try lake.catalog.objects.walk(ObjectLocation(scheme: "local", path: "repo/data")) { _ in count += 1 }
            return count
        }
        for number in 0..<20 {
            try write("f", "\(number)")
            tree.settle(nil)
        }
        #expect(try objects() == 1 && text("f") == "19")
        let first = try lake.catalog.commit(CommitRequest(committer: "t", message: "m"), on: "main", in: "repo").id
        for number in 0..<20 {
            try write("f", "again \(number)")
            if number % 2 == 0 { tree.settle(nil) }
        }
        #expect(try objects() == 2)
        try tree.unlink(Tree.root, name("f"))
        #expect(try objects() == 1)
        let committed = try lake.catalog.entry("f", at: first.text, in: "repo")
        #expect(try lake.catalog.objects.readAll(committed.location) == Array("19".utf8))
        // A reset stages what was committed: that is not the newer write's to remove.
        try lake.catalog.resetObject("f", on: "main", in: "repo", force: false)
        try lake.catalog.stage(lake.entry("other"), at: "f", on: "main", in: "repo")
        #expect(try lake.catalog.objects.readAll(committed.location) == Array("19".utf8))
        // Shallow copies name it twice.
        try write("g", "shared")
        _ = try lake.catalog.copy("g", at: "main", from: "repo", to: "h", on: "main", in: "repo", isShallow: true)
        try write("g", "replaced")
        #expect(try text("h") == "shared")
    }

    /// A listing that was read before names went, came or were written again tells what is there now.
    @Test func listingsAreNotBelievedLater() throws {
        for number in 0..<30 { try write("d/\(number)", "old") }
        let folder = try tree.lookup(Tree.root, name("d"))
        let reader = FolderReader()
        tree.settle(nil)
        let first = try #require(try reader.item(0, folder, tree))
        try tree.unlink(folder.number, name("5"))
        #expect(folder.version != reader.version)
        if let entry = first.entry {
            #expect(tree.adopt(first.name, in: folder, entry, ifVersion: reader.version) == nil)
        }
        reader.restart()
        var found: [String] = []
        var index = 0
        while let item = try reader.item(index, folder, tree) {
            found.append(item.name.description)
            index += 1
        }
        #expect(found.count == 29 && !found.contains("5"))
    }

    @Test func foldersKeepWhatTheyWereGiven() throws {
        let upload = try lake.catalog.beginUpload(in: lake.catalog.repository("repo"))
        try unsafe Array("five!".utf8).withUnsafeBytes { try unsafe upload.write($0) }
        try upload.keep()
        try lake.catalog.stage(
            Entry(address: upload.address, lastModified: .now(), size: 5, eTag: "e", contentType: ""), at: "full/",
            on: "main", in: "repo")
        let folder = try tree.lookup(Tree.root, name("full"))
        try tree.change(folder, Tree.NewFacts(mode: 0o700))
        #expect(try text("full/") == "five!")
        #expect(throws: Errno(ENOTEMPTY)) { try tree.removeFolder(Tree.root, name("full")) }
        // Another mount knows, whichever way it comes to know of the folder.
        let other = other()
        #expect(try other.facts(other.lookup(Tree.root, name("full"))).mode == 0o700)
        try lake.put("odd//key", "x")
        try lake.put("odd/../key", "x")
        _ = try tree.lookup(Tree.root, name("odd"))
        #expect(throws: Errno(ENOTEMPTY)) { try tree.removeFolder(Tree.root, name("odd")) }
    }

    @Test func whoMakesSomethingOwnsIt() throws {
        let folder = try tree.makeFolder(Tree.root, name("d"), mode: 0o2775, owner: Tree.Owner(user: 10, group: 20))
        let inner = try tree.makeFolder(folder.number, name("e"), mode: 0o755, owner: Tree.Owner(user: 11, group: 21))
        let facts = tree.facts(inner)
        #expect(facts.owner == 11 && facts.group == 20 && facts.mode == 0o2755)
        let link = try tree.makeLink(
            Tree.root, name("l"), target: [0xff, 0xfe, 0x61], owner: Tree.Owner(user: 11, group: 21))
        let other = other()
        #expect(
            try other.target(of: other.lookup(Tree.root, name("l"))) == [0xff, 0xfe, 0x61]
                && tree.facts(link).owner == 11)
    }

    /// A mount shows and changes what its user may, path by path.
    @Test func policiesAreAskedPathByPath() throws {
        for path in ["secret/f", "open/f", "locked/f"] { try write(path, "x") }
        let statements = [
            Statement(effect: "allow", actions: ["fs:*"], resource: "*"),
            Statement(
                effect: "deny", actions: ["fs:ReadObject"], resource: "arn:lakefs:fs:::repository/repo/object/secret/*"),
            Statement(
                effect: "deny", actions: ["fs:WriteObject", "fs:DeleteObject"],
                resource: "arn:lakefs:fs:::repository/repo/object/locked/*"),
        ]
        let theirs = Tree.Rights(
            user: "u",
            allows: { permission in
                let verdicts = statements.map { $0.verdict(on: permission, for: Caller("u")) }
                return verdicts.contains(.allows) && !verdicts.contains(.denies)
            }, isFree: { false })
        func file(_ folder: String) throws -> (folder: UInt64, node: Node) {
            let folder = try tree.lookup(Tree.root, name(folder)).number
            return (folder, try tree.lookup(folder, name("f")))
        }
        let secret = try file("secret")
        let open = try file("open")
        let locked = try file("locked")
        #expect(throws: Errno(EACCES)) { try tree.requireReadable(secret.node, theirs) }
        try tree.requireReadable(open.node, theirs)
        try tree.requireReadable(locked.node, theirs)
        try tree.requireChangeable(secret.node, theirs)
        #expect(throws: Errno(EACCES)) { try tree.requireChangeable(locked.node, theirs) }
        #expect(throws: Errno(EACCES)) { try tree.open(locked.node, writes: true, theirs) }
        #expect(throws: Errno(EACCES)) { try tree.unlink(locked.folder, name("f"), theirs) }
        #expect(throws: Errno(EACCES)) { try tree.makeFile(locked.folder, name("new"), mode: 0o644, theirs) }
        #expect(throws: Errno(EACCES)) { try tree.makeFolder(locked.folder, name("new"), mode: 0o755, theirs) }
        #expect(throws: Errno(EACCES)) { try tree.change(locked.node, Tree.NewFacts(mode: 0o600), theirs) }
        #expect(throws: Errno(EACCES)) {
            try tree.rename(locked.folder, name("f"), to: open.folder, name("g"), replaces: true, theirs)
        }
        #expect(throws: Errno(EACCES)) {
            try tree.rename(open.folder, name("f"), to: locked.folder, name("g"), replaces: true, theirs)
        }
        #expect(throws: Errno(EACCES)) {
            try tree.rename(Tree.root, name("locked"), to: Tree.root, name("elsewhere"), replaces: true, theirs)
        }
        #expect(throws: Errno(EACCES)) { try tree.makeHardLink(secret.node.number, open.folder, name("copy"), theirs) }
        #expect(try paths() == ["locked/f", "open/f", "secret/f"])
        try tree.unlink(secret.folder, name("f"), theirs)
        #expect(try !paths().contains("secret/f"))
    }

    @Test func aBranchThatIsGoneIsNotAnotherOfItsName() throws {
        let node = try write("f", "old")
        tree.settle(nil)
        let file = try tree.open(node, writes: true, truncates: true)
        tree.isGone.store(true, ordering: .releasing)
        try put("new", file)
        tree.finish(file)
        #expect(throws: Errno(EIO)) { try tree.open(node, writes: true) }
        #expect(throws: Errno(EIO)) { try tree.makeFile(Tree.root, name("g"), mode: 0o644) }
        #expect(throws: Errno(EIO)) { try tree.publish(.closed) }
        #expect(try text("f") == "old")
    }

    @Test(arguments: [
        0, 1, 1000, Int(EntityTag.partBytes), Int(EntityTag.partBytes) + 1, 3 * Int(EntityTag.partBytes) + 5,
    ]) func entityTags(size: Int) throws {
        let path = folder.path + "/file"
        let descriptor = unsafe open(path, O_RDWR | O_CREAT, 0o600)
        defer { close(descriptor) }
        try #require(ftruncate(descriptor, size) == 0)
        // Some data here and there among the holes.
        var offset = 0
        while offset + 5 <= size {
            try #require(unsafe pwrite(descriptor, "bytes", 5, offset) == 5)
            offset += 50_000_000
        }
        var all = EntityTag()
        var parts: [[UInt8]] = []
        var position = 0
        while position < size || parts.isEmpty {
            var bytes = [UInt8](repeating: 0, count: min(size - position, Int(EntityTag.partBytes)))
            let count = bytes.count
            try #require(unsafe pread(descriptor, &bytes, count, position) == count)
            unsafe bytes.withUnsafeBytes { unsafe all.update($0) }
            parts.append(Hash.digest(.md5, bytes))
            position += count
        }
        let wanted =
            parts.count == 1
            ? Hex.text(parts[0]) : Hex.text(Hash.digest(.md5, Array(parts.joined()))) + "-\(parts.count)"
        #expect(all.finish() == wanted)
        #expect(try EntityTag.of(descriptor, size: Int64(size)) == wanted)
    }

    /// One thread writes and closes on and on, another publishes meanwhile: in the end the branch has the last bytes.
    @Test func publishingWhileWriting() throws {
        let node = try write("f", "")
        let count = 400
        let writer = Thread(name: "writer") { [self] in
            for index in 0..<count {
                do {
                    let file = try tree.open(node, writes: true)
                    try put(String(index % 10), at: Int64(index), file)
                    tree.finish(file)
                } catch { Issue.record(error) }
            }
        }
        for _ in 0..<60 { try tree.publish(.closed) }
        writer.join()
        let wanted = (0..<count).map { String($0 % 10) }.joined()
        #expect(try text("f") == wanted)
        #expect(
            try lake.catalog.entry("f", at: "main", in: "repo").entry.eTag
                == Hex.text(Hash.digest(.md5, Array(wanted.utf8))))
    }

    /// What could not be staged is not forgotten: the next try publishes it.
    @Test func aPublishThatFailedIsTriedAgain() throws {
        let node = try write("f", "old")
        tree.settle(nil)
        let file = try tree.open(node, writes: true, truncates: true)
        try put("new", file)
        try lake.catalog.setProtectionRules([ProtectionRule(pattern: "main")], in: "repo", ifChecksum: nil)
        tree.finish(file)
        expectFailure(.protectedBranch) { try tree.publish(.closed) }
        expectFailure(.protectedBranch) { try tree.publish(.closed, .durable) }
        #expect(try read(node) == "new" && text("f") == "old")
        try lake.catalog.setProtectionRules([], in: "repo", ifChecksum: nil)
        #expect(try text("f") == "new")
    }

    /// The tree as a crash leaves it: another process takes up the same staging folder.
    private func crash() throws -> WriteStaging {
        try tree.writeRows()
        let copy = folder.path + "/after"
        try copyFolder(folder.path + "/staging", copy)
        return try WriteStaging(folder: copy)
    }

    private func copyFolder(_ source: String, _ target: String) throws {
        try #require(unsafe mkdir(target, 0o700) == 0)
        for name in try Folder.names(of: source) {
            let from = unsafe open("\(source)/\(name)", O_RDONLY)
            let to = unsafe open("\(target)/\(name)", O_RDWR | O_CREAT, 0o600)
            defer {
                close(from)
                close(to)
            }
            try WorkingFile.copyBytes(from, to: to)
            guard let status = FileStatus(from) else { continue }
            try WorkingFile.setTimes(to, accessed: nil, modified: status.modified)
        }
    }

    /// What was closed when the server died becomes what it was to become; what was being written does not, and is
    /// shown by a mount of the branch until somebody closes it.
    @Test func leftoversArePublishedIfTheyWereClosed() throws {
        try write("open", "whole")
        try write("kept", "published")
        tree.settle(nil)
        let closed = try write("d/closed", "bytes")
        let open = try tree.open(tree.lookup(Tree.root, name("open")), writes: true, truncates: true)
        try tree.change(closed, Tree.NewFacts(mode: 0o600, owner: 7, group: 8))
        try put("half", open)
        let again = try write("again", "closed before")
        let reopened = try tree.open(again, writes: true)
        try put("HALF", reopened)
        try tree.rename(Tree.root, name("kept"), to: Tree.root, name("moved"), replaces: true)
        let left = try crash()
        tree.isGone.store(true, ordering: .releasing)  // This process is dead.
        lake.catalog.unsettled.hold(-100)
        defer { lake.catalog.unsettled.hold(100) }
        let later = try BegunTree(lake, left)
        let files = try ["open", "again"].map { try later.tree.lookup(Tree.root, name($0)) }
        #expect(files.map { later.tree.facts($0).size } == [4, 13])
        try later.tree.publish(.closed)
        #expect(try paths() == ["again", "d/closed", "moved", "open"])
        #expect(
            try [text("d/closed"), text("open"), text("moved"), text("again")] == [
                "bytes", "whole", "published", "closed before",
            ])
        #expect(try Attributes(lake.catalog.entry("d/closed", at: "main", in: "repo").entry.metadata).mode == 0o600)
        let taken = try later.tree.open(files[0], writes: true)
        later.tree.finish(taken)
        try later.tree.publish(.closed)
        #expect(try text("open") == "half")
        #expect(try text("again") == "closed before", "nobody closed it")
    }

    /// The process dies when a file has become an object, and before the branch has it: what was closed is not lost to
    /// what was there.
    @Test func aCrashWithinAPublish() throws {
        let node = try write("f", "old")
        tree.settle(nil)
        try write("f", "newer")
        try lake.catalog.setProtectionRules([ProtectionRule(pattern: "main")], in: "repo", ifChecksum: nil)
        expectFailure(.protectedBranch) { try tree.publish(.closed) }
        #expect(node.isEntryNew)
        let left = try crash()
        tree.isGone.store(true, ordering: .releasing)
        lake.catalog.unsettled.hold(-100)
        defer { lake.catalog.unsettled.hold(100) }
        try lake.catalog.setProtectionRules([], in: "repo", ifChecksum: nil)
        let later = try BegunTree(lake, left)
        try later.tree.publish(.closed)
        #expect(try text("f") == "newer")
    }

    /// Replacing a file by renaming another over it shows the one or the other after a crash at any moment, never none.
    @Test func aCrashAfterAReplacement() throws {
        try write("t", "old")
        try tree.writeRows()
        try write("t.lock", "new")
        try tree.writeRows()
        try tree.rename(Tree.root, name("t.lock"), to: Tree.root, name("t"), replaces: true)
        let copy = folder.path + "/after"
        try copyFolder(folder.path + "/staging", copy)
        let left = try WriteStaging(folder: copy)
        tree.isGone.store(true, ordering: .releasing)
        lake.catalog.unsettled.hold(-100)
        defer { lake.catalog.unsettled.hold(100) }
        let later = try BegunTree(lake, left)
        try later.tree.publish(.closed)
        #expect(try ["old", "new"].contains(text("t")))
    }

    @Test func aSnapshotRefusesWrites() throws {
        try write("f", "x")
        let commit = try lake.catalog.commit(CommitRequest(committer: "t", message: "m"), on: "main", in: "repo").id
        let snapshot = Tree(
            CatalogView(lake.catalog, repository: "repo", ref: commit.text), repository: "repo", ref: commit.text,
            isReadOnly: true, staging: staging)
        #expect(throws: Errno(EROFS)) { try snapshot.makeFile(Tree.root, name("g"), mode: 0o644) }
        #expect(throws: Errno(EROFS)) { try snapshot.unlink(Tree.root, name("f")) }
        #expect(try snapshot.lookup(Tree.root, name("f")).entry?.size == 1)
    }
}
