import FoundationEssentials
package import Foundations
import Glibc
package import Transport
package import Versioning

/// The key-value store in Amazon's DynamoDB: lakeFS's table, for many servers on one lake. Reads are consistent; a write
/// of one key is one conditional request, of several one transaction. Source: `lakefs-formats.md` 6.2; Amazon DynamoDB
/// API reference.
package final class DynamoDBStore: KeyValueStore {
    package struct Settings: Sendable {
        package var table = "kvstore"
        /// Amazon's own of the region if empty.
        package var endpoint = ""
        package var region = "us-east-1"
        package var mostAttempts = 10
        /// Items of a page of a listing.
        package var pageSize = 1024
        package init() {}
    }

    package let capabilities = KeyValueCapabilities(
        mostChanges: mostInTransaction, isShared: true, requiresCheaply: false)

    private static let mostInTransaction = 100, mostInBatch = 25, mostGets = 100
    private let settings: Settings
    private let identity: AWSIdentity
    private let http: HTTPClient
    private let retries: Retries

    /// Looks at the table, and makes it if there is none.
    /// - Throws: `.refused`, with what to do, if it cannot be used.
    package init(_ settings: Settings, identity: AWSIdentity) throws(StoreError) {
        self.settings = settings
        self.identity = identity
        http = HTTPClient(connectSeconds: 5, stallSeconds: 30)
        var pace = Retries.Pace()
        pace.tries = max(1, settings.mostAttempts)
        retries = Retries(pace)
        try setUp()
    }

    // MARK: requests

    /// A refusal of the service's: the last part of its type, and its words.
    private struct Refusal: Decodable {
        struct Reason: Decodable { let Code: String? }
        let __type: String?
        let message: String?, Message: String?
        let CancellationReasons: [Reason]?
        var name: String { __type?.split(separator: "#").last.map { String($0) } ?? "" }
        var words: String { message ?? Message ?? "" }
    }

    private static let transient: Set<String> = [
        "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded", "InternalServerError",
        "TransactionInProgressException", "ServiceUnavailable", "LimitExceededException",
    ]

    /// Makes a request until it is answered or refused for good. What failed for a while is made again.
    private func call<Input: Encodable, Output: Decodable>(_ action: String, _ input: Input, _ output: Output.Type)
        throws(StoreError) -> Output
    {
        var wasLost = false
        return try call(action, input, output, wasLost: &wasLost)
    }

    /// - Parameter wasLost: set if a try was sent and not answered.
    private func call<Input: Encodable, Output: Decodable>(
        _ action: String, _ input: Input, _: Output.Type, wasLost: inout Bool
    ) throws(StoreError) -> Output {
        let body: [UInt8]
        do { body = [UInt8](try JSONEncoder().encode(input)) } catch { throw StoreError(.invalid, "\(error)") }
        do throws(StoreError) {
            return try retries.run { () throws(StoreError) in
                let answer: HTTPClient.Answer
                do throws(StoreError) { answer = try send(action, body) } catch {
                    wasLost = true
                    throw error
                }
                // What failed there may have been done.
                if answer.status >= 500 { wasLost = true }
                if answer.status == 200 {
                    do { return try JSONDecoder().decode(Output.self, from: Data(answer.body)) } catch {
                        throw StoreError(.unavailable, "DynamoDB's answer to \(action) cannot be read: \(error)")
                    }
                }
                throw failure(answer, action)
            }
        } catch { throw StoreError(error.code, error.message) }
    }

    private func send(_ action: String, _ body: [UInt8]) throws(StoreError) -> HTTPClient.Answer {
        var keys = try identity.credentials()
        keys.region = settings.region
        let endpoint =
            settings.endpoint.isEmpty ? "https://dynamodb.\(settings.region).amazonaws.com" : settings.endpoint
        let (url, headers) = keys.sign(
            "POST", endpoint: endpoint, path: [0x2f],
            headers: [
                ("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "DynamoDB_20120810.\(action)"),
            ], body: body, service: "dynamodb")
        do { return unsafe try http.send("POST", url, headers: headers, body: .bytes(body)) } catch {
            let reason = (error as? TransportError)?.words ?? "\(error)"
            throw StoreError(.away, "DynamoDB at \(endpoint) cannot be reached: \(reason)", isTransient: true)
        }
    }

    private func failure(_ answer: HTTPClient.Answer, _ action: String) -> StoreError {
        let refusal = try? JSONDecoder().decode(Refusal.self, from: Data(answer.body))
        let name = refusal?.name ?? ""
        let words = "DynamoDB, \(action): \(name.isEmpty ? answer.statusLine : name): \(refusal?.words ?? "")"
        switch name {
        case "ConditionalCheckFailedException": return Self.changed
        case "TransactionCanceledException":
            let codes = refusal?.CancellationReasons?.compactMap(\.Code) ?? []
            if codes.contains("ConditionalCheckFailed") || refusal?.words.contains("ConditionalCheckFailed") == true {
                return Self.changed
            }
            let passing = ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"]
            let isPassing = passing.contains { code in
                codes.contains(code) || refusal?.words.contains(code) == true
            }
            return StoreError(isPassing ? .away : .unavailable, words, isTransient: isPassing)
        case "ResourceNotFoundException": return StoreError(.notFound, words)
        case "ValidationException" where words.contains("size"):
            return StoreError(.invalid, "\(words): a record may have 400 KB with its key")
        case "UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignature",
            "MissingAuthenticationTokenException", "InvalidClientTokenId", "SignatureDoesNotMatch":
            let hint =
                words.contains("expired") || words.contains("not yet current")
                ? "the clock of this machine (\(Timestamp.now().rfc3339)) is not the service's: set it"
                : "give the key pair that the service knows: database.dynamodb.aws_access_key_id and .aws_secret_access_key"
            return StoreError(.refused, "\(words); \(hint)")
        case "AccessDeniedException":
            return StoreError(
                .refused,
                "\(words); its key pair needs the rights to describe, read and write the table \(settings.table), and to create it where there is none"
            )
        default:
            let isTransient = Self.transient.contains(name) || answer.status >= 500
            return StoreError(isTransient ? .away : .unavailable, words, isTransient: isTransient)
        }
    }

    private static let changed = StoreError(.preconditionFailed, "a record was changed by another writer")

    // MARK: the table

    private struct Description: Decodable {
        struct Table: Decodable {
            struct Key: Decodable { let AttributeName: String, KeyType: String }
            struct Attribute: Decodable { let AttributeName: String, AttributeType: String }
            let TableStatus: String?
            let KeySchema: [Key]?
            let AttributeDefinitions: [Attribute]?
        }
        let Table: Table
    }
    private struct Named: Encodable { let TableName: String }
    private struct Creation: Encodable {
        struct Key: Encodable { let AttributeName: String, KeyType: String }
        struct Attribute: Encodable { let AttributeName: String, AttributeType: String }
        let TableName: String
        var BillingMode = "PAY_PER_REQUEST"
        var AttributeDefinitions = [
            Attribute(AttributeName: "PartitionKey", AttributeType: "B"),
            Attribute(AttributeName: "ItemKey", AttributeType: "B"),
        ]
        var KeySchema = [
            Key(AttributeName: "PartitionKey", KeyType: "HASH"), Key(AttributeName: "ItemKey", KeyType: "RANGE"),
        ]
    }
    private struct Anything: Decodable {}

    private func setUp() throws(StoreError) {
        for attempt in 0..<120 {
            let found: Description
            do throws(StoreError) {
                found = try call("DescribeTable", Named(TableName: settings.table), Description.self)
            } catch {
                guard error.code == .notFound else { throw error }
                if attempt == 0 {
                    do throws(StoreError) {
                        _ = try call("CreateTable", Creation(TableName: settings.table), Anything.self)
                    } catch {
                        // Another server may have been first.
                        guard error.message.contains("ResourceInUse") else { throw error }
                    }
                }
                sleep(milliseconds: 100)
                continue
            }
            guard found.Table.TableStatus == nil || found.Table.TableStatus == "ACTIVE" else {
                sleep(milliseconds: 500)
                continue
            }
            let keys = found.Table.KeySchema?.map { "\($0.AttributeName) \($0.KeyType)" } ?? []
            let types = Set(found.Table.AttributeDefinitions?.map { "\($0.AttributeName) \($0.AttributeType)" } ?? [])
            guard keys == ["PartitionKey HASH", "ItemKey RANGE"],
                types.isSuperset(of: ["PartitionKey B", "ItemKey B"])
            else {
                throw StoreError(
                    .refused,
                    "the table \(settings.table) of DynamoDB has the keys \(keys.joined(separator: ", ")), not PartitionKey and ItemKey of bytes: name another one by database.dynamodb.table_name"
                )
            }
            return
        }
        throw StoreError(.away, "the table \(settings.table) of DynamoDB is not ready")
    }

    // MARK: items

    private struct Attribute: Codable {
        let B: String?
        init(_ bytes: [UInt8]) { B = Base64.encode(bytes) }
        var bytes: [UInt8] { B.flatMap { Base64.decode($0) } ?? [] }
    }
    private typealias Item = [String: Attribute]

    private static func key(_ key: Key, _ partition: Partition) -> Item {
        ["PartitionKey": Attribute(partition.name.bytes), "ItemKey": Attribute(key.bytes)]
    }

    private static func item(_ value: [UInt8], _ key: Key, _ partition: Partition) -> Item {
        var item = Self.key(key, partition)
        item["ItemValue"] = Attribute(value)
        return item
    }

    private static func condition(_ condition: Precondition?) -> (text: String?, values: Item?) {
        switch condition {
        case nil: (nil, nil)
        case .absent: ("attribute_not_exists(ItemValue)", nil)
        case .present: ("attribute_exists(ItemValue)", nil)
        case .matches(let old): ("ItemValue = :old", [":old": Attribute(old)])
        }
    }

    // MARK: reading

    private struct Get: Encodable {
        let TableName: String
        let Key: Item
        var ConsistentRead = true
    }
    private struct Got: Decodable { let Item: Item? }

    package func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]? {
        try call("GetItem", Get(TableName: settings.table, Key: Self.key(key, partition)), Got.self)
            .Item?["ItemValue"]?.bytes
    }

    private struct Wanted: Codable {
        let Keys: [Item]
        var ConsistentRead: Bool? = true
    }
    private struct BatchGet: Encodable { let RequestItems: [String: Wanted] }
    private struct BatchGot: Decodable {
        let Responses: [String: [Item]]?
        let UnprocessedKeys: [String: Wanted]?
    }
    private struct Name: Hashable { let partition: [UInt8], key: [UInt8] }

    package func values(for names: [(partition: Partition, key: Key)]) throws(StoreError) -> [[UInt8]?] {
        if names.count == 1 { return [try value(for: names[0].key, in: names[0].partition)] }
        var found: [Name: [UInt8]] = [:]
        var seen: Set<Name> = []
        var left: [Item] = []
        for (partition, key) in names
        where seen.insert(Name(partition: partition.name.bytes, key: key.bytes)).inserted {
            left.append(Self.key(key, partition))
        }
        var tries = 0
        while !left.isEmpty {
            let some = Array(left.prefix(Self.mostGets))
            left.removeFirst(some.count)
            let got = try call(
                "BatchGetItem", BatchGet(RequestItems: [settings.table: Wanted(Keys: some)]), BatchGot.self)
            for item in got.Responses?[settings.table] ?? [] {
                guard let partition = item["PartitionKey"], let key = item["ItemKey"] else { continue }
                found[Name(partition: partition.bytes, key: key.bytes)] = item["ItemValue"]?.bytes
            }
            let missed = got.UnprocessedKeys?[settings.table]?.Keys ?? []
            if !missed.isEmpty { try wait(&tries) }
            left += missed
        }
        return names.map { found[Name(partition: $0.partition.name.bytes, key: $0.key.bytes)] }
    }

    /// Before what the service did not get to is asked of it again.
    private func wait(_ tries: inout Int) throws(StoreError) {
        tries += 1
        guard tries <= settings.mostAttempts * 2 else {
            throw StoreError(.away, "DynamoDB has too much to do: try again later")
        }
        let longest = min(2000, 20 << min(tries, 10))
        sleep(milliseconds: Int.random(in: longest / 2...longest))
    }

    private struct Query: Encodable {
        let TableName: String
        let KeyConditionExpression: String
        let ExpressionAttributeValues: Item
        let Limit: Int
        var ConsistentRead = true
        let ExclusiveStartKey: Item?
        let ProjectionExpression: String?
    }
    private struct Found: Decodable {
        let Items: [Item]?
        let LastEvaluatedKey: Item?
    }

    package func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(
        key: Key, value: [UInt8]
    )] { try page(of: partition, from: from, before: end, limit: limit, withValues: true) }

    private func page(of partition: Partition, from: Key?, before end: Key?, limit: Int, withValues: Bool)
        throws(StoreError) -> [(key: Key, value: [UInt8])]
    {
        var condition = "PartitionKey = :p"
        var values: Item = [":p": Attribute(partition.name.bytes)]
        let from = from.flatMap { $0.isEmpty ? nil : $0 }
        if let end, end.isEmpty || from.map({ !($0 < end) }) ?? false { return [] }
        if let from { values[":from"] = Attribute(from.bytes) }
        if let end { values[":end"] = Attribute(end.bytes) }
        switch (from, end) {
        case (nil, nil): break
        case (_?, nil): condition += " AND ItemKey >= :from"
        case (nil, _?): condition += " AND ItemKey < :end"
        // Both ends belong to it: the upper one is left out below.
        case (_?, _?): condition += " AND ItemKey BETWEEN :from AND :end"
        }
        var rows: [(key: Key, value: [UInt8])] = []
        var next: Item?
        repeat {
            let found = try call(
                "Query",
                Query(
                    TableName: settings.table, KeyConditionExpression: condition, ExpressionAttributeValues: values,
                    Limit: min(limit - rows.count, settings.pageSize), ExclusiveStartKey: next,
                    ProjectionExpression: withValues ? nil : "ItemKey"), Found.self)
            for item in found.Items ?? [] {
                let key = Key(item["ItemKey"]?.bytes ?? [])
                if let end, !(key < end) { return rows }
                rows.append((key, item["ItemValue"]?.bytes ?? []))
            }
            // A page may be empty and not be the last.
            next = found.LastEvaluatedKey
        } while next != nil && rows.count < limit
        return rows
    }

    private struct Scan: Encodable {
        let TableName: String
        var ProjectionExpression = "PartitionKey"
        var ConsistentRead = true
        let ExclusiveStartKey: Item?
    }

    package func partitions() throws(StoreError) -> [Partition] {
        var names: Set<Key> = []
        var next: Item?
        repeat {
            let found = try call("Scan", Scan(TableName: settings.table, ExclusiveStartKey: next), Found.self)
            for item in found.Items ?? [] { names.insert(Key(item["PartitionKey"]?.bytes ?? [])) }
            next = found.LastEvaluatedKey
        } while next != nil
        return names.sorted().map { Partition($0) }
    }

    // MARK: writing

    private struct Put: Encodable {
        let TableName: String
        let Item: Item
        let ConditionExpression: String?
        let ExpressionAttributeValues: Item?
    }
    private struct Keyed: Encodable {
        let TableName: String
        let Key: Item
        let ConditionExpression: String?
        let ExpressionAttributeValues: Item?
    }
    private struct Step: Encodable {
        var Put: Put?
        var Delete: Keyed?
        var ConditionCheck: Keyed?
    }
    private struct Transaction: Encodable {
        let TransactItems: [Step]
        /// The same request made again within ten minutes is done once.
        let ClientRequestToken: String
    }

    package func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError) {
        guard let steps = MutationSteps(batch) else { throw Self.changed }
        guard steps.all.count <= Self.mostInTransaction else {
            throw StoreError(.invalid, "DynamoDB changes \(Self.mostInTransaction) records at once at most")
        }
        if steps.all.count == 1, let only = steps.all.first, only.change != nil { return try write(only) }
        let items = steps.all.map { step in
            let (text, values) = Self.condition(step.condition)
            func keyed() -> Keyed {
                Keyed(
                    TableName: settings.table, Key: Self.key(step.key, step.partition), ConditionExpression: text,
                    ExpressionAttributeValues: values)
            }
            return switch step.change {
            case .set(let value):
                Step(
                    Put: Put(
                        TableName: settings.table, Item: Self.item(value, step.key, step.partition),
                        ConditionExpression: text, ExpressionAttributeValues: values))
            case .remove: Step(Delete: keyed())
            case nil: Step(ConditionCheck: keyed())
            }
        }
        guard !items.isEmpty else { return }
        let token = Hex.text(randomBytes(16))
        _ = try call(
            "TransactWriteItems", Transaction(TransactItems: items, ClientRequestToken: token), Anything.self)
    }

    /// One request of one key. An answer that is lost leaves open whether it was done: what has no condition is the same
    /// when it is done twice in a row, and what has one looks at what is there.
    private func write(_ step: MutationSteps.Step) throws(StoreError) {
        let (text, values) = Self.condition(step.condition)
        var wasLost = false
        while true {
            do throws(StoreError) {
                let key = Self.key(step.key, step.partition)
                if case .set(let value)? = step.change {
                    let put = Put(
                        TableName: settings.table, Item: Self.item(value, step.key, step.partition),
                        ConditionExpression: text, ExpressionAttributeValues: values)
                    _ = try call("PutItem", put, Anything.self, wasLost: &wasLost)
                } else {
                    let removal = Keyed(
                        TableName: settings.table, Key: key, ConditionExpression: text,
                        ExpressionAttributeValues: values)
                    _ = try call("DeleteItem", removal, Anything.self, wasLost: &wasLost)
                }
                return
            } catch {
                guard error.code == .preconditionFailed, wasLost else { throw error }
                let current = try value(for: step.key, in: step.partition)
                let isOurs =
                    switch step.change {
                    case .set(let value): current == value
                    default: current == nil
                    }
                if isOurs { return }
                // Another one may have written over what this one made, or have been first.
                throw StoreError(
                    .away,
                    "the answer of DynamoDB to a write was lost, and whether it was made cannot be told: look, and try again"
                )
            }
        }
    }

    private struct BatchStep: Codable {
        struct Removal: Codable { let Key: Item }
        let DeleteRequest: Removal
    }
    private struct BatchWrite: Encodable { let RequestItems: [String: [BatchStep]] }
    private struct BatchWritten: Decodable { let UnprocessedItems: [String: [BatchStep]]? }

    package func removeAll(in partition: Partition) throws(StoreError) {
        while true {
            let keys = try page(of: partition, from: nil, before: nil, limit: 1000, withValues: false).map(\.key)
            guard !keys.isEmpty else { return }
            var left = keys.map { BatchStep(DeleteRequest: .init(Key: Self.key($0, partition))) }
            var tries = 0
            while !left.isEmpty {
                let some = Array(left.prefix(Self.mostInBatch))
                left.removeFirst(some.count)
                let written = try call(
                    "BatchWriteItem", BatchWrite(RequestItems: [settings.table: some]), BatchWritten.self)
                let missed = written.UnprocessedItems?[settings.table] ?? []
                if !missed.isEmpty { try wait(&tries) }
                left += missed
            }
        }
    }
}
