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

    /// - Throws: what the script sees as an error.
    func call(_ name: String, _ arguments: LuaArguments) throws -> [LuaValue] {
        let parts = name.split(separator: ".", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { throw HookFailure("there is no function \(name)") }
        switch parts[0] {
        case "lakefs": return try lakefs(parts[1], arguments)
        case "time" where parts[1] == "zone": return [.bytes(try Self.zone(try arguments.text(1)))]
        default: throw HookFailure("there is no function \(name)")
        }
    }

    /// The file of a time zone (tzfile(5)).
    private static func zone(_ name: String) throws -> [UInt8] {
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

    /// - Parameter query: names, and the places of the arguments that stand under them; those left out and empty are not sent.
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
