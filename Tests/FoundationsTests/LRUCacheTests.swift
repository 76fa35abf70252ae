import Foundations
import LakeTestSupport
import Synchronization
import Testing

@Suite struct LRUCacheTests {
    @Test func whatWasNotUsedGoesFirst() {
        let cache = LRUCache<Int, String>(budget: 10)
        for number in 0..<10 { cache.insert("\(number)", for: number) }
        for number in [0, 3, 7] { #expect(cache[number] == "\(number)") }
        for number in 10..<17 { cache.insert("\(number)", for: number) }
        #expect((0..<17).filter { cache[$0] != nil } == [0, 3, 7, 10, 11, 12, 13, 14, 15, 16])
        #expect(cache.counters.hits == 13 && cache.counters.misses == 7)
    }

    /// What was put there last stays, be all others in use or it too large for all.
    @Test func theNewestStays() {
        let cache = LRUCache<Int, Int>(budget: 4)
        for number in 0..<50 {
            cache.insert(number, for: number)
            for known in 0...number { _ = cache[known] }
            #expect(cache[number] == number)
        }
        #expect((0..<50).filter { cache[$0] != nil }.count == 4)
        cache.insert(-1, for: -1, cost: 100)
        #expect(cache[-1] == -1 && (0..<50).allSatisfy { cache[$0] == nil })
        cache.insert(-2, for: -1, cost: 1)
        cache.insert(1, for: 1, cost: 3)
        #expect(cache[-1] == -2 && cache[1] == 1, "a cost is that of the value that is there")
        cache.remove(-1)
        #expect(cache[-1] == nil)
        cache.removeAll()
        #expect(cache[1] == nil)
    }

    @Test func manyThreads() {
        let cache = ShardedCache<Int, [Int]>(budget: 400, parts: 4)
        let faults = Atomic<Int>(0)
        let threads = (0..<8).map { thread in
            Thread(name: "t\(thread)") {
                for step in 0..<20_000 {
                    let name = (step &* 7919 &+ thread &* 13) % 1000
                    if let value = cache[name] {
                        if value != [name, name] { faults.add(1, ordering: .relaxed) }
                    } else {
                        cache.insert([name, name], for: name, cost: 1 + name % 3)
                    }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(faults.load(ordering: .relaxed) == 0)
        #expect((0..<1000).reduce(0) { $0 + (cache[$1] == nil ? 0 : 1 + $1 % 3) } <= 400)
    }
}
