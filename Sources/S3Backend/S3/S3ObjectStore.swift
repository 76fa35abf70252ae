package import Foundations
import Glibc
import Synchronization
package import Transport
package import Versioning

/// Objects in S3 and in what speaks it: MinIO, Ceph, R2, SeaweedFS. Locations are `s3://BUCKET/KEY`. An object is
/// visible when its request, or the joining of its parts, was answered: then it is durable. Source: Amazon S3 API
/// reference.
package final class S3ObjectStore: ObjectStore, PartedStore {
    package struct Settings: Sendable {
        /// `https://HOST[:PORT]`; AWS' own of the region if empty.
        package var endpoint = ""
        /// Buckets as the first part of paths instead of names of hosts.
        package var forcesPathStyle = false
        package var region = "us-east-1"
        /// Whether a bucket may be in another region.
        package var discoversRegions = true
        package var mostRetries = 5
        /// What clients reach the store by, if it is not `endpoint`.
        package var presignEndpoint = ""
        /// `AES256` or `aws:kms`, and the key of the latter.
        package var encryption = "", encryptionKey = ""
        /// For tests alone.
        package var skipsVerification = false
        /// Bytes of a part of a large object; 5 MiB at least.
        package var partSize = 8 << 20
        package init() {}
    }

    package let scheme: String
    private let settings: Settings
    private let identity: AWSIdentity
    private let client: CloudClient
    /// Regions of buckets, as far as they are not the one that is set.
    private let regions = Mutex<[String: String]>([:])
    let limits: PartLimits

    /// - Parameter scheme: `s3`, or another one of a store that speaks as S3 does.
    package init(_ settings: Settings, identity: AWSIdentity, scheme: String = "s3") {
        self.settings = settings
        self.identity = identity
        self.scheme = scheme
        client = CloudClient(tries: settings.mostRetries + 1, verifiesCertificates: !settings.skipsVerification)
        limits = PartLimits(partSize: settings.partSize)
    }

    package func close() { limits.stop() }

    package var capabilities: ObjectStoreCapabilities {
        ObjectStoreCapabilities(schemes: [scheme], presigner: self)
    }

    /// Any object that its key pair may read: who may import says who may name it.
    package func isOpen(_ location: ObjectLocation) -> Bool { location.scheme == scheme && location.path.contains("/") }

    // MARK: requests

    private struct Place {
        let bucket: String
        let key: [UInt8]
    }

    private func place(_ location: ObjectLocation) throws(StoreError) -> Place {
        guard location.scheme == scheme else { throw StoreError(.invalid, "\(location) is not in \(scheme)") }
        let bytes = Array(location.path.utf8)
        guard let slash = bytes.firstIndex(of: 0x2f), slash > 0, slash < bytes.count - 1 else {
            throw StoreError(.invalid, "\(location) names no object of a bucket")
        }
        let place = Place(bucket: String(decoding: bytes[..<slash], as: UTF8.self), key: Array(bytes[(slash + 1)...]))
        guard Self.isBucket(place.bucket) else {
            throw StoreError(.invalid, "\(location): '\(place.bucket)' is no bucket")
        }
        // Some servers take such parts for steps in a tree.
        guard place.key.count <= 1024, !place.key.contains(0),
            !place.key.split(separator: 0x2f).contains(where: {
                $0.elementsEqual([0x2e]) || $0.elementsEqual([0x2e, 0x2e])
            })
        else { throw StoreError(.invalid, "\(location) is not a valid address") }
        return place
    }

    private static func isBucket(_ name: String) -> Bool {
        (1...255).contains(name.utf8.count)
            && name.utf8.allSatisfy { byte in
                byte >= 0x61 && byte <= 0x7a || byte >= 0x41 && byte <= 0x5a || byte >= 0x30 && byte <= 0x39
                    || byte == 0x2d || byte == 0x2e || byte == 0x5f
            }
    }

    private func endpoint(_ bucket: String, _ region: String, _ given: String) -> (endpoint: String, path: [UInt8]) {
        let endpoint = given.isEmpty ? "https://s3.\(region).amazonaws.com" : given
        let parts = endpoint.firstRange(of: "://").map { (endpoint[..<$0.upperBound], endpoint[$0.upperBound...]) }
        guard let (start, host) = parts, !settings.forcesPathStyle, !bucket.contains("."),
            !host.hasPrefix("localhost"), host.contains(where: { $0.isLetter })
        else { return (endpoint, Array("/\(bucket)".utf8)) }
        return ("\(start)\(bucket).\(host)", [])
    }

    private func call(
        _ method: String, _ place: Place, isBucket: Bool = false, query: [(String, String)] = [],
        headers: [(String, String)] = [], body: [UInt8] = []
    ) throws(StoreError) -> HTTPClient.Answer {
        let name = "the bucket '\(place.bucket)'"
        var hasMoved = false
        var hasForgotten = false
        while true {
            let region = regions.withLock { $0[place.bucket] } ?? settings.region
            let (endpoint, prefix) = endpoint(place.bucket, region, settings.endpoint)
            let answer = try client.call(name) { http in
                var keys = try identity.credentials()
                keys.region = region
                let (url, signed) = keys.sign(
                    method, endpoint: endpoint, path: prefix + [0x2f] + (isBucket ? [] : place.key), query: query,
                    headers: headers, body: body, service: "s3")
                return unsafe try http.send(
                    method, url, headers: signed,
                    body: body.isEmpty && method != "PUT" && method != "POST" ? .none : .bytes(body))
            } judge: { answer in
                CloudClient.isTransient(answer.status) || Self.isSlow(answer)
                    ? StoreError(.away, "\(name): \(Self.words(answer))", isTransient: true) : nil
            }
            if (200..<300).contains(answer.status) { return answer }
            // A bucket of another region says so.
            if settings.discoversRegions, !hasMoved, [301, 307, 400, 403].contains(answer.status),
                let other = Self.region(answer), other != region
            {
                hasMoved = true
                regions.withLock { $0[place.bucket] = other }
                continue
            }
            // A pair that has ended before its time is looked for anew.
            if answer.status == 403 || answer.status == 400, !hasForgotten,
                ["ExpiredToken", "InvalidToken"].contains(Self.code(answer))
            {
                hasForgotten = true
                identity.forget()
                continue
            }
            return answer
        }
    }

    private static func code(_ answer: HTTPClient.Answer) -> String {
        XMLElement.parse(answer.body)?.value("Code") ?? ""
    }

    private static func isSlow(_ answer: HTTPClient.Answer) -> Bool {
        (answer.status == 400 || answer.status == 403)
            && ["SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"].contains(code(answer))
    }

    private static func region(_ answer: HTTPClient.Answer) -> String? {
        answer.header("x-amz-bucket-region") ?? XMLElement.parse(answer.body)?.value("Region")
    }

    private static func words(_ answer: HTTPClient.Answer) -> String {
        guard let root = XMLElement.parse(answer.body), let code = root.value("Code") else {
            return answer.statusLine.isEmpty ? "status \(answer.status)" : answer.statusLine
        }
        return "\(code): \(root.value("Message") ?? "")"
    }

    /// What an answer means that is none of those that were hoped for.
    private func failure(_ answer: HTTPClient.Answer, _ what: String, bucket: String) -> StoreError {
        let code = Self.code(answer)
        let hint =
            switch code {
            case "NoSuchBucket": "create it, or name another one"
            case "InvalidAccessKeyId", "SignatureDoesNotMatch": "give the key pair that the store knows"
            case "AccessDenied", "AllAccessDisabled":
                "give its key pair the rights to read, write, remove and list there"
            case "RequestTimeTooSkewed", "RequestExpired":
                "the clock of this machine (\(Timestamp.now().rfc3339)) is not the store's: set it"
            case "PermanentRedirect", "AuthorizationHeaderMalformed":
                "it is in another region\(Self.region(answer).map { ", \($0)" } ?? ""): set blockstore.s3.region"
            default: answer.status == 403 ? "its key pair is wrong, or lacks the rights there" : ""
            }
        return StoreError(
            answer.status == 507 || code == "XMinioStorageFull" || code == "QuotaExceeded" ? .noSpace : .refused,
            "\(what) in the bucket '\(bucket)': \(Self.words(answer))\(hint.isEmpty ? "" : "; \(hint)")")
    }

    /// Whether the store knows its key pair, as far as it says so to who asks for no bucket.
    /// - Throws: in one line, what is wrong and what to do.
    package func checkKeys() throws(StoreError) {
        let name = "the object store \(settings.endpoint)"
        let answer = try client.call(name) { http in
            let keys = try identity.credentials()
            let endpoint =
                settings.endpoint.isEmpty ? "https://s3.\(settings.region).amazonaws.com" : settings.endpoint
            let (url, signed) = keys.sign("GET", endpoint: endpoint, path: [0x2f], body: [], service: "s3")
            return try http.fetch("GET", url, headers: signed)
        } judge: { answer in
            CloudClient.isTransient(answer.status)
                ? StoreError(.away, "\(name): \(Self.words(answer))", isTransient: true) : nil
        }
        // A pair without the right to list buckets is a good one.
        let wrong = [
            "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed", "InvalidToken", "ExpiredToken",
        ]
        guard wrong.contains(Self.code(answer)) else { return }
        throw failure(answer, "cannot look", bucket: "*")
    }

    /// Asks what a server needs, before it begins to serve: one listing.
    /// - Throws: in one line, what is wrong and what to do.
    package func check(_ bucket: String) throws(StoreError) {
        let place = Place(bucket: bucket, key: [])
        let answer = try call("GET", place, isBucket: true, query: [("list-type", "2"), ("max-keys", "1")])
        guard answer.status == 200 else { throw failure(answer, "cannot list", bucket: bucket) }
    }

    // MARK: the port

    private var storing: [(String, String)] {
        guard !settings.encryption.isEmpty else { return [] }
        return [("x-amz-server-side-encryption", settings.encryption)]
            + (settings.encryptionKey.isEmpty
                ? [] : [("x-amz-server-side-encryption-aws-kms-key-id", settings.encryptionKey)])
    }

    func putWhole(_ bytes: [UInt8], at location: ObjectLocation) throws(StoreError) {
        let place = try place(location)
        let answer = try call("PUT", place, headers: storing, body: bytes)
        guard answer.status == 200 else { throw failure(answer, "cannot write", bucket: place.bucket) }
    }

    package func putIfAbsent(_ bytes: [UInt8], at location: ObjectLocation) throws(StoreError) -> Bool {
        let place = try place(location)
        let answer = try call("PUT", place, headers: storing + [("if-none-match", "*")], body: bytes)
        switch answer.status {
        case 200: return true
        // The latter where another one is at it.
        case 412, 409: return false
        // A store without such conditions.
        case 400 where Self.code(answer) == "NotImplemented", 501:
            guard try head(location) == nil else { return false }
            try putWhole(bytes, at: location)
            return true
        default: throw failure(answer, "cannot write", bucket: place.bucket)
        }
    }

    func checkPlace(_ location: ObjectLocation) throws(StoreError) { _ = try place(location) }

    package func read(_ location: ObjectLocation, _ range: Range<Int64>) throws(StoreError) -> [UInt8] {
        guard !range.isEmpty else { return [] }
        let place = try place(location)
        let headers = CloudClient.range(range).map { [("range", $0)] } ?? []
        let answer = try call("GET", place, headers: headers)
        switch answer.status {
        case 200, 206: return CloudClient.cut(answer, to: range)
        case 416: return []
        case 404 where Self.code(answer) != "NoSuchBucket":
            throw StoreError(.notFound, "\(location) is not there")
        default: throw failure(answer, "cannot read", bucket: place.bucket)
        }
    }

    package func head(_ location: ObjectLocation) throws(StoreError) -> StoredObject? {
        let place = try place(location)
        let answer = try call("HEAD", place)
        if answer.status == 404 { return nil }
        guard answer.status == 200, let size = answer.header("content-length").flatMap({ Int64($0) }) else {
            throw failure(answer, "cannot look", bucket: place.bucket)
        }
        let modified = answer.header("last-modified").flatMap { Timestamp(httpDate: $0) }
        return StoredObject(location: location, byteCount: size, modified: modified?.seconds ?? 0)
    }

    package func list(_ prefix: ObjectLocation, after: String?, limit: Int) throws(StoreError) -> [StoredObject] {
        // A whole bucket is a prefix too.
        let bucket = String(prefix.path.prefix { $0 != "/" })
        let folder = prefix.path.utf8.count > bucket.utf8.count + 1 ? prefix.path.dropFirst(bucket.count + 1) + "/" : ""
        let start = after.map { String($0.dropFirst(bucket.count + 1)) }
        var found: [StoredObject] = []
        var token: String?
        while found.count < limit {
            var query = [
                ("list-type", "2"), ("prefix", String(folder)), ("max-keys", "\(min(1000, limit - found.count))"),
                ("encoding-type", "url"),
            ]
            if let token {
                query.append(("continuation-token", token))
            } else if let start {
                query.append(("start-after", start))
            }
            let answer = try call("GET", Place(bucket: bucket, key: []), isBucket: true, query: query)
            guard answer.status == 200, let page = XMLElement.parse(answer.body) else {
                throw failure(answer, "cannot list", bucket: bucket)
            }
            for object in page.all("Contents") {
                guard let name = object.value("Key"), let size = object.value("Size").flatMap({ Int64($0) }) else {
                    throw StoreError(.unavailable, "the bucket '\(bucket)' answers a listing that cannot be read")
                }
                let key = URIEncoding.decode(name, plusIsSpace: true)
                let path = "\(bucket)/" + String(decoding: key, as: UTF8.self)
                found.append(
                    StoredObject(
                        location: ObjectLocation(scheme: scheme, path: path), byteCount: size,
                        modified: object.value("LastModified").flatMap { Timestamp(rfc3339: $0)?.seconds } ?? 0))
            }
            token = page.value("NextContinuationToken")
            guard page.value("IsTruncated") == "true", token != nil else { break }
        }
        return found
    }

    package func remove(_ location: ObjectLocation) throws(StoreError) {
        let place = try place(location)
        let answer = try call("DELETE", place)
        guard [200, 204, 404].contains(answer.status) else {
            throw failure(answer, "cannot remove", bucket: place.bucket)
        }
    }

    /// What one request copies at most (Amazon S3, CopyObject).
    private static let largestCopy: Int64 = 5 << 30

    private func copySource(_ place: Place) -> (String, String) {
        ("x-amz-copy-source", URIEncoding.encode(Array("/\(place.bucket)/".utf8) + place.key, keepsSlash: true))
    }

    package func copy(_ source: ObjectLocation, to destination: ObjectLocation) throws(StoreError) -> Int64 {
        guard let size = try size(of: source) else { throw StoreError(.notFound, "\(source) is not there") }
        let (from, to) = (try place(source), try place(destination))
        guard size <= Self.largestCopy else {
            _ = try joined([(source, size)], at: destination)
            return size
        }
        let answer = try call("PUT", to, headers: storing + [copySource(from)])
        // The answer may begin before the copy is made, and tell in its body how that went.
        guard answer.status == 200, XMLElement.parse(answer.body)?.name == "CopyObjectResult" else {
            throw failure(answer, "cannot copy", bucket: to.bucket)
        }
        return size
    }

    package func join(_ parts: [ObjectLocation], to destination: ObjectLocation) throws(StoreError) -> Int64 {
        var sized: [(location: ObjectLocation, byteCount: Int64)] = []
        for part in parts {
            guard let size = try size(of: part) else { throw StoreError(.notFound, "\(part) is not there") }
            sized.append((part, size))
        }
        // All but the last must have what S3 wants of a part.
        let isMadeOfParts = sized.dropLast().allSatisfy { $0.byteCount >= 5 << 20 } && sized.count <= 10_000
        guard isMadeOfParts, sized.allSatisfy({ $0.byteCount > 0 }) else {
            return try rewritten(parts, to: destination)
        }
        return try joined(sized, at: destination)
    }

    /// An object of other objects, none of whose bytes comes here.
    private func joined(_ parts: [(location: ObjectLocation, byteCount: Int64)], at destination: ObjectLocation)
        throws(StoreError) -> Int64
    {
        let place = try place(destination)
        let upload = try begin(place)
        do throws(StoreError) {
            var names: [String] = []
            for (location, byteCount) in parts {
                let source = copySource(try self.place(location))
                for start in stride(from: 0, to: byteCount, by: 1 << 30) {
                    // None of the pieces may be too small to be a part.
                    let end = byteCount - start < 2 << 30 ? byteCount : start + 1 << 30
                    names.append(try upload.copy(source, start..<end, number: names.count + 1))
                    if end == byteCount { break }
                }
            }
            let total = parts.reduce(0) { $0 + $1.byteCount }
            try upload.complete(names, byteCount: total)
            return total
        } catch {
            upload.abort()
            throw error
        }
    }

    // MARK: parts

    func beginParts(_ location: ObjectLocation) throws(StoreError) -> any PartedUpload { try begin(place(location)) }

    private func begin(_ place: Place) throws(StoreError) -> Parts {
        let answer = try call("POST", place, query: [("uploads", "")], headers: storing)
        guard answer.status == 200, let id = XMLElement.parse(answer.body)?.value("UploadId") else {
            throw failure(answer, "cannot begin an upload", bucket: place.bucket)
        }
        return Parts(self, place, id)
    }

    private final class Parts: PartedUpload {
        private let store: S3ObjectStore
        private let place: Place
        let id: String
        init(_ store: S3ObjectStore, _ place: Place, _ id: String) {
            self.store = store
            self.place = place
            self.id = id
        }

        private func query(_ number: Int) -> [(String, String)] { [("partNumber", "\(number)"), ("uploadId", id)] }

        func put(_ bytes: [UInt8], number: Int) throws(StoreError) -> String {
            let answer = try store.call("PUT", place, query: query(number), body: bytes)
            guard answer.status == 200, let tag = answer.header("etag") else {
                throw store.failure(answer, "cannot write a part", bucket: place.bucket)
            }
            return tag
        }

        func copy(_ source: (String, String), _ range: Range<Int64>, number: Int) throws(StoreError) -> String {
            let headers = [source, ("x-amz-copy-source-range", CloudClient.range(range) ?? "bytes=0-")]
            let answer = try store.call("PUT", place, query: query(number), headers: headers)
            guard answer.status == 200, let tag = XMLElement.parse(answer.body)?.value("ETag") else {
                throw store.failure(answer, "cannot copy a part", bucket: place.bucket)
            }
            return tag
        }

        func complete(_ names: [String], byteCount: Int64) throws(StoreError) {
            try store.complete(place, id, names, byteCount: byteCount)
        }

        func abort() { store.abort(place, id) }
    }

    private func complete(_ place: Place, _ id: String, _ names: [String], byteCount: Int64?) throws(StoreError) {
        var body = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        for (index, name) in names.enumerated() {
            body += "<Part><PartNumber>\(index + 1)</PartNumber><ETag>\(Self.escaped(name))</ETag></Part>"
        }
        body += "</CompleteMultipartUpload>"
        let answer = try call("POST", place, query: [("uploadId", id)], body: Array(body.utf8))
        if answer.status == 200, XMLElement.parse(answer.body)?.name == "CompleteMultipartUploadResult" { return }
        // An upload that is not there any more may have been joined by a request whose answer was lost.
        if answer.status == 404, let byteCount {
            let location = ObjectLocation(
                scheme: scheme, path: "\(place.bucket)/\(String(decoding: place.key, as: UTF8.self))")
            if try size(of: location) == byteCount { return }
        }
        throw failure(answer, "cannot join parts", bucket: place.bucket)
    }

    private static func escaped(_ text: String) -> String {
        var result = ""
        for character in text.unicodeScalars {
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            default: result.unicodeScalars.append(character)
            }
        }
        return result
    }

    private func abort(_ place: Place, _ id: String) {
        do throws(StoreError) {
            let answer = try call("DELETE", place, query: [("uploadId", id)])
            guard [200, 204, 404].contains(answer.status) else {
                throw failure(answer, "cannot give up an upload", bucket: place.bucket)
            }
        } catch {
            Log.warning("parts of an upload that was given up stay in the store", ["reason": error.message])
        }
    }
}

extension S3ObjectStore: ObjectPresigner {
    private func presign(
        _ method: String, _ place: Place, query: [(String, String)] = [], headers: [(String, String)] = [],
        seconds: Int64
    ) throws(StoreError) -> String {
        var keys = try identity.credentials()
        keys.region = regions.withLock { $0[place.bucket] } ?? settings.region
        let (endpoint, prefix) = endpoint(
            place.bucket, keys.region,
            settings.presignEndpoint.isEmpty ? settings.endpoint : settings.presignEndpoint)
        return keys.presign(
            method, endpoint: endpoint, path: prefix + [0x2f] + place.key, query: query, headers: headers,
            seconds: seconds, service: "s3")
    }

    package func presignReading(_ location: ObjectLocation, as facts: PresignedFacts, seconds: Int64)
        throws(StoreError) -> String
    {
        var query: [(String, String)] = []
        if let type = facts.contentType { query.append(("response-content-type", type)) }
        if let disposition = facts.contentDisposition { query.append(("response-content-disposition", disposition)) }
        return try presign("GET", place(location), query: query, seconds: seconds)
    }

    package func presignWriting(_ location: ObjectLocation, seconds: Int64) throws(StoreError) -> String {
        try presign("PUT", place(location), seconds: seconds)
    }

    package func signsParts(_ location: ObjectLocation) -> Bool { true }

    package func beginPresignedParts(_ location: ObjectLocation) throws(StoreError) -> String {
        try begin(place(location)).id
    }

    package func presignPart(_ location: ObjectLocation, upload: String, number: Int, seconds: Int64)
        throws(StoreError) -> String
    {
        try presign(
            "PUT", place(location), query: [("partNumber", "\(number)"), ("uploadId", upload)], seconds: seconds)
    }

    package func completePresignedParts(_ location: ObjectLocation, upload: String, tags: [String]) throws(StoreError) {
        try complete(place(location), upload, tags, byteCount: nil)
    }

    package func abortPresignedParts(_ location: ObjectLocation, upload: String) throws(StoreError) {
        abort(try place(location), upload)
    }
}
