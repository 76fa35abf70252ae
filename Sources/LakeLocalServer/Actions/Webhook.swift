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
        let call = OutsideCall(services.client, timeout: timeout)
        let status = try call.run("POST", target, shown: url, headers: sent, body: body, context)
        guard (200..<300).contains(status) else {
            throw HookFailure("webhook request failed (status code: \(status))")
        }
    }
}

/// The address of a hook.
struct HookURL {
    /// As it is written.
    let text: String
    /// Whether its query may hold what must not be told: another server made it of one that did.
    private let hasSecrets: Bool

    init(_ text: String, hasSecrets: Bool = false) {
        self.text = text
        self.hasSecrets = hasSecrets
    }

    /// Without a password, and without a query that may hold secrets.
    var shown: String {
        hasSecrets ? String(withoutPassword.prefix { $0 != "?" }) : withoutPassword
    }

    private var withoutPassword: String {
        guard let scheme = text.firstRange(of: "://") else { return text }
        let authority = text[scheme.upperBound...].prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        guard let at = authority.lastIndex(of: "@"), let colon = authority[..<at].firstIndex(of: ":") else {
            return text
        }
        return String(text[..<colon] + ":***" + text[at...])
    }

    /// `host:port`, for what is told of a connection.
    var authority: String {
        guard let scheme = text.firstRange(of: "://") else { return text }
        let authority = text[scheme.upperBound...].prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        let host = authority.lastIndex(of: "@").map { authority[authority.index(after: $0)...] } ?? authority
        return host.contains(":") ? String(host) : String(host) + (text.hasPrefix("https") ? ":443" : ":80")
    }

    /// What is asked for: encoded where it must be, its query sorted by name with more in it.
    /// - Throws: `HookFailure` for what is no address.
    func target(adding parameters: [(String, String)] = []) throws -> String {
        guard let scheme = text.firstRange(of: "://"), scheme.lowerBound > text.startIndex else {
            let first = text.prefix { $0 != "/" && $0 != "?" }
            throw HookFailure(
                first.contains(":")
                    ? "parse \"\(text)\": first path segment in URL cannot contain colon"
                    : "Post \"\(text)\": unsupported protocol scheme \"\"")
        }
        guard ["http", "https"].contains(text[..<scheme.lowerBound].lowercased()) else {
            throw HookFailure("Post \"\(shown)\": unsupported protocol scheme \"\(text[..<scheme.lowerBound])\"")
        }
        let whole = text.prefix { $0 != "#" }
        let mark = whole.firstIndex(of: "?") ?? whole.endIndex
        var bytes: [UInt8] = []
        for byte in whole[..<mark].utf8 {
            if byte > 0x20, byte < 0x7f, !"\"<>\\^`{|}".utf8.contains(byte) {
                bytes.append(byte)
            } else {
                bytes += "%\(Hex.text([byte]).uppercased())".utf8
            }
        }
        let given = mark == whole.endIndex ? "" : String(whole[whole.index(after: mark)...])
        var items = URIEncoding.query(given, plusIsSpace: true).map { ($0.name, $0.value) }
        items += parameters
        guard !items.isEmpty else { return String(decoding: bytes, as: UTF8.self) }
        let query = items.enumerated().sorted { ($0.element.0, $0.offset) < ($1.element.0, $1.offset) }.map {
            "\(Self.escaped($0.element.0))=\(Self.escaped($0.element.1))"
        }
        return String(decoding: bytes, as: UTF8.self) + "?" + query.joined(separator: "&")
    }

    private static func escaped(_ text: String) -> String {
        URIEncoding.encode(text).replacing("%20", with: "+")
    }
}

/// A request of a hook to somebody else's server, told as it goes.
struct OutsideCall {
    private let client: HTTPClient
    /// Whether bodies are for the server alone that is named.
    private let isSecret: Bool
    /// On the monotonic clock.
    private let deadline: Int64
    /// Bytes of an answer that are read; the rest is not waited for.
    private let mostRead: Int
    /// Bytes of it that are told.
    private static let mostTold = 64 << 10
    /// As many as Go follows.
    private static let mostRedirects = 10

    /// - Parameters:
    ///   - timeout: milliseconds that all its requests may take.
    ///   - mostRead: bytes of an answer that are wanted.
    init(_ client: HTTPClient, timeout: Int, mostRead: Int = 1 << 20, isSecret: Bool = false) {
        self.client = client
        self.isSecret = isSecret
        self.mostRead = mostRead
        deadline = Timestamp.monotonicMilliseconds() + Int64(timeout)
    }

    var millisecondsLeft: Int { Int(max(0, deadline - Timestamp.monotonicMilliseconds())) }

    struct Answer {
        var status = 0
        var statusLine = ""
        var headers: [String: String] = [:]
        var body: [UInt8] = []
    }

    /// Sends a request, follows where it is sent on to, and tells both in the hook's output.
    /// - Returns: the last answer's status.
    func run(
        _ method: String, _ url: String, shown: HookURL, headers: [(String, String)], body: [UInt8]?,
        _ context: HookContext
    ) throws -> Int {
        let began = Timestamp.monotonicMicroseconds()
        func tellDuration() {
            let micros = Timestamp.monotonicMicroseconds() - began
            context.say(
                "Request duration: \(micros < 1_000_000 ? "\(Double(micros) / 1000)ms" : "\(Double(micros) / 1_000_000)s")\n"
            )
        }
        let answer: (HTTPClient.Answer, [UInt8], isCut: Bool)
        do { answer = try follow(method, url, shown, headers, body) } catch {
            tellDuration()
            throw error
        }
        tellDuration()
        context.say("\nResponse:\n\(answer.0.statusLine)\r\n")
        for (name, value) in answer.0.headers.sorted(by: { $0.name < $1.name }) {
            let words = name.split(separator: "-", omittingEmptySubsequences: false)
            context.say(
                "\(words.map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined(separator: "-")): \(value)\r\n")
        }
        context.say("\r\n")
        context.say(Array(answer.1.prefix(Self.mostTold)))
        if answer.isCut || answer.1.count > Self.mostTold { context.say("\n(the rest of the answer is left out)\n") }
        return answer.0.status
    }

    /// Sends a request whose answer is wanted as a whole, and not told.
    /// - Throws: `HookFailure`.
    func fetch(_ method: String, _ url: String, headers: [(String, String)] = [], body: [UInt8]? = nil) throws -> Answer
    {
        let (answer, bytes, isCut) = try follow(method, url, HookURL(url), headers, body)
        guard !isCut else { throw HookFailure("\(HookURL(url).shown): the answer has more than \(mostRead) bytes") }
        return Answer(
            status: answer.status, statusLine: answer.statusLine,
            headers: Dictionary(answer.headers.map { ($0.name, $0.value) }) { $1 }, body: bytes)
    }

    private func follow(
        _ method: String, _ url: String, _ shown: HookURL, _ headers: [(String, String)], _ body: [UInt8]?
    ) throws -> (HTTPClient.Answer, [UInt8], isCut: Bool) {
        var (method, url, shown, headers, body) = (method, url, shown, headers, body)
        for redirects in 0... {
            let verb = method.prefix(1) + method.dropFirst().lowercased()
            let (answer, bytes, isCut) = try once(method, url, shown, headers, body)
            guard let next = answer.redirect, [301, 302, 303, 307, 308].contains(answer.status) else {
                return (answer, bytes, isCut)
            }
            guard redirects + 1 < Self.mostRedirects else {
                throw HookFailure(
                    "\(verb) \"\(HookURL(next, hasSecrets: true).shown)\": stopped after \(Self.mostRedirects) redirects"
                )
            }
            if answer.status < 307, method != "GET" {
                (method, body) = ("GET", nil)
                headers.removeAll { $0.0.lowercased() == "content-type" || $0.0.hasPrefix("X-Lakefuse-Signature") }
            }
            let following = HookURL(next, hasSecrets: true)
            if following.authority != shown.authority {
                // Logins, secrets and what is signed are for the server that they were meant for.
                guard body == nil || !isSecret else {
                    throw HookFailure("\(verb) \"\(shown.shown)\": sent on to another server, which is not to get it")
                }
                headers.removeAll { !["content-type", "user-agent"].contains($0.0.lowercased()) }
            }
            headers.removeAll { $0.0 == "Referer" }
            headers.append(("Referer", shown.referer))
            (url, shown) = (next, following)
        }
        preconditionFailure("the loop has no end")
    }

    private func once(
        _ method: String, _ url: String, _ shown: HookURL, _ headers: [(String, String)], _ body: [UInt8]?
    ) throws -> (HTTPClient.Answer, [UInt8], isCut: Bool) {
        guard ["http://", "https://"].contains(where: { url.lowercased().hasPrefix($0) }) else {
            throw HookFailure("\(shown.shown): only http and https are spoken here")
        }
        var sent = headers
        if !sent.contains(where: { $0.0.lowercased() == "user-agent" }) {
            sent.append(("User-Agent", "Go-http-client/1.1"))
        }
        var bytes: [UInt8] = []
        var isCut = false
        let verb = method.prefix(1) + method.dropFirst().lowercased()
        var status = 0
        do {
            let left = millisecondsLeft
            guard left > 0 else { throw TransportError(description: "", reason: .timedOut) }
            let answer = unsafe try client.send(
                method, url, headers: sent, body: body.map { .bytes($0) } ?? .none, milliseconds: left, decodes: true
            ) { code, piece in
                status = code
                unsafe bytes.append(
                    contentsOf: UnsafeRawBufferPointer(rebasing: piece.prefix(mostRead - bytes.count)))
                isCut = bytes.count == mostRead
                return !isCut
            }
            return (answer, bytes, isCut)
        } catch let error as TransportError {
            switch error.reason {
            case .cut where isCut:
                var answer = HTTPClient.Answer()
                answer.status = status
                answer.statusLine = "HTTP/1.1 \(status)"
                return (answer, bytes, true)
            case .timedOut:
                throw HookFailure(
                    "\(verb) \"\(shown.shown)\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
                )
            case .refused:
                throw HookFailure(
                    "\(verb) \"\(shown.shown)\": dial tcp \(shown.authority): connect: connection refused")
            default:
                throw HookFailure(
                    "\(verb) \"\(shown.shown)\": \(error.words.isEmpty ? error.description : error.words)")
            }
        }
    }
}

extension HookURL {
    /// Without a login and a query: what another server may be told.
    fileprivate var referer: String {
        let text = text.prefix { $0 != "?" && $0 != "#" }
        guard let scheme = text.firstRange(of: "://") else { return String(text) }
        let authority = text[scheme.upperBound...].prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        guard let at = authority.lastIndex(of: "@") else { return String(text) }
        return String(text[..<scheme.upperBound] + text[text.index(after: at)...])
    }
}
