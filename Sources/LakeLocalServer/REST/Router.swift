import Foundations
import LakeAPI
import Transport
import Versioning

/// One REST call: a request, the parts of its path that stand for names, and who makes it.
struct Call: Sendable {
    let request: Request
    let row: Row
    let parameters: [(part: PathPart, value: String)]
    let query: [QueryItem]
    let caller: Caller
    let access: Access
    let budget: MemoryBudget
    var user: String { caller.user }

    /// A part of the path, decoded; the route must have it.
    subscript(part: PathPart) -> String {
        guard let found = parameters.first(where: { $0.part == part }) else {
            preconditionFailure("the route of \(row.operation) has no \(part)")
        }
        return found.value
    }

    var repository: RepositoryID { RepositoryID(self[.repository]) }
    var branch: BranchName { BranchName(self[.branch]) }
    var destinationBranch: BranchName { BranchName(self[.destinationBranch]) }

    /// The value of a query parameter; nil if it is not there.
    func text(_ name: String) -> String? { query.value(name) }

    /// Refuses parameters that mean two things, and what the operation does not take.
    func check(_ parameters: [Parameter]) throws {
        if let name = QueryItem.firstRepeated(
            query, where: { name in parameters.contains { !$0.isList && $0.name == name } })
        {
            throw MalformedParameter(name)
        }
        for parameter in parameters { try parameter.check(self) }
    }

    /// The value of a parameter that is a path, or the beginning of one: any bytes. Empty if it is not there.
    func key(_ name: String) -> Key { Key(query.first { $0.name == name }?.bytes ?? []) }

    /// All values of a parameter, none of which may be empty.
    func nonempty(_ name: String) throws -> [Key] {
        let values = query.filter { $0.name == name }.map { Key($0.bytes) }
        guard !values.contains(where: \.isEmpty) else {
            throw LakeError(.invalidValue, "parameter \"\(name)\" in query has an error: empty value is not allowed")
        }
        return values
    }

    /// A parameter that must be there and not be empty.
    func required(_ name: String) throws -> String {
        guard let value = text(name), !value.isEmpty else {
            throw LakeError(.invalidValue, "parameter \"\(name)\" in query has an error: value is required but missing")
        }
        return value
    }

    func path(_ name: String = "path") throws -> Key {
        _ = try required(name)
        return key(name)
    }

    func flag(_ name: String) throws -> Bool { try flag(name) ?? false }

    /// The value of a parameter that is not text: it may be absent, but not empty.
    private func value(_ name: String) throws -> String? {
        guard let value = text(name) else { return nil }
        guard !value.isEmpty else { throw MalformedParameter(name) }
        return value
    }

    /// Lets pass one of a few words, or none.
    func check(_ name: String, isOneOf words: [String]) throws {
        guard let value = try value(name) else { return }
        guard words.contains(value) else {
            throw LakeError(
                .invalidValue,
                "parameter \"\(name)\" in query has an error: value must be one of \(words.joined(separator: ", "))")
        }
    }

    func flag(_ name: String) throws -> Bool? {
        guard let value = try value(name) else { return nil }
        switch value {
        case "true", "1", "t", "T", "TRUE", "True": return true
        case "false", "0", "f", "F", "FALSE", "False": return false
        default:
            throw LakeError(
                .invalidValue, "parameter \"\(name)\" in query has an error: value \(value) is not a boolean")
        }
    }

    func integer(_ name: String, in range: ClosedRange<Int> = .min ... .max) throws -> Int? {
        guard let text = try value(name) else { return nil }
        func wrong(_ reason: String) -> LakeError {
            LakeError(.invalidValue, "parameter \"\(name)\" in query has an error: \(reason)")
        }
        guard let number = Int(text) else { throw wrong("value \(text) is not an integer") }
        guard number >= range.lowerBound else { throw wrong("number must be at least \(range.lowerBound)") }
        guard number <= range.upperBound else { throw wrong("number must be at most \(range.upperBound)") }
        return number
    }

    func time(_ name: String) throws -> Timestamp? {
        guard let text = text(name) else { return nil }
        guard let time = Timestamp(rfc3339: text) else {
            throw LakeError(
                .invalidValue, "parameter \"\(name)\" in query has an error: '\(text)' is no RFC 3339 time")
        }
        return time
    }

    /// How many items a page is to have: 100 unless asked, 1,000 at most, and never none.
    func amount() throws -> Int {
        guard let amount = try integer("amount"), amount > 0 else { return 100 }
        return amount
    }

    /// Lets pass who may do all of these. The check comes before anything is looked up. What the row says is asked for
    /// already.
    func require(_ permissions: Permission...) throws { try access.require(permissions, for: caller) }

    /// A JSON body, then the work that it asks for.
    func json<Body: Message>(
        _ type: Body.Type, isOptional: Bool = false, allowsNull: Bool = false, limit: Int = Call.largestMessage,
        _ work: @escaping @Sendable (Body) throws -> Response
    ) -> Reception {
        sink(
            limit, isOptional: isOptional,
            .now { bytes in
                do { return try work(Self.decode(type, bytes, isOptional: isOptional, allowsNull: allowsNull)) } catch {
                    return Response(error)
                }
            })
    }

    /// A JSON body, then work that does not block and answers later.
    func jsonSoon<Body: Message>(
        _ type: Body.Type, limit: Int = Call.largestMessage,
        _ work: @escaping @Sendable (Body, @escaping @Sendable (Response) -> Void) throws -> Void
    ) -> Reception {
        sink(
            limit, isOptional: false,
            .soon { bytes, answer in
                do { try work(Self.decode(type, bytes, isOptional: false, allowsNull: false), answer) } catch {
                    answer(Response(error))
                }
            })
    }

    /// - Parameter isOptional: a request without a body is one too.
    private func sink(_ limit: Int, isOptional: Bool, _ work: BytesSink.Work) -> Reception {
        let type = (request.header("content-type") ?? "").prefix { $0 != ";" }.lowercased().filter { $0 != " " }
        // Pages of other origins cannot send JSON without asking first: this is what keeps them from using a person's
        // session.
        guard
            type == "application/json" || (type.isEmpty && !request.hasBody)
                || (isOptional && !request.hasBody && request.header("cookie") == nil)
        else {
            return .respond(
                .failure(
                    400,
                    "request body has an error: header Content-Type has unexpected value \"\(type.prefix(80))\": application/json is expected"
                ))
        }
        return .body(
            BytesSink(
                limit: limit, tooLarge: .failure(413, "request body is larger than \(limit) bytes"), budget: budget,
                noMemory: REST.slowDown, isLong: row.cost == .long, work))
    }

    private static func decode<Body: Message>(
        _ type: Body.Type, _ bytes: [UInt8], isOptional: Bool, allowsNull: Bool
    ) throws -> Body {
        guard isOptional || !bytes.isEmpty else {
            throw LakeError(.invalidValue, "request body has an error: value is required but missing")
        }
        do {
            return try Coding.decodeRequest(type, bytes.isEmpty ? Array("{}".utf8) : bytes, allowsNull: allowsNull)
        } catch {
            throw LakeError(.invalidValue, Coding.explain(error, in: type))
        }
    }

    /// Bytes of a JSON body that lists paths: 1,000 of 1,024 bytes, escaped, and room.
    static let largestList = 8 << 20
    /// Bytes of any other: a commit's message and metadata, a rule for each of many branches.
    static let largestMessage = 1 << 20
    /// Bytes of what is read before anyone has shown a key: a login is some hundred.
    static let largestLogin = 16 << 10

    /// Work without a body that may block.
    func work(_ work: @escaping @Sendable () throws -> Response) -> Reception {
        row.cost.reception { do { return try work() } catch { return Response(error) } }
    }

    /// A read that is answered on the spot.
    func now(_ work: () throws -> Response) -> Reception {
        do { return .respond(try work()) } catch { return .respond(Response(error)) }
    }
}

/// Which operation a method and path are. Every row of the table has its route; what is not built yet has no handler.
struct Router: Sendable {
    typealias Handler = @Sendable (Call) throws -> Reception

    struct Route: Sendable {
        let row: Row
        let parameters: [Parameter]
        /// What the parts of the path must be, and the names of those that may be any; one of the two at each place.
        fileprivate let literals: [String?], parts: [PathPart?]
        fileprivate(set) var handler: Handler?

        fileprivate init(_ row: Row) {
            self.row = row
            parameters = row.operation.parameters
            let words = row.path.split(separator: "/").map(String.init)
            parts = words.map { word in
                guard word.hasPrefix("{") else { return nil }
                guard let part = PathPart(rawValue: String(word.dropFirst().dropLast())) else {
                    preconditionFailure("\(row.operation) has a part \(word), which is none")
                }
                return part
            }
            literals = zip(words, parts).map { $1 == nil ? $0 : nil }
        }

        fileprivate func fits(_ path: [String]) -> Bool {
            for index in path.indices { if let literal = literals[index], literal != path[index] { return false } }
            return true
        }
    }

    /// By the number of parts.
    private var routes: [Int: [Route]] = [:]

    /// Where the route of each operation is among them.
    private var places: [Operation: (count: Int, index: Int)] = [:]

    init() {
        for row in Row.all {
            let count = row.path.split(separator: "/").count
            places[row.operation] = (count, routes[count, default: []].count)
            routes[count, default: []].append(Route(row))
        }
    }

    private func place(_ operation: Operation) -> (count: Int, index: Int) {
        guard let place = places[operation] else { preconditionFailure("\(operation) has no row") }
        return place
    }

    func route(_ operation: Operation) -> Route {
        let place = place(operation)
        return routes[place.count]![place.index]
    }

    /// Says how an operation is answered.
    mutating func on(_ operation: Operation, _ handler: @escaping Handler) {
        precondition(route(operation).handler == nil, "\(operation) has two handlers")
        let place = place(operation)
        routes[place.count]![place.index].handler = handler
    }

    enum Match {
        case found(Route, [(part: PathPart, value: String)])
        /// The path is known, with these other methods.
        case otherMethods([String])
        case none
    }

    func match(_ method: String, _ path: [String]) -> Match {
        var others: [String] = []
        for route in routes[path.count] ?? [] where route.fits(path) {
            guard route.row.method == method else {
                others.append(route.row.method)
                continue
            }
            return .found(route, zip(route.parts, path).compactMap { part, value in part.map { ($0, value) } })
        }
        return others.isEmpty ? .none : .otherMethods(others)
    }
}
