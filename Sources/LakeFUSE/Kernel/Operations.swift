import CFUSE
import CacheStore
import Foundations
import Glibc
import Synchronization
import Versioning

/// libfuse's low-level operations, each answering one request of the kernel. Source: fuse_lowlevel.h of libfuse 3.14.
enum Operations {
    /// What libfuse hands to every request: made before the mount is, and kept by it.
    final class Context: @unchecked Sendable {
        // Set once, before the loop begins; the mount outlives its loop.
        unowned(unsafe) var mount: Mount!
        let features: KernelFeatures

        init(_ features: KernelFeatures) { self.features = features }
    }

    /// The kernel may keep what it is told until it is told otherwise: seconds of about 30 years.
    static let forever = 1e9

    static func entry(_ node: Node, _ slot: Slot) -> fuse_entry_param {
        var parameters = fuse_entry_param()
        parameters.ino = fuse_ino_t(slot.number(node.number))
        parameters.attr = status(slot.tree.facts(node), slot)
        parameters.attr_timeout = forever
        parameters.entry_timeout = forever
        return parameters
    }

    /// Runs an operation; a thrown error is its answer.
    static func answer(_ request: fuse_req_t?, _ body: (Request) throws -> Void) {
        guard let request = unsafe request else { return }
        let context = unsafe Unmanaged<Context>.fromOpaque(fuse_req_userdata(request)).takeUnretainedValue()
        let wrapped = unsafe Request(pointer: request, mount: context.mount)
        do { try body(wrapped) } catch { wrapped.fail(error) }
    }

    private static func name(_ text: UnsafePointer<CChar>?) -> [UInt8] {
        unsafe Array(UnsafeRawBufferPointer(start: text!, count: strlen(text!)))
    }

    /// Answers a request that makes a name in a folder, with the node it made.
    private static func answer(
        _ request: fuse_req_t?, making text: UnsafePointer<CChar>?, in parent: fuse_ino_t,
        _ make: (Request, Place, [UInt8]) throws -> Node
    ) {
        unsafe answer(request) { request in
            try Control.requireOutside(parent)
            let name = unsafe name(text)
            let place = try request.at(parent)
            if request.isHerald {
                guard let found = try place.tree.find(place.number, name, counts: true) else { throw Errno(ENOENT) }
                return request.entry(found, name, in: place)
            }
            request.entry(try make(request, place, name), name, in: place)
            place.tell(request.mount, name)
        }
    }

    /// Answers a request that takes a name from a folder.
    private static func answer(
        _ request: fuse_req_t?, removing text: UnsafePointer<CChar>?, from parent: fuse_ino_t, _ kind: Node.Kind,
        _ remove: (Request, Place, [UInt8]) throws -> Void
    ) {
        unsafe answer(request) { request in
            if request.isHerald { return request.succeed() }
            try Control.requireOutside(parent)
            let name = unsafe name(text)
            let place = try request.at(parent)
            try remove(request, place, name)
            request.succeed()
            place.tell(request.mount, name, was: kind)
        }
    }

    static let table: fuse_lowlevel_ops = {
        var table = fuse_lowlevel_ops()
        addNames(&table)
        addFacts(&table)
        addFiles(&table)
        addFolders(&table)
        return table
    }()

    /// Looking up and forgetting, and all that makes, removes or moves names.
    private static let addNames: @Sendable (inout fuse_lowlevel_ops) -> Void = { table in
        unsafe table.`init` = { _, connection in
            guard let connection = unsafe connection else { return }
            unsafe connection.pointee.max_write = 1 << 20
            unsafe connection.pointee.max_readahead = 1 << 20
            unsafe connection.pointee.want |=
                connection.pointee.capable
                & UInt32(
                    FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_READDIRPLUS
                        | FUSE_CAP_READDIRPLUS_AUTO)
            unsafe connection.pointee.want &= ~UInt32(
                FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE)
            unsafe connection.pointee.time_gran = 1
        }
        unsafe table.lookup = { request, parent, text in
            unsafe answer(request) { request in
                let name = unsafe name(text)
                if try Control.lookup(request, parent, name) { return }
                if request.isHerald, request.mount.herald.lookup(request, parent, name) { return }
                let place = try request.at(parent)
                if let found = try place.tree.find(place.number, name, counts: true) {
                    return request.entry(found, name, in: place)
                }
                guard request.mount.mayCacheAbsence(name, in: UInt64(parent)) else { throw Errno(ENOENT) }
                var absent = fuse_entry_param()  // Number 0: the name is not there, and the kernel remembers it.
                absent.entry_timeout = forever
                unsafe fuse_reply_entry(request.pointer, &absent)
                place.recheck(name)
            }
        }
        unsafe table.forget = { request, number, count in
            unsafe answer(request) { request in
                request.mount.forget(UInt64(number), count)
                unsafe fuse_reply_none(request.pointer)
            }
        }
        unsafe table.forget_multi = { request, count, forgets in
            unsafe answer(request) { request in
                for index in 0..<count {
                    unsafe request.mount.forget(UInt64(forgets![index].ino), forgets![index].nlookup)
                }
                unsafe fuse_reply_none(request.pointer)
            }
        }
        unsafe table.mkdir = { request, parent, text, mode in
            unsafe answer(request, making: text, in: parent) {
                try $1.tree.makeFolder($1.number, $2, mode: mode, owner: $0.owner, $0.rights)
            }
        }
        unsafe table.symlink = { request, target, parent, text in
            unsafe answer(request, making: text, in: parent) {
                unsafe try $1.tree.makeLink($1.number, $2, target: name(target), owner: $0.owner, $0.rights)
            }
        }
        unsafe table.link = { request, number, parent, text in
            unsafe answer(request, making: text, in: parent) { request, place, name in
                let source = try request.at(number)
                guard source.slot === place.slot else { throw Errno(EXDEV) }
                return try place.tree.makeHardLink(source.number, place.number, name, request.rights)
            }
        }
        unsafe table.mknod = { request, parent, text, mode, device in
            unsafe answer(request, making: text, in: parent) { request, place, name in
                let kind: Node.Kind? =
                    switch mode & S_IFMT {
                    case S_IFIFO: .pipe
                    case S_IFSOCK: .socket
                    case S_IFCHR: .character
                    case S_IFBLK: .block
                    default: nil
                    }
                if let kind {
                    return try place.tree.makeSpecial(
                        kind, place.number, name, mode: mode, device: UInt64(device), owner: request.owner,
                        request.rights)
                }
                let node = try place.tree.makeFile(place.number, name, mode: mode, owner: request.owner, request.rights)
                place.tree.finish(try place.tree.openMade(node))
                return node
            }
        }
        unsafe table.unlink = { request, parent, text in
            unsafe answer(request, removing: text, from: parent, .file) { try $1.tree.unlink($1.number, $2, $0.rights) }
        }
        unsafe table.rmdir = { request, parent, text in
            unsafe answer(request, removing: text, from: parent, .folder) {
                try $1.tree.removeFolder($1.number, $2, $0.rights)
            }
        }
        unsafe table.rename = { request, parent, text, newParent, newText, flags in
            unsafe answer(request) { request in
                let old = unsafe name(text)
                let new = unsafe name(newText)
                let noReplace: UInt32 = 1
                let exchange: UInt32 = 2  // renameat2(2)
                guard flags & ~(noReplace | exchange) == 0, flags != noReplace | exchange else { throw Errno(EINVAL) }
                try Control.requireOutside(parent)
                try Control.requireOutside(newParent)
                let place = try request.at(parent)
                let target = try request.at(newParent)
                guard place.slot === target.slot else { throw Errno(EXDEV) }
                let kind = place.tree.kind(of: old, in: place.number)
                try place.tree.rename(
                    place.number, old, to: target.number, new, replaces: flags & noReplace == 0,
                    exchanges: flags & exchange != 0, request.rights)
                request.succeed()
                place.tell(request.mount, old, was: kind)
                target.tell(request.mount, new)
            }
        }
    }

    /// What stat(2), chmod(2), utimensat(2) and the like ask for.
    private static let addFacts: @Sendable (inout fuse_lowlevel_ops) -> Void = { table in
        unsafe table.getattr = { request, number, _ in
            unsafe answer(request) { request in
                if Control.answerAttributes(request, number) { return }
                let place = try request.at(number)
                request.attributes(try place.node(), number, place.slot)
            }
        }
        unsafe table.setattr = { request, number, given, valid, _ in
            unsafe answer(request) { request in
                // Who writes to a control file cuts it before.
                if Control.answerAttributes(request, number) { return }
                if request.isHerald {
                    let place = try request.at(number)
                    return request.attributes(try place.node(), number, place.slot)
                }
                let place = try request.at(number)
                let node = try place.node()
                let given = unsafe given!.pointee
                let tree = place.tree
                if valid & FUSE_SET_ATTR_SIZE != 0 {
                    try tree.truncate(node, Int64(given.st_size), caller: request.owner, request.rights)
                }
                var new = Tree.NewFacts()
                func time(_ flag: Int32, _ now: Int32, _ value: timespec) -> Timestamp? {
                    valid & now != 0
                        ? .now()
                        : valid & flag != 0
                            ? Timestamp(seconds: Int64(value.tv_sec), nanoseconds: Int32(value.tv_nsec)) : nil
                }
                if valid & FUSE_SET_ATTR_MODE != 0 { new.mode = given.st_mode & 0o7777 }
                if valid & FUSE_SET_ATTR_UID != 0 { new.owner = given.st_uid }
                if valid & FUSE_SET_ATTR_GID != 0 { new.group = given.st_gid }
                new.modified = time(FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW, given.st_mtim)
                new.accessed = time(FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW, given.st_atim)
                // Who cuts a file changes its times: the file has them.
                if valid & FUSE_SET_ATTR_SIZE != 0 {
                    (new.modified, new.accessed) = (
                        valid & FUSE_SET_ATTR_MTIME != 0 && valid & FUSE_SET_ATTR_MTIME_NOW == 0 ? new.modified : nil,
                        nil
                    )
                }
                if new.mode != nil || new.owner != nil || new.group != nil || new.modified != nil || new.accessed != nil
                {
                    try tree.change(node, new, request.rights)
                }
                request.attributes(node, number, place.slot)
                tree.tell([.node(node.number)] + tree.events(node), except: request.mount.number)
            }
        }
        unsafe table.readlink = { request, number in
            unsafe answer(request) { request in
                let place = try request.at(number)
                guard let target = place.tree.target(of: try place.node()) else { throw Errno(EINVAL) }
                _ = unsafe (target + [0]).withUnsafeBytes {
                    unsafe fuse_reply_readlink(request.pointer, $0.assumingMemoryBound(to: CChar.self).baseAddress)
                }
            }
        }
        unsafe table.getxattr = { request, number, text, size in
            unsafe answer(request) { request in
                try Control.requireOutside(number, else: EOPNOTSUPP)
                let place = try request.at(number)
                let value = unsafe try place.tree.extended(place.node(), Key(name(text)), request.rights)
                try sized(request, value, size)
            }
        }
        unsafe table.listxattr = { request, number, size in
            unsafe answer(request) { request in
                try Control.requireOutside(number, else: EOPNOTSUPP)
                let place = try request.at(number)
                let names = place.tree.extendedNames(try place.node())
                try sized(request, names.flatMap { $0.bytes + [0] }, size)
            }
        }
        unsafe table.setxattr = { request, number, text, value, size, flags in
            unsafe answer(request) { request in
                try Control.requireOutside(number)
                let bytes = unsafe Array(UnsafeRawBufferPointer(start: value, count: size))
                let place = try request.at(number)
                unsafe try place.tree.setExtended(place.node(), Key(name(text)), bytes, flags: flags, request.rights)
                request.succeed()
            }
        }
        unsafe table.removexattr = { request, number, text in
            unsafe answer(request) { request in
                try Control.requireOutside(number)
                let place = try request.at(number)
                unsafe try place.tree.setExtended(place.node(), Key(name(text)), nil, flags: 0, request.rights)
                request.succeed()
            }
        }
        unsafe table.statfs = { request, _ in
            unsafe answer(request) { request in
                var info = statvfs()
                let (total, free, available) = request.mount.tree.view.capacity() ?? (1 << 50, 1 << 50, 1 << 50)
                info.f_bsize = 4096
                info.f_frsize = 4096
                info.f_blocks = fsblkcnt_t(total / 4096)
                info.f_bfree = fsblkcnt_t(free / 4096)
                info.f_bavail = fsblkcnt_t(available / 4096)
                info.f_files = 1 << 40
                info.f_ffree = 1 << 40
                info.f_favail = 1 << 40
                info.f_namemax = 255
                unsafe fuse_reply_statfs(request.pointer, &info)
            }
        }
    }

    /// Bytes for who asks for so many at most; their number for who asks for none (getxattr(2)).
    private static func sized(_ request: Request, _ bytes: [UInt8], _ size: Int) throws {
        guard size > 0 else {
            unsafe fuse_reply_xattr(request.pointer, bytes.count)
            return
        }
        guard bytes.count <= size else { throw Errno(ERANGE) }
        unsafe bytes.withUnsafeBytes { unsafe request.bytes($0) }
    }

    /// Files as programs use them.
    private static let addFiles: @Sendable (inout fuse_lowlevel_ops) -> Void = { table in
        unsafe table.create = { request, parent, text, mode, info in
            unsafe answer(request) { request in
                try Control.requireOutside(parent)
                let name = unsafe name(text)
                let place = try request.at(parent)
                let tree = place.tree
                let isExclusive = unsafe info!.pointee.flags & O_EXCL != 0
                let node: Node
                do {
                    node = try tree.makeFile(place.number, name, mode: mode, owner: request.owner, request.rights)
                } catch let error as Errno where error.number == EEXIST && !isExclusive {
                    throw Errno(ESTALE)  // Another door made it meanwhile: the kernel looks again, and opens that.
                }
                let open = try tree.openMade(node)
                var parameters = entry(node, place.slot)
                if let answer = unsafe use(open, info!, request, place.slot) {
                    // `struct fuse_entry_out`, 128 bytes, and behind it `struct fuse_open_out` (linux/fuse.h).
                    let both = KernelFeatures.entryAnswer(parameters) + answer
                    unsafe both.withUnsafeBytes { unsafe request.bytes($0) }
                } else {
                    unsafe fuse_reply_create(request.pointer, &parameters, info)
                }
                place.recheck(name)
                place.tell(request.mount, name)
            }
        }
        unsafe table.`open` = { request, number, info in
            unsafe answer(request) { request in
                if request.mount.options.skipsOpen { throw Errno(ENOSYS) }  // From now on the kernel does not ask.
                if unsafe try Control.open(request, number, info!) { return }
                if request.isHerald {
                    unsafe info!.pointee.fh = 0  // No handle has this number.
                    unsafe info!.pointee.direct_io = 1
                    unsafe info!.pointee.noflush = 1
                    unsafe fuse_reply_open(request.pointer, info)
                    return
                }
                let place = try request.at(number)
                let node = try place.node()
                let flags = unsafe info!.pointee.flags
                let isWriter = flags & O_ACCMODE != O_RDONLY
                if flags & O_ACCMODE != O_WRONLY { try place.tree.requireReadable(node, request.rights) }
                let open = try place.tree.open(
                    node, writes: isWriter, truncates: isWriter && flags & O_TRUNC != 0, caller: request.owner,
                    request.rights)
                if let answer = unsafe use(open, info!, request, place.slot) {
                    return unsafe answer.withUnsafeBytes { unsafe request.bytes($0) }
                }
                unsafe fuse_reply_open(request.pointer, info)
            }
        }
        unsafe table.read = { request, number, size, offset, info in
            unsafe answer(request) { request in
                if request.mount.options.skipsOpen { return try readUnopened(request, number, size, Int64(offset)) }
                if case .control(let control)? = unsafe handle(info, request.mount) {
                    return control.answer(request, size, Int64(offset))
                }
                let (open, tree) = unsafe try file(info, request.mount)
                unsafe try withUnsafeTemporaryAllocation(byteCount: size, alignment: 16) { buffer in
                    let count = unsafe try tree.read(open, into: buffer, at: Int64(offset))
                    unsafe request.bytes(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                }
            }
        }
        unsafe table.write = { request, _, bytes, size, offset, info in
            unsafe answer(request) { request in
                if case .control(let control)? = unsafe handle(info, request.mount) {
                    unsafe try control.write(request, UnsafeRawBufferPointer(start: bytes, count: size))
                    unsafe fuse_reply_write(request.pointer, size)
                    return
                }
                let (open, tree) = unsafe try file(info, request.mount)
                let count = unsafe try tree.write(
                    open, UnsafeRawBufferPointer(start: bytes, count: size), at: Int64(offset))
                unsafe fuse_reply_write(request.pointer, count)
            }
        }
        unsafe table.fallocate = { request, _, mode, offset, length, info in
            unsafe answer(request) { request in
                // FALLOC_FL_KEEP_SIZE, PUNCH_HOLE and ZERO_RANGE; ranges are neither cut out nor put in.
                guard mode & ~0x13 == 0 else { throw Errno(EOPNOTSUPP) }
                let (open, tree) = unsafe try file(info, request.mount)
                try tree.allocate(open, mode: mode, Int64(offset), Int64(length))
                request.succeed()
            }
        }
        unsafe table.lseek = { request, _, offset, whence, info in
            unsafe answer(request) { request in
                // The kernel takes a file for one without holes.
                if request.mount.options.skipsOpen { throw Errno(ENOSYS) }
                let (open, tree) = unsafe try file(info, request.mount)
                let found = try tree.seek(open, Int64(offset), whence: whence)
                unsafe fuse_reply_lseek(request.pointer, off_t(found))
            }
        }
        unsafe table.copy_file_range = { request, _, offset, info, _, targetOffset, targetInfo, length, _ in
            unsafe answer(request) { request in
                let (source, tree) = unsafe try file(info, request.mount)
                let (target, other) = unsafe try file(targetInfo, request.mount)
                guard tree === other else { throw Errno(EXDEV) }
                let count = try tree.copyRange(source, Int64(offset), to: target, Int64(targetOffset), length)
                unsafe fuse_reply_write(request.pointer, count)
            }
        }
        unsafe table.flush = { request, _, info in
            unsafe answer(request) { request in
                // Nothing is written: it need not ask again.
                if request.mount.options.skipsOpen { throw Errno(ENOSYS) }
                if case .control? = unsafe handle(info, request.mount) { return request.succeed() }
                let (open, tree) = unsafe try file(info, request.mount)
                tree.flush(open)
                if request.mount.options.syncsOnClose, open.isWriter { try tree.synchronize(open.node) }
                request.succeed()
                if open.isWriter { tree.tell([.node(open.node.number)], except: request.mount.number) }
            }
        }
        unsafe table.fsync = { request, _, _, info in
            unsafe answer(request) { request in
                if request.mount.options.skipsOpen { return request.succeed() }
                if case .control? = unsafe handle(info, request.mount) { return request.succeed() }
                let (open, tree) = unsafe try file(info, request.mount)
                if !tree.isReadOnly { try tree.synchronize(open.node) }
                request.succeed()
            }
        }
        unsafe table.release = { request, _, info in
            unsafe answer(request) { request in
                if case .file(let open, let slot)? = request.mount.handles.withLock({
                    unsafe $0.all.removeValue(forKey: info!.pointee.fh)
                }) {
                    request.mount.takeBack(open, slot.tree)
                    slot.tree.finish(open)
                    if open.isWriter {
                        slot.tree.tell(
                            [.node(open.node.number)] + slot.tree.events(open.node), except: request.mount.number)
                    }
                }
                request.succeed()
            }
        }
    }

    /// Answers a read of a file that nobody said was opened.
    private static func readUnopened(_ request: Request, _ number: fuse_ino_t, _ size: Int, _ offset: Int64) throws {
        let place = try request.at(number)
        let node = try place.node()
        try place.tree.requireReadable(node, request.rights)
        let open = try place.tree.open(node, writes: false, request.rights)
        defer { place.tree.finish(open) }
        unsafe try withUnsafeTemporaryAllocation(byteCount: size, alignment: 16) { buffer in
            let count = unsafe try place.tree.read(open, into: buffer, at: offset)
            unsafe request.bytes(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
    }

    /// Says how the kernel is to use an open file: in `info`, or as the bytes of an answer that libfuse has no words
    /// for.
    private static func use(
        _ open: OpenFile, _ info: UnsafeMutablePointer<fuse_file_info>, _ request: Request, _ slot: Slot
    ) -> [UInt8]? {
        let handle = keep(.file(open, slot), request.mount)
        unsafe info.pointee.fh = handle
        // Nothing to publish: one request less for each close.
        let needsFlush = open.isWriter
        switch request.mount.way(open, slot.tree) {
        case .lent(let number):
            return KernelFeatures.openAnswer(handle: handle, backing: number, needsFlush: needsFlush)
        case .cached(let keeps): unsafe info.pointee.keep_cache = keeps ? 1 : 0
        case .direct: unsafe info.pointee.direct_io = 1
        }
        unsafe info.pointee.noflush = needsFlush ? 0 : 1
        return nil
    }

    private static func file(_ info: UnsafeMutablePointer<fuse_file_info>?, _ mount: Mount) throws -> (OpenFile, Tree) {
        guard case .file(let open, let slot)? = unsafe handle(info, mount) else { throw Errno(EBADF) }
        return (open, slot.tree)
    }

    static func keep(_ handle: Mount.Handle, _ mount: Mount) -> UInt64 {
        mount.handles.withLock { handles in
            defer { handles.next += 1 }
            handles.all[handles.next] = handle
            return handles.next
        }
    }

    static func handle(_ info: UnsafeMutablePointer<fuse_file_info>?, _ mount: Mount) -> Mount.Handle? {
        guard let info = unsafe info else { return nil }
        return mount.handles.withLock { unsafe $0.all[info.pointee.fh] }
    }

    static func type(_ kind: Node.Kind) -> UInt32 {
        switch kind {
        case .file: S_IFREG
        case .folder: S_IFDIR
        case .link: S_IFLNK
        case .pipe: S_IFIFO
        case .socket: S_IFSOCK
        case .character: S_IFCHR
        case .block: S_IFBLK
        }
    }

    /// What a node is, as the kernel wants it.
    static func status(_ facts: Tree.Facts, _ slot: Slot) -> stat {
        var info = stat()
        info.st_ino = ino_t(slot.number(facts.number))
        info.st_mode =
            (facts.hasMode ? facts.mode : slot.options.mode(facts.mode, isFolder: facts.kind == .folder))
            | type(facts.kind)
        info.st_nlink = nlink_t(facts.links)
        info.st_uid = facts.hasOwner ? facts.owner : slot.options.owner ?? facts.owner
        info.st_gid = facts.hasOwner ? facts.group : slot.options.group ?? facts.group
        info.st_rdev = dev_t(facts.device)
        info.st_size = off_t(facts.size)
        info.st_blksize = 4096
        info.st_blocks = blkcnt_t(facts.blocks)
        func time(_ value: Timestamp) -> timespec {
            timespec(tv_sec: Int(value.seconds), tv_nsec: Int(value.nanoseconds))
        }
        info.st_mtim = time(facts.modified)
        info.st_ctim = time(facts.changed)
        info.st_atim = time(facts.accessed)
        return info
    }
}
