import Glibc

/// What the system tells of a file (stat(2)), as values of ours. Modules that wrap C libraries which bring a `stat` of
/// their own use this: the compiler may take theirs for Glibc's.
package struct FileStatus: Sendable {
    package let isFolder: Bool, isRegular: Bool
    package let device: UInt64
    package let owner: UInt32
    /// Bytes.
    package let size: Int64
    /// On disk, in units of 512 bytes.
    package let blocks: Int64
    package let modified: Timestamp

    /// Of an open file; nil, with `errno` set, if it cannot be told.
    package init?(_ descriptor: Int32) {
        var info = stat()
        guard unsafe fstat(descriptor, &info) == 0 else { return nil }
        self.init(info)
    }

    /// Of what a path leads to; nil, with `errno` set, if it cannot be told.
    package init?(path: String) {
        var info = stat()
        guard unsafe stat(path, &info) == 0 else { return nil }
        self.init(info)
    }

    /// What a small file says; nil if it cannot be read. Files of proc(5) have no size: this reads to the end.
    package static func text(of path: String) -> String? {
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = unsafe Glibc.read(file, &buffer, buffer.count)
            guard count >= 0 else { return nil }
            if count == 0 { return String(decoding: bytes, as: UTF8.self) }
            bytes += buffer[..<count]
        }
    }

    private init(_ info: stat) {
        isFolder = info.st_mode & S_IFMT == S_IFDIR
        isRegular = info.st_mode & S_IFMT == S_IFREG
        device = UInt64(info.st_dev)
        owner = info.st_uid
        size = Int64(info.st_size)
        blocks = Int64(info.st_blocks)
        modified = Timestamp(seconds: Int64(info.st_mtim.tv_sec), nanoseconds: Int32(info.st_mtim.tv_nsec))
    }
}
