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
        case let error as LakeClientError:
            message = error.message.isEmpty ? "request failed" : error.message
            below = "\(error.status) \(Self.reason(error.status))"
            hint = Self.hint(error)
        case let error as TransportError:
            (message, below) = (error.description, executing)
            hint = "is the server running, and is server.endpoint_url right?"
        default: (message, below, hint) = (LakeError(error).message, executing, nil)
        }
        self.status = status
    }

    func write() {
        guard Output.isErrorTerminal else {
            return Output.note(message + (below.map { "\n" + $0 } ?? ""))
        }
        let line = message.hasPrefix("Error: ") ? message : "Error: " + message
        Output.note(Style.red(line) + (hint.map { " (\($0))" } ?? ""))
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
