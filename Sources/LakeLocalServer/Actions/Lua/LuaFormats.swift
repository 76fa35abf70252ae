import Foundations
import LakeAPI

/// JSON as Go writes and reads it.
enum LuaJSON {
    /// Sorted by names, `<`, `>` and `&` escaped, a new line at the end.
    static func text(_ value: JSONValue, prefix: String = "", indent: String = "") -> [UInt8] {
        var bytes: [UInt8] = []
        let layout = prefix.isEmpty && indent.isEmpty ? nil : (prefix: Array(prefix.utf8), indent: Array(indent.utf8))
        write(value, layout, depth: 0, &bytes)
        bytes.append(0x0a)
        return bytes
    }

    private typealias Layout = (prefix: [UInt8], indent: [UInt8])

    private static func newLine(_ layout: Layout?, _ depth: Int, _ bytes: inout [UInt8]) {
        guard let layout else { return }
        bytes.append(0x0a)
        bytes += layout.prefix
        for _ in 0..<depth { bytes += layout.indent }
    }

    private static func write(_ value: JSONValue, _ layout: Layout?, depth: Int, _ bytes: inout [UInt8]) {
        switch value {
        case .list(let items):
            bytes.append(UInt8(ascii: "["))
            for (index, item) in items.enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                newLine(layout, depth + 1, &bytes)
                write(item, layout, depth: depth + 1, &bytes)
            }
            if !items.isEmpty { newLine(layout, depth, &bytes) }
            bytes.append(UInt8(ascii: "]"))
        case .object(let members):
            bytes.append(UInt8(ascii: "{"))
            for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 { bytes.append(UInt8(ascii: ",")) }
                newLine(layout, depth + 1, &bytes)
                write(.text(member.key), layout, depth: 0, &bytes)
                bytes.append(UInt8(ascii: ":"))
                if layout != nil { bytes.append(0x20) }
                write(member.value, layout, depth: depth + 1, &bytes)
            }
            if !members.isEmpty { newLine(layout, depth, &bytes) }
            bytes.append(UInt8(ascii: "}"))
        case .text:
            for byte in Coding.encode(value) {
                switch byte {
                case UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "&"): bytes += "\\u00\(Hex.text([byte]))".utf8
                default: bytes.append(byte)
                }
            }
        case .number(let number) where number.isFinite: bytes += goNumber(number).utf8
        default: bytes += Coding.encode(value)
        }
    }

    /// As Go's encoding/json: an exponent for the very small and the very large.
    private static func goNumber(_ number: Double) -> String {
        if let whole = Int64(exactly: number), abs(number) < 1e18 { return String(whole) }
        let text = "\(number)"
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }

    /// - Throws: `HookFailure`.
    static func read(_ bytes: [UInt8]) throws -> JSONValue {
        do { return try Coding.decodeForeign(JSONValue.self, bytes) } catch {
            throw HookFailure(reason(bytes))
        }
    }

    /// What Go says of the first byte that does not fit.
    private static func reason(_ bytes: [UInt8]) -> String {
        var inObject: [Bool] = []
        var wantsKey = false
        var index = 0
        while index < bytes.count {
            let byte = bytes[index]
            switch byte {
            case 0x20, 0x09, 0x0a, 0x0d: break
            case UInt8(ascii: "{"):
                inObject.append(true)
                wantsKey = true
            case UInt8(ascii: "["):
                inObject.append(false)
                wantsKey = false
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                if inObject.popLast() == nil { return invalid(byte, "after top-level value") }
                wantsKey = false
            case UInt8(ascii: ","): wantsKey = inObject.last ?? false
            case UInt8(ascii: ":"): wantsKey = false
            case UInt8(ascii: "\""):
                index += 1
                while index < bytes.count, bytes[index] != UInt8(ascii: "\"") {
                    index += bytes[index] == UInt8(ascii: "\\") ? 2 : 1
                }
                wantsKey = false
            default:
                if wantsKey { return invalid(byte, "looking for beginning of object key string") }
                guard (48...57).contains(byte) || "-+.eEtrufalsn".utf8.contains(byte) else {
                    return invalid(byte, "looking for beginning of value")
                }
            }
            index += 1
        }
        return inObject.isEmpty && !bytes.isEmpty ? "invalid JSON" : "unexpected end of JSON input"
    }

    private static func invalid(_ byte: UInt8, _ place: String) -> String {
        "invalid character '\(Character(Unicode.Scalar(byte)))' \(place)"
    }
}

/// YAML in blocks, as Go's yaml.v3 lays it out: sorted by names, four spaces a step.
enum LuaYAML {
    static func text(_ value: JSONValue) -> String {
        var result = ""
        write(value, depth: 0, isInList: false, &result)
        return result
    }

    private static func write(_ value: JSONValue, depth: Int, isInList: Bool, _ result: inout String) {
        let margin = String(repeating: " ", count: 4 * depth)
        switch value {
        case .object(let members) where !members.isEmpty:
            for (index, (name, item)) in members.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 || !isInList { result += margin }
                result += scalar(.text(name)) + ":"
                writeMember(item, depth: depth, &result)
            }
        case .list(let items) where !items.isEmpty:
            for (index, item) in items.enumerated() {
                if index > 0 || !isInList { result += margin }
                switch item {
                case .object(let members) where !members.isEmpty:
                    // Its lines stand two to the right of the dash: no step of four.
                    var nested = ""
                    write(item, depth: 0, isInList: false, &nested)
                    let lines = nested.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
                    result += "- " + lines.joined(separator: "\n" + margin + "  ") + "\n"
                case .list(let inner) where !inner.isEmpty:
                    var nested = ""
                    write(item, depth: 0, isInList: false, &nested)
                    let lines = nested.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
                    result += "- " + lines.joined(separator: "\n" + margin + "  ") + "\n"
                default: result += "- " + scalar(item) + "\n"
                }
            }
        default: result += scalar(value) + "\n"
        }
    }

    private static func writeMember(_ value: JSONValue, depth: Int, _ result: inout String) {
        switch value {
        case .object(let members) where !members.isEmpty:
            result += "\n"
            write(value, depth: depth + 1, isInList: false, &result)
        case .list(let items) where !items.isEmpty:
            result += "\n"
            write(value, depth: depth + 1, isInList: false, &result)
        default: result += " " + scalar(value) + "\n"
        }
    }

    private static func scalar(_ value: JSONValue) -> String {
        switch value {
        case .text(let text):
            let isPlain =
                !text.isEmpty && YAMLNode.isPlainText(text)
                && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7f } && !text.hasPrefix(" ") && !text.hasSuffix(" ")
                && !"-?:,[]{}#&*!|>'\"%@`".contains(text.first!) && !text.contains(": ") && !text.contains(" #")
                && !text.hasSuffix(":")
            return isPlain ? text : String(decoding: Coding.encode(value), as: UTF8.self)
        case .list: return "[]"
        case .object: return "{}"
        default: return String(decoding: LuaJSON.text(value).dropLast(), as: UTF8.self)
        }
    }
}
