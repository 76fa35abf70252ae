import Foundations
import Synchronization
import Transport
import Versioning

/// Addresses of this server that carry their permission with them, for a quarter of an hour: what clients ask for as
/// presigned. Whoever has one reads the one object that it names, or writes it, until it is given an entry.
///
/// `/api/lakefuse/objects/SCHEME/PATH?x-lake-expires=SECONDS&x-lake-signature=HEX`; the signature is of the deed, the
/// place and the time. One for writing is good only at the process that made it, which knows what became of the place.
/// A part of an upload is written at `/api/lakefuse/parts/UPLOAD/NUMBER?…`.
/// Safe from any thread.
package final class ObjectLinks: Door {
    enum Deed: String { case read, write }
    typealias Link = (url: String, expires: Int64)

    private struct State {
        /// How many write to a place now.
        var writing: [ObjectLocation: Int] = [:]
        /// Places that have an entry, or are about to, and since when: no more is written there.
        var closed: [ObjectLocation: Int64] = [:]
    }

    private let catalog: Catalog
    private let key: [UInt8]
    private let region: String
    private let isTLS: Bool
    private let stores: [StoreSettings]
    private let state = Mutex(State())
    private let process = Hex.text(randomBytes(16))

    private static let base = "/api/lakefuse/objects/", partBase = "/api/lakefuse/parts/"
    private static let lifetimeSeconds: Int64 = 15 * 60
    private static let expiresName = "x-lake-expires", signatureName = "x-lake-signature"
    /// Closed places from which those are forgotten that no address is good for any more.
    private static let mostClosed = 10_000

    /// - Parameter stores: what is presigned by which store; the others' addresses are this server's.
    init(_ catalog: Catalog, signingSecret: String, region: String, isTLS: Bool, stores: [StoreSettings]) {
        self.isTLS = isTLS
        self.stores = stores
        self.catalog = catalog
        self.region = region
        key = Array(signingSecret.utf8)
    }

    /// What an address tells of the object besides its bytes: what its entry says.
    private struct Facts {
        var type = "", eTag = "", modified = ""
        private static let names = (type: "x-lake-type", eTag: "x-lake-etag", modified: "x-lake-modified")

        init() {}
        init(_ entry: Entry) {
            (type, eTag, modified) = (entry.shownContentType, entry.eTag, "\(entry.lastModified.seconds)")
        }
        init(_ query: [QueryItem]) {
            type = query.value(Self.names.type) ?? ""
            eTag = query.value(Self.names.eTag) ?? ""
            modified = query.value(Self.names.modified) ?? ""
        }

        var query: [(String, String)] {
            [(Self.names.type, type), (Self.names.eTag, eTag), (Self.names.modified, modified)]
                .filter { !$0.1.isEmpty }
        }
        var signed: String { "\(type)\n\(eTag)\n\(modified)" }

        var headers: [(name: String, value: String)] {
            let type = type.isEmpty ? "application/octet-stream" : type
            var headers = [("Content-Type", type)] + Response.untrusted(type)
            if !eTag.isEmpty { headers.append(("ETag", "\"\(eTag)\"")) }
            if let seconds = Int64(modified) {
                headers.append(("Last-Modified", Timestamp(seconds: seconds).httpDate))
            }
            return headers
        }
    }

    /// What a signature is of.
    private func named(_ deed: Deed, _ location: ObjectLocation, _ facts: Facts = Facts()) -> String {
        "object\n\(deed)\n\(location.store)\n\(location)\n\(deed == .write ? process : "")\n\(facts.signed)"
    }
    private func named(partOf upload: String, _ number: Int) -> String { "part\n\(upload)\n\(number)" }

    private func signature(_ what: String, _ expires: Int64) -> String {
        Hex.text(Hash.hmac(key: key, Array("\(what)\n\(expires)".utf8)))
    }

    /// An address on the host that a request was sent to.
    /// - Parameter facts: what it tells besides.
    private func link(_ path: String, _ what: String, _ request: Request, telling facts: [(String, String)] = [])
        -> Link
    {
        let expires = Timestamp.now().seconds + Self.lifetimeSeconds
        let scheme = isTLS || request.header("x-forwarded-proto") == "https" ? "https" : "http"
        let query = URIEncoding.query(
            of: facts + [(Self.expiresName, "\(expires)"), (Self.signatureName, signature(what, expires))])
        return ("\(scheme)://\(request.header("host") ?? "127.0.0.1")\(path)?\(query)", expires)
    }

    func link(to location: ObjectLocation, for deed: Deed, _ request: Request) throws -> Link {
        guard let (presigner, seconds) = presigner(of: location) else {
            return link(Self.place(location), named(deed, location), request)
        }
        let url =
            switch deed {
            case .read: try presigner.presignReading(location, as: PresignedFacts(), seconds: seconds)
            case .write: try presigner.presignWriting(location, seconds: seconds)
            }
        return (url, Timestamp.now().seconds + seconds)
    }

    /// What signs addresses of the engine itself, and for how long; nil where they are this server's.
    func presigner(of location: ObjectLocation) -> (presigner: any ObjectPresigner, seconds: Int64)? {
        guard let presigner = catalog.objects.capabilities.presigner, presigner.presigns(location),
            let store = stores.first(where: { $0.id == location.store }), store.isPresigned
        else { return nil }
        return (presigner, store.presignSeconds)
    }

    /// The same for the parts of an upload.
    func partPresigner(of location: ObjectLocation) -> (presigner: any ObjectPresigner, seconds: Int64)? {
        guard let found = presigner(of: location), found.presigner.signsParts(location),
            stores.first(where: { $0.id == location.store })?.arePartsPresigned == true
        else { return nil }
        return found
    }

    private static func place(_ location: ObjectLocation) -> String {
        let scheme = location.scheme + (location.store.isEmpty ? "" : "@" + location.store)
        return base + URIEncoding.encode(Array("\(scheme)/\(location.path)".utf8), keepsSlash: true)
    }

    /// An address to write a part of an upload.
    func link(toPart number: Int, of upload: String, _ request: Request) -> Link {
        link("\(Self.partBase)\(upload)/\(number)", named(partOf: upload, number), request)
    }

    /// An address to read an entry's object, which stays as long as that is good.
    func link(to entry: Entry, at location: ObjectLocation, _ request: Request) throws -> Link {
        catalog.keepForLinks(entry)
        if let (presigner, seconds) = presigner(of: location) {
            let told = PresignedFacts(contentType: entry.shownContentType)
            return (
                try presigner.presignReading(location, as: told, seconds: seconds), Timestamp.now().seconds + seconds
            )
        }
        let facts = Facts(entry)
        return link(Self.place(location), named(.read, location, facts), request, telling: facts.query)
    }

    /// Ends all writing to a place that is about to have an entry.
    /// - Throws: `.invalidValue` if it has one, or someone is writing to it.
    func close(_ location: ObjectLocation) throws {
        let now = Timestamp.now().seconds
        let fault: String? = state.withLock { state in
            if state.closed.count >= Self.mostClosed {
                state.closed = state.closed.filter { now - $0.value <= Self.lifetimeSeconds }
            }
            guard state.writing[location] == nil else { return "is still being written to: link it then" }
            return state.closed.updateValue(now, forKey: location) == nil ? nil : "was linked already"
        }
        if let fault { throw LakeError(.invalidValue, "physical address '\(location)' \(fault)") }
    }

    /// Takes back `close`: there is no entry after all.
    func open(_ location: ObjectLocation) { state.withLock { $0.closed[location] = nil } }

    // MARK: the door

    package func serves(_ request: Request) -> Bool {
        request.rawPath.utf8.starts(with: Self.base.utf8) || request.rawPath.utf8.starts(with: Self.partBase.utf8)
    }

    package func slowDown(_ request: Request) -> Response { REST.slowDown }

    package func begin(_ request: Request) -> Reception {
        if let fault = request.fault { return .respond(.failure(400, fault)) }
        let isPart = request.rawPath.utf8.starts(with: Self.partBase.utf8)
        let base = isPart ? Self.partBase : Self.base
        let parts = URIEncoding.decode(Substring(request.rawPath.dropFirst(base.count))).split(
            separator: 0x2f, maxSplits: 1, omittingEmptySubsequences: false
        ).map { String(decoding: $0, as: UTF8.self) }
        let query = URIEncoding.query(request.rawQuery, plusIsSpace: false)
        let isWrite = request.method == "PUT"
        guard ["GET", "HEAD", "PUT"].contains(request.method), parts.count == 2, !isPart || isWrite else {
            return .respond(refusal(request))
        }
        do {
            if isPart {
                guard let number = Int(parts[1]), isSigned(query, named(partOf: parts[0], number)) else {
                    return .respond(refusal(request))
                }
                return .body(try partSink(number, of: parts[0], request))
            }
            let scheme = parts[0].split(separator: "@", maxSplits: 1)
            let location = ObjectLocation(
                scheme: String(scheme.first ?? ""), path: parts[1],
                store: scheme.count > 1 ? String(scheme[1]) : "")
            let facts = isWrite ? Facts() : Facts(query)
            guard isSigned(query, named(isWrite ? .write : .read, location, facts)) else {
                return .respond(refusal(request))
            }
            if isWrite { return .body(try objectSink(location, request)) }
            return .work { [self] in
                do { return try read(location, facts, request) } catch { return failure(error, request) }
            }
        } catch {
            return .respond(failure(error, request))
        }
    }

    private func isSigned(_ query: [QueryItem], _ what: String) -> Bool {
        guard let given = query.value(Self.signatureName),
            let expires = query.value(Self.expiresName).flatMap(Int64.init),
            expires > Timestamp.now().seconds
        else { return false }
        return isEqualInConstantTime(Array(given.utf8), Array(signature(what, expires).utf8))
    }

    private func failure(_ error: any Error, _ request: Request) -> Response {
        S3Error(error, isWrite: request.isWrite).response(to: request, in: region)
    }

    private func refusal(_ request: Request) -> Response { S3Error.accessDenied.response(to: request, in: region) }

    private func read(_ location: ObjectLocation, _ facts: Facts, _ request: Request) throws -> Response {
        guard let size = try catalog.objects.size(of: location) else { throw S3Error.noSuchKey }
        let entry = Entry(address: location.path, lastModified: .now(), size: size, eTag: "", contentType: "")
        var headers = facts.headers + [("Accept-Ranges", "bytes")]
        var range = 0..<size
        var status = 200
        switch ByteRange(request.header("range"), size: size) {
        case .whole, .malformed: break
        case .part(let part):
            range = part
            status = 206
            headers.append(part.contentRange(of: size))
        case .unsatisfiable: throw S3Error(416, "InvalidRange", "The requested range is not satisfiable")
        }
        let body = try ObjectBody.make(
            catalog.objects, entry, at: location, range, isHead: request.method == "HEAD")
        return Response(status: status, headers: headers, body: body)
    }

    private func beginWriting(_ location: ObjectLocation) throws {
        let isOpen = state.withLock { state in
            guard state.closed[location] == nil else { return false }
            state.writing[location, default: 0] += 1
            return true
        }
        guard isOpen else { throw S3Error.accessDenied }
    }

    private func endWriting(_ location: ObjectLocation) {
        state.withLock { state in
            let others = (state.writing[location] ?? 1) - 1
            state.writing[location] = others == 0 ? nil : others
        }
    }

    private func objectSink(_ location: ObjectLocation, _ request: Request) throws -> Sink {
        try S3Gateway.requireLength(request)
        return Sink(self, request, try WholeObject(self, location))
    }

    private func partSink(_ number: Int, of id: String, _ request: Request) throws -> Sink {
        try S3Gateway.requireLength(request)
        let upload = try catalog.multipart(id)
        let bytes = try catalog.beginUpload(in: catalog.repository(upload.repositoryID))
        return Sink(self, request, Part(catalog, number, of: upload, bytes))
    }

    /// What a sink writes to.
    private protocol Destination: AnyObject {
        func write(_ bytes: UnsafeRawBufferPointer) throws
        /// The MD5 of all that was written.
        func digest() -> [UInt8]
        /// Makes it visible.
        func finish() throws
        /// Gives it up, if it is not. Nothing more is written.
        func drop()
    }

    private final class WholeObject: Destination {
        private let links: ObjectLinks
        private let location: ObjectLocation
        private let writer: any ObjectWriter
        private var hash = Hash(.md5)

        init(_ links: ObjectLinks, _ location: ObjectLocation) throws {
            self.links = links
            self.location = location
            try links.beginWriting(location)
            do { writer = try links.catalog.objects.makeWriter(location) } catch {
                links.endWriting(location)
                throw error
            }
        }

        func write(_ bytes: UnsafeRawBufferPointer) throws {
            unsafe hash.update(bytes)
            unsafe try writer.write(bytes)
        }
        func digest() -> [UInt8] { hash.finish() }
        func finish() throws { _ = try writer.finish(.durable) }
        func drop() {
            writer.abort()
            links.endWriting(location)
        }
    }

    private final class Part: Destination {
        private let catalog: Catalog
        private let number: Int
        private let upload: MultipartUpload
        private let bytes: Upload

        init(_ catalog: Catalog, _ number: Int, of upload: MultipartUpload, _ bytes: Upload) {
            self.catalog = catalog
            self.number = number
            self.upload = upload
            self.bytes = bytes
        }

        func write(_ bytes: UnsafeRawBufferPointer) throws { unsafe try self.bytes.write(bytes) }
        func digest() -> [UInt8] { bytes.digest() }
        func finish() throws { _ = try catalog.keep(bytes, as: number, of: upload) }
        func drop() { bytes.drop() }
    }

    /// Writes what comes, whole or not at all.
    private final class Sink: BodySink, @unchecked Sendable {
        // One thread at a time feeds and finishes a sink, as the protocol says.
        private let links: ObjectLinks
        private let request: Request
        private let destination: any Destination
        private var size: Int64 = 0
        private var isDropped = false

        init(_ links: ObjectLinks, _ request: Request, _ destination: any Destination) {
            self.links = links
            self.request = request
            self.destination = destination
        }

        deinit { dropOnce() }

        private func dropOnce() {
            if !isDropped { destination.drop() }
            isDropped = true
        }

        func receive(_ piece: UnsafeRawBufferPointer) throws(Refusal) {
            size += Int64(piece.count)
            do { unsafe try destination.write(piece) } catch { throw Refusal(links.failure(error, request)) }
        }

        func finish() -> Response {
            // Before the client hears of it: it may link the object at once.
            defer { dropOnce() }
            do {
                guard request.contentLength.map({ $0 == size }) != false else { throw S3Error.incompleteBody }
                let digest = destination.digest()
                if let wanted = request.header("content-md5"), Base64.decode(wanted) != digest {
                    throw S3Error(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")
                }
                try destination.finish()
                return Response(status: 200, headers: [("ETag", "\"\(Hex.text(digest))\"")])
            } catch {
                return links.failure(error, request)
            }
        }
    }
}
