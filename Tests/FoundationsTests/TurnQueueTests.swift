import Glibc
import LakeTestSupport
import Synchronization
import Testing

@testable import Foundations

@Suite struct TurnQueueTests {
    /// First come, first served, one at a time; other names do not wait.
    @Test func turnsComeInOrder() {
        let queue = TurnQueue()
        let order = Mutex<[Int]>([])
        let running = Atomic<Int>(0)
        let waiting = Atomic<Int>(0)
        let begun = CountingSemaphore()
        let go = CountingSemaphore()
        let first = Thread(name: "first") {
            queue.withTurn(of: "a") {
                begun.post()
                go.wait()
            }
        }
        begun.wait()
        let threads = (0..<6).map { number in
            // Each is known to wait before the next one comes.
            let thread = Thread(name: "turn") {
                queue.withTurn(of: "a") {
                    #expect(running.add(1, ordering: .relaxed).newValue == 1)
                    order.withLock { $0.append(number) }
                    running.subtract(1, ordering: .relaxed)
                }
            }
            while queue.waitingCount(of: "a") <= number { sched_yield() }
            return thread
        }
        queue.withTurn(of: "b") { waiting.store(1, ordering: .relaxed) }
        go.post()
        for thread in [first] + threads { thread.join() }
        #expect(order.withLock { $0 } == [0, 1, 2, 3, 4, 5] && waiting.load(ordering: .relaxed) == 1)
        #expect(queue.waitingCount(of: "a") == 0)
    }
}
