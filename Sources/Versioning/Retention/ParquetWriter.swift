import Foundations

/// A Parquet file of two required columns, a text and a number: what clients of garbage collection read. One row group,
/// one page a column, plain, not compressed. Source: Apache Parquet format 2.9, `parquet.thrift`; Thrift's compact
/// protocol.
struct ParquetWriter {
    private let textName: String, numberName: String
    private var texts: [UInt8] = []
    private var numbers: [UInt8] = []
    private(set) var count = 0

    /// Bytes so far, without the few of the headers.
    var byteCount: Int { texts.count + numbers.count }

    init(text: String, number: String) {
        textName = text
        numberName = number
    }

    mutating func append(_ text: String, _ number: Int64) {
        texts.append(littleEndian: UInt32(text.utf8.count))
        texts += text.utf8
        let bits = UInt64(bitPattern: number)
        numbers.append(littleEndian: UInt32(truncatingIfNeeded: bits))
        numbers.append(littleEndian: UInt32(truncatingIfNeeded: bits >> 32))
        count += 1
    }

    private static let magic = Array("PAR1".utf8)
    /// Codes of `parquet.thrift`.
    private enum Code {
        static let int64: Int64 = 2, byteArray: Int64 = 6
        static let required: Int64 = 0, utf8: Int64 = 0
        static let plain: Int64 = 0, rle: Int64 = 3
        static let uncompressed: Int64 = 0, dataPage: Int64 = 0
    }

    /// The whole file.
    func finish() -> [UInt8] {
        var file = Self.magic
        var chunks: [(name: String, type: Int64, offset: Int, size: Int)] = []
        for (name, type, values) in [(textName, Code.byteArray, texts), (numberName, Code.int64, numbers)] {
            let offset = file.count
            var header = ThriftWriter()
            header.integer(1, Code.dataPage)
            header.integer(2, Int64(values.count))
            header.integer(3, Int64(values.count))
            header.structure(5) {
                $0.integer(1, Int64(count))
                $0.integer(2, Code.plain)
                $0.integer(3, Code.rle)
                $0.integer(4, Code.rle)
            }
            header.end()
            file += header.bytes + values
            chunks.append((name, type, offset, file.count - offset))
        }
        var footer = ThriftWriter()
        footer.integer(1, 1)
        footer.structures(2, 3) { index, element in
            switch index {
            case 0:
                element.text(4, "schema")
                element.integer(5, 2)
            case 1:
                element.integer(1, Code.byteArray)
                element.integer(3, Code.required)
                element.text(4, textName)
                element.integer(6, Code.utf8)
            default:
                element.integer(1, Code.int64)
                element.integer(3, Code.required)
                element.text(4, numberName)
            }
        }
        footer.wide(3, Int64(count))
        footer.structures(4, 1) { _, group in
            group.structures(1, chunks.count) { index, chunk in
                let found = chunks[index]
                chunk.wide(2, Int64(found.offset))
                chunk.structure(3) {
                    $0.integer(1, found.type)
                    $0.integers(2, [Code.plain, Code.rle])
                    $0.texts(3, [found.name])
                    $0.integer(4, Code.uncompressed)
                    $0.wide(5, Int64(count))
                    $0.wide(6, Int64(found.size))
                    $0.wide(7, Int64(found.size))
                    $0.wide(9, Int64(found.offset))
                }
            }
            group.wide(2, Int64(chunks.reduce(0) { $0 + $1.size }))
            group.wide(3, Int64(count))
        }
        footer.text(6, "lakefuse")
        footer.end()
        file += footer.bytes
        file.append(littleEndian: UInt32(footer.bytes.count))
        return file + Self.magic
    }
}

/// Thrift's compact protocol, as far as Parquet's headers need it: fields in the order of their numbers.
private struct ThriftWriter {
    private(set) var bytes: [UInt8] = []
    private var last: Int16 = 0

    private enum Kind {
        static let i32: UInt8 = 5, i64: UInt8 = 6, binary: UInt8 = 8, list: UInt8 = 9, structure: UInt8 = 12
    }

    private mutating func varint(_ value: UInt64) {
        var value = value
        while value >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        bytes.append(UInt8(value))
    }

    private mutating func zigzag(_ value: Int64) { varint(UInt64(bitPattern: (value << 1) ^ (value >> 63))) }

    private mutating func begin(_ field: Int16, _ kind: UInt8) {
        bytes.append(UInt8(field - last) << 4 | kind)
        last = field
    }

    mutating func integer(_ field: Int16, _ value: Int64) {
        begin(field, Kind.i32)
        zigzag(value)
    }

    mutating func wide(_ field: Int16, _ value: Int64) {
        begin(field, Kind.i64)
        zigzag(value)
    }

    private mutating func text(_ value: String) {
        varint(UInt64(value.utf8.count))
        bytes += value.utf8
    }

    mutating func text(_ field: Int16, _ value: String) {
        begin(field, Kind.binary)
        text(value)
    }

    private mutating func list(_ field: Int16, _ count: Int, _ kind: UInt8) {
        begin(field, Kind.list)
        bytes.append(UInt8(count) << 4 | kind)  // Fewer than 15: ours all are.
    }

    mutating func integers(_ field: Int16, _ values: [Int64]) {
        list(field, values.count, Kind.i32)
        for value in values { zigzag(value) }
    }

    mutating func texts(_ field: Int16, _ values: [String]) {
        list(field, values.count, Kind.binary)
        for value in values { text(value) }
    }

    mutating func structure(_ field: Int16, _ body: (inout ThriftWriter) -> Void) {
        begin(field, Kind.structure)
        nested(body)
    }

    mutating func structures(_ field: Int16, _ count: Int, _ body: (Int, inout ThriftWriter) -> Void) {
        list(field, count, Kind.structure)
        for index in 0..<count { nested { body(index, &$0) } }
    }

    private mutating func nested(_ body: (inout ThriftWriter) -> Void) {
        let outer = last
        last = 0
        body(&self)
        end()
        last = outer
    }

    /// Ends a structure.
    mutating func end() { bytes.append(0) }
}
