import Foundations
import LakeTestSupport
import S3Backend
import Testing

@testable import Versioning

/// Commits written in pieces, with blocks taken over as they are stored, against the walk of `lakefs-formats.md` 7.2
/// taken record by record: the same metaranges, hence the same bytes.
@Suite struct ApplyTests {
    private struct Changes: ChangeCursor {
        var all: [(key: Key, envelope: [UInt8]?)]
        private var position = 0
        init(_ all: [(key: Key, envelope: [UInt8]?)]) { self.all = all }
        mutating func next() -> (key: Key, envelope: [UInt8]?)? {
            guard position < all.count else { return nil }
            defer { position += 1 }
            return all[position]
        }
    }

    private let namespace = StorageNamespace("mem://apply")!

    /// A store in memory with ranges of many sizes; some seeds bound them.
    private func store(_ pool: WorkerPool, _ seed: UInt64, raggedness: UInt64) -> CommittedStore {
        var parameters = CommittedStore.Parameters()
        parameters.raggednessEntries = raggedness
        if seed % 5 == 0 { parameters.maxRangeSizeBytes = 30_000 }
        if seed % 7 == 0 { parameters.minRangeSizeBytes = 20_000 }
        return CommittedStore(objects: MemoryObjectStore(), pool: pool, cacheBytes: 1 << 18, parameters: parameters)
    }

    /// The walk as the formats page tells it.
    private func walk(_ changes: [(key: Key, envelope: [UInt8]?)], over base: String, _ store: CommittedStore) throws
        -> (metaRange: String, count: ChangeCount)
    {
        let cursor = try store.cursor(base, in: namespace)
        let writer = MetaRangeWriter(store: store, namespace: namespace)
        var count = ChangeCount()
        var rest = changes[...]
        while let change = rest.first, let range = cursor.range {
            guard let key = cursor.key else {
                if range.maxKey < change.key {
                    try writer.add(range)
                    try cursor.nextRange()
                } else {
                    try cursor.next()
                }
                continue
            }
            if Key(key) < change.key {
                try writer.add(key, cursor.envelope().bytes)
                try cursor.next()
                continue
            }
            if let envelope = change.envelope {
                if Key(key) == change.key {
                    let old = try cursor.envelope()
                    let isSame = try old.hasIdentity(of: Envelope(decoding: envelope))
                    try writer.add(key, isSame ? old.bytes : envelope)
                    if !isSame { count.changed += 1 }
                } else {
                    try writer.add(change.key.bytes, envelope)
                    count.added += 1
                }
            } else if Key(key) == change.key {
                count.removed += 1
            }
            if Key(key) == change.key { try cursor.next() }
            rest.removeFirst()
        }
        while let range = cursor.range {
            if let key = cursor.key {
                try writer.add(key, cursor.envelope().bytes)
                try cursor.next()
            } else {
                try writer.add(range)
                try cursor.nextRange()
            }
        }
        for change in rest {
            if let envelope = change.envelope {
                try writer.add(change.key.bytes, envelope)
                count.added += 1
            }
        }
        return (try writer.finish(), count)
    }

    @Test(arguments: 1...16) func piecesGiveWhatTheWalkGives(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let pool = WorkerPool(name: "apply", width: 3)
        let store = self.store(pool, seed, raggedness: [3, 40, 700, 5000].randomElement(using: &random)!)
        defer { pool.stop() }
        func envelope(_ text: Int) -> [UInt8] {
            // Values of many lengths, so that blocks end at other places after a change.
            let data = [UInt8](repeating: UInt8(truncatingIfNeeded: text), count: 20 + text % 180)
            return Envelope(identity: Hash.digest(.sha256, Array("\(text)".utf8)), data: data).bytes
        }
        var metaRange = ""
        var model: [Key: [UInt8]] = [:]
        for round in 0..<5 {
            var changes: [Key: [UInt8]?] = [:]
            let count = [0, 1, 3, 30, 400, 3000][round == 0 ? 5 : Int.random(in: 0..<6, using: &random)]
            let isDense = Bool.random(using: &random)
            let start = Int.random(in: 0..<4000, using: &random)
            for index in 0..<count {
                let number = isDense ? start + index : Int.random(in: 0..<6000, using: &random)
                let key = Key("dir\(number % 3)/key-\(number)")
                if Int.random(in: 0..<5, using: &random) == 0 {
                    changes.updateValue(nil, forKey: key)
                } else {
                    changes[key] = envelope(Int.random(in: 0..<100_000, using: &random))
                }
            }
            let sorted = changes.sorted { $0.key < $1.key }.map { (key: $0.key, envelope: $0.value) }
            var cursor = Changes(sorted)
            let made = try store.apply(
                &cursor, to: metaRange, in: namespace, mostUnitBytes: seed % 3 == 0 ? 2000 : 16 << 20)
            let wanted = try walk(sorted, over: metaRange, store)
            #expect(made.metaRange == wanted.metaRange && made.count == wanted.count, "seed \(seed), round \(round)")
            for (key, value) in sorted { model[key] = value }
            metaRange = made.metaRange
            // And the tree holds what it should, by either way of walking, and every key by itself.
            for walker in [try store.scan(metaRange, in: namespace), try store.cursor(metaRange, in: namespace)] {
                var found: [Key: [UInt8]] = [:]
                while try walker.nextRecord() { found[Key(walker.key!)] = try walker.envelope().bytes }
                #expect(found == model, "seed \(seed), round \(round)")
            }
            for key in model.keys.sorted().prefix(20) {
                #expect(try store.record(key, metaRange: metaRange, in: namespace)?.bytes == model[key])
            }
        }
    }

    /// Blocks that both sides hold are passed over; what differs is found all the same, wherever it lies in a block.
    @Test(arguments: 1...6) func diffsSkipOnlyWhatIsEqual(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let pool = WorkerPool(name: "apply", width: 2)
        defer { pool.stop() }
        let store = CommittedStore(objects: MemoryObjectStore(), pool: pool, cacheBytes: 1 << 18)
        func tree(_ records: [Key: Int]) throws -> String {
            let writer = MetaRangeWriter(store: store, namespace: namespace)
            for (key, value) in records.sorted(by: { $0.key < $1.key }) {
                try writer.add(
                    key.bytes,
                    Envelope(
                        identity: Hash.digest(.sha256, Array("\(value)".utf8)),
                        data: [UInt8](repeating: 7, count: 60 + value % 40)
                    ).bytes)
            }
            return try writer.finish()
        }
        let left = Dictionary(uniqueKeysWithValues: (0..<5000).map { (Key("key-\(100_000 + $0 * 3)"), $0) })
        var right = left
        for _ in 0..<Int.random(in: 1...30, using: &random) {
            let number = Int.random(in: 0..<15_000, using: &random)
            let key = Key("key-\(100_000 + number)")
            if Bool.random(using: &random) { right[key] = nil } else { right[key] = number + 1_000_000 }
        }
        let diff = MetaRangeDiff(try store.scan(tree(left), in: namespace), try store.scan(tree(right), in: namespace))
        var found: Set<Key> = []
        while let difference = try diff.next() {
            #expect(found.insert(difference.key).inserted)
            #expect(
                (difference.left == nil) == (left[difference.key] == nil)
                    && (difference.right == nil) == (right[difference.key] == nil))
        }
        #expect(found == Set(left.keys).union(right.keys).filter { left[$0] != right[$0] })
    }

    /// Merges that take over blocks of both sides against merges record by record: the same metaranges, hence the same
    /// bytes. The last seeds have changes right behind a block that both sides hold.
    @Test(arguments: Array(1...20) + [121, 295, 314]) func mergesTakeOnlyWhatStays(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let pool = WorkerPool(name: "apply", width: 2)
        let store = self.store(pool, seed, raggedness: [40, 700, 5000, 50_000].randomElement(using: &random)!)
        defer { pool.stop() }
        func tree(_ records: [Key: Int], over base: String) throws -> String {
            let sorted = records.sorted { $0.key < $1.key }.map { key, value in
                // Values of many lengths, so that blocks end at other places after a change; -1 removes.
                (
                    key: key,
                    envelope: value < 0
                        ? nil
                        : Envelope(
                            identity: Hash.digest(.sha256, Array("\(value)".utf8)),
                            data: [UInt8](repeating: UInt8(value & 0xff), count: 60 + value % 90)
                        ).bytes
                )
            }
            var changes = Changes(sorted)
            return try store.apply(&changes, to: base, in: namespace).metaRange
        }
        let base = try tree(
            Dictionary(uniqueKeysWithValues: (0..<6000).map { (Key("key-\(100_000 + $0 * 3)"), $0) }), over: "")
        // Each side changes keys of its own, the more the odder the seed; some next to one another.
        var taken: Set<Int> = []
        func side(_ salt: Int) -> [Key: Int] {
            var changes: [Key: Int] = [:]
            for _ in 0..<[3, 30, 300].randomElement(using: &random)! {
                let start = Int.random(in: 0..<18_000, using: &random)
                for number in start..<start + [1, 1, 4].randomElement(using: &random)!
                where taken.insert(number).inserted {
                    changes[Key("key-\(100_000 + number)")] =
                        Int.random(in: 0..<4, using: &random) == 0 ? -1 : salt + number
                }
            }
            return changes
        }
        let ours = side(100_000)
        let theirs = side(200_000)
        let destination = try tree(ours, over: base)
        let source = try tree(theirs, over: base)
        let merged = try store.merge(source: source, into: destination, base: base, strategy: .none, in: namespace)
        // With something to hide, be it behind all keys, every record is looked at.
        let recordByRecord = try store.merge(
            source: source, into: destination, base: base, strategy: .none, hiding: [KeySpan(only: "z")], in: namespace)
        #expect(merged == recordByRecord, "seed \(seed)")
        func contents(_ metaRange: String) throws -> [Key: [UInt8]] {
            var found: [Key: [UInt8]] = [:]
            let walker = try store.scan(metaRange, in: namespace)
            while try walker.nextRecord() { found[Key(walker.key!)] = try walker.envelope().bytes }
            return found
        }
        #expect(try contents(merged) == contents(tree(theirs, over: destination)), "seed \(seed)")
    }
}
