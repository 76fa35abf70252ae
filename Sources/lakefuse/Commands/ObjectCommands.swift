import Foundations
import Glibc
import LakeAPI
import Transport
import Versioning

extension Command {
    private static func show(_ item: API.ObjectStats) {
        let size = item.sizeBytes ?? 0
        Output.line(
            "Path: \(item.path)\nModified Time: \(Output.time(item.mtime))\nSize: \(size) bytes\nHuman Size: \(Output.humanSize(size))\nPhysical Address: \(item.physicalAddress)\nChecksum: \(item.checksum)\nContent-Type: \(item.contentType ?? "")"
        )
        if let metadata = item.metadata, !metadata.isEmpty {
            Output.line(
                "Metadata:\n"
                    + metadata.sorted { $0.key < $1.key }.map { "\t\($0.key): \($0.value)" }.joined(separator: "\n"))
        }
    }

    private static func isFolder(_ path: String) -> Bool {
        var info = stat()
        return unsafe stat(path, &info) == 0 && info.st_mode & S_IFMT == S_IFDIR
    }

    /// What everything under a path begins with: `data` is a folder, or an object, and `data2` neither.
    private static func prefix(under path: String) -> String { path.isEmpty || path.hasSuffix("/") ? path : path + "/" }

    private static func failure(_ path: String) -> LakeError {
        LakeError(.invalidValue, unsafe "open \(path): \(String(cString: strerror(errno)).lowercased())")
    }

    /// Sends a file; `-` is standard input.
    private static func upload(
        _ file: String, to uri: LakeURI, path: String, contentType: String?, _ client: LakeClient
    ) throws -> API.ObjectStats {
        let parts = ["repositories", uri.repository, "branches", try uri.requireRef(), "objects"]
        let headers = [("Content-Type", contentType ?? "application/octet-stream")]
        if file == "-" {
            var bytes: [UInt8] = []
            var piece = [UInt8](repeating: 0, count: 65536)
            while true {
                let count = unsafe Glibc.read(0, &piece, piece.count)
                guard count > 0 else { break }
                bytes += piece[..<count]
            }
            return unsafe try Coding.decode(
                API.ObjectStats.self,
                client.send("POST", parts, [("path", path)], headers: headers, body: .bytes(bytes)).body)
        }
        let descriptor = unsafe open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure(file) }
        defer { close(descriptor) }
        var info = stat()
        guard unsafe fstat(descriptor, &info) == 0, info.st_mode & S_IFMT == S_IFREG else {
            throw LakeError(.invalidValue, "\(file) is no regular file: pass -r for a folder")
        }
        let body = unsafe HTTPClient.Body.stream(byteCount: Int64(info.st_size)) { buffer in
            unsafe max(0, Glibc.read(descriptor, buffer.baseAddress, buffer.count))
        }
        return unsafe try Coding.decode(
            API.ObjectStats.self, client.send("POST", parts, [("path", path)], headers: headers, body: body).body)
    }

    /// Files under a folder, their paths below it.
    private static func files(under folder: String, _ below: String = "") throws -> [String] {
        var found: [String] = []
        for name in try Folder.names(of: folder + "/" + below) {
            let path = below.isEmpty ? name : below + "/" + name
            if isFolder(folder + "/" + path) { found += try files(under: folder, path) } else { found.append(path) }
        }
        return found.sorted()
    }

    /// Receives an object into a file, whole or not at all.
    private static func download(_ uri: LakeURI, _ path: String, to file: String, _ client: LakeClient) throws {
        let temporary = file + ".part"
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw failure(file) }
        do {
            try receive(uri, path, into: descriptor, client)
            close(descriptor)
        } catch {
            close(descriptor)
            unsafe unlink(temporary)
            throw error
        }
        guard unsafe rename(temporary, file) == 0 else { throw failure(file) }
        Output.line("download: lakefs://\(uri.repository)/\(uri.ref ?? "")/\(path) to \(Files.absolute(file))")
    }

    private static func receive(_ uri: LakeURI, _ path: String, into descriptor: Int32, _ client: LakeClient) throws {
        var error: [UInt8] = []
        do {
            unsafe try client.send(
                "GET", ["repositories", uri.repository, "refs", uri.requireRef(), "objects"], [("path", path)]
            ) { status, piece in
                guard status == 200 else {
                    unsafe error.append(contentsOf: piece)
                    return true
                }
                var done = 0
                while done < piece.count {
                    let count = unsafe Glibc.write(descriptor, piece.baseAddress! + done, piece.count - done)
                    guard count > 0 else { return false }
                    done += count
                }
                return true
            }
        } catch let failure as LakeClientError {
            throw LakeClientError(
                status: failure.status,
                message: (try? Coding.decode(API.Error.self, error))?.message ?? failure.message)
        }
    }

    static let recursive = Flag(name: "recursive", short: "r", description: "everything under the path")

    static let objectCommands: [Command] = [
        Command(
            path: ["fs", "ls"], arguments: ["<path URI>"], summary: "List objects under a path", flags: [recursive]
        ) { invocation in
            let uri = try invocation.uri(0)
            let (ref, path) = try uri.requirePath()
            let query: [(String, String?)] = [("prefix", path), ("delimiter", invocation.has("recursive") ? nil : "/")]
            for item in try invocation.client.list(
                API.ObjectStats.self, ["repositories", uri.repository, "refs", ref, "objects", "ls"], query,
                amount: .max
            ).items {
                let isObject = item.pathType == "object"
                Output.line(
                    item.pathType.padding(16) + (isObject ? Output.time(item.mtime) : "").padding(33)
                        + (isObject ? Output.humanSize(item.sizeBytes ?? 0) : "").padding(16) + item.path)
            }
        },
        Command(path: ["fs", "cat"], arguments: ["<path URI>"], summary: "Write an object to standard output") {
            invocation in
            let uri = try invocation.uri(0)
            try receive(uri, uri.requirePath().path, into: 1, invocation.client)
        },
        Command(
            path: ["fs", "stat"], arguments: ["<path URI>"], summary: "Show an object's size, checksum and metadata"
        ) { invocation in
            let uri = try invocation.uri(0)
            let (ref, path) = try uri.requirePath()
            show(
                try invocation.client.get(
                    API.ObjectStats.self, ["repositories", uri.repository, "refs", ref, "objects", "stat"],
                    [("path", path)]
                ))
        },
        Command(
            path: ["fs", "upload"], arguments: ["<path URI>"], summary: "Upload a file, or a folder with -r",
            flags: [
                Flag(name: "source", short: "s", value: "FILE", description: "the file or folder; - is standard input"),
                recursive, Flag(name: "content-type", value: "TYPE", description: "the object's type"),
            ]
        ) { invocation in
            let uri = try invocation.uri(0)
            let (_, path) = try uri.requirePath()
            let client = try invocation.client
            guard let source = invocation.value("source") else {
                throw UsageError("required flag(s) \"source\" not set")
            }
            guard invocation.has("recursive") else {
                return show(
                    try upload(source, to: uri, path: path, contentType: invocation.value("content-type"), client))
            }
            let prefix = prefix(under: path)
            for file in try files(under: source) {
                _ = try upload(
                    source + "/" + file, to: uri, path: prefix + file, contentType: invocation.value("content-type"),
                    client)
                Output.line("upload \(file) ... done!")
            }
        },
        Command(
            path: ["fs", "download"], arguments: ["<path URI>", "<file>"], optional: 1,
            summary: "Download an object, or a folder with -r", flags: [recursive]
        ) { invocation in
            let uri = try invocation.uri(0)
            let (ref, path) = try uri.requirePath()
            let client = try invocation.client
            guard invocation.has("recursive") else {
                let name = path.split(separator: "/").last.map(String.init) ?? path
                let target = invocation.arguments.count > 1 ? invocation.arguments[1] : name
                return try download(uri, path, to: isFolder(target) ? target + "/" + name : target, client)
            }
            let folder = invocation.arguments.count > 1 ? invocation.arguments[1] : "."
            try Files.makeFolder(folder)
            let start = prefix(under: path)
            for item in try client.list(
                API.ObjectStats.self, ["repositories", uri.repository, "refs", ref, "objects", "ls"],
                [("prefix", start)],
                amount: .max
            ).items where !item.path.hasSuffix("/") {
                let relative = item.path.dropFirst(start.count).drop { $0 == "/" }
                guard !relative.split(separator: "/").contains("..") else {
                    throw LakeError(.invalidValue, "object '\(item.path)' would be written outside \(folder)")
                }
                if let slash = relative.lastIndex(of: "/") { try Files.makeFolder(folder + "/" + relative[..<slash]) }
                try download(uri, item.path, to: folder + "/" + relative, client)
            }
        },
        Command(
            path: ["fs", "rm"], arguments: ["<path URI>"],
            summary: "Remove an object, or everything under a path with -r", flags: [recursive]
        ) { invocation in
            let uri = try invocation.uri(0)
            let (ref, path) = try uri.requirePath()
            let client = try invocation.client
            guard invocation.has("recursive") else {
                unsafe try client.send(
                    "DELETE", ["repositories", uri.repository, "branches", ref, "objects"], [("path", path)])
                return
            }
            if !path.isEmpty && !path.hasSuffix("/") {
                unsafe try client.send(
                    "DELETE", ["repositories", uri.repository, "branches", ref, "objects"], [("path", path)])
            }
            while true {
                let found = try client.list(
                    API.ObjectStats.self, ["repositories", uri.repository, "refs", ref, "objects", "ls"],
                    [("prefix", prefix(under: path))], amount: 1000)
                guard !found.items.isEmpty else { return }
                let answer = try client.post(
                    ["repositories", uri.repository, "branches", ref, "objects", "delete"],
                    API.PathList(paths: found.items.map(\.path)))
                if let error = try Coding.decode(API.ObjectErrorList.self, answer).errors.first {
                    throw LakeClientError(status: error.statusCode, message: "\(error.path ?? ""): \(error.message)")
                }
            }
        },
    ]
}
