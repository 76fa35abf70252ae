package import Foundations
import Glibc
package import Versioning

/// Owner, permissions, times and link target of a file, as `lakectl local` keeps them in user metadata.
package struct Attributes: Equatable {
    package static let permissionsKey = "::lakefs::posix-permissions", modifiedKey = "::lakefs::client-mtime",
        targetKey = "::lakefs::symlink-target"
    /// Ours: `lakectl local` keeps whole seconds.
    package static let nanosecondsKey = "::lakefs::client-mtime-nanoseconds"

    /// Permission bits; nil for the default: 0644, folders 0755.
    package var mode: UInt32?
    package var owner: UInt32?
    package var group: UInt32?
    /// A time that a program set; nil for the entry's own.
    package var modified: Timestamp?
    package var target: [UInt8]?

    package init() {}

    /// Reads what an entry's metadata tells; what it does not tell, or not properly, is the default.
    package init(_ metadata: Metadata) {
        if let text = metadata[Self.permissionsKey] {
            func number(_ name: String) -> UInt32? {
                guard let mark = text.firstRange(of: "\"\(name)\":") else { return nil }
                return UInt32(text[mark.upperBound...].drop { $0 == " " }.prefix { $0.isNumber })
            }
            mode = number("Mode").map { $0 & 0o7777 }
            owner = number("UID")
            group = number("GID")
        }
        let nanoseconds = metadata[Self.nanosecondsKey].flatMap { Int32($0) }.map { min(max(0, $0), 999_999_999) } ?? 0
        modified = metadata[Self.modifiedKey].flatMap { Int64($0) }.map {
            Timestamp(seconds: $0, nanoseconds: nanoseconds)
        }
        target = metadata[bytes: Self.targetKey]
    }

    /// Puts into `metadata` what is not the default.
    /// - Parameter tellsAll: whether owner and permissions are told though they are.
    package func write(into metadata: inout Metadata, isFolder: Bool, tellsAll: Bool = false) {
        let standard: UInt32 = isFolder ? 0o755 : 0o644
        let isPlain =
            (mode ?? standard) == standard && (owner ?? getuid()) == getuid() && (group ?? getgid()) == getgid()
        metadata[Self.permissionsKey] =
            isPlain && !tellsAll
            ? nil : "{\"UID\":\(owner ?? getuid()),\"GID\":\(group ?? getgid()),\"Mode\":\(mode ?? standard)}"
        metadata[Self.modifiedKey] = modified.map { String($0.seconds) }
        metadata[Self.nanosecondsKey] = modified.flatMap { $0.nanoseconds > 0 ? String($0.nanoseconds) : nil }
        metadata[bytes: Self.targetKey] = target
    }
}
