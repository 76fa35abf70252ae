import FoundationEssentials
import Foundations
import LakeAPI
import LakeTestSupport
import S3Backend
import Testing
import Transport
import Versioning

@testable import LakeLocalServer

/// The table of requests, held against the API's description and what lakeFS was seen to ask for.
@Suite struct OperationTests {
    private let lake = MemoryLake(objects: MemoryObjectStore())
    private let access: Access
    private let server: Server
    private let credentials: Credentials

    init() throws {
        let doors = TestDoors(lake)
        (access, server) = (doors.access, doors.server)
        try lake.make()
        credentials = try access.setUp(userName: "admin")
    }

    private func ask(
        _ method: String, _ target: String, _ body: String = "", _ headers: [(String, String)] = [],
        isKnown: Bool = true, as other: Credentials? = nil
    ) -> Response {
        let pair = other ?? credentials
        let basic = (
            "Authorization", "Basic " + Base64.encode(Array("\(pair.accessKeyID):\(pair.secretAccessKey)".utf8))
        )
        let request = Request(
            method: method, target: target,
            headers: (isKnown ? [basic] : []) + [("Content-Type", "application/json")] + headers)
        let response = server.answer(request, body: Array(body.utf8))
        server.answered(request, response)
        return response
    }

    @Test func everyOperationHasOneRow() {
        #expect(Set(Row.all.map(\.operation)) == Set(Operation.allCases) && Row.all.count == Operation.allCases.count)
        #expect(Set(Row.all.map { "\($0.method) \($0.path)" }).count == Row.all.count, "two rows have one route")
        #expect(Set(S3Row.all.map(\.operation)) == Set(S3Operation.allCases))
        // One row each, but for what needs another right by each method.
        let rows = Dictionary(grouping: S3Row.all, by: \.operation)
        #expect(rows.filter { $0.value.count > 1 }.map(\.key) == [.refOnly])
    }

    /// The rows of the table are the operations of the description that this server tells.
    @Test func theTableIsTheDescription() throws {
        let description = try Coding.decode(JSONValue.self, Array(API.description.description.utf8))
        guard case .object(let all) = description, case .object(let paths)? = all["paths"] else {
            Issue.record("the description has no paths")
            return
        }
        var described: Set<String> = []
        for (path, item) in paths {
            guard case .object(let item) = item else { continue }
            let base = item["servers"] == nil ? "/v1" : "/lakefuse"
            for (method, operation) in item {
                guard case .object(let operation) = operation, let name = operation["operationId"]?.text else {
                    continue
                }
                described.insert("\(name): \(method.uppercased()) \(base)\(path)")
            }
        }
        let rows = Set(Row.all.map { "\($0.operation.rawValue): \($0.method) \($0.path)" })
        #expect(rows.symmetricDifference(described) == [] && rows.count > 134)
    }

    /// Operations that need a login are those of the description's security; what they need is what lakeFS was seen to
    /// ask for.
    @Test func rowsNeedWhatLakeFSAsksFor() throws {
        struct Operations: Decodable {
            struct Operation: Decodable {
                struct Need: Decodable { let action: String, resource: String }
                let operation: String
                let needs: [Need]
            }
            let rest: [Operation]
        }
        let seen = try JSONDecoder().decode(Operations.self, from: Data(Fixtures.bytes("permissions/operations.json")))
            .rest
        #expect(seen.count > 100)
        for operation in seen {
            let row = try #require(Row.all.first { $0.operation.rawValue == operation.operation })
            switch row.needs.kind {
            case .anyone: Issue.record("\(row.operation) is for anyone")
            case .told: #expect(!operation.needs.isEmpty)
            case .login, .perhaps: #expect(operation.needs.isEmpty, "\(row.operation)")
            case .permissions:
                let parts = row.path.split(separator: "/").filter { $0.hasPrefix("{") }.compactMap {
                    PathPart(rawValue: String($0.dropFirst().dropLast()))
                }
                let call = Call(
                    request: Request(method: row.method, target: "/", headers: []), row: row,
                    parameters: parts.map { ($0, "{\($0.rawValue)}") },
                    query: [QueryItem(name: "path", bytes: Array("{path}".utf8))], caller: Caller("user"),
                    access: access, budget: MemoryBudget(limitBytes: 1))
                let needs = try row.needs.permissions(call)
                // What a pull request merges into only its record says.
                let wanted = operation.needs.filter { !$0.resource.contains("{destination_branch}") }
                #expect(
                    needs.map { "\($0.action) \($0.resource)" } == wanted.map { "\($0.action) \($0.resource)" },
                    "\(row.operation)")
            }
        }
    }

    /// Through every row of the table: who may all that it needs passes, and nobody else. It is asked before anything is
    /// looked up: nothing of this is there.
    @Test func everyRowAsksForWhatItNeeds() throws {
        _ = try access.createUser("u")
        let keys = try access.createCredentials(for: "u")
        func allow(_ permissions: [Permission], denying denied: Permission? = nil) throws {
            let allowed = permissions.map { Statement(effect: "allow", actions: [$0.action], resource: $0.resource) }
            let refused = denied.map { Statement(effect: "deny", actions: [$0.action], resource: $0.resource) }
            // A policy says something at least.
            let nothing = Statement(effect: "deny", actions: ["ci:*"], resource: "arn:lakefs:fs:::repository/nothing")
            _ = try access.updatePolicy("p", allowed + (refused.map { [$0] } ?? [nothing]))
        }
        try access.createPolicy(
            Policy(name: "p", statements: [Statement(effect: "deny", actions: ["ci:*"], resource: "*")]))
        try access.attachPolicy("p", to: .user("u"))
        var count = 0
        for row in Row.all where row.needs.kind == .permissions {
            let parts = row.path.split(separator: "/").filter { $0.hasPrefix("{") }.compactMap {
                PathPart(rawValue: String($0.dropFirst().dropLast()))
            }
            let call = Call(
                request: Request(method: row.method, target: "/", headers: []), row: row,
                parameters: parts.map { ($0, "ghost") }, query: [QueryItem(name: "path", bytes: Array("k".utf8))],
                caller: Caller("u"), access: access, budget: MemoryBudget(limitBytes: 1))
            let needed = try row.needs.permissions(call)
            let target =
                "/api/"
                + row.path.split(separator: "/").map { $0.hasPrefix("{") ? "ghost" : $0 }.joined(separator: "/")
                + "?path=k"
                + row.operation.parameters.filter { $0.isRequired && $0.name != "path" }.map { "&\($0.name)=k" }
                .joined()
            func answer(isKnown: Bool = true) -> (status: Int, text: String) {
                let found = ask(row.method, target, "", isKnown: isKnown, as: keys)
                return (found.status, String(decoding: found.bytes, as: UTF8.self))
            }
            try allow(needed)
            #expect(answer(isKnown: false).status == 401, "\(row.operation): nobody")
            #expect(answer().status != 401, "\(row.operation): \(answer())")
            for missing in needed {
                let others = needed.filter { $0 != missing }
                for (permissions, denied) in [(others, nil), (needed, missing)] as [([Permission], Permission?)] {
                    try allow(permissions, denying: denied)
                    let found = answer()
                    // Without a body, to a HEAD.
                    let isNamed = row.method == "HEAD" || found.text.contains("not allowed to \(missing.action)")
                    #expect(found.status == 401 && isNamed, "\(row.operation) without \(missing): \(found)")
                    count += 1
                }
            }
        }
        #expect(count > 150)
    }

    /// Runs as lakeFS keeps them are found by repository, branch and commit.
    @Test func runsOfHooks() throws {
        let partition = Partition("actions")
        func index(_ run: String) -> [UInt8] {
            var writer = ProtobufWriter()
            writer.string(1, "repos/repo/runs/\(run)")
            return writer.bytes
        }
        for (id, branch, passed) in [("5a", "main", true), ("5b", "side", false), ("5c", "main", true)] {
            let run = ActionRun(
                id: id, branch: branch, commitID: "c-\(id)", sourceRef: branch, event: "pre-commit",
                started: Timestamp(seconds: 1_700_000_000), ended: Timestamp(seconds: 1_700_000_001), hasPassed: passed)
            let hook = HookRun(
                runID: id, id: "h0", hookID: "say", action: "a", started: run.started, ended: run.ended,
                hasPassed: passed)
            try lake.store.write(
                [
                    .set(partition, Key("repos/repo/runs/\(id)"), run.encoded),
                    .set(partition, Key("repos/repo/tasks/\(id)/h0"), hook.encoded),
                    .set(partition, Key("repos/repo/branches/\(branch)/\(id)"), index(id)),
                    .set(partition, Key("repos/repo/commits/c-\(id)/\(id)"), index(id)),
                ], .durable)
        }
        func runs(_ query: String) throws -> [String] {
            let answer = ask("GET", "/api/v1/repositories/repo/actions/runs" + query)
            return try Coding.decode(API.ActionRunList.self, answer.bytes).results.map { "\($0.runId) \($0.status)" }
        }
        #expect(try runs("") == ["5a completed", "5b failed", "5c completed"])
        #expect(try runs("?amount=1&after=5a") == ["5b failed"] && runs("?branch=main&after=5a") == ["5c completed"])
        #expect(try runs("?commit=c-5b") == ["5b failed"] && runs("?branch=mai") == [])
        let at = "/api/v1/repositories/repo/actions/runs"
        #expect(ask("GET", at + "?branch=main&commit=c").status == 400 && ask("GET", at + "/absent").status == 404)
        let hooks = try Coding.decode(API.HookRunList.self, ask("GET", at + "/5b/hooks").bytes).results
        #expect(hooks.map(\.hookId) == ["say"] && hooks.map(\.status) == ["failed"])
        #expect(ask("GET", at + "/5b/hooks/h0/output").status == 404)
        try lake.catalog.objects.put(
            Array("said".utf8),
            at: lake.catalog.repository("repo").namespace.location("_lakefs/actions/log/5b/h0.log"))
        #expect(ask("GET", at + "/5b/hooks/h0/output").bytes == Array("said".utf8))
        #expect(ask("PATCH", at).status == 405 && ask("GET", "/api/v1/nothing").status == 404)
        #expect(ask("GET", at, isKnown: false).status == 401)
    }

    @Test func metricsTellOfRequests() throws {
        #expect(
            ask("GET", "/api/v1/repositories/repo").status == 200
                && ask("GET", "/api/v1/repositories/none").status == 404)
        #expect(ask("GET", "/api/v1/repositories/repo/branches", isKnown: false).status == 401)
        let text = String(decoding: ask("GET", "/metrics").bytes, as: UTF8.self)
        for line in [
            "api_requests_total{code=\"200\",method=\"get\"} 1",
            "api_request_duration_seconds_count{operation=\"getRepository\",code=\"404\"} 1",
            "http_concurrent_requests 1.0",
            "api_request_duration_seconds_bucket{operation=\"getRepository\",code=\"200\",le=\"+Inf\"} 1",
            "# TYPE process_open_fds gauge",
        ] {
            #expect(text.contains(line + "\n"), "\(line)")
        }
        // Whatever a stranger asks for, the names stay few.
        _ = ask("BREW", "/api/v1/coffee/\"\n")
        #expect(!String(decoding: ask("GET", "/metrics").bytes, as: UTF8.self).contains("coffee"))
    }

    @Test func anErrorOfS3NamesItsRequest() {
        let request = Request(method: "GET", target: "/repo/main/none", headers: [])
        let answer = server.answer(request)
        #expect(
            answer.status == 403
                && String(decoding: answer.bytes, as: UTF8.self).contains("<RequestId>\(request.note.id)</RequestId>"))
    }
}
