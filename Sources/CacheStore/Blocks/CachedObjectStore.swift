package import Foundations
import Synchronization
package import Versioning

/// An object store behind a network, with blocks of its objects kept here: the newest in memory, more on the disk. Only
/// objects that never change are kept, those of repositories' own namespaces. For who reads an object in order what comes
/// next is fetched before it is asked for. All doors read through it. Safe from any thread.
package final class CachedObjectStore: ObjectStore {
    private let base: any ObjectStore
    private let folder: BlockFolder
    /// Fetched lately, or about to be asked for.
    private let memory: LRUCache<BlockFolder.Name, [UInt8]>
    /// Blocks that are on their way: who wants one waits for it.
    private let underWay = Mutex<[BlockFolder.Name: Fetch]>([:])
    /// Where readers are, to tell who reads in order.
    private let readers = LRUCache<ObjectLocation, Reader>(budget: 10_000)
    private let ahead: WorkerPool
    private let hits = Atomic<Int>(0), misses = Atomic<Int>(0)

    private static let blockBytes: Int64 = 1 << 20
    /// Blocks that are fetched by one request for who reads in order, and requests ahead of him at most.
    private static let blocksAtOnce: Int64 = 4, mostAhead: Int64 = 4

    private final class Fetch: Sendable {
        let isOver = CountingSemaphore()
        let result = Mutex<Result<[UInt8], StoreError>?>(nil)
        func end(_ value: Result<[UInt8], StoreError>) {
            result.withLock { $0 = value }
            isOver.post()
        }
        func wait() throws(StoreError) -> [UInt8] {
            isOver.wait()
            // For who else waits.
            isOver.post()
            return try result.withLock { $0 }!.get()
        }
    }

    /// How far an object has been read in order, and what is fetched ahead.
    private struct Reader: Sendable {
        var next: Int64 = 0
        var fetched: Int64 = 0
        var run = 0
    }

    /// - Parameters:
    ///   - path: a folder of its own on the local disk.
    ///   - limitBytes: what it may take there.
    ///   - memoryBytes: what is kept in memory beside that.
    /// - Throws: `.unavailable` if the folder cannot be used.
    package init(_ base: any ObjectStore, folder path: String, limitBytes: Int64, memoryBytes: Int = 64 << 20)
        throws(StoreError)
    {
        self.base = base
        folder = try BlockFolder(path, limitBytes: limitBytes)
        memory = LRUCache(budget: memoryBytes)
        ahead = WorkerPool(name: "read-ahead", width: 8)
    }

    package func close() { ahead.stop() }

    /// Reads of what was here, of what was not, and bytes on the disk.
    package var counters: (hits: Int, misses: Int, bytes: Int64) {
        (hits.load(ordering: .relaxed), misses.load(ordering: .relaxed), folder.byteCount)
    }

    /// Whether an object is one that never changes: one of the names that a server makes up (`lakefs-formats.md` 1.2), or a
    /// table, named by its content.
    static func isKept(_ location: ObjectLocation) -> Bool {
        let parts = location.path.utf8.split(separator: 0x2f)
        guard let last = parts.last else { return false }
        if parts.count >= 3, parts[parts.count - 3].elementsEqual("data".utf8) {
            return parts[parts.count - 2].count == 20 && last.count >= 20
        }
        return parts.count >= 2 && parts[parts.count - 2].elementsEqual("_lakefs".utf8) && last.count == 64
    }

    // MARK: reading

    package func read(_ location: ObjectLocation, _ range: Range<Int64>) throws(StoreError) -> [UInt8] {
        guard !range.isEmpty, Self.isKept(location) else {
            try Waiting.begin()
            return try base.read(location, range)
        }
        var bytes: [UInt8] = []
        var position = range.lowerBound
        while position < range.upperBound {
            let number = position / Self.blockBytes
            let block = try block(number, of: location)
            let start = Int(position - number * Self.blockBytes)
            guard start < block.count else { break }
            let count = Int(min(Int64(block.count - start), range.upperBound - position))
            if bytes.isEmpty, start == 0, count == block.count {
                bytes = block
            } else {
                bytes += block[start..<start + count]
            }
            position += Int64(count)
            // One that is not full is the last.
            if block.count < Int(Self.blockBytes) { break }
        }
        note(location, range.lowerBound..<position)
        return bytes
    }

    private func block(_ number: Int64, of location: ObjectLocation) throws(StoreError) -> [UInt8] {
        let name = BlockFolder.Name(location: location, number: number)
        if let known = memory[name] {
            hits.add(1, ordering: .relaxed)
            return known
        }
        try Waiting.begin()
        let own = Fetch()
        let other: Fetch? = underWay.withLock { underWay in
            if let fetch = underWay[name] { return fetch }
            underWay[name] = own
            return nil
        }
        if let other {
            hits.add(1, ordering: .relaxed)
            return try other.wait()
        }
        return try fetch(number..<number + 1, of: location, for: [own])[0]
    }

    /// Gets blocks from the disk or the store, for whoever waits.
    private func fetch(_ numbers: Range<Int64>, of location: ObjectLocation, for fetches: [Fetch]) throws(StoreError)
        -> [[UInt8]]
    {
        func end(_ number: Int64, _ value: Result<[UInt8], StoreError>) {
            let name = BlockFolder.Name(location: location, number: number)
            if case .success(let bytes) = value { memory.insert(bytes, for: name, cost: bytes.count + 200) }
            _ = underWay.withLock { $0.removeValue(forKey: name) }
            fetches[Int(number - numbers.lowerBound)].end(value)
        }
        var blocks: [[UInt8]] = []
        var left = numbers
        while !left.isEmpty,
            let known = folder.block(BlockFolder.Name(location: location, number: left.lowerBound))
        {
            hits.add(1, ordering: .relaxed)
            blocks.append(known)
            end(left.lowerBound, .success(known))
            left = left.lowerBound + 1..<left.upperBound
        }
        guard !left.isEmpty else { return blocks }
        misses.add(left.count, ordering: .relaxed)
        do throws(StoreError) {
            let bytes = try base.read(location, left.lowerBound * Self.blockBytes..<left.upperBound * Self.blockBytes)
            for number in left {
                let start = min(Int((number - left.lowerBound) * Self.blockBytes), bytes.count)
                let block = Array(bytes[start..<min(start + Int(Self.blockBytes), bytes.count)])
                blocks.append(block)
                end(number, .success(block))
                folder.keep(block, BlockFolder.Name(location: location, number: number))
            }
            return blocks
        } catch {
            for number in left { end(number, .failure(error)) }
            throw error
        }
    }

    /// Somebody has read a part: if it followed the one before, what follows it is fetched.
    private func note(_ location: ObjectLocation, _ range: Range<Int64>) {
        var reader = readers[location] ?? Reader()
        // Who looks at the begin first, to see whether it is there, reads it again.
        let isInOrder = range.lowerBound <= reader.next && range.upperBound > reader.next
        reader.run = isInOrder ? reader.run + 1 : 0
        if !isInOrder { reader.fetched = 0 }
        reader.next = range.upperBound
        defer { readers.insert(reader, for: location, cost: 1) }
        // The first read of an object may be all that is wanted of it.
        guard reader.run >= 2 else { return }
        let current = range.upperBound / Self.blockBytes
        let most = current + Self.blocksAtOnce * min(Int64(reader.run - 1), Self.mostAhead)
        var start = max(reader.fetched, current + 1)
        while start + Self.blocksAtOnce <= most + 1 {
            fetchAhead(start..<start + Self.blocksAtOnce, of: location)
            start += Self.blocksAtOnce
        }
        reader.fetched = start
    }

    private func fetchAhead(_ numbers: Range<Int64>, of location: ObjectLocation) {
        let fetches = numbers.map { _ in Fetch() }
        let isFree = underWay.withLock { underWay in
            let names = numbers.map { BlockFolder.Name(location: location, number: $0) }
            guard names.allSatisfy({ underWay[$0] == nil && memory[$0] == nil }) else { return false }
            for (name, fetch) in zip(names, fetches) { underWay[name] = fetch }
            return true
        }
        guard isFree else { return }
        ahead.run { [self] in
            _ = try? fetch(numbers, of: location, for: fetches)  // Who wants it is told by its `Fetch`.
        }
    }

    // MARK: the rest

    package var capabilities: ObjectStoreCapabilities { base.capabilities }
    package func put(_ bytes: [UInt8], at location: ObjectLocation, _ durability: Durability) throws(StoreError) {
        try Waiting.begin()
        try base.put(bytes, at: location, durability)
    }
    package func putIfAbsent(_ bytes: [UInt8], at location: ObjectLocation) throws(StoreError) -> Bool {
        try Waiting.begin()
        return try base.putIfAbsent(bytes, at: location)
    }
    package func makeWriter(_ location: ObjectLocation) throws(StoreError) -> any ObjectWriter {
        try base.makeWriter(location)
    }
    package func head(_ location: ObjectLocation) throws(StoreError) -> StoredObject? {
        try Waiting.begin()
        return try base.head(location)
    }
    package func list(_ prefix: ObjectLocation, after: String?, limit: Int) throws(StoreError) -> [StoredObject] {
        try Waiting.begin()
        return try base.list(prefix, after: after, limit: limit)
    }
    package func remove(_ location: ObjectLocation) throws(StoreError) {
        try Waiting.begin()
        try base.remove(location)
        guard Self.isKept(location) else { return }
        // What was read of it begins at its begin, nearly always; the rest goes for want of use.
        for number in 0..<Int64(4) {
            let name = BlockFolder.Name(location: location, number: number)
            memory.remove(name)
            folder.forget(name)
        }
    }
    package func copy(_ source: ObjectLocation, to destination: ObjectLocation) throws(StoreError) -> Int64 {
        try Waiting.begin()
        return try base.copy(source, to: destination)
    }
    package func join(_ parts: [ObjectLocation], to destination: ObjectLocation) throws(StoreError) -> Int64 {
        try Waiting.begin()
        return try base.join(parts, to: destination)
    }
    package func isOpen(_ location: ObjectLocation) -> Bool { base.isOpen(location) }
}
