import Foundations
import LakeAPI
import Transport

/// Arguments of a function, as it wants them.
struct LuaArguments {
    let values: [LuaValue]
    init(_ values: [LuaValue]) { self.values = values }

    subscript(place: Int) -> LuaValue { place <= values.count ? values[place - 1] : .null }

    private func wrong(_ place: Int, _ wanted: String) -> HookFailure {
        HookFailure(
            "bad argument #\(place) to '?' (\(wanted) expected, got \(place <= values.count ? self[place].kind : "no value"))"
        )
    }

    func bytes(_ place: Int) throws -> [UInt8] {
        switch self[place] {
        case .bytes(let bytes): return bytes
        case .number(let number): return Array(LuaText.number(number).utf8)
        default: throw wrong(place, "string")
        }
    }

    func text(_ place: Int) throws -> String { String(decoding: try bytes(place), as: UTF8.self) }
    func text(_ place: Int, or standard: String) throws -> String {
        self[place] == .null ? standard : try text(place)
    }

    func number(_ place: Int) throws -> Double {
        guard let number = self[place].number else { throw wrong(place, "number") }
        return number
    }

    /// A whole number, moved into what can be one.
    func integer(_ place: Int, or standard: Int? = nil) throws -> Int {
        if let standard, self[place] == .null { return standard }
        let number = try number(place)
        return number.isNaN ? 0 : Int(max(-1e18, min(1e18, number)))
    }

    func table(_ place: Int) throws -> LuaValue {
        guard self[place].pairs != nil else { throw wrong(place, "table") }
        return self[place]
    }
}

/// What scripts' packages are made of and Lua itself has not. Names are those of the packages; the prelude puts them in
/// their places. They run in the script's process.
enum LuaNatives {
    static var all: [(name: String, function: LuaFunction)] {
        encodings + texts + times + addresses + formats
    }

    private static func define(
        _ name: String, _ body: @escaping (LuaArguments) throws -> [LuaValue]
    ) -> (name: String, function: LuaFunction) { (name, { try body(LuaArguments($0)) }) }

    private static var encodings: [(name: String, function: LuaFunction)] {
        [
            define("base64.encode") { [.text(Base64.encode(try $0.bytes(1)))] },
            define("base64.url_encode") { [.text(Base64.encodeURL(try $0.bytes(1)))] },
            define("base64.decode") { [.bytes(try decode(try $0.bytes(1), isURL: false))] },
            define("base64.url_decode") { [.bytes(try decode(try $0.bytes(1), isURL: true))] },
            define("hex.encode") { [.text(Hex.text(try $0.bytes(1)))] },
            define("hex.decode") { [.bytes(try unhex(try $0.bytes(1)))] },
            define("sha256.digest") { [.bytes(Hash.digest(.sha256, try $0.bytes(1)))] },
            define("hmac.sign_sha256") { [.bytes(Hash.hmac(key: try $0.bytes(2), try $0.bytes(1)))] },
            define("hmac.sign_sha1") { [.bytes(Hash.hmacSHA1(key: try $0.bytes(2), try $0.bytes(1)))] },
            define("aes.encryptCBC") {
                guard let hidden = AESCBC.encrypt(try $0.bytes(2), key: try $0.bytes(1)) else {
                    throw HookFailure("crypto/aes: invalid key size \(try $0.bytes(1).count)")
                }
                return [.bytes(hidden)]
            },
            define("aes.decryptCBC") {
                guard let plain = AESCBC.decrypt(try $0.bytes(2), key: try $0.bytes(1)) else {
                    throw HookFailure("crypto/aes: the text cannot be decrypted by this key")
                }
                return [.bytes(plain)]
            },
            define("z85.decode_uuid") { arguments in
                let text = try arguments.bytes(1)
                guard text.count >= 20, let bytes = Z85.decode(text.suffix(20)) else {
                    throw HookFailure("z85: '\(try arguments.text(1))' does not end with an encoded UUID")
                }
                return [.text(textOfUUID(bytes)), .bytes(Array(text.dropLast(20)))]
            },
            define("uuid.new") { _ in [.text(randomUUID())] },
            define("tostring") { arguments in [.text(LuaText.number(try arguments.number(1)))] },
            define("hook.fail") {
                throw HookFailure(LuaState.failureMark.open + (try $0.text(1)) + LuaState.failureMark.close)
            },
        ]
    }

    private static func unhex(_ text: [UInt8]) throws -> [UInt8] {
        if let bytes = Hex.bytes(text) { return bytes }
        func isDigit(_ byte: UInt8) -> Bool { (48...57).contains(byte) || (97...102).contains(byte | 0x20) }
        guard let wrong = text.first(where: { !isDigit($0) }) else {
            throw HookFailure("encoding/hex: odd length hex string")
        }
        throw HookFailure(
            "encoding/hex: invalid byte: U+00\(Hex.text([wrong]).uppercased()) '\(Character(Unicode.Scalar(wrong)))'")
    }

    /// RFC 4648, 4 with padding and 5 without; ends of lines are passed over, as Go does.
    private static func decode(_ text: [UInt8], isURL: Bool) throws -> [UInt8] {
        var bits: UInt32 = 0
        var count = 0
        var digits = 0
        var padding = 0
        var result: [UInt8] = []
        for (index, byte) in text.enumerated() where byte != 0x0a && byte != 0x0d {
            let digit: UInt32
            switch byte {
            case 65...90: digit = UInt32(byte) - 65
            case 97...122: digit = UInt32(byte) - 71
            case 48...57: digit = UInt32(byte) + 4
            case UInt8(ascii: isURL ? "-" : "+"): digit = 62
            case UInt8(ascii: isURL ? "_" : "/"): digit = 63
            case UInt8(ascii: "=") where !isURL && digits % 4 >= 2 && digits % 4 + padding < 4:
                padding += 1
                continue
            default: throw HookFailure("illegal base64 data at input byte \(index)")
            }
            guard padding == 0 else { throw HookFailure("illegal base64 data at input byte \(index)") }
            digits += 1
            bits = bits << 6 | digit
            count += 6
            if count >= 8 {
                count -= 8
                result.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        guard digits % 4 != 1, isURL || (digits + padding) % 4 == 0 else {
            throw HookFailure("illegal base64 data at input byte \(text.count)")
        }
        return result
    }

    private static var texts: [(name: String, function: LuaFunction)] {
        [
            define("strings.split") { arguments in
                let text = try arguments.bytes(1), separator = try arguments.bytes(2)
                guard !separator.isEmpty else {
                    return [.list(String(decoding: text, as: UTF8.self).unicodeScalars.map { .text(String($0)) })]
                }
                return [.list(text.split(by: separator).map { .bytes(Array($0)) })]
            },
            define("strings.trim") { arguments in
                let text = try arguments.text(1).unicodeScalars
                let head = text.drop { $0.properties.isWhitespace }
                return [
                    .text(String(head.prefix(head.count - head.reversed().prefix { $0.properties.isWhitespace }.count)))
                ]
            },
            define("strings.replace") { arguments in
                let text = try arguments.bytes(1), old = try arguments.bytes(2), new = try arguments.bytes(3)
                let most = try arguments.integer(4, or: -1)
                guard !old.isEmpty else {
                    // It stands before each character and at the end.
                    var result = ""
                    var left = most < 0 ? Int.max : most
                    let new = String(decoding: new, as: UTF8.self)
                    for character in String(decoding: text, as: UTF8.self).unicodeScalars {
                        if left > 0 { result += new }
                        left -= left > 0 ? 1 : 0
                        result.unicodeScalars.append(character)
                    }
                    return [.text(left > 0 ? result + new : result)]
                }
                var parts = text.split(by: old, most: most < 0 ? .max : most)
                var result = Array(parts.removeFirst())
                for part in parts { result += new + part }
                return [.bytes(result)]
            },
            define("strings.has_prefix") { [.flag(try $0.bytes(1).starts(with: try $0.bytes(2)))] },
            define("strings.has_suffix") {
                [.flag(try $0.bytes(1).reversed().starts(with: try $0.bytes(2).reversed()))]
            },
            define("strings.contains") {
                [.flag(try $0.bytes(1).split(by: try $0.bytes(2), most: 1).count > 1 || $0.bytes(2).isEmpty)]
            },
            define("regexp.match") { [.flag(try Pattern(try $0.bytes(1)).first(in: try $0.bytes(2)) != nil)] },
            define("regexp.check") {
                _ = try Pattern(try $0.bytes(1))
                return []
            },
            define("regexp.quote_meta") { arguments in
                var result: [UInt8] = []
                for byte in try arguments.bytes(1) {
                    if "\\.+*?()|[]{}^$".utf8.contains(byte) { result.append(UInt8(ascii: "\\")) }
                    result.append(byte)
                }
                return [.bytes(result)]
            },
            define("regexp.find") { [.bytes(try Pattern(try $0.bytes(1)).first(in: try $0.bytes(2))?.first ?? [])] },
            define("regexp.find_all") { arguments in
                let found = try Pattern(try arguments.bytes(1)).all(
                    in: try arguments.bytes(2), most: try arguments.integer(3, or: -1))
                return [.list(found.map { .bytes($0[0]) })]
            },
            define("regexp.find_submatch") { arguments in
                let found = try Pattern(try arguments.bytes(1)).first(in: try arguments.bytes(2))
                return [.list((found ?? []).map { .bytes($0) })]
            },
            define("regexp.find_all_submatch") { arguments in
                let found = try Pattern(try arguments.bytes(1)).all(
                    in: try arguments.bytes(2), most: try arguments.integer(3, or: -1))
                return [.list(found.map { .list($0.map { .bytes($0) }) })]
            },
            define("path.parse") { arguments in
                var path = try arguments.text(1)
                let separator = try arguments.text(2, or: "/")
                guard !separator.isEmpty else { return [.table(["parent": .text(""), "base_name": .text(path)])] }
                if path.hasSuffix(separator) { path.removeLast(separator.count) }
                let parts = path.split(by: separator)
                let parent = parts.dropLast().map { $0 + separator }.joined()
                return [.table(["parent": .text(parent), "base_name": .text(parts.last ?? "")])]
            },
            define("path.join") { arguments in
                let separator = try arguments.text(1)
                let count = arguments.values.count - 1
                guard count > 0 else { return [.text("")] }
                let parts = try (0..<count).map { index -> String in
                    var part = try arguments.text(index + 2)
                    guard !separator.isEmpty else { return part }
                    if index > 0, part.hasPrefix(separator) { part.removeFirst(separator.count) }
                    if index < count - 1, part.hasSuffix(separator) { part.removeLast(separator.count) }
                    return part
                }
                return [.text(parts.joined(separator: separator))]
            },
            define("path.is_hidden") { arguments in
                let prefix = try arguments.text(3, or: "_")
                let parts = try arguments.text(1).split(by: try arguments.text(2, or: "/"))
                return [.flag(parts.contains { $0.hasPrefix(prefix) })]
            },
            define("path.extract_dir_name") { arguments in
                let parts = try arguments.text(1).split(by: "/")
                return [.text(parts.dropLast().joined(separator: "/"))]
            },
        ]
    }

    private static var times: [(name: String, function: LuaFunction)] {
        [
            define("time.now") { _ in [.number(GoTime.now())] },
            define("time.since") { [.number(GoTime.now() - (try $0.number(1)))] },
            define("time.sleep") { arguments in
                let nanoseconds = try arguments.number(1)
                sleep(milliseconds: Int(max(0, min(nanoseconds, 1e15)) / 1e6))
                return [.number(nanoseconds)]
            },
            define("time.add") { arguments in
                let time = try arguments.number(1), parts = try arguments.table(2)
                let units = ["hour": 3600e9, "minute": 60e9, "second": 1e9, "millisecond": 1e6]
                return [.number(units.reduce(time) { $0 + (parts[$1.key].number ?? 0) * $1.value })]
            },
            // The zone's file is the last argument: the server reads it.
            define("time.format") {
                [
                    .text(
                        try GoTime(nanoseconds: try $0.number(1), zone: try $0.text(3), file: try $0.bytes(4)).text(
                            try $0.text(2)))
                ]
            },
            define("time.parse_iso") { [.number(try GoTime.parse(try $0.text(1), layout: GoTime.iso))] },
            define("time.parse") { [.number(try GoTime.parse(try $0.text(2), layout: try $0.text(1)))] },
        ]
    }

    private static var addresses: [(name: String, function: LuaFunction)] {
        [
            define("url.parse") { arguments in
                let text = try arguments.text(1)
                var rest = text[...]
                var result: [String: LuaValue] = [:]
                func cut(at mark: Character) -> String {
                    guard let index = rest.firstIndex(of: mark) else { return "" }
                    defer { rest = rest[..<index] }
                    return String(rest[rest.index(after: index)...])
                }
                result["fragment"] = .bytes(URIEncoding.decode(cut(at: "#")))
                result["query"] = .text(cut(at: "?"))
                let scheme = rest.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || "+-.".contains($0)) }
                if rest.dropFirst(scheme.count).first == ":" {
                    guard let first = scheme.first, first.isLetter else {
                        throw HookFailure("parse \"\(text)\": missing protocol scheme")
                    }
                    result["scheme"] = .text(scheme.lowercased())
                    rest = rest.dropFirst(scheme.count + 1)
                } else {
                    result["scheme"] = .text("")
                }
                result["host"] = .text("")
                if rest.hasPrefix("//") {
                    let authority = rest.dropFirst(2).prefix { $0 != "/" }
                    rest = rest.dropFirst(2 + authority.count)
                    let host =
                        authority.lastIndex(of: "@").map { authority[authority.index(after: $0)...] } ?? authority
                    result["host"] = .text(String(host))
                }
                result["path"] = .bytes(try unescape(String(rest), plusIsSpace: false))
                return [.table(result)]
            },
            define("url.query_unescape") { [.bytes(try unescape(try $0.text(1), plusIsSpace: true))] },
            define("url.path_escape") { arguments in
                [
                    .text(
                        URIEncoding.encode(try arguments.bytes(1)).replacing("%2B", with: "+").replacing(
                            "%26", with: "&"
                        )
                        .replacing("%3D", with: "=").replacing("%3A", with: ":").replacing("%40", with: "@").replacing(
                            "%24", with: "$"))
                ]
            },
            define("url.build_url") { arguments in
                let path = try arguments.text(3, or: "")
                let encoded = URIEncoding.encode(path, keepsSlash: true)
                let slash = path.isEmpty || path.hasPrefix("/") ? "" : "/"
                return [.text("\(try arguments.text(1))://\(try arguments.text(2))\(slash)\(encoded)")]
            },
            define("azure.abfss_transform_path") { arguments in
                let text = try arguments.text(1)
                let parts = text.split(separator: "/", maxSplits: 4, omittingEmptySubsequences: false)
                guard parts.count >= 4, parts[0] == "https:", parts[1].isEmpty,
                    let dot = parts[2].firstRange(of: ".blob.core.windows.net"), dot.upperBound == parts[2].endIndex
                else { throw HookFailure("expected valid Azure https URL: \(text)") }
                let path = parts.count > 4 ? "/" + parts[4] : ""
                return [.text("abfss://\(parts[3])@\(parts[2][..<dot.lowerBound]).dfs.core.windows.net\(path)")]
            },
        ]
    }

    private static func unescape(_ text: String, plusIsSpace: Bool) throws -> [UInt8] {
        let bytes = Array(text.utf8)
        for (index, byte) in bytes.enumerated() where byte == UInt8(ascii: "%") {
            let digits = bytes[(index + 1)...].prefix(2)
            guard digits.count == 2, Hex.bytes(digits) != nil else {
                throw HookFailure(
                    "invalid URL escape \"\(String(decoding: bytes[index...].prefix(3), as: UTF8.self))\"")
            }
        }
        return URIEncoding.decode(text, plusIsSpace: plusIsSpace)
    }

    private static var formats: [(name: String, function: LuaFunction)] {
        [
            define("json.marshal") { arguments in
                guard let json = arguments[1].json else {
                    throw HookFailure("json: a key of a table is neither a text nor a number")
                }
                let options = arguments[2]
                return [
                    .bytes(
                        LuaJSON.text(json, prefix: options["prefix"].text ?? "", indent: options["indent"].text ?? ""))
                ]
            },
            define("json.unmarshal") { [LuaValue(try LuaJSON.read(try $0.bytes(1)))] },
            define("yaml.marshal") { arguments in
                guard let json = arguments[1].json else {
                    throw HookFailure("yaml: a key of a table is neither a text nor a number")
                }
                return [.text(LuaYAML.text(json))]
            },
            define("yaml.unmarshal") { arguments in
                do { return [LuaValue(try YAMLNode.read(try arguments.bytes(1))?.value ?? .null)] } catch {
                    // Go's reader tells the line only where it is not the first.
                    let reason = LakeError(error).message
                    throw HookFailure("yaml: " + (reason.hasPrefix("line 1: ") ? String(reason.dropFirst(8)) : reason))
                }
            },
            define("parquet.get_schema") { arguments in
                do {
                    let columns = try ParquetFooter(ofFile: try arguments.bytes(1)).columns
                    return [.list(columns.map { .table(["name": .text($0.name), "type": .text($0.type)]) })]
                } catch let error as ParquetError { throw HookFailure(error.message) }
            },
        ]
    }
}

/// ZeroMQ's base 85 (rfc.zeromq.org/spec/32), as Delta tables write UUIDs.
private enum Z85 {
    private static let alphabet = Array(
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#".utf8)

    static func decode(_ text: some Collection<UInt8>) -> [UInt8]? {
        var result: [UInt8] = []
        var value: UInt64 = 0
        for (index, byte) in text.enumerated() {
            guard let digit = alphabet.firstIndex(of: byte) else { return nil }
            value = value * 85 + UInt64(digit)
            guard index % 5 == 4 else { continue }
            guard value <= UInt64(UInt32.max) else { return nil }
            for shift in [24, 16, 8, 0] as [UInt64] { result.append(UInt8(truncatingIfNeeded: value >> shift)) }
            value = 0
        }
        return result
    }
}

extension Array where Element == UInt8 {
    /// The parts between separators.
    /// - Parameter most: separators that count.
    fileprivate func split(by separator: [UInt8], most: Int = .max) -> [ArraySlice<UInt8>] {
        var parts: [ArraySlice<UInt8>] = []
        var start = 0
        var index = 0
        while !separator.isEmpty, index + separator.count <= count, parts.count < most {
            if self[index..<index + separator.count].elementsEqual(separator) {
                parts.append(self[start..<index])
                index += separator.count
                start = index
            } else {
                index += 1
            }
        }
        return parts + [self[start...]]
    }
}

extension String {
    fileprivate func split(by separator: String) -> [String] {
        Array(utf8).split(by: Array(separator.utf8)).map { String(decoding: $0, as: UTF8.self) }
    }
}
