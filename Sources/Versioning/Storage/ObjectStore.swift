import Glibc

/// The root of a repository's objects in an object store, as `local://name`, `mem://name`, `s3://bucket/prefix`.
/// Source: `lakefs-formats.md` section 1.
package struct StorageNamespace: Hashable, Sendable, CustomStringConvertible {
    /// `local`, `mem`, `s3`, ….
    package let scheme: String
    /// Host and path, without slashes at either end.
    package let path: String

    /// Nil if `text` is no URI of the form `scheme://name[/path]`.
    package init?(_ text: String) {
        guard let location = ObjectLocation(address: text) else { return nil }
        scheme = location.scheme
        // To a file system two slashes are one; in a bucket they are two.
        let parts = location.path.split(separator: "/", omittingEmptySubsequences: scheme == "local")
        var rest = parts[...]
        while rest.first?.isEmpty == true { rest.removeFirst() }
        while rest.last?.isEmpty == true { rest.removeLast() }
        guard !rest.isEmpty else { return nil }
        path = rest.joined(separator: "/")
    }

    package var description: String { "\(scheme)://\(path)" }

    /// Where a relative address, such as `data/…` or `_lakefs/…`, lies.
    package func location(_ relative: String) -> ObjectLocation {
        ObjectLocation(scheme: scheme, path: path + "/" + relative)
    }
}

/// Where one immutable object lies, in whatever store serves its scheme.
package struct ObjectLocation: Hashable, Sendable, CustomStringConvertible {
    package let scheme: String
    package let path: String
    package init(scheme: String, path: String) {
        self.scheme = scheme
        self.path = path
    }

    // By bytes: two texts that look alike are two objects.
    package static func == (left: ObjectLocation, right: ObjectLocation) -> Bool {
        hasSameBytes(left.path, right.path) && hasSameBytes(left.scheme, right.scheme)
    }

    private static func hasSameBytes(_ left: String, _ right: String) -> Bool {
        var (left, right) = (left, right)
        return left.withUTF8 { left in
            right.withUTF8 { right in
                unsafe left.count == right.count
                    && (left.count == 0 || memcmp(left.baseAddress!, right.baseAddress!, left.count) == 0)
            }
        }
    }

    package func hash(into hasher: inout Hasher) {
        for var text in [scheme, path] { text.withUTF8 { unsafe hasher.combine(bytes: UnsafeRawBufferPointer($0)) } }
    }

    /// What a full address names: all behind `scheme://`, as it stands. `local:///x` is the file `/x`, outside of the
    /// store. Nil if `address` is no URI of the form `scheme://path`.
    package init?(address: String) {
        let bytes = Array(address.utf8)
        guard let colon = bytes.firstIndex(of: 0x3a), colon > 0, bytes[colon...].starts(with: [0x3a, 0x2f, 0x2f]),
            bytes.count > colon + 3,
            bytes[..<colon].allSatisfy({ ($0 >= 97 && $0 <= 122) || ($0 >= 48 && $0 <= 57) })
        else { return nil }
        self.init(
            scheme: String(decoding: bytes[..<colon], as: UTF8.self),
            path: String(decoding: bytes[(colon + 3)...], as: UTF8.self))
    }

    package var description: String { "\(scheme)://\(path)" }

    /// Whether it is a file outside of the store, by its absolute path. Told by the first byte: a character may be more
    /// than its slash.
    package var isOutside: Bool { path.utf8.first == 0x2f }
}

/// An object as a piece of a local file that the kernel can send by itself.
/// Whoever is given one owns the descriptor and closes it.
package struct FilePiece: Sendable {
    package let descriptor: Int32
    package let offset: Int64
    package let byteCount: Int64
    package init(descriptor: Int32, offset: Int64, byteCount: Int64) {
        self.descriptor = descriptor
        self.offset = offset
        self.byteCount = byteCount
    }

    /// The bytes of `range`, counted from the piece's beginning and cut at its end (pread(2)).
    package func read(_ range: Range<Int64>) throws(StoreError) -> [UInt8] {
        let start = range.lowerBound
        let end = min(range.upperBound, byteCount)
        guard end > start else { return [] }
        var failed: Int32 = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: Int(end - start)) { buffer, count in
            while count < buffer.count {
                let got = unsafe pread(
                    descriptor, buffer.baseAddress! + count, buffer.count - count, off_t(offset + start) + off_t(count))
                if got < 0 && errno == EINTR { continue }
                if got <= 0 {
                    failed = got < 0 ? errno : 0
                    return
                }
                count += got
            }
        }
        if failed != 0 {
            throw StoreError(.unavailable, unsafe "cannot read a file: \(String(cString: strerror(failed)))")
        }
        return bytes
    }

    /// Closes the descriptor; the piece is used no more.
    package func close() { Glibc.close(descriptor) }

    /// The MD5 of all its bytes.
    package func md5() throws(StoreError) -> [UInt8] {
        var hash = Hash(.md5)
        var position: Int64 = 0
        while position < byteCount {
            let piece = try read(position..<min(position + 1 << 20, byteCount))
            guard !piece.isEmpty else { throw StoreError(.corrupt, "a file was cut while it was read") }
            unsafe piece.withUnsafeBytes { unsafe hash.update($0) }
            position += Int64(piece.count)
        }
        return hash.finish()
    }
}

/// One object being written: fed piece by piece, then finished or dropped. Used by one thread at a time.
package protocol ObjectWriter: AnyObject {
    func write(_ bytes: UnsafeRawBufferPointer) throws(StoreError)
    /// Makes the object visible under its location, whole; when it is as durable as asked. Returns its size.
    func finish(_ durability: Durability) throws(StoreError) -> Int64
    /// Whether `finish(.ordered)` would not block now.
    var finishesAtOnce: Bool { get }
    /// Gives up; nothing becomes visible. Harmless after `finish`.
    func abort()
}

extension ObjectWriter {
    package var finishesAtOnce: Bool { false }
}

/// One object being written whose name is known at its end: what is named by its content. Used by one thread at a time.
package protocol UnnamedObjectWriter: AnyObject {
    func write(_ bytes: UnsafeRawBufferPointer) throws(StoreError)
    /// Makes the object visible under `location`, whole; when it is as durable as asked.
    func finish(at location: ObjectLocation, _ durability: Durability) throws(StoreError)
    /// Gives up; nothing becomes visible. Harmless after `finish`.
    func abort()
}

/// Keeps an object in memory until it has a name: for stores that want the name first.
private final class BufferingWriter<Store: ObjectStore>: UnnamedObjectWriter {
    private let store: Store
    private var bytes: [UInt8] = []
    init(_ store: Store) { self.store = store }
    func write(_ bytes: UnsafeRawBufferPointer) { unsafe self.bytes.append(contentsOf: bytes) }
    func finish(at location: ObjectLocation, _ durability: Durability) throws(StoreError) {
        try store.put(bytes, at: location, durability)
    }
    func abort() {}
}

/// Immutable objects by location. Every method may be called from any thread, and blocks its caller.
/// An object is whole or absent at any moment, also after a crash. Source: `architecture.md`, "Promises".
package protocol ObjectStore: Sendable {
    /// Begins an object. Existing objects of that location are replaced when it finishes.
    func makeWriter(_ location: ObjectLocation) throws(StoreError) -> any ObjectWriter
    /// Begins an object that is given its name when it ends.
    func makeWriter() throws(StoreError) -> any UnnamedObjectWriter
    /// The bytes of `range`, cut at the object's end.
    /// - Throws: `.notFound` if there is no such object.
    func read(_ location: ObjectLocation, _ range: Range<Int64>) throws(StoreError) -> [UInt8]
    /// The size of the object, or nil if there is none.
    func size(of location: ObjectLocation) throws(StoreError) -> Int64?
    /// Removes an object; nothing happens if it is not there.
    func remove(_ location: ObjectLocation) throws(StoreError)
    /// A copy of `source` at `destination`, without moving its bytes where the store can. Returns its size.
    func copy(_ source: ObjectLocation, to destination: ObjectLocation) throws(StoreError) -> Int64
    /// Joins `parts`, in order, into one object at `destination`. Returns its size.
    func join(_ parts: [ObjectLocation], to destination: ObjectLocation) throws(StoreError) -> Int64
    /// Takes a finished local file as the object; the file is gone from its old place then. Returns its size.
    func adopt(file path: String, as location: ObjectLocation, _ durability: Durability) throws(StoreError) -> Int64
    /// The object as a piece of an open file, if it is one here; nil if it has to be read through `read`.
    /// - Throws: `.notFound` if there is no such object.
    func piece(_ location: ObjectLocation) throws(StoreError) -> FilePiece?
    /// As `piece`, but as a file that is this object and nothing else: for the kernel to read from by itself.
    func file(_ location: ObjectLocation) throws(StoreError) -> FilePiece?
    /// Up to `limit` objects below `prefix` with a path greater than `after`, in byte order of their paths.
    func list(_ prefix: ObjectLocation, after: String?, limit: Int) throws(StoreError) -> [StoredObject]
    /// Gives every object below `prefix` to `body`, in byte order of their paths, or `prefix` itself if that is one;
    /// ends where `body` throws.
    func walk(_ prefix: ObjectLocation, _ body: (StoredObject) throws -> Void) throws
    /// Whether an entry may name `location` by its full address: a place outside of all namespaces that is open to
    /// readers.
    func isOpen(_ location: ObjectLocation) -> Bool
    /// Bytes in all, bytes free, bytes free to who is not root: what `statfs` tells. Nil where there is no such bound.
    func capacity() -> (total: Int64, free: Int64, available: Int64)?
    /// Makes everything durable that was finished as `.eventual` or `.ordered` before.
    func synchronize() throws(StoreError)
    /// The same for what was finished as `.ordered` alone, which costs little.
    func synchronizeOrdered() throws(StoreError)
}

/// One object of a listing.
package struct StoredObject: Sendable, Hashable {
    package let location: ObjectLocation
    package let byteCount: Int64
    /// Seconds since 1970.
    package let modified: Int64
    package init(location: ObjectLocation, byteCount: Int64, modified: Int64) {
        self.location = location
        self.byteCount = byteCount
        self.modified = modified
    }
}

extension ObjectStore {
    package func makeWriter() throws(StoreError) -> any UnnamedObjectWriter { BufferingWriter(self) }

    package func isOpen(_ location: ObjectLocation) -> Bool { false }

    package func piece(_ location: ObjectLocation) throws(StoreError) -> FilePiece? { try file(location) }

    package func synchronizeOrdered() throws(StoreError) { try synchronize() }

    package func walk(_ prefix: ObjectLocation, _ body: (StoredObject) throws -> Void) throws {
        if let byteCount = try size(of: prefix) {
            return try body(StoredObject(location: prefix, byteCount: byteCount, modified: Timestamp.now().seconds))
        }
        var after: String?
        while true {
            let page = try list(prefix, after: after, limit: 1000)
            for object in page { try body(object) }
            guard page.count == 1000 else { return }
            after = page.last!.location.path
        }
    }

    /// Writes an object that is in memory.
    package func put(_ bytes: [UInt8], at location: ObjectLocation, _ durability: Durability = .durable)
        throws(StoreError)
    {
        let writer = try makeWriter(location)
        do throws(StoreError) {
            // A closure's thrown type is not carried through `withUnsafeBytes`: the error travels in a variable.
            var failure: StoreError?
            unsafe bytes.withUnsafeBytes { pointer in
                do throws(StoreError) { unsafe try writer.write(pointer) } catch { failure = error }
            }
            if let failure { throw failure }
            _ = try writer.finish(durability)
        } catch {
            writer.abort()
            throw error
        }
    }

    /// The whole of an object that is known to be small.
    package func readAll(_ location: ObjectLocation) throws(StoreError) -> [UInt8] { try read(location, 0..<Int64.max) }
}
