import Foundations
import LakeAPI
import Transport

/// Others' services as scripts reach them: `aws`, `azure`, `gcloud`, `databricks`, `net/http`. Names and what they return
/// are lakeFS's (documentation, "Lua library reference"); places of their own can be given as the last argument of a
/// client, for what speaks as they do.
struct CloudCalls {
    let client: HTTPClient
    /// Until when the script may run, on the monotonic clock.
    let deadline: Int64

    private func timeLeft() throws -> Int {
        let left = deadline - Timestamp.monotonicMilliseconds()
        guard left > 0 else { throw HookFailure("the script's time is over") }
        return Int(min(left, Int64(Self.timeout)))
    }

    /// Milliseconds that a call may take.
    private static let timeout = 60_000
    /// Bytes of an answer that a script can be given.
    private static let mostRead = 32 << 20
    /// Objects that one call removes, and keys of a page.
    private static let pageKeys = 1000

    private func send(
        _ method: String, _ url: String, _ headers: [(String, String)], _ body: [UInt8] = []
    ) throws -> (status: Int, body: [UInt8]) {
        let answer = try HookRequest(client, timeout: try timeLeft(), mostRead: Self.mostRead).fetch(
            method, url, headers: headers, body: body.isEmpty && (method == "GET" || method == "DELETE") ? nil : body)
        return (answer.status, answer.body)
    }

    private static func fail(_ what: String, _ answer: (status: Int, body: [UInt8])) -> HookFailure {
        let text = String(decoding: answer.body.prefix(1000), as: UTF8.self)
        return HookFailure("\(what): HTTP \(answer.status)\(text.isEmpty ? "" : ": " + text)")
    }

    private static func endpoint(_ given: LuaValue, or standard: String) -> String {
        guard let text = given.text, !text.isEmpty else { return standard }
        return text.hasSuffix("/") ? String(text.dropLast()) : text
    }

    /// The key pair of a client, and where its service is.
    private static func aws(_ login: LuaValue, _ service: String) -> (keys: AWSCredentials, endpoint: String) {
        let region = login["region"].text.flatMap { $0.isEmpty ? nil : $0 } ?? "us-east-1"
        let keys = AWSCredentials(
            accessKeyID: login["id"].text ?? "", secretAccessKey: login["secret"].text ?? "", region: region)
        return (keys, endpoint(login["endpoint"], or: "https://\(service).\(region).amazonaws.com"))
    }

    // MARK: S3

    func s3(_ name: String, _ login: LuaValue, _ given: LuaArguments) throws -> [LuaValue] {
        let (keys, endpoint) = Self.aws(login, "s3")
        let bucket = try given.text(1)
        func call(_ method: String, _ key: [UInt8], _ query: [(String, String)] = [], _ body: [UInt8] = []) throws -> (
            status: Int, body: [UInt8]
        ) {
            let (url, headers) = keys.sign(
                method, endpoint: endpoint, path: Array("/\(bucket)/".utf8) + key, query: query, body: body,
                service: "s3")
            return try send(method, url, headers, body)
        }
        func list(_ prefix: String, _ token: String, _ delimiter: String) throws -> XMLElement {
            var query = [("list-type", "2"), ("max-keys", "\(Self.pageKeys)"), ("prefix", prefix)]
            if !token.isEmpty { query.append(("continuation-token", token)) }
            if !delimiter.isEmpty { query.append(("delimiter", delimiter)) }
            let answer = try call("GET", [], query)
            guard answer.status == 200, let page = XMLElement.parse(answer.body) else {
                throw Self.fail("listing s3://\(bucket)/\(prefix)", answer)
            }
            return page
        }
        switch name {
        case "get_object":
            let key = try given.bytes(2)
            let answer = try call("GET", key)
            // A bucket that is not there is a mistake, an object is an answer.
            let isThere = !String(decoding: answer.body.prefix(1000), as: UTF8.self).contains("NoSuchBucket")
            if answer.status == 404, isThere { return [.text(""), .flag(false)] }
            guard answer.status == 200 else { throw Self.fail("reading s3://\(bucket)/\(try given.text(2))", answer) }
            return [.bytes(answer.body), .flag(true)]
        case "put_object":
            let answer = try call("PUT", try given.bytes(2), [], try given.bytes(3))
            guard answer.status == 200 else { throw Self.fail("writing s3://\(bucket)/\(try given.text(2))", answer) }
            return []
        case "delete_object":
            let answer = try call("DELETE", try given.bytes(2))
            guard (200..<300).contains(answer.status) || answer.status == 404 else {
                throw Self.fail("removing s3://\(bucket)/\(try given.text(2))", answer)
            }
            return []
        case "list_objects":
            let page = try list(try given.text(2, or: ""), try given.text(3, or: ""), try given.text(4, or: ""))
            let objects = page.all("Contents").map { object -> LuaValue in
                .table([
                    "type": .text("object"), "key": .text(object.value("Key") ?? ""),
                    "size": .number(Double(object.value("Size") ?? "") ?? 0),
                    "etag": .text(object.value("ETag") ?? ""),
                    "last_modified": .text(object.value("LastModified") ?? ""),
                ])
            }
            let prefixes = page.all("CommonPrefixes").map { group -> LuaValue in
                .table(["type": .text("prefix"), "key": .text(group.value("Prefix") ?? "")])
            }
            return [
                .table([
                    "is_truncated": .flag(page.value("IsTruncated") == "true"),
                    "next_continuation_token": .text(page.value("NextContinuationToken") ?? ""),
                    "results": .list(prefixes + objects),
                ])
            ]
        case "delete_recursive":
            let prefix = try given.text(2)
            while true {
                let page = try list(prefix, "", "")
                let found = page.all("Contents").compactMap { $0.value("Key") }
                for key in found {
                    let answer = try call("DELETE", Array(key.utf8))
                    guard (200..<300).contains(answer.status) || answer.status == 404 else {
                        throw Self.fail("removing s3://\(bucket)/\(key)", answer)
                    }
                }
                if found.isEmpty || page.value("IsTruncated") != "true" { return [] }
            }
        default: throw HookFailure("there is no function s3_client.\(name)")
        }
    }

    // MARK: Glue

    func glue(_ name: String, _ login: LuaValue, _ given: LuaArguments) throws -> [LuaValue] {
        let (keys, endpoint) = Self.aws(login, "glue")
        func call(_ operation: String, _ members: [String: JSONValue]) throws -> (status: Int, body: [UInt8]) {
            let body = Coding.encode(JSONValue.object(members))
            let (url, headers) = keys.sign(
                "POST", endpoint: endpoint, path: Array("/".utf8),
                headers: [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "AWSGlue." + operation)],
                body: body, service: "glue")
            return try send("POST", url, headers, body)
        }
        func failedBy(_ kind: String, _ answer: (status: Int, body: [UInt8])) -> Bool {
            answer.status == 400 && String(decoding: answer.body, as: UTF8.self).contains(kind)
        }
        /// A table or a text of JSON, as it is.
        func input(_ place: Int) throws -> JSONValue {
            if let text = given[place].array { return try LuaJSON.read(text) }
            guard let json = given[place].json else {
                throw HookFailure("bad argument #\(place): no table and no JSON")
            }
            return json
        }
        let database = try given.text(1)
        var members: [String: JSONValue] = [:]
        func catalog(_ place: Int) throws {
            let id = try given.text(place, or: "")
            if !id.isEmpty { members["CatalogId"] = .text(id) }
        }
        let answer: (status: Int, body: [UInt8])
        switch name {
        case "get_table":
            members = ["DatabaseName": .text(database), "Name": .text(try given.text(2))]
            try catalog(3)
            answer = try call("GetTable", members)
            if failedBy("EntityNotFoundException", answer) { return [.null, .flag(false)] }
            guard answer.status == 200 else { throw Self.fail("Glue, GetTable", answer) }
            return [LuaValue(try LuaJSON.read(answer.body)), .flag(true)]
        case "create_table":
            members = ["DatabaseName": .text(database), "TableInput": try input(2)]
            try catalog(3)
            if given[4] != .null { members["PartitionIndexes"] = try input(4) }
            answer = try call("CreateTable", members)
        case "update_table":
            members = ["DatabaseName": .text(database), "TableInput": try input(2)]
            try catalog(3)
            let version = try given.text(4, or: "")
            if !version.isEmpty { members["VersionId"] = .text(version) }
            if case .flag(let skips) = given[5] { members["SkipArchive"] = .flag(skips) }
            answer = try call("UpdateTable", members)
        case "delete_table":
            members = ["DatabaseName": .text(database), "Name": .text(try given.text(2))]
            try catalog(3)
            answer = try call("DeleteTable", members)
        case "create_database":
            var made: [String: JSONValue] = [:]
            if given[2] != .null, case .object(let members) = try input(2) { made = members }
            made["Name"] = .text(database)
            members = ["DatabaseInput": .object(made)]
            answer = try call("CreateDatabase", members)
            if failedBy("AlreadyExistsException", answer), given[3]["error_on_already_exists"] == .flag(false) {
                return []
            }
        case "delete_database":
            members = ["Name": .text(database)]
            try catalog(2)
            answer = try call("DeleteDatabase", members)
        default: throw HookFailure("there is no function glue_client.\(name)")
        }
        guard answer.status == 200 else { throw Self.fail("Glue, \(name)", answer) }
        return []
    }

    // MARK: Azure

    /// Source: Azure Storage REST API reference, "Authorize with Shared Key", "Put Blob".
    func azure(_ name: String, _ login: LuaValue, _ given: LuaArguments) throws -> [LuaValue] {
        let account = login["account"].text ?? ""
        guard let key = login["key"].text.flatMap({ Base64.decode($0) }) else {
            throw HookFailure("the access key of the storage account \(account) is no base64")
        }
        let uri = try given.text(1)
        let endpoint = Self.endpoint(login["endpoint"], or: "https://\(account).blob.core.windows.net")
        // A whole address, or what stands behind the account's.
        var place = uri[...]
        if let scheme = uri.firstRange(of: "://") {
            let rest = uri[scheme.upperBound...]
            place = rest[(rest.firstIndex(of: "/") ?? rest.endIndex)...]
        }
        let path = "/" + place.drop { $0 == "/" }
        let encoded = URIEncoding.encode(Array(path.utf8), keepsSlash: true)
        let method: String
        var body: [UInt8] = []
        switch name {
        case "get_object": method = "GET"
        case "put_object": (method, body) = ("PUT", try given.bytes(2))
        case "delete_object": method = "DELETE"
        default: throw HookFailure("there is no function blob_client.\(name)")
        }
        var headers = [("x-ms-date", Timestamp.now().httpDate), ("x-ms-version", "2021-08-06")]
        if method == "PUT" { headers.append(("x-ms-blob-type", "BlockBlob")) }
        let canonical = headers.sorted { $0.0 < $1.0 }.map { "\($0.0):\($0.1)\n" }.joined()
        let length = body.isEmpty ? "" : "\(body.count)"
        // Verb, encoding, language, length, MD5, type, date, four conditions, range.
        let text = "\(method)\n\n\n\(length)\n\n\n\n\n\n\n\n\n\(canonical)/\(account)\(encoded)"
        let signature = Base64.encode(Hash.hmac(key: key, Array(text.utf8)))
        headers.append(("Authorization", "SharedKey \(account):\(signature)"))
        let answer = try send(method, endpoint + encoded, headers, body)
        switch name {
        case "get_object" where answer.status == 404: return [.text(""), .flag(false)]
        case "get_object" where answer.status == 200: return [.bytes(answer.body), .flag(true)]
        case "put_object" where answer.status == 201: return []
        case "delete_object" where answer.status == 202 || answer.status == 404: return []
        default: throw Self.fail("Azure, \(name) of \(uri)", answer)
        }
    }

    // MARK: Google Cloud

    /// Source: Google's "Using OAuth 2.0 for Server to Server Applications"; gcsfuse, "Symlink inodes".
    func gcloud(_ name: String, _ login: LuaValue, _ given: LuaArguments) throws -> [LuaValue] {
        guard name == "write_fuse_symlink" else { throw HookFailure("there is no function gs_client.\(name)") }
        guard case .object(let account) = try LuaJSON.read(login["credentials"].array ?? []) else {
            throw HookFailure("the credentials are no JSON of a service account")
        }
        var source = try given.text(1)
        let destination = try given.text(2)
        // What the link leads to where the bucket is mounted.
        if let from = given[3]["from"].text, let to = given[3]["to"].text, source.hasPrefix(from) {
            source = to + source.dropFirst(from.count)
        }
        guard destination.hasPrefix("gs://") else {
            throw HookFailure("'\(destination)' is no address gs://BUCKET/OBJECT")
        }
        let parts = destination.dropFirst(5).split(separator: "/", maxSplits: 1)
        guard parts.count == 2 else { throw HookFailure("'\(destination)' is no address gs://BUCKET/OBJECT") }
        let endpoint = Self.endpoint(login["endpoint"], or: "https://storage.googleapis.com")
        let url = "\(endpoint)/\(parts[0])/\(URIEncoding.encode(Array(parts[1].utf8), keepsSlash: true))"
        let answer = try send(
            "PUT", url,
            [
                ("Authorization", "Bearer " + (try token(account))), ("Content-Length", "0"),
                ("x-goog-meta-gcsfuse_symlink_target", source),
            ])
        guard answer.status == 200 else { throw Self.fail("writing \(destination)", answer) }
        return []
    }

    private func token(_ account: [String: JSONValue]) throws -> String {
        guard let email = account["client_email"]?.text, let pem = account["private_key"]?.text,
            let key = PrivateKey(pem: pem)
        else { throw HookFailure("the credentials have no client_email, or no private_key that can be read") }
        let place = account["token_uri"]?.text ?? "https://oauth2.googleapis.com/token"
        let scope = "https://www.googleapis.com/auth/devstorage.read_write"
        let answer = try send(
            "POST", place, [("Content-Type", "application/x-www-form-urlencoded")],
            try GoogleIdentity.tokenRequest(email, key, scope, for: place))
        guard answer.status == 200,
            let token = try? Coding.decodeForeign([String: JSONValue].self, answer.body)["access_token"]?.text
        else { throw HookFailure("Google gave no token: HTTP \(answer.status)") }
        return token
    }

    // MARK: Databricks

    /// Source: Databricks REST API reference, "Statement Execution", "Schemas".
    func databricks(_ name: String, _ login: LuaValue, _ given: LuaArguments) throws -> [LuaValue] {
        let host = Self.endpoint(login["host"], or: "")
        guard host.hasPrefix("https://") || host.hasPrefix("http://") else {
            throw HookFailure("'\(host)' is no address of a Databricks workspace: https://HOST is one")
        }
        let headers = [
            ("Authorization", "Bearer " + (login["token"].text ?? "")), ("Content-Type", "application/json"),
        ]
        func ask(_ method: String, _ path: String, _ members: [String: JSONValue]? = nil) throws -> (
            status: Int, body: [UInt8]
        ) {
            try send(method, host + path, headers, members.map { Coding.encode(JSONValue.object($0)) } ?? [])
        }
        func object(_ answer: (status: Int, body: [UInt8])) -> [String: JSONValue] {
            (try? Coding.decodeForeign([String: JSONValue].self, answer.body)) ?? [:]
        }
        /// Runs a statement to its end.
        func execute(_ warehouse: String, _ catalog: String, _ schema: String, _ statement: String) throws -> (
            state: String, error: String
        ) {
            var answer = try ask(
                "POST", "/api/2.0/sql/statements/",
                [
                    "warehouse_id": .text(warehouse), "catalog": .text(catalog), "schema": .text(schema),
                    "statement": .text(statement), "wait_timeout": .text("30s"),
                ])
            while true {
                guard answer.status == 200 else { throw Self.fail("Databricks", answer) }
                let told = object(answer)
                guard case .object(let status)? = told["status"], let state = status["state"]?.text else {
                    throw HookFailure("Databricks does not tell the state of the statement")
                }
                if state != "PENDING" && state != "RUNNING" {
                    var reason = ""
                    if case .object(let error)? = status["error"] { reason = error["message"]?.text ?? "" }
                    return (state, reason)
                }
                guard let id = told["statement_id"]?.text else {
                    throw HookFailure("Databricks does not name the statement")
                }
                sleep(milliseconds: 1000)
                answer = try ask("GET", "/api/2.0/sql/statements/" + URIEncoding.encode(id))
            }
        }
        func quoted(_ name: String) -> String { "`" + name.replacing("`", with: "``") + "`" }
        switch name {
        case "create_schema":
            let schema = try given.text(1), catalog = try given.text(2)
            let answer = try ask(
                "POST", "/api/2.1/unity-catalog/schemas", ["name": .text(schema), "catalog_name": .text(catalog)])
            let isThere = String(decoding: answer.body, as: UTF8.self).contains("ALREADY_EXISTS")
            if isThere, given[3] == .flag(true) { return [.text(schema)] }
            guard answer.status == 200 else { throw Self.fail("creating the schema \(catalog).\(schema)", answer) }
            return [.text(object(answer)["name"]?.text ?? schema)]
        case "register_external_table":
            let table = try given.text(1), path = try given.text(2), warehouse = try given.text(3)
            let catalog = try given.text(4), schema = try given.text(5)
            var statement = "CREATE EXTERNAL TABLE \(quoted(table)) USING DELTA"
            if let comment = given[6]["description"].text, !comment.isEmpty {
                statement += " COMMENT '\(comment.replacing("\\", with: "\\\\").replacing("'", with: "\\'"))'"
            }
            statement += " LOCATION '\(path.replacing("'", with: "\\'"))'"
            var (state, reason) = try execute(warehouse, catalog, schema, statement)
            if state == "FAILED", reason.contains("ALREADY_EXISTS") {
                // An external table's data stay where they are.
                (state, reason) = try execute(warehouse, catalog, schema, "DROP TABLE \(quoted(table))")
                if state == "SUCCEEDED" { (state, reason) = try execute(warehouse, catalog, schema, statement) }
            }
            guard state == "SUCCEEDED" else {
                throw HookFailure("registering \(catalog).\(schema).\(table): \(state) \(reason)")
            }
            return [.text(state)]
        case "execute_statement":
            let (state, reason) = try execute(
                try given.text(2), try given.text(3), try given.text(4), try given.text(1))
            guard state == "SUCCEEDED" else { throw HookFailure("Databricks: \(state) \(reason)") }
            return [.text(state)]
        default: throw HookFailure("there is no function databricks.client.\(name)")
        }
    }

    // MARK: HTTP

    /// `request(URL)`, `request(URL, BODY)`, `request{url=…, method=…, headers=…, body=…}`: code, body, headers, status.
    func request(_ given: LuaArguments) throws -> [LuaValue] {
        let options = given[1]
        let isTable = options.pairs != nil
        let url = isTable ? options["url"].text ?? "" : try given.text(1)
        let body = isTable ? options["body"].array : given[2].array
        let method = (isTable ? options["method"].text : nil) ?? (body == nil ? "GET" : "POST")
        var headers = (options["headers"].pairs ?? []).compactMap { pair in
            pair.key.text.map { ($0, pair.value.text ?? "") }
        }
        if body != nil, !isTable { headers.append(("Content-Type", "application/x-www-form-urlencoded")) }
        let target = try HookURL(url).target()
        let answer = try HookRequest(client, timeout: try timeLeft(), mostRead: Self.mostRead).fetch(
            method, target, headers: headers, body: body)
        return [
            .number(Double(answer.status)), .bytes(answer.body), .table(answer.headers.mapValues { .text($0) }),
            .text(answer.statusLine.split(separator: " ", maxSplits: 1).dropFirst().joined()),
        ]
    }
}
