import Foundations
import Synchronization

/// Pages of a listing, in order. The first is asked for when it is wanted; where more follow, threads of its own ask for
/// them and decode them some pages ahead, so that the server, the decoding and the one who reads work at the same time.
/// Read by one thread.
package final class PageReader<Item: Decodable & Sendable> {
    package struct Page: Sendable {
        package let items: [Item]
        /// Where what follows begins; nil at the end.
        package let next: String?
    }

    private struct Answer: Decodable {
        let pagination: API.Pagination
        let results: [Item]
    }

    /// What the threads share; it outlives the reader until the last of them has ended.
    private final class Shared: Sendable {
        private struct State {
            /// The page that can be asked for; nil while the one before it is asked for, and at the end.
            var wanted: (index: Int, after: String, left: Int)?
            var pages: [Int: Result<(page: Page, isLast: Bool), any Error>] = [:]
            var isStopped = false
        }

        private let state: Mutex<State>
        /// Posted for each page that there is room for.
        private let room = CountingSemaphore()
        /// Posted when a page can be asked for.
        private let turn = CountingSemaphore()
        /// Posted when a page is there.
        private let ready = CountingSemaphore()
        private let ask: @Sendable (_ after: String, _ amount: Int) throws -> [UInt8]

        init(
            after: String, amount: Int, _ ask: @escaping @Sendable (_ after: String, _ amount: Int) throws -> [UInt8]
        ) {
            self.ask = ask
            state = Mutex(State(wanted: (0, after, amount)))
        }

        /// Asks for the page that is wanted. False if none is.
        func readOne() -> Bool {
            let wanted = state.withLock { state in
                defer { state.wanted = nil }
                return state.wanted
            }
            guard let (index, after, left) = wanted else { return false }
            let found = Result {
                let bytes = try ask(after, min(PageReader.pageSize, left))
                // Mostly it stands before the items: the next page is asked for while these are decoded.
                let early = Coding.leading(API.Pagination.self, named: "pagination", bytes)
                let isLast = try early.map { try !goesOn(index, after, $0, left) }
                let answer = try LakeClient.decode(Answer.self, bytes)
                let isEnd = try isLast ?? !goesOn(index, after, answer.pagination, left)
                let next = answer.pagination.hasMore ? answer.pagination.nextOffset : nil
                return (page: Page(items: answer.results, next: next), isLast: isEnd)
            }
            state.withLock { $0.pages[index] = found }
            ready.post()
            return true
        }

        /// Whether pages follow; the next one can be asked for then.
        private func goesOn(_ index: Int, _ after: String, _ pagination: API.Pagination, _ left: Int) throws -> Bool {
            guard pagination.hasMore else { return false }
            guard pagination.nextOffset != after else {
                throw LakeClient.badResponse("a listing that does not go on")
            }
            let left = left - pagination.results
            guard left > 0 else { return false }
            state.withLock { if !$0.isStopped { $0.wanted = (index + 1, pagination.nextOffset, left) } }
            turn.post()
            return true
        }

        /// Reads page after page while there is room for more.
        func run() {
            repeat {
                room.wait()
                turn.wait()
            } while readOne()
        }

        func makeRoom() { room.post() }

        /// Lets the threads end.
        func stop() {
            state.withLock { ($0.wanted, $0.isStopped) = (nil, true) }
            for _ in 0..<PageReader.width {
                room.post()
                turn.post()
            }
        }

        /// Waits for a page that is asked for, or will be.
        func page(_ index: Int) -> Result<(page: Page, isLast: Bool), any Error> {
            while true {
                if let page = state.withLock({ $0.pages.removeValue(forKey: index) }) { return page }
                ready.wait()
            }
        }
    }

    /// Items of a page, as lakeFS allows.
    private static var pageSize: Int { 1000 }
    /// Threads that ask: one waits for the server while the other decodes.
    private static var width: Int { 2 }
    /// Pages that may be there before they are read.
    private static var ahead: Int { 4 }

    private let shared: Shared
    private var threads: [Thread] = []
    private var index = 0
    private var isAtEnd = false

    /// - Parameters:
    ///   - amount: items at most.
    ///   - ask: returns the answer to a request of `amount` items that follow `after`; called by any thread.
    package init(
        after: String = "", amount: Int = .max,
        _ ask: @escaping @Sendable (_ after: String, _ amount: Int) throws -> [UInt8]
    ) {
        shared = Shared(after: after, amount: amount, ask)
    }

    deinit { end() }

    private func end() {
        isAtEnd = true
        shared.stop()
        for thread in threads { thread.join() }
        threads = []
    }

    /// The next page; nil at the end, which is also reached by an error.
    /// - Throws: what asking throws; `TransportError` for an answer that is no page.
    package func next() throws -> Page? {
        guard !isAtEnd else { return nil }
        if index == 0 { _ = shared.readOne() }
        do {
            let (page, isLast) = try shared.page(index).get()
            index += 1
            if isLast { end() } else if threads.isEmpty { start() } else { shared.makeRoom() }
            return page
        } catch {
            end()
            throw error
        }
    }

    private func start() {
        for _ in 0..<Self.ahead { shared.makeRoom() }
        threads = (0..<Self.width).map { [shared] index in Thread(name: "pages-\(index)") { shared.run() } }
    }
}
