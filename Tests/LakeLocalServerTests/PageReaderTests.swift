import Synchronization
import Testing

@testable import LakeAPI

/// Pages of a listing of numbers, as a server would answer.
private final class Numbers: Sendable {
    struct Refusal: Error {}
    struct Item: Decodable, Equatable, Sendable { let path: String }

    let count: Int
    /// Whether the pagination stands behind the items.
    let isLate: Bool
    let refusesAfter: String?
    let asked = Mutex<[String]>([])

    init(_ count: Int, isLate: Bool = false, refusesAfter: String? = nil) {
        (self.count, self.isLate, self.refusesAfter) = (count, isLate, refusesAfter)
    }

    func answer(after: String, amount: Int) throws -> [UInt8] {
        asked.withLock { $0.append(after) }
        if after == refusesAfter { throw Refusal() }
        let first = after.isEmpty ? 0 : Int(after)! + 1
        let page = first..<min(count, first + amount)
        let items = page.map { "{\"path\":\"\($0)\"}" }.joined(separator: ",")
        let pagination =
            "\"pagination\":{\"has_more\":\(page.upperBound < count),\"max_per_page\":1000,\"next_offset\":\"\(page.upperBound - 1)\",\"results\":\(page.count)}"
        let results = "\"results\":[\(items)]"
        return Array("{\(isLate ? "\(results),\(pagination)" : "\(pagination),\(results)")}".utf8)
    }

    func reader(amount: Int = .max) -> PageReader<Item> {
        PageReader(amount: amount) { [self] in try answer(after: $0, amount: $1) }
    }
}

@Suite struct PageReaderTests {
    @Test(arguments: [0, 1, 1000, 1001, 12_345], [false, true])
    func allInOrder(count: Int, isLate: Bool) throws {
        let numbers = Numbers(count, isLate: isLate)
        let reader = numbers.reader()
        var found: [String] = []
        while let page = try reader.next() { found += page.items.map(\.path) }
        #expect(found == (0..<count).map(String.init))
        #expect(try reader.next() == nil)
        #expect(numbers.asked.withLock { $0.count } == max(1, (count + 999) / 1000))
    }

    @Test(arguments: [(1, 1), (1000, 1), (1500, 2), (9000, 9)])
    func noMoreThanIsAskedFor(amount: Int, pages: Int) throws {
        let numbers = Numbers(9001)
        let reader = numbers.reader(amount: amount)
        var (count, next) = (0, String?.none)
        while let page = try reader.next() {
            count += page.items.count
            next = page.next
        }
        #expect(count == amount)
        #expect(next == String(amount - 1))
        #expect(numbers.asked.withLock { $0.count } == pages)
    }

    @Test func failuresComeWhereTheyBelong() throws {
        let reader = Numbers(9000, refusesAfter: "3999").reader()
        for index in 0..<4 { #expect(try reader.next()?.items.first?.path == String(index * 1000)) }
        #expect(throws: Numbers.Refusal.self) { try reader.next() }
        #expect(try reader.next() == nil)
    }

    @Test func oneWhoLeavesEarly() throws {
        for _ in 0..<200 {
            let numbers = Numbers(1_000_000)
            let reader = numbers.reader()
            for _ in 0..<3 { _ = try reader.next() }
            // What was asked for ahead is bounded; nobody waits for the rest when the reader goes.
            #expect(numbers.asked.withLock { $0.count } <= 3 + 4 + 2)
        }
    }

    @Test func listingsThatDoNotGoOn() throws {
        let reader = PageReader<Numbers.Item>(after: "7") { _, _ in
            Array(
                "{\"pagination\":{\"has_more\":true,\"max_per_page\":1000,\"next_offset\":\"7\",\"results\":0},\"results\":[]}"
                    .utf8)
        }
        #expect(throws: (any Error).self) { try reader.next() }
    }

    @Test(arguments: [
        (
            #"{"pagination":{"next_offset":"}\\\"}{","has_more":true,"results":1,"max_per_page":2},"results":["#,
            "}\\\"}{"
        ),
        (#"{"results":[],"pagination":{"next_offset":"a","has_more":true,"results":1,"max_per_page":2}}"#, nil),
        (#"{"pagination":{"next_offset":"a""#, nil),
        (#"{"pagination":{}}"#, nil),
        ("", nil),
    ])
    func whatStandsFirst(text: String, next: String?) {
        #expect(Coding.leading(API.Pagination.self, named: "pagination", Array(text.utf8))?.nextOffset == next)
    }
}
