import FoundationEssentials
package import Foundations
import Glibc
package import Transport
package import Versioning

/// Objects in Google Cloud Storage, by its JSON interface. Locations are `gs://BUCKET/KEY`. Large objects go by resumable
/// uploads: what the service has not got of a piece is sent again. Source: Cloud Storage JSON API reference.
package final class GCSObjectStore: ObjectStore, PartedStore {
    package struct Settings: Sendable {
        /// `https://HOST[:PORT]`; Google's own if empty.
        package var endpoint = ""
        /// Bytes of a piece of a large object: a multiple of 256 KiB.
        package var partSize = 8 << 20
        package var mostRetries = 5
        /// A key of Google's service that objects are encrypted with; empty for the bucket's own.
        package var encryptionKey = ""
        package init() {}
    }

    private static let scheme = "gs"
    private let settings: Settings
    private let identity: GoogleIdentity?
    private let client: CloudClient
    let limits: PartLimits
    private var endpoint: String { settings.endpoint.isEmpty ? "https://storage.googleapis.com" : settings.endpoint }

    /// - Parameter identity: nil for a service that asks for no login.
    package init(_ settings: Settings, identity: GoogleIdentity?) {
        self.settings = settings
        self.identity = identity
        client = CloudClient(tries: settings.mostRetries + 1)
        limits = PartLimits(partSize: settings.partSize, width: 1)
    }

    package func close() { limits.stop() }

    package var capabilities: ObjectStoreCapabilities {
        ObjectStoreCapabilities(schemes: [Self.scheme], presigner: identity == nil ? nil : self)
    }

    package func isOpen(_ location: ObjectLocation) -> Bool {
        location.scheme == Self.scheme && location.path.contains("/")
    }

    // MARK: requests

    private struct Place {
        let bucket: String
        let key: String
        /// As a part of a path.
        var encodedKey: String { URIEncoding.encode(key) }
        var path: String { "/b/\(URIEncoding.encode(bucket))/o/\(encodedKey)" }
    }

    private func place(_ location: ObjectLocation) throws(StoreError) -> Place {
        guard location.scheme == Self.scheme else { throw StoreError(.invalid, "\(location) is not in gs") }
        let bytes = Array(location.path.utf8)
        guard let slash = bytes.firstIndex(of: 0x2f), slash > 0, slash < bytes.count - 1 else {
            throw StoreError(.invalid, "\(location) names no object of a bucket")
        }
        let key = String(decoding: bytes[(slash + 1)...], as: UTF8.self)
        guard key.utf8.count <= 1024, !key.utf8.contains(0), !key.utf8.contains(10), !key.utf8.contains(13) else {
            throw StoreError(.invalid, "\(location) is not a valid address")
        }
        return Place(bucket: String(decoding: bytes[..<slash], as: UTF8.self), key: key)
    }

    private struct Refusal: Decodable {
        struct Told: Decodable { let message: String? }
        let error: Told?
    }

    private static func words(_ answer: HTTPClient.Answer) -> String {
        let told = try? JSONDecoder().decode(Refusal.self, from: Data(answer.body)).error?.message
        return "\(answer.status) \(told ?? answer.statusLine)"
    }

    private func call(
        _ method: String, _ url: String, bucket: String, headers: [(String, String)] = [], body: [UInt8]? = nil
    ) throws(StoreError) -> HTTPClient.Answer {
        let name = "the bucket '\(bucket)'"
        return try client.call(name) { http in
            var all = headers
            if let identity { all.append(("authorization", "Bearer " + (try identity.token()))) }
            return unsafe try http.send(method, url, headers: all, body: body.map { .bytes($0) } ?? .none)
        } judge: { answer in
            CloudClient.isTransient(answer.status)
                ? StoreError(.away, "\(name): \(Self.words(answer))", isTransient: true) : nil
        }
    }

    private func failure(_ answer: HTTPClient.Answer, _ what: String, bucket: String) -> StoreError {
        let hint =
            switch answer.status {
            case 401: "; give the key of a service account: blockstore.gs.credentials_file"
            case 403: "; give its account the rights of an object admin there"
            case 404: "; create the bucket, or name another one"
            default: ""
            }
        return StoreError(.refused, "\(what) in the bucket '\(bucket)': \(Self.words(answer))\(hint)")
    }

    private func url(_ path: String, _ query: [(String, String)] = [], isUpload: Bool = false) -> String {
        let text = URIEncoding.query(of: query)
        return "\(endpoint)\(isUpload ? "/upload" : "")/storage/v1\(path)\(text.isEmpty ? "" : "?" + text)"
    }

    /// Asks what a server needs, before it begins to serve: one listing.
    package func check(_ bucket: String) throws(StoreError) {
        let answer = try call(
            "GET", url("/b/\(URIEncoding.encode(bucket))/o", [("maxResults", "1")]), bucket: bucket)
        guard answer.status == 200 else { throw failure(answer, "cannot list", bucket: bucket) }
    }

    // MARK: the port

    private struct Resource: Decodable {
        let name: String
        let size: String?, updated: String?
    }

    private func told(_ resource: Resource, _ bucket: String) throws(StoreError) -> StoredObject {
        guard let size = resource.size.flatMap({ Int64($0) }) else {
            throw StoreError(.unavailable, "the bucket '\(bucket)' does not tell the size of an object")
        }
        return StoredObject(
            location: ObjectLocation(scheme: Self.scheme, path: "\(bucket)/\(resource.name)"), byteCount: size,
            modified: resource.updated.flatMap { Timestamp(rfc3339: $0)?.seconds } ?? 0)
    }

    private static func decode<Value: Decodable>(_ answer: HTTPClient.Answer, _: Value.Type) throws(StoreError) -> Value
    {
        do { return try JSONDecoder().decode(Value.self, from: Data(answer.body)) } catch {
            throw StoreError(.unavailable, "Google's answer cannot be read: \(error)")
        }
    }

    private func storing(_ more: [(String, String)], _ place: Place) -> [(String, String)] {
        more + [("name", place.key)]
            + (settings.encryptionKey.isEmpty ? [] : [("kmsKeyName", settings.encryptionKey)])
    }

    func putWhole(_ bytes: [UInt8], at location: ObjectLocation) throws(StoreError) {
        let place = try place(location)
        let target = url(
            "/b/\(URIEncoding.encode(place.bucket))/o", storing([("uploadType", "media")], place), isUpload: true)
        let answer = try call(
            "POST", target, bucket: place.bucket, headers: [("content-type", "application/octet-stream")], body: bytes)
        guard answer.status == 200 else { throw failure(answer, "cannot write", bucket: place.bucket) }
    }

    package func putIfAbsent(_ bytes: [UInt8], at location: ObjectLocation) throws(StoreError) -> Bool {
        let place = try place(location)
        // An object that is not there has no generation. In two parts, as Google's own clients ask it.
        let query = storing([("uploadType", "multipart"), ("ifGenerationMatch", "0")], place)
        guard let name = try? JSONEncoder().encode(["name": place.key]) else {
            throw StoreError(.invalid, "\(location) is not a valid address")
        }
        let mark = Hex.text(randomBytes(16))
        let body =
            Array("--\(mark)\r\nContent-Type: application/json\r\n\r\n".utf8) + [UInt8](name)
            + Array("\r\n--\(mark)\r\nContent-Type: application/octet-stream\r\n\r\n".utf8) + bytes
            + Array("\r\n--\(mark)--\r\n".utf8)
        let answer = try call(
            "POST", url("/b/\(URIEncoding.encode(place.bucket))/o", query, isUpload: true), bucket: place.bucket,
            headers: [("content-type", "multipart/related; boundary=\(mark)")], body: body)
        if answer.status == 412 { return false }
        guard answer.status == 200 else { throw failure(answer, "cannot write", bucket: place.bucket) }
        return true
    }

    func checkPlace(_ location: ObjectLocation) throws(StoreError) { _ = try place(location) }

    package func read(_ location: ObjectLocation, _ range: Range<Int64>) throws(StoreError) -> [UInt8] {
        guard !range.isEmpty else { return [] }
        let place = try place(location)
        let headers = CloudClient.range(range).map { [("range", $0)] } ?? []
        let answer = try call("GET", url(place.path, [("alt", "media")]), bucket: place.bucket, headers: headers)
        switch answer.status {
        case 200, 206: return CloudClient.cut(answer, to: range)
        case 416: return []
        case 404: throw StoreError(.notFound, "\(location) is not there")
        default: throw failure(answer, "cannot read", bucket: place.bucket)
        }
    }

    package func head(_ location: ObjectLocation) throws(StoreError) -> StoredObject? {
        let place = try place(location)
        let answer = try call("GET", url(place.path, [("fields", "name,size,updated")]), bucket: place.bucket)
        if answer.status == 404 { return nil }
        guard answer.status == 200 else { throw failure(answer, "cannot look", bucket: place.bucket) }
        let object = try told(Self.decode(answer, Resource.self), place.bucket)
        return StoredObject(location: location, byteCount: object.byteCount, modified: object.modified)
    }

    private struct Listed: Decodable {
        let items: [Resource]?
        let nextPageToken: String?
    }

    package func list(_ prefix: ObjectLocation, after: String?, limit: Int) throws(StoreError) -> [StoredObject] {
        let bucket = String(prefix.path.prefix { $0 != "/" })
        let folder = prefix.path.utf8.count > bucket.utf8.count + 1 ? prefix.path.dropFirst(bucket.count + 1) + "/" : ""
        let start = after.map { String($0.dropFirst(bucket.count + 1)) }
        var found: [StoredObject] = []
        var token: String?
        repeat {
            var query = [
                ("prefix", String(folder)), ("maxResults", "\(min(1000, limit - found.count + 1))"),
                ("fields", "items(name,size,updated),nextPageToken"),
            ]
            // It belongs to the answer.
            if let start { query.append(("startOffset", start)) }
            if let token { query.append(("pageToken", token)) }
            let answer = try call("GET", url("/b/\(URIEncoding.encode(bucket))/o", query), bucket: bucket)
            guard answer.status == 200 else { throw failure(answer, "cannot list", bucket: bucket) }
            let page = try Self.decode(answer, Listed.self)
            for item in page.items ?? [] where item.name != start { found.append(try told(item, bucket)) }
            token = page.nextPageToken.flatMap { $0.isEmpty ? nil : $0 }
        } while token != nil && found.count < limit
        return Array(found.prefix(limit))
    }

    package func remove(_ location: ObjectLocation) throws(StoreError) {
        let place = try place(location)
        let answer = try call("DELETE", url(place.path), bucket: place.bucket)
        guard [200, 204, 404].contains(answer.status) else {
            throw failure(answer, "cannot remove", bucket: place.bucket)
        }
    }

    private struct Rewritten: Decodable {
        let done: Bool
        let rewriteToken: String?
        let objectSize: String?
    }

    package func copy(_ source: ObjectLocation, to destination: ObjectLocation) throws(StoreError) -> Int64 {
        let (from, to) = (try place(source), try place(destination))
        var token: String?
        while true {
            let query = token.map { [("rewriteToken", $0)] } ?? []
            let answer = try call(
                "POST", url("\(from.path)/rewriteTo\(to.path)", query), bucket: to.bucket,
                headers: [("content-type", "application/json")], body: Array("{}".utf8))
            if answer.status == 404 { throw StoreError(.notFound, "\(source) is not there") }
            guard answer.status == 200 else { throw failure(answer, "cannot copy", bucket: to.bucket) }
            let told = try Self.decode(answer, Rewritten.self)
            if told.done { return told.objectSize.flatMap { Int64($0) } ?? 0 }
            token = told.rewriteToken
        }
    }

    private struct Composition: Encodable {
        struct Source: Encodable { let name: String }
        struct Destination: Encodable { var contentType = "application/octet-stream" }
        let sourceObjects: [Source]
        var destination = Destination()
    }
    /// What one request joins at most (Cloud Storage, "Objects: compose").
    private static let mostComposed = 32

    package func join(_ parts: [ObjectLocation], to destination: ObjectLocation) throws(StoreError) -> Int64 {
        let to = try place(destination)
        var places: [Place] = []
        for part in parts { places.append(try place(part)) }
        guard !places.isEmpty, places.allSatisfy({ $0.bucket == to.bucket }) else {
            return try rewritten(parts, to: destination)
        }
        // What is joined on the way, so many at once, goes when all is.
        var temporary: [Place] = []
        defer {
            for place in temporary {
                _ = try? call("DELETE", url(place.path), bucket: place.bucket)  // Only room is lost.
            }
        }
        while places.count > Self.mostComposed {
            var next: [Place] = []
            for start in stride(from: 0, to: places.count, by: Self.mostComposed) {
                let some = Array(places[start..<min(start + Self.mostComposed, places.count)])
                let joint = Place(bucket: to.bucket, key: "\(to.key).\(Hex.text(randomBytes(8)))")
                _ = try compose(some, at: joint)
                temporary.append(joint)
                next.append(joint)
            }
            places = next
        }
        return try compose(places, at: to)
    }

    private func compose(_ parts: [Place], at destination: Place) throws(StoreError) -> Int64 {
        let wanted = Composition(sourceObjects: parts.map { .init(name: $0.key) })
        guard let body = try? JSONEncoder().encode(wanted) else { throw StoreError(.invalid, "names of parts") }
        let answer = try call(
            "POST", url(destination.path + "/compose"), bucket: destination.bucket,
            headers: [("content-type", "application/json")], body: [UInt8](body))
        if answer.status == 404 { throw StoreError(.notFound, "a part of \(destination.key) is not there") }
        guard answer.status == 200 else { throw failure(answer, "cannot join parts", bucket: destination.bucket) }
        return try Self.decode(answer, Resource.self).size.flatMap { Int64($0) } ?? 0
    }

    // MARK: resumable uploads

    func beginParts(_ location: ObjectLocation) throws(StoreError) -> any PartedUpload {
        let place = try place(location)
        let target = url(
            "/b/\(URIEncoding.encode(place.bucket))/o", storing([("uploadType", "resumable")], place), isUpload: true)
        let answer = try call(
            "POST", target, bucket: place.bucket,
            headers: [
                ("content-type", "application/json"), ("x-upload-content-type", "application/octet-stream"),
            ], body: Array("{}".utf8))
        guard answer.status == 200, let session = answer.header("location") else {
            throw failure(answer, "cannot begin an upload", bucket: place.bucket)
        }
        return Resumable(self, place, session)
    }

    /// Pieces go one after the other: the service takes no other order.
    private final class Resumable: PartedUpload, @unchecked Sendable {  // One piece at a time, as the limits say.
        private let store: GCSObjectStore
        private let place: Place
        private let session: String
        private var position: Int64 = 0

        init(_ store: GCSObjectStore, _ place: Place, _ session: String) {
            self.store = store
            self.place = place
            self.session = session
        }

        /// Where the service is, if it has not got all of a piece.
        private func progress(_ answer: HTTPClient.Answer) -> Int64 {
            answer.header("range")?.split(separator: "-").last.flatMap { Int64($0) }.map { $0 + 1 } ?? 0
        }

        func put(_ bytes: [UInt8], number: Int) throws(StoreError) -> String {
            let end = position + Int64(bytes.count)
            var start = position
            var tries = 0
            while start < end {
                let piece = Array(bytes[Int(start - position)...])
                let answer = try store.call(
                    "PUT", session, bucket: place.bucket,
                    headers: [("content-range", "bytes \(start)-\(end - 1)/*")], body: piece)
                guard answer.status == 308 else {
                    throw store.failure(answer, "cannot write a piece", bucket: place.bucket)
                }
                let reached = progress(answer)
                guard reached > start || tries < 5, reached >= position else {
                    throw StoreError(.unavailable, "Google takes no more of an upload to '\(place.bucket)'")
                }
                if reached <= start { tries += 1 }
                start = reached
            }
            position = end
            return ""
        }

        func complete(_ names: [String], byteCount: Int64) throws(StoreError) {
            let answer = try store.call(
                "PUT", session, bucket: place.bucket, headers: [("content-range", "bytes */\(byteCount)")], body: [])
            guard [200, 201].contains(answer.status) else {
                throw store.failure(answer, "cannot end an upload", bucket: place.bucket)
            }
        }

        func abort() {
            do throws(StoreError) { _ = try store.call("DELETE", session, bucket: place.bucket) } catch {
                Log.warning("an upload that was given up stays with Google for a week", ["reason": error.message])
            }
        }
    }
}

extension GCSObjectStore: ObjectPresigner {
    /// Source: Cloud Storage, "V4 signing process with your own program".
    private func presign(
        _ method: String, _ place: Place, _ more: [(String, String)], seconds: Int64, at now: Timestamp = .now()
    ) throws(StoreError) -> String {
        guard let identity else { throw StoreError(.refused, "without a login nothing is signed") }
        let time = now.basic
        let scope = "\(time.prefix(8))/auto/storage/goog4_request"
        let host = endpoint.firstRange(of: "://").map { String(endpoint[$0.upperBound...]) } ?? endpoint
        let query =
            more + [
                ("X-Goog-Algorithm", "GOOG4-RSA-SHA256"), ("X-Goog-Credential", "\(try identity.signer())/\(scope)"),
                ("X-Goog-Date", time), ("X-Goog-Expires", "\(seconds)"), ("X-Goog-SignedHeaders", "host"),
            ]
        let path = Array("/\(place.bucket)/\(place.key)".utf8)
        let canonical = SigV4.canonicalRequest(
            method: method, path: path, query: query.map { QueryItem(name: $0.0, bytes: Array($0.1.utf8)) },
            headers: [(name: "host", value: host)], payloadHash: "UNSIGNED-PAYLOAD")
        let text = "GOOG4-RSA-SHA256\n\(time)\n\(scope)\n\(Hex.text(Hash.digest(.sha256, canonical)))"
        let signature = Hex.text(try identity.sign(Array(text.utf8)))
        return endpoint + URIEncoding.encode(path, keepsSlash: true) + "?" + URIEncoding.query(of: query)
            + "&X-Goog-Signature=" + signature
    }

    package func presignReading(_ location: ObjectLocation, as facts: PresignedFacts, seconds: Int64)
        throws(StoreError) -> String
    {
        var query: [(String, String)] = []
        if let type = facts.contentType { query.append(("response-content-type", type)) }
        if let disposition = facts.contentDisposition { query.append(("response-content-disposition", disposition)) }
        return try presign("GET", place(location), query, seconds: seconds)
    }

    package func presignWriting(_ location: ObjectLocation, seconds: Int64) throws(StoreError) -> String {
        try presign("PUT", place(location), [], seconds: seconds)
    }
}
