import Foundations
import LakeAPI
import Transport
import Versioning

/// A parameter that is there without a value: lakeFS says so in plain text, before it looks at anything else.
struct MalformedParameter: Error, CustomStringConvertible {
    let description: String

    init(description: String) { self.description = description }
    init(_ name: String) {
        description = "Invalid format for parameter \(name): multiple values for single value parameter '\(name)'"
    }
}

extension Response {
    private static let jsonHeaders = [("Content-Type", "application/json"), ("X-Content-Type-Options", "nosniff")]

    /// A message as JSON.
    static func json(_ status: Int, _ message: some JSONWritable) -> Response {
        Response(status: status, headers: jsonHeaders, body: .bytes(Coding.encode(message)))
    }

    /// JSON that was written by hand.
    static func json(_ status: Int, written bytes: [UInt8]) -> Response {
        Response(status: status, headers: [("Content-Type", "application/json")], body: .bytes(bytes))
    }

    static func failure(_ status: Int, _ message: String) -> Response { json(status, API.Error(message: message)) }

    static var noContent: Response { Response(status: 204) }

    /// The status that tells an error of the core. Source: `lakefs-behaviour.md` section 1, status codes.
    static func status(of error: LakeError) -> Int {
        switch error.code {
        case .notFound: 404
        case .alreadyExists: 409
        case .invalidValue, .dirtyBranch, .noChanges: 400
        case .conflict: 409
        case .preconditionFailed: 412
        case .readOnlyRepository, .protectedBranch: 403
        case .dataGone: 410
        case .tooManyTries: 429
        case .unauthenticated, .permissionDenied: 401
        case .noSpace: 507
        case .away: 503
        case .corrupt, .unavailable, .invalidActions: 500
        case .notImplemented: 501
        }
    }

    /// The answer that REST gives to an error of the core. Source: `lakefs-behaviour.md` section 1, status codes.
    init(_ error: any Error) {
        if let malformed = error as? MalformedParameter {
            self = .text(400, malformed.description + "\n", type: "text/plain; charset=utf-8")
            return
        }
        let error = LakeError(error)
        let status = Self.status(of: error)
        if case .conflict = error.code, !error.conflicts.isEmpty {
            self = .json(
                status,
                API.MergeConflict(
                    message: error.message, reference: "", conflicts: error.conflicts.map(\.description)))
        } else {
            self = .failure(status, error.message)
            if status == 503 { headers.append(("Retry-After", "1")) }
        }
    }
}
