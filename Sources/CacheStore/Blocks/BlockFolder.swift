import Foundations
import Glibc
import Synchronization
import Versioning

/// Blocks of objects in files of their own on the local disk, as many as a budget has room for. A file tells its length and
/// checksum: what was written half, or has changed on the disk since, is never given out. Nothing is synced: what a crash
/// takes is fetched again. Safe from any thread.
final class BlockFolder: Sendable {
    /// A block of an object, by its number from the object's begin.
    struct Name: Hashable, Sendable {
        let location: ObjectLocation
        let number: Int64
    }

    private struct Item {
        var byteCount: Int64
        var used: UInt64
    }
    private struct State {
        var items: [String: Item] = [:]
        var bytes: Int64 = 0
        var turn: UInt64 = 0
        /// How often blocks were asked for lately, by a part of their name's hash; halved now and then.
        var counts = [UInt8](repeating: 0, count: 1 << 16)
        var counted = 0

        mutating func count(_ place: Int) {
            counts[place] = min(counts[place] + 1, 15)
            counted += 1
            if counted > counts.count * 4 {
                counted = 0
                for index in counts.indices { counts[index] /= 2 }
            }
        }
    }

    private let folder: String
    private let limitBytes: Int64
    private let state = Mutex(State())
    private let temporary = Atomic<Int>(0)
    /// Blocks that are looked at for one that may go.
    private static let sample = 8
    /// `magic · length, 8 bytes · CRC-32C of the block, 4 bytes`
    private static let magic = Array("LKBLK001".utf8), headBytes = 20

    /// - Parameter limitBytes: what the files may take.
    /// - Throws: `.unavailable` if the folder cannot be made or read.
    init(_ folder: String, limitBytes: Int64) throws(StoreError) {
        self.folder = folder
        self.limitBytes = limitBytes
        for number in 0..<256 {
            let part = "\(folder)/\(Self.part(number))"
            for path in [folder, part] where unsafe mkdir(path, 0o700) != 0 && errno != EEXIST {
                throw StoreError(
                    .unavailable, unsafe "cannot make the cache's folder \(path): \(String(cString: strerror(errno)))")
            }
            let names: [String]
            do { names = try Folder.names(of: part) } catch {
                throw StoreError(.unavailable, "cannot read the cache's folder \(part)")
            }
            for name in names {
                let path = "\(part)/\(name)"
                guard !name.hasPrefix("."), let status = FileStatus(path: path) else {
                    unsafe _ = unlink(path)
                    continue
                }
                state.withLock { state in
                    state.items[name] = Item(byteCount: status.size, used: UInt64(max(0, status.modified.seconds)))
                    state.bytes += status.size
                    state.turn = max(state.turn, UInt64(max(0, status.modified.seconds)))
                }
            }
        }
        makeRoom()
    }

    var byteCount: Int64 { state.withLock { $0.bytes } }

    private static func part(_ number: Int) -> String { Hex.text([UInt8(number)]) }

    private static func file(_ name: Name) -> (name: String, place: Int) {
        let digest = Hash.digest(.sha256, Array("\(name.location.store)\n\(name.location)\n\(name.number)".utf8))
        let file = Hex.text(Array(digest.prefix(20)))
        return (file, place(file))
    }

    private func path(_ file: String) -> String { "\(folder)/\(file.prefix(2))/\(file)" }

    /// A block that is there and whole; nil otherwise.
    func block(_ name: Name) -> [UInt8]? {
        let (file, place) = Self.file(name)
        let isThere = state.withLock { state in
            state.count(place)
            guard state.items[file] != nil else { return false }
            state.turn += 1
            state.items[file]!.used = state.turn
            return true
        }
        guard isThere else { return nil }
        guard let bytes = read(path(file)) else {
            remove(file)
            return nil
        }
        return bytes
    }

    private func read(_ path: String) -> [UInt8]? {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        guard let size = FileStatus(descriptor)?.size, size >= Self.headBytes else { return nil }
        var bytes = [UInt8](repeating: 0, count: Int(size))
        let count = unsafe Glibc.read(descriptor, &bytes, bytes.count)
        guard count == bytes.count, bytes.starts(with: Key(Self.magic)) else { return nil }
        func number(_ range: Range<Int>) -> UInt64 { bytes[range].reduce(0) { $0 << 8 | UInt64($1) } }
        let body = Array(bytes[Self.headBytes...])
        guard number(8..<16) == UInt64(body.count), number(16..<20) == UInt64(Self.sum(body)) else { return nil }
        return body
    }

    private static func sum(_ bytes: [UInt8]) -> UInt32 {
        unsafe bytes.withUnsafeBytes { unsafe CRC32C.sum($0, then: UnsafeRawBufferPointer(start: nil, count: 0)) }
    }

    /// Keeps a block, if there is room, or if it is asked for more often than what would have to go: so one who reads
    /// everything once does not drive out what others read again and again.
    func keep(_ bytes: [UInt8], _ name: Name) {
        let (file, place) = Self.file(name)
        let size = Int64(bytes.count + Self.headBytes)
        guard size <= limitBytes / 4 else { return }
        let victims: [String]? = state.withLock { state in
            guard state.items[file] == nil else { return nil }
            guard state.bytes + size > limitBytes else { return [] }
            // Of a few the one that is asked for least, and of those the one that was not used for longest; to look at all
            // would take too long.
            let own = state.counts[place]
            var gone: [String] = []
            var freed: Int64 = 0
            while state.bytes + size - freed > limitBytes, gone.count < 4 {
                var least: (file: String, count: UInt8, item: Item)?
                let skip = Int.random(in: 0..<max(1, state.items.count - Self.sample + 1))
                var index = state.items.index(state.items.startIndex, offsetBy: skip)
                for _ in 0..<Self.sample where index != state.items.endIndex {
                    let (file, item) = state.items[index]
                    let count = state.counts[Self.place(file)]
                    if !gone.contains(file),
                        least.map({ count < $0.count || (count == $0.count && item.used < $0.item.used) }) ?? true
                    {
                        least = (file, count, item)
                    }
                    index = state.items.index(after: index)
                }
                // As wanted as what would come: it stays.
                guard let least, own > least.count || least.count == 0 else { return nil }
                gone.append(least.file)
                freed += least.item.byteCount
            }
            return state.bytes + size - freed > limitBytes ? nil : gone
        }
        guard let victims else { return }
        for victim in victims { remove(victim) }
        guard write(bytes, file) else { return }
        state.withLock { state in
            state.turn += 1
            if state.items.updateValue(Item(byteCount: size, used: state.turn), forKey: file) == nil {
                state.bytes += size
            }
        }
    }

    /// Where a block is counted, by its file's name.
    private static func place(_ file: String) -> Int {
        var hash: UInt32 = 2_166_136_261
        for byte in file.utf8 { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
        return Int(hash & 0xffff)
    }

    private func write(_ bytes: [UInt8], _ file: String) -> Bool {
        let own = "\(folder)/\(file.prefix(2))/.\(getpid())-\(temporary.add(1, ordering: .relaxed).newValue)"
        let descriptor = unsafe open(own, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return false }
        var head = Self.magic
        for shift in stride(from: 56, through: 0, by: -8) {
            head.append(UInt8(truncatingIfNeeded: UInt64(bytes.count) >> UInt64(shift)))
        }
        let sum = Self.sum(bytes)
        for shift in stride(from: 24, through: 0, by: -8) {
            head.append(UInt8(truncatingIfNeeded: sum >> UInt32(shift)))
        }
        let all = head + bytes
        let count = unsafe all.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
        close(descriptor)
        guard count == all.count, unsafe rename(own, path(file)) == 0 else {
            unsafe _ = unlink(own)
            return false
        }
        return true
    }

    private func remove(_ file: String) {
        state.withLock { state in
            if let item = state.items.removeValue(forKey: file) { state.bytes -= item.byteCount }
        }
        unsafe _ = unlink(path(file))
    }

    func forget(_ name: Name) { remove(Self.file(name).name) }

    /// Removes what was not used for longest until the budget holds.
    private func makeRoom() {
        let gone = state.withLock { state -> [String] in
            var bytes = state.bytes
            guard bytes > limitBytes else { return [] }
            return state.items.sorted { $0.value.used < $1.value.used }.prefix { item in
                guard bytes > limitBytes / 10 * 9 else { return false }
                bytes -= item.value.byteCount
                return true
            }.map(\.key)
        }
        for file in gone { remove(file) }
    }
}
