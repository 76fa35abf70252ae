/// The schema of a Parquet file, from its end alone: what hooks compare. Source: parquet.thrift of apache/parquet-format,
/// in Thrift's compact protocol.
///
///     … row groups … | FileMetaData | its length: 4 bytes, little-endian | PAR1
struct ParquetFooter: Equatable {
    /// One leaf of the schema.
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
    /// Bytes of all columns' names with dots: each repeats its groups', so few long names could become gigabytes.
    static let mostNameBytes = 32 << 20

    /// - Throws: `ParquetError` for what is no Parquet file.
    init(ofFile file: [UInt8]) throws(ParquetError) {
        let size = try Self.size(tail: file.suffix(Self.tailBytes), fileBytes: file.count)
        try self.init(metadata: Array(file.dropLast(Self.tailBytes).suffix(size)))
    }

    /// Bytes of metadata before the tail.
    static func size(
        tail: ArraySlice<UInt8>, fileBytes: Int, mostBytes: Int = mostBytes
    ) throws(ParquetError) -> Int {
        guard tail.count == tailBytes, fileBytes >= 12 else { throw ParquetError("unable to seek to a location <0") }
        let tail = Array(tail)
        guard !tail[4...].elementsEqual("PARE".utf8) else {
            throw ParquetError("the Parquet file is encrypted: its end is PARE, and there is no key to read it with")
        }
        guard tail[4...].elementsEqual("PAR1".utf8) else {
            throw ParquetError("the file is no Parquet file: it does not end with PAR1")
        }
        let size = (0..<4).reduce(0) { $0 | Int(tail[$1]) << (8 * $1) }
        guard size > 0, size <= fileBytes - 12 else {
            throw ParquetError("the Parquet file's metadata of \(size) bytes does not fit into it")
        }
        guard size <= mostBytes else {
            throw ParquetError("the Parquet file's metadata has \(size) bytes: \(mostBytes) at most are read")
        }
        return size
    }

    /// - Throws: `ParquetError` for what is no metadata of a Parquet file.
    init(metadata: [UInt8]) throws(ParquetError) {
        var reader = ThriftReader(metadata)
        var elements: [ParquetSchemaElement] = []
        do throws(ThriftReader.Malformed) {
            try reader.structure { reader, field, kind throws(ThriftReader.Malformed) in
                guard field == 2, kind == ThriftReader.list else { return try reader.skip(kind) }
                try ParquetSchemaElement.append(to: &elements, from: &reader)
            }
        } catch { throw ParquetError(error, otherwise: "the Parquet file's metadata cannot be read") }
        var columns: [Column] = []
        var nameBytes = 0
        var next = 1
        guard let root = elements.first else { throw ParquetError("the Parquet file has no schema") }
        func collect(
            _ count: Int64, _ path: String, _ repetition: Int64, _ depth: Int
        ) throws(ParquetError) {
            guard depth < 64 else { throw ParquetError("the Parquet file's schema is nested too deep") }
            for _ in 0..<max(0, count) {
                guard next < elements.count else { throw ParquetError("the Parquet file's schema ends early") }
                let element = elements[next]
                next += 1
                let path = depth == 0 ? element.name : path + "." + element.name
                nameBytes += path.utf8.count
                guard nameBytes <= Self.mostNameBytes else {
                    throw ParquetError("the Parquet file's columns have names that are too long")
                }
                let weakest = max(repetition, element.repetition)
                guard let type = element.type else {
                    try collect(element.children, path, weakest, depth + 1)
                    continue
                }
                guard let physical = ParquetPhysicalType(code: type) else {
                    throw ParquetError("the Parquet file has a type \(type)")
                }
                columns.append(
                    Column(
                        name: path, type: physical.name, repetition: Int(weakest),
                        annotation: element.annotation
                            + (element.length > 0 ? Array("\(element.length)".utf8) : [])))
            }
        }
        try collect(root.children, "", 0, 0)
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
