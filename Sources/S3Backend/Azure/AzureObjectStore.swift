package import Foundations
import Glibc
import Synchronization
package import Transport
package import Versioning

/// Objects in Azure Blob Storage, as block blobs. Locations are `https://ACCOUNT.blob.core.windows.net/CONTAINER/BLOB`.
/// Source: Azure Blob Storage REST API reference.
package final class AzureObjectStore: ObjectStore, PartedStore {
    package struct Settings: Sendable {
        package var account = ""
        /// The account's key, in base64; the machine's identity if empty.
        package var key = ""
        /// The last part of the service's host.
        package var domain = "blob.core.windows.net"
        /// What stands in for the service in tests, with the account's name as its path.
        package var testEndpoint = ""
        package var partSize = 8 << 20
        package var mostRetries = 5
        package init() {}
    }

    private static let scheme = "https", version = "2022-11-02"
    private let settings: Settings
    private let key: [UInt8]
    private let identity: AzureIdentity?
    private let client: CloudClient
    let limits: PartLimits

    /// - Parameter identity: gives tokens where there is no key.
    /// - Throws: `.refused` if the key is none.
    package init(_ settings: Settings, identity: AzureIdentity?) throws(StoreError) {
        guard let key = Base64.decode(settings.key) else {
            throw StoreError(
                .refused, "blockstore.azure.storage_access_key is not base64: copy it from the account's keys")
        }
        self.settings = settings
        self.key = key
        self.identity = settings.key.isEmpty ? identity : nil
        client = CloudClient(tries: settings.mostRetries + 1)
        limits = PartLimits(partSize: settings.partSize)
    }

    package func close() { limits.stop() }

    package var capabilities: ObjectStoreCapabilities {
        ObjectStoreCapabilities(schemes: [Self.scheme], presigner: self)
    }

    /// Objects of this account: its key opens no other.
    package func isOpen(_ location: ObjectLocation) -> Bool { (try? place(location)) != nil }

    // MARK: requests

    private struct Place {
        let container: String
        /// Empty for the container itself.
        let blob: String
    }

    private var host: String { "\(settings.account).\(settings.domain)" }
    private var endpoint: String { settings.testEndpoint.isEmpty ? "https://\(host)" : settings.testEndpoint }

    private func place(_ location: ObjectLocation) throws(StoreError) -> Place {
        let parts = location.path.utf8.split(separator: 0x2f, maxSplits: 2, omittingEmptySubsequences: false)
        guard location.scheme == Self.scheme, parts.count == 3, !parts[1].isEmpty, !parts[2].isEmpty,
            parts[2].count <= 1024
        else { throw StoreError(.invalid, "\(location) names no blob of a container") }
        guard String(Substring(parts[0])) == host else {
            throw StoreError(
                .invalid,
                "\(location) is not in the storage account \(settings.account): addresses begin with https://\(host)/")
        }
        return Place(container: String(Substring(parts[1])), blob: String(Substring(parts[2])))
    }

    private func path(_ place: Place) -> String {
        let text = "/\(place.container)\(place.blob.isEmpty ? "" : "/\(place.blob)")"
        return URIEncoding.encode(Array(text.utf8), keepsSlash: true)
    }

    /// The path of a URL, which a signature is of.
    private func urlPath(_ place: Place) -> String {
        let base = endpoint.firstRange(of: "://").map { endpoint[$0.upperBound...].drop { $0 != "/" } } ?? ""
        return base + path(place)
    }

    private static func words(_ answer: HTTPClient.Answer) -> String {
        let root = XMLElement.parse(answer.body)
        let code = root?.value("Code") ?? answer.header("x-ms-error-code") ?? ""
        let message = root?.value("Message")?.split(whereSeparator: \.isNewline).first ?? ""
        return "\(answer.status) \(code) \(message)"
    }

    private static func code(_ answer: HTTPClient.Answer) -> String {
        answer.header("x-ms-error-code") ?? XMLElement.parse(answer.body)?.value("Code") ?? ""
    }

    private func call(
        _ method: String, _ place: Place, query: [(String, String)] = [], headers: [(String, String)] = [],
        body: [UInt8] = []
    ) throws(StoreError) -> HTTPClient.Answer {
        let name = "the container '\(place.container)'"
        return try client.call(name) { http in
            var all = headers + [("x-ms-date", Timestamp.now().httpDate), ("x-ms-version", Self.version)]
            if method == "PUT" || method == "POST" { all.append(("content-type", "application/octet-stream")) }
            all.append(
                (
                    "authorization",
                    try identity.map { "Bearer " + (try $0.token()) }
                        ?? sharedKey(method, place, query, all, byteCount: body.count)
                ))
            let text = URIEncoding.query(of: query)
            return unsafe try http.send(
                method, endpoint + path(place) + (text.isEmpty ? "" : "?" + text), headers: all,
                body: body.isEmpty && method != "PUT" && method != "POST" ? .none : .bytes(body))
        } judge: { answer in
            CloudClient.isTransient(answer.status)
                ? StoreError(.away, "\(name): \(Self.words(answer))", isTransient: true) : nil
        }
    }

    /// Source: Azure Storage, "Authorize with Shared Key".
    private func sharedKey(
        _ method: String, _ place: Place, _ query: [(String, String)], _ headers: [(String, String)], byteCount: Int
    ) -> String {
        func value(_ name: String) -> String { headers.first { $0.0 == name }?.1 ?? "" }
        let lines =
            [
                method, "", "", byteCount == 0 ? "" : "\(byteCount)", value("content-md5"), value("content-type"), "",
                "", value("if-match"), value("if-none-match"), "", "",
            ]
            + headers.filter { $0.0.hasPrefix("x-ms-") }.sorted { $0.0 < $1.0 }.map { "\($0.0):\($0.1)" }
            + ["/\(settings.account)\(urlPath(place))"]
            + query.sorted { $0.0 < $1.0 }.map { "\($0.0.lowercased()):\($0.1)" }
        let signature = Hash.hmac(key: key, Array(lines.joined(separator: "\n").utf8))
        return "SharedKey \(settings.account):\(Base64.encode(signature))"
    }

    private func failure(_ answer: HTTPClient.Answer, _ what: String, _ place: Place) -> StoreError {
        let hint =
            switch Self.code(answer) {
            case "ContainerNotFound": "; create it, or name another one"
            case "AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation":
                "; give the account's key (blockstore.azure.storage_access_key), and look whether the clock of this machine (\(Timestamp.now().rfc3339)) is right"
            case "AuthorizationFailure", "AuthorizationPermissionMismatch":
                "; give the identity the role Storage Blob Data Contributor there"
            default: ""
            }
        return StoreError(.refused, "\(what) in the container '\(place.container)': \(Self.words(answer))\(hint)")
    }

    /// Asks what a server needs, before it begins to serve: one listing.
    package func check(_ namespace: StorageNamespace) throws(StoreError) {
        let place = try place(namespace.location("_"))
        let container = Place(container: place.container, blob: "")
        let answer = try call(
            "GET", container, query: [("restype", "container"), ("comp", "list"), ("maxresults", "1")])
        guard answer.status == 200 else { throw failure(answer, "cannot list", container) }
    }

    // MARK: the port

    private static let blockBlob = ("x-ms-blob-type", "BlockBlob")

    func putWhole(_ bytes: [UInt8], at location: ObjectLocation) throws(StoreError) {
        let place = try place(location)
        let md5 = ("content-md5", Base64.encode(Hash.digest(.md5, bytes)))
        let answer = try call("PUT", place, headers: [Self.blockBlob, md5], body: bytes)
        guard answer.status == 201 else { throw failure(answer, "cannot write", place) }
    }

    package func putIfAbsent(_ bytes: [UInt8], at location: ObjectLocation) throws(StoreError) -> Bool {
        let place = try place(location)
        let answer = try call("PUT", place, headers: [Self.blockBlob, ("if-none-match", "*")], body: bytes)
        if answer.status == 409 || answer.status == 412 { return false }
        guard answer.status == 201 else { throw failure(answer, "cannot write", place) }
        return true
    }

    func checkPlace(_ location: ObjectLocation) throws(StoreError) { _ = try place(location) }

    package func read(_ location: ObjectLocation, _ range: Range<Int64>) throws(StoreError) -> [UInt8] {
        guard !range.isEmpty else { return [] }
        let place = try place(location)
        let answer = try call("GET", place, headers: CloudClient.range(range).map { [("x-ms-range", $0)] } ?? [])
        switch answer.status {
        case 200, 206: return CloudClient.cut(answer, to: range)
        case 416: return []
        case 404 where Self.code(answer) != "ContainerNotFound":
            throw StoreError(.notFound, "\(location) is not there")
        default: throw failure(answer, "cannot read", place)
        }
    }

    package func head(_ location: ObjectLocation) throws(StoreError) -> StoredObject? {
        let place = try place(location)
        let answer = try call("HEAD", place)
        if answer.status == 404, Self.code(answer) != "ContainerNotFound" { return nil }
        guard answer.status == 200, let size = answer.header("content-length").flatMap({ Int64($0) }) else {
            throw failure(answer, "cannot look", place)
        }
        let modified = answer.header("last-modified").flatMap { Timestamp(httpDate: $0) }
        return StoredObject(location: location, byteCount: size, modified: modified?.seconds ?? 0)
    }

    package func list(_ prefix: ObjectLocation, after: String?, limit: Int) throws(StoreError) -> [StoredObject] {
        let own = try place(ObjectLocation(scheme: prefix.scheme, path: prefix.path + "/_"))
        let folder = String(own.blob.dropLast())
        let base = "\(host)/\(own.container)/"
        let container = Place(container: own.container, blob: "")
        var found: [StoredObject] = []
        var marker: String?
        // It has no beginning but its own markers: what comes before is passed over.
        repeat {
            var query = [("restype", "container"), ("comp", "list"), ("prefix", folder)]
            query.append(("maxresults", "\(after == nil ? min(5000, limit - found.count) : 5000)"))
            if let marker { query.append(("marker", marker)) }
            let answer = try call("GET", container, query: query)
            guard answer.status == 200, let page = XMLElement.parse(answer.body) else {
                throw failure(answer, "cannot list", container)
            }
            for blob in page.first("Blobs")?.all("Blob") ?? [] {
                guard let name = blob.value("Name"), let facts = blob.first("Properties"),
                    let size = facts.value("Content-Length").flatMap({ Int64($0) })
                else {
                    throw StoreError(
                        .unavailable, "the container '\(own.container)' answers a listing that cannot be read")
                }
                let path = base + name
                if let after, !Array(after.utf8).precedes(Array(path.utf8)) { continue }
                found.append(
                    StoredObject(
                        location: ObjectLocation(scheme: Self.scheme, path: path), byteCount: size,
                        modified: facts.value("Last-Modified").flatMap { Timestamp(httpDate: $0)?.seconds } ?? 0))
            }
            marker = page.value("NextMarker").flatMap { $0.isEmpty ? nil : $0 }
        } while marker != nil && found.count < limit
        return Array(found.prefix(limit))
    }

    package func remove(_ location: ObjectLocation) throws(StoreError) {
        let place = try place(location)
        let answer = try call("DELETE", place)
        guard [202, 404].contains(answer.status) else { throw failure(answer, "cannot remove", place) }
    }

    package func copy(_ source: ObjectLocation, to destination: ObjectLocation) throws(StoreError) -> Int64 {
        guard let size = try size(of: source) else { throw StoreError(.notFound, "\(source) is not there") }
        let (from, to) = (try place(source), try place(destination))
        var answer = try call("PUT", to, headers: [("x-ms-copy-source", endpoint + path(from))])
        guard answer.status == 202 else { throw failure(answer, "cannot copy", to) }
        // A copy within an account is nearly always made at once.
        var wait = 10
        while answer.header("x-ms-copy-status") == "pending" {
            sleep(milliseconds: wait)
            wait = min(wait * 2, 1000)
            answer = try call("HEAD", to)
        }
        guard answer.header("x-ms-copy-status") == "success" else {
            throw StoreError(
                .unavailable,
                "Azure did not copy to \(destination): \(answer.header("x-ms-copy-status-description") ?? "no reason given")"
            )
        }
        return size
    }

    // MARK: blocks

    func beginParts(_ location: ObjectLocation) throws(StoreError) -> any PartedUpload {
        Blocks(self, try place(location))
    }

    private final class Blocks: PartedUpload {
        private let store: AzureObjectStore
        private let place: Place
        private let name = Hex.text(randomBytes(8))
        init(_ store: AzureObjectStore, _ place: Place) {
            self.store = store
            self.place = place
        }

        func put(_ bytes: [UInt8], number: Int) throws(StoreError) -> String {
            // All of a blob are as long as each other.
            let digits = "\(number + 1_000_000)"
            let id = Base64.encode(Array("\(name)-\(digits)".utf8))
            let answer = try store.call(
                "PUT", place, query: [("comp", "block"), ("blockid", id)],
                headers: [("content-md5", Base64.encode(Hash.digest(.md5, bytes)))], body: bytes)
            guard answer.status == 201 else { throw store.failure(answer, "cannot write a block", place) }
            return id
        }

        func complete(_ names: [String], byteCount: Int64) throws(StoreError) {
            let list = names.map { "<Latest>\($0)</Latest>" }.joined()
            let body = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>\(list)</BlockList>"
            let answer = try store.call("PUT", place, query: [("comp", "blocklist")], body: Array(body.utf8))
            guard answer.status == 201 else { throw store.failure(answer, "cannot join blocks", place) }
        }

        /// Blocks that are in no list go by themselves after a week.
        func abort() {}
    }

    // MARK: signatures that allow access

    /// A key that signs for the identity, until its end.
    private struct DelegationKey: Sendable {
        let oid: String, tenant: String, start: String, expiry: String, service: String, version: String
        let value: [UInt8]
        let end: Int64
    }
    private let delegationKey = Mutex<DelegationKey?>(nil)

    /// Source: Azure Storage, "Get User Delegation Key".
    private func delegation(_ identity: AzureIdentity) throws(StoreError) -> DelegationKey {
        let now = Timestamp.now().seconds
        if let known = delegationKey.withLock({ $0 }), known.end - now > 3600 { return known }
        let start = Self.time(now - 300), expiry = Self.time(now + 24 * 3600)
        let body = Array("<KeyInfo><Start>\(start)</Start><Expiry>\(expiry)</Expiry></KeyInfo>".utf8)
        let answer = try client.call("the storage account '\(settings.account)'") { http in
            unsafe try http.send(
                "POST", endpoint + "/?restype=service&comp=userdelegationkey",
                headers: [
                    ("authorization", "Bearer " + (try identity.token())), ("x-ms-version", Self.version),
                    ("x-ms-date", Timestamp.now().httpDate), ("content-type", "application/xml"),
                ], body: .bytes(body))
        } judge: { _ in
            nil
        }
        guard answer.status == 200, let root = XMLElement.parse(answer.body), let oid = root.value("SignedOid"),
            let tenant = root.value("SignedTid"), let given = root.value("SignedStart"),
            let until = root.value("SignedExpiry"), let service = root.value("SignedService"),
            let version = root.value("SignedVersion"), let value = root.value("Value").flatMap({ Base64.decode($0) })
        else {
            throw StoreError(
                .refused,
                "Azure gives no key to sign addresses with: \(Self.words(answer)); the identity needs the role Storage Blob Delegator"
            )
        }
        let key = DelegationKey(
            oid: oid, tenant: tenant, start: given, expiry: until, service: service, version: version, value: value,
            end: now + 24 * 3600)
        delegationKey.withLock { $0 = key }
        return key
    }

    /// `2024-01-01T00:00:00Z`
    private static func time(_ seconds: Int64) -> String {
        let text = Timestamp(seconds: seconds).rfc3339
        return text.contains(".") ? String(text.prefix { $0 != "." }) + "Z" : text
    }

    /// Source: Azure Storage, "Create a service SAS", "Create a user delegation SAS".
    private func sign(_ permissions: String, _ place: Place, _ facts: PresignedFacts, seconds: Int64)
        throws(StoreError) -> String
    {
        let now = Timestamp.now().seconds
        let start = Self.time(now - 300), end = Self.time(now + seconds)
        let resource = "/blob/\(settings.account)/\(place.container)/\(place.blob)"
        let disposition = facts.contentDisposition ?? "", type = facts.contentType ?? ""
        let signingProtocol = endpoint.hasPrefix("https") ? "https" : "https,http"
        var query = [
            ("sv", Self.version), ("sr", "b"), ("sp", permissions), ("st", start), ("se", end),
            ("spr", signingProtocol),
        ]
        var lines = [permissions, start, end, resource]
        let signer: [UInt8]
        if let identity {
            let key = try delegation(identity)
            lines += [key.oid, key.tenant, key.start, key.expiry, key.service, key.version, "", "", ""]
            query += [
                ("skoid", key.oid), ("sktid", key.tenant), ("skt", key.start), ("ske", key.expiry),
                ("sks", key.service), ("skv", key.version),
            ]
            signer = key.value
        } else {
            lines.append("")
            signer = key
        }
        lines += ["", signingProtocol, Self.version, "b", "", "", "", disposition, "", "", type]
        if !disposition.isEmpty { query.append(("rscd", disposition)) }
        if !type.isEmpty { query.append(("rsct", type)) }
        let signature = Base64.encode(Hash.hmac(key: signer, Array(lines.joined(separator: "\n").utf8)))
        return endpoint + path(place) + "?" + URIEncoding.query(of: query + [("sig", signature)])
    }
}

extension AzureObjectStore: ObjectPresigner {
    package var writingHeaders: [(name: String, value: String)] { [(name: "x-ms-blob-type", value: "BlockBlob")] }

    package func presignReading(_ location: ObjectLocation, as facts: PresignedFacts, seconds: Int64)
        throws(StoreError) -> String
    { try sign("r", place(location), facts, seconds: seconds) }

    package func presignWriting(_ location: ObjectLocation, seconds: Int64) throws(StoreError) -> String {
        try sign("cw", place(location), PresignedFacts(), seconds: seconds)
    }
}
