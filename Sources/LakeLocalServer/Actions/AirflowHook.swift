import Foundations
import LakeAPI
import Transport
import Versioning

/// Starts a DAG of Airflow, and waits for it where that is wanted. Source: lakeFS documentation, "Airflow hooks"; Airflow's
/// stable REST API, versions 1 (Airflow 2) and 2 (Airflow 3).
///
/// Properties: `url`, `dag_id`, `username`, `password`, `dag_conf`, `wait_for_dag`, `timeout`; ours: `api_version`.
struct AirflowHook: RunnableHook {
    private let url: String, dag: String, user: String
    private let password: String
    private let conf: [String: JSONValue]
    private let waits: Bool
    private let timeout: Int
    private let version: Int64

    /// Milliseconds between looks at a DAG: the first soon, then as lakeFS.
    private static let firstPause = 250, longestPause = 5000
    /// Milliseconds that one request may take.
    private static let requestTimeout = 5000

    init(_ properties: [String: JSONValue], _ environment: HookEnvironment) throws {
        func text(_ name: String) throws(HookFailure) -> String {
            guard let text = properties[name]?.text else {
                throw HookFailure("airflow hook \(name) must be string: airflow hook wrong format")
            }
            return text
        }
        let url = try text("url")
        self.url = url.hasSuffix("/") ? String(url.dropLast()) : url
        dag = try text("dag_id")
        user = try text("username")
        do { password = try environment.fill(try text("password")).value } catch {
            throw HookFailure("airflow hook password: \(error)")
        }
        switch properties["dag_conf"] {
        case nil, .null?: conf = [:]
        case .object(let conf)?: self.conf = conf
        default: throw HookFailure("airflow hook dag_conf must be a map: airflow hook wrong format")
        }
        switch properties["wait_for_dag"] {
        case nil, .null?: waits = false
        case .flag(let flag)?: waits = flag
        default: throw HookFailure("airflow hook wait_for_dag must be true or false: airflow hook wrong format")
        }
        timeout = try HookDuration.milliseconds(
            properties["timeout"], or: 60_000, what: "airflow hook request duration")
        switch properties["api_version"] {
        case nil, .null?: version = 1
        case .integer(let number)? where number == 1 || number == 2: version = number
        default:
            throw HookFailure(
                "airflow hook api_version must be 1 (Airflow 2) or 2 (Airflow 3): airflow hook wrong format")
        }
    }

    private var runs: String { "\(url)/api/v\(version)/dags/\(URIEncoding.encode(dag))/dagRuns" }

    func run(_ context: HookContext, _ services: HookServices) throws {
        let id = "lakeFS_hook_\(context.hookID)_\(context.event.runID)"
        let body = context.payload { json, event in
            json.object { json in
                json.member("dag_run_id", id)
                if version == 2 {
                    json.name("logical_date")
                    json.null()
                }
                json.name("conf")
                json.object { json in
                    for key in Set(conf.keys).union(["lakeFS_event"]).sorted() {
                        if key == "lakeFS_event" {
                            json.name("lakeFS_event")
                            event(&json)
                        } else if let value = conf[key] {
                            json.member(named: key, value)
                        }
                    }
                }
            }
        }
        context.say("Request:\nPOST \(HookURL(runs).shown)\nUsername: \(user), Password: *******\nBody: ")
        context.say(body)
        context.say("\n\n\n")
        let whole = HookRequest(services.client, timeout: timeout, isSecret: true)
        let login = ("Authorization", try authorization(whole))
        let status = try HookRequest(services.client, timeout: min(Self.requestTimeout, timeout)).run(
            "POST", HookURL(runs).target(), shown: HookURL(runs),
            headers: [login, ("Content-Type", "application/json")],
            body: body, context)
        guard status == 200 || (version == 2 && status == 201) else {
            let hint = status == 404 && version == 1 ? "; for Airflow 3 set api_version: 2" : ""
            throw HookFailure("status code (\(status)): airflow hook request failed\(hint)")
        }
        if waits { try wait(for: id, whole, login, context, services.client) }
    }

    /// Airflow 2 takes the password, Airflow 3 a token that it gives for it.
    private func authorization(_ call: HookRequest) throws -> String {
        guard version == 2 else {
            return "Basic " + Base64.encode(Array("\(user):\(password)".utf8))
        }
        var json = JSONWriter()
        json.object { json in
            json.member("username", user)
            json.member("password", password)
        }
        let answer = try call.fetch(
            "POST", url + "/auth/token", headers: [("Content-Type", "application/json")], body: json.bytes)
        guard (200..<300).contains(answer.status),
            let token = try? Coding.decodeForeign([String: JSONValue].self, answer.body)["access_token"]?.text
        else { throw HookFailure("status code (\(answer.status)): airflow login failed") }
        return "Bearer " + token
    }

    private func wait(
        for id: String, _ call: HookRequest, _ login: (String, String), _ context: HookContext, _ client: HTTPClient
    )
        throws
    {
        let address = "\(runs)/\(URIEncoding.encode(id))"
        var pause = Self.firstPause
        while true {
            guard call.millisecondsLeft > 0 else {
                throw HookFailure(
                    "airflow DAG \(dag) did not end within \(Double(timeout) / 1000) s (see the property timeout)")
            }
            sleep(milliseconds: min(pause, call.millisecondsLeft))
            pause = min(pause * 2, Self.longestPause)
            let answer = try HookRequest(client, timeout: Self.requestTimeout).fetch("GET", address, headers: [login])
            guard answer.status == 200 else {
                throw HookFailure("status code (\(answer.status)): airflow DAG state request failed")
            }
            guard let run = try? Coding.decodeForeign([String: JSONValue].self, answer.body),
                let state = run["state"]?.text
            else { throw HookFailure("airflow does not tell the state of DAG run \(id)") }
            switch state {
            case "success": return context.say("\nDAG run \(id) has succeeded\n")
            case "failed": throw HookFailure("airflow DAG run \(id) has failed")
            default: break
            }
        }
    }
}
