import Foundations
import LakeAPI

/// Rows of a table as a page shows them.
struct TablePage: Sendable {
    struct Column: Sendable, Equatable {
        let name: String
        let type: String
    }
    var columns: [Column] = []
    var rows: [[String?]] = []
    /// Where the next page begins, for the same reader; nil at the end.
    var next: Int64?
    /// What the reader would like to be known.
    var note: String?
    /// Nil where it would have to be counted.
    var rowCount: Int64?

    /// Characters of a cell that are shown.
    static let longestCell = 300
    static let rowsPerPage = 100
    /// Columns that are shown.
    static let mostColumns = 200

    static func cut(_ text: String) -> String {
        text.utf8.count > longestCell ? String(text.prefix(longestCell)) + "…" : text
    }
}

/// What a table is asked for.
struct TableQuery: Sendable {
    /// Where a page begins: a byte of texts, a row of Parquet files.
    var start: Int64 = 0
    /// Rows that hold this somewhere, whatever the case; empty for all.
    var filter = ""

    func fits(_ row: [String?]) -> Bool {
        filter.isEmpty || row.contains { $0?.lowercased().contains(filter.lowercased()) == true }
    }
}

/// Texts whose lines are rows, read by ranges: CSV and its kin (RFC 4180), and JSON lines.
struct LineTable {
    enum Format { case delimited, json }
    let size: Int64
    let format: Format
    let read: (Range<Int64>) throws -> [UInt8]

    /// Bytes read at once, and for one page of a filtered table.
    private static let pieceBytes: Int64 = 1 << 20, mostUnfiltered: Int64 = 4 << 20, mostBytes: Int64 = 32 << 20

    func page(_ query: TableQuery) throws -> TablePage {
        let head = try read(0..<min(size, Self.pieceBytes))
        let delimiter = Self.delimiter(of: head)
        var page = TablePage()
        var names: [String] = []
        var start = max(0, query.start)
        if format == .delimited {
            let first = Self.rows(head[...], delimiter, isWhole: Int64(head.count) == size, most: 1)
            guard let header = first.first else {
                page.note =
                    head.isEmpty
                    ? "The file is empty." : "Its first line has more than \(Self.pieceBytes) bytes: this is no table."
                return page
            }
            names = header.cells
            start = max(start, Int64(header.end))
        }
        var objects: [[String: String?]] = []
        var looked: Int64 = 0
        while page.rows.count + objects.count < TablePage.rowsPerPage, start < size {
            let piece = try read(start..<min(size, start + Self.pieceBytes))
            let isLast = start + Int64(piece.count) >= size
            let wanted = query.filter.isEmpty ? TablePage.rowsPerPage - page.rows.count - objects.count : Int.max
            let found = Self.rows(piece[...], format == .json ? nil : delimiter, isWhole: isLast, most: wanted)
            guard let last = found.last else {
                page.note = "A row has more than \(Self.pieceBytes) bytes: the rest is not shown."
                return page.finished(names, objects)
            }
            var end = last.end
            for row in found where query.fits(row.cells) && !(row.cells.count == 1 && row.cells[0].isEmpty) {
                guard page.rows.count + objects.count < TablePage.rowsPerPage else {
                    end = row.start
                    break
                }
                guard format == .json else {
                    page.rows.append(row.cells.map { TablePage.cut($0) })
                    continue
                }
                objects.append(Self.cells(of: row.cells[0]))
            }
            start += Int64(end)
            looked += Int64(end)
            if looked >= (query.filter.isEmpty ? Self.mostUnfiltered : Self.mostBytes) {
                page.note = "\(looked >> 20) MiB were searched for this page."
                break
            }
        }
        if start < size { page.next = start }
        return page.finished(names, objects)
    }

    /// What a line of JSON shows.
    private static func cells(of line: String) -> [String: String?] {
        guard case .object(let object)? = try? Coding.decodeForeign(JSONValue.self, Array(line.utf8)) else {
            return ["(no JSON object)": TablePage.cut(line)]
        }
        var cells: [String: String?] = [:]
        for (name, value) in object.prefix(TablePage.mostColumns) {
            cells[name] = .some(
                value == .null
                    ? nil : TablePage.cut(value.text ?? String(decoding: Coding.encode(value), as: UTF8.self)))
        }
        return cells
    }

    static func delimiter(of head: [UInt8]) -> UInt8 {
        let line = head.prefix { $0 != 0x0a }
        let candidates: [UInt8] = [0x2c, 0x09, 0x3b, 0x7c]
        return candidates.max { a, b in line.count { $0 == a } < line.count { $0 == b } } ?? 0x2c
    }

    struct Row {
        let cells: [String]
        /// Where it begins and ends among the bytes, with its line's end.
        let start: Int, end: Int
    }

    /// Whole rows at the beginning of some bytes.
    /// - Parameters:
    ///   - delimiter: nil for lines that are one cell.
    ///   - isWhole: whether what is behind the last line's end is a row too.
    static func rows(_ bytes: ArraySlice<UInt8>, _ delimiter: UInt8?, isWhole: Bool, most: Int)
        -> [Row]
    {
        var rows: [Row] = []
        var cells: [String] = []
        var cell: [UInt8] = []
        var isQuoted = false
        var start = bytes.startIndex
        var position = bytes.startIndex
        // A mark of byte order is none of the first name.
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) { position += 3 }
        func end() {
            cells.append(String(decoding: cell.last == 0x0d ? cell.dropLast() : cell[...], as: UTF8.self))
            cell.removeAll(keepingCapacity: true)
            rows.append(Row(cells: cells, start: start - bytes.startIndex, end: position - bytes.startIndex))
            cells = []
            start = position
        }
        while position < bytes.endIndex, rows.count < most {
            let byte = bytes[position]
            position += 1
            if isQuoted {
                guard byte == 0x22 else {
                    cell.append(byte)
                    continue
                }
                if position < bytes.endIndex, bytes[position] == 0x22 {
                    cell.append(byte)
                    position += 1
                } else {
                    isQuoted = false
                }
            } else if byte == 0x22, cell.isEmpty, delimiter != nil {
                isQuoted = true
            } else if byte == delimiter {
                // One more than is shown, so that it can be said that there are more.
                if cells.count <= TablePage.mostColumns { cells.append(String(decoding: cell, as: UTF8.self)) }
                cell.removeAll(keepingCapacity: true)
            } else if byte == 0x0a {
                end()
            } else {
                cell.append(byte)
            }
        }
        if isWhole, rows.count < most, start < bytes.endIndex { end() }
        return rows
    }
}

extension TablePage {
    /// With the columns that its rows have.
    fileprivate func finished(_ names: [String], _ objects: [[String: String?]]) -> TablePage {
        var page = self
        if objects.isEmpty {
            let width = min(max(names.count, rows.map(\.count).max() ?? 0), Self.mostColumns)
            page.columns = (0..<width).map { index in
                Column(
                    name: index < names.count ? names[index] : "column \(index + 1)",
                    type: Self.type(of: rows.lazy.compactMap { index < $0.count ? $0[index] : nil }))
            }
            if max(names.count, width) > Self.mostColumns {
                page.note = "The first \(Self.mostColumns) columns are shown."
            }
            return page
        }
        let names = Array(Set(objects.flatMap(\.keys)).sorted().prefix(Self.mostColumns))
        page.rows = objects.map { object in names.map { name in object[name] ?? nil } }
        page.columns = names.enumerated().map { index, name in
            Column(name: name, type: Self.type(of: page.rows.lazy.compactMap { $0[index] }))
        }
        return page
    }

    /// What all cells of a column look like.
    private static func type(of cells: some Sequence<String>) -> String {
        var seen = false
        var (isInteger, isNumber, isDate, isFlag) = (true, true, true, true)
        for cell in cells where !cell.isEmpty {
            seen = true
            isInteger = isInteger && Int64(cell) != nil
            isNumber = isNumber && Double(cell) != nil
            isDate =
                isDate && cell.utf8.count >= 10 && cell.prefix(4).allSatisfy(\.isNumber)
                && cell.dropFirst(4).first == "-"
            isFlag = isFlag && ["true", "false"].contains(cell.lowercased())
        }
        guard seen else { return "" }
        return isInteger ? "integer" : isNumber ? "number" : isDate ? "date" : isFlag ? "boolean" : "text"
    }
}
