package import Foundations
import Glibc
import Transport
import Versioning

/// Objects and versions of a lake elsewhere, as a mount needs them. Paths are UTF-8, as JSON is: keys that are not
/// cannot be named. Methods throw `LakeError`: `.unavailable` if there is no answer, or none that says anything of the
/// request.
extension LakeClient {
    /// A client that gives a server up that does not answer, soon.
    package init(impatientTo endpoint: String, accessKeyID: String, secretAccessKey: String) {
        self.init(
            endpoint: endpoint, accessKeyID: accessKeyID, secretAccessKey: secretAccessKey,
            http: HTTPClient(connectSeconds: 3, stallSeconds: 15))
    }

    private static func text(_ path: Key) throws -> String {
        guard let text = String(validating: path.bytes, as: UTF8.self) else {
            throw LakeError(
                .invalidValue, "name '\(path)' is not UTF-8: a lake that is reached over REST cannot have it")
        }
        return text
    }

    /// Runs requests, and says in the core's words why one failed.
    private func ask<Result>(_ body: () throws -> Result) throws -> Result {
        do { return try body() } catch let error as LakeClientError {
            let code: LakeError.Code =
                switch error.status {
                case 401: .unauthenticated
                case 403: .permissionDenied
                case 404: .dataGone
                case 409, 412: .preconditionFailed
                case 400, 411, 413, 416: .invalidValue
                case 507: .noSpace
                default: .unavailable
                }
            throw LakeError(code, "\(endpoint): \(error.message) (\(error.status))")
        } catch let error as TransportError {
            throw LakeError(.unavailable, error.description)
        }
    }

    /// As `ask`; nil for what is not there.
    private func find<Result>(_ body: () throws -> Result) throws -> Result? {
        do {
            return try ask {
                do { return try body() } catch let error as LakeClientError where error.status == 404 { throw Absent() }
            }
        } catch is Absent { return nil }
    }
    private struct Absent: Error {}

    private static func refs(_ repository: String, _ ref: String) -> [String] {
        ["repositories", repository, "refs", ref]
    }
    private static func branches(_ repository: String, _ branch: String) -> [String] {
        ["repositories", repository, "branches", branch]
    }

    // MARK: reading

    package func stat(_ path: Key, at ref: String, in repository: String) throws -> API.ObjectStats? {
        try find {
            try get(
                API.ObjectStats.self, Self.refs(repository, ref) + ["objects", "stat"],
                [("path", Self.text(path)), ("user_metadata", "true")])
        }
    }

    /// One page of a listing, as the server sent it: `ResultList<API.ObjectStats>`.
    package func objects(at ref: String, in repository: String, prefix: Key, delimiter: String, after: Key, amount: Int)
        throws -> [UInt8]
    {
        try ask {
            unsafe try send(
                "GET", Self.refs(repository, ref) + ["objects", "ls"],
                [
                    ("prefix", Self.text(prefix)), ("delimiter", delimiter), ("after", Self.text(after)),
                    ("amount", "\(amount)"), ("user_metadata", "true"),
                ]
            ).body
        }
    }

    /// Bytes of an object.
    /// - Returns: them, and the entity tag of what they are of, without quotes; nil if there is no such object.
    package func read(_ path: Key, at ref: String, in repository: String, _ range: Range<Int64>) throws -> (
        eTag: String, bytes: [UInt8]
    )? {
        try find {
            let answer = unsafe try send(
                "GET", Self.refs(repository, ref) + ["objects"], [("path", Self.text(path))],
                headers: [("Range", "bytes=\(range.lowerBound)-\(range.upperBound - 1)")])
            let eTag = (answer.header("etag") ?? "").filter { $0 != "\"" }
            // A server that does not know ranges sends all of it.
            let bytes =
                answer.status == 206
                ? answer.body
                : Array(answer.body.dropFirst(Int(range.lowerBound)).prefix(Int(range.upperBound - range.lowerBound)))
            return (eTag, bytes)
        }
    }

    // MARK: writing

    /// Uploads a file.
    /// - Parameter isNew: whether nothing may be there.
    /// - Throws: `.preconditionFailed` if something is.
    package func upload(
        _ descriptor: Int32, byteCount: Int64, to path: Key, contentType: String, isNew: Bool, on branch: String,
        in repository: String
    ) throws -> API.ObjectStats {
        try ask {
            var position: Int64 = 0
            var hasFailed = false
            let body = unsafe HTTPClient.Body.stream(byteCount: byteCount) { buffer in
                let wanted = min(Int64(buffer.count), byteCount - position)
                let count = unsafe pread(descriptor, buffer.baseAddress, Int(wanted), off_t(position))
                if count < wanted { hasFailed = true }
                position += Int64(max(0, count))
                return max(0, count)
            }
            let headers = [("Content-Type", contentType)] + (isNew ? [("If-None-Match", "*")] : [])
            let answer = unsafe try send(
                "POST", Self.branches(repository, branch) + ["objects"], [("path", Self.text(path))], headers: headers,
                body: byteCount == 0 ? .bytes([]) : body)
            guard !hasFailed else { throw LakeError(.dataGone, "a file that was to be uploaded cannot be read") }
            return try Coding.decode(API.ObjectStats.self, answer.body)
        }
    }

    /// Names an object that the lake has.
    package func stage(_ object: API.ObjectStats, at path: Key, on branch: String, in repository: String) throws
        -> API.ObjectStats
    {
        try ask {
            let body = HTTPClient.Body.bytes(Coding.encode(API.ObjectStageCreation(object)))
            return unsafe try Coding.decode(
                API.ObjectStats.self,
                send(
                    "PUT", Self.branches(repository, branch) + ["objects"], [("path", Self.text(path))],
                    headers: [("Content-Type", "application/json")], body: body
                ).body)
        }
    }

    /// Removes up to 1,000 objects; those that are not there are no error.
    package func remove(_ paths: [Key], on branch: String, in repository: String) throws {
        try ask {
            let answer = try post(
                Self.branches(repository, branch) + ["objects", "delete"],
                API.PathList(paths: paths.map { try Self.text($0) }))
            if let failed = (try? Coding.decode(API.ObjectErrorList.self, answer))?.errors.first(where: {
                $0.statusCode != 404
            }) {
                throw LakeClientError(status: failed.statusCode, message: failed.message)
            }
        }
    }

    // MARK: versions

    /// The commit that a branch stands on; nil if there is no such branch.
    package func head(of branch: String, in repository: String) throws -> String? {
        try find { try get(API.Ref.self, Self.branches(repository, branch)).commitId }
    }

    /// The newest commits of a ref; nil if there is no such ref.
    package func log(_ ref: String, in repository: String, amount: Int) throws -> [API.Commit]? {
        try find { try list(API.Commit.self, Self.refs(repository, ref) + ["commits"], amount: amount).items }
    }

    package func refNames(of repository: String, amount: Int) throws -> [String] {
        try ask {
            try list(API.Ref.self, ["repositories", repository, "branches"], amount: amount).items.map(\.id)
                + list(API.Ref.self, ["repositories", repository, "tags"], amount: amount).items.map(\.id)
        }
    }

    /// A page of what is not committed on a branch; nil if there is no such branch. Our own servers tell what the
    /// objects are, lakeFS does not.
    package func changes(on branch: String, in repository: String, after: String, amount: Int) throws -> ResultList<
        API.Diff
    >? {
        try find {
            try get(
                ResultList<API.Diff>.self, Self.branches(repository, branch) + ["diff"],
                [("after", after), ("amount", "\(amount)"), ("include_right_stats", "true")])
        }
    }

    /// A page of what differs between two commits.
    package func changes(from old: String, to new: String, in repository: String, after: String, amount: Int) throws
        -> ResultList<API.Diff>
    {
        try ask {
            try get(
                ResultList<API.Diff>.self, Self.refs(repository, old) + ["diff", new],
                [("after", after), ("amount", "\(amount)"), ("type", "two_dot"), ("include_right_stats", "true")])
        }
    }

    /// Returns the commit's id.
    package func commit(_ message: String, on branch: String, in repository: String) throws -> String {
        do {
            return try ask {
                try Coding.decode(
                    API.Commit.self,
                    post(
                        Self.branches(repository, branch) + ["commits"],
                        API.CommitCreation(message: message, metadata: nil, date: nil, allowEmpty: nil))
                ).id
            }
        } catch let error as LakeError where error.message.contains("no changes") {
            throw LakeError(.noChanges, error.message)
        }
    }
}
