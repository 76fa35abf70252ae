import Foundations
import Glibc
import Versioning

/// Where REST may mount on the server's machine: what is mounted hides what was there, for everyone who looks.
enum MountPoint {
    /// - Parameters:
    ///   - allowed: folders under which anyone may mount who may mount at all; if there are none, only the server's own
    ///     user may, over the loopback, on a folder of their own.
    ///   - isMounted: whether it is to be unmounted: what is seen there then may say that it is anyone's.
    /// - Throws: `.permissionDenied`.
    static func check(_ directory: String, for peer: Peer?, allowed: [String], isMounted: Bool = false) throws {
        // Links are followed: it is the place that counts. One that is not there yet is refused by the mount itself.
        guard let place = resolved(directory) else {
            throw LakeError(.invalidValue, "the mount point \(directory) is not there: make an empty folder first")
        }
        if !allowed.isEmpty {
            guard allowed.contains(where: { lies(place, under: resolved($0) ?? $0) }) else {
                throw LakeError(
                    .permissionDenied, "the mount point \(directory) is not under a folder of mounts.allowed_folders")
            }
            return
        }
        var info = stat()
        guard let peer, peer.address.isLoopback, LocalUser.id(of: peer) == geteuid() else {
            throw LakeError(
                .permissionDenied,
                "mounting is for the server's own user on its own machine: set mounts.allowed_folders to allow others")
        }
        if isMounted { return }
        // Where a mount died with its server, the folder below it cannot be looked at: then it is the one that holds
        // it.
        let isDead = unsafe stat(place, &info) != 0 && errno == ENOTCONN
        let folder = isDead ? String(place[..<(place.lastIndex(of: "/") ?? place.startIndex)]) + "/" : place
        guard unsafe stat(folder, &info) == 0, info.st_uid == geteuid() else {
            throw LakeError(.permissionDenied, "the mount point \(directory) belongs to another user")
        }
    }

    private static func resolved(_ path: String) -> String? {
        guard let found = unsafe realpath(path, nil) else { return nil }
        defer { unsafe free(found) }
        return unsafe String(cString: found)
    }

    private static func lies(_ path: String, under folder: String) -> Bool {
        let own = Key(path + "/")
        let whole = Key(folder.hasSuffix("/") ? folder : folder + "/")
        return own.hasPrefix(whole)
    }
}

/// Who on this machine is at the other end of a connection over the loopback.
enum LocalUser {
    /// The user whose socket it is (proc(5), /proc/net/tcp); nil if that cannot be told.
    static func id(of peer: Peer) -> uid_t? {
        var found: Set<uid_t> = []
        for file in ["/proc/net/tcp", "/proc/net/tcp6"] { found.formUnion(users(read(file), of: peer)) }
        return found.count == 1 ? found.first : nil
    }

    /// Users of connected sockets of an address and port, from the system's table: local address, remote address,
    /// state, and the user in the eighth column. Both count: what a server accepted has the server's port, at another
    /// address perhaps.
    static func users(_ table: String, of peer: Peer) -> [uid_t] {
        table.split(separator: "\n").dropFirst().compactMap { line in
            let columns = line.split(separator: " ")
            guard columns.count > 7, columns[3] == "01", case let own = columns[1].split(separator: ":"),
                own.count == 2, UInt16(own[1], radix: 16) == peer.port, address(own[0]) == peer.address
            else { return nil }
            return uid_t(columns[7])
        }
    }

    /// An address as the table has it: words of four bytes, each in the machine's byte order.
    private static func address(_ text: Substring) -> IPAddress? {
        let digits = Array(text.utf8)
        let words = stride(from: 0, to: digits.count, by: 8).map {
            UInt32(String(decoding: digits[$0..<min($0 + 8, digits.count)], as: UTF8.self), radix: 16)?.byteSwapped ?? 0
        }
        switch words.count {
        case 1: return IPAddress(v4: words[0])
        case 4:
            return IPAddress(
                v6: words.flatMap { word in [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: word >> $0) } })
        default: return nil
        }
    }

    private static func read(_ path: String) -> String {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = unsafe Glibc.read(descriptor, &piece, piece.count)
            guard count > 0 else { return String(decoding: bytes, as: UTF8.self) }
            bytes += piece[..<count]
        }
    }
}
