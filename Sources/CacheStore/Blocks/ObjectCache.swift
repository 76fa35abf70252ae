import Foundations
import Glibc
import Synchronization
package import Versioning

/// Bytes of objects that are elsewhere, kept on the local disk: a sparse file each, filled block by block as they are
/// read, whole when all of it is there. What was not used for longest makes room. Objects never change, so what is
/// there is right; a machine that went down may have left less on disk than it said, so after one only whole, synced
/// files are believed. Safe from any thread.
package final class ObjectCache: Sendable {
    /// Bytes that are fetched together, and known of.
    package static let blockBytes: Int64 = 256 << 10

    /// An object that is there in part or whole.
    private final class Object: Sendable {
        struct State {
            /// Who has it, open or about to open it: as long as there is one, there is no second one of this name.
            var descriptor: Int32 = -1, users = 0
            /// Blocks that are there; empty once all are.
            var present: [Bool] = [], isWhole = false, missing = 0
            /// Where the last reader stopped, and how far was read ahead of it.
            var next: Int64 = 0, window: Int64 = 0
        }
        let name: String, size: Int64
        let state = Mutex(State())
        /// Held over a fetch: who wants the same waits for it.
        let fetching = Mutex<Void>(())

        init(_ name: String, _ size: Int64) {
            self.name = name
            self.size = size
        }

        deinit { state.withLock { if $0.descriptor >= 0 { close($0.descriptor) } } }
    }

    private struct State {
        var objects: [String: Object] = [:]
        /// When each was last used, counted; how many bytes it has on disk.
        var used: [String: (turn: UInt64, bytes: Int64)] = [:]
        var turn: UInt64 = 0, bytes: Int64 = 0
    }

    private let folder: String
    private let limitBytes: Int64
    private let state = Mutex(State())
    private let hits = Atomic<Int>(0), misses = Atomic<Int>(0), fetched = Atomic<Int>(0)
    private static let partMark = ".part"

    /// - Parameter limitBytes: what it may take of the disk.
    package init(folder: String, limitBytes: Int64) throws {
        self.folder = folder
        self.limitBytes = limitBytes
        guard unsafe mkdir(folder, 0o700) == 0 || errno == EEXIST else {
            throw LakeError(.unavailable, unsafe "cannot make \(folder): \(String(cString: strerror(errno)))")
        }
        // Page caches of another boot are gone.
        let boot = FileStatus.text(of: "/proc/sys/kernel/random/boot_id") ?? ""
        let isSameBoot = FileStatus.text(of: folder + "/.boot") == boot
        var found: [(name: String, used: Timestamp, bytes: Int64)] = []
        for name in try Folder.names(of: folder) where !name.hasPrefix(".") {
            guard isSameBoot || !name.hasSuffix(Self.partMark), let status = FileStatus(path: folder + "/" + name)
            else {
                unsafe _ = unlink(folder + "/" + name)
                continue
            }
            found.append(
                (
                    name.hasSuffix(Self.partMark) ? String(name.dropLast(Self.partMark.count)) : name, status.modified,
                    status.blocks * 512
                ))
        }
        state.withLock { state in
            for item in found.sorted(by: {
                ($0.used.seconds, $0.used.nanoseconds) < ($1.used.seconds, $1.used.nanoseconds)
            }) {
                state.turn += 1
                state.used[item.name] = (state.turn, item.bytes)
                state.bytes += item.bytes
            }
        }
        if !isSameBoot {
            let file = unsafe Glibc.open(folder + "/.boot", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
            guard file >= 0 else {
                throw LakeError(.unavailable, unsafe "cannot write in \(folder): \(String(cString: strerror(errno)))")
            }
            defer { close(file) }
            guard unsafe write(file, boot, boot.utf8.count) == boot.utf8.count else {
                throw LakeError(.noSpace, "no room in \(folder)")
            }
        }
        makeRoom()
    }

    /// Reads of what was there, of what was not, and bytes that came from elsewhere.
    package var counters: (hits: Int, misses: Int, fetchedBytes: Int, bytes: Int) {
        (
            hits.load(ordering: .relaxed), misses.load(ordering: .relaxed), fetched.load(ordering: .relaxed),
            Int(state.withLock { $0.bytes })
        )
    }

    private static func name(_ id: String) -> String { Hex.text(Hash.digest(.sha256, Array(id.utf8))) }

    // MARK: objects

    /// The object of that id, for one user more: who is given it releases it.
    private func object(_ id: String, _ size: Int64) -> Object {
        let name = Self.name(id)
        return state.withLock { state in
            state.turn += 1
            state.used[name] = (state.turn, state.used[name]?.bytes ?? 0)
            var object = state.objects[name]
            if object == nil || object!.size != size {
                object = Object(name, size)
                state.objects[name] = object
            }
            object!.state.withLock { $0.users += 1 }
            return object!
        }
    }

    /// Opens an object's file, made if `makes`; false if there is none.
    private func open(_ object: Object, makes: Bool) throws -> Bool {
        try object.state.withLock { state in
            if state.descriptor < 0 {
                let whole = folder + "/" + object.name
                let part = whole + Self.partMark
                state.descriptor = unsafe Glibc.open(whole, O_RDWR | O_CLOEXEC)
                if state.descriptor >= 0, FileStatus(state.descriptor)?.size == object.size {
                    state.isWhole = true
                } else {
                    if state.descriptor >= 0 { close(state.descriptor) }
                    state.isWhole = false
                    state.descriptor = unsafe Glibc.open(
                        part, makes ? O_RDWR | O_CREAT | O_CLOEXEC : O_RDWR | O_CLOEXEC, 0o600)
                    guard state.descriptor >= 0 else {
                        if makes {
                            throw LakeError(
                                errno == ENOSPC ? .noSpace : .unavailable,
                                unsafe "cannot cache an object in \(folder): \(String(cString: strerror(errno)))")
                        }
                        return false
                    }
                    guard ftruncate(state.descriptor, off_t(object.size)) == 0 else {
                        throw LakeError(.noSpace, "no room in \(folder)")
                    }
                    (state.present, state.missing) = Self.present(in: state.descriptor, object.size)
                }
            }
            return true
        }
    }

    private func release(_ object: Object) {
        object.state.withLock { state in
            state.users -= 1
            guard state.users == 0, state.descriptor >= 0 else { return }
            close(state.descriptor)
            state.descriptor = -1
        }
    }

    /// Which blocks of a sparse file were written whole (lseek(2), SEEK_DATA and SEEK_HOLE).
    private static func present(in descriptor: Int32, _ size: Int64) -> (blocks: [Bool], missing: Int) {
        let count = Int((size + blockBytes - 1) / blockBytes)
        var blocks = [Bool](repeating: false, count: count)
        var position: Int64 = 0
        while position < size {
            let data = Int64(lseek(descriptor, off_t(position), 3))  // SEEK_DATA
            guard data >= 0 else { break }
            let hole = Int64(lseek(descriptor, off_t(data), 4))  // SEEK_HOLE
            guard hole > data else { break }
            var block = (data + blockBytes - 1) / blockBytes
            while block < count, min((block + 1) * blockBytes, size) <= hole {
                blocks[Int(block)] = true
                block += 1
            }
            position = hole
        }
        return (blocks, blocks.count { !$0 })
    }

    /// A whole object as a file; nil if not all of it is there. Whoever gets it closes it.
    package func file(_ id: String, size: Int64) throws -> FilePiece? {
        let object = object(id, size)
        defer { release(object) }
        guard try open(object, makes: false) else {
            forget(object)
            return nil
        }
        return object.state.withLock { state in
            guard state.isWhole else { return nil }
            hits.add(1, ordering: .relaxed)
            let own = unsafe Glibc.open("/proc/self/fd/\(state.descriptor)", O_RDONLY | O_CLOEXEC)
            return own < 0 ? nil : FilePiece(descriptor: own, offset: 0, byteCount: size)
        }
    }

    private func forget(_ object: Object) {
        state.withLock { state in
            // Others may be about to make it.
            guard object.state.withLock({ $0.users }) == 1 else { return }
            if state.used[object.name]?.bytes == 0 { state.used[object.name] = nil }
            if state.objects[object.name] === object { state.objects[object.name] = nil }
        }
    }

    /// How far is read ahead of who reads in order, at most.
    private static let mostWindow: Int64 = 8 << 20

    /// Bytes of an object, cut at its end; what is not there is fetched, and more with it for who reads in order.
    /// - Parameter fetch: gets a range of the object's bytes, all of it.
    package func read(_ id: String, size: Int64, _ range: Range<Int64>, fetch: (Range<Int64>) throws -> [UInt8]) throws
        -> [UInt8]
    {
        let range = min(range.lowerBound, size)..<min(range.upperBound, size)
        guard !range.isEmpty else { return [] }
        let object = object(id, size)
        defer { release(object) }
        guard try open(object, makes: true) else { return [] }
        if isPresent(range, object) {
            hits.add(1, ordering: .relaxed)
        } else {
            misses.add(1, ordering: .relaxed)
            try object.fetching.withLock { _ in if !isPresent(range, object) { try fill(object, range, fetch) } }
        }
        let descriptor = object.state.withLock { $0.descriptor }
        return try FilePiece(descriptor: descriptor, offset: 0, byteCount: size).read(range)
    }

    private func isPresent(_ range: Range<Int64>, _ object: Object) -> Bool {
        object.state.withLock { state in
            state.isWhole
                || (range.lowerBound / Self.blockBytes...(range.upperBound - 1) / Self.blockBytes).allSatisfy {
                    state.present[Int($0)]
                }
        }
    }

    private func fill(_ object: Object, _ range: Range<Int64>, _ fetch: (Range<Int64>) throws -> [UInt8]) throws {
        // The blocks of the range, and as many again as were read in order before.
        let wanted = object.state.withLock { state -> Range<Int64> in
            let first = range.lowerBound / Self.blockBytes
            let last = (range.upperBound - 1) / Self.blockBytes
            let isInOrder =
                range.lowerBound >= state.next - Self.mostWindow && range.lowerBound <= state.next + 4 * Self.blockBytes
                && (state.next > 0 || range.lowerBound == 0)
            state.window = isInOrder ? min(max(state.window * 2, 1 << 20), Self.mostWindow) : 0
            var end = last + 1
            while end * Self.blockBytes < min(object.size, range.upperBound + state.window), !state.present[Int(end)] {
                end += 1
            }
            var start = first
            while start < last, state.present[Int(start)] { start += 1 }
            return start * Self.blockBytes..<min(end * Self.blockBytes, object.size)
        }
        let bytes = try fetch(wanted)
        let descriptor = object.state.withLock { $0.descriptor }
        guard Int64(bytes.count) == wanted.upperBound - wanted.lowerBound else {
            throw LakeError(
                .dataGone,
                "an object ended early: \(bytes.count) bytes came for \(wanted.upperBound - wanted.lowerBound)")
        }
        fetched.add(bytes.count, ordering: .relaxed)
        let count = unsafe bytes.withUnsafeBytes {
            unsafe pwrite(descriptor, $0.baseAddress, $0.count, off_t(wanted.lowerBound))
        }
        guard count == bytes.count else {
            throw LakeError(.noSpace, "no room in \(folder) for what is read: give the cache less, or the disk more")
        }
        let isComplete = object.state.withLock { state in
            for block in wanted.lowerBound / Self.blockBytes...(wanted.upperBound - 1) / Self.blockBytes
            where !state.present[Int(block)] {
                state.present[Int(block)] = true
                state.missing -= 1
            }
            state.next = wanted.upperBound
            return state.missing == 0
        }
        if isComplete { complete(object, descriptor) }
        account(object, adding: Int64(bytes.count))
    }

    /// All of an object is there.
    private func complete(_ object: Object, _ descriptor: Int32) {
        let whole = folder + "/" + object.name
        // What is called whole is on disk. A part that cannot be stays one.
        guard fdatasync(descriptor) == 0, unsafe rename(whole + Self.partMark, whole) == 0 else { return }
        object.state.withLock { state in
            state.isWhole = true
            state.present = []
        }
    }

    /// Takes a finished local file as an object; it is gone from its old place then.
    package func adopt(file path: String, as id: String, size: Int64) throws {
        let object = object(id, size)
        defer { release(object) }
        guard unsafe rename(path, folder + "/" + object.name) == 0 else {
            throw LakeError(
                .unavailable, unsafe "cannot move \(path) into the cache: \(String(cString: strerror(errno)))")
        }
        state.withLock { if $0.objects[object.name] === object { $0.objects[object.name] = nil } }
        account(object, adding: size)
    }

    // MARK: room

    private func account(_ object: Object, adding count: Int64) {
        let isOver = state.withLock { state in
            state.used[object.name] = (state.turn, (state.used[object.name]?.bytes ?? 0) + count)
            state.bytes += count
            return state.bytes > limitBytes
        }
        if isOver { makeRoom() }
    }

    /// Removes what was not used for longest. Who has it open keeps it.
    private func makeRoom() {
        let gone = state.withLock { state -> [String] in
            guard state.bytes > limitBytes else { return [] }
            var gone: [String] = []
            for (name, item) in state.used.sorted(by: { $0.value.turn < $1.value.turn }) {
                // A tenth more than it must be, not to begin anew at once.
                guard state.bytes > limitBytes / 10 * 9 else { break }
                if let object = state.objects[name], object.state.withLock({ $0.users > 0 }) { continue }
                state.used[name] = nil
                state.objects[name] = nil
                state.bytes -= item.bytes
                gone.append(name)
            }
            return gone
        }
        for name in gone {
            unsafe _ = unlink(folder + "/" + name)
            unsafe _ = unlink(folder + "/" + name + Self.partMark)
        }
    }
}
