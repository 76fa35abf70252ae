import CFUSE
import CLinux
import Foundations
import Glibc
import Synchronization
import Versioning

/// Has inotify(7) tell what other doors do. The kernel makes such events only of system calls: so a process of ours
/// makes the call that would have done it, through the mount, and its requests are answered as done. Nothing comes of
/// them but the event.
///
/// It is a process of its own because one that waits for its own answers cannot be killed. It runs from the first
/// change that somebody watches.
package final class Herald: Sendable {
    private struct State {
        var queue: [(event: Event, slot: Slot)] = []
        var isPaused = false, isBusy = false, isEnded = false
    }
    private let state = Mutex(State())
    private let signal = CountingSemaphore(), idle = CountingSemaphore()
    /// The process, 0 for none; who asks with this number wants an event.
    private let process = Atomic<Int32>(0)
    private let channel = Mutex<Int32>(-1)
    /// What the process is about to do.
    private let current = Mutex<(deed: Deed, folder: UInt64, name: Key)?>(nil)

    /// What the process does to a name: its record begins with this.
    enum Deed: UInt8 {
        case makeFile = 1
        case makeFolder, makeLink, change, remove, removeFolder
        var makes: Bool { rawValue <= Deed.makeLink.rawValue }
        var removes: Bool { rawValue >= Deed.remove.rawValue }
    }

    private static let limit = 4096
    /// Numbers that names have while they are removed for show, a new one each time: no slot has them.
    private static let phantoms: UInt64 = 0xff << Slot.shift | 1 << 48
    private let removed = Atomic<UInt64>(0)

    // MARK: what others did

    /// - Parameter mount: kept alive until `end`.
    func start(_ mount: Mount) {
        _ = Thread(name: "herald") { [self, mount] in
            var next: Int64 = 0
            var device: UInt32?
            while true {
                signal.wait()
                let wait = next - Timestamp.monotonicMilliseconds()
                if wait > 0 { usleep(UInt32(min(wait, 1000)) * 1000) }
                let batch = state.withLock { state -> [(event: Event, slot: Slot)]? in
                    guard !state.isEnded else { return nil }
                    defer { state.queue = [] }
                    return state.queue
                }
                guard let batch else { break }
                guard !batch.isEmpty else { continue }
                if device == nil { device = Watches.device(of: mount.directory) }
                let began = Timestamp.monotonicMilliseconds()
                let watched = device.map { Watches.inodes(on: $0) } ?? []
                let took = Timestamp.monotonicMilliseconds() - began
                // Looking for watches takes a fiftieth of a core at most; who watches need not wait for long.
                next = began + (watched.isEmpty ? max(500, 50 * took) : max(20, 20 * took))
                if !watched.isEmpty, let device {
                    for (event, slot) in Self.merged(batch) { announce(event, slot, mount, device, watched) }
                }
            }
            close()
        }
    }

    /// What is told of a name at once is one event: from what was there first to what is there now.
    private static func merged(_ batch: [(event: Event, slot: Slot)]) -> [(event: Event, slot: Slot)] {
        struct Name: Hashable { let folder: UInt64, name: Key }
        var places: [Name: Int] = [:]
        var merged: [(event: Event, slot: Slot)] = []
        for item in batch {
            let name = Name(folder: item.event.folder, name: Key(item.event.name))
            if let place = places[name], merged[place].slot === item.slot { continue }
            places[name] = merged.count
            merged.append(item)
        }
        return merged
    }

    /// Notes what others did. Does not wait.
    func note(_ event: Event, _ slot: Slot) {
        let isFirst = state.withLock { state -> Bool in
            // As the kernel's own queue overflows.
            guard !state.isEnded, state.queue.count < Self.limit else { return false }
            state.queue.append((event, slot))
            return state.queue.count == 1
        }
        if isFirst { signal.post() }
    }

    /// Has no system call under way from now on, so that the mount can end.
    func pause() {
        let isBusy = state.withLock { state in
            state.isPaused = true
            return state.isBusy
        }
        if isBusy { idle.wait() }
    }

    func resume() { state.withLock { $0.isPaused = false } }

    func end() {
        state.withLock { $0.isEnded = true }
        signal.post()
    }

    private func announce(_ event: Event, _ slot: Slot, _ mount: Mount, _ device: UInt32, _ watched: Set<UInt64>) {
        guard slot === mount.current, !slot.tree.isGone.load(ordering: .acquiring),
            let folder = try? slot.tree.node(event.folder)
        else { return }
        guard let now = try? slot.tree.find(event.folder, event.name) else {
            return remove(event, folder, slot, mount, device, watched)
        }
        let isWatched = watched.contains(mount.number(folder.number, in: slot))
        let isSame = event.was == now.kind
        guard isWatched || watched.contains(mount.number(now.number, in: slot)), now.kind.isCommittable else { return }
        if !isSame {
            if event.was != nil { remove(event, folder, slot, mount, device, watched) }
            if isWatched {
                perform(
                    now.isFolder ? .makeFolder : now.kind == .link ? .makeLink : .makeFile, event, folder, slot, mount,
                    device)
            }
        }
        if now.kind == .file { perform(.change, event, folder, slot, mount, device) }
    }

    private func remove(
        _ event: Event, _ folder: Node, _ slot: Slot, _ mount: Mount, _ device: UInt32, _ watched: Set<UInt64>
    ) {
        guard watched.contains(mount.number(folder.number, in: slot)) else { return }
        perform(event.was == .folder ? .removeFolder : .remove, event, folder, slot, mount, device)
    }

    private func perform(_ deed: Deed, _ event: Event, _ folder: Node, _ slot: Slot, _ mount: Mount, _ device: UInt32) {
        let path = slot.tree.path(of: folder).bytes
        let prefix = slot.prefix.bytes
        guard path.count + 1 >= prefix.count, path.count < 4096 else { return }
        let mayBegin = state.withLock { state in
            state.isBusy = !state.isPaused && !state.isEnded
            return state.isBusy
        }
        guard mayBegin else { return }
        defer {
            current.withLock { $0 = nil }
            let isAwaited = state.withLock { state in
                state.isBusy = false
                return state.isPaused
            }
            if isAwaited { idle.post() }
        }
        current.withLock { $0 = (deed, mount.number(folder.number, in: slot), Key(event.name)) }
        var record = [deed.rawValue]
        for part in [Array(path.dropFirst(prefix.count)), event.name] {
            record += [UInt8(part.count & 0xff), UInt8(part.count >> 8)] + part
        }
        for _ in 0..<3 {
            // Whoever looked the name up meanwhile had the kernel know it again, as it is: then there is nothing to
            // make or to remove.
            if deed != .change { mount.invalidate(name: event.name, in: mount.number(folder.number, in: slot)) }
            guard let answer = ask(record, mount.directory, device), answer == UInt8(deed.makes ? EEXIST : ENOENT)
            else { return }
        }
    }

    // MARK: the process

    /// What the process says of a record: an error number; nil if there is no process.
    private func ask(_ record: [UInt8], _ directory: String, _ device: UInt32) -> UInt8? {
        let channel = channel.withLock { $0 }
        let open = channel >= 0 ? channel : begin(directory, device)
        guard open >= 0, unsafe write(open, record, record.count) == record.count else {
            close()
            return nil
        }
        var waiting = pollfd(fd: open, events: Int16(POLLIN), revents: 0)
        var answer: UInt8 = 0
        guard unsafe poll(&waiting, 1, 10_000) == 1, unsafe read(open, &answer, 1) == 1 else {
            close()
            return nil
        }
        return answer
    }

    private func begin(_ directory: String, _ device: UInt32) -> Int32 {
        guard
            let (child, open) = ChildProcess.spawn([Self.command, directory, String(device)], keepsPackets: true)
        else {
            Log.error(
                "inotify will not tell what other doors change",
                ["directory": directory, "reason": "the process for it does not start", "error": "\(errno)"])
            return -1
        }
        process.store(child, ordering: .releasing)
        channel.withLock { $0 = open }
        return open
    }

    /// Ends the process.
    private func close() {
        let old = channel.withLock { channel in
            defer { channel = -1 }
            return channel
        }
        if old >= 0 { Glibc.close(old) }
        let child = process.load(ordering: .acquiring)
        guard child > 0 else { return }
        ChildProcess.end(child)
        process.store(0, ordering: .releasing)
    }

    // MARK: its requests

    /// Whether a request is one of the process's.
    func asks(_ request: fuse_req_t) -> Bool {
        let process = process.load(ordering: .acquiring)
        return unsafe process > 0 && fuse_req_ctx(request).pointee.pid == process
    }

    /// Answers a look-up for the name that is about to be made or removed: the one is not there yet, the other still
    /// is. False for any other.
    func lookup(_ request: Operations.Request, _ parent: fuse_ino_t, _ name: [UInt8]) -> Bool {
        guard let current = current.withLock({ $0 }), current.folder == UInt64(parent), current.name == Key(name),
            current.deed.makes || current.deed.removes
        else { return false }
        guard current.deed.removes else {
            unsafe fuse_reply_err(request.pointer, ENOENT)
            return true
        }
        var parameters = fuse_entry_param()
        parameters.ino = fuse_ino_t(Self.phantoms + removed.add(1, ordering: .relaxed).newValue)
        parameters.attr.st_ino = ino_t(parameters.ino)
        parameters.attr.st_mode = (current.deed == .removeFolder ? S_IFDIR : S_IFREG) | 0o600
        parameters.attr.st_nlink = 1
        parameters.attr.st_uid = getuid()
        parameters.attr.st_gid = getgid()
        unsafe fuse_reply_entry(request.pointer, &parameters)
        return true
    }
}

/// The herald's process: it does to names what it is told, and answers each record with an error number.
extension Herald {
    /// The command by which it is started: nobody else says that.
    package static let command = "--herald"

    /// Serves until the other end is closed.
    /// - Parameters:
    ///   - directory: where the mount is.
    ///   - device: the number of its file system: nothing is done elsewhere, whatever is at the place by now.
    package static func serve(_ directory: String, device: UInt32) -> Int32 {
        Glibc.signal(SIGINT, SIG_IGN)
        Glibc.signal(SIGTERM, SIG_IGN)
        _ = lake_close_from(3)  // What was open in the server is not its business.
        var buffer = [UInt8](repeating: 0, count: 16 << 10)
        while case let count = unsafe read(0, &buffer, buffer.count), count > 0 {
            var answer = UInt8(truncatingIfNeeded: act(buffer[..<count], directory, device))
            guard unsafe write(0, &answer, 1) == 1 else { return 1 }
        }
        return 0
    }

    private static func act(_ record: ArraySlice<UInt8>, _ directory: String, _ device: UInt32) -> Int32 {
        var rest = record
        guard let deed = rest.popFirst().flatMap(Deed.init(rawValue:)) else { return EINVAL }
        func part() -> [CChar]? {
            guard rest.count >= 2 else { return nil }
            let count = Int(rest[rest.startIndex]) | Int(rest[rest.startIndex + 1]) << 8
            rest = rest.dropFirst(2)
            guard rest.count >= count else { return nil }
            defer { rest = rest.dropFirst(count) }
            return rest.prefix(count).map { CChar(bitPattern: $0) } + [0]
        }
        guard let path = part(), let name = part() else { return EINVAL }
        let pathOnly: Int32 = 0o10000000  // O_PATH, which glibc declares under _GNU_SOURCE only.
        let folder = unsafe open(
            directory.utf8CString.dropLast() + [CChar(0x2f)] + path, pathOnly | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard folder >= 0 else { return errno }
        defer { Glibc.close(folder) }
        var status = stat()
        guard unsafe fstat(folder, &status) == 0 else { return errno }
        guard Watches.kernelDevice(UInt64(status.st_dev)) == device else { return EXDEV }
        let result: Int32
        switch deed {
        case .makeFile: result = unsafe mknodat(folder, name, S_IFREG | 0o600, 0)
        case .makeFolder: result = unsafe mkdirat(folder, name, 0o700)
        case .makeLink: result = unsafe symlinkat("-", folder, name)
        case .remove: result = unsafe unlinkat(folder, name, 0)
        case .removeFolder: result = unsafe unlinkat(folder, name, AT_REMOVEDIR)
        case .change:
            let file = unsafe openat(folder, name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
            guard file >= 0 else { return errno }
            defer { Glibc.close(file) }
            guard unsafe fstat(file, &status) == 0 else { return errno }
            result = ftruncate(file, status.st_size)
        }
        return result == 0 ? 0 : errno
    }
}

/// Who watches what (inotify(7), fanotify(7)), as proc(5) tells of the processes that we may look at.
enum Watches {
    /// The number of a file system as the kernel writes it: twenty bits of minor below the major.
    static func kernelDevice(_ device: UInt64) -> UInt32 {
        let major = (device >> 8) & 0xfff | (device >> 32) & 0xffff_f000
        let minor = device & 0xff | (device >> 12) & 0xffff_ff00
        return UInt32(truncatingIfNeeded: major << 20 | minor)
    }

    static func device(of path: String) -> UInt32? { FileStatus(path: path).map { kernelDevice(UInt64($0.device)) } }

    /// The inodes of a file system that somebody watches.
    static func inodes(on device: UInt32) -> Set<UInt64> {
        var found: Set<UInt64> = []
        let mark = " sdev:\(String(device, radix: 16)) "
        for process in (try? Folder.names(of: "/proc")) ?? []
        where process.utf8.allSatisfy({ (0x30...0x39).contains($0) }) {
            // A process that ended, or that is another user's, tells nothing.
            for file in (try? Folder.names(of: "/proc/\(process)/fd")) ?? [] {
                guard isWatcher("/proc/\(process)/fd/\(file)"),
                    let text = FileStatus.text(of: "/proc/\(process)/fdinfo/\(file)")
                else { continue }
                for line in text.split(separator: "\n") where line.contains(mark) {
                    guard let word = line.split(separator: " ").first(where: { $0.hasPrefix("ino:") }),
                        let inode = UInt64(word.dropFirst(4), radix: 16)
                    else { continue }
                    found.insert(inode)
                }
            }
        }
        return found
    }

    private static func isWatcher(_ path: String) -> Bool {
        var target = [CChar](repeating: 0, count: 32)
        let count = unsafe readlink(path, &target, target.count)
        let text = String(decoding: target.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return text == "anon_inode:inotify" || text == "anon_inode:[fanotify]"
    }
}
