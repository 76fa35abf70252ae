import Foundations
import Glibc
import LakeAPI
import LakeFUSE
import Versioning

/// A file of a folder on this machine.
struct LocalFile: Sendable {
    /// Below the folder, with slashes.
    let path: String
    let size: Int64
    /// Whole seconds.
    let modified: Int64
    let mode: UInt32, owner: UInt32, group: UInt32
    /// What a symbolic link leads to, where links are told as such.
    var target: String?

    /// What is kept of it, as mounts know it too.
    var attributes: Attributes {
        var attributes = Attributes()
        attributes.modified = Timestamp(seconds: modified)
        (attributes.mode, attributes.owner, attributes.group) = (mode & 0o7777, owner, group)
        attributes.target = target.map { Array($0.utf8) }
        return attributes
    }

    /// What is kept of it beside its bytes.
    /// - Parameter posix: whether its owner and permissions are.
    func metadata(posix: Bool) -> [String: String] {
        var told = attributes
        if !posix { (told.mode, told.owner, told.group) = (nil, nil, nil) }
        var metadata = Metadata()
        told.write(into: &metadata, isFolder: false, tellsAll: posix)
        return metadata.dictionary
    }
}

/// The files of a folder in the order of an object store's listings: byte by byte, with `/` a byte as any other. As much
/// is in memory as the folders hold that lead to the current file.
struct LocalWalk {
    /// The file that says what a folder is linked to.
    static let reference = ".lakefs_ref.yaml"

    /// Whether a path is that of a file that is half-received.
    static func isPart(_ path: String) -> Bool {
        let name = path.utf8.split(separator: 0x2f).last.map { String(Substring($0)) } ?? ""
        return name.hasPrefix(".lakefuse-") && name.hasSuffix(".part")
    }

    /// Whether a path is that of a file of this program's own, which is no part of the data.
    static func isOwn(_ path: String) -> Bool {
        path.utf8.elementsEqual(reference.utf8) || path.utf8.elementsEqual((reference + ".new").utf8) || isPart(path)
    }

    private static let mostLevels = 512

    private struct Level {
        let path: String
        var names: [(bytes: [UInt8], isFolder: Bool)]
        var position = 0
    }
    private let root: String
    private let followsLinks: Bool
    private let tellsLinks: Bool
    private let skipsOthers: Bool
    private var levels: [Level] = []

    /// - Parameters:
    ///   - followsLinks: whether a symbolic link stands for what it leads to.
    ///   - tellsLinks: whether links are told as such.
    ///   - skipsOthers: whether what is neither file nor folder is passed over; else it is an error.
    init(_ root: String, followsLinks: Bool = false, tellsLinks: Bool = false, skipsOthers: Bool = false) {
        self.root = root.hasSuffix("/") && root.count > 1 ? String(root.dropLast()) : root
        (self.followsLinks, self.tellsLinks, self.skipsOthers) = (followsLinks, tellsLinks, skipsOthers)
    }

    private var isBegun = false

    mutating func next() throws -> LocalFile? {
        if !isBegun {
            isBegun = true
            levels = [try level("")]
        }
        while let last = levels.indices.last {
            guard levels[last].position < levels[last].names.count else {
                levels.removeLast()
                continue
            }
            let (bytes, isFolder) = levels[last].names[levels[last].position]
            levels[last].position += 1
            guard let name = String(validating: isFolder ? bytes.dropLast() : bytes[...], as: UTF8.self) else {
                throw CommandError(
                    "\(root)/\(levels[last].path): the name \(String(decoding: bytes, as: UTF8.self)) is no UTF-8: objects cannot have it over REST"
                )
            }
            let path = levels[last].path.isEmpty ? name : levels[last].path + "/" + name
            if isFolder {
                guard levels.count < Self.mostLevels else {
                    throw CommandError("\(root)/\(path.prefix(200))… is too deep: a link may lead round")
                }
                levels.append(try level(path))
                continue
            }
            if Self.isOwn(path) { continue }
            if let file = try file(path) { return file }
        }
        return nil
    }

    private func file(_ path: String) throws -> LocalFile? {
        let whole = root + "/" + path
        var info = stat()
        guard unsafe (followsLinks ? stat(whole, &info) : lstat(whole, &info)) == 0 else {
            if errno == ENOENT { return nil }
            throw CommandError(unsafe "\(whole): \(String(cString: strerror(errno)))")
        }
        var target: String?
        switch info.st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFLNK where tellsLinks:
            var bytes = [UInt8](repeating: 0, count: 4096)
            let count = unsafe readlink(whole, &bytes, bytes.count)
            guard count >= 0 else { throw CommandError(unsafe "\(whole): \(String(cString: strerror(errno)))") }
            target = String(decoding: bytes[..<count], as: UTF8.self)
        default:
            if skipsOthers { return nil }
            throw CommandError(
                "\(whole) is no regular file",
                hint: "local.skip_non_regular_files passes over such, local.symlink_support keeps links")
        }
        return LocalFile(
            path: path, size: target == nil ? Int64(info.st_size) : 0, modified: Int64(info.st_mtim.tv_sec),
            mode: UInt32(info.st_mode), owner: info.st_uid, group: info.st_gid, target: target)
    }

    private func level(_ path: String) throws -> Level {
        let whole = path.isEmpty ? root : root + "/" + path
        let entries: [Folder.Entry]
        do { entries = try Folder.entries(of: whole) } catch {
            // What the system said last is why.
            throw CommandError(unsafe "\(whole): \(String(cString: strerror(errno)).lowercased())")
        }
        var names = entries.map { entry -> (bytes: [UInt8], isFolder: Bool) in
            let leadsToFolder =
                followsLinks && entry.isLink
                && FileStatus(path: whole + "/" + String(decoding: entry.name, as: UTF8.self))?.isFolder == true
            // What lies in a folder has the slash between.
            return entry.isFolder || leadsToFolder ? (entry.name + [0x2f], true) : (entry.name, false)
        }
        names.sort { $0.bytes.lexicographicallyPrecedes($1.bytes) }
        return Level(path: path, names: names)
    }
}

/// An object that cannot be a file where it would be one, for its name or what is there.
struct NoPlace: Error {
    let object: String
    let reason: String
}

/// Places below a folder that objects are written to: never outside of it, whatever they are called.
final class LocalPlaces: Sendable {
    private let root: String
    /// Folders that were looked at, or made.
    private let folders = ReadWriteLock<Set<[UInt8]>>([])

    init(_ root: String) { self.root = root.hasSuffix("/") ? String(root.dropLast()) : root }

    /// The names that a path is made of: at bytes, since a slash with a mark on it is another character.
    /// - Throws: `NoPlace` for what would lead elsewhere, or is this program's own.
    private func parts(_ path: String) throws -> [String] {
        let parts = path.utf8.split(separator: 0x2f, omittingEmptySubsequences: false).map { String(Substring($0)) }
        let isPath = parts.allSatisfy { part in
            ![".", "..", ""].contains { $0.utf8.elementsEqual(part.utf8) } && !part.utf8.contains(0)
                && part.utf8.count <= 255
        }
        guard isPath, !LocalWalk.isPart(path) else {
            throw NoPlace(object: path, reason: "its name is none that a file can have")
        }
        return parts
    }

    /// Where a file goes; the folders that it lies in are made.
    /// - Throws: `NoPlace` for a name that leads elsewhere, below a file, or to a folder.
    func file(_ path: String) throws -> String {
        var place = root
        for part in try parts(path).dropLast() {
            place += "/" + part
            let bytes = Array(place.utf8)
            guard !folders.read({ $0.contains(bytes) }) else { continue }
            guard unsafe try isFolder(place, path) || mkdir(place, 0o755) == 0 || errno == EEXIST else {
                throw CommandError(unsafe "mkdir \(place): \(String(cString: strerror(errno)).lowercased())")
            }
            folders.write { _ = $0.insert(bytes) }
        }
        let file = root + "/" + path
        try requireNoFolder(file, path)
        return file
    }

    /// - Throws: `NoPlace` if there is a folder where a file is to be.
    func requireNoFolder(_ file: String, _ path: String) throws {
        var info = stat()
        guard unsafe lstat(file, &info) == 0, info.st_mode & S_IFMT == S_IFDIR else { return }
        throw NoPlace(object: path, reason: "\(file) is a folder")
    }

    /// Whether there is a folder, and no link to one; false if there is nothing.
    private func isFolder(_ place: String, _ path: String) throws -> Bool {
        var info = stat()
        guard unsafe lstat(place, &info) == 0 else { return false }
        guard info.st_mode & S_IFMT == S_IFDIR else {
            throw NoPlace(object: path, reason: "\(place) is no folder")
        }
        return true
    }

    /// Removes a file, and the folders that are empty then. Not while others are made.
    func remove(_ path: String) throws {
        var above = try parts(path).dropLast()
        var place = root
        for part in above {
            place += "/" + part
            guard try isFolder(place, path) else { return }
        }
        let file = root + "/" + path
        guard unsafe unlink(file) == 0 || errno == ENOENT else {
            throw CommandError(unsafe "remove \(file): \(String(cString: strerror(errno)).lowercased())")
        }
        while !above.isEmpty {
            guard unsafe rmdir(root + "/" + above.joined(separator: "/")) == 0 else { return }
            above.removeLast()
        }
    }
}
