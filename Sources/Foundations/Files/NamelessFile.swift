import CLinux
import Glibc

/// A file that nobody else sees, and that goes with its last descriptor.
/// - Parameter folder: where its bytes are.
/// - Returns: an open descriptor, to read and write; negative if it cannot be made, and `errno` says why.
package func openNamelessFile(in folder: String) -> Int32 {
    let descriptor = unsafe lake_nameless_file(folder)
    if descriptor >= 0 || errno != EOPNOTSUPP && errno != EISDIR { return descriptor }
    // Not every file system has them.
    var name = Array("\(folder)/lakefuse-XXXXXX".utf8CString)
    let named = unsafe mkstemp(&name)
    if named >= 0 {
        unsafe unlink(&name)
        _ = fcntl(named, F_SETFD, FD_CLOEXEC)
    }
    return named
}
