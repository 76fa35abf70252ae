import FoundationEssentials
import Foundations

/// A message whose coding keys are the names as they are sent: it is decoded in half the time.
protocol NamedAsSent {}

/// How messages become JSON and back: snake-case names, sorted keys, slashes as they are.
package enum Coding {
    package static func encode(_ message: some Encodable) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .custom { path in Name(stringValue: snakeCase(path.last!.stringValue)) }
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Messages are made of text, numbers and flags: encoding them cannot fail.
        return Array(try! encoder.encode(message))
    }

    /// The word `null` outside of text: hardly any value of the API may be it, and decoders take it for an absent one.
    private static func hasNull(_ bytes: [UInt8]) -> Bool {
        var isText = false
        var isEscaped = false
        for byte in bytes {
            if isText {
                if isEscaped {
                    isEscaped = false
                } else if byte == 0x5c {
                    isEscaped = true
                } else if byte == 0x22 {
                    isText = false
                }
            } else if byte == 0x22 {
                isText = true
            } else if byte == 0x6e {
                return true  // No other word of JSON begins with an n.
            }
        }
        return false
    }

    /// - Throws: `DecodingError`; `explain` tells it in words.
    /// - Parameter allowsNull: false for requests: a null where a value belongs is an error there.
    package static func decode<Message: Decodable>(_ type: Message.Type, _ bytes: [UInt8], allowsNull: Bool = true)
        throws -> Message
    {
        guard allowsNull || !hasNull(bytes) else {
            throw DecodingError.valueNotFound(type, .init(codingPath: [], debugDescription: "null"))
        }
        let decoder = JSONDecoder()
        if !(type is any NamedAsSent.Type) { decoder.keyDecodingStrategy = .convertFromSnakeCase }
        return try decoder.decode(type, from: Data(bytes))
    }

    private struct Name: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { return nil }
    }

    /// A few names of the API are not in snake case: those that are all capitals, or say their own underscores, stay.
    private static func snakeCase(_ name: String) -> String {
        if name.contains("_") || name.allSatisfy(\.isUppercase) { return name }
        return name.reduce(into: "") { result, character in
            if character.isUppercase { result += "_" + character.lowercased() } else { result.append(character) }
        }
    }

    /// What is wrong with a request's body, for the one who sent it.
    package static func explain(_ error: any Error) -> String {
        func place(_ path: [any CodingKey]) -> String {
            "/" + path.map { $0.intValue.map(String.init) ?? snakeCase($0.stringValue) }.joined(separator: "/")
        }
        switch error {
        case DecodingError.keyNotFound(let key, let context):
            return
                "request body has an error: property \"\(snakeCase(key.stringValue))\" is missing at \"\(place(context.codingPath))\""
        case DecodingError.typeMismatch(let type, let context):
            return "request body has an error: value at \"\(place(context.codingPath))\" must be a \(type)"
        case DecodingError.valueNotFound(let type, let context):
            return "request body has an error: value at \"\(place(context.codingPath))\" must be a \(type), not null"
        default: return "request body has an error: it is not valid JSON"
        }
    }
}
