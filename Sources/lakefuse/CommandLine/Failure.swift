import Foundations
import LakeAPI
import Transport
import Versioning

/// What a command that failed says, in lakectl's words: scripts read them. On a terminal it is one line, with what would
/// help. Source: lakectl's sessions.
struct Failure {
    let message: String
    /// What lakectl writes below a message.
    private let below: String?
    private let hint: String?
    let status: Int32

    /// - Parameter isLakectl: whether it is of a command whose words scripts know from lakectl.
    init(_ error: any Error, isLakectl: Bool = false) {
        var status: Int32 = 1
        let executing: String? = isLakectl ? "Error executing command." : nil
        switch error {
        case let error as UsageError: (message, below, hint) = ("Error: " + error.message, nil, nil)
        case let error as CommandError:
            (message, below, hint) = (error.message, executing, error.hint)
            status = error.status
        case let error as NoPlace:
            (message, below) = ("object '\(Output.name(error.object))' cannot be a file: \(error.reason)", executing)
            hint = "'lakefuse fs cat' reads what is in it"
        case let error as LakeClientError:
            message = error.message.isEmpty ? "request failed" : error.message
            below = "\(error.status) \(Self.reason(error.status))"
            hint = Self.hint(error)
        case let error as TransportError:
            (message, below) = (error.description, executing)
            hint =
                error.description.contains("unsupported protocol scheme")
                ? "'lakefuse config' asks where the server is; LAKECTL_SERVER_ENDPOINT_URL says it too"
                : "is the server running, and is server.endpoint_url right?"
        default: (message, below, hint) = (LakeError(error).message, executing, nil)
        }
        self.status = status
    }

    /// - Parameter suggestion: what may have been meant, for who reads it on a terminal.
    func write(_ suggestion: String? = nil) {
        guard Output.isErrorTerminal else {
            return Output.note(message + (below.map { "\n" + $0 } ?? ""))
        }
        let line = message.hasPrefix("Error: ") ? message : "Error: " + message
        Output.note(Style.red(line) + ((suggestion ?? hint).map { " (\($0))" } ?? ""))
    }

    private static func hint(_ error: LakeClientError) -> String? {
        switch error.status {
        case 401: "the key pair is refused: see credentials in the configuration, or 'lakefuse config'"
        case 403: "your policies do not allow it"
        case 404: "'lakefuse repo list' and 'lakefuse branch list' show what there is"
        case 429, 503: "try again in a moment"
        default: nil
        }
    }

    /// HTTP's words for a status, as lakectl shows them under a server's message.
    private static func reason(_ status: Int) -> String {
        let names = [
            400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
            409: "Conflict", 410: "Gone", 412: "Precondition Failed", 413: "Request Entity Too Large",
            416: "Requested Range Not Satisfiable", 420: "Too Many Requests", 429: "Too Many Requests",
            500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
            504: "Gateway Timeout", 507: "Insufficient Storage",
        ]
        return names[status] ?? ""
    }
}

/// Names that something misspelt may have meant.
enum Suggestion {
    /// Of a repository, branch or tag that is not there; nil if none is near. Asks the server, so on a terminal alone.
    static func text(for error: any Error, _ invocation: Invocation) -> String? {
        guard Output.isErrorTerminal, let error = error as? LakeClientError, error.status == 404,
            let text = invocation.arguments.first, let uri = try? LakeURI(text, what: ""),
            let client = try? invocation.client(impatient: true)
        else { return nil }
        func names(_ parts: [String]) -> [String] {
            let found = try? client.list(API.Ref.self, parts, amount: 1000)  // Without them nothing is suggested.
            return found?.items.map(\.id) ?? []
        }
        if error.message.hasPrefix("repository ") {
            let known = try? client.list(API.Repository.self, ["repositories"], amount: 1000)  // The same.
            return Spelling.nearest(to: uri.repository, of: known?.items.map(\.id) ?? []).map {
                "did you mean '\($0)'?"
            }
        }
        guard let ref = uri.ref, ["branch ", "ref "].contains(where: { error.message.hasPrefix($0 + ref) }) else {
            return nil
        }
        let known = ["branches", "tags"].flatMap { names(["repositories", uri.repository, $0]) }
        return Spelling.nearest(to: ref, of: known).map { "did you mean '\($0)'?" }
    }
}
