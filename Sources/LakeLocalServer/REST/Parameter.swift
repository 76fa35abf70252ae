import Foundations

/// What an operation may be given in its query. Which ones they are the description says (`OperationParameters.swift`).
struct Parameter: Sendable {
    enum Kind: Sendable {
        case text, flag, time
        case integer(ClosedRange<Int>)
        case word([String])
    }

    let name: String
    let kind: Kind
    let isRequired: Bool
    /// It may be given more than once.
    let isList: Bool
    /// It may be there without a value; only texts may.
    let allowsEmpty: Bool

    init(_ name: String, _ kind: Kind, isRequired: Bool = false, isList: Bool = false, allowsEmpty: Bool = false) {
        self.name = name
        self.kind = kind
        self.isRequired = isRequired
        self.isList = isList
        self.allowsEmpty = allowsEmpty
    }

    /// Holds a request against what its operation takes, before anything is looked up.
    /// - Throws: `MalformedParameter`, `.invalidValue`: the parameter is missing, empty, or of the wrong kind.
    func check(_ call: Call) throws {
        switch kind {
        case .text:
            guard !isRequired else { return _ = try call.required(name) }
            guard allowsEmpty else { return _ = try call.nonempty(name) }
        case .flag: _ = try call.flag(name) as Bool?
        case .integer(let range): _ = try call.integer(name, in: range)
        case .word(let words): try call.check(name, isOneOf: words)
        case .time: _ = try call.time(name)
        }
    }
}
