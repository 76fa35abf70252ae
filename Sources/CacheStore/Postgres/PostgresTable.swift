import Foundations
import Versioning

/// lakeFS's table in PostgreSQL and its hundred partitions. Source: `lakefs-formats.md` 6.1.
///
/// Where the table is divided as lakeFS divides it, statements name the part that holds a key's partition: the server
/// then needs to look at one table, not at a hundred. Which part that is, is computed as PostgreSQL does, and compared
/// with what the server says before it is relied on.
struct PostgresTable: Sendable {
    let name: String
    /// Whether statements may name parts.
    private(set) var isDivided = false
    private static let parts: UInt64 = 100

    init(_ name: String) { self.name = name }

    /// The table that holds a partition's records, quoted.
    func part(of partition: Partition) -> String {
        isDivided ? Self.quote("\(name)_\(Self.partNumber(of: partition.name.bytes))") : Self.quote(name)
    }

    static func quote(_ name: String) -> String {
        "\"" + name.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
    }

    // MARK: making and checking

    /// Makes the table if there is none, and looks at its shape.
    /// - Throws: `.refused` if there is a table of another shape, or no right to make one.
    mutating func setUp(_ connection: PostgresConnection) throws(StoreError) {
        do throws(PostgresFailure) {
            var columns = try columns(connection)
            if columns.isEmpty {
                try make(connection)
                columns = try self.columns(connection)
            }
            guard Set(columns) == ["partition_key bytea", "key bytea", "value bytea"] else {
                throw PostgresFailure(
                    kind: .refused(state: "42P16", statement: 0),
                    message:
                        "table \(name) has the columns \(columns.joined(separator: ", ")), not partition_key, key and value of type bytea: name another database, or another table by lakefskv_table in database.postgres.connection_string"
                )
            }
            let index = try connection.run([
                PostgresStatement(
                    """
                    SELECT count(*) FROM pg_index i WHERE i.indrelid = $1::text::regclass AND i.indisunique
                      AND (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
                           WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)) @> ARRAY['partition_key', 'key']
                      AND i.indnkeyatts = 2
                    """, [.text(Self.quote(name))])
            ])[0].rows
            guard index.first?.first??.last != 0 else {
                throw PostgresFailure(
                    kind: .refused(state: "42P16", statement: 0),
                    message: "table \(name) has no primary key (partition_key, key): it is not lakeFS's")
            }
            isDivided = try isDividedAsComputed(connection)
        } catch {
            switch error.kind {
            case .lost: throw StoreError(.away, error.message, isTransient: true)
            case .refused("42501", _):
                throw StoreError(
                    .refused,
                    "\(error.message): the user of database.postgres.connection_string needs the right to use table \(name), and to create it where there is none"
                )
            case .refused: throw StoreError(.refused, error.message)
            }
        }
    }

    private func columns(_ connection: PostgresConnection) throws(PostgresFailure) -> [String] {
        try connection.run([
            PostgresStatement(
                """
                SELECT a.attname::text || ' ' || format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
                WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
                """, [.text(Self.quote(name))])
        ])[0].rows.map { String(decoding: $0[0] ?? [], as: UTF8.self) }
    }

    /// In one transaction, under lakeFS's own lock: servers of both kinds may start together.
    private func make(_ connection: PostgresConnection) throws(PostgresFailure) {
        let table = Self.quote(name)
        let parts = (0..<Self.parts).map { part in
            """
            CREATE TABLE IF NOT EXISTS \(Self.quote("\(name)_\(part)")) PARTITION OF \(table)
            FOR VALUES WITH (MODULUS \(Self.parts), REMAINDER \(part))
            """
        }
        let statements =
            [
                """
                CREATE TABLE IF NOT EXISTS \(table) (partition_key BYTEA NOT NULL, key BYTEA NOT NULL,
                value BYTEA NOT NULL, PRIMARY KEY (partition_key, key)) PARTITION BY HASH (partition_key)
                """
            ] + parts + [
                """
                CREATE OR REPLACE VIEW \(Self.quote(name + "_v")) AS
                SELECT encode(partition_key, 'escape') AS partition_key, encode(key, 'escape') AS key, value FROM \(table)
                """
            ]
        _ = try connection.run(
            [PostgresStatement("SELECT pg_advisory_xact_lock($1)", [.integer(Self.lock(ofTable: name))])]
                + statements.map { PostgresStatement($0, []) })
    }

    /// FNV-1a of 32 bits over the table's name.
    static func lock(ofTable name: String) -> Int64 {
        var hash: UInt32 = 2_166_136_261
        for byte in "lakefs:\(name)".utf8 { hash = (hash ^ UInt32(byte)) &* 16_777_619 }
        return Int64(hash)
    }

    // MARK: parts

    /// Whether the server puts names of all lengths into the parts that are computed here.
    private func isDividedAsComputed(_ connection: PostgresConnection) throws(PostgresFailure) -> Bool {
        let probes = (0..<60).map { length in (0..<length).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ length) } }
        let found = try connection.run([
            PostgresStatement(
                """
                SELECT count(*) FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid
                WHERE h.inhparent = $1::text::regclass AND c.relname::text = $2::text || '_' || substring(
                  pg_get_expr(c.relpartbound, c.oid) from 'FOR VALUES WITH \\(modulus \(Self.parts), remainder (\\d+)\\)')
                """, [.text(Self.quote(name)), .text(name)])
        ])[0].rows
        guard let count = found.first?.first ?? nil, count.suffix(2) == [0, UInt8(Self.parts)] else { return false }
        let agreed = try connection.run([
            PostgresStatement(
                """
                SELECT count(*) FROM unnest($2::bytea[]) WITH ORDINALITY AS p(name, place)
                WHERE satisfies_hash_partition($1::text::regclass, \(Self.parts),
                  get_byte($3::bytea, (place - 1)::int), name)
                """,
                [
                    .text(Self.quote(name)), .list(probes),
                    .bytes(probes.map { UInt8(Self.partNumber(of: $0)) }),
                ])
        ])[0].rows
        return (agreed.first?.first ?? nil)?.suffix(2) == [0, UInt8(probes.count)]
    }

    /// The part that a partition key is in: PostgreSQL's hash of `bytea` (Jenkins's lookup3, 64 bits of it) with the
    /// seed that hash partitions have, modulo their number.
    static func partNumber(of bytes: [UInt8]) -> UInt64 {
        let seed: UInt64 = 0x7A5B_2236_7996_DCFD
        let hash = extendedHash(bytes, seed: seed)
        // The combination of no columns before it with this one.
        return (hash &+ 0x49A0_F4DD_15E5_A8E3) % parts
    }

    private static func extendedHash(_ bytes: [UInt8], seed: UInt64) -> UInt64 {
        var a = 0x9e37_79b9 &+ UInt32(truncatingIfNeeded: bytes.count) &+ 3_923_095
        var b = a
        var c = a
        func rotate(_ word: UInt32, _ count: UInt32) -> UInt32 { word << count | word >> (32 - count) }
        func mix() {
            a = (a &- c) ^ rotate(c, 4)
            c = c &+ b
            b = (b &- a) ^ rotate(a, 6)
            a = a &+ c
            c = (c &- b) ^ rotate(b, 8)
            b = b &+ a
            a = (a &- c) ^ rotate(c, 16)
            c = c &+ b
            b = (b &- a) ^ rotate(a, 19)
            a = a &+ c
            c = (c &- b) ^ rotate(b, 4)
            b = b &+ a
        }
        if seed != 0 {
            a = a &+ UInt32(seed >> 32)
            b = b &+ UInt32(truncatingIfNeeded: seed)
            mix()
        }
        func word(_ start: Int, _ count: Int) -> UInt32 {
            (0..<max(0, min(4, count))).reduce(0) { $0 | UInt32(bytes[start + $1]) << (8 * UInt32($1)) }
        }
        var start = 0
        while bytes.count - start >= 12 {
            a = a &+ word(start, 4)
            b = b &+ word(start + 4, 4)
            c = c &+ word(start + 8, 4)
            mix()
            start += 12
        }
        let rest = bytes.count - start
        // The lowest byte of the third word stands for the length, which is in it from the start.
        if rest > 8 { c = c &+ word(start + 8, rest - 8) << 8 }
        if rest > 4 { b = b &+ word(start + 4, rest - 4) }
        a = a &+ word(start, rest)
        c = (c ^ b) &- rotate(b, 14)
        a = (a ^ c) &- rotate(c, 11)
        b = (b ^ a) &- rotate(a, 25)
        c = (c ^ b) &- rotate(b, 16)
        a = (a ^ c) &- rotate(c, 4)
        b = (b ^ a) &- rotate(a, 14)
        c = (c ^ b) &- rotate(b, 24)
        return UInt64(b) << 32 | UInt64(c)
    }
}
