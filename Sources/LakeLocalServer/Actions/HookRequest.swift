import Foundations
import Transport

/// A request of a hook to somebody else's server, told as it goes.
struct HookRequest {
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
