import Foundations
import LakeAPI
import Transport
import Versioning

/// One request for a page: who makes it, and what it may ask of the lake. Everything goes through REST's own calls, made in
/// the process, so that what may be done and what is told is the same.
struct Visit: Sendable {
    let request: Request
    let web: WebUI
    let caller: Caller
    /// Parts of the path that the route leaves open, in their order.
    let names: [String]
    let query: [QueryItem]
    /// Fields of a form that was sent; empty for a page that is read.
    var form: [QueryItem] = []

    var rest: REST { web.rest }
    var catalog: Catalog { web.rest.catalog }
    var user: String { caller.user }
    /// Of pages of a repository.
    var repository: RepositoryID { RepositoryID(names[0]) }

    typealias Names = KeyValuePairs<PathPart, String>
    typealias Query = KeyValuePairs<String, Key?>

    // MARK: what was asked for

    func text(_ name: String) -> String? { query.value(name).flatMap { $0.isEmpty ? nil : $0 } }
    func key(_ name: String) -> Key { Key(query.first { $0.name == name }?.bytes ?? []) }
    func field(_ name: String) -> String { form.value(name) ?? "" }
    func fieldKey(_ name: String) -> Key { Key(form.first { $0.name == name }?.bytes ?? []) }
    /// A path that a form of ours sends percent-encoded, since forms send texts alone.
    func fieldPath(_ name: String) -> Key { Key(URIEncoding.decode(field(name))) }
    func fields(_ name: String) -> [Key] { form.filter { $0.name == name }.map { Key($0.bytes) } }
    func isChecked(_ name: String) -> Bool { form.contains { $0.name == name } }

    /// A field of `name=value` lines.
    /// - Throws: `.invalidValue` for a line that is none.
    func pairs(_ name: String) throws -> [String: String] {
        var pairs: [String: String] = [:]
        for line in field(name).split(whereSeparator: \.isNewline) {
            let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let key = parts[0].trimmed
            guard parts.count == 2, !key.isEmpty else {
                throw LakeError(.invalidValue, "'\(line.prefix(80))' is no metadata: write name=value, one a line")
            }
            pairs[key] = parts[1].trimmed
        }
        return pairs
    }

    // MARK: calls

    private func call(_ operation: Operation, _ names: Names, _ query: Query, _ body: [UInt8] = []) throws -> Call {
        try rest.call(
            operation, names.map { (part: $0.key, value: $0.value) },
            query.compactMap { name, value in value.map { QueryItem(name: name, bytes: $0.bytes) } }, body: body,
            for: caller, request)
    }

    /// Whether the visitor may do this: what they may not is not offered.
    func may(_ operation: Operation, _ names: Names = [:], _ query: Query = [:]) -> Bool {
        guard let call = try? call(operation, names, query) else { return false }  // Then it is not offered.
        return rest.allows(call)
    }

    func may(_ permission: Permission) -> Bool {
        (try? rest.access.isAllowed(permission, for: caller)) == true  // What cannot be told is not offered.
    }

    func require(_ permissions: Permission...) throws { try rest.access.require(permissions, for: caller) }

    /// REST's answer to a call.
    /// - Throws: `PageError` for one that tells of a failure.
    @discardableResult
    func answer(_ operation: Operation, _ names: Names = [:], _ query: Query = [:], body: (some JSONWritable)?) throws
        -> Response
    {
        let bytes = body.map { Coding.encode($0) } ?? []
        if request.isWrite { request.note.operation = .rest(operation) }
        let response = try rest.begin(call(operation, names, query, bytes)).answer(to: bytes)
        guard response.status >= 400 else { return response }
        throw PageError(response)
    }

    @discardableResult
    func answer(_ operation: Operation, _ names: Names = [:], _ query: Query = [:]) throws -> Response {
        try answer(operation, names, query, body: API.Error?.none)
    }

    /// What a call tells.
    func get<Message: Decodable>(_ operation: Operation, _ names: Names = [:], _ query: Query = [:]) throws -> Message {
        try Coding.decode(Message.self, answer(operation, names, query).bytes)
    }

    /// The same of a call that sends something.
    func get<Message: Decodable>(
        _ operation: Operation, _ names: Names = [:], _ query: Query = [:], body: some JSONWritable
    ) throws -> Message {
        try Coding.decode(Message.self, answer(operation, names, query, body: body).bytes)
    }

    /// The same; nil where it may not be asked for, or is not there.
    func getIfAny<Message: Decodable>(_ operation: Operation, _ names: Names = [:], _ query: Query = [:]) -> Message? {
        try? get(operation, names, query)  // The page does without.
    }

    // MARK: answers

    /// The header of what a page's script asks for; it is no page that somebody sees as a whole.
    static let part = "x-part"

    /// Another page, after a form has done its work.
    /// - Parameter note: what has been done, for the top of that page.
    func see(_ link: Link, note: String = "") -> Response {
        var headers: [(name: String, value: String)] = [("Location", link.text)]
        if !note.isEmpty {
            headers.append(
                (
                    "Set-Cookie",
                    "\(Layout.noteCookie)=\(URIEncoding.encode(note)); Path=/; Max-Age=20; HttpOnly; SameSite=Strict"
                ))
        }
        // A script that has sent the form goes there itself: the page is made once.
        guard request.header(Self.part) == nil else {
            return Response(status: 200, headers: headers.map { $0.name == "Location" ? ("X-Location", $0.value) : $0 })
        }
        return Response(status: 303, headers: headers)
    }

    /// A part of a page that is asked for when the page is there.
    func fragment(_ html: HTML) -> Response {
        Response(
            status: 200, headers: [("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store")],
            body: .bytes(html.bytes))
    }
}

extension Substring {
    /// Without white space at both ends.
    fileprivate var trimmed: String {
        String(drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed())
    }
}

/// Why a page cannot be shown, for the person who asked for it.
struct PageError: Error {
    let status: Int
    let message: String
    var conflicts: [String]
    init(_ status: Int, _ message: String, conflicts: [String] = []) {
        self.status = status
        self.message = message
        self.conflicts = conflicts
    }

    /// What a failing answer of REST says.
    init(_ response: Response) {
        let told = try? Coding.decode(API.MergeConflict.self, response.bytes)
        let plain = try? Coding.decode(API.Error.self, response.bytes)  // Else in plain text.
        // 401 would have a browser ask for a password.
        self.init(
            response.status == 401 ? 403 : response.status,
            told?.message ?? plain?.message ?? String(decoding: response.bytes.prefix(500), as: UTF8.self),
            conflicts: told?.conflicts ?? [])
    }
}
