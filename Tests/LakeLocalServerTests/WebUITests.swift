import Foundations
import LakeTestSupport
import Testing
import Versioning

@testable import LakeLocalServer

@Suite struct WebUITests {
    private func text(_ html: HTML) -> String { String(decoding: html.bytes, as: UTF8.self) }

    @Test func whatIsPutInIsEscaped() {
        let bad = "<script>\"'&"
        #expect(
            text("<p title=\"\(bad)\">\(bad)</p>")
                == "<p title=\"&lt;script&gt;&quot;&#39;&amp;\">&lt;script&gt;&quot;&#39;&amp;</p>")
        let part: HTML = "<b>\(1)</b>"
        #expect(text("\(part)\([part, part])\(HTML?.none)") == "<b>1</b><b>1</b><b>1</b>")
        let isEmpty = bad.isEmpty
        #expect(text("\(isEmpty ? "<i></i>" : "<b></b>")") == "<b></b>", "a literal is markup")
    }

    @Test func linksKeepEveryByte() {
        let link = Link(RepositoryID("a b"), "objects", query: ["path": Key([0xff, 0x26, 0x2f, 0x3d]), "none": nil])
        #expect(link.text == "/repositories/a%20b/objects?path=%FF%26/%3D")
    }

    @Test func namesShowWhatCannotBeSeen() {
        #expect(text(Show.name(Key("a\nb"))) == "<bdi>a<i class=\"odd\">\\n</i>b</bdi>")
        #expect(text(Show.name("x\u{202e}y")).contains("U+202E"))
        #expect(text(Show.name(Key([0x61, 0xff]))).contains("not UTF-8"))
    }

    @Test(arguments: [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (102_400, "100 KiB"), (1_500_000, "1.4 MiB"),
        (Int64(1) << 50, "1.0 PiB"),
    ])
    func sizes(bytes: Int64, shown: String) { #expect(Show.sizeText(bytes) == shown) }

    @Test func countsAreGrouped() {
        #expect(Show.grouped(1_234_567) == "1,234,567" && Show.grouped(-1000) == "-1,000" && Show.grouped(0) == "0")
        #expect(Show.count(1, "row") == "1 row" && Show.count(2, "row") == "2 rows")
    }

    /// Every way of making one text of the other is right if it does so; a search from a seed finds most mistakes.
    @Test(arguments: 1...40) func differencesMakeTheNewText(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        func lines() -> [Substring] {
            (0..<Int.random(in: 0...30, using: &random)).map { _ in ["a", "b", "c", "d"].randomElement(using: &random)!
            }
        }
        let (old, new) = (lines(), lines())
        var (seenOld, seenNew): ([Substring], [Substring]) = ([], [])
        for line in try #require(TextDiff.lines(old, new)) {
            switch line {
            case .same(let a, let b):
                #expect(old[a] == new[b])
                seenOld.append(old[a])
                seenNew.append(new[b])
            case .removed(let a): seenOld.append(old[a])
            case .added(let b): seenNew.append(new[b])
            }
        }
        #expect(seenOld == old && seenNew == new)
    }

    @Test func differencesAreFew() throws {
        let old = (0..<500).map { "\($0)"[...] }
        var new = old
        new[250] = "changed"
        let lines = try #require(TextDiff.lines(old, new))
        #expect(lines.filter { if case .same = $0 { false } else { true } }.count == 2)
        let other = (0..<4000).map { "x\($0)"[...] }
        #expect(TextDiff.lines(other, other.map { "y\($0)"[...] }) == nil, "nothing in common")
    }

    @Test func delimitedRows() throws {
        func cells(_ text: String, isWhole: Bool = true) -> [[String]] {
            LineTable.rows(Array(text.utf8)[...], 0x2c, isWhole: isWhole, most: .max).map(\.cells)
        }
        #expect(cells("a,b\r\n1,\"x, \"\"y\"\"\nz\"\n") == [["a", "b"], ["1", "x, \"y\"\nz"]])
        #expect(cells("a\nb") == [["a"], ["b"]] && cells("a\nb", isWhole: false) == [["a"]])
        #expect(cells("\u{feff}a,b\n") == [["a", "b"]])
    }

    @Test func tablesGoOnWhereTheyStopped() throws {
        let text = Array("n,w\n" + (0..<1000).map { "\($0),word \($0 % 3)" }.joined(separator: "\n"))
        let bytes = Array(String(text).utf8)
        let table = LineTable(size: Int64(bytes.count), format: .delimited) {
            Array(bytes[Int($0.lowerBound)..<Int($0.upperBound)])
        }
        var query = TableQuery()
        var seen: [String] = []
        while true {
            let page = try table.page(query)
            #expect(page.columns == [.init(name: "n", type: "integer"), .init(name: "w", type: "text")])
            seen += page.rows.compactMap { $0[0] }
            guard let next = page.next else { break }
            query.start = next
        }
        #expect(seen == (0..<1000).map { "\($0)" })
        var filtered = TableQuery()
        filtered.filter = "WORD 2"
        #expect(try table.page(filtered).rows.count == 100)
    }

    @Test func oneLineWithoutEndIsNoTable() throws {
        let table = LineTable(size: 10 << 30, format: .delimited) { range in
            [UInt8](repeating: 0x61, count: Int(range.upperBound - range.lowerBound))
        }
        let page = try table.page(TableQuery())
        #expect(page.rows.isEmpty && page.note != nil)
    }

    @Test func markdownRunsNothing() {
        let html = text(
            Markdown.html(
                Array("<script>x</script> [a](javascript:alert(1)) ![b](data:text/html,x) <img onerror=x>".utf8)))
        #expect(
            !html.contains("<script") && !html.contains("javascript:") && !html.contains("onerror")
                && !html.contains("data:"))
    }

    @Test func theGraphOfAMergeHasTwoLanes() {
        var graph = CommitGraph()
        let rows = [("m", ["a", "b"]), ("b", ["r"]), ("a", ["r"]), ("r", [])].map { text(graph.row($0.0, $0.1)) }
        #expect(rows[0].contains("M8 17L8 34") && rows[0].contains("M8 17L22 34"))
        #expect(rows[1].contains("cx=\"22\"") && rows[2].contains("cx=\"8\"") && rows[3].contains("cx=\"8\""))
    }

    @Test func eventsComeInOrderAndEnd() {
        let queue = EventQueue()
        var woken = 0
        let wakes = CountingSemaphore()
        #expect(queue.next(10) { wakes.post() } == nil)
        queue.send("abc")
        if wakes.wait(milliseconds: 1000) { woken += 1 }
        #expect(woken == 1 && queue.next(2) {} == Array("ab".utf8) && queue.next(9) {} == Array("c".utf8))
        queue.end()
        #expect(queue.next(9) {} == [] && !queue.send("d"))
    }
}
