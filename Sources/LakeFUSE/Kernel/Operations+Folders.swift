import CFUSE
import Foundations
import Glibc
import Synchronization
import Versioning

/// What the kernel asks of open folders.
extension Operations {
    /// Folders as programs read them.
    static let addFolders: @Sendable (inout fuse_lowlevel_ops) -> Void = { table in
        unsafe table.fsyncdir = { request, number, _, _ in
            unsafe answer(request) { request in
                if Control.owns(number) { return request.succeed() }
                let tree = try request.at(number).tree
                if !tree.isReadOnly { try tree.synchronizeRows() }
                request.succeed()
            }
        }
        unsafe table.opendir = { request, number, info in
            unsafe answer(request) { request in
                if unsafe try Control.open(request, number, info!) { return }
                let place = try request.at(number)
                let node = try place.node()
                guard node.isFolder else { throw Errno(ENOTDIR) }
                unsafe info!.pointee.fh = keep(.folder(node, FolderReader(), place.slot), request.mount)
                if request.mount.levers.directoryCache, !KernelFeatures.hasBrokenDirectoryCache {
                    unsafe info!.pointee.cache_readdir = 1
                    unsafe info!.pointee.keep_cache = 1
                }
                unsafe fuse_reply_open(request.pointer, info)
            }
        }
        unsafe table.readdir = { request, number, size, offset, info in
            unsafe answer(request) { unsafe try readFolder($0, number, size, offset, info, withAttributes: false) }
        }
        unsafe table.readdirplus = { request, number, size, offset, info in
            unsafe answer(request) { unsafe try readFolder($0, number, size, offset, info, withAttributes: true) }
        }
        unsafe table.releasedir = { request, _, info in
            unsafe answer(request) { request in
                _ = request.mount.handles.withLock { unsafe $0.all.removeValue(forKey: info!.pointee.fh) }
                request.succeed()
            }
        }
    }

    /// The node of a listed item, for the kernel to know: by what the listing said, if that is still so, and else
    /// looked up.
    private static func node(of item: FolderReader.Item, in folder: Node, _ version: UInt64, _ tree: Tree) -> Node? {
        if let entry = item.entry, let node = tree.adopt(item.name, in: folder, entry, ifVersion: version) {
            return node
        }
        return try? tree.find(folder.number, item.name.bytes, counts: true)  // It went meanwhile, or cannot be told.
    }

    /// Fills one buffer of a folder's listing. Offsets 1 and 2 stand behind `.` and `..`.
    private static func readFolder(
        _ request: Request, _ number: fuse_ino_t, _ size: Int, _ offset: off_t,
        _ info: UnsafeMutablePointer<fuse_file_info>?, withAttributes: Bool
    ) throws {
        let handle = unsafe handle(info, request.mount)
        if case .control(let control)? = handle {
            return control.list(request, size, offset, withAttributes: withAttributes)
        }
        guard case .folder(let folder, let reader, let slot)? = handle else { throw Errno(EBADF) }
        let tree = slot.tree
        let generation = tree.generation.load(ordering: .sequentiallyConsistent)
        var told: [[UInt8]] = []
        unsafe try withUnsafeTemporaryAllocation(byteCount: size, alignment: 16) { buffer in
            let start = unsafe buffer.assumingMemoryBound(to: CChar.self).baseAddress!
            var used = 0
            var position = Int(offset)
            while true {
                var name: [UInt8]
                var parameters = fuse_entry_param()
                var node: Node?
                if position == 0 { reader.restart() }  // A listing that is begun anew is a new one (rewinddir(3)).
                if position < 2 {
                    name = position == 0 ? [0x2e] : [0x2e, 0x2e]
                    parameters.attr.st_ino = ino_t(number)
                    parameters.attr.st_mode = S_IFDIR
                } else {
                    guard let item = try reader.item(position - 2, folder, tree) else { break }
                    name = item.name.bytes
                    if withAttributes {
                        node = Self.node(of: item, in: folder, reader.version, tree)
                        guard let node else {
                            position += 1
                            continue
                        }
                        parameters = entry(node, slot)
                    } else {
                        parameters.attr = tree.listed(item, in: folder)
                        parameters.attr.st_ino = ino_t(slot.number(UInt64(parameters.attr.st_ino)))
                    }
                }
                name.append(0)
                let needed = unsafe name.withUnsafeBytes { bytes -> Int in
                    let text = unsafe bytes.assumingMemoryBound(to: CChar.self).baseAddress
                    return unsafe withAttributes
                        ? fuse_add_direntry_plus(
                            request.pointer, start + used, size - used, text, &parameters, off_t(position + 1))
                        : fuse_add_direntry(
                            request.pointer, start + used, size - used, text, &parameters.attr, off_t(position + 1))
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
        for name in told { tree.recheck(generation, name, in: folder.number) }
    }
}

extension Tree {
    /// What a listing says of an item: number and kind.
    func listed(_ item: FolderReader.Item, in folder: Node) -> stat {
        var info = stat()
        let (known, path) = state.withLock { _ in
            (item.node ?? folder.children[item.name], Paths.join(Self.path(folder), item.name.bytes))
        }
        info.st_ino = ino_t(known?.number ?? Self.number(for: path))
        let isLink = item.entry?.metadata[Attributes.targetKey] != nil
        info.st_mode = known.map { Operations.type($0.kind) } ?? (item.isFolder ? S_IFDIR : isLink ? S_IFLNK : S_IFREG)
        return info
    }
}
