import Glibc

/// A folder of the local file system (readdir(3)).
package enum Folder {
    /// One name in a folder, as bytes, and whether it is a folder itself, or a symbolic link; a link to a folder is none.
    package struct Entry: Sendable {
        package let name: [UInt8]
        package let isFolder: Bool, isLink: Bool
    }

    /// What is in it, without `.` and `..`, in no order.
    /// - Throws: `.notFound` if it is not there, `.unavailable` if it cannot be read.
    package static func entries(of path: String) throws(StoreError) -> [Entry] {
        guard let directory = unsafe opendir(path) else {
            throw StoreError(
                errno == ENOENT || errno == ENOTDIR ? .notFound : .unavailable,
                unsafe "cannot list a folder: \(String(cString: strerror(errno)))")
        }
        defer { unsafe closedir(directory) }
        var found: [Entry] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: UInt8.self, capacity: 256) {
                    unsafe Array(
                        UnsafeBufferPointer(
                            start: $0, count: strlen(UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))))
                }
            }
            if name == [0x2e] || name == [0x2e, 0x2e] { continue }
            var isFolder = unsafe Int32(entry.pointee.d_type) == DT_DIR
            var isLink = unsafe Int32(entry.pointee.d_type) == DT_LNK
            if unsafe Int32(entry.pointee.d_type) == DT_UNKNOWN {
                // A file system that does not tell it in its listings.
                var info = stat()
                let isThere =
                    unsafe fstatat(
                        dirfd(directory), name.map { CChar(bitPattern: $0) } + [0], &info, AT_SYMLINK_NOFOLLOW) == 0
                isFolder = isThere && info.st_mode & S_IFMT == S_IFDIR
                isLink = isThere && info.st_mode & S_IFMT == S_IFLNK
            }
            found.append(Entry(name: name, isFolder: isFolder, isLink: isLink))
        }
        return found
    }

    /// Names in it, as text.
    package static func names(of path: String) throws(StoreError) -> [String] {
        try entries(of: path).map { String(decoding: $0.name, as: UTF8.self) }
    }
}
