/// One entry of the list that a schema is written as: the tree in depth-first order.
struct ParquetSchemaElement {
    /// Nil for a group.
    private(set) var type: Int64?
    private(set) var length: Int64 = 0
    private(set) var repetition: Int64 = 0
    private(set) var name = ""
    private(set) var children: Int64 = 0
    private(set) var logical: ParquetLogicalType?
    /// The bytes of all that is said of the physical type; the field's id is not.
    private(set) var annotation: [UInt8] = []

    /// More elements than any schema has that is read: 10,000 columns in lists.
    private static let most = 100_000
    private static let mostNameBytes = 4_096

    /// Reads a list of elements, and adds them.
    static func append(
        to elements: inout [ParquetSchemaElement], from reader: inout ThriftReader
    ) throws(ThriftReader.Malformed) {
        try reader.items(of: ThriftReader.structure) { reader throws(ThriftReader.Malformed) in
            guard elements.count < most else {
                throw ThriftReader.Malformed(reason: "the Parquet file's schema has more than \(most) elements")
            }
            elements.append(try ParquetSchemaElement(from: &reader))
        }
    }

    private init(from reader: inout ThriftReader) throws(ThriftReader.Malformed) {
        var element = Self()
        var converted: Int64?
        var scale: Int64 = 0
        var precision: Int64 = 0
        var newer: ParquetLogicalType?
        try reader.structure { reader, field, kind throws(ThriftReader.Malformed) in
            switch (field, kind) {
            case (1, 5): element.type = try reader.integer()
            case (2, 5): element.length = try reader.integer()
            case (3, 5): element.repetition = try reader.integer()
            case (4, 8):
                let name = try reader.bytes()
                guard name.count <= Self.mostNameBytes else {
                    throw ThriftReader.Malformed(
                        reason: "a column's name has \(name.count) bytes: \(Self.mostNameBytes) at most are read")
                }
                element.name = String(decoding: name, as: UTF8.self)
            case (5, 5): element.children = try reader.integer()
            case (9, _): try reader.skip(kind)
            default:
                let start = reader.position
                var again = reader
                try reader.skip(kind)
                element.annotation += [UInt8(truncatingIfNeeded: field)] + reader.bytesRead(since: start)
                switch (field, kind) {
                case (6, 5): converted = try again.integer()
                case (7, 5): scale = try again.integer()
                case (8, 5): precision = try again.integer()
                case (10, ThriftReader.structure): newer = try ParquetLogicalType.read(from: &again)
                default: break
                }
            }
        }
        element.logical = newer
        if newer == nil, let converted {
            element.logical = ParquetLogicalType(converted: converted, precision: precision, scale: scale)
        }
        self = element
    }

    private init() {}
}

/// A file's schema as a tree, with the levels that tell nulls and lists apart.
///
///     optional group a (LIST)          definition 1   repetition 0
///       repeated group list            definition 2   repetition 1
///         optional int32 element       definition 3   repetition 1
///
/// A value's definition level says how many of the optional and repeated fields of its path are there, its repetition
/// level at which repeated field of the path a new item begins (0: a new row).
struct ParquetSchema {
    /// Whether a field must be there, may be, or is a list of its own.
    enum Repetition: Int64 { case required, optional, repeated }

    /// A field: a leaf if it has a physical type, or a group.
    struct Node {
        let name: String
        /// Names from the top, with dots between them.
        let path: String
        let repetition: Repetition
        let physical: ParquetPhysicalType?
        /// Bytes of a fixed byte array.
        let length: Int
        let logical: ParquetLogicalType?
        /// The levels of a value that is there.
        let definition: UInt8
        let repetitionLevel: UInt8
        fileprivate(set) var children: [Int] = []
        /// The leaf columns in it: itself, if it is one.
        fileprivate(set) var leaves: Range<Int>
    }

    private(set) var nodes: [Node] = []
    /// The nodes that are columns, in the order of the file's column chunks.
    private(set) var leaves: [Int] = []
    /// The nodes of the fields of a row.
    private(set) var fields: [Int] = []

    /// - Throws: `ParquetError` if the elements are no tree, or one that is too deep or wide.
    init(_ elements: [ParquetSchemaElement], limits: ParquetFile.Limits) throws(ParquetError) {
        guard let root = elements.first else { throw ParquetError("the Parquet file has no schema") }
        var next = 1
        var pathBytes = 0
        func collect(_ count: Int64, in parent: Node?, depth: Int) throws(ParquetError) -> [Int] {
            var result: [Int] = []
            guard count >= 0 else { throw ParquetError("a group of the Parquet file's schema has \(count) fields") }
            // Levels are bytes, and reading recurses, whatever the limits say.
            guard depth < min(limits.schemaDepth, 64) else {
                throw ParquetError("the Parquet file's schema is nested too deep")
            }
            for _ in 0..<count {
                guard next < elements.count else { throw ParquetError("the Parquet file's schema ends early") }
                let element = elements[next]
                next += 1
                let node = try Self.node(element, in: parent, firstLeaf: leaves.count)
                pathBytes += node.path.utf8.count
                guard pathBytes <= ParquetFooter.mostNameBytes else {
                    throw ParquetError("the Parquet file's columns have names that are too long")
                }
                let index = nodes.count
                nodes.append(node)
                result.append(index)
                if node.physical == nil {
                    let children = try collect(element.children, in: node, depth: depth + 1)
                    nodes[index].children = children
                } else {
                    guard leaves.count < limits.columns else {
                        throw ParquetError("the Parquet file has more than \(limits.columns) columns")
                    }
                    leaves.append(index)
                }
                nodes[index].leaves = node.leaves.lowerBound..<leaves.count
            }
            return result
        }
        fields = try collect(root.children, in: nil, depth: 0)
    }

    private static func node(
        _ element: ParquetSchemaElement, in parent: Node?, firstLeaf: Int
    ) throws(ParquetError) -> Node {
        let path = parent.map { $0.path + "." + element.name } ?? element.name
        guard let repetition = Repetition(rawValue: element.repetition) else {
            throw ParquetError("the column \(path) has a repetition \(element.repetition)")
        }
        var physical: ParquetPhysicalType?
        if let type = element.type {
            physical = ParquetPhysicalType(code: type)
            guard physical != nil else { throw ParquetError("the Parquet file has a type \(type)") }
        }
        // A value is never longer than a page; values of no bytes would let a page claim any number of them.
        guard physical != .fixedByteArray || 1...Int64(Int32.max) ~= element.length else {
            throw ParquetError("the column \(path) has values of \(element.length) bytes")
        }
        let length = physical == .fixedByteArray ? Int(element.length) : 0
        let definition = (parent?.definition ?? 0) + (repetition == .required ? 0 : 1)
        let repetitionLevel = (parent?.repetitionLevel ?? 0) + (repetition == .repeated ? 1 : 0)
        return Node(
            name: element.name, path: path, repetition: repetition, physical: physical, length: length,
            logical: element.logical.flatMap { $0.fits(physical, length: length) ? $0 : nil },
            definition: definition, repetitionLevel: repetitionLevel, leaves: firstLeaf..<firstLeaf)
    }

    /// The one repeated field of a group; nil if it has not that shape.
    private func repeatedChild(of index: Int) -> Int? {
        guard nodes[index].children.count == 1, let child = nodes[index].children.first,
            nodes[child].repetition == .repeated
        else { return nil }
        return child
    }

    /// The field that is a list's element, if the repeated group around it is but the list's syntax; nil if the repeated
    /// field is the element itself. Source: "LogicalTypes", "Lists", the rules for older files.
    private func element(of repeated: Int, in list: Int) -> Int? {
        let node = nodes[repeated]
        guard node.physical == nil, node.children.count == 1, let child = node.children.first,
            nodes[child].repetition != .repeated, node.name != "array", node.name != nodes[list].name + "_tuple"
        else { return nil }
        return child
    }

    /// The repeated field of a list, and the element in it if there is one; nil if the group is no list. A map of keys alone
    /// is a list of them.
    func items(of list: Int) -> (repeated: Int, element: Int?)? {
        guard let logical = nodes[list].logical, logical == .list || logical == .map,
            let repeated = repeatedChild(of: list), logical == .list || nodes[repeated].children.count == 1
        else { return nil }
        return (repeated, element(of: repeated, in: list))
    }

    /// The key and value of a map's entries; nil if the group is no such map.
    func entry(of map: Int) -> (repeated: Int, key: Int, value: Int)? {
        guard nodes[map].logical == .map, let repeated = repeatedChild(of: map), nodes[repeated].children.count == 2,
            nodes[nodes[repeated].children[0]].repetition != .repeated
        else { return nil }
        return (repeated, nodes[repeated].children[0], nodes[repeated].children[1])
    }

    /// The type of a field in words: `list<string>`, `struct<a: int64>`.
    func typeText(_ index: Int) -> String {
        var text = ""
        appendType(index, to: &text, isItem: false)
        // Long structures are cut: each of their names may be long, and each group repeats those in it.
        guard text.utf8.count > Self.mostTypeBytes else { return text }
        return String(text.unicodeScalars.prefix(Self.mostTypeBytes)) + "…"
    }

    private static let mostTypeBytes = 200

    /// - Parameter isItem: the field's own repetition is told already.
    private func appendType(_ index: Int, to text: inout String, isItem: Bool) {
        guard text.utf8.count <= Self.mostTypeBytes else { return }
        let node = nodes[index]
        if node.repetition == .repeated, !isItem {
            text += "list<"
            appendType(index, to: &text, isItem: true)
            text += ">"
        } else if let physical = node.physical {
            text += node.logical?.text ?? Self.text(physical, length: node.length)
        } else if let (repeated, element) = items(of: index) {
            text += "list<"
            appendType(element ?? repeated, to: &text, isItem: true)
            text += ">"
        } else if let entry = entry(of: index) {
            text += "map<"
            appendType(entry.key, to: &text, isItem: false)
            text += ", "
            appendType(entry.value, to: &text, isItem: false)
            text += ">"
        } else {
            text += "struct<"
            for (place, child) in node.children.enumerated() {
                guard text.utf8.count <= Self.mostTypeBytes else { return }
                text += (place == 0 ? "" : ", ") + nodes[child].name + ": "
                appendType(child, to: &text, isItem: false)
            }
            text += ">"
        }
    }

    private static func text(_ physical: ParquetPhysicalType, length: Int) -> String {
        switch physical {
        case .boolean: "bool"
        case .int32: "int32"
        case .int64: "int64"
        case .int96: "timestamp[ns]"
        case .float: "float"
        case .double: "double"
        case .byteArray: "binary"
        case .fixedByteArray: "fixed[\(length)]"
        }
    }
}
