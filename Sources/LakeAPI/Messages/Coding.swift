import FoundationEssentials
import Foundations

/// How messages become JSON and back: sorted keys, slashes as they are.
package enum Coding {
    package static func encode(_ message: some Encodable) -> [UInt8] {
        let encoder = JSONEncoder()
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
    package static func decode<Message: Decodable>(_ type: Message.Type, _ bytes: [UInt8]) throws -> Message {
        try JSONDecoder().decode(type, from: Data(bytes))
    }

    /// A message that was sent to us: nulls where a value belongs, and what does not fit the description, are refused.
    /// - Throws: `DecodingError` and `Misfit`; `explain` tells them in words.
    package static func decodeRequest<Request: Message>(
        _ type: Request.Type, _ bytes: [UInt8], allowsNull: Bool = false
    )
        throws -> Request
    {
        guard allowsNull || !hasNull(bytes) else {
            throw DecodingError.valueNotFound(type, .init(codingPath: [], debugDescription: "null"))
        }
        let message = try decode(type, bytes)
        try message.check(.whole)
        return message
    }

    /// What is wrong with a request's body, for the one who sent it.
    package static func explain(_ error: any Error) -> String {
        func place(_ path: [any CodingKey]) -> String {
            "/" + path.map { $0.intValue.map(String.init) ?? $0.stringValue }.joined(separator: "/")
        }
        switch error {
        case let misfit as Misfit:
            return "request body has an error: value at \"\(misfit.place)\" \(misfit.reason)"
        case DecodingError.keyNotFound(let key, let context):
            return
                "request body has an error: property \"\(key.stringValue)\" is missing at \"\(place(context.codingPath))\""
        case DecodingError.typeMismatch(let type, let context):
            return "request body has an error: value at \"\(place(context.codingPath))\" must be a \(type)"
        case DecodingError.valueNotFound(let type, let context):
            return "request body has an error: value at \"\(place(context.codingPath))\" must be a \(type), not null"
        default: return "request body has an error: it is not valid JSON"
        }
    }
}
