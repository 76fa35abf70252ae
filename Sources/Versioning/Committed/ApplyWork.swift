import Foundations
import Synchronization

/// Writes the pieces of a commit on the pool, a few at once, and puts their ranges in order.
final class ApplyWork: Sendable {
    private struct State {
        /// One list a unit or copied range, in order; nil while it is being written.
        var results: [[CommittedRange]?] = []
        var count = ChangeCount()
    }

    /// Bytes of changes that may be on their way at once; a unit of its own may be larger.
    private static let mostBytes = 48 << 20

    private let state = Mutex(State())
    private let tasks: PoolTasks
    private let store: CommittedStore
    private let namespace: StorageNamespace

    init(store: CommittedStore, namespace: StorageNamespace) {
        self.store = store
        self.namespace = namespace
        tasks = PoolTasks(store.pool, mostBytes: Self.mostBytes)
    }

    /// Takes over a range unopened.
    func copy(_ range: CommittedRange) { state.withLock { $0.results.append([range]) } }

    /// Writes pieces soon; waits while as many units as the pool is wide are being written, or too many bytes.
    func start(_ pieces: [ApplyPiece], byteCount: Int) throws {
        try write(byteCount: byteCount) { run in
            for piece in pieces { try run.write(piece) }
        }
    }

    /// Begins a unit whose pieces come one after the other; waits for a place as `start` does.
    func begin() throws -> OpenRun {
        let open = OpenRun()
        try write(byteCount: 0) { run in
            do {
                while let pieces = open.next() { for piece in pieces { try run.write(piece) } }
            } catch {
                // Nobody shall wait for room.
                while open.next() != nil {}
                throw error
            }
        }
        return open
    }

    /// Writes a unit on the pool, fed by `feed`; its ranges have their place behind all that came before.
    private func write(byteCount: Int, _ feed: @escaping @Sendable (ApplyRun) throws -> Void) throws {
        let index = state.withLock { state in
            state.results.append(nil)
            return state.results.count - 1
        }
        try tasks.start(byteCount: byteCount) { [self] in
            let run = ApplyRun(store: store, namespace: namespace)
            try feed(run)
            let (ranges, count) = try run.end()
            state.withLock { state in
                state.results[index] = ranges
                state.count += count
            }
        }
    }

    /// Lets what runs end; its outcome is of no interest any more.
    func drain() { tasks.drain() }

    /// All ranges, when they are stored.
    func finish() throws -> ([CommittedRange], ChangeCount) {
        defer { tasks.drain() }
        try tasks.waitForAll()
        return state.withLock { state in (state.results.flatMap { $0! }, state.count) }
    }
}

/// Pieces of one unit on their way from the thread that gathers them to the one that writes them; few at a time.
final class OpenRun: Sendable {
    private let waiting = Mutex<[[ApplyPiece]]>([])
    private let signal = CountingSemaphore(), room = CountingSemaphore()
    /// Lists of pieces that may wait.
    private static let mostWaiting = 2

    init() { for _ in 0..<Self.mostWaiting { room.post() } }

    /// Adds pieces behind all others; waits while too many are not written yet.
    func add(_ pieces: [ApplyPiece]) {
        room.wait()
        waiting.withLock { $0.append(pieces) }
        signal.post()
    }

    /// Nothing more comes: a signal with nothing waiting.
    func close() { signal.post() }

    /// The next pieces; nil when all were given and no more come.
    func next() -> [ApplyPiece]? {
        signal.wait()
        let next = waiting.withLock { waiting in waiting.isEmpty ? nil : waiting.removeFirst() }
        if next != nil { room.post() }
        return next
    }
}

/// One unit being written: its pieces one after the other. Used by one thread.
final class ApplyRun {
    private let store: CommittedStore
    private let namespace: StorageNamespace
    private let writer: RangeWriter
    private let ranges: RangeList
    private var count = ChangeCount()

    private final class RangeList { var all: [CommittedRange] = [] }

    init(store: CommittedStore, namespace: StorageNamespace) {
        self.store = store
        self.namespace = namespace
        let ranges = RangeList()
        self.ranges = ranges
        writer = RangeWriter(store) { finished in
            ranges.all.append(finished.range)
            try store.store(finished, in: namespace)
        }
    }

    func write(_ piece: ApplyPiece) throws {
        var merge = PieceMerge(piece: piece, writer: writer)
        if let range = piece.range {
            try store.wrap(range.id) { try merge.run(over: store.table(range.id, in: namespace, as: range)) }
        }
        try merge.rest()
        count += merge.count
    }

    /// The ranges, all stored, and what changed.
    func end() throws -> ([CommittedRange], ChangeCount) {
        try writer.close()
        return (ranges.all, count)
    }
}

/// Lays the changes of one piece over the records of its base range.
private struct PieceMerge {
    let piece: ApplyPiece
    let writer: RangeWriter
    private var next = 0
    private(set) var count = ChangeCount()

    init(piece: ApplyPiece, writer: RangeWriter) {
        self.piece = piece
        self.writer = writer
    }

    mutating func run(over table: TableReader) throws {
        let cursor = table.scan()
        if let after = piece.after {
            guard try cursor.seek(after.successor.bytes), try record(cursor) else { return }
        }
        while true {
            while try cursor.advanceInBlock() {
                guard try record(cursor) else { return }
            }
            guard let (entry, block) = try cursor.nextBlock() else { return }
            // A block that no change touches, and whose follower none precedes, is taken as it is stored.
            if table.hasOurBlocks, let follower = try cursor.firstKeyOfNextBlock(), isQuiet(through: follower),
                try writer.take(block, stored: cursor.stored(entry.handle), indexKey: entry.key)
            {
                cursor.passBlock()
            }
        }
    }

    /// Whether no change has a key up to and with `key`, and the piece goes on behind it.
    private func isQuiet(through key: [UInt8]) -> Bool {
        if let last = piece.last, !key.precedes(last.bytes) { return false }
        guard next < piece.changes.count else { return true }
        return unsafe piece.changes.with(next) { change, _ in unsafe compare(change, key) > 0 }
    }

    /// Writes the record under the cursor and the changes before it; false if it lies behind the piece.
    private mutating func record(_ cursor: TableCursor) throws -> Bool {
        if let last = piece.last, cursor.order(to: last.bytes) > 0 { return false }
        while next < piece.changes.count {
            let order = unsafe piece.changes.with(next) { change, _ in
                unsafe cursor.withKey { unsafe compare($0, change) }
            }
            if order < 0 { break }
            if order > 0 {
                try change()
                continue
            }
            // The same key: the base record stays if the content is the same.
            let writer = writer
            unsafe count += try piece.changes.with(next) { key, value in
                guard let value = unsafe value else { return ChangeCount(removed: 1) }
                let isSame = unsafe try Envelope.haveSameIdentity(cursor.valueBuffer, value)
                unsafe try writer.add(key, isSame ? cursor.valueBuffer : value)
                return ChangeCount(changed: isSame ? 0 : 1)
            }
            next += 1
            return true
        }
        unsafe try cursor.withKey { unsafe try writer.add($0, cursor.valueBuffer) }
        return true
    }

    /// Writes a change whose key the base does not have.
    private mutating func change() throws {
        let isAdded = unsafe try piece.changes.with(next) { key, value in
            if let value = unsafe value { unsafe try writer.add(key, value) }
            return unsafe value != nil
        }
        if isAdded { count.added += 1 }
        next += 1
    }

    /// Writes the changes behind all records.
    mutating func rest() throws {
        while next < piece.changes.count { try change() }
    }
}
