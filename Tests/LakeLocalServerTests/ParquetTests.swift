import Testing

@testable import LakeLocalServer

/// The bytes of base64.
private func bytes(_ base64: String) -> [UInt8] {
    let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    var result: [UInt8] = []
    var (bits, held) = (0, 0)
    for character in base64.utf8 {
        guard let digit = digits.firstIndex(of: character) else { continue }
        held = (held << 6 | digit) & 0xffff
        bits += 6
        if bits >= 8 {
            bits -= 8
            result.append(UInt8(held >> bits & 0xff))
        }
    }
    return result
}

private func file(
    _ bytes: [UInt8], _ change: (inout ParquetFile.Limits) -> Void = { _ in }
) throws -> ParquetFile {
    var limits = ParquetFile.Limits()
    change(&limits)
    return try ParquetFile(
        size: Int64(bytes.count), read: { offset, count in Array(bytes[Int(offset)..<Int(offset) + count]) },
        limits: limits)
}

private func column(_ name: String, _ base64: String) throws -> [ParquetFile.Cell] {
    try file(bytes(base64)).rows(from: 0, count: 1_000, columns: [name]).map { $0[0] }
}

private func varint(_ number: UInt64) -> [UInt8] {
    var (rest, result) = (number, [UInt8]())
    while rest >= 0x80 {
        result.append(UInt8(truncatingIfNeeded: rest) | 0x80)
        rest >>= 7
    }
    return result + [UInt8(rest)]
}

@Suite struct ParquetTests {
    @Test(arguments: [ParquetFixtures.flat, ParquetFixtures.flatVersion2])
    func valuesOfAllKinds(fixture: String) throws {
        #expect(try column("flag", fixture) == [.boolean(true), .null, .boolean(false), .boolean(true)])
        #expect(try column("tiny", fixture) == [.number("-1"), .number("2"), .null, .number("127")])
        #expect(
            try column("big", fixture) == [.number("18446744073709551615"), .number("0"), .number("1"), .null])
        #expect(try column("real", fixture) == [.number("1.5"), .null, .number("inf"), .number("nan")])
        #expect(try column("half", fixture) == [.number("0.5"), .number("-2.0"), .null, .number("1.0")])
        #expect(try column("text", fixture) == [.text("alpha"), .text("βeta"), .null, .text("alpha")])
        #expect(
            try column("raw", fixture) == [
                .binary(prefix: "00ff", byteCount: 2), .binary(prefix: "", byteCount: 0), .null,
                .binary(prefix: "616263", byteCount: 3),
            ])
        #expect(
            try column("day", fixture) == [.text("2024-02-29"), .text("1969-12-31"), .null, .text("0001-01-01")])
        #expect(
            try column("time", fixture) == [
                .text("00:00:00"), .text("23:59:59.999999"), .null, .text("00:00:00.000001"),
            ])
        #expect(
            try column("at", fixture) == [
                .text("1970-01-01T00:00:00Z"), .text("1969-12-31T23:59:59.999Z"), .null,
                .text("2023-11-14T22:13:20.123Z"),
            ])
        #expect(
            try column("local", fixture) == [
                .text("1970-01-01T00:00:00"), .text("1969-12-31T23:59:59.999999999"), .null,
                .text("2023-11-14T22:13:20.123456789"),
            ])
        #expect(
            try column("money", fixture) == [.number("1.23"), .number("-0.05"), .null, .number("99999999.99")])
        #expect(
            try column("id", fixture) == [
                .text("00010203-0405-0607-0809-0a0b0c0d0e0f"), .null, .text("00000000-0000-0000-0000-000000000000"),
                .text("00000000-0000-0000-0000-000000000000"),
            ])
    }

    @Test func schemaAndStatistics() throws {
        let flat = try file(bytes(ParquetFixtures.flat))
        #expect(flat.rowCount == 4 && flat.rowGroupCount == 1)
        #expect(flat.createdBy.hasPrefix("parquet-cpp-arrow"))
        #expect(
            flat.columns.map(\.type) == [
                "bool", "int8", "uint64", "double", "float16", "string", "binary", "date", "time[us]",
                "timestamp[ms, UTC]", "timestamp[ns]", "decimal(10,2)", "uuid",
            ])
        let tiny = flat.columns[1]
        #expect(tiny.minimum == "-1" && tiny.maximum == "127" && tiny.nullCount == 1 && tiny.isNullable)
        #expect(tiny.compressions == ["SNAPPY"] && tiny.encodings == ["PLAIN", "RLE", "RLE_DICTIONARY"])
        #expect(flat.columns[5].maximum == "βeta" && flat.columns[0].minimum == nil)
        #expect(flat.columns[7].minimum == "0001-01-01" && flat.columns[11].minimum == "-0.05")
        #expect(
            try file(bytes(ParquetFixtures.nested)).fields.map(\.type) == [
                "list<int64>", "list<list<string>>", "map<string, int64>", "struct<a: int32, b: list<bool>>",
                "list<struct<x: int8, y: string>>",
            ])
        #expect(
            try ParquetFooter(ofFile: bytes(ParquetFixtures.nested)).columns.map(\.name).prefix(3) == [
                "list.list.element", "deep.list.element.list.element", "map.key_value.key",
            ])
    }

    @Test(arguments: [0, 1, 49, 50, 199, 200, 201, 299, 300] as [Int64])
    func anyRowsOfManyPages(first: Int64) throws {
        let deltas = try file(bytes(ParquetFixtures.deltas))
        #expect(deltas.rowCount == 300 && deltas.rowGroupCount == 2)
        let rows = try deltas.rows(from: first, count: 60)
        #expect(rows.count == Int(min(60, 300 - first)))
        for (offset, row) in rows.enumerated() {
            let i = Int(first) + offset
            #expect(
                row == [
                    i % 7 == 0 ? .null : .number("\(i * i - 1_000)"), .number("\(i * 37 % 256 - 128)"),
                    .text(String(repeating: "x", count: i % 5)), .text("common/\(i / 10)/\(i)"),
                ])
        }
    }

    @Test func streamsAndRuns() throws {
        let rows = try file(bytes(ParquetFixtures.streams)).rows(from: 3, count: 40, columns: ["flag", "real"])
        #expect(rows == (3..<43).map { [.boolean($0 % 3 == 0), .number("\(Float($0) / 4)")] })
    }

    @Test(arguments: [ParquetFixtures.nested, ParquetFixtures.nestedVersion2])
    func nestedValues(fixture: String) throws {
        let rows = try file(bytes(fixture)).rows(from: 0, count: 10)
        #expect(rows.map { $0[0] } == [.nested("[1,null,3]"), .nested("[]"), .null, .nested("[4]")])
        #expect(
            rows.map { $0[1] } == [
                .nested(#"[["a",null],[]]"#), .null, .nested("[null]"), .nested(#"[["\"q\""]]"#),
            ])
        #expect(rows.map { $0[2] } == [.nested(#"{"k":1,"l":null}"#), .nested("{}"), .null, .nested(#"{"m":3}"#)])
        #expect(
            rows.map { $0[3] } == [
                .nested(#"{"a":1,"b":[true]}"#), .nested(#"{"a":null,"b":null}"#), .null,
                .nested(#"{"a":2,"b":[]}"#),
            ])
        #expect(
            rows.map { $0[4] } == [
                .nested(#"[{"x":1,"y":"z"},null]"#), .null, .nested("[]"), .nested(#"[{"x":null,"y":null}]"#),
            ])
        #expect(try file(bytes(fixture)).rows(from: 3, count: 1) == [rows[3]])
    }

    @Test func legacyTimestamps() throws {
        #expect(
            try column("at", ParquetFixtures.legacy) == [
                .text("1970-01-01T00:00:00"), .text("2023-11-14T22:13:20.123456000"), .null,
            ])
    }

    @Test func cellsAreCut() throws {
        let short = try file(bytes(ParquetFixtures.nested)) { $0.characters = 4 }
        #expect(try short.rows(from: 0, count: 1, columns: ["list"]) == [[.nested("[1,n…")]])
        let few = try file(bytes(ParquetFixtures.nested)) { $0.valuesPerCell = 1 }
        #expect(try few.rows(from: 0, count: 1, columns: ["list"]) == [[.nested("[1…")]])
        let text = try file(bytes(ParquetFixtures.flat)) { $0.characters = 2 }
        #expect(try text.rows(from: 1, count: 1, columns: ["text"]) == [[.text("βe…")]])
    }

    @Test func limitsAreKept() throws {
        let deltas = bytes(ParquetFixtures.deltas)
        #expect(throws: ParquetError.self) { try file(deltas).rows(from: 0, count: 1_001) }
        #expect(throws: ParquetError.self) { try file(deltas).rows(from: -1, count: 1) }
        #expect(throws: ParquetError.self) { try file(deltas).rows(from: 0, count: 1, columns: ["none"]) }
        #expect(try file(deltas).rows(from: 300, count: 1).isEmpty)
        #expect(throws: ParquetError.self) { try file(deltas) { $0.footerBytes = 10 } }
        #expect(throws: ParquetError.self) { try file(deltas) { $0.columns = 3 } }
        #expect(throws: ParquetError.self) { try file(bytes(ParquetFixtures.nested)) { $0.schemaDepth = 2 } }
        for change: (inout ParquetFile.Limits) -> Void in [
            { $0.pageBytes = 10 }, { $0.decodedBytes = 1_000 }, { $0.readBytes = 100 }, { $0.pages = 1 },
            { $0.values = 10 },
        ] {
            #expect(throws: ParquetError.self) { try file(deltas, change).rows(from: 250, count: 10) }
        }
    }

    @Test func runsDoNotBelieveTheirCounts() throws {
        // Four billion threes, passed over at once; then the end.
        var runs = ParquetRunReader((varint(UInt64(UInt32.max) << 1) + [3])[...], width: 2)
        let budget = ParquetBudget(ParquetFile.Limits())
        #expect(try runs.skip(1 << 31, counting: 3, budget) == 1 << 31)
        #expect(try runs.next() == 3)
        var packed = ParquetRunReader((varint(UInt64.max) + [0b1110_0100])[...], width: 2)
        for expected in 0..<4 as Range<UInt32> { #expect(try packed.next() == expected) }
        #expect(throws: ParquetError.self) { try packed.next() }
        var empty = ParquetRunReader([0, 0, 0], width: 0)
        #expect(throws: ParquetError.self) { try empty.next() }
    }

    @Test func olderLevelsArePackedFromTheTop() throws {
        var rest: ArraySlice<UInt8> = [0b0001_1011, 0b0100_0000, 7]
        var levels = try ParquetLevelReader(takingFrom: &rest, encoding: 4, most: 3, count: 5)
        for expected in [0, 1, 2, 3, 1] as [UInt8] { #expect(try levels.next() == expected) }
        #expect(rest == [7])
    }

    @Test func differencesDoNotBelieveTheirCounts() throws {
        #expect(throws: ParquetError.self) {
            try ParquetDeltaReader((varint(128) + varint(4) + varint(1 << 40) + [0])[...], most: 1_000)
        }
        #expect(throws: ParquetError.self) { try ParquetDeltaReader([0, 0, 1, 0], most: 10) }
        #expect(throws: ParquetError.self) { try ParquetDeltaReader([], most: 10) }
        // Differences of no bits: each is the least one.
        var steps = try ParquetDeltaReader((varint(128) + [4, 5, 20, 2, 0, 0, 0, 0, 9])[...], most: 5)
        #expect(try Array(steps.rest()) == [9])
        for expected in [10, 11, 12, 13, 14] as [Int64] { #expect(try steps.next() == expected) }
        #expect(throws: ParquetError.self) { try steps.next() }
    }

    @Test func compressedPagesHaveTheirLength() throws {
        // Six literals, as LZ4 writes them, bare and in Hadoop's frame.
        let block: [UInt8] = [0x60] + Array("parque".utf8)
        #expect(try ParquetCompression.lz4Raw.decompress(block[...], count: 6) == Array("parque".utf8))
        let framed: [UInt8] = [0, 0, 0, 6, 0, 0, 0, 7] + block
        #expect(try ParquetCompression.lz4.decompress((framed + framed)[...], count: 12).count == 12)
        #expect(try ParquetCompression.lz4.decompress(block[...], count: 6) == Array("parque".utf8))
        for codec in [ParquetCompression.none, .snappy, .gzip, .zstd, .lz4, .lz4Raw, .brotli, .lzo] {
            for count in [1, 5, 7, 1 << 20] {
                #expect(throws: ParquetError.self) { try codec.decompress([9, 8, 7], count: count) }
            }
        }
    }

    @Test(arguments: [
        ([0x80], "-128"), ([0xff, 0x7f], "-129"), ([0x00], "0"), ([], "0"), ([1, 0, 0, 0, 0], "4294967296"),
    ])
    func integersOfAnyLength(bytes: [UInt8], expected: String) {
        #expect(ParquetText.integer(bigEndian: bytes[...]) == expected)
    }

    @Test func datesOfAllYears() {
        #expect(ParquetText.date(daysSince1970: Int64(Int32.min)) == "-5877641-06-23")
        #expect(ParquetText.date(daysSince1970: Int64(Int32.max)) == "+5881580-07-11")
        #expect(ParquetText.timestamp(.min, .milliseconds).hasPrefix("-292275055-05-16T"))
        #expect(ParquetText.timestamp(.max, .nanoseconds) == "2262-04-11T23:47:16.854775807")
    }

    @Test(arguments: [
        ParquetFixtures.flat, ParquetFixtures.flatVersion2, ParquetFixtures.deltas, ParquetFixtures.streams,
        ParquetFixtures.nested, ParquetFixtures.nestedVersion2, ParquetFixtures.legacy,
    ])
    func damageIsToldOrHarmless(fixture: String) throws {
        let original = bytes(fixture)
        for count in 0..<original.count where count % 5 == 0 {
            #expect(throws: ParquetError.self) { try file(Array(original.prefix(count))) }
        }
        for place in original.indices {
            // One of three, since all of them at each byte take seconds.
            let value = [original[place] ^ 0xff, original[place] &+ 1, 0x7f][place % 3]
            var damaged = original
            damaged[place] = value
            do { _ = try file(damaged).rows(from: 1, count: 20) } catch {
                #expect(error is ParquetError, "byte \(place) made \(value): \(error)")
            }
        }
    }

    @Test func anEncryptedFileIsTold() {
        let end = Array("PARE".utf8)
        #expect {
            try file(Array(repeating: 0, count: 20) + [4, 0, 0, 0] + end)
        } throws: {
            "\($0)".contains("encrypted")
        }
    }
}
