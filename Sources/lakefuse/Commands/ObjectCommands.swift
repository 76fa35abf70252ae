import Foundations
import Glibc
import LakeAPI
import Synchronization

extension Command {
    private static func show(_ item: API.ObjectStats) {
        let size = item.sizeBytes ?? 0
        Output.line(
            "Path: \(Output.name(item.path))\nModified Time: \(Output.time(item.mtime))\nSize: \(size) bytes\nHuman Size: \(Output.humanSize(size))\nPhysical Address: \(item.physicalAddress)\nChecksum: \(item.checksum)\nContent-Type: \(item.contentType ?? "")"
        )
        if let metadata = item.metadata, !metadata.isEmpty {
            Output.line(
                "Metadata:\n\t\n"
                    + metadata.sorted { $0.key < $1.key }.map { "\t\($0.key.padding(18)) = \($0.value)" }.joined(
                        separator: "\n"))
        }
    }

    /// What everything under a path begins with: `data` is a folder, or an object, and `data2` neither.
    private static func prefix(under path: String) -> String { path.isEmpty || path.hasSuffix("/") ? path : path + "/" }

    private static func list(_ invocation: Invocation) throws {
        let (_, repository, ref, path) = try invocation.path()
        let isRecursive = invocation.has("recursive")
        // Names below the folder that is listed are told without it.
        let skipped = isRecursive ? 0 : path.lastIndex(of: "/").map { path[...$0].utf8.count } ?? 0
        var json = Output.JSONList(invocation)
        try invocation.client.pages(
            API.ObjectStats.self, ["repositories", repository, "refs", ref, "objects", "ls"],
            [
                ("prefix", path), ("delimiter", isRecursive ? nil : "/"),
                ("user_metadata", invocation.isJSON ? nil : "false"),
            ]
        ) { page in
            var text = ""
            for item in page where !json.takes(item) {
                let isObject = item.pathType == "object"
                text += item.pathType.padding(16) + (isObject ? Output.time(item.mtime) : "").padding(33)
                text += (isObject ? Output.humanSize(item.sizeBytes ?? 0) : "").padding(16)
                text += Output.name(String(decoding: Array(item.path.utf8.dropFirst(skipped)), as: UTF8.self)) + "\n"
            }
            Output.write(text)
            return true
        }
        json.end()
    }

    private static func uploadFolder(_ invocation: Invocation, _ transfers: Transfers, _ source: String) throws {
        let (uri, _, _, path) = try invocation.path()
        let prefix = prefix(under: path)
        guard FileStatus(path: source)?.isFolder == true else {
            throw CommandError(
                unsafe "open \(source): \(FileStatus(path: source) == nil ? String(cString: strerror(errno)).lowercased() : "not a directory")"
            )
        }
        Output.line("\ndiff 'local://\(source.hasSuffix("/") ? source : source + "/")' <--> '\(uri.description)'...")
        // What is there already as it is here is not sent again.
        let remote = RemoteListing(transfers, prefix: prefix)
        var walker = LocalWalk(source, followsLinks: true)
        var changed: [LocalFile] = []
        try LocalDiff.each(&walker, remote) { change in
            if change.kind != .removed, let file = change.local { changed.append(file) }
        }
        let progress = Progress(
            "upload", things: changed.count, bytes: changed.reduce(0) { $0 + $1.size },
            isShown: !invocation.has("no-progress"))
        defer { progress.end() }
        try transfers.each(changed) { file in
            _ = try transfers.upload(
                source + "/" + file.path, to: prefix + file.path, contentType: invocation.value("content-type"),
                metadata: file.metadata(posix: false), progress)
            progress.add(things: 1)
            return "upload \(Output.name(file.path))".padding(40) + " ... done!"
        }
        TransferSummary(uploaded: changed.count).write("Upload")
    }

    private static func downloadFolder(_ invocation: Invocation, _ transfers: Transfers, _ path: String) throws {
        let prefix = prefix(under: path)
        let folder = invocation.arguments.count > 1 ? invocation.arguments[1] : "."
        try Files.makeFolder(folder)
        let places = LocalPlaces(folder)
        let progress = Progress("download", isShown: !invocation.has("no-progress"))
        defer { progress.end() }
        let count = Atomic<Int>(0)
        let left = Atomic<Int>(0)
        let items = RemoteSequence(RemoteListing(transfers, prefix: prefix))
        try transfers.each(items) { item in
            let relative = item.relative
            do {
                let file = try places.file(relative)
                // One that is here already, from an earlier try, stays.
                if !LocalDiff.isSame(file, item) {
                    do { try transfers.download(item.path, item.stats, to: file, progress) } catch {
                        // An object below it may have come meanwhile.
                        try places.requireNoFolder(file, relative)
                        throw error
                    }
                }
            } catch let error as NoPlace {
                left.add(1, ordering: .relaxed)
                Output.note(Failure(error).message)
                return nil
            }
            count.add(1, ordering: .relaxed)
            progress.add(things: 1)
            return "download \(Output.name(relative)) ... done!"
        }
        if let problem = items.problem { throw problem }
        TransferSummary(downloaded: count.load(ordering: .relaxed)).write("Download")
        let missing = left.load(ordering: .relaxed)
        guard missing == 0 else {
            throw CommandError(
                "\(missing) of the objects cannot be files here", hint: "'lakefuse fs cat' reads what is in them")
        }
    }

    static let objectCommands: [Command] = [
        Command(
            path: ["fs", "ls"], arguments: ["<path URI>"], takes: 1...1, summary: "List entries under a given tree",
            example: "lakectl fs ls lakefs://demo/main/",
            flags: [Flag(name: "recursive", short: "r", description: "list all objects under the specified path")],
            isLakectl: true
        ) { try list($0) },
        Command(
            path: ["fs", "cat"], arguments: ["<path URI>"], takes: 1...1, summary: "Dump content of object to stdout",
            example: "lakectl fs cat lakefs://demo/main/README.md", flags: [.preSign], isLakectl: true
        ) { invocation in
            let (_, repository, ref, path) = try invocation.path()
            unsafe try Transfers(invocation, repository: repository, ref: ref).read(path, nil) {
                unsafe Output.write(Array($0))
            }
        },
        Command(
            path: ["fs", "stat"], arguments: ["<path URI>"], takes: 1...1, summary: "View object metadata",
            example: "lakectl fs stat lakefs://demo/main/README.md", flags: [.preSign], isLakectl: true
        ) { invocation in
            let (_, repository, ref, path) = try invocation.path()
            let client = try invocation.client
            let isPresigned = try Transfers.presigns(invocation, client)
            let found = try client.get(
                API.ObjectStats.self, ["repositories", repository, "refs", ref, "objects", "stat"],
                [("path", path), ("presign", isPresigned ? "true" : nil), ("user_metadata", "true")])
            if invocation.isJSON { return Output.json(found) }
            show(found)
        },
        Command(
            path: ["fs", "presign"], arguments: ["<path URI>"], takes: 1...1,
            summary: "return a pre-signed URL for reading the specified object",
            example: "lakectl fs presign lakefs://demo/main/README.md", isLakectl: true
        ) { invocation in
            let (_, repository, ref, path) = try invocation.path()
            let client = try invocation.client
            let config = try client.get(API.Config.self, ["config"])
            guard config.storageConfig?.preSignSupport == true else {
                throw CommandError("Pre-signed URL support is currently disabled for this lakeFS server")
            }
            Output.line(
                try client.get(
                    API.ObjectStats.self, ["repositories", repository, "refs", ref, "objects", "stat"],
                    [("path", path), ("presign", "true")]
                ).physicalAddress)
        },
        Command(
            path: ["fs", "upload"], arguments: ["<path URI>"], takes: 1...1,
            summary: "Upload a local file to the specified URI",
            example: "lakectl fs upload lakefs://demo/dev/data/ --source data --recursive",
            flags: [
                .contentType, .noProgress, .parallelism, .preSign,
                Flag(name: "recursive", short: "r", description: "recursively copy all files under local source"),
                .required(
                    Flag(
                        name: "source", short: "s", value: "string",
                        description: "local file to upload, or \"-\" for stdin")),
            ], isLakectl: true
        ) { invocation in
            let (_, repository, ref, path) = try invocation.path()
            HalfWritten.watch()
            let transfers = try Transfers(invocation, repository: repository, ref: ref)
            let source = invocation.value("source")!
            if invocation.has("recursive") { return try uploadFolder(invocation, transfers, source) }
            let size = FileStatus(path: source)?.size
            let progress = Progress(
                "upload", things: 1, bytes: size, isShown: !invocation.has("no-progress") && (size ?? .max) > 1 << 20)
            defer { progress.end() }
            let made = try transfers.upload(
                source, to: path, contentType: invocation.value("content-type"), progress)
            if invocation.isJSON { return Output.json(made) }
            show(made)
        },
        Command(
            path: ["fs", "download"], arguments: ["<path URI> [<destination path>]"], takes: 1...2,
            summary: "Download object(s) from a given repository path",
            example: "lakectl fs download lakefs://demo/main/ copy --recursive",
            flags: [
                .noProgress, .parallelism,
                Flag(
                    name: "part-size", value: "int", standard: "8388608",
                    description: "part size in bytes for multipart download"), .preSign,
                Flag(name: "recursive", short: "r", description: "recursively download all objects under path"),
            ], isLakectl: true
        ) { invocation in
            let (uri, repository, ref, path) = try invocation.path()
            HalfWritten.watch()
            let transfers = try Transfers(invocation, repository: repository, ref: ref)
            if invocation.has("recursive") { return try downloadFolder(invocation, transfers, path) }
            let name = path.split(separator: "/").last.map(String.init) ?? path
            var target = invocation.arguments.count > 1 ? invocation.arguments[1] : name
            if FileStatus(path: target)?.isFolder == true { target += (target.hasSuffix("/") ? "" : "/") + name }
            let progress = Progress("download", isShown: !invocation.has("no-progress"))
            defer { progress.end() }
            try transfers.download(path, to: target, progress)
            Output.line("download: \(uri.description) to \(Files.absolute(target))")
        },
        Command(
            path: ["fs", "rm"], arguments: ["<path URI>"], takes: 1...1, summary: "Delete object",
            example: "lakectl fs rm lakefs://demo/dev/data/ --recursive",
            flags: [
                Flag(
                    name: "concurrency", short: "C", value: "int", standard: "50",
                    description: "max concurrent single delete operations to send to the lakeFS server"),
                Flag(
                    name: "recursive", short: "r",
                    description: "recursively delete all objects under the specified path"),
            ], isLakectl: true
        ) { invocation in
            let (_, repository, branch, path) = try invocation.path()
            let client = try invocation.client
            let parts = ["repositories", repository, "branches", branch, "objects"]
            guard invocation.has("recursive") else {
                unsafe try client.send("DELETE", parts, [("path", path)])
                return
            }
            if !path.isEmpty, !path.hasSuffix("/") { unsafe try client.send("DELETE", parts, [("path", path)]) }
            let transfers = try Transfers(invocation, repository: repository, ref: branch)
            let progress = Progress("remove")
            defer { progress.end() }
            try client.pages(
                API.ObjectStats.self, ["repositories", repository, "refs", branch, "objects", "ls"],
                [("prefix", prefix(under: path)), ("user_metadata", "false")]
            ) { page in
                try transfers.remove(page.map(\.path), isIn: branch)
                progress.add(things: page.count)
                return true
            }
        },
        Command(
            path: ["fs", "stage"], arguments: ["<path URI>"], takes: 1...1,
            summary: "Link an external object with a path in a repository, creating an uncommitted change.",
            example:
                "lakectl fs stage lakefs://demo/dev/big.csv --location s3://bucket/big.csv --size 1000 --checksum 0123456789abcdef",
            flags: [
                .required(
                    Flag(name: "checksum", value: "string", description: "Object MD5 checksum as a hexadecimal string")),
                .contentType,
                .required(
                    Flag(
                        name: "location", value: "string",
                        description: "fully qualified storage location (i.e. \"s3://bucket/path/to/object\")")),
                Flag(
                    name: "meta", value: "strings", description: "key value pairs in the form of key=value",
                    repeats: true),
                Flag(
                    name: "mtime", value: "int",
                    description: "Object modified time (Unix Epoch in seconds). Defaults to current time"),
                .required(Flag(name: "size", value: "int", description: "Object size in bytes")),
            ], isHidden: true, isLakectl: true
        ) { invocation in
            let (_, repository, branch, path) = try invocation.path()
            let metadata = try invocation.metadata()
            let made = try invocation.client.post(
                ["repositories", repository, "branches", branch, "objects"], query: [("path", path)],
                API.ObjectStageCreation(
                    physicalAddress: invocation.value("location")!, checksum: invocation.value("checksum")!,
                    sizeBytes: Int64(try invocation.number("size")),
                    mtime: invocation.isGiven("mtime") ? Int64(try invocation.number("mtime")) : nil,
                    metadata: metadata.isEmpty ? nil : metadata, contentType: invocation.value("content-type")),
                method: "PUT")
            show(try Coding.decode(API.ObjectStats.self, made))
        },
        Command(
            path: ["fs", "update-metadata"], arguments: ["<path URI>"], takes: 1...1,
            summary: "Update user metadata on the specified URI",
            example: "lakectl fs update-metadata lakefs://demo/dev/README.md --metadata owner=me",
            flags: [
                .required(
                    Flag(
                        name: "metadata", value: "strings",
                        description: "Metadata to set, in the form key1=value1,key2=value2", repeats: true))
            ], isHidden: true, isLakectl: true
        ) { invocation in
            let (_, repository, branch, path) = try invocation.path()
            try invocation.client.post(
                ["repositories", repository, "branches", branch, "objects", "stat", "user_metadata"],
                query: [("path", path)], API.UpdateObjectUserMetadata(set: try invocation.metadata("metadata")),
                method: "PUT")
        },
    ]
}
