import Foundations
import LakeAPI

@testable import LakeLocalServer

/// Files of actions, as they are pushed.
func readYAML(_ bytes: [UInt8]) {
    _ = try? YAMLNode.read(bytes)
    _ = try? Action.validate(bytes)
}

/// What hooks read besides: what scripts say, ends of Parquet files, conditions, patterns, times, zones, addresses.
func readHooks(_ bytes: [UInt8]) {
    guard let first = bytes.first else { return }
    let rest = Array(bytes.dropFirst())
    let text = String(decoding: rest, as: UTF8.self)
    switch first % 9 {
    case 0:
        guard let value = try? LuaWire.read(rest) else { return }
        var again: [UInt8] = []
        LuaWire.append(value, to: &again)
        precondition(again == rest, "a value is written otherwise than it was read")
        if let json = value.json {
            _ = LuaJSON.text(json)
            _ = LuaYAML.text(json)
        }
    case 1: _ = try? ParquetFooter(metadata: rest)
    case 6:
        let file = try? ParquetFile(size: Int64(rest.count)) { offset, count in
            Array(rest.dropFirst(Int(offset)).prefix(count))
        }
        _ = try? file?.rows(from: Int64(first), count: 10)
    case 2: _ = try? ParquetFooter(ofFile: rest + "PAR1".utf8)
    case 3: _ = try? HookCondition.holds(text, hasFailed: first > 127)
    case 4:
        let parts = text.split(separator: "\n", maxSplits: 1).map(String.init)
        if parts.count == 2 { _ = BranchPattern(String(parts[0].prefix(200)))?.matches(parts[1]) }
    case 5:
        let parts = text.split(separator: "\n", maxSplits: 1).map(String.init)
        guard parts.count == 2 else { return }
        _ = try? GoTime.parse(parts[1], layout: parts[0])
        _ = try? GoTime(nanoseconds: Double(rest.count) * 1e17, zone: "UTC", file: []).text(parts[0])
    case 6: _ = ZoneFile.offset(at: Int64(rest.count) << 20, rest)
    case 7:
        _ = try? HookURL(text).target(adding: [("a", "b")])
        _ = HookURL(text).shown
    default:
        let parts = rest.split(separator: 0x0a, maxSplits: 1).map { Array($0) }
        if parts.count == 2 { _ = try? Pattern(parts[0], steps: 10_000).all(in: parts[1], most: 10) }
    }
}
