import Foundations
import Glibc
import Versioning

/// A folder that something is to be mounted on.
enum MountPoint {
    /// Whether a folder is on another file system than the one it lies in.
    static func isMounted(_ directory: String) -> Bool {
        let parent =
            directory.lastIndex(of: "/").map { $0 > directory.startIndex ? String(directory[..<$0]) : "/" } ?? "/"
        guard let own = FileStatus(path: directory), let above = FileStatus(path: parent) else { return true }
        return own.device != above.device
    }

    /// Checks a mount point, and clears away a mount that a crash left dead.
    static func prepare(_ directory: String) throws {
        // Opening asks the file system itself: what the kernel has cached of a dead mount still looks alive.
        if let opened = unsafe opendir(directory) {
            unsafe closedir(opened)
        } else if errno == ENOTCONN || errno == EIO || errno == ECONNABORTED {
            unsafe umount2(directory, Int32(MNT_DETACH))
        }
        guard let status = FileStatus(path: directory) else {
            throw LakeError(.invalidValue, unsafe "cannot mount on \(directory): \(String(cString: strerror(errno)))")
        }
        guard status.isFolder else { throw LakeError(.invalidValue, "cannot mount on \(directory): it is no folder") }
        if let parent = FileStatus(path: directory + "/.."), parent.device != status.device {
            throw LakeError(.alreadyExists(.mount), "cannot mount on \(directory): something is mounted there already")
        }
        guard let open = unsafe opendir(directory) else {
            throw LakeError(.invalidValue, unsafe "cannot mount on \(directory): \(String(cString: strerror(errno)))")
        }
        defer { unsafe closedir(open) }
        var count = 0
        while unsafe readdir(open) != nil { count += 1 }
        guard count <= 2 else { throw LakeError(.invalidValue, "cannot mount on \(directory): it is not empty") }
    }

    /// An absolute path without `.` and `..`.
    static func normal(_ path: String) -> String {
        var parts: [Substring] = []
        for part in path.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return (path.hasPrefix("/") ? "/" : "") + parts.joined(separator: "/")
    }
}
