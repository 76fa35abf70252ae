import CLinux
import Foundations
import Glibc
import LakeAPI
import Synchronization
import Transport
import Versioning

/// Sends and receives objects of one ref. Nothing half-written is ever under its final name, and what has come is held
/// against the object's checksum. Safe from any thread.
struct Transfers: Sendable {
    let client: LakeClient
    /// For the bytes of objects: a connection over which nothing comes for a minute is lost.
    private let carrier: LakeClient
    let repository: String
    let ref: String
    /// Whether bytes go between this machine and the store, past the server.
    let isPresigned: Bool
    /// How much is under way at once.
    let width: Int
    /// Objects that are larger come in parts, several at once.
    var partSize: Int64 = 8 << 20

    init(_ invocation: Invocation, repository: String, ref: String) throws {
        let settings = try ClientSettings(invocation)
        client = settings.client()
        carrier = settings.client(stallSeconds: 60)
        (self.repository, self.ref) = (repository, ref)
        let asked = invocation.isGiven("parallelism") ? try invocation.number("parallelism") : nil
        width = max(1, min(100, asked ?? settings.number("options.parallelism") ?? 25))
        isPresigned = try Self.presigns(invocation, client)
        if let size = invocation.value("part-size").flatMap({ Int64($0) }) { partSize = max(1 << 20, size) }
    }

    /// Whether addresses are signed for clients: they want it, and the server's store can. Where objects are the server's own
    /// files the bytes pass it anyhow: then it is done if it was asked for in words.
    static func presigns(_ invocation: Invocation, _ client: LakeClient) throws -> Bool {
        guard invocation.has("pre-sign") else { return false }
        let config: API.Config
        // An older server tells it elsewhere, or not at all.
        do { config = try client.get(API.Config.self, ["config"]) } catch let error as LakeClientError
            where error.status != 401
        { return false }
        let stores = (config.storageConfig.map { [$0] } ?? []) + (config.storageConfigList ?? [])
        return stores.contains { store in
            store.preSignSupport
                && (invocation.isGiven("pre-sign") || !["local", "mem"].contains(store.blockstoreType))
        }
    }

    private let addresses = SignedAddresses()

    private var refParts: [String] { ["repositories", repository, "refs", ref, "objects"] }
    private var branchParts: [String] { ["repositories", repository, "branches", ref, "objects"] }

    func stat(_ path: String) throws -> API.ObjectStats {
        try client.get(API.ObjectStats.self, refParts + ["stat"], [("path", path), ("user_metadata", "true")])
    }

    // MARK: upload

    /// A file as it is sent, which tells how that ended, and what its bytes hash to. Used by one thread.
    private final class Source {
        private var hash = Hash(.md5)
        private var position: Int64 = 0
        private var failure: Int32 = 0
        private let descriptor: Int32
        private let byteCount: Int64?
        private let progress: Progress?

        /// - Parameter byteCount: nil for what cannot be read twice, to its end.
        init(_ descriptor: Int32, byteCount: Int64?, _ progress: Progress?) {
            (self.descriptor, self.byteCount, self.progress) = (descriptor, byteCount, progress)
        }

        func read(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
            let wanted = byteCount.map { Int(min(Int64(buffer.count), $0 - position)) } ?? buffer.count
            guard wanted > 0 else { return 0 }
            var count = 0
            if byteCount == nil {
                count = unsafe Glibc.read(descriptor, buffer.baseAddress, wanted)
            } else {
                count = unsafe pread(descriptor, buffer.baseAddress, wanted, off_t(position))
            }
            guard count > 0 else {
                if count == 0, byteCount == nil {
                    // Who wrote it may have been ended by the very signal that ends this program: then it is not whole.
                    sleep(milliseconds: 50)
                    return 0
                }
                failure = count < 0 ? errno : EIO
                // Nothing is the end to who sends: what is cut must not look whole (CURL_READFUNC_ABORT).
                return 0x1000_0000
            }
            unsafe hash.update(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[..<count]))
            position += Int64(count)
            progress?.add(bytes: Int64(count))
            return count
        }

        /// - Returns: the MD5 of what was read, in hex, and how much it was.
        /// - Throws: `CommandError` if not all could be.
        func end(_ file: String) throws -> (checksum: String, byteCount: Int64) {
            guard failure == 0 else { throw CommandError(Self.message("read", file, failure)) }
            return (Hex.text(hash.finish()), position)
        }

        static func message(_ what: String, _ file: String, _ number: Int32) -> String {
            unsafe "\(what) \(file): \(String(cString: strerror(number)).lowercased())"
        }
    }

    /// How often a file is sent again whose connection was lost.
    private static let mostTries = 3

    /// Sends a file; `-` is standard input.
    /// - Throws: `CommandError` if it cannot be read.
    func upload(
        _ file: String, to path: String, contentType: String? = nil, metadata: [String: String] = [:],
        _ progress: Progress? = nil
    ) throws -> API.ObjectStats {
        guard file != "-" else {
            return try send(0, byteCount: nil, file, path, contentType, metadata, progress)
        }
        let descriptor = unsafe Glibc.open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw CommandError(Source.message("open", file, errno)) }
        defer { close(descriptor) }
        var info = Glibc.stat()
        guard unsafe fstat(descriptor, &info) == 0 else {
            throw CommandError(Source.message("stat", file, errno))
        }
        guard info.st_mode & S_IFMT != S_IFDIR else {
            throw CommandError(
                "Post \"\(client.endpoint)/api/v1/\(branchParts.joined(separator: "/"))?path=\(URIEncoding.encode(path))\": read \(file): is a directory",
                hint: "-r uploads a folder")
        }
        let size = info.st_mode & S_IFMT == S_IFREG ? Int64(info.st_size) : nil
        for attempt in 1... {
            do {
                return try send(descriptor, byteCount: size, file, path, contentType, metadata, progress)
            } catch is TransportError where size != nil && attempt < Self.mostTries {
                sleep(milliseconds: 200 << attempt)
            }
        }
        preconditionFailure("tries have an end")
    }

    private func send(
        _ descriptor: Int32, byteCount: Int64?, _ file: String, _ path: String, _ contentType: String?,
        _ metadata: [String: String], _ progress: Progress?
    ) throws -> API.ObjectStats {
        let source = Source(descriptor, byteCount: byteCount, progress)
        let body =
            byteCount == 0
            ? HTTPClient.Body.bytes([])
            : unsafe HTTPClient.Body.stream(byteCount: byteCount ?? -1) { unsafe source.read($0) }
        let type = contentType ?? "application/octet-stream"
        if isPresigned, byteCount != nil {
            return try sendPresigned(source, body, file, path, type, metadata)
        }
        let answer: HTTPClient.Answer
        do {
            answer = unsafe try carrier.send(
                "POST", branchParts, [("path", path)], headers: [("Content-Type", type)], body: body)
        } catch {
            // Why the file could not be read says more than that the request was cut.
            _ = try source.end(file)
            throw error
        }
        let made = try Coding.decode(API.ObjectStats.self, answer.body)
        try check(source.end(file), against: made.checksum, path)
        if !metadata.isEmpty {
            try client.post(
                branchParts + ["stat", "user_metadata"], query: [("path", path)],
                API.UpdateObjectUserMetadata(set: metadata), method: "PUT")
        }
        return made
    }

    /// By an address that the server signs, and a record of it then. Source: lakeFS API, getPhysicalAddress.
    private func sendPresigned(
        _ source: Source, _ body: HTTPClient.Body, _ file: String, _ path: String, _ type: String,
        _ metadata: [String: String]
    ) throws -> API.ObjectStats {
        let parts = ["repositories", repository, "branches", ref, "staging", "backing"]
        let staging = try client.get(API.StagingLocation.self, parts, [("path", path), ("presign", "true")])
        guard let url = staging.presignedUrl else {
            throw CommandError("the server signs no address for \(path)", hint: "--pre-sign=false")
        }
        var headers = [("Content-Type", type)]
        if url.contains(".blob.core.") { headers.append(("x-ms-blob-type", "BlockBlob")) }
        let answer = try past("upload \(path)") {
            unsafe try carrier.http.send("PUT", url, headers: headers, body: body)
        }
        let read = try source.end(file)
        try check(read, against: (answer.header("etag") ?? "").filter { $0 != "\"" }, path)
        return try Coding.decode(
            API.ObjectStats.self,
            client.post(
                parts, query: [("path", path)],
                API.StagingMetadata(
                    staging: staging, checksum: (answer.header("etag") ?? read.checksum).filter { $0 != "\"" },
                    sizeBytes: read.byteCount, userMetadata: metadata.isEmpty ? nil : metadata, contentType: type),
                method: "PUT"))
    }

    /// A request to the store by a signed address: what it says of itself nobody is told, for it lets in.
    private func past(_ what: String, _ body: () throws -> HTTPClient.Answer) throws -> HTTPClient.Answer {
        let answer: HTTPClient.Answer
        do { answer = try body() } catch let error as TransportError {
            let words = error.words.isEmpty ? "the connection was lost" : error.words
            throw TransportError(description: "\(what): the store: \(words)", reason: error.reason, words: words)
        }
        guard (200..<300).contains(answer.status) else {
            throw LakeClientError(
                status: answer.status, message: "\(what) failed: the store answers \(answer.statusLine)")
        }
        return answer
    }

    /// Whether a checksum is the MD5 of an object's bytes: those of objects in parts, and of other stores, are others.
    static func isMD5(_ checksum: String) -> Bool {
        checksum.utf8.count == 32 && Hex.bytes(Array(checksum.utf8)) != nil
    }

    private func check(_ sent: (checksum: String, byteCount: Int64), against checksum: String, _ path: String) throws {
        guard Self.isMD5(checksum), checksum != sent.checksum else { return }
        throw CommandError("upload \(path): what the server has is not what was sent", hint: "try again")
    }

    // MARK: download

    /// Receives an object into a file, whole or not at all. What an earlier try has of it is taken on.
    /// - Parameter known: what is known of the object; it is asked for where nothing is.
    @discardableResult
    func download(
        _ path: String, _ known: API.ObjectStats? = nil, to file: String, _ progress: Progress? = nil
    ) throws -> API.ObjectStats {
        let stats: API.ObjectStats
        do { stats = try known ?? stat(path) } catch let error as LakeClientError where error.status == 404 {
            throw Self.failure(file, error)
        }
        let size = stats.sizeBytes ?? 0
        // A link stands for what it leads to; a device or a pipe is written to.
        var file = file
        if let whole = unsafe realpath(file, nil) {
            unsafe file = String(cString: whole)
            unsafe free(whole)
            if FileStatus(path: file)?.isRegular == false { return try stream(path, stats, to: file, progress) }
        }
        let slash = file.lastIndex(of: "/").map { file.index(after: $0) } ?? file.startIndex
        // Named by what it is of and for: another version begins anew, another file of the same has its own.
        let name = "\(stats.checksum) \(size) \(file[slash...])"
        let mark = Hex.text(Array(Hash.digest(.sha256, Array(name.utf8)).prefix(8)))
        let temporary = String(file[..<slash]) + ".lakefuse-\(mark).part"
        let descriptor = HalfWritten.open(temporary, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { throw CommandError(Source.message("open", file, errno)) }
        defer {
            close(descriptor)
            HalfWritten.forget(temporary)
        }
        do {
            try receive(path, size, stats.checksum, into: descriptor, progress)
            try check(descriptor, stats, path)
        } catch  where Self.isPassing(error) {
            // What has come is kept for the next try.
            throw error
        } catch {
            unsafe unlink(temporary)
            throw (error as? LakeClientError).map { Self.failure(file, $0) } ?? error
        }
        guard unsafe rename(temporary, file) == 0 else {
            let number = errno
            unsafe unlink(temporary)
            throw CommandError(Source.message("rename", file, number))
        }
        return stats
    }

    /// Writes an object to what is no file: as it comes.
    private func stream(_ path: String, _ stats: API.ObjectStats, to file: String, _ progress: Progress?) throws
        -> API.ObjectStats
    {
        let descriptor = unsafe Glibc.open(file, O_WRONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw CommandError(Source.message("open", file, errno)) }
        defer { close(descriptor) }
        unsafe try read(path, nil) { piece in
            var done = 0
            while done < piece.count {
                let count = unsafe write(descriptor, piece.baseAddress! + done, piece.count - done)
                guard count > 0 else { throw CommandError(Source.message("write", file, errno)) }
                done += count
            }
            progress?.add(bytes: Int64(piece.count))
        }
        return stats
    }

    private static func failure(_ file: String, _ error: LakeClientError) -> CommandError {
        let reason = error.status == 404 ? "404 Not Found" : "\(error.status) \(error.message)"
        return CommandError(
            "download failed: failed to download '\(Files.absolute(file))' object: request failed: \(reason)",
            hint: error.message)
    }

    /// Whether it may go better in a moment.
    private static func isPassing(_ error: any Error) -> Bool {
        if let error = error as? LakeClientError { return error.status == 429 || error.status >= 500 }
        return error is TransportError
    }

    private static let attribute = "user.lakefuse.received"

    private func receive(
        _ path: String, _ size: Int64, _ checksum: String, into descriptor: Int32, _ progress: Progress?
    ) throws {
        guard size > partSize else {
            guard ftruncate(descriptor, 0) == 0 else { throw CommandError(Source.message("write", path, errno)) }
            return try receive(path, 0..<size, checksum, into: descriptor, progress)
        }
        // Parts that follow each other from the beginning are there already as far as the file says.
        var text = [UInt8](repeating: 0, count: 32)
        let length = unsafe fgetxattr(descriptor, Self.attribute, &text, text.count)
        let known = length > 0 ? Int64(String(decoding: text[..<length], as: UTF8.self)) ?? 0 : 0
        let starts = Array(stride(from: known, to: size, by: Int64.Stride(partSize)))
        progress?.add(bytes: known)
        let done = Mutex<(parts: Set<Int64>, until: Int64)>(([], known))
        let pool = WorkerPool(name: "part", width: min(width, 8))
        defer { pool.stop() }
        let tasks = PoolTasks(pool)
        for start in starts {
            try tasks.start {
                let range = start..<min(size, start + partSize)
                try receive(path, range, checksum, into: descriptor, progress)
                let until = done.withLock { done in
                    done.parts.insert(start)
                    while done.parts.remove(done.until) != nil { done.until = min(size, done.until + partSize) }
                    return done.until
                }
                let text = Array("\(until)".utf8)
                unsafe fsetxattr(descriptor, Self.attribute, text, text.count, 0)
            }
        }
        try tasks.waitForAll()
        unsafe fremovexattr(descriptor, Self.attribute)
    }

    /// Receives a range of an object, from where the connection was lost too.
    /// - Parameter checksum: of the version that all ranges are to be of.
    private func receive(
        _ path: String, _ range: Range<Int64>, _ checksum: String, into descriptor: Int32, _ progress: Progress?
    ) throws {
        guard !range.isEmpty else { return }
        var position = range.lowerBound
        for attempt in 1... {
            do {
                unsafe try read(path, position..<range.upperBound, of: checksum) { piece in
                    guard unsafe writeWhole(piece, to: descriptor, at: position) else {
                        throw CommandError(Source.message("write", path, errno))
                    }
                    position += Int64(piece.count)
                    progress?.add(bytes: Int64(piece.count))
                }
                guard position == range.upperBound else {
                    throw CommandError("download \(path): the object ends before its size")
                }
                return
            } catch  where Self.isPassing(error) && attempt < Self.mostTries { sleep(milliseconds: 200 << attempt) }
        }
    }

    /// Gives a range of an object to `take`, piece by piece.
    /// - Parameter checksum: of the version that it is to be of.
    func read(
        _ path: String, _ range: Range<Int64>?, of checksum: String? = nil,
        _ take: @escaping (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        var headers: [(String, String)] = []
        if let range { headers.append(("Range", "bytes=\(range.lowerBound)-\(range.upperBound - 1)")) }
        if let checksum, range != nil, !isPresigned { headers.append(("If-Match", "\"\(checksum)\"")) }
        var problem: (any Error)?
        let sink = { (status: Int, piece: UnsafeRawBufferPointer) -> Bool in
            guard (200..<300).contains(status) else { return true }
            do { unsafe try take(piece) } catch {
                problem = error
                return false
            }
            return true
        }
        do {
            if isPresigned {
                let address = try addresses.address(of: path) {
                    try client.get(
                        API.ObjectStats.self, refParts + ["stat"], [("path", path), ("presign", "true")]
                    ).physicalAddress
                }
                _ = try past("download \(path)") {
                    unsafe try carrier.http.send("GET", address, headers: headers, sink: sink)
                }
            } else {
                unsafe try carrier.send("GET", refParts, [("path", path)], headers: headers, sink: sink)
            }
        } catch { throw problem ?? error }
    }

    /// Holds what has come against the object's checksum.
    private func check(_ descriptor: Int32, _ stats: API.ObjectStats, _ path: String) throws {
        guard Self.isMD5(stats.checksum) else { return }
        guard Self.md5(of: descriptor) == stats.checksum else {
            throw CommandError("download \(path): what has come does not have the object's checksum")
        }
    }

    /// The MD5 of a file, in hex; nil if it cannot be read.
    static func md5(of descriptor: Int32) -> String? {
        guard let size = FileStatus(descriptor)?.size else { return nil }
        return (try? FilePiece(descriptor: descriptor, offset: 0, byteCount: size).md5()).map { Hex.text($0) }
    }

    // MARK: many

    /// Does something to each of many, several at once; lines of output come as each ends.
    func each<Item: Sendable>(_ items: some Sequence<Item>, _ body: @escaping @Sendable (Item) throws -> String?) throws
    {
        let pool = WorkerPool(name: "transfer", width: width)
        defer { pool.stop() }
        let tasks = PoolTasks(pool)
        let lines = Mutex<Void>(())
        var problem: (any Error)?
        do {
            for item in items {
                try tasks.start {
                    let line = try body(item)
                    if let line { lines.withLock { _ in Output.line(line) } }
                }
            }
        } catch { problem = error }
        do { try tasks.waitForAll() } catch { problem = problem ?? error }
        if let problem { throw problem }
    }

    /// Removes objects, a thousand a request.
    func remove(_ paths: [String], isIn branch: String) throws {
        for start in stride(from: 0, to: paths.count, by: 1000) {
            let answer = try client.post(
                ["repositories", repository, "branches", branch, "objects", "delete"],
                API.PathList(paths: Array(paths[start..<min(start + 1000, paths.count)])))
            if let failed = (try? Coding.decode(API.ObjectErrorList.self, answer))?.errors.first(where: {
                $0.statusCode != 404
            }) {
                throw LakeClientError(status: failed.statusCode, message: failed.message)
            }
        }
    }
}

/// Addresses that the server signed for objects lately: parts of one object share theirs. Safe from any thread.
private final class SignedAddresses: Sendable {
    private let known = LRUCache<String, (address: String, until: Int64)>(budget: 100)
    /// Much less than they are good for.
    private static let seconds: Int64 = 60

    func address(of path: String, _ ask: () throws -> String) throws -> String {
        let now = Timestamp.now().seconds
        if let found = known[path], now < found.until { return found.address }
        let address = try ask()
        known.insert((address, now + Self.seconds), for: path)
        return address
    }
}

/// What a sync has done.
struct TransferSummary: Sendable {
    var downloaded = 0, uploaded = 0, removed = 0

    func write(_ title: String) {
        let isNothing = downloaded + uploaded + removed == 0
        Output.write(
            "\n\(title) Summary:\n\n"
                + (isNothing
                    ? "No changes\n" : "Downloaded: \(downloaded)\nUploaded: \(uploaded)\nRemoved: \(removed)\n\n"))
    }
}
