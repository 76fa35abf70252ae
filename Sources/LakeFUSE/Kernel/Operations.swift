import CFUSE
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

    /// One request, to be answered once.
    @safe struct Request {
        let pointer: fuse_req_t
        let mount: Mount
        var tree: Tree { mount.tree }
        /// Who asks.
        var owner: Tree.Owner {
            let context = unsafe fuse_req_ctx(pointer)!
            return unsafe Tree.Owner(user: context.pointee.uid, group: context.pointee.gid)
        }

        func fail(_ error: any Error) { unsafe fuse_reply_err(pointer, Errno(error).number == 0 ? EIO : Errno(error).number) }
        func succeed() { unsafe fuse_reply_err(pointer, 0) }

        func entry(_ node: Node, generation: UInt64, parent: UInt64, name: [UInt8]) {
            var parameters = Operations.entry(node, tree)
            unsafe fuse_reply_entry(pointer, &parameters)
            mount.recheck(generation, parent: parent, name: name)
        }

        func bytes(_ buffer: UnsafeRawBufferPointer) { unsafe fuse_reply_buf(pointer, buffer.assumingMemoryBound(to: CChar.self).baseAddress, buffer.count) }
    }

    static func entry(_ node: Node, _ tree: Tree) -> fuse_entry_param {
        var parameters = fuse_entry_param()
        parameters.ino = fuse_ino_t(node.number)
        parameters.attr = status(tree.facts(node))
        parameters.attr_timeout = forever
        parameters.entry_timeout = forever
        return parameters
    }

    /// Runs an operation; a thrown error is its answer.
    private static func answer(_ request: fuse_req_t?, _ body: (Request) throws -> Void) {
        guard let request = unsafe request else { return }
        let context = unsafe Unmanaged<Context>.fromOpaque(fuse_req_userdata(request)).takeUnretainedValue()
        let wrapped = unsafe Request(pointer: request, mount: context.mount)
        do { try body(wrapped) } catch { wrapped.fail(error) }
    }

    private static func name(_ text: UnsafePointer<CChar>?) -> [UInt8] { unsafe Array(UnsafeRawBufferPointer(start: text!, count: strlen(text!))) }

    /// Answers a request that makes a name in a folder, with the node it made.
    private static func answer(_ request: fuse_req_t?, making text: UnsafePointer<CChar>?, in parent: fuse_ino_t, _ make: (Tree, UInt64, [UInt8], Tree.Owner) throws -> Node) {
        unsafe answer(request) { request in
            let name = unsafe name(text), generation = request.mount.generation.load(ordering: .sequentiallyConsistent)
            request.entry(try make(request.tree, UInt64(parent), name, request.owner), generation: generation, parent: UInt64(parent), name: name)
        }
    }

    static let table: fuse_lowlevel_ops = {
        var table = fuse_lowlevel_ops()
        unsafe table.`init` = { _, connection in
            guard let connection = unsafe connection else { return }
            unsafe connection.pointee.max_write = 1 << 20
            unsafe connection.pointee.max_readahead = 1 << 20
            unsafe connection.pointee.want |= connection.pointee.capable & UInt32(FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO)
            unsafe connection.pointee.want &= ~UInt32(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE)
            // Whole seconds are what metadata keeps, nanoseconds what entries have.
            unsafe connection.pointee.time_gran = 1
        }
        unsafe table.lookup = { request, parent, text in
            unsafe answer(request) { request in
                let name = unsafe name(text), generation = request.mount.generation.load(ordering: .sequentiallyConsistent)
                do {
                    request.entry(try request.tree.lookup(UInt64(parent), name), generation: generation, parent: UInt64(parent), name: name)
                } catch let error as Errno where error.number == ENOENT && request.mount.mayCacheAbsence(name, in: UInt64(parent)) {
                    var absent = fuse_entry_param()  // Number 0: the name is not there, and the kernel remembers it.
                    absent.entry_timeout = forever
                    unsafe fuse_reply_entry(request.pointer, &absent)
                    request.mount.recheck(generation, parent: UInt64(parent), name: name)
                }
            }
        }
        unsafe table.forget = { request, number, count in
            unsafe answer(request) { request in
                request.tree.forget(UInt64(number), count)
                unsafe fuse_reply_none(request.pointer)
            }
        }
        unsafe table.forget_multi = { request, count, forgets in
            unsafe answer(request) { request in
                for index in 0..<count { unsafe request.tree.forget(UInt64(forgets![index].ino), forgets![index].nlookup) }
                unsafe fuse_reply_none(request.pointer)
            }
        }
        unsafe table.getattr = { request, number, _ in
            unsafe answer(request) { request in
                var info = status(request.tree.facts(try request.tree.node(UInt64(number))))
                unsafe fuse_reply_attr(request.pointer, &info, forever)
            }
        }
        unsafe table.setattr = { request, number, given, valid, _ in
            unsafe answer(request) { request in
                let node = try request.tree.node(UInt64(number)), given = unsafe given!.pointee
                if request.tree.isReadOnly { throw Errno(EROFS) }
                if valid & FUSE_SET_ATTR_SIZE != 0 {
                    guard !node.isFolder else { throw Errno(EISDIR) }
                    try request.tree.requireChangeable(node)
                    // As if it were opened, cut and closed: a close that comes meanwhile must not let go of the file.
                    request.tree.beginWriting(node)
                    do {
                        let file = try request.tree.writable(node, truncates: given.st_size == 0)
                        if given.st_size != 0 { try file.truncate(Int64(given.st_size), request.tree.purpose(node)) }
                        request.tree.noteWrite(node)
                    } catch {
                        try? request.tree.endWriting(node)  // The first error is the one to tell.
                        throw error
                    }
                    try request.tree.endWriting(node)
                }
                let changes = valid & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)
                if changes != 0 {
                    try request.tree.change(node) { attributes in
                        if valid & FUSE_SET_ATTR_MODE != 0 { attributes.mode = given.st_mode & 0o7777 }
                        if valid & FUSE_SET_ATTR_UID != 0 { attributes.owner = given.st_uid }
                        if valid & FUSE_SET_ATTR_GID != 0 { attributes.group = given.st_gid }
                        if valid & FUSE_SET_ATTR_MTIME_NOW != 0 {
                            attributes.modified = .now()
                        } else if valid & FUSE_SET_ATTR_MTIME != 0 {
                            attributes.modified = Timestamp(seconds: Int64(given.st_mtim.tv_sec), nanoseconds: Int32(given.st_mtim.tv_nsec))
                        }
                    }
                }
                var info = status(request.tree.facts(node))
                unsafe fuse_reply_attr(request.pointer, &info, forever)
            }
        }
        unsafe table.readlink = { request, number in
            unsafe answer(request) { request in
                guard let target = request.tree.target(of: try request.tree.node(UInt64(number))) else { throw Errno(EINVAL) }
                _ = unsafe (target + [0]).withUnsafeBytes { unsafe fuse_reply_readlink(request.pointer, $0.assumingMemoryBound(to: CChar.self).baseAddress) }
            }
        }
        unsafe table.mkdir = { request, parent, text, mode in
            unsafe answer(request, making: text, in: parent) { try $0.makeFolder($1, $2, mode: mode, owner: $3) }
        }
        unsafe table.symlink = { request, target, parent, text in
            unsafe answer(request, making: text, in: parent) { unsafe try $0.makeLink($1, $2, target: name(target), owner: $3) }
        }
        unsafe table.link = { request, number, parent, text in
            unsafe answer(request, making: text, in: parent) { tree, parent, name, _ in try tree.makeHardLink(UInt64(number), parent, name) }
        }
        unsafe table.mknod = { request, parent, text, mode, _ in
            unsafe answer(request, making: text, in: parent) { tree, parent, name, owner in
                guard mode & S_IFMT == S_IFREG else { throw Errno(EPERM) }  // Pipes, sockets and devices cannot be committed.
                let node = try tree.makeFile(parent, name, mode: mode, owner: owner)
                try tree.close(node)
                return node
            }
        }
        unsafe table.unlink = { request, parent, text in
            unsafe answer(request) { request in
                unsafe try request.tree.unlink(UInt64(parent), name(text))
                request.succeed()
            }
        }
        unsafe table.rmdir = { request, parent, text in
            unsafe answer(request) { request in
                unsafe try request.tree.removeFolder(UInt64(parent), name(text))
                request.succeed()
            }
        }
        unsafe table.rename = { request, parent, text, newParent, newText, flags in
            unsafe answer(request) { request in
                guard flags & ~1 == 0 else { throw Errno(EINVAL) }  // RENAME_NOREPLACE is 1; exchanging is not done.
                unsafe try request.tree.rename(UInt64(parent), name(text), to: UInt64(newParent), name(newText), replaces: flags & 1 == 0)
                request.succeed()
            }
        }
        unsafe table.create = { request, parent, text, mode, info in
            unsafe answer(request) { request in
                let name = unsafe name(text), generation = request.mount.generation.load(ordering: .sequentiallyConsistent)
                let isExclusive = unsafe info!.pointee.flags & O_EXCL != 0, node: Node
                do { node = try request.tree.makeFile(UInt64(parent), name, mode: mode, owner: request.owner) } catch let error as Errno where error.number == EEXIST && !isExclusive {
                    throw Errno(ESTALE)  // Another door made it meanwhile: the kernel looks again, and opens that.
                }
                request.tree.beginWriting(node)
                unsafe info!.pointee.fh = keep(.file(node, OpenFile(descriptor: -1, location: nil, size: 0, isWriter: true)), request.mount)
                unsafe info!.pointee.keep_cache = 1
                var parameters = entry(node, request.tree)
                unsafe fuse_reply_create(request.pointer, &parameters, info)
                request.mount.recheck(generation, parent: UInt64(parent), name: name)
            }
        }
        unsafe table.`open` = { request, number, info in
            unsafe answer(request) { request in
                let node = try request.tree.node(UInt64(number)), flags = unsafe info!.pointee.flags
                let isWriter = flags & O_ACCMODE != O_RDONLY
                if isWriter { try request.tree.requireChangeable(node) }
                if flags & O_ACCMODE != O_WRONLY { try request.tree.requireReadable(node) }
                if isWriter { request.tree.beginWriting(node) }
                var open = OpenFile(descriptor: -1, location: nil, size: 0, isWriter: isWriter)
                if !isWriter, request.tree.beginReading(node) { open = OpenFile(descriptor: -1, location: nil, size: 0, isWriter: false, readsStaged: true) }
                do {
                    if isWriter && flags & O_TRUNC != 0 {
                        _ = try request.tree.writable(node, truncates: true)
                        request.tree.noteWrite(node)
                    }
                    if case .object(let location, let size) = try request.tree.source(node) {
                        let piece: FilePiece?
                        do { piece = try request.tree.catalog.objects.file(location) } catch let error as StoreError where error.code == .notFound {
                            // Replaced by another door since it was looked up: the kernel looks it up again, and finds the new one.
                            request.tree.loseNames(of: node)
                            throw Errno(ESTALE)
                        }
                        if let piece, piece.byteCount != size {
                            Log.error("an object is damaged: it has not as many bytes as its entry says", ["object": location.description])
                            close(piece.descriptor)
                            throw Errno(EIO)
                        }
                        open = OpenFile(descriptor: piece?.descriptor ?? -1, location: location, size: size, isWriter: isWriter)
                    }
                } catch {
                    if isWriter { try request.tree.endWriting(node) } else if open.readsStaged { request.tree.endReading(node) }
                    throw error
                }
                unsafe info!.pointee.fh = keep(.file(node, open), request.mount)
                if let backing = request.mount.lend(open, of: node) {
                    let answer = KernelFeatures.openAnswer(handle: unsafe info!.pointee.fh, backing: backing)
                    return unsafe answer.withUnsafeBytes { unsafe request.bytes($0) }
                }
                unsafe info!.pointee.keep_cache = 1  // A node's bytes change only through this mount.
                if !isWriter { unsafe info!.pointee.noflush = 1 }  // Nothing to publish: one request less for each close.
                unsafe fuse_reply_open(request.pointer, info)
            }
        }
        unsafe table.read = { request, _, size, offset, info in
            unsafe answer(request) { request in
                guard case .file(let node, let open)? = unsafe handle(info, request.mount) else { throw Errno(EBADF) }
                if let file = request.tree.writing(of: node) {
                    return unsafe try withUnsafeTemporaryAllocation(byteCount: size, alignment: 16) { buffer in
                        let count = unsafe try file.read(into: buffer, at: Int64(offset))
                        unsafe request.bytes(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                    }
                }
                if open.descriptor >= 0, try request.tree.isCurrent(open.location, node) {
                    return unsafe try withUnsafeTemporaryAllocation(byteCount: size, alignment: 16) { buffer in
                        let count = unsafe pread(open.descriptor, buffer.baseAddress, size, offset)
                        guard count >= 0 else { throw Errno(errno) }
                        // Cut since it was opened: what the kernel is not given it would show as zeros.
                        guard Int64(count) >= min(Int64(size), open.size - Int64(offset)) else { throw Errno(EIO) }
                        unsafe request.bytes(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                    }
                }
                // Published since it was opened, or not a local file.
                guard case .object(let location, let length) = try request.tree.source(node) else { return unsafe request.bytes(UnsafeRawBufferPointer(start: nil, count: 0)) }
                let end = min(Int64(offset) + Int64(size), length)
                let bytes = Int64(offset) < end ? try request.tree.catalog.objects.read(location, Int64(offset)..<end) : []
                guard Int64(offset) >= end || Int64(bytes.count) == end - Int64(offset) else { throw Errno(EIO) }
                unsafe bytes.withUnsafeBytes { unsafe request.bytes($0) }
            }
        }
        unsafe table.write = { request, _, bytes, size, offset, info in
            unsafe answer(request) { request in
                guard case .file(let node, let open)? = unsafe handle(info, request.mount), open.isWriter else { throw Errno(EBADF) }
                let file = try request.tree.writable(node, opened: open.descriptor)
                let count = unsafe try file.write(UnsafeRawBufferPointer(start: bytes, count: size), at: Int64(offset), request.tree.purpose(node))
                request.tree.noteWrite(node)
                unsafe fuse_reply_write(request.pointer, count)
            }
        }
        unsafe table.fallocate = { request, _, mode, offset, length, info in
            unsafe answer(request) { request in
                guard case .file(let node, let open)? = unsafe handle(info, request.mount), open.isWriter else { throw Errno(EBADF) }
                guard mode == 0 else { throw Errno(EOPNOTSUPP) }
                try request.tree.writable(node, opened: open.descriptor).allocate(Int64(offset), Int64(length), request.tree.purpose(node))
                request.tree.noteWrite(node)
                request.succeed()
            }
        }
        unsafe table.flush = { request, _, info in
            unsafe answer(request) { request in
                guard case .file(let node, let open)? = unsafe handle(info, request.mount) else { throw Errno(EBADF) }
                if open.isWriter { try request.tree.flush(node) }
                request.succeed()
            }
        }
        unsafe table.fsync = { request, _, _, info in
            unsafe answer(request) { request in
                guard case .file(let node, _)? = unsafe handle(info, request.mount) else { throw Errno(EBADF) }
                if !request.tree.isReadOnly { try request.tree.synchronize(node) }
                request.succeed()
            }
        }
        unsafe table.fsyncdir = { request, _, _, _ in
            unsafe answer(request) { request in
                if !request.tree.isReadOnly { try request.tree.synchronize() }
                request.succeed()
            }
        }
        unsafe table.release = { request, _, info in
            unsafe answer(request) { request in
                let handle = request.mount.handles.withLock { unsafe $0.all.removeValue(forKey: info!.pointee.fh) }
                if case .file(let node, let open)? = handle {
                    request.mount.takeBack(open, of: node)
                    if open.isWriter { try request.tree.endWriting(node) } else if open.readsStaged { request.tree.endReading(node) }
                }
                request.succeed()
            }
        }
        unsafe table.opendir = { request, number, info in
            unsafe answer(request) { request in
                let node = try request.tree.node(UInt64(number))
                guard node.isFolder else { throw Errno(ENOTDIR) }
                unsafe info!.pointee.fh = keep(.folder(node, FolderReader()), request.mount)
                unsafe fuse_reply_open(request.pointer, info)
            }
        }
        unsafe table.readdir = { request, number, size, offset, info in unsafe answer(request) { unsafe try readFolder($0, number, size, offset, info, withAttributes: false) } }
        unsafe table.readdirplus = { request, number, size, offset, info in unsafe answer(request) { unsafe try readFolder($0, number, size, offset, info, withAttributes: true) } }
        unsafe table.releasedir = { request, _, info in
            unsafe answer(request) { request in
                _ = request.mount.handles.withLock { unsafe $0.all.removeValue(forKey: info!.pointee.fh) }
                request.succeed()
            }
        }
        unsafe table.statfs = { request, _ in
            unsafe answer(request) { request in
                var info = statvfs()
                let (total, free, available) = request.tree.catalog.objects.capacity() ?? (1 << 50, 1 << 50, 1 << 50)
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
        return table
    }()

    private static func keep(_ handle: Mount.Handle, _ mount: Mount) -> UInt64 {
        mount.handles.withLock { handles in
            defer { handles.next += 1 }
            handles.all[handles.next] = handle
            return handles.next
        }
    }

    private static func handle(_ info: UnsafeMutablePointer<fuse_file_info>?, _ mount: Mount) -> Mount.Handle? {
        guard let info = unsafe info else { return nil }
        return mount.handles.withLock { unsafe $0.all[info.pointee.fh] }
    }

    /// Fills one buffer of a folder's listing. Offsets 1 and 2 stand behind `.` and `..`.
    private static func readFolder(_ request: Request, _ number: fuse_ino_t, _ size: Int, _ offset: off_t, _ info: UnsafeMutablePointer<fuse_file_info>?, withAttributes: Bool) throws {
        guard case .folder(let folder, let reader)? = unsafe handle(info, request.mount) else { throw Errno(EBADF) }
        let tree = request.tree, generation = request.mount.generation.load(ordering: .sequentiallyConsistent)
        var told: [[UInt8]] = []
        unsafe try withUnsafeTemporaryAllocation(byteCount: size, alignment: 16) { buffer in
            let start = unsafe buffer.assumingMemoryBound(to: CChar.self).baseAddress!
            var used = 0, position = Int(offset)
            while true {
                var name: [UInt8], parameters = fuse_entry_param(), node: Node?
                if position == 0 { reader.restart() }  // A listing that is begun anew is a new one (rewinddir(3)).
                if position < 2 {
                    name = position == 0 ? [0x2e] : [0x2e, 0x2e]
                    parameters.attr.st_ino = ino_t(number)
                    parameters.attr.st_mode = S_IFDIR
                } else {
                    guard let item = try reader.item(position - 2, folder, tree) else { break }
                    name = item.name
                    let path = Paths.join(tree.path(of: folder), name)
                    if withAttributes {
                        // What was read a while ago may have been removed, renamed or written since; and of folders a listing knows nothing.
                        let found = item.entry == nil || !reader.isCurrent(tree) ? try? tree.lookup(folder.number, name, counts: true)
                            : tree.adopt(path, entry: item.entry, isFolder: item.isFolder, item.entry.map { Attributes($0.metadata) } ?? Attributes(), counts: true)
                        guard let found else {
                            position += 1
                            continue
                        }
                        node = found
                        parameters = entry(found, tree)
                    } else {
                        let known = tree.state.withLock { $0.numbers[path] }
                        parameters.attr.st_ino = ino_t(known ?? Tree.number(for: path))
                        let isLink = item.entry?.metadata[Attributes.targetKey] != nil
                        parameters.attr.st_mode = item.isFolder ? S_IFDIR : isLink ? S_IFLNK : S_IFREG
                    }
                }
                name.append(0)
                let needed = unsafe name.withUnsafeBytes { bytes -> Int in
                    let text = unsafe bytes.assumingMemoryBound(to: CChar.self).baseAddress
                    return unsafe withAttributes ? fuse_add_direntry_plus(request.pointer, start + used, size - used, text, &parameters, off_t(position + 1))
                        : fuse_add_direntry(request.pointer, start + used, size - used, text, &parameters.attr, off_t(position + 1))
                }
                if needed > size - used {
                    if let node { tree.forget(node.number, 1) }  // Not told after all.
                    break
                }
                if node != nil { told.append(Array(name.dropLast())) }
                used += needed
                position += 1
            }
            unsafe request.bytes(UnsafeRawBufferPointer(start: start, count: used))
        }
        for name in told { request.mount.recheck(generation, parent: UInt64(number), name: name) }
    }

    /// What a node is, as the kernel wants it.
    private static func status(_ facts: Tree.Facts) -> stat {
        var info = stat()
        info.st_ino = ino_t(facts.number)
        info.st_mode = facts.mode | (facts.kind == .folder ? S_IFDIR : facts.kind == .link ? S_IFLNK : S_IFREG)
        info.st_nlink = nlink_t(facts.links)
        info.st_uid = facts.owner
        info.st_gid = facts.group
        info.st_size = off_t(facts.size)
        info.st_blksize = 1 << 17
        info.st_blocks = blkcnt_t(facts.size / 512 + (facts.size % 512 > 0 ? 1 : 0))
        info.st_mtim = timespec(tv_sec: Int(facts.modified.seconds), tv_nsec: Int(facts.modified.nanoseconds))
        info.st_ctim = info.st_mtim
        info.st_atim = info.st_mtim
        return info
    }
}
