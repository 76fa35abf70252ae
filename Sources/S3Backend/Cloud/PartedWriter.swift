import Foundations
import Glibc
import Synchronization
import Versioning

/// An upload in parts to an engine that joins them. Parts may come from several threads.
protocol PartedUpload: AnyObject, Sendable {
    /// Stores a part; numbers count from 1. Returns what names it when they are joined.
    func put(_ bytes: [UInt8], number: Int) throws(StoreError) -> String
    /// Makes the object of all parts, in order.
    func complete(_ names: [String], byteCount: Int64) throws(StoreError)
    /// Gives up; what goes wrong is logged.
    func abort()
}

/// An engine behind a network, as a writer sees it.
protocol PartedStore: ObjectStore {
    var limits: PartLimits { get }
    func putWhole(_ bytes: [UInt8], at location: ObjectLocation) throws(StoreError)
    func beginParts(_ location: ObjectLocation) throws(StoreError) -> any PartedUpload
    /// - Throws: `.invalid` if the engine cannot have an object there.
    func checkPlace(_ location: ObjectLocation) throws(StoreError)
}

extension PartedStore {
    package func put(_ bytes: [UInt8], at location: ObjectLocation, _ durability: Durability) throws(StoreError) {
        guard bytes.count > limits.partSize else { return try putWhole(bytes, at: location) }
        let writer = PartedWriter(self, location)
        try writer.write(bytes)
        _ = try writer.finish(durability)
    }

    package func makeWriter(_ location: ObjectLocation) throws(StoreError) -> any ObjectWriter {
        try checkPlace(location)
        return PartedWriter(self, location)
    }
}

/// What the writers of a store hold in memory, all together: a large object waits for room before it is taken in.
final class PartLimits: Sendable {
    let partSize: Int
    /// Parts of one object on their way at once.
    let width: Int
    /// Where parts are sent from.
    let pool: WorkerPool
    fileprivate let buffers = CountingSemaphore(), sending = CountingSemaphore()
    /// An object of so few bytes needs no room of its own.
    fileprivate static let small = 256 << 10

    /// - Parameters:
    ///   - partSize: bytes; an object of up to that many is sent whole.
    ///   - width: parts of one object on their way at once: one where their order matters.
    ///   - memoryBytes: what all writers may hold.
    init(partSize: Int, width: Int = 4, memoryBytes: Int = 384 << 20) {
        self.partSize = partSize
        self.width = width
        let count = max(4, memoryBytes / partSize)
        for _ in 0..<count * 2 / 3 { buffers.post() }
        for _ in 0..<max(1, count / 3) { sending.post() }
        pool = WorkerPool(name: "parts", width: max(1, min(16, count / 3)))
    }

    func stop() { pool.stop() }
}

/// Collects an object, and sends it whole if it is small, else in parts while it comes.
final class PartedWriter: ObjectWriter {
    private let store: any PartedStore
    private let location: ObjectLocation
    private var limits: PartLimits { store.limits }
    private var buffer: [UInt8] = []
    private var hasRoom = false
    private var size: Int64 = 0
    private var upload: (any PartedUpload)?
    private var count = 0
    private var isOver = false

    /// What the parts under way have in common with the writer.
    private final class Progress: Sendable {
        struct State {
            var names: [Int: String] = [:]
            var failure: StoreError?
        }
        let state = Mutex(State())
        let ended = CountingSemaphore()
    }
    private let progress = Progress()
    private var underWay = 0

    init(_ store: any PartedStore, _ location: ObjectLocation) {
        self.store = store
        self.location = location
    }

    deinit { abort() }

    func write(_ bytes: UnsafeRawBufferPointer) throws(StoreError) {
        guard !isOver else { throw StoreError(.invalid, "\(location) was finished or dropped before") }
        var start = 0
        while start < bytes.count {
            let taken = min(bytes.count - start, limits.partSize - buffer.count)
            if !hasRoom, buffer.count + taken > PartLimits.small {
                limits.buffers.wait()
                hasRoom = true
                buffer.reserveCapacity(limits.partSize)
            }
            unsafe buffer.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[start..<start + taken]))
            start += taken
            // The last one is kept: an object of exactly one part is sent whole.
            if buffer.count == limits.partSize, start < bytes.count || upload != nil { try sendPart() }
        }
        size += Int64(bytes.count)
    }

    private func sendPart() throws(StoreError) {
        let upload: any PartedUpload
        if let begun = self.upload { upload = begun } else { upload = try store.beginParts(location) }
        self.upload = upload
        try wait(untilAtMost: limits.width - 1)
        count += 1
        underWay += 1
        let (part, number, limits, progress) = (buffer, count, limits, progress)
        buffer = []
        buffer.reserveCapacity(limits.partSize)
        limits.sending.wait()
        limits.pool.run {
            do throws(StoreError) {
                let name = try upload.put(part, number: number)
                progress.state.withLock { $0.names[number] = name }
            } catch {
                progress.state.withLock { $0.failure = $0.failure ?? error }
            }
            limits.sending.post()
            progress.ended.post()
        }
    }

    private func wait(untilAtMost most: Int) throws(StoreError) {
        while underWay > most {
            progress.ended.wait()
            underWay -= 1
        }
        if let failure = progress.state.withLock({ $0.failure }) { throw failure }
    }

    func finish(_ durability: Durability) throws(StoreError) -> Int64 {
        guard !isOver else { throw StoreError(.invalid, "\(location) was finished or dropped before") }
        guard let upload else {
            try store.putWhole(buffer, at: location)
            end()
            return size
        }
        if !buffer.isEmpty { try sendPart() }
        try wait(untilAtMost: 0)
        let names = progress.state.withLock { $0.names }
        try upload.complete((1...count).map { names[$0]! }, byteCount: size)
        end()
        return size
    }

    private func end() {
        isOver = true
        buffer = []
        if hasRoom { limits.buffers.post() }
        hasRoom = false
    }

    func abort() {
        guard !isOver else { return }
        end()
        while underWay > 0 {
            progress.ended.wait()
            underWay -= 1
        }
        upload?.abort()
    }
}
