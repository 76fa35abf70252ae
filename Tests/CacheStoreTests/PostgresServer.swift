import FoundationEssentials
import Foundations
import Glibc
import LakeTestSupport
import Synchronization

/// A real PostgreSQL on loopback, on a free port, in a folder of its own. It does not run as root: then the user
/// `postgres` runs it.
final class PostgresServer: Sendable {
    static let password = "secret of the tests"
    private static let programs = "/usr/lib/postgresql/15/bin/"
    static var isInstalled: Bool { FileManager.default.isExecutableFile(atPath: programs + "postgres") }

    private let folder: String
    let port: Int
    private let process = Mutex<Int32?>(nil)

    /// One for all tests of this process; it ends with it.
    static let shared = Result {
        let server = try PostgresServer()
        forExit.withLock { $0 = server }
        atexit { PostgresServer.forExit.withLock { $0 }?.end() }
        return server
    }
    private static let forExit = Mutex<PostgresServer?>(nil)

    init(folder: String? = nil) throws {
        self.folder = folder ?? "/tmp/lakefuse-postgres-\(XID.make())"
        port = try Self.freePort()
        let secret = self.folder + ".password"
        try Data(Self.password.utf8).write(to: URL(filePath: secret))
        guard unsafe chmod(secret, 0o644) == 0 else { throw StoreError(.unavailable, "chmod") }
        defer { unsafe unlink(secret) }
        try Self.run(["mkdir", "-p", self.folder], as: true)
        try Self.run(
            [
                Self.programs + "initdb", "-D", self.folder + "/data", "-A", "scram-sha-256", "-U", "lake", "--pwfile",
                secret, "-N",
            ], as: true)
        try start()
    }

    var address: String {
        "postgres://lake:\(Self.password.split(separator: " ").joined(separator: "%20"))@127.0.0.1:\(port)/postgres?sslmode=disable"
    }

    func start() throws {
        try Self.run(
            [
                Self.programs + "pg_ctl", "-D", folder + "/data", "-w", "-t", "60", "-l", folder + "/log", "-o",
                "-p \(port) -k \(folder) -c listen_addresses=127.0.0.1 -c max_connections=60", "start",
            ], as: true)
    }

    /// Ends it as a crash of the machine does, but for the disk's cache.
    func kill() throws { try stop("immediate") }

    func stop(_ mode: String = "fast") throws {
        try Self.run([Self.programs + "pg_ctl", "-D", folder + "/data", "-w", "-m", mode, "stop"], as: true)
    }

    /// Stops and removes everything.
    func end() {
        try? stop("immediate")
        try? FileManager.default.removeItem(atPath: folder)
    }

    static func freePort() throws -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe bind(descriptor, $0, size) == 0 && getsockname(descriptor, $0, &size) == 0
            }
        }
        guard status else { throw StoreError(.unavailable, "no free port") }
        return Int(UInt16(bigEndian: address.sin_port))
    }

    /// - Parameter isUnprivileged: as `postgres`, where this process is root.
    static func run(_ arguments: [String], as isUnprivileged: Bool) throws {
        // Whoever waits for this process's output would wait for a server too that holds its end of it.
        let closing =
            "for f in /proc/self/fd/*; do f=${f##*/}; [ $f -le 2 ] || eval \"exec $f>&-\"; done; exec \"$@\""
        let user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        let all = ["bash", "-c", closing, "bash"] + (isUnprivileged && getuid() == 0 ? user : []) + arguments
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        unsafe posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        var child: pid_t = 0
        var pointers = unsafe all.map { unsafe strdup($0) } + [nil]
        defer { unsafe pointers.forEach { unsafe free($0) } }
        guard unsafe posix_spawnp(&child, all[0], &actions, nil, &pointers, environ) == 0 else {
            throw StoreError(.unavailable, "\(all[0]) cannot be run")
        }
        var status: Int32 = 0
        while unsafe waitpid(child, &status, 0) < 0 {}
        guard status == 0 else { throw StoreError(.unavailable, "\(all.joined(separator: " ")): status \(status)") }
    }
}
