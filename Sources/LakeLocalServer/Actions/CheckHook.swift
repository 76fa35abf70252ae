import Foundations
import LakeAPI
import Versioning

/// A gate that needs no server and no script: looks at what a change does, and refuses what is not allowed.
///
/// | property | what it asks for |
/// |---|---|
/// | `allowed_paths` | patterns (`*` for anything), one of which each path that is written must match |
/// | `largest_size` | bytes that a written object may have: `1000`, `64MB`, `1GiB` |
/// | `required_metadata` | names that the commit's metadata must have, or a map of names and regular expressions |
/// | `message_pattern` | a regular expression that the commit's message must match |
/// | `parquet_schema` | `unchanged` or `widened`: of Parquet files, against what was at their path, or beside it |
/// | `no_deletions` | beginnings of paths under which nothing may be removed |
/// | `formats` | a map of path patterns and formats, told by an object's first bytes |
struct CheckHook: RunnableHook {
    private enum Metadata { case names([String]), patterns([(name: String, pattern: String)]) }
    private enum Schema: String { case unchanged, widened }

    private let allowed: [Glob]?
    private let largest: Int64?
    private let metadata: Metadata?
    private let message: String?
    private let schema: Schema?
    private let undeletable: [Key]
    private let formats: [(pattern: Glob, format: Magic)]

    /// Paths that are told of one complaint.
    private static let mostTold = 20
    /// Steps that a pattern may take from each place of a text, and bytes of a text: both together bound the time.
    private static let steps: UInt32 = 20_000, longestText = 8192

    private static let known = [
        "allowed_paths", "largest_size", "required_metadata", "message_pattern", "parquet_schema", "no_deletions",
        "formats",
    ]

    /// - Throws: `HookFailure`.
    init(_ properties: [String: JSONValue]) throws {
        if let unknown = properties.keys.sorted().first(where: { !Self.known.contains($0) }) {
            throw HookFailure(
                "check has no property '\(unknown)': \(Self.known.joined(separator: ", ")) are known")
        }
        guard !properties.isEmpty else {
            throw HookFailure("check asks for nothing: give it \(Self.known.joined(separator: ", "))")
        }
        allowed = try Self.texts(properties["allowed_paths"], "allowed_paths")?.map(Self.glob)
        largest = try properties["largest_size"].map(Self.size)
        switch properties["required_metadata"] {
        case nil: metadata = nil
        case .object(let named)?:
            metadata = .patterns(
                try named.sorted { $0.key < $1.key }.map { name, pattern in
                    guard let text = pattern.text else {
                        throw HookFailure("check required_metadata: the pattern of '\(name)' is no text")
                    }
                    _ = try Pattern(Array(text.utf8))
                    return (name, text)
                })
        case let names: metadata = .names(try Self.texts(names, "required_metadata") ?? [])
        }
        switch properties["message_pattern"] {
        case nil: message = nil
        case .text(let text)?:
            _ = try Pattern(Array(text.utf8))
            message = text
        default: throw HookFailure("check message_pattern is no text")
        }
        switch properties["parquet_schema"] {
        case nil: schema = nil
        case let value?:
            guard let found = value.text.flatMap(Schema.init(rawValue:)) else {
                throw HookFailure("check parquet_schema: unchanged and widened are allowed")
            }
            schema = found
        }
        undeletable = (try Self.texts(properties["no_deletions"], "no_deletions") ?? []).map { Key($0) }
        switch properties["formats"] {
        case nil: formats = []
        case .object(let named)?:
            formats = try named.sorted { $0.key < $1.key }.map { pattern, format in
                guard let magic = format.text.flatMap(Magic.init(rawValue:)) else {
                    throw HookFailure(
                        "check formats: '\(format.text ?? "")' is not known: \(Magic.allCases.map(\.rawValue).joined(separator: ", ")) are"
                    )
                }
                return (try Self.glob(pattern), magic)
            }
        default: throw HookFailure("check formats is no map of path patterns and formats")
        }
    }

    private static func texts(_ value: JSONValue?, _ name: String) throws -> [String]? {
        switch value {
        case nil, .null?: return nil
        case .text(let text)?: return [text]
        case .list(let items)?:
            let texts = items.compactMap(\.text)
            guard texts.count == items.count else { throw HookFailure("check \(name) holds something that is no text") }
            return texts
        default: throw HookFailure("check \(name) is no list of texts")
        }
    }

    private static func glob(_ text: String) throws -> Glob {
        guard let glob = Glob(text) else {
            throw HookFailure("check: '\(text)' is no pattern: syntax error in pattern")
        }
        return glob
    }

    private static func size(_ value: JSONValue) throws -> Int64 {
        if case .integer(let bytes) = value, bytes >= 0 { return bytes }
        let units: [String: Int64] = [
            "": 1, "B": 1, "KB": 1000, "MB": 1_000_000, "GB": 1_000_000_000, "TB": 1_000_000_000_000, "KIB": 1 << 10,
            "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
        ]
        if let text = value.text {
            let digits = text.prefix { $0.isNumber }
            let unit = text.dropFirst(digits.count).filter { $0 != " " }.uppercased()
            if let count = Int64(digits), let factor = units[unit] {
                let (bytes, isTooLarge) = count.multipliedReportingOverflow(by: factor)
                return isTooLarge ? .max : bytes
            }
        }
        throw HookFailure("check largest_size is no number of bytes: 1000, 64MB and 1GiB are")
    }

    /// Complaints of one kind.
    private struct Complaint {
        let text: String
        var paths: [String] = []
        var count = 0

        mutating func add(_ path: Key, _ reason: String = "") {
            count += 1
            if paths.count < mostTold { paths.append(path.description + (reason.isEmpty ? "" : ": " + reason)) }
        }

        var description: String {
            let rest = count - paths.count
            return "\(text) (\(count)):\n" + paths.map { "  \($0)\n" }.joined()
                + (rest > 0 ? "  and \(rest) more\n" : "")
        }
    }

    func run(_ context: HookContext, _ services: HookServices) throws {
        var faults: [String] = []
        try checkCommit(context.event, &faults)
        if allowed != nil || largest != nil || schema != nil || !undeletable.isEmpty || !formats.isEmpty {
            try checkChanges(context.event, services.catalog, &faults)
        }
        guard faults.isEmpty else {
            for fault in faults { context.say(fault.hasSuffix("\n") ? fault : fault + "\n") }
            let text = faults.joined(separator: "\n")
            throw HookFailure("check failed: " + (text.hasSuffix("\n") ? String(text.dropLast()) : text))
        }
    }

    private func checkCommit(_ event: HookEvent, _ faults: inout [String]) throws {
        guard event.commit != nil else { return }
        func matches(_ pattern: String, _ text: String) throws -> Bool {
            guard text.utf8.count <= Self.longestText else {
                throw HookFailure(
                    "a text of \(text.utf8.count) bytes is not held against a pattern: \(Self.longestText) at most")
            }
            return try Pattern(Array(pattern.utf8), steps: Self.steps).first(in: Array(text.utf8)) != nil
        }
        if let message, try !matches(message, event.message) {
            faults.append("the commit's message does not match \(message)")
        }
        switch metadata {
        case nil: break
        case .names(let names)?:
            for name in names where event.metadata[name] == nil {
                faults.append("the commit's metadata has no '\(name)'")
            }
        case .patterns(let patterns)?:
            for (name, pattern) in patterns {
                guard let value = event.metadata[name] else {
                    faults.append("the commit's metadata has no '\(name)'")
                    continue
                }
                if try !matches(pattern, value) {
                    faults.append("'\(name)' of the commit's metadata does not match \(pattern)")
                }
            }
        }
    }

    private func checkChanges(_ event: HookEvent, _ catalog: Catalog, _ faults: inout [String]) throws {
        var strays = Complaint(text: "paths that are not allowed")
        var giants = Complaint(text: "objects of more than \(largest ?? 0) bytes")
        var removed = Complaint(text: "objects that may not be removed")
        var strangers = Complaint(text: "objects of another format than their path says")
        var changed = Complaint(text: "Parquet files whose schema does not fit")
        let repository = try catalog.repository(event.repository)
        let namespace = try repository.namespace
        let schemas = try schema.map { try SchemaKeeper(catalog, event, $0 == .widened, namespace) }
        try catalog.forEachChange(of: event) { change in
            let path = change.path
            guard let entry = change.right else {
                if undeletable.contains(where: { path.hasPrefix($0) }) { removed.add(path) }
                return
            }
            let text = path.description
            if let allowed, !allowed.contains(where: { $0.matches(text) }) { strays.add(path) }
            if let largest, entry.size > largest { giants.add(path, "\(entry.size) bytes") }
            for (pattern, format) in formats where pattern.matches(text) {
                let head = try catalog.objects.read(
                    entry.location(in: namespace), 0..<min(entry.size, Int64(Magic.bytes)))
                if !format.fits(head) { strangers.add(path, "no \(format.rawValue)") }
            }
            if let schemas, text.hasSuffix(".parquet"), let reason = try schemas.misfit(of: path, entry, change.left) {
                changed.add(path, reason)
            }
        }
        faults += [strays, giants, removed, strangers, changed].filter { $0.count > 0 }.map(\.description)
    }
}

/// Holds Parquet files against those that were there.
private final class SchemaKeeper {
    private let catalog: Catalog
    private let allowsWidening: Bool
    private let namespace: StorageNamespace
    /// What the change is made to.
    private let base: ResolvedRef?
    /// The schema of the last folder's first file; nil where there was none. Changes come in the order of their paths.
    private var last: (folder: Key, schema: ParquetFooter?)?

    init(_ catalog: Catalog, _ event: HookEvent, _ allowsWidening: Bool, _ namespace: StorageNamespace) throws {
        self.catalog = catalog
        self.allowsWidening = allowsWidening
        self.namespace = namespace
        let parent = event.commit?.parents.first
        base =
            try parent.map { try catalog.resolve($0.text, in: event.repository) }
            ?? catalog.resolve(event.branch.text + "@", in: event.repository)
    }

    /// - Throws: `HookFailure` for what is no Parquet file.
    private func footer(_ entry: Entry) throws -> ParquetFooter {
        do { return try readFooter(entry) } catch let error as ParquetError { throw HookFailure(error.message) }
    }

    private func readFooter(_ entry: Entry) throws -> ParquetFooter {
        let location = try entry.location(in: namespace)
        let tail = try catalog.objects.read(
            location, max(0, entry.size - Int64(ParquetFooter.tailBytes))..<entry.size)
        let size = Int64(try ParquetFooter.size(tail: tail[...], fileBytes: Int(entry.size)))
        let end = entry.size - Int64(ParquetFooter.tailBytes)
        return try ParquetFooter(metadata: try catalog.objects.read(location, end - size..<end))
    }

    func misfit(of path: Key, _ entry: Entry, _ old: Entry?) throws -> String? {
        do {
            let before = try old.map { try footer($0) } ?? neighbour(of: path)
            let now = try footer(entry)
            return before.flatMap { now.misfit(after: $0, allowsWidening: allowsWidening) }
        } catch let failure as HookFailure { return failure.description }
    }

    /// The schema of the first Parquet file in the folder, as it was.
    private func neighbour(of path: Key) throws -> ParquetFooter? {
        let end = path.bytes.lastIndex(of: UInt8(ascii: "/")).map { $0 + 1 } ?? 0
        let folder = Key(Array(path.bytes[..<end]))
        if let last, last.folder == folder { return last.schema }
        var found: ParquetFooter?
        if let base {
            var query = Catalog.ListQuery()
            (query.prefix, query.delimiter, query.limit) = (folder, Key("/"), 100)
            for case .object(let path, let entry) in try catalog.list(base, query).items
            where path.description.hasSuffix(".parquet") {
                found = try footer(entry)
                break
            }
        }
        last = (folder, found)
        return found
    }
}

/// Formats of files, told by their first bytes.
enum Magic: String, CaseIterable {
    case parquet, orc, avro, arrow, gzip, zip, zstd, bzip2, xz, png, jpeg, gif, webp, tiff, pdf, json, text, hdf5, numpy

    static let bytes = 64

    func fits(_ head: [UInt8]) -> Bool {
        func begins(_ bytes: [UInt8], at place: Int = 0) -> Bool { head.dropFirst(place).starts(with: bytes) }
        func begins(_ text: String, at place: Int = 0) -> Bool { begins(Array(text.utf8), at: place) }
        return switch self {
        case .parquet: begins("PAR1")
        case .orc: begins("ORC")
        case .avro: begins("Obj\u{1}")
        case .arrow: begins("ARROW1")
        case .gzip: begins([0x1f, 0x8b])
        case .zip: begins("PK\u{3}\u{4}") || begins("PK\u{5}\u{6}")
        case .zstd: begins([0x28, 0xb5, 0x2f, 0xfd])
        case .bzip2: begins("BZh")
        case .xz: begins([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])
        case .png: begins([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
        case .jpeg: begins([0xff, 0xd8, 0xff])
        case .gif: begins("GIF8")
        case .webp: begins("RIFF") && begins("WEBP", at: 8)
        case .tiff: begins([0x49, 0x49, 0x2a, 0x00]) || begins([0x4d, 0x4d, 0x00, 0x2a])
        case .pdf: begins("%PDF-")
        case .hdf5: begins([0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a])
        case .numpy: begins([0x93] + Array("NUMPY".utf8))
        case .json:
            head.first { ![0x20, 0x09, 0x0a, 0x0d].contains($0) }.map { "{[\"-0123456789tfn".utf8.contains($0) }
                ?? false
        case .text: head.allSatisfy { $0 >= 0x20 || [0x09, 0x0a, 0x0d, 0x0c].contains($0) }
        }
    }
}
