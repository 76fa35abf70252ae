package import Foundations

/// A key-value store whose calls are counted.
package final class MeteredKeyValueStore<Base: KeyValueStore>: KeyValueStore {
    private enum Call: Int, CaseIterable {
        case get, set, write, scan, removeAll, partitions
        var name: String { self == .removeAll ? "remove_all" : "\(self)" }
    }
    private let base: Base
    package let meter = CallMeter(Call.allCases.map(\.name))

    package init(_ base: Base) { self.base = base }

    package var capabilities: KeyValueCapabilities { base.capabilities }

    private func measure<Result>(_ call: Call, _ body: () throws(StoreError) -> Result) throws(StoreError) -> Result {
        try meter.measure(call.rawValue, body)
    }

    package func value(for key: Key, in partition: Partition) throws(StoreError) -> [UInt8]? {
        try measure(.get) { () throws(StoreError) in try base.value(for: key, in: partition) }
    }
    package func values(for names: [(partition: Partition, key: Key)]) throws(StoreError) -> [[UInt8]?] {
        try measure(.get) { () throws(StoreError) in try base.values(for: names) }
    }
    package func values(
        for names: [(partition: Partition, key: Key)],
        then done: @escaping @Sendable (Result<[[UInt8]?], StoreError>) -> Void
    ) {
        let begun = Timestamp.monotonicMicroseconds()
        base.values(for: names) { [meter] result in
            if case .failure = result {
                meter.add(Call.get.rawValue, since: begun, isFailure: true)
            } else {
                meter.add(Call.get.rawValue, since: begun, isFailure: false)
            }
            done(result)
        }
    }
    package func set(
        _ value: [UInt8], for key: Key, in partition: Partition, if condition: Precondition?, _ durability: Durability
    ) throws(StoreError) {
        try measure(.set) { () throws(StoreError) in
            try base.set(value, for: key, in: partition, if: condition, durability)
        }
    }
    package func write(_ batch: [Mutation], _ durability: Durability) throws(StoreError) {
        try measure(.write) { () throws(StoreError) in try base.write(batch, durability) }
    }
    package func write(
        _ batch: [Mutation], _ durability: Durability, then done: @escaping @Sendable (StoreError?) -> Void
    ) { meter.measure(Call.write.rawValue, then: done) { base.write(batch, durability, then: $0) } }
    package func page(of partition: Partition, from: Key?, before end: Key?, limit: Int) throws(StoreError) -> [(
        key: Key, value: [UInt8]
    )] {
        try measure(.scan) { () throws(StoreError) in
            try base.page(of: partition, from: from, before: end, limit: limit)
        }
    }
    package func removeAll(in partition: Partition) throws(StoreError) {
        try measure(.removeAll) { () throws(StoreError) in try base.removeAll(in: partition) }
    }
    package func partitions() throws(StoreError) -> [Partition] {
        try measure(.partitions) { () throws(StoreError) in try base.partitions() }
    }
    package func announce() { base.announce() }
    package func listen(_ heard: @escaping @Sendable () -> Void) -> Bool { base.listen(heard) }
}
