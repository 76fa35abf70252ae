import Foundations
import Glibc
import LakeAPI
import Versioning

/// The folder of an embedded lake: its lock, format, secrets, and who its first user is.
final class DataDirectory: Sendable {
    let path: String
    private let lock: FileLock
    /// What this program writes; a folder of a newer format is refused.
    private static let format = 1

    /// Takes the folder, making it if it is not there.
    /// - Throws: `LakeError` if another process holds it, or a newer version wrote it.
    init(_ path: String) throws {
        self.path = Files.absolute(path)
        try Files.makeFolder(self.path)
        // Whatever made it: the lake's records and secrets are its owner's.
        unsafe chmod(self.path, 0o700)
        lock = try FileLock(self.path + "/lock", what: "data folder \(self.path)")
        let file = self.path + "/format"
        if unsafe access(file, F_OK) == 0 {
            let text = String(decoding: try Files.read(file), as: UTF8.self).prefix { $0 != "\n" }
            guard let found = Int(text), found <= Self.format else {
                throw LakeError(
                    .unavailable,
                    "data folder \(self.path) has format \(text), newer than this lakefuse's \(Self.format): use a newer lakefuse"
                )
            }
        } else {
            try Files.write(Array("\(Self.format)\n".utf8), to: file, mode: 0o600)
        }
        keepReserve()
    }

    /// Bytes that are kept free for the day on which the disk is full: the database needs some to be opened at all.
    private static let reserveBytes: off_t = 4 << 20
    private var reserveFile: String { path + "/reserve" }

    /// Takes the reserve if it is not there and the disk has room.
    func keepReserve() {
        guard unsafe access(reserveFile, F_OK) != 0 else { return }
        var room = statvfs()
        guard unsafe statvfs(path, &room) == 0, room.f_bavail * room.f_frsize > 16 * UInt(Self.reserveBytes) else {
            return
        }
        let descriptor = unsafe open(reserveFile, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        if posix_fallocate(descriptor, 0, Self.reserveBytes) != 0 { unsafe unlink(reserveFile) }
    }

    /// Opens something that needs a little room on the disk: on a full one the lake's reserve makes it, so that what is
    /// there can be read.
    func withRoom<Result>(_ open: () throws -> Result) throws -> Result {
        do { return try open() } catch {
            guard LakeError(error).code == .noSpace, useReserve() else { throw error }
            Log.warning("the disk is full: the lake's reserve is used up so that it can start")
            return try open()
        }
    }

    /// Gives the reserve away; false if there is none.
    private func useReserve() -> Bool { unsafe unlink(reserveFile) == 0 }

    /// A secret that is made up when it is first asked for, and kept where only the owner can read it.
    func secret(_ name: String) throws -> String {
        try Files.makeFolder(path + "/secrets")
        unsafe chmod(path + "/secrets", 0o700)
        let file = path + "/secrets/" + name
        if unsafe access(file, F_OK) == 0 { return String(decoding: try Files.read(file), as: UTF8.self) }
        let secret = Base64.encode(randomBytes(32))
        try Files.write(Array(secret.utf8), to: file, mode: 0o600)
        return secret
    }

    private var databaseNote: String { path + "/database" }

    /// Refuses a database that this folder's lake had, and that is gone: an empty one in its place would look like a
    /// lake without repositories, to which all objects are nobody's.
    /// - Throws: `.corrupt`.
    func requireDatabase(_ file: String) throws {
        guard unsafe access(databaseNote, F_OK) == 0, try Files.read(databaseNote).elementsEqual(file.utf8) else {
            return
        }
        var info = stat()
        guard unsafe stat(file, &info) != 0 || info.st_size == 0 else { return }
        throw LakeError(
            .corrupt,
            "the database \(file) of data folder \(path) is gone, or empty: restore it; to begin a new lake, choose another folder, or remove this one"
        )
    }

    /// The database is there from now on.
    func noteDatabase(_ file: String) throws {
        if unsafe access(databaseNote, F_OK) == 0, try Files.read(databaseNote).elementsEqual(file.utf8) { return }
        try Files.write(Array(file.utf8), to: databaseNote, mode: 0o600)
    }

    /// Where a made-up key pair is told.
    var credentialsFile: String { path + "/credentials" }

    /// The file of a made-up key pair tells where the server is now; without one there is nothing to do.
    func updateEndpoint(_ endpoint: String) throws {
        guard unsafe access(credentialsFile, F_OK) == 0 else { return }
        let settings = Dictionary(
            try YAML.flatten(Files.read(credentialsFile), file: credentialsFile).map { ($0.key, $0.value) }
        ) { $1 }
        guard settings["server.endpoint_url"] != endpoint, let id = settings["credentials.access_key_id"],
            let secret = settings["credentials.secret_access_key"]
        else { return }
        try write(
            Credentials(accessKeyID: id, secretAccessKey: secret, userName: "", issued: .now()), endpoint: endpoint)
    }

    /// Writes the key pair as lakectl's configuration file.
    func write(_ credentials: Credentials, endpoint: String) throws {
        let text = """
            credentials:
                access_key_id: \(credentials.accessKeyID)
                secret_access_key: \(credentials.secretAccessKey)
            server:
                endpoint_url: \(endpoint)

            """
        try Files.write(Array(text.utf8), to: credentialsFile, mode: 0o600)
    }
}

/// A file that one process holds (flock(2)), until it ends or lets go.
final class FileLock: Sendable {
    private let descriptor: Int32

    /// - Parameter what: what the file stands for, for the one who does not get it.
    /// - Throws: `.unavailable` if another process holds it, or it cannot be made.
    init(_ path: String, what: String) throws {
        descriptor = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw LakeError(.unavailable, unsafe "cannot write \(path): \(String(cString: strerror(errno)))")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw LakeError(.unavailable, "\(what) is in use by another lakefuse: stop it, or choose another one")
        }
    }

    deinit { close(descriptor) }
}
