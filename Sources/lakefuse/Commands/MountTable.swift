import Foundations
import Glibc
import Versioning

/// What is mounted on this machine (proc(5), /proc/self/mounts).
enum MountTable {
    /// What is mounted on a folder; nil if nothing is.
    static func source(of folder: String) -> String? {
        guard let bytes = try? Files.read("/proc/self/mounts") else { return nil }
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").last { line in
            let columns = line.split(separator: " ")
            return columns.count > 2 && decoded(columns[1]) == folder
        }.flatMap { $0.split(separator: " ").first.map(decoded) }
    }

    /// Blanks and backslashes are told as octal numbers.
    private static func decoded(_ text: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == 0x5c, rest.count >= 3,
                let number = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
            {
                bytes.append(number)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Has fusermount3(1) do it, for who is not root.
    static func unmountAsUser(_ folder: String) -> Bool {
        var child = pid_t()
        var status: Int32 = 0
        var words = unsafe ["fusermount3", "-u", "-q", folder].map { (word: String) in unsafe strdup(word) } + [nil]
        defer { unsafe words.forEach { unsafe free($0) } }
        guard unsafe posix_spawnp(&child, "fusermount3", nil, nil, &words, environ) == 0,
            unsafe waitpid(child, &status, 0) == child
        else { return false }
        return status == 0
    }
}
