import FoundationEssentials
package import Foundations
import Glibc
import Synchronization
package import Transport
package import Versioning

/// The key-value store in Azure's CosmosDB: lakeFS's container, for many servers on one lake. Writes of one key are
/// conditional by entity tags. There are no transactions over partitions: a batch of several keys is done in order, and
/// what it requires is looked at before; the core asks for none whose half would lose something
/// (`KeyValueCapabilities.mostChanges`). Source: `lakefs-formats.md` 6.3; Azure Cosmos DB REST API reference.
package final class CosmosDBStore: KeyValueStore {
    package struct Settings: Sendable {
        /// `https://ACCOUNT.documents.azure.com`.
        package var endpoint = ""
        /// The account's master key, in base64; a token of Azure's Active Directory if empty.
        package var key = ""
        package var database = "", container = ""
        package init() {}
    }

    package let capabilities = KeyValueCapabilities(mostChanges: 1, isShared: true, requiresCheaply: false)

    private let settings: Settings
    private let key: [UInt8]
    private let identity: AzureIdentity?
    private let http: HTTPClient
    private let retries: Retries
    private static let version = "2018-12-31"
    /// Bytes of a request that are no more than a record may have.
    private static let pageSize = 1000

    /// Makes the database and the container if they are not there.
    /// - Throws: `.refused`, with what to do, if they cannot be used.
    package init(_ settings: Settings, identity: AzureIdentity?) throws(StoreError) {
        self.settings = settings
        guard let key = Base64.decode(settings.key) else {
            throw StoreError(.refused, "database.cosmosdb.key is not base64: copy it from the account's keys")
        }
        self.key = key
        self.identity = settings.key.isEmpty ? identity : nil
        http = HTTPClient(connectSeconds: 5, stallSeconds: 30)
        var pace = Retries.Pace()
        pace.tries = 8
        retries = Retries(pace)
        try setUp()
    }

    private var containerLink: String { "dbs/\(settings.database)/colls/\(settings.container)" }

    // MARK: requests

    private struct Refusal: Decodable { let code: String?, message: String? }

    /// Makes a request until it is answered, or failed for good. Statuses of `expected` are answers.
    private func call(
        _ method: String, _ type: String, link: String, path: String, headers: [(String, String)] = [],
        body: [UInt8] = [], expecting expected: Set<Int>, wasLost: inout Bool
    ) throws(StoreError) -> HTTPClient.Answer {
        var isLost = wasLost
        defer { wasLost = isLost }
        do throws(StoreError) {
            return try retries.run { () throws(StoreError) in
                let date = Timestamp.now().httpDate
                let own = [
                    ("authorization", try authorization(method, type, link, date)), ("x-ms-date", date),
                    ("x-ms-version", Self.version),
                ]
                let answer: HTTPClient.Answer
                do {
                    answer = unsafe try http.send(
                        method, settings.endpoint + path, headers: own + headers,
                        body: body.isEmpty && method != "POST" ? .none : .bytes(body))
                } catch {
                    isLost = true
                    let reason = (error as? TransportError)?.words ?? "\(error)"
                    throw StoreError(
                        .away, "CosmosDB at \(settings.endpoint) cannot be reached: \(reason)", isTransient: true)
                }
                if expected.contains(answer.status) { return answer }
                if answer.status >= 500 { isLost = true }
                if answer.status == 429, let wait = answer.header("x-ms-retry-after-ms").flatMap({ Int($0) }) {
                    sleep(milliseconds: min(wait, 2000))
                }
                throw failure(answer, method)
            }
        } catch { throw StoreError(error.code, error.message) }
    }

    private func authorization(_ method: String, _ type: String, _ link: String, _ date: String) throws(StoreError)
        -> String
    {
        if let identity {
            return URIEncoding.encode("type=aad&ver=1.0&sig=" + (try identity.token()))
        }
        let text = "\(method.lowercased())\n\(type)\n\(link)\n\(date.lowercased())\n\n"
        return URIEncoding.encode(
            "type=master&ver=1.0&sig=" + Base64.encode(Hash.hmac(key: key, Array(text.utf8))))
    }

    private func failure(_ answer: HTTPClient.Answer, _ method: String) -> StoreError {
        let refusal = try? JSONDecoder().decode(Refusal.self, from: Data(answer.body))
        let words =
            "CosmosDB: \(answer.status) \(refusal?.code ?? "") \((refusal?.message ?? "").split(whereSeparator: \.isNewline).joined(separator: " "))"
        switch answer.status {
        case 408, 429, 449, 500...599: return StoreError(.away, words, isTransient: true)
        case 401: return StoreError(.refused, "\(words); give the account's key: database.cosmosdb.key")
        case 403:
            return StoreError(
                .refused,
                "\(words); the identity needs the rights of a data contributor, or the clock of this machine (\(Timestamp.now().rfc3339)) is wrong"
            )
        case 413: return StoreError(.invalid, "\(words): a record may have 2 MB")
        default: return StoreError(.unavailable, words)
        }
    }

    // MARK: database and container

    private struct Named: Encodable { let id: String }
    private struct Container: Codable {
        struct PartitionKey: Codable {
            let paths: [String]
            var kind: String? = "Hash"
            var version: Int? = 2
        }
        let id: String
        let partitionKey: PartitionKey?
    }

    private func setUp() throws(StoreError) {
        var wasLost = false
        let json = [("content-type", "application/json")]
        func encoded(_ value: some Encodable) throws(StoreError) -> [UInt8] {
            do { return [UInt8](try JSONEncoder().encode(value)) } catch { throw StoreError(.invalid, "\(error)") }
        }
        let link = containerLink
        // Looked at first: who has no right to make them need not have it.
        var found = try call("GET", "colls", link: link, path: "/" + link, expecting: [200, 404], wasLost: &wasLost)
        if found.status == 404 {
            _ = try call(
                "POST", "dbs", link: "", path: "/dbs", headers: json, body: encoded(Named(id: settings.database)),
                expecting: [201, 409], wasLost: &wasLost)
            let container = Container(
                id: settings.container, partitionKey: .init(paths: ["/partitionKey"]))
            _ = try call(
                "POST", "colls", link: "dbs/\(settings.database)", path: "/dbs/\(settings.database)/colls",
                headers: json, body: encoded(container), expecting: [201, 409], wasLost: &wasLost)
            found = try call("GET", "colls", link: link, path: "/" + link, expecting: [200], wasLost: &wasLost)
        }
        let shape = try? JSONDecoder().decode(Container.self, from: Data(found.body))
        guard shape?.partitionKey?.paths == ["/partitionKey"] else {
            throw StoreError(
                .refused,
                "the container \(settings.container) of CosmosDB is not divided by /partitionKey: name another one by database.cosmosdb.container"
            )
        }
    }

    // MARK: documents

    private struct Document: Codable {
        let partitionKey: String, id: String, key: String, value: String
        var _etag: String?
    }

    /// The id of a document: of the key's hash, as lakeFS has it (`lakefs-formats.md` 3.5, 6.3).
    static func id(_ key: Key) -> String {
        let count = (0..<8).map { UInt8(truncatingIfNeeded: UInt64(key.count) >> (56 - 8 * UInt64($0))) }
        return Base32Hex.encode(Hash.digest(.sha256, [0x00, 0x02, 0x08] + count + key.bytes))
    }

    private static func header(_ partition: Partition) -> (String, String) {
        ("x-ms-documentdb-partitionkey", "[\"\(Base32Hex.encode(partition.name.bytes))\"]")
    }

    private func document(_ key: Key, _ partition: Partition, _ value: [UInt8]) -> Document {
        Document(
            partitionKey: Base32Hex.encode(partition.name.bytes), id: Self.id(key),
            key: Base32Hex.encode(key.bytes), value: Base32Hex.encode(value))
    }

    private static func decode<Value: Decodable>(_ answer: HTTPClient.Answer, _: Value.Type) throws(StoreError) -> Value
    {
        do { return try JSONDecoder().decode(Value.self, from: Data(answer.body)) } catch {
            throw StoreError(.unavailable, "CosmosDB's answer cannot be read: \(error)")
        }
    }

    private static func bytes(_ text: String) throws(StoreError) -> [UInt8] {
        guard let bytes = Base32Hex.decode(text) else {
            throw StoreError(.corrupt, "a document of CosmosDB holds what is no base32hex: \(text.prefix(40))")
        }
        return bytes
    }

    private func read(_ key: Key, _ partition: Partition) throws(StoreError) -> (value: [UInt8], tag: String)? {
        let link = "\(containerLink)/docs/\(Self.id(key))"
        var wasLost = false
        let answer = try call(
            "GET", "docs", link: link, path: "/" + link, headers: [Self.header(partition)], expecting: [200, 404],
            wasLost: &wasLost)
        guard answer.status == 200 else { return nil }
        let found = try Self.decode(answer, Document.self)
        return (try Self.bytes(found.value), found._etag ?? answer.header("etag") ?? "")
    }

    package func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]? {
        try read(key, partition)?.value
    }

    private struct Query: Encodable {
        struct Parameter: Encodable { let name: String, value: String }
        let query: String
        let parameters: [Parameter]
    }
    private struct Found: Decodable { let Documents: [Document] }

    package func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(
        key: Key, value: [UInt8]
    )] {
        let query = Query(
            query: "select * from c where c.key >= @start order by c.key",
            parameters: [.init(name: "@start", value: Base32Hex.encode(from?.bytes ?? [], pads: false))])
        let body: [UInt8]
        do { body = [UInt8](try JSONEncoder().encode(query)) } catch { throw StoreError(.invalid, "\(error)") }
        var rows: [(key: Key, value: [UInt8])] = []
        var continuation: String?
        var wasLost = false
        repeat {
            var headers = [
                Self.header(partition), ("content-type", "application/query+json"),
                ("x-ms-documentdb-isquery", "True"),
                ("x-ms-max-item-count", "\(min(Self.pageSize, limit - rows.count + 1))"),
            ]
            if let continuation { headers.append(("x-ms-continuation", continuation)) }
            let answer = try call(
                "POST", "docs", link: containerLink, path: "/\(containerLink)/docs", headers: headers, body: body,
                expecting: [200], wasLost: &wasLost)
            for found in try Self.decode(answer, Found.self).Documents {
                let key = Key(try Self.bytes(found.key))
                if let from, key < from { continue }
                let isInside = end.map { key < $0 } ?? true
                if isInside { rows.append((key, try Self.bytes(found.value))) }
                guard isInside, rows.count <= limit else {
                    return try inOrder(rows, until: key, partition, from: from, before: end, limit: limit)
                }
            }
            continuation = answer.header("x-ms-continuation")
            // One more than wanted, to see what the last one may hide.
        } while continuation != nil && rows.count <= limit
        return try inOrder(rows, until: rows.last?.key, partition, from: from, before: end, limit: limit)
    }

    /// Rows in the order of bytes, which that of their text nearly is: padding sorts behind the digits 0 to 9, so that a
    /// key that begins others may come behind some of them.
    /// - Parameter last: the last key in the order of text that was seen: those late ones that were not seen begin it.
    private func inOrder(
        _ rows: [(key: Key, value: [UInt8])], until last: Key?, _ partition: Partition, from: Key?, before end: Key?,
        limit: Int
    ) throws(StoreError) -> [(key: Key, value: [UInt8])] {
        var rows = rows
        for late in last.map(Self.lateBeginnings(of:)) ?? []
        where from.map({ !(late < $0) }) ?? true && end.map({ late < $0 }) ?? true
            && !rows.contains(where: { $0.key == late })
        {
            if let value = try value(for: late, in: partition) { rows.append((late, value)) }
        }
        return Array(rows.sorted { $0.key < $1.key }.prefix(limit))
    }

    /// Beginnings of a key whose padded text sorts behind that of the key.
    static func lateBeginnings(of key: Key) -> [Key] {
        let text = Array(Base32Hex.encode(key.bytes).utf8)
        return (1..<max(1, key.count)).compactMap { count in
            let beginning = Key(Array(key.bytes[..<count]))
            return text.precedes(Array(Base32Hex.encode(beginning.bytes).utf8)) ? beginning : nil
        }
    }

    package func partitions() throws(StoreError) -> [Partition] {
        let body = Array(#"{"query":"select * from c","parameters":[]}"#.utf8)
        var names: Set<Key> = []
        var continuation: String?
        var wasLost = false
        repeat {
            var headers = [
                ("content-type", "application/query+json"), ("x-ms-documentdb-isquery", "True"),
                ("x-ms-documentdb-query-enablecrosspartition", "True"),
                ("x-ms-max-item-count", "\(Self.pageSize)"),
            ]
            if let continuation { headers.append(("x-ms-continuation", continuation)) }
            let answer = try call(
                "POST", "docs", link: containerLink, path: "/\(containerLink)/docs", headers: headers, body: body,
                expecting: [200], wasLost: &wasLost)
            for found in try Self.decode(answer, Found.self).Documents {
                names.insert(Key(try Self.bytes(found.partitionKey)))
            }
            continuation = answer.header("x-ms-continuation")
        } while continuation != nil
        return names.sorted().map { Partition($0) }
    }

    // MARK: writing

    private static let changed = StoreError(.preconditionFailed, "a record was changed by another writer")
    private static let unknown = StoreError(
        .away, "the answer of CosmosDB to a write was lost, and whether it was made cannot be told: look, and try again"
    )

    package func set(
        _ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?, _ durability: Durability
    ) throws(StoreError) { try put(value, key, partition, condition) }

    private func put(_ value: [UInt8], _ key: Key, _ partition: Partition, _ condition: Precondition?)
        throws(StoreError)
    {
        var wasLost = false
        let isDone: Bool
        switch condition {
        case nil: isDone = try upsert(value, key, partition, &wasLost)
        case .absent: isDone = try create(value, key, partition, &wasLost)
        case .present: isDone = try patch(value, key, partition, &wasLost)
        case .matches(let old):
            guard let current = try read(key, partition), current.value == old else { throw Self.changed }
            isDone = try replace(value, key, partition, tag: current.tag, &wasLost)
        }
        guard !isDone else { return }
        guard wasLost else { throw Self.changed }
        if try self.value(for: key, in: partition) != value { throw Self.unknown }
    }

    private func encoded(_ value: [UInt8], _ key: Key, _ partition: Partition) throws(StoreError) -> [UInt8] {
        do { return [UInt8](try JSONEncoder().encode(document(key, partition, value))) } catch {
            throw StoreError(.invalid, "\(error)")
        }
    }

    private func upsert(_ value: [UInt8], _ key: Key, _ partition: Partition, _ wasLost: inout Bool)
        throws(StoreError) -> Bool
    {
        let headers = [
            Self.header(partition), ("content-type", "application/json"), ("x-ms-documentdb-is-upsert", "True"),
        ]
        _ = try call(
            "POST", "docs", link: containerLink, path: "/\(containerLink)/docs", headers: headers,
            body: encoded(value, key, partition), expecting: [200, 201], wasLost: &wasLost)
        return true
    }

    private func create(_ value: [UInt8], _ key: Key, _ partition: Partition, _ wasLost: inout Bool)
        throws(StoreError) -> Bool
    {
        try call(
            "POST", "docs", link: containerLink, path: "/\(containerLink)/docs",
            headers: [Self.header(partition), ("content-type", "application/json")],
            body: encoded(value, key, partition), expecting: [201, 409], wasLost: &wasLost
        ).status == 201
    }

    private func replace(_ value: [UInt8], _ key: Key, _ partition: Partition, tag: String, _ wasLost: inout Bool)
        throws(StoreError) -> Bool
    {
        let link = "\(containerLink)/docs/\(Self.id(key))"
        return try call(
            "PUT", "docs", link: link, path: "/" + link,
            headers: [Self.header(partition), ("content-type", "application/json"), ("if-match", tag)],
            body: encoded(value, key, partition), expecting: [200, 404, 412], wasLost: &wasLost
        ).status == 200
    }

    private struct Patch: Encodable {
        struct Operation: Encodable {
            var op = "replace"
            var path = "/value"
            let value: String
        }
        let operations: [Operation]
    }

    private func patch(_ value: [UInt8], _ key: Key, _ partition: Partition, _ wasLost: inout Bool)
        throws(StoreError) -> Bool
    {
        let link = "\(containerLink)/docs/\(Self.id(key))"
        let patch = Patch(operations: [.init(value: Base32Hex.encode(value))])
        let body: [UInt8]
        do { body = [UInt8](try JSONEncoder().encode(patch)) } catch { throw StoreError(.invalid, "\(error)") }
        return try call(
            "PATCH", "docs", link: link, path: "/" + link,
            headers: [Self.header(partition), ("content-type", "application/json-patch+json")], body: body,
            expecting: [200, 404], wasLost: &wasLost
        ).status == 200
    }

    private func delete(_ key: Key, _ partition: Partition, tag: String? = nil) throws(StoreError) -> Bool {
        let link = "\(containerLink)/docs/\(Self.id(key))"
        var wasLost = false
        let answer = try call(
            "DELETE", "docs", link: link, path: "/" + link,
            headers: [Self.header(partition)] + (tag.map { [("if-match", $0)] } ?? []), expecting: [204, 404, 412],
            wasLost: &wasLost)
        return answer.status == 204 || (answer.status == 404 && (tag == nil || wasLost))
    }

    private func removal(of key: Key, _ partition: Partition, _ condition: Precondition?) throws(StoreError) {
        switch condition {
        case nil: _ = try delete(key, partition)
        case .absent: if try read(key, partition) != nil { throw Self.changed }
        case .present, .matches:
            guard let current = try read(key, partition), condition!.allows(current.value),
                try delete(key, partition, tag: current.tag)
            else { throw Self.changed }
        }
    }

    package func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError) {
        guard let steps = MutationSteps(batch) else { throw Self.changed }
        for step in steps.all where step.condition != nil && (step.change == nil || steps.all.count > 1) {
            guard step.condition!.allows(try value(for: step.key, in: step.partition)) else { throw Self.changed }
        }
        for step in steps.all {
            switch step.change {
            case .set(let value): try put(value, step.key, step.partition, step.condition)
            case .remove: try removal(of: step.key, step.partition, step.condition)
            case nil: break
            }
        }
    }

    package func removeAll(in partition: Partition) throws(StoreError) {
        while true {
            let rows = try page(of: partition, from: nil, before: nil, limit: Self.pageSize)
            guard !rows.isEmpty else { return }
            for row in rows { _ = try delete(row.key, partition) }
        }
    }
}
