import Foundations
import LakeAPI
import Transport
import Versioning

/// Tells another server of the event, and lets that refuse it. Source: lakeFS documentation, "Webhooks", and the recorded
/// requests.
///
/// Properties: `url`, `timeout`, `query_params`, `headers`; ours: `secret`, which signs the body.
struct Webhook: RunnableHook {
    private let url: HookURL
    /// Milliseconds that everything may take, redirections too.
    private let timeout: Int
    /// Each name with its values, sorted.
    private let parameters: [(name: String, values: [HookEnvironment.Text])]
    private let headers: [(name: String, value: HookEnvironment.Text)]
    private let secret: HookEnvironment.Text?

    /// - Throws: `HookFailure`.
    init(_ properties: [String: JSONValue], _ environment: HookEnvironment) throws {
        guard let url = properties["url"]?.text else {
            throw HookFailure("webhook url must be string: webhook wrong format")
        }
        self.url = HookURL(url)
        timeout = try HookDuration.milliseconds(properties["timeout"], or: 60_000, what: "webhook request duration")
        do { parameters = try Self.parameters(properties["query_params"], environment) } catch {
            throw HookFailure("extracting query params: \(error)")
        }
        do { headers = try Self.headers(properties["headers"], environment) } catch {
            throw HookFailure("extracting headers: \(error)")
        }
        switch properties["secret"] {
        case nil, .null?: secret = nil
        case .text(let text)?:
            do { secret = try environment.fill(text) } catch { throw HookFailure("webhook secret: \(error)") }
        default: throw HookFailure("webhook secret must be string: webhook wrong format")
        }
    }

    private static func parameters(_ value: JSONValue?, _ environment: HookEnvironment) throws -> [(
        name: String, values: [HookEnvironment.Text]
    )] {
        switch value {
        case nil, .null?: return []
        case .object(let named)?:
            return try named.sorted { $0.key < $1.key }.map { name, value in
                let values: [JSONValue] = if case .list(let items) = value { items } else { [value] }
                let texts = try values.map { value in
                    guard let text = value.text else {
                        throw HookFailure(
                            "query params single value should be of type string: webhook wrong format (put '\(name)' in quotes)"
                        )
                    }
                    do { return try environment.fill(text) } catch {
                        throw HookFailure("reading query param: \(error)")
                    }
                }
                return (name, texts)
            }
        default:
            throw HookFailure("unsupported query params: webhook wrong format (a map of names and values is wanted)")
        }
    }

    private static func headers(_ value: JSONValue?, _ environment: HookEnvironment) throws -> [(
        name: String, value: HookEnvironment.Text
    )] {
        switch value {
        case nil, .null?: return []
        case .object(let named)?:
            return try named.sorted { $0.key < $1.key }.map { name, value in
                guard let text = value.text else {
                    throw HookFailure(
                        "headers array should contains only strings: webhook wrong format (put '\(name)' in quotes)")
                }
                do { return (name, try environment.fill(text)) } catch { throw HookFailure("reading header: \(error)") }
            }
        default: throw HookFailure("unsupported headers: webhook wrong format (a map of names and values is wanted)")
        }
    }

    func run(_ context: HookContext, _ services: HookServices) throws {
        let body = context.payload { json, event in event(&json) }
        context.say("Request:\nPOST \(url.shown)\n")
        let target = try url.target(adding: parameters.flatMap { name, values in values.map { (name, $0.value) } })
        context.say("Query Params:\n")
        for (name, values) in parameters {
            for value in values { context.say("\(name): \(value.shown)\n") }
        }
        context.say("Headers:\n")
        var sent: [(String, String)] = []
        for (name, value) in headers where name.lowercased() != "content-type" {
            context.say("\(name): \(value.shown)\n")
            // What says whom a request is for is in the address.
            if name.lowercased() != "host", name.lowercased() != "content-length" { sent.append((name, value.value)) }
        }
        context.say("Content-Type: application/json\n")
        sent.append(("Content-Type", "application/json"))
        if let secret {
            let signature = Hex.text(Hash.hmac(key: Array(secret.value.utf8), body))
            context.say("X-Lakefuse-Signature-256: sha256=\(signature)\n")
            sent.append(("X-Lakefuse-Signature-256", "sha256=" + signature))
        }
        context.say("Request Body:\n")
        context.say(body)
        context.say("\n\n\n")
        let call = HookRequest(services.client, timeout: timeout)
        let status = try call.run("POST", target, shown: url, headers: sent, body: body, context)
        guard (200..<300).contains(status) else {
            throw HookFailure("webhook request failed (status code: \(status))")
        }
    }
}
