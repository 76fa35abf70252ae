import Foundations

/// The schema of a Parquet file, from its end alone. Source: parquet.thrift of apache/parquet-format, in Thrift's compact
/// protocol.
///
///     … row groups … | FileMetaData | its length: 4 bytes, little-endian | PAR1
struct ParquetFooter: Equatable {
    struct Column: Equatable {
        /// Names of the groups that it lies in and its own, with dots between them.
        let name: String
        /// `INT32`, `BYTE_ARRAY`…
        let type: String
        /// `REQUIRED`, `OPTIONAL`, `REPEATED`, of the whole path: the weakest.
        let repetition: Int
        /// What converted and logical types say of the physical one; compared, not understood.
        let annotation: [UInt8]
    }

    let columns: [Column]

    /// Bytes at the end that tell how long the rest is.
    static let tailBytes = 8
    /// Bytes of metadata that are read.
    static let mostBytes = 16 << 20

    /// - Throws: `HookFailure` for what is no Parquet file.
    init(ofFile file: [UInt8]) throws {
        let size = try Self.size(tail: file.suffix(Self.tailBytes), fileBytes: file.count)
        try self.init(metadata: Array(file.dropLast(Self.tailBytes).suffix(size)))
    }

    /// Bytes of metadata before the tail.
    static func size(tail: ArraySlice<UInt8>, fileBytes: Int) throws -> Int {
        guard tail.count == tailBytes, fileBytes >= 12 else { throw HookFailure("unable to seek to a location <0") }
        let tail = Array(tail)
        guard tail[4...].elementsEqual("PAR1".utf8) else {
            throw HookFailure("the file is no Parquet file: it does not end with PAR1")
        }
        let size = (0..<4).reduce(0) { $0 | Int(tail[$1]) << (8 * $1) }
        guard size > 0, size <= fileBytes - 12 else {
            throw HookFailure("the Parquet file's metadata of \(size) bytes does not fit into it")
        }
        guard size <= mostBytes else {
            throw HookFailure("the Parquet file's metadata has \(size) bytes: \(mostBytes) at most are read")
        }
        return size
    }

    private struct Element {
        var type: Int64?
        var length: Int64 = 0
        var repetition: Int64 = 0
        var name = ""
        var children: Int64 = 0
        var annotation: [UInt8] = []
    }

    init(metadata: [UInt8]) throws {
        var reader = ThriftReader(metadata)
        var elements: [Element] = []
        do throws(ThriftReader.Malformed) {
            try reader.structure { reader, field, kind throws(ThriftReader.Malformed) in
                guard field == 2, kind == ThriftReader.list else { return try reader.skip(kind) }
                try reader.items { reader throws(ThriftReader.Malformed) in
                    var element = Element()
                    try reader.structure { reader, field, kind throws(ThriftReader.Malformed) in
                        switch (field, kind) {
                        case (1, 5): element.type = try reader.integer()
                        case (2, 5): element.length = try reader.integer()
                        case (3, 5): element.repetition = try reader.integer()
                        case (4, 8): element.name = String(decoding: try reader.bytes(), as: UTF8.self)
                        case (5, 5): element.children = try reader.integer()
                        case (9, _): try reader.skip(kind)
                        default:
                            let start = reader.position
                            try reader.skip(kind)
                            element.annotation += [UInt8(truncatingIfNeeded: field)] + metadata[start..<reader.position]
                        }
                    }
                    elements.append(element)
                }
            }
        } catch { throw HookFailure("the Parquet file's metadata cannot be read") }
        var columns: [Column] = []
        var next = 1
        guard let root = elements.first else { throw HookFailure("the Parquet file has no schema") }
        func collect(_ count: Int64, _ path: [String], _ repetition: Int64, _ depth: Int) throws {
            guard depth < 64 else { throw HookFailure("the Parquet file's schema is nested too deep") }
            for _ in 0..<max(0, count) {
                guard next < elements.count else { throw HookFailure("the Parquet file's schema ends early") }
                let element = elements[next]
                next += 1
                let path = path + [element.name]
                let weakest = max(repetition, element.repetition)
                guard let type = element.type else {
                    try collect(element.children, path, weakest, depth + 1)
                    continue
                }
                let names = [
                    "BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY",
                ]
                guard type >= 0, type < names.count else { throw HookFailure("the Parquet file has a type \(type)") }
                columns.append(
                    Column(
                        name: path.joined(separator: "."), type: names[Int(type)], repetition: Int(weakest),
                        annotation: element.annotation
                            + (element.length > 0 ? Array("\(element.length)".utf8) : [])))
            }
        }
        try collect(root.children, [], 0, 0)
        self.columns = columns
    }

    /// How a file's columns differ from those of an older one so that readers of that would stumble; nil if they do not.
    /// - Parameter allowsWidening: whether columns may be added that need not be there, made optional, or widened.
    func misfit(after old: ParquetFooter, allowsWidening: Bool) -> String? {
        if columns == old.columns { return nil }
        guard allowsWidening else {
            let names = Set(columns.map(\.name)).symmetricDifference(old.columns.map(\.name)).sorted()
            return names.isEmpty
                ? "types or the order of columns have changed"
                : "columns have changed: \(names.joined(separator: ", "))"
        }
        let new = Dictionary(columns.map { ($0.name, $0) }) { $1 }
        for column in old.columns {
            guard let now = new[column.name] else { return "the column \(column.name) is gone" }
            let isWider =
                ["INT32 INT64", "FLOAT DOUBLE"].contains("\(column.type) \(now.type)") && column.annotation.isEmpty
                && now.annotation.isEmpty
            guard isWider || (now.type == column.type && now.annotation == column.annotation) else {
                return "the column \(column.name) was \(column.type) and is \(now.type), or means something else"
            }
            guard now.repetition == column.repetition || (column.repetition == 0 && now.repetition == 1) else {
                return "the column \(column.name) must be there now, or has become a list or ceased to be one"
            }
        }
        let known = Set(old.columns.map(\.name))
        if let added = columns.first(where: { !known.contains($0.name) && $0.repetition == 0 }) {
            return "the new column \(added.name) must be there: older files have not got it"
        }
        return nil
    }
}

/// Thrift's compact protocol. Source: its specification, "Thrift Compact protocol" (apache/thrift).
private struct ThriftReader {
    struct Malformed: Error {}
    static let list: UInt8 = 9

    private let data: [UInt8]
    private(set) var position = 0
    private var depth = 0

    init(_ data: [UInt8]) { self.data = data }

    private mutating func byte() throws(Malformed) -> UInt8 {
        guard position < data.count else { throw Malformed() }
        defer { position += 1 }
        return data[position]
    }

    private mutating func varint() throws(Malformed) -> UInt64 {
        var result: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 64, by: 7) {
            let byte = try byte()
            result |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return result }
        }
        throw Malformed()
    }

    mutating func integer() throws(Malformed) -> Int64 {
        let value = try varint()
        return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
    }

    mutating func bytes() throws(Malformed) -> ArraySlice<UInt8> {
        let count = try varint()
        guard count <= UInt64(data.count - position) else { throw Malformed() }
        defer { position += Int(count) }
        return data[position..<position + Int(count)]
    }

    /// - Parameter body: reads a field's value, or skips it.
    mutating func structure(_ body: (inout ThriftReader, Int16, UInt8) throws(Malformed) -> Void) throws(Malformed) {
        depth += 1
        defer { depth -= 1 }
        guard depth < 64 else { throw Malformed() }
        var field: Int16 = 0
        while true {
            let head = try byte()
            if head == 0 { return }
            if head >> 4 == 0 {
                field = Int16(truncatingIfNeeded: try integer())
            } else {
                field &+= Int16(head >> 4)
            }
            try body(&self, field, head & 15)
        }
    }

    mutating func items(_ body: (inout ThriftReader) throws(Malformed) -> Void) throws(Malformed) {
        let (count, _) = try listHead()
        for _ in 0..<count { try body(&self) }
    }

    private mutating func listHead() throws(Malformed) -> (count: Int, kind: UInt8) {
        let head = try byte()
        let count = head >> 4 == 15 ? try varint() : UInt64(head >> 4)
        guard count <= UInt64(data.count - position) else { throw Malformed() }
        return (Int(count), head & 15)
    }

    mutating func skip(_ kind: UInt8) throws(Malformed) {
        depth += 1
        defer { depth -= 1 }
        guard depth < 64 else { throw Malformed() }
        switch kind {
        case 1, 2: break  // True and false: they are in the kind.
        case 3: _ = try byte()
        case 4, 5, 6: _ = try varint()
        case 7:
            guard data.count - position >= 8 else { throw Malformed() }
            position += 8
        case 8: _ = try bytes()
        case 9, 10:
            let (count, kind) = try listHead()
            for _ in 0..<count { if kind <= 2 { _ = try byte() } else { try skip(kind) } }
        case 11:
            let count = try varint()
            guard count <= UInt64(data.count - position) else { throw Malformed() }
            guard count > 0 else { return }
            let kinds = try byte()
            for _ in 0..<count {
                // Flags take a byte here, as in lists.
                for kind in [kinds >> 4, kinds & 15] { if kind <= 2 { _ = try byte() } else { try skip(kind) } }
            }
        case 12: try structure { reader, _, kind throws(Malformed) in try reader.skip(kind) }
        default: throw Malformed()
        }
    }
}
