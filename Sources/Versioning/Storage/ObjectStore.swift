package import Foundations
import Glibc

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

    package func write(_ bytes: [UInt8]) throws(StoreError) {
        // A closure's thrown type is not carried through `withUnsafeBytes`: the error travels in a variable.
        var failure: StoreError?
        unsafe bytes.withUnsafeBytes { pointer in
            do throws(StoreError) { unsafe try write(pointer) } catch { failure = error }
        }
        if let failure { throw failure }
    }
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
private final class BufferingWriter: UnnamedObjectWriter {
    private let store: any ObjectStore
    private var bytes: [UInt8] = []
    init(_ store: any ObjectStore) { self.store = store }
    func write(_ bytes: UnsafeRawBufferPointer) { unsafe self.bytes.append(contentsOf: bytes) }
    func finish(at location: ObjectLocation, _ durability: Durability) throws(StoreError) {
        try store.put(bytes, at: location, durability)
    }
    func abort() {}
}

/// What an object store can do beyond the port.
package struct ObjectStoreCapabilities: Sendable {
    /// Schemes of the locations that it serves.
    package let schemes: [String]
    /// Nil where objects are no files of this machine.
    package let files: (any ObjectFiles)?
    /// Nil where clients cannot read or write objects by themselves.
    package let presigner: (any ObjectPresigner)?
    package init(
        schemes: [String], files: (any ObjectFiles)? = nil, presigner: (any ObjectPresigner)? = nil
    ) {
        self.schemes = schemes
        self.files = files
        self.presigner = presigner
    }
}

/// What a reader by a presigned address is told beside the bytes; nil for what the engine has noted.
package struct PresignedFacts: Sendable {
    package var contentType: String?, contentDisposition: String?
    package init(contentType: String? = nil, contentDisposition: String? = nil) {
        self.contentType = contentType
        self.contentDisposition = contentDisposition
    }
}

/// Addresses that allow a client one request of the engine itself, for some time: no byte passes the server.
package protocol ObjectPresigner: Sendable {
    func presignReading(_ location: ObjectLocation, as facts: PresignedFacts, seconds: Int64) throws(StoreError)
        -> String
    func presignWriting(_ location: ObjectLocation, seconds: Int64) throws(StoreError) -> String
    /// Headers that a client must send with what it writes.
    var writingHeaders: [(name: String, value: String)] { get }
    /// Whether it signs for a place.
    func presigns(_ location: ObjectLocation) -> Bool
    /// Whether the four below work.
    func signsParts(_ location: ObjectLocation) -> Bool
    /// Begins an upload in parts. Returns what names it.
    func beginPresignedParts(_ location: ObjectLocation) throws(StoreError) -> String
    func presignPart(_ location: ObjectLocation, upload: String, number: Int, seconds: Int64) throws(StoreError)
        -> String
    /// - Parameter tags: what the engine answered to each part, in order.
    func completePresignedParts(_ location: ObjectLocation, upload: String, tags: [String]) throws(StoreError)
    func abortPresignedParts(_ location: ObjectLocation, upload: String) throws(StoreError)
}

extension ObjectPresigner {
    private static var noParts: StoreError { StoreError(.invalid, "the store has no presigned uploads in parts") }
    package var writingHeaders: [(name: String, value: String)] { [] }
    package func presigns(_ location: ObjectLocation) -> Bool { true }
    package func signsParts(_ location: ObjectLocation) -> Bool { false }
    package func beginPresignedParts(_ location: ObjectLocation) throws(StoreError) -> String { throw Self.noParts }
    package func presignPart(_ location: ObjectLocation, upload: String, number: Int, seconds: Int64)
        throws(StoreError) -> String
    { throw Self.noParts }
    package func completePresignedParts(_ location: ObjectLocation, upload: String, tags: [String]) throws(StoreError) {
        throw Self.noParts
    }
    package func abortPresignedParts(_ location: ObjectLocation, upload: String) throws(StoreError) {
        throw Self.noParts
    }
}

/// Immutable objects by location: the seven calls that every engine has, and what it can do beside them.
/// Every method may be called from any thread, and blocks its caller.
/// An object is whole or absent at any moment, also after a crash. Source: `architecture.md`, "Promises".
package protocol ObjectStore: Sendable {
    var capabilities: ObjectStoreCapabilities { get }
    /// Stores an object that is in memory; an existing object of that location is replaced.
    func put(_ bytes: [UInt8], at location: ObjectLocation, _ durability: Durability) throws(StoreError)
    /// Stores an object only if there is none: of many who try at once one succeeds, where the engine can see to that.
    /// Returns whether it was stored.
    func putIfAbsent(_ bytes: [UInt8], at location: ObjectLocation) throws(StoreError) -> Bool
    /// Begins an object. Existing objects of that location are replaced when it finishes.
    func makeWriter(_ location: ObjectLocation) throws(StoreError) -> any ObjectWriter
    /// The bytes of `range`, cut at the object's end.
    /// - Throws: `.notFound` if there is no such object.
    func read(_ location: ObjectLocation, _ range: Range<Int64>) throws(StoreError) -> [UInt8]
    /// What there is at a location, or nil if there is no object.
    func head(_ location: ObjectLocation) throws(StoreError) -> StoredObject?
    /// Up to `limit` objects below `prefix` with a path greater than `after`, in byte order of their paths.
    func list(_ prefix: ObjectLocation, after: String?, limit: Int) throws(StoreError) -> [StoredObject]
    /// Removes an object; nothing happens if it is not there.
    func remove(_ location: ObjectLocation) throws(StoreError)
    /// A copy of `source` at `destination`, without moving its bytes where the store can. Returns its size.
    func copy(_ source: ObjectLocation, to destination: ObjectLocation) throws(StoreError) -> Int64
    /// Joins `parts`, in order, into one object at `destination`, without moving their bytes where the store can.
    /// Returns its size.
    func join(_ parts: [ObjectLocation], to destination: ObjectLocation) throws(StoreError) -> Int64
    /// Whether an entry may name `location` by its full address: a place outside of all namespaces that is open to
    /// readers. Asks no engine.
    func isOpen(_ location: ObjectLocation) -> Bool
}

/// What can be done besides where objects are files of this machine. As `ObjectStore` otherwise.
package protocol ObjectFiles: Sendable {
    /// Begins an object that is given its name when it ends.
    func makeWriter() throws(StoreError) -> any UnnamedObjectWriter
    /// Joins `parts`, in order, into one object at `destination`. Returns its size.
    func join(_ parts: [ObjectLocation], to destination: ObjectLocation) throws(StoreError) -> Int64
    /// Takes a finished local file as the object; the file is gone from its old place then. Returns its size.
    func adopt(file path: String, as location: ObjectLocation, _ durability: Durability) throws(StoreError) -> Int64
    /// The object as a piece of an open file.
    /// - Throws: `.notFound` if there is no such object.
    func piece(_ location: ObjectLocation) throws(StoreError) -> FilePiece
    /// As `piece`, but as a file that is this object and nothing else: for the kernel to read from by itself.
    func file(_ location: ObjectLocation) throws(StoreError) -> FilePiece
    /// Gives every object below `prefix` to `body`, in byte order of their paths, or `prefix` itself if that is one;
    /// ends where `body` throws.
    func walk(_ prefix: ObjectLocation, _ body: (StoredObject) throws -> Void) throws
    /// Bytes in all, bytes free, bytes free to who is not root: what `statfs` tells. Nil where there is no such bound.
    func capacity() -> (total: Int64, free: Int64, available: Int64)?
    /// Makes everything durable that was finished as `.eventual` or `.ordered` before.
    func synchronize() throws(StoreError)
    /// The same for what was finished as `.ordered` alone, which costs little.
    func synchronizeOrdered() throws(StoreError)
}

/// An object's bytes, or a range of them, a MiB at a time.
package struct ObjectPieces {
    private let store: any ObjectStore
    private let location: ObjectLocation
    private let range: Range<Int64>
    /// Where the next piece begins. At the end: that of the range, or less where the object ends before.
    package private(set) var position: Int64
    private static let mostBytes: Int64 = 1 << 20

    package init(of location: ObjectLocation, _ range: Range<Int64>, in store: any ObjectStore) {
        self.store = store
        self.location = location
        self.range = range
        position = range.lowerBound
    }

    /// The next piece; nil at the end.
    package mutating func next() throws(StoreError) -> [UInt8]? {
        let wanted = min(range.upperBound - position, Self.mostBytes)
        guard wanted > 0 else { return nil }
        let piece = try store.read(location, position..<position + wanted)
        guard !piece.isEmpty else { return nil }
        position += Int64(piece.count)
        return piece
    }
}

/// What a store tells of an object.
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
    package func isOpen(_ location: ObjectLocation) -> Bool { false }

    package func putIfAbsent(_ bytes: [UInt8], at location: ObjectLocation) throws(StoreError) -> Bool {
        guard try head(location) == nil else { return false }
        try put(bytes, at: location, .durable)
        return true
    }

    package func put(_ bytes: [UInt8], at location: ObjectLocation, _ durability: Durability) throws(StoreError) {
        _ = try fill(location, durability) { writer throws(StoreError) in try writer.write(bytes) }
    }

    package func put(_ bytes: [UInt8], at location: ObjectLocation) throws(StoreError) {
        try put(bytes, at: location, .durable)
    }

    /// The whole of an object that is known to be small.
    package func readAll(_ location: ObjectLocation) throws(StoreError) -> [UInt8] { try read(location, 0..<Int64.max) }

    /// The size of the object, or nil if there is none.
    package func size(of location: ObjectLocation) throws(StoreError) -> Int64? { try head(location)?.byteCount }
}

/// What `ObjectFiles` does better, for every store.
extension ObjectStore {
    /// Begins an object that is given its name when it ends.
    package func makeWriter() throws(StoreError) -> any UnnamedObjectWriter {
        try capabilities.files?.makeWriter() ?? BufferingWriter(self)
    }

    /// The object as a piece of an open file, if it is one here; nil if it has to be read through `read`.
    /// - Throws: `.notFound` if there is no such object among the files.
    package func piece(_ location: ObjectLocation) throws(StoreError) -> FilePiece? {
        try capabilities.files?.piece(location)
    }

    /// As `piece`, but as a file that is this object and nothing else: for the kernel to read from by itself.
    package func file(_ location: ObjectLocation) throws(StoreError) -> FilePiece? {
        try capabilities.files?.file(location)
    }

    package func join(_ parts: [ObjectLocation], to destination: ObjectLocation) throws(StoreError) -> Int64 {
        if let files = capabilities.files { return try files.join(parts, to: destination) }
        return try rewritten(parts, to: destination)
    }

    /// What `join` is for an engine that joins nothing: their bytes come here, and go.
    package func rewritten(_ parts: [ObjectLocation], to destination: ObjectLocation) throws(StoreError) -> Int64 {
        try fill(destination, .durable) { writer throws(StoreError) in
            for part in parts { try append(part, to: writer) }
        }
    }

    private func append(_ part: ObjectLocation, to writer: any ObjectWriter) throws(StoreError) {
        var pieces = ObjectPieces(of: part, 0..<Int64.max, in: self)
        while let piece = try pieces.next() { try writer.write(piece) }
    }

    private func fill(
        _ location: ObjectLocation, _ durability: Durability, _ feed: (any ObjectWriter) throws(StoreError) -> Void
    ) throws(StoreError) -> Int64 {
        let writer = try makeWriter(location)
        do throws(StoreError) {
            try feed(writer)
            return try writer.finish(durability)
        } catch {
            writer.abort()
            throw error
        }
    }

    /// Takes a finished local file as the object; the file is gone from its old place then. Returns its size.
    package func adopt(file path: String, as location: ObjectLocation, _ durability: Durability) throws(StoreError)
        -> Int64
    {
        if let files = capabilities.files { return try files.adopt(file: path, as: location, durability) }
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw StoreError(.unavailable, "cannot open a staged file: errno \(errno)") }
        let file = FilePiece(descriptor: descriptor, offset: 0, byteCount: .max)
        defer { file.close() }
        let size = try fill(location, durability) { writer throws(StoreError) in
            var position: Int64 = 0
            while case let piece = try file.read(position..<position + 1 << 20), !piece.isEmpty {
                try writer.write(piece)
                position += Int64(piece.count)
            }
        }
        guard unsafe unlink(path) == 0 else {
            throw StoreError(.unavailable, "cannot remove a staged file: errno \(errno)")
        }
        return size
    }

    /// Gives every object below `prefix` to `body`, in byte order of their paths, or `prefix` itself if that is one;
    /// ends where `body` throws.
    package func walk(_ prefix: ObjectLocation, _ body: (StoredObject) throws -> Void) throws {
        if let files = capabilities.files { return try files.walk(prefix, body) }
        if let object = try head(prefix) { return try body(object) }
        var after: String?
        while true {
            let page = try list(prefix, after: after, limit: 1000)
            for object in page { try body(object) }
            guard page.count == 1000 else { return }
            after = page.last!.location.path
        }
    }

    /// Bytes in all, bytes free, bytes free to who is not root: what `statfs` tells. Nil where there is no such bound.
    package func capacity() -> (total: Int64, free: Int64, available: Int64)? { capabilities.files?.capacity() }

    /// Makes everything durable that was finished as `.eventual` or `.ordered` before.
    package func synchronize() throws(StoreError) { try capabilities.files?.synchronize() }

    /// The same for what was finished as `.ordered` alone, which costs little.
    package func synchronizeOrdered() throws(StoreError) { try capabilities.files?.synchronizeOrdered() }
}
