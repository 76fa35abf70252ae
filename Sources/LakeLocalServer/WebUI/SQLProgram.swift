import Foundations
import Glibc
import LakeAPI
import Synchronization
import Versioning

/// Answers to questions in SQL about one object, by DuckDB's own program, where there is one on the server's PATH. It is a
/// process of its own with bounds, gets the object as its standard input, and may open nothing else: neither files nor
/// addresses (DuckDB documentation, "Securing DuckDB"). What it may read it may write, to DuckDB: hence one SELECT alone, and
/// a kernel that lets it open nothing to write.
enum SQLProgram {
    /// Nil where there is none.
    static let path = ChildProcess.canConfine ? ChildProcess.program(named: "duckdb") : nil

    /// Questions that are answered at once.
    private static let width = 2
    private static let running = Atomic<Int>(0)
    /// Rows of an answer that are shown, and bytes of a question.
    static let mostRows = 100, longestQuestion = 16 << 10

    /// DuckDB's function that reads objects of a kind; nil for what is no table.
    static func reader(_ kind: ObjectFile.Kind) -> String? {
        switch kind {
        case .parquet: "read_parquet"
        case .lines: "read_json"
        case .delimited: "read_csv"
        default: nil
        }
    }

    /// The answer to a question that calls the object `object`.
    /// - Throws: `PageError` that says what is wrong with it.
    static func answer(_ question: String, about file: ObjectFile) throws -> TablePage {
        guard let path, let reader = try reader(file.kind()) else {
            throw PageError(400, "The server has no duckdb program: ask in DuckDB itself.")
        }
        guard question.utf8.count <= longestQuestion else {
            throw PageError(400, "The question has more than \(longestQuestion) bytes: ask in DuckDB itself.")
        }
        guard running.wrappingAdd(1, ordering: .relaxed).oldValue < width else {
            running.wrappingSubtract(1, ordering: .relaxed)
            throw PageError(503, "The server answers \(width) questions already. Try again in a moment.")
        }
        defer { running.wrappingSubtract(1, ordering: .relaxed) }
        let input = "'/proc/self/fd/0'"
        // What begins with a word is SQL to the program, and no command of its own.
        let statements = """
            SET allowed_paths=[\(input)]; SET threads=1; SET memory_limit='512MB'; SET temp_directory='';
            SET enable_external_access=false; SET lock_configuration=true;
            CREATE VIEW object AS SELECT * FROM \(reader)(\(input));
            """
        guard !question.utf8.contains(0) else {
            throw PageError(400, "The question holds a character that ends texts.")
        }
        // A question that is a text to another one is one statement, and a SELECT, or refused.
        let asked = "FROM query('\(question.replacing("'", with: "''"))') LIMIT \(mostRows + 1)"
        let bounds = ProgramBounds()
        let outcome = try file.asFile { descriptor in
            ChildProcess.run(
                path,
                [
                    "-no-init", "-no-stdin", "-batch", "-bail", "-csv", "-nullvalue", "NULL", "-c", statements, "-c",
                    asked,
                ],
                input: descriptor, within: bounds)
        }
        guard let outcome else { throw PageError(500, "The duckdb program cannot be run.") }
        if outcome.isLate {
            throw PageError(400, "No answer within \(bounds.milliseconds / 1000) seconds: ask for less.")
        }
        if outcome.isCut {
            throw PageError(
                400, "The answer has more than \(bounds.output >> 20) MiB: ask for fewer or smaller columns.")
        }
        guard outcome.hasSucceeded, outcome.errors.isEmpty else {
            let reason = String(decoding: outcome.errors.prefix(4096), as: UTF8.self)
            throw PageError(400, reason.isEmpty ? "The question takes more memory or time than it may." : reason)
        }
        return try page(outcome.output)
    }

    private static func page(_ output: [UInt8]) throws -> TablePage {
        var page = try LineTable(size: Int64(output.count), format: .delimited) { range in
            Array(output[Int(range.lowerBound)..<Int(range.upperBound)])
        }.page(TableQuery())
        if page.next != nil { page.note = "These are the first \(mostRows) rows of the answer." }
        page.next = nil
        return page
    }
}
