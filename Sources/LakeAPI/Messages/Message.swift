import Foundations

/// The messages of the REST API, called as its description calls them; the description itself is among them. They are
/// made by `Description/generate.py`.
package enum API {}

/// A message of the API. Its coding keys are the names as they are sent; absent optional ones are left out.
package protocol Message: Decodable, JSONWritable, Sendable {
    /// Holds a message that was sent to us against what the description says beside its types: words, numbers, lengths.
    func check(_ place: Place) throws(Misfit)
}

extension Message {
    package func check(_ place: Place) throws(Misfit) {}
}

extension Array: Message where Element: Message {
    package func check(_ place: Place) throws(Misfit) {
        for (index, item) in enumerated() { try item.check(place.at(index)) }
    }
}

/// What does not fit the description in a message that is well-formed.
package struct Misfit: Error, Equatable {
    package let place: String, reason: String
}

/// Where in a message something is.
package struct Place: Sendable {
    private let path: String
    package static let whole = Place(path: "")

    private init(path: String) { self.path = path }
    package func at(_ name: String) -> Place { Place(path: path + "/" + name) }
    package func at(_ index: Int) -> Place { Place(path: path + "/\(index)") }

    private func misfit(_ reason: String) -> Misfit { Misfit(place: path, reason: reason) }

    func one(of words: [String], _ value: String) throws(Misfit) {
        guard words.contains(value) else { throw misfit("value is not one of the allowed values \(words)") }
    }

    func within(_ least: Int64?, _ most: Int64?, _ value: Int64) throws(Misfit) {
        if let least, value < least { throw misfit("number must be at least \(least)") }
        if let most, value > most { throw misfit("number must be at most \(most)") }
    }

    /// - Parameter what: what is counted.
    func atLeast(_ least: Int, _ count: Int, _ what: String) throws(Misfit) {
        guard count >= least else { throw misfit("minimum \(what) is \(least)") }
    }
}

/// Any JSON, where the description leaves open what it is.
package enum JSONValue: Decodable, JSONWritable, Sendable, Equatable {
    case null, flag(Bool), integer(Int64), number(Double), text(String)
    case list([JSONValue])
    case object([String: JSONValue])

    package var text: String? { if case .text(let text) = self { text } else { nil } }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .flag(value)
        } else if let value = try? container.decode(Int64.self) {
            self = .integer(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .text(value)
        } else if let value = try? container.decode([JSONValue].self) {
            self = .list(value)
        } else {
            self = .object(try container.decode([String: JSONValue].self))
        }
    }

    package func write(to json: inout JSONWriter) {
        switch self {
        case .null: json.null()
        case .flag(let value): json.flag(value)
        case .integer(let value): json.integer(value)
        case .number(let value): json.number(value)
        case .text(let value): json.text(value)
        case .list(let value): value.write(to: &json)
        case .object(let value): value.write(to: &json)
        }
    }
}

/// One page of a listing.
package struct ResultList<Item: Message>: Message {
    package var pagination: API.Pagination
    package var results: [Item]

    package func write(to json: inout JSONWriter) {
        json.object { json in
            json.member("pagination", pagination)
            json.member("results", results)
        }
    }

    /// - Parameters:
    ///   - maxPerPage: what is told of the longest page; lakeFS tells 0 of users and what they have.
    ///   - next: names the last item, for the following page.
    package init(_ results: [Item], hasMore: Bool, maxPerPage: Int = 1000, next: (Item) -> String) {
        self.results = results
        pagination = API.Pagination(of: results, hasMore: hasMore, maxPerPage: maxPerPage, next: next)
    }
}

extension API.Pagination {
    /// That of one page; what the parameters mean says `ResultList`.
    init<Item>(of items: [Item], hasMore: Bool, maxPerPage: Int = 1000, next: (Item) -> String) {
        self.init(
            hasMore: hasMore, nextOffset: hasMore ? items.last.map(next) ?? "" : "", results: items.count,
            maxPerPage: maxPerPage)
    }
}

extension API.ObjectStageCreation {
    /// An object that is there, at another path or with another description.
    package init(_ object: API.ObjectStats) {
        self.init(
            physicalAddress: object.physicalAddress, checksum: object.checksum, sizeBytes: object.sizeBytes ?? 0,
            mtime: object.mtime, metadata: object.metadata, contentType: object.contentType)
    }
}
