import Foundations
import Glibc
import LakeAPI
import Transport
import Versioning

/// What scripts ask the server for, done on the thread that waits for the script.
struct LuaCalls: Sendable {
    let catalog: Catalog
    let api: LakeAPICalls?
    /// Whose change it is: what that user may not do, a script may not.
    let user: String
    let client: HTTPClient
    let isHTTPEnabled: Bool

    /// - Parameter deadline: when the script's time is over, on the monotonic clock.
    /// - Throws: what the script sees as an error.
    func call(_ name: String, _ arguments: LuaArguments, until deadline: Int64) throws -> [LuaValue] {
        let parts = name.split(separator: ".", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { throw HookFailure("there is no function \(name)") }
        switch parts[0] {
        case "lakefs": return try lakefs(parts[1], arguments)
        case "time" where parts[1] == "zone": return [.bytes(try Self.zone(try arguments.text(1)))]
        case "http" where isHTTPEnabled: return try CloudCalls(client: client, deadline: deadline).request(arguments)
        case "s3", "glue", "azure", "gcloud", "databricks", "delta":
            // A client's functions are given its login first.
            let login = arguments[1]
            let rest = LuaArguments(Array(arguments.values.dropFirst()))
            let clouds = CloudCalls(client: client, deadline: deadline)
            switch parts[0] {
            case "s3": return try clouds.s3(parts[1], login, rest)
            case "glue": return try clouds.glue(parts[1], login, rest)
            case "azure": return try clouds.azure(parts[1], login, rest)
            case "gcloud": return try clouds.gcloud(parts[1], login, rest)
            case "databricks": return try clouds.databricks(parts[1], login, rest)
            default: return try delta(login, rest, until: deadline)
            }
        default: throw HookFailure("there is no function \(name)")
        }
    }

    /// The file of a time zone (tzfile(5)).
    static func zone(_ name: String) throws -> [UInt8] {
        let isName =
            !name.isEmpty && !name.hasPrefix("/") && !name.split(separator: "/").contains { $0.hasPrefix(".") }
            && name.utf8.allSatisfy {
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || "/_+-".utf8.contains($0)
            }
        guard isName else { throw HookFailure("unknown time zone \(name)") }
        let file = unsafe open("/usr/share/zoneinfo/" + name, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw HookFailure("unknown time zone \(name)") }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = unsafe read(file, &bytes, bytes.count)
        guard count > 0 else { throw HookFailure("unknown time zone \(name)") }
        return Array(bytes.prefix(count))
    }

    // MARK: the server's own API

    private func lakefs(_ name: String, _ given: LuaArguments) throws -> [LuaValue] {
        let repository = "/repositories/" + URIEncoding.encode(try given.text(1))
        func part(_ place: Int) throws -> String { URIEncoding.encode(try given.text(place)) }
        switch name {
        case "list_objects":
            let (code, body) = try api(
                "GET", "\(repository)/refs/\(try part(2))/objects/ls",
                [("after", 3), ("prefix", 4), ("delimiter", 5), ("amount", 6)], given)
            return [code, try LuaValue(LuaJSON.read(body))]
        case "get_object":
            let (code, body) = try api("GET", "\(repository)/refs/\(try part(2))/objects", [("path", 3)], given)
            return [code, .bytes(body)]
        case "stat_object":
            let (code, body) = try api("GET", "\(repository)/refs/\(try part(2))/objects/stat", [("path", 3)], given)
            return [code, .bytes(LuaJSON.text(try LuaJSON.read(body)))]
        case "diff_branch":
            let (code, body) = try api(
                "GET", "\(repository)/branches/\(try part(2))/diff",
                [("after", 3), ("amount", 4), ("prefix", 5), ("delimiter", 6)], given)
            return [code, try LuaValue(LuaJSON.read(body))]
        case "diff_refs":
            let (code, body) = try api(
                "GET", "\(repository)/refs/\(try part(2))/diff/\(try part(3))",
                [("after", 4), ("prefix", 5), ("delimiter", 6), ("amount", 7)], given)
            return [code, try LuaValue(LuaJSON.read(body))]
        case "create_tag":
            let body = LuaJSON.text(.object(["ref": .text(try given.text(2)), "id": .text(try given.text(3))]))
            let (code, answer) = try api("POST", "\(repository)/tags", [], given, body)
            return [code, try LuaValue(LuaJSON.read(answer))]
        case "update_object_user_metadata":
            let set = (try given.table(4).pairs ?? []).compactMap { pair in
                pair.key.text.map {
                    ($0, JSONValue.text(pair.value.text ?? pair.value.number.map(LuaText.number) ?? ""))
                }
            }
            let body = LuaJSON.text(.object(["set": .object(Dictionary(set) { $1 })]))
            let (code, answer) = try api(
                "PUT", "\(repository)/branches/\(try part(2))/objects/stat/user_metadata", [("path", 3)], given, body)
            return answer.isEmpty ? [code] : [code, try LuaValue(LuaJSON.read(answer))]
        default: throw HookFailure("there is no function lakefs.\(name)")
        }
    }

    /// Bytes of a Delta table's log.
    private static let largestLog = 32 << 20

    /// The log of a Delta table: by version the lines of its actions, then what its newest metadata say. Read as the user
    /// whose key pair the client was made with. Source: Delta transaction log protocol, "Delta Log Entries".
    private func delta(_ login: LuaValue, _ given: LuaArguments, until deadline: Int64) throws -> [LuaValue] {
        guard let api, let reader = try api.user(id: login["id"].text ?? "", secret: login["secret"].text ?? "") else {
            throw HookFailure("the key pair of the Delta client is nobody's")
        }
        let repository = "/repositories/" + URIEncoding.encode(try given.text(1))
        let ref = URIEncoding.encode(try given.text(2))
        let table = try given.text(3)
        let folder = (table.hasSuffix("/") ? table : table + "/") + "_delta_log/"
        var versions: [LuaValue.Pair] = []
        var metadata: JSONValue?
        var after = ""
        var expected: Int64 = 0
        var bytes = 0
        repeat {
            let page = try api.call(
                "GET", "\(repository)/refs/\(ref)/objects/ls",
                query: [("prefix", folder), ("after", after), ("amount", "1000")], as: reader)
            guard page.status == 200, case .object(let told) = try LuaJSON.read(page.body),
                case .list(let entries)? = told["results"], case .object(let pagination)? = told["pagination"]
            else { throw HookFailure("the log of the Delta table \(table) cannot be listed: HTTP \(page.status)") }
            for case .object(let entry) in entries {
                guard let path = entry["path"]?.text, path.hasSuffix(".json"),
                    let version = Int64(path.dropFirst(folder.utf8.count).dropLast(5))
                else { continue }
                guard version == expected else {
                    throw HookFailure(
                        "the log of the Delta table \(table) has no version \(expected): logs that begin with a checkpoint are not read"
                    )
                }
                expected += 1
                guard Timestamp.monotonicMilliseconds() < deadline else {
                    throw HookFailure("the script's time is over")
                }
                let file = try api.call(
                    "GET", "\(repository)/refs/\(ref)/objects", query: [("path", path)], as: reader)
                guard file.status == 200 else { throw HookFailure("\(path) cannot be read: HTTP \(file.status)") }
                bytes += file.body.count
                guard bytes <= Self.largestLog else {
                    throw HookFailure("the log of the Delta table \(table) has more than \(Self.largestLog) bytes")
                }
                let lines = file.body.split(separator: 0x0a).map { Array($0) }
                for line in lines where line.starts(with: Array("{\"metaData\"".utf8)) {
                    if case .object(let action) = try LuaJSON.read(line) { metadata = action["metaData"] }
                }
                versions.append(
                    LuaValue.Pair(key: .number(Double(version)), value: .list(lines.map { .bytes($0) })))
            }
            after = pagination["has_more"] == .flag(true) ? pagination["next_offset"]?.text ?? "" : ""
        } while !after.isEmpty
        guard !versions.isEmpty else { throw HookFailure("there is no Delta table at \(table)") }
        var shown: [String: JSONValue] = [:]
        if case .object(let found)? = metadata {
            let names = [
                "id": "id", "name": "name", "description": "description", "schemaString": "schema_string",
                "partitionColumns": "partition_columns", "configuration": "configuration",
                "createdTime": "created_time",
            ]
            for (name, member) in names { if let value = found[name] { shown[member] = value } }
        }
        return [.pairs(versions, isList: false), LuaValue(.object(shown))]
    }

    /// - Parameter query: names, and the places of the arguments that stand under them; what is left out or empty is not
    ///   sent.
    private func api(
        _ method: String, _ path: String, _ query: [(name: String, place: Int)], _ given: LuaArguments,
        _ body: [UInt8] = []
    ) throws -> (code: LuaValue, body: [UInt8]) {
        guard let api else { throw HookFailure("the server stops") }
        var items: [(String, String)] = []
        for (name, place) in query {
            let text = try given.text(place, or: "")
            if !text.isEmpty || name == "path" { items.append((name, text)) }
        }
        let answer = try api.call(method, path, query: items, body: body, as: user)
        return (.number(Double(answer.status)), answer.body)
    }
}
