import CLinux
import Foundations
import Glibc
import Synchronization
import Versioning

/// Small objects on their way to be files. An object is kept in memory until the next sync, which appends all that came
/// since the last one to a log, with one write and one sync for all who wait. From there it is read, and a thread makes
/// it a file of its own soon after. An object that goes before its turn never becomes a file. Safe from any thread.
///
/// The log is a folder of segments, files of records (`ObjectLogRecord`), named by number.
final class ObjectLog: Sendable {
    /// Bytes of the largest object that goes through the log.
    static let largestObject = 32 << 10

    /// One file of the log. Open as long as anyone reads from it.
    private final class Segment: Sendable {
        let number: UInt64
        let path: String
        let descriptor: Int32
        /// Where the next record goes; of one that is not appended to, its length.
        let end: Atomic<Int64>
        /// Objects in it that are no files yet, and did not go.
        let pending = Atomic<Int>(0)

        init(number: UInt64, path: String, descriptor: Int32, end: Int64) {
            self.number = number
            self.path = path
            self.descriptor = descriptor
            self.end = Atomic(end)
        }

        deinit { Glibc.close(descriptor) }
    }

    /// Where an object's bytes are: in memory, or in a segment.
    private struct Place: Sendable {
        /// Tells objects apart that came under one name.
        let number: UInt64
        let byteCount: Int64
        /// Monotonic, in milliseconds.
        let born: Int64
        var bytes: [UInt8]?
        var segment: Segment?
        var offset: Int64 = 0
    }

    private struct State {
        var places: [ObjectLocation: Place] = [:]
        /// What the next sync writes: objects, and those that went (nil).
        var unwritten: [(location: ObjectLocation, number: UInt64?)] = []
        var unwrittenBytes = 0
        /// What is to become files, oldest first, from `next` on.
        var queue: [(location: ObjectLocation, number: UInt64, segment: Segment)] = []
        var next = 0
        /// What is becoming a file.
        var making: ObjectLocation?
        /// The last one is appended to, unless `isClosed`.
        var segments: [Segment] = []
        var isClosed = true
        /// What a sync is writing to: it has objects that nobody knows of yet.
        var writing: Segment?
        var nextSegment: UInt64 = 0
        var nextNumber: UInt64 = 0
        /// When the last object came.
        var lastAppend: Int64 = 0
        var thread: Thread?
        var isStopping = false
    }

    private enum Work: Sendable {
        /// Old ones become files; of all, if there are too many.
        case aged
        case all
        case one(ObjectLocation)
        /// To come behind what is being done.
        case none
    }

    private let root: String
    private let folder: String
    private let state = Mutex(State())
    /// How many objects are here; 0 answers most questions.
    private let count = Atomic<Int>(0)
    /// Objects that came, and how many of them the last sync covered.
    private let came = Atomic<Int>(0), synced = Atomic<Int>(0)
    private let wake = CountingSemaphore()
    /// Makes files, one caller at a time.
    private let turns: GroupCommit<Work, StoreError?>
    /// Syncs, one for all who wait.
    private let syncs: GroupCommit<Void, StoreError?>
    /// Ends segments, one caller at a time: whether also the one that is appended to.
    private let endings: GroupCommit<Bool, StoreError?>

    private static let segmentBytes: Int64 = 32 << 20
    /// With so many segments, or so many bytes in memory, the log takes no more until there are fewer.
    private static let mostSegments = 8, mostUnwritten = 16 << 20
    /// How long an object stays before it becomes a file: one that is replaced meanwhile never does.
    private static let ageMilliseconds: Int64 = 5000
    /// How long one turn of the thread takes: who wants one object as a file waits for it.
    private static let turnMilliseconds: Int64 = 30
    /// An empty log to which nothing came for so long ends its segment.
    private static let idleMilliseconds: Int64 = 3000
    /// Objects that wait; beyond it, or with half of the segments, their age does not count.
    private static let mostWaiting = 48_000

    /// Reads what an earlier process left in `folder`, and begins to make files of it. Only one process may have it.
    /// - Parameter root: where objects become files.
    init(folder: String, root: String) throws(StoreError) {
        self.folder = folder
        self.root = root
        let owner = Owner()
        turns = GroupCommit { works in
            works.map { work in owner.outcome { log throws(StoreError) in try log.makeFiles(work) } }
        }
        syncs = GroupCommit { callers in
            let outcome = owner.outcome { log throws(StoreError) in try log.synchronizeNow() }
            return callers.map { outcome }
        }
        endings = GroupCommit { ends in
            let outcome = owner.outcome { log throws(StoreError) in try log.endSegments(ends.contains(true)) }
            return ends.map { _ in outcome }
        }
        try replay()
        owner.set(self)
        if state.withLock({ !$0.segments.isEmpty }) { startThread() }
    }

    /// The turns' way back to their log, which owns them.
    private final class Owner: Sendable {
        private struct Reference { weak var log: ObjectLog? }
        private let reference = Mutex(Reference())

        func set(_ log: ObjectLog) { reference.withLock { $0.log = log } }

        func outcome(_ body: (ObjectLog) throws(StoreError) -> Void) -> StoreError? {
            guard let log = reference.withLock({ $0.log }) else { return nil }
            do throws(StoreError) { try body(log) } catch { return error }
            return nil
        }
    }

    /// Makes files of all that is here, and ends. Call once.
    func close() {
        let thread = state.withLock { state in
            state.isStopping = true
            return state.thread
        }
        wake.post()
        thread?.join()
        do throws(StoreError) { try drain() } catch {
            Log.warning(
                "small objects stay in the log: they could not be made files", ["reason": "\(error)"])
        }
        turns.stop()
        syncs.stop()
        endings.stop()
    }

    // MARK: writing

    /// Takes an object, which is read from here from now on. Durable after the next `synchronize`; does not block.
    /// - Returns: false if there is no room: it has to be written as a file.
    func append(_ bytes: [UInt8], at location: ObjectLocation) -> Bool {
        let now = Timestamp.monotonicMilliseconds()
        let (isTaken, hasThread) = state.withLock { state in
            guard hasRoom(state) else { return (false, true) }
            let place = Place(
                number: state.nextNumber, byteCount: Int64(bytes.count), born: now, bytes: bytes)
            state.nextNumber += 1
            if let old = state.places.updateValue(place, forKey: location) {
                old.segment?.pending.subtract(1, ordering: .relaxed)
                if old.segment == nil { state.unwrittenBytes -= Int(old.byteCount) }
            } else {
                count.add(1, ordering: .relaxed)
            }
            state.unwritten.append((location, place.number))
            state.unwrittenBytes += bytes.count
            state.lastAppend = now
            came.add(1, ordering: .releasing)
            return (true, state.thread != nil)
        }
        if !hasThread { startThread() }
        return isTaken
    }

    private func hasRoom(_ state: State) -> Bool {
        state.unwrittenBytes < Self.mostUnwritten && state.segments.count < Self.mostSegments
    }

    /// Whether an object that comes now would be taken.
    var hasRoom: Bool { state.withLock { hasRoom($0) } }

    /// Forgets an object, if it is here: its file may be made by others, or removed, when this returns.
    func remove(_ location: ObjectLocation) {
        guard count.load(ordering: .relaxed) > 0 else { return }
        let isBeingMade = state.withLock { state in
            guard let place = state.places.removeValue(forKey: location) else { return state.making == location }
            count.subtract(1, ordering: .relaxed)
            if let segment = place.segment {
                segment.pending.subtract(1, ordering: .relaxed)
                // So that it does not come back with the next start. If that is lost, it does: and nobody names it.
                state.unwritten.append((location, nil))
            } else {
                state.unwrittenBytes -= Int(place.byteCount)
            }
            return state.making == location
        }
        if isBeingMade { _ = turns.submit(.none) }
    }

    /// Makes everything durable that came before.
    func synchronize() throws(StoreError) {
        guard synced.load(ordering: .acquiring) < came.load(ordering: .acquiring) else { return }
        if let outcome = syncs.submit(()), let error = outcome { throw error }
    }

    /// A record on its way to a segment.
    private struct Record {
        let location: ObjectLocation
        /// Nil for an object that went.
        let place: Place?
        /// Where its bytes are among those that are written.
        var offset = 0
    }

    private func synchronizeNow() throws(StoreError) {
        var (records, taken, covered) = state.withLock { state in
            let records = state.unwritten.compactMap { item -> Record? in
                guard let number = item.number else { return Record(location: item.location, place: nil) }
                guard let place = state.places[item.location], place.number == number else { return nil }
                return Record(location: item.location, place: place)
            }
            return (records, state.unwritten.count, came.load(ordering: .acquiring))
        }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(records.reduce(0) { $0 + 256 + ($1.place?.bytes?.count ?? 0) })
        for index in records.indices {
            let object = records[index].place?.bytes
            ObjectLogRecord.append(records[index].location, object, to: &bytes)
            records[index].offset = bytes.count - (object?.count ?? 0)
        }
        var segment: Segment?
        var start: Int64 = 0
        if !bytes.isEmpty {
            let current = try segmentToWrite()
            start = current.end.load(ordering: .relaxed)
            do throws(StoreError) {
                try Self.write(bytes, to: current.descriptor, at: start)
                guard fdatasync(current.descriptor) == 0 else {
                    throw LocalObjectStore.failure("cannot sync", "an object")
                }
            } catch {
                // Nothing comes behind what may not be whole: the next one begins a segment.
                _ = ftruncate(current.descriptor, off_t(start))
                state.withLock { state in
                    state.isClosed = true
                    state.writing = nil
                }
                throw error
            }
            current.end.store(start + Int64(bytes.count), ordering: .relaxed)
            segment = current
        }
        state.withLock { [records, taken] state in
            state.writing = nil
            state.unwritten.removeFirst(taken)
            for record in records {
                guard let place = record.place else { continue }
                guard state.places[record.location]?.number == place.number else {
                    state.unwritten.append((record.location, nil))  // It went meanwhile.
                    continue
                }
                state.places[record.location]!.bytes = nil
                state.places[record.location]!.segment = segment
                state.places[record.location]!.offset = start + Int64(record.offset)
                state.unwrittenBytes -= Int(place.byteCount)
                segment!.pending.add(1, ordering: .relaxed)
                state.queue.append((record.location, place.number, segment!))
            }
        }
        synced.store(covered, ordering: .releasing)
    }

    /// Writes all bytes at `offset` (pwrite(2)).
    static func write(_ bytes: [UInt8], to descriptor: Int32, at offset: Int64) throws(StoreError) {
        guard unsafe bytes.withUnsafeBytes({ unsafe writeWhole($0, to: descriptor, at: offset) }) else {
            throw LocalObjectStore.failure("cannot write", "an object")
        }
    }

    /// The segment that is appended to: a new one, whose name is durable then, if the last one is full.
    private func segmentToWrite() throws(StoreError) -> Segment {
        let (last, number) = state.withLock { state -> (Segment?, UInt64) in
            if let last = state.segments.last, !state.isClosed, last.end.load(ordering: .relaxed) < Self.segmentBytes {
                state.writing = last
                return (last, 0)
            }
            state.isClosed = true
            defer { state.nextSegment += 1 }
            return (nil, state.nextSegment)
        }
        if let last { return last }
        if unsafe mkdir(folder, 0o700) == 0 { try LocalObjectStore.synchronize(folder: root) }
        let path = "\(folder)/\(number)"
        let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw LocalObjectStore.failure("cannot make", "the log of objects") }
        let segment = Segment(number: number, path: path, descriptor: descriptor, end: 0)
        do throws(StoreError) { try LocalObjectStore.synchronize(folder: folder) } catch {
            unsafe unlink(path)
            throw error
        }
        state.withLock { state in
            state.segments.append(segment)
            state.isClosed = false
            state.writing = segment
        }
        return segment
    }

    // MARK: reading

    private func place(of location: ObjectLocation) -> Place? {
        guard count.load(ordering: .relaxed) > 0 else { return nil }
        return state.withLock { $0.places[location] }
    }

    /// The object's size, if it is here.
    func size(of location: ObjectLocation) -> Int64? { place(of: location)?.byteCount }

    /// The object as a piece of a segment, if it is in one; the descriptor is the caller's.
    func piece(_ location: ObjectLocation) throws(StoreError) -> FilePiece? {
        guard let place = place(of: location) else { return nil }
        guard let segment = place.segment else {
            // It is in memory for as long as a sync takes.
            try synchronize()
            return try piece(location)
        }
        let descriptor = fcntl(segment.descriptor, F_DUPFD_CLOEXEC, 0)
        guard descriptor >= 0 else { throw LocalObjectStore.failure("cannot open", location.description) }
        return FilePiece(descriptor: descriptor, offset: place.offset, byteCount: place.byteCount)
    }

    /// Bytes of the object, if it is here.
    func read(_ location: ObjectLocation, _ range: Range<Int64>) throws(StoreError) -> [UInt8]? {
        guard let place = place(of: location) else { return nil }
        return try Self.read(place, range)
    }

    private static func read(_ place: Place, _ range: Range<Int64>) throws(StoreError) -> [UInt8] {
        if let bytes = place.bytes {
            let end = min(range.upperBound, place.byteCount)
            return range.lowerBound < end ? Array(bytes[Int(range.lowerBound)..<Int(end)]) : []
        }
        let segment = place.segment!
        return try withExtendedLifetime(segment) { () throws(StoreError) in
            try FilePiece(descriptor: segment.descriptor, offset: place.offset, byteCount: place.byteCount).read(range)
        }
    }

    // MARK: becoming files

    /// Makes files of all objects that are here now.
    func drain() throws(StoreError) {
        guard state.withLock({ !$0.segments.isEmpty || !$0.unwritten.isEmpty }) else { return }
        try synchronize()
        if let outcome = turns.submit(.all), let error = outcome { throw error }
        if let outcome = endings.submit(true), let error = outcome { throw error }
    }

    /// Makes a file of an object, if it is here.
    func makeFile(_ location: ObjectLocation) throws(StoreError) {
        guard let place = place(of: location) else { return }
        if place.segment == nil { try synchronize() }
        if let outcome = turns.submit(.one(location)), let error = outcome { throw error }
    }

    private func startThread() {
        state.withLock { state in
            guard state.thread == nil, !state.isStopping else { return }
            state.thread = Thread(name: "object-files") { [self] in run() }
        }
    }

    /// Makes files now and then, until the log is closed.
    private func run() {
        var pause = 250
        while true {
            _ = wake.wait(milliseconds: pause)
            let (isStopping, isIdle) = state.withLock { ($0.isStopping, $0.segments.isEmpty) }
            if isStopping { return }
            pause = isIdle ? 1000 : 250
            guard !isIdle else { continue }
            let outcome = turns.submit(.aged) ?? nil
            // There may be more: others had their turn.
            if outcome == nil, state.withLock({ isDue($0) }) { pause = 0 }
            if let error = outcome ?? endings.submit(false) ?? nil {
                Log.warning("small objects stay in the log: they could not be made files", ["reason": "\(error)"])
                pause = 2000
            }
        }
    }

    /// Whether the next object of the queue is to become a file.
    private func isDue(_ state: State) -> Bool {
        guard state.next < state.queue.count else { return false }
        let (location, number, _) = state.queue[state.next]
        guard let place = state.places[location], place.number == number else { return true }
        return Timestamp.monotonicMilliseconds() - place.born >= Self.ageMilliseconds
            || state.queue.count - state.next >= Self.mostWaiting || state.segments.count >= Self.mostSegments / 2
    }

    /// An object of the queue, as it is now.
    private typealias Item = (location: ObjectLocation, place: Place)

    /// Objects of the queue's beginning; those that went are passed over.
    private func take(_ work: Work, atMost limit: Int) -> (taken: Int, items: [Item]) {
        state.withLock { state in
            var items: [Item] = []
            let start = state.next
            while state.next < state.queue.count, state.next - start < limit {
                if case .aged = work, !isDue(state) { break }
                let (location, number, _) = state.queue[state.next]
                if let place = state.places[location], place.number == number { items.append((location, place)) }
                state.next += 1
            }
            let taken = state.next - start
            if state.next == state.queue.count || state.next > 4096 {
                state.queue.removeFirst(state.next)
                state.next = 0
            }
            return (taken, items)
        }
    }

    private func makeFiles(_ work: Work) throws(StoreError) {
        if case .none = work { return }
        if case .one(let location) = work {
            // Its turn in the queue comes too, and passes it over.
            if let place = state.withLock({ $0.places[location] }), place.segment != nil {
                try makeFile(location, place)
            }
            return
        }
        let deadline = Timestamp.monotonicMilliseconds() + Self.turnMilliseconds
        var left = state.withLock { $0.queue.count - $0.next }
        while left > 0 {
            let (taken, items) = take(work, atMost: min(64, left))
            left -= taken
            for (index, item) in items.enumerated() {
                do throws(StoreError) { try makeFile(item.location, item.place) } catch {
                    let rest = items[index...].map { ($0.location, $0.place.number, $0.place.segment!) }
                    state.withLock { state in state.queue.insert(contentsOf: rest, at: state.next) }
                    throw error
                }
            }
            // The thread lets others have their turn.
            if case .aged = work, Timestamp.monotonicMilliseconds() > deadline { break }
            if taken == 0 { break }
        }
    }

    private func makeFile(_ location: ObjectLocation, _ place: Place) throws(StoreError) {
        let path = root + "/" + location.path
        // It may have gone since it was looked at.
        let isHere = state.withLock { state in
            guard state.places[location]?.number == place.number else { return false }
            state.making = location
            return true
        }
        guard isHere else { return }
        defer { state.withLock { $0.making = nil } }
        try ObjectFile.make(path, try Self.read(place, 0..<place.byteCount), temporary: root + "/.incoming/log")
        let went = state.withLock { state in
            guard let now = state.places[location] else { return true }
            guard now.number == place.number else { return false }
            state.places.removeValue(forKey: location)
            place.segment!.pending.subtract(1, ordering: .relaxed)
            count.subtract(1, ordering: .relaxed)
            return false
        }
        if went { unsafe unlink(path) }  // While it became a file.
    }

    /// Removes segments whose objects are all files or went: after these files are durable.
    /// - Parameter all: ends the one that is appended to as well, though something came to it a moment ago.
    private func endSegments(_ all: Bool) throws(StoreError) {
        let now = Timestamp.monotonicMilliseconds()
        let done = state.withLock { state -> [Segment] in
            let ends = all || now - state.lastAppend > Self.idleMilliseconds
            // From the oldest on: what a later one says of an object of an earlier one is to be there as long as that.
            let done = state.segments.prefix { $0 !== state.writing && $0.pending.load(ordering: .relaxed) == 0 }
            if done.count == state.segments.count, !state.isClosed {
                guard ends else { return Array(done.dropLast()) }
                state.isClosed = true
            }
            return Array(done)
        }
        guard !done.isEmpty else { return }
        try LocalObjectStore.synchronize(disk: root)
        // They are closed: nothing came to them meanwhile.
        state.withLock { $0.segments.removeFirst(done.count) }
        for segment in done { unsafe unlink(segment.path) }
    }

    // MARK: after a start

    private func replay() throws(StoreError) {
        var names: [String] = []
        do throws(StoreError) { names = try Folder.names(of: folder) } catch {
            guard error.code == .notFound else { throw error }
        }
        for number in names.compactMap({ UInt64($0) }).sorted() {
            let path = "\(folder)/\(number)"
            let descriptor = unsafe open(path, O_RDWR | O_CLOEXEC)
            guard descriptor >= 0 else { throw LocalObjectStore.failure("cannot open", "the log of objects") }
            let end = max(Int64(lseek(descriptor, 0, Int32(SEEK_END))), 0)
            let segment = Segment(number: number, path: path, descriptor: descriptor, end: end)
            // Of a process that was killed it may be in memory only.
            guard fdatasync(descriptor) == 0 else { throw LocalObjectStore.failure("cannot sync", "an object") }
            let bytes = try FilePiece(descriptor: descriptor, offset: 0, byteCount: end).read(0..<end)
            state.withLock { state in
                state.segments.append(segment)
                state.nextSegment = number + 1
                Self.replay(bytes, of: segment, into: &state)
            }
        }
        count.store(state.withLock { $0.places.count }, ordering: .relaxed)
    }

    private static func replay(_ bytes: [UInt8], of segment: Segment, into state: inout State) {
        var rest = bytes[...]
        while let record = ObjectLogRecord(rest) {
            rest = rest[record.end...]
            let old = state.places.removeValue(forKey: record.location)
            old?.segment?.pending.subtract(1, ordering: .relaxed)
            guard let object = record.object else { continue }
            state.places[record.location] = Place(
                number: state.nextNumber, byteCount: Int64(object.count), born: 0, segment: segment,
                offset: Int64(object.lowerBound))
            state.queue.append((record.location, state.nextNumber, segment))
            state.nextNumber += 1
            segment.pending.add(1, ordering: .relaxed)
        }
    }
}
