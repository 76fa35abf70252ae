/// JSON text of at most so many characters.
struct ParquetJSON {
    private var bytes: [UInt8] = []
    private var left: Int
    /// There was more than fits; nothing is taken any more.
    private(set) var isFull = false

    /// Nothing yet.
    init(characters: Int) { left = max(0, characters) }

    /// What was written, with an ellipsis if there was more.
    var text: String { String(decoding: bytes, as: UTF8.self) + (isFull ? "…" : "") }

    /// Writes no more: what follows is not known.
    mutating func cut() { isFull = true }

    /// Syntax, numbers.
    mutating func append(_ text: String) {
        guard !isFull else { return }
        for scalar in text.unicodeScalars {
            guard left > 0 else { return isFull = true }
            left -= 1
            bytes += String(scalar).utf8
        }
    }

    /// Text in quotes. Source: RFC 8259, section 7.
    mutating func append(quoted text: String) {
        append("\"")
        for scalar in text.unicodeScalars where !isFull {
            switch scalar {
            case "\"": append("\\\"")
            case "\\": append("\\\\")
            case "\n": append("\\n")
            case "\r": append("\\r")
            case "\t": append("\\t")
            case _ where scalar.value < 32 || scalar.value == 127:
                append("\\u00" + ParquetText.hexadecimal([UInt8(truncatingIfNeeded: scalar.value)]))
            default: append(String(scalar))
            }
        }
        append("\"")
    }

    /// A scalar: what JSON has no number for is text, and so are bytes.
    mutating func append(_ cell: ParquetFile.Cell) {
        switch cell {
        case .null: append("null")
        case .boolean(let value): append(value ? "true" : "false")
        case .number(let text):
            // Infinities and what is no number.
            if text.utf8.last.map({ 48...57 ~= $0 }) ?? false { append(text) } else { append(quoted: text) }
        case .text(let text): append(quoted: text)
        case .binary(let prefix, let count):
            append(quoted: "0x" + prefix + (prefix.utf8.count < 2 * count ? "… (\(count) bytes)" : ""))
        case .nested(let text): append(text)
        }
    }
}

/// Puts the values of a field's leaves together again, a row at a time, by their levels. Source: "Dremel: Interactive
/// Analysis of Web-Scale Datasets", section 4.2, here top-down: each node asks its first leaf's next levels what is there.
struct ParquetAssembly {
    private let schema: ParquetSchema
    private let field: Int
    private let leaves: [ParquetLeafRows]
    private let limits: ParquetFile.Limits
    private let firstLeaf: Int
    private var row = 0
    private var cursors: [Int]
    private var ends: [Int]
    private var json = ParquetJSON(characters: 0)

    /// - Parameter leaves: those of `field`, in order, of the same rows.
    init(_ schema: ParquetSchema, field: Int, leaves: [ParquetLeafRows], limits: ParquetFile.Limits) {
        self.schema = schema
        self.field = field
        self.leaves = leaves
        self.limits = limits
        firstLeaf = schema.nodes[field].leaves.lowerBound
        cursors = Array(repeating: 0, count: leaves.count)
        ends = cursors
    }

    /// The field's cell of a row.
    /// - Throws: `ParquetError` if the leaves disagree about what is there.
    mutating func cell(row: Int) throws(ParquetError) -> ParquetFile.Cell {
        self.row = row
        let node = schema.nodes[field]
        for (index, leaf) in leaves.enumerated() {
            let entries = leaf.entries(of: row)
            cursors[index] = entries.lowerBound
            ends[index] = entries.upperBound
        }
        if node.physical != nil, node.repetition != .repeated {
            guard let leaf = leaves.first, cursors[0] < ends[0] else { throw disagreement }
            return leaf.values[cursors[0]]?.cell(node, limits: limits) ?? .null
        }
        json = ParquetJSON(characters: limits.characters)
        if node.repetition == .optional, !node.leaves.isEmpty, let level = try level(node), level < node.definition {
            return .null
        }
        try write(field, isThere: node.repetition != .repeated)
        if !json.isFull, cursors != ends { throw disagreement }
        return .nested(json.text)
    }

    private var disagreement: ParquetError {
        ParquetError("the columns of \(schema.nodes[field].name) disagree about how many values a row has")
    }

    /// The next definition level of a node's first leaf. Nil, and the text is cut, if no more was read of the row.
    private mutating func level(_ node: ParquetSchema.Node) throws(ParquetError) -> UInt8? {
        let index = node.leaves.lowerBound - firstLeaf
        guard cursors[index] < ends[index] else {
            guard leaves[index].isCut(row) else { throw disagreement }
            json.cut()
            return nil
        }
        return leaves[index].definitions[cursors[index]]
    }

    /// Passes over one entry of each leaf of a node that is not there.
    private mutating func consume(_ node: ParquetSchema.Node) throws(ParquetError) {
        for index in node.leaves.lowerBound - firstLeaf..<node.leaves.upperBound - firstLeaf {
            guard cursors[index] < ends[index] else {
                guard leaves[index].isCut(row) else { throw disagreement }
                return json.cut()
            }
            cursors[index] += 1
        }
    }

    /// Writes a field.
    /// - Parameter isThere: whether it is known to be: its repetition was told by the levels already.
    private mutating func write(_ index: Int, isThere: Bool = false) throws(ParquetError) {
        guard !json.isFull else { return }
        let node = schema.nodes[index]
        guard !node.leaves.isEmpty else { return json.append(node.repetition == .repeated ? "[]" : "{}") }
        if !isThere, node.repetition == .repeated {
            return try writeItems(of: index) { assembly throws(ParquetError) in
                try assembly.write(index, isThere: true)
            }
        }
        if !isThere, node.repetition == .optional {
            guard let level = try level(node) else { return }
            if level < node.definition {
                json.append("null")
                return try consume(node)
            }
        }
        if node.physical != nil {
            try writeLeaf(node)
        } else if let (repeated, element) = schema.items(of: index) {
            try writeItems(of: repeated) { assembly throws(ParquetError) in
                if let element { try assembly.write(element) } else { try assembly.write(repeated, isThere: true) }
            }
        } else if let entry = schema.entry(of: index) {
            try writeItems(of: entry.repeated, brackets: ("{", "}")) { assembly throws(ParquetError) in
                try assembly.writeKey(entry.key)
                assembly.json.append(":")
                try assembly.write(entry.value)
            }
        } else {
            json.append("{")
            for (place, child) in node.children.enumerated() where !json.isFull {
                if place > 0 { json.append(",") }
                json.append(quoted: schema.nodes[child].name)
                json.append(":")
                try write(child)
            }
            json.append("}")
        }
    }

    private mutating func writeLeaf(_ node: ParquetSchema.Node) throws(ParquetError) {
        guard try level(node) != nil else { return }
        let index = node.leaves.lowerBound - firstLeaf
        guard let value = leaves[index].values[cursors[index]] else { throw disagreement }
        cursors[index] += 1
        json.append(value.cell(node, limits: limits))
    }

    /// JSON's keys are text: others are written as the text of their JSON.
    private mutating func writeKey(_ index: Int) throws(ParquetError) {
        let outer = json
        json = ParquetJSON(characters: limits.characters)
        try write(index)
        let key = json
        json = outer
        let text = key.text
        if key.isFull || text.hasPrefix("\"") {
            json.append(text)
        } else {
            json.append(quoted: text)
        }
        if key.isFull { json.cut() }
    }

    /// Writes the items of a repeated node, or that there are none. Each takes an entry of the first leaf, so this ends.
    private mutating func writeItems(
        of repeated: Int, brackets: (String, String) = ("[", "]"),
        _ item: (inout Self) throws(ParquetError) -> Void
    ) throws(ParquetError) {
        let node = schema.nodes[repeated]
        guard !node.leaves.isEmpty else { return json.append(brackets.0 + brackets.1) }
        guard let level = try level(node) else { return }
        json.append(brackets.0)
        if level < node.definition {
            try consume(node)
        } else {
            let first = node.leaves.lowerBound - firstLeaf
            while !json.isFull {
                let before = cursors[first]
                try item(&self)
                if json.isFull { return }
                guard cursors[first] > before else { throw disagreement }
                guard cursors[first] < ends[first] else {
                    if leaves[first].isCut(row) { json.cut() }
                    break
                }
                guard leaves[first].repetitions[cursors[first]] >= node.repetitionLevel else { break }
                json.append(",")
            }
        }
        json.append(brackets.1)
    }
}
