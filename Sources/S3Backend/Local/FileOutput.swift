import CLinux
import Foundations
import Glibc
import Synchronization
import Versioning

/// A file being written from its beginning to its end. Small ones at once; of large ones, a thread beside the caller's
/// writes while the caller makes the bytes that follow: receives, hashes or compresses them. Used by one thread at a
/// time.
final class FileOutput {
    /// Threads that write, and buffers that were written out, for all files of a store. Fresh memory costs more than
    /// copying.
    final class Threads: Sendable {
        fileprivate let pool: WorkerPool
        private let idle: Mutex<Int>
        private let spares = Mutex<[Piece]>([])
        private static let sparesKept = 8

        init(width: Int) {
            pool = WorkerPool(name: "file-writer", width: width)
            idle = Mutex(width)
        }

        func stop() { pool.stop() }

        /// Whether a thread is free; it is the caller's then, until `release`.
        fileprivate func claim() -> Bool {
            idle.withLock { idle in
                guard idle > 0 else { return false }
                idle -= 1
                return true
            }
        }

        fileprivate func release() { idle.withLock { $0 += 1 } }

        fileprivate func piece() -> Piece { spares.withLock { $0.popLast() } ?? Piece() }

        fileprivate func recycle(_ piece: Piece) {
            piece.bytes.removeAll(keepingCapacity: true)
            spares.withLock { spares in if spares.count < Self.sparesKept { spares.append(piece) } }
        }
    }

    /// Bytes on their way. Handed from thread to thread, used by one.
    fileprivate final class Piece: @unchecked Sendable {
        var bytes: [UInt8] = []
        init() { bytes.reserveCapacity(FileOutput.pieceBytes) }
    }

    /// What the caller's thread and the one beside it share.
    private final class Shared: Sendable {
        struct State {
            var waiting: [Piece] = []
            /// Whether a thread of the pool is at it.
            var isWriting = false
            var failure: StoreError?
        }

        let state = Mutex(State())
        /// One for each piece that may wait or be written yet.
        let room = CountingSemaphore()
        let file: Descriptor
        let threads: Threads

        init(_ file: Descriptor, _ threads: Threads) {
            self.file = file
            self.threads = threads
            for _ in 0..<FileOutput.mostPieces { room.post() }
        }

        /// Writes what waits, until nothing does.
        func run() {
            while let piece = state.withLock({ state in
                if state.waiting.isEmpty { state.isWriting = false }
                return state.waiting.isEmpty ? nil : state.waiting.removeFirst()
            }) {
                do throws(StoreError) { try file.write(piece) } catch {
                    state.withLock { $0.failure = $0.failure ?? error }
                }
                threads.recycle(piece)
                room.post()
            }
            threads.release()
        }
    }

    /// The open file. Written by one thread at a time: the caller's, or the one that `Shared.run` is on.
    private final class Descriptor: @unchecked Sendable {
        let number: Int32
        private var byteCount: Int64 = 0
        /// Bytes that are on their way to the disk, and how many at least go at once.
        private var begun: Int64 = 0
        private static let beginBytes: Int64 = 1 << 20

        init(number: Int32) { self.number = number }

        func write(_ bytes: UnsafeRawBufferPointer) throws(StoreError) {
            var done = 0
            while done < bytes.count {
                let count = unsafe Glibc.write(number, bytes.baseAddress! + done, bytes.count - done)
                if count < 0 && errno == EINTR { continue }
                guard count > 0 else { throw LocalObjectStore.failure("cannot write", "an object") }
                done += count
            }
            byteCount += Int64(bytes.count)
            // The disk begins while more bytes are made: the sync at the end has less to wait for.
            if byteCount - begun >= Self.beginBytes {
                _ = lake_begin_sync(number, begun, byteCount - begun)
                begun = byteCount
            }
        }

        func write(_ piece: Piece) throws(StoreError) {
            // A closure's thrown type is not carried through `withUnsafeBytes`: the error travels in a variable.
            var failure: StoreError?
            unsafe piece.bytes.withUnsafeBytes { bytes in
                do throws(StoreError) { unsafe try write(bytes) } catch { failure = error }
            }
            if let failure { throw failure }
        }
    }

    /// Bytes of a piece that is handed over, how many may be on their way, and from which size of the file on.
    private static let pieceBytes = 256 << 10, mostPieces = 3
    private static let largeBytes: Int64 = 2 << 20

    private let file: Descriptor
    private let threads: Threads
    private var shared: Shared?
    /// The piece that is being gathered.
    private var gathered: Piece?
    private(set) var byteCount: Int64 = 0
    var descriptor: Int32 { file.number }

    init(_ descriptor: Int32, threads: Threads) {
        file = Descriptor(number: descriptor)
        self.threads = threads
    }

    /// - Throws: what went wrong; with bytes that another thread writes, `flush` tells.
    func write(_ bytes: UnsafeRawBufferPointer) throws(StoreError) {
        byteCount += Int64(bytes.count)
        guard byteCount > Self.largeBytes else { return unsafe try file.write(bytes) }
        var rest = unsafe bytes
        while rest.count > 0 {
            let piece = gathered ?? threads.piece()
            let count = min(rest.count, Self.pieceBytes - piece.bytes.count)
            unsafe piece.bytes.append(contentsOf: rest[..<count])
            unsafe rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            gathered = piece
            if piece.bytes.count == Self.pieceBytes { try handOver() }
        }
    }

    /// Gives what is gathered to the thread beside, or writes it here if all of those are busy with other files.
    private func handOver() throws(StoreError) {
        guard let piece = gathered else { return }
        gathered = nil
        let shared = self.shared ?? Shared(file, threads)
        self.shared = shared
        shared.room.wait()
        let (isHere, isStarting) = shared.state.withLock { state in
            if state.isWriting || threads.claim() {
                defer { state.isWriting = true }
                state.waiting.append(piece)
                return (false, !state.isWriting)
            }
            return (true, false)
        }
        if isStarting { threads.pool.run { shared.run() } }
        guard isHere else { return }
        defer {
            threads.recycle(piece)
            shared.room.post()
        }
        try file.write(piece)
    }

    /// Waits until no other thread uses the file.
    /// - Throws: what went wrong with bytes that were given before.
    func wait() throws(StoreError) {
        guard let shared else { return }
        for _ in 0..<Self.mostPieces { shared.room.wait() }
        for _ in 0..<Self.mostPieces { shared.room.post() }
        if let failure = shared.state.withLock({ $0.failure }) { throw failure }
    }

    /// Waits until all bytes are in the file.
    /// - Throws: what went wrong with any of them.
    func flush() throws(StoreError) {
        try handOver()
        try wait()
    }

    /// Counts bytes that came into the file by another way.
    func skip(_ byteCount: Int64) { self.byteCount += byteCount }
}
