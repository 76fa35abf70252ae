import FoundationEssentials
import Foundations

/// How messages become JSON and back: sorted keys, slashes as they are.
package enum Coding {
    package static func encode(_ message: some JSONWritable) -> [UInt8] {
        var json = JSONWriter()
        message.write(to: &json)
        return json.bytes
    }

    /// What decoders do not tell of a text: the word `null` outside of strings, which they take for an absent value, and
    /// a name that an object has twice, of which they take the first where others take the last.
    private static func look(_ bytes: [UInt8]) -> (hasNull: Bool, repeated: String?, isTooDeep: Bool) {
        var hasNull = false
        var start: Int?
        var isEscaped = false
        var last: ArraySlice<UInt8>?
        // Names of the objects that are open; nil for a list.
        var open: [Set<ArraySlice<UInt8>>?] = []
        for (index, byte) in bytes.enumerated() {
            if let begun = start {
                if isEscaped {
                    isEscaped = false
                } else if byte == 0x5c {
                    isEscaped = true
                } else if byte == 0x22 {
                    last = bytes[begun..<index]
                    start = nil
                }
                continue
            }
            switch byte {
            case 0x22: start = index + 1
            case 0x6e: hasNull = true  // No other word of JSON begins with an n.
            case 0x7b, 0x5b:
                open.append(byte == 0x7b ? [] : nil)
                if open.count > deepest { return (hasNull, nil, true) }
            case 0x7d, 0x5d: _ = open.popLast()
            case 0x3a:
                guard let name = last, let depth = open.indices.last, open[depth] != nil else { continue }
                if !open[depth]!.insert(name).inserted {
                    return (hasNull, String(decoding: name, as: UTF8.self), false)
                }
            default: break
            }
        }
        return (hasNull, nil, false)
    }

    /// - Throws: `DecodingError`; `explain` tells it in words.
    package static func decode<Message: Decodable>(_ type: Message.Type, _ bytes: [UInt8]) throws -> Message {
        try JSONDecoder().decode(type, from: Data(bytes))
    }

    /// The value that an object begins with, if it stands under this name and is an object itself; what follows is not
    /// looked at.
    package static func leading<Value: Decodable>(_ type: Value.Type, named name: String, _ bytes: [UInt8]) -> Value? {
        let start = Array("{\"\(name)\":{".utf8)
        guard bytes.starts(with: start) else { return nil }
        var (depth, isText, isEscaped) = (1, false, false)
        for index in start.count..<bytes.count {
            let byte = bytes[index]
            if isText {
                if isEscaped {
                    isEscaped = false
                } else if byte == 0x5c {
                    isEscaped = true
                } else {
                    isText = byte != 0x22
                }
                continue
            }
            switch byte {
            case 0x22: isText = true
            case 0x7b: depth += 1
            case 0x7d: depth -= 1
            default: break
            }
            // What is no such value is told by who decodes the whole.
            if depth == 0 { return try? decode(type, Array(bytes[(start.count - 1)...index])) }
        }
        return nil
    }

    /// Objects and lists within each other: decoders go down by calling themselves, on stacks of half a MiB.
    private static let deepest = 64

    /// What another system answers, which may be anybody's.
    /// - Throws: `DecodingError`.
    package static func decodeForeign<Value: Decodable>(_ type: Value.Type, _ bytes: [UInt8]) throws -> Value {
        guard !look(bytes).isTooDeep else {
            throw DecodingError.dataCorrupted(.init(codingPath: [], debugDescription: "nested too deep"))
        }
        return try decode(type, bytes)
    }

    /// A message that was sent to us: nulls where a value belongs, and what does not fit the description, are refused.
    /// - Throws: `DecodingError` and `Misfit`; `explain` tells them in words.
    package static func decodeRequest<Request: Message>(
        _ type: Request.Type, _ bytes: [UInt8], allowsNull: Bool = false
    )
        throws -> Request
    {
        let (hasNull, repeated, isTooDeep) = look(bytes)
        if isTooDeep { throw Misfit(place: "", reason: "values are nested deeper than \(deepest)") }
        if let repeated { throw Misfit(place: "", reason: "property \"\(repeated)\" is there twice") }
        guard allowsNull || !hasNull else {
            throw DecodingError.valueNotFound(type, .init(codingPath: [], debugDescription: "null"))
        }
        let message: Request
        do { message = try decode(type, bytes) } catch DecodingError.dataCorrupted(let context) {
            // The decoder says the same of what is no JSON, and of a number with a fraction where a whole one belongs.
            guard (try? decode(JSONValue.self, bytes)) != nil else { throw DecodingError.dataCorrupted(context) }
            throw Misfit(place: "", reason: "value must be an integer, and not too large, where the schema has one")
        }
        try message.check(.whole)
        return message
    }

    /// What is wrong with a request's body, for the one who sent it; in lakeFS's words.
    package static func explain(_ error: any Error, in type: (some Message).Type) -> String {
        func told(_ path: [any CodingKey], _ reason: String) -> String {
            let place = path.map { "/" + ($0.intValue.map(String.init) ?? $0.stringValue) }.joined()
            return told(place, reason)
        }
        func told(_ place: String, _ reason: String) -> String {
            "request body has an error: doesn't match schema #/components/schemas/\(type): "
                + (place.isEmpty ? "" : "Error at \"\(place)\": ") + reason
        }
        switch error {
        case let misfit as Misfit: return told(misfit.place, misfit.reason)
        case DecodingError.keyNotFound(let key, let context):
            return told(context.codingPath + [key], "property \"\(key.stringValue)\" is missing")
        case DecodingError.typeMismatch(let type, let context):
            return told(context.codingPath, "value must be \(word(type))")
        case DecodingError.valueNotFound(_, let context): return told(context.codingPath, "value is not nullable")
        default: return "request body has an error: failed to decode request body: it is not valid JSON"
        }
    }

    private static func word(_ type: any Any.Type) -> String {
        switch type {
        case is String.Type: "a string"
        case is Bool.Type: "a boolean"
        case is any BinaryInteger.Type: "an integer"
        case is any BinaryFloatingPoint.Type: "a number"
        case is [Any].Type: "an array"
        default: "an object"
        }
    }
}
