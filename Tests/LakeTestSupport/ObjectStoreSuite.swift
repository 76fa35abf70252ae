import FoundationEssentials
import Foundations
import Glibc
import Testing
package import Versioning

/// Every `ObjectStore` passes this: whole or absent, ranges, copies, listings.
/// - Parameters:
///   - root: begins all paths: a bucket and a folder, where there have to be such.
///   - isOrdered: whether it lists in the order of bytes, as S3 does.
package func checkObjectStore(
    _ store: some ObjectStore, scheme: String, root: String = "", isOrdered: Bool = true
) throws {
    @Sendable func at(_ path: String) -> ObjectLocation { ObjectLocation(scheme: scheme, path: root + path) }
    func name(_ object: StoredObject) -> String { String(object.location.path.dropFirst(root.count)) }
    #expect(try store.size(of: at("ns/data/a")) == nil)
    expectFailure(.dataGone) { try store.read(at("ns/data/a"), 0..<1) }
    let bytes = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let writer = try store.makeWriter(at("ns/data/a"))
    for start in stride(from: 0, to: bytes.count, by: 70_001) {
        try unsafe bytes[start..<min(start + 70_001, bytes.count)].withUnsafeBytes { try unsafe writer.write($0) }
        #expect(try store.size(of: at("ns/data/a")) == nil, "visible before it is finished")
    }
    #expect(try writer.finish(.durable) == 200_000)
    #expect(try store.readAll(at("ns/data/a")) == bytes)
    #expect(try store.read(at("ns/data/a"), 5..<10) == Array(bytes[5..<10]))
    #expect(try store.read(at("ns/data/a"), 199_999..<300_000) == [bytes[199_999]])
    #expect(try store.read(at("ns/data/a"), 200_000..<200_001) == [])
    let dropped = try store.makeWriter(at("ns/data/dropped"))
    dropped.abort()
    #expect(try store.size(of: at("ns/data/dropped")) == nil)
    try store.put([], at: at("ns/data/empty"))
    #expect(try store.size(of: at("ns/data/empty")) == 0)
    #expect(try store.copy(at("ns/data/a"), to: at("ns/data/b/c")) == 200_000)
    #expect(try store.readAll(at("ns/data/b/c")) == bytes)
    let odd = "ns/odd/a b+c%d&e=f?#\u{e9}\u{1f600}'(*)!~;:@,$"
    try store.put([4, 5], at: at(odd))
    #expect(try store.readAll(at(odd)) == [4, 5] && store.copy(at(odd), to: at(odd + "2")) == 2)
    #expect(try store.list(at("ns/odd"), after: nil, limit: 10).map(name) == [odd, odd + "2"])
    try store.remove(at(odd))
    try store.remove(at(odd + "2"))
    #expect(
        try store.join([at("ns/data/a"), at("ns/data/empty"), at("ns/data/a")], to: at("ns/data/joined")) == 400_000)
    #expect(try store.readAll(at("ns/data/joined")) == bytes + bytes)
    expectFailure(.dataGone) { try store.copy(at("ns/data/none"), to: at("ns/data/x")) }
    try store.put([1], at: at("ns/data/a"))
    #expect(try store.readAll(at("ns/data/a")) == [1])
    let listed = try store.list(at("ns"), after: nil, limit: 100).map(name)
    #expect(listed == ["ns/data/a", "ns/data/b/c", "ns/data/empty", "ns/data/joined"])
    #expect(
        try store.list(at("ns"), after: root + "ns/data/a", limit: 2).map(name) == ["ns/data/b/c", "ns/data/empty"])
    try store.remove(at("ns/data/a"))
    try store.remove(at("ns/data/a"))
    #expect(try store.size(of: at("ns/data/a")) == nil)
    #expect(try store.putIfAbsent([1], at: at("ns/once")) && !store.putIfAbsent([2], at: at("ns/once")))
    #expect(try store.readAll(at("ns/once")) == [1])
    try store.remove(at("ns/once"))
    try checkUnnamedWriters(store, at)
    try checkWalks(store, at, name, isOrdered: isOrdered)
    try checkAdopting(store, at)
    try checkConcurrency(store, at)
}

private func checkUnnamedWriters(_ store: some ObjectStore, _ at: (String) -> ObjectLocation) throws {
    let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    let dropped = try store.makeWriter()
    unsafe try bytes.withUnsafeBytes { unsafe try dropped.write($0) }
    dropped.abort()
    let writer = try store.makeWriter()
    unsafe try bytes.withUnsafeBytes {
        unsafe try writer.write(UnsafeRawBufferPointer(rebasing: $0[..<40_000]))
        unsafe try writer.write(UnsafeRawBufferPointer(rebasing: $0[40_000...]))
    }
    #expect(try store.list(at("unnamed"), after: nil, limit: 10).isEmpty)
    try writer.finish(at: at("unnamed/x"), .durable)
    writer.abort()
    #expect(try store.readAll(at("unnamed/x")) == bytes)
    #expect(try store.list(at("unnamed"), after: nil, limit: 10).map(\.byteCount) == [100_000])
}

private struct Enough: Error {}

private func checkWalks(
    _ store: some ObjectStore, _ at: (String) -> ObjectLocation, _ name: (StoredObject) -> String,
    isOrdered: Bool
) throws {
    // More than a page of a listing; names that sort apart as bytes and as folders.
    let names = (0..<1100).map { "walk/a/\($0 + 1000)" } + ["walk/a-", "walk/a/-", "walk/a0", "walk/b/c/d"]
    let start = Timestamp.now().seconds
    for name in names { try store.put(Array(name.utf8), at: at(name), .eventual) }
    let wanted = names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    var found: [StoredObject] = []
    try store.walk(at("walk")) { found.append($0) }
    if !isOrdered { found.sort { name($0).utf8.lexicographicallyPrecedes(name($1).utf8) } }
    #expect(found.map(name) == wanted && found.allSatisfy { $0.byteCount == name($0).utf8.count })
    #expect(found.allSatisfy { (start - 1...start + 600).contains($0.modified) })
    #expect(try found.prefix(3).allSatisfy { try store.head($0.location)?.byteCount == $0.byteCount })
    var single: [StoredObject] = []
    try store.walk(at("walk/a0")) { single.append($0) }
    #expect(single.map(name) == ["walk/a0"])
    try store.walk(at("nowhere")) { Issue.record("found \($0)") }
    var count = 0
    #expect(throws: Enough.self) {
        try store.walk(at("walk")) { _ in
            count += 1
            if count == 5 { throw Enough() }
        }
    }
    #expect(count == 5)
}

private func checkAdopting(_ store: some ObjectStore, _ at: (String) -> ObjectLocation) throws {
    let folder = TemporaryFolder()
    let path = folder.path + "/file"
    let bytes = (0..<1_500_000).map { UInt8(truncatingIfNeeded: $0 &* 13) }
    #expect(FileManager.default.createFile(atPath: path, contents: Data(bytes)))
    #expect(try store.adopt(file: path, as: at("adopted/x"), .eventual) == 1_500_000)
    try store.synchronize()
    #expect(try store.readAll(at("adopted/x")) == bytes && !FileManager.default.fileExists(atPath: path))
    #expect(throws: StoreError.self) { try store.adopt(file: path, as: at("adopted/y"), .durable) }
    #expect(try store.head(at("adopted/y")) == nil)
}

/// Objects of one location that many threads replace and remove are whole or absent.
private func checkConcurrency(_ store: some ObjectStore, _ at: @escaping @Sendable (String) -> ObjectLocation) throws {
    let one = at("many/one")
    let threads = (0..<4).map { number in
        Thread(name: "object writer") {
            do {
                for round in 0..<30 {
                    let text = [UInt8](repeating: UInt8(number * 50 + round), count: 1 + number * 20_000 + round)
                    try store.put(text, at: one, round % 10 == 0 ? .durable : .eventual)
                    try store.put(text, at: at("many/\(number)-\(round)"), .eventual)
                    do throws(StoreError) {
                        let read = try store.readAll(one)
                        #expect(read.first != nil && read.allSatisfy { $0 == read[0] }, "torn: \(read.count) bytes")
                    } catch { #expect(error.code == .notFound) }
                    if round % 7 == number { try store.remove(one) }
                }
            } catch { Issue.record(error) }
        }
    }
    for thread in threads { thread.join() }
    #expect(try store.list(at("many"), after: nil, limit: 1000).filter { $0.location.path != one.path }.count == 120)
}

/// Objects of more than one part, for stores that have such.
/// - Parameter partSize: bytes of a part.
package func checkLargeObjects(_ store: some ObjectStore, scheme: String, root: String, partSize: Int) throws {
    func at(_ path: String) -> ObjectLocation { ObjectLocation(scheme: scheme, path: root + path) }
    for size in [partSize - 1, partSize, partSize + 1, partSize * 3, partSize * 5 + 77] {
        let bytes = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 167 &+ $0 >> 13) }
        let writer = try store.makeWriter(at("large/\(size)"))
        for start in stride(from: 0, to: size, by: 1_300_001) {
            try unsafe bytes[start..<min(start + 1_300_001, size)].withUnsafeBytes { try unsafe writer.write($0) }
        }
        #expect(try store.head(at("large/\(size)")) == nil, "visible before it is finished")
        #expect(try writer.finish(.durable) == Int64(size))
        #expect(try store.readAll(at("large/\(size)")) == bytes)
        #expect(
            try store.read(at("large/\(size)"), Int64(size) - 10..<Int64(size) + 10) == Array(bytes[(size - 10)...]))
        let dropped = try store.makeWriter(at("large/dropped"))
        try unsafe bytes.withUnsafeBytes { try unsafe dropped.write($0) }
        dropped.abort()
        #expect(try store.head(at("large/dropped")) == nil)
    }
    let whole = try store.readAll(at("large/\(partSize)")), last = try store.readAll(at("large/\(partSize - 1)"))
    #expect(
        try store.join([at("large/\(partSize)"), at("large/\(partSize - 1)")], to: at("large/joined"))
            == Int64(whole.count + last.count))
    #expect(try store.readAll(at("large/joined")) == whole + last)
    #expect(try store.copy(at("large/joined"), to: at("large/copied")) == Int64(whole.count + last.count))
    #expect(try store.readAll(at("large/copied")) == whole + last)
}

/// Every `ObjectStore` passes this: wherever it stops answering, what is there is whole.
/// - Parameter make: a store that nothing is in.
package func checkObjectStoreFaults<Store: ObjectStore>(scheme: String, _ make: () throws -> Store) throws {
    func at(_ path: String) -> ObjectLocation { ObjectLocation(scheme: scheme, path: path) }
    let folder = TemporaryFolder()
    let file = folder.path + "/file"
    let small = [UInt8](repeating: 1, count: 100), large = [UInt8](repeating: 2, count: 3_000_000)
    func work(_ store: some ObjectStore) throws {
        try store.put(small, at: at("ns/small"))
        try store.put(large, at: at("ns/large"))
        try store.put(large, at: at("ns/small"), .eventual)
        let writer = try store.makeWriter()
        unsafe try small.withUnsafeBytes { unsafe try writer.write($0) }
        try writer.finish(at: at("ns/unnamed"), .durable)
        _ = try store.join([at("ns/large"), at("ns/unnamed")], to: at("ns/joined"))
        _ = try store.copy(at("ns/unnamed"), to: at("ns/copied"))
        _ = try store.adopt(file: file, as: at("ns/adopted"), .durable)
        try store.remove(at("ns/large"))
        try store.synchronize()
    }
    let whole: [String: [[UInt8]]] = [
        "ns/small": [small, large], "ns/large": [large], "ns/unnamed": [small], "ns/copied": [small],
        "ns/joined": [large + small], "ns/adopted": [small],
    ]
    for hasEffect in [false, true] {
        var limit = 1
        while true {
            _ = FileManager.default.createFile(atPath: file, contents: Data(small))
            let base = try make()
            let cut = Cut(at: limit, hasEffect: hasEffect)
            // What it throws is the fault, or nothing.
            do { try work(CutObjectStore(base, cut)) } catch { #expect(cut.isDead, "\(error)") }
            try base.walk(at("ns")) { object in
                let bytes = try base.readAll(object.location)
                #expect(
                    whole[object.location.path]?.contains(bytes) == true,
                    "\(object.location) has \(bytes.count) bytes after a fault at call \(limit)")
            }
            if !cut.isDead { break }
            limit += 1
        }
        #expect(limit > 9, "the cuts were reached")
    }
}
