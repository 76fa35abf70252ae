import Glibc

/// A folder of the local file system (readdir(3)).
package enum Folder {
    /// Names in it, without `.` and `..`, in no order.
    /// - Throws: `.notFound` if it is not there, `.unavailable` if it cannot be read.
    package static func names(of path: String) throws(StoreError) -> [String] {
        guard let directory = unsafe opendir(path) else {
            throw StoreError(errno == ENOENT || errno == ENOTDIR ? .notFound : .unavailable, unsafe "cannot list \(path): \(String(cString: strerror(errno)))")
        }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }
}
