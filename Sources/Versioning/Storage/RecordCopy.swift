import Foundations

/// Brings all records of one key-value store into another one, and looks whether they are the same then. What is there
/// already is passed over, so that a copy that was cut off goes on where it was. Nobody may write to either meanwhile.
package struct RecordCopy {
    package struct Result: Sendable {
        package var copied = 0, same = 0, removed = 0, partitions = 0
        /// Records that either store holds, and a hash over all of them in order.
        package var count = 0
        package var hash = ""
    }

    private let source: any KeyValueStore
    private let target: any KeyValueStore
    private let isSkipped: (Partition) -> Bool
    private let progress: (String) -> Void
    private static let pageSize = 1000

    /// - Parameters:
    ///   - isSkipped: partitions that stay behind.
    ///   - progress: told how far it is.
    package init(
        from source: any KeyValueStore, to target: any KeyValueStore, skipping isSkipped: @escaping (Partition) -> Bool,
        _ progress: @escaping (String) -> Void
    ) {
        self.source = source
        self.target = target
        self.isSkipped = isSkipped
        self.progress = progress
    }

    /// - Parameter replaces: whether what differs there is replaced, and what is not here removed.
    /// - Throws: `.alreadyExists` if the target holds other records and they are not to be replaced; `.corrupt` if the
    ///   stores differ at the end.
    package func run(replaces: Bool) throws -> Result {
        var result = Result()
        let partitions = try source.partitions().filter { !isSkipped($0) }
        let others = Set(try target.partitions().filter { !isSkipped($0) }).subtracting(partitions)
        if let other = others.min(by: { $0.name < $1.name }) {
            guard replaces else { throw Self.foreign("partition \(other)") }
            for partition in others { try target.removeAll(in: partition) }
        }
        for partition in partitions {
            try copy(partition, replaces: replaces, &result)
            result.partitions += 1
            progress("\(result.partitions) of \(partitions.count) partitions, \(result.copied) records copied")
        }
        progress("comparing")
        let (own, theirs) = (try sum(source), try sum(target))
        guard own == theirs else {
            throw LakeError(
                .corrupt,
                "the stores differ after the copy: \(own.count) and \(theirs.count) records; somebody writes to one of them: stop the servers, and copy again"
            )
        }
        (result.count, result.hash) = own
        return result
    }

    private static func foreign(_ what: String) -> LakeError {
        LakeError(
            .alreadyExists(.settings),
            "the store to copy to holds other records (\(what)): copy to an empty one, or replace them with --force")
    }

    private func copy(_ partition: Partition, replaces: Bool, _ result: inout Result) throws {
        var here = PartitionCursor(source, partition, pageSize: Self.pageSize)
        var there = PartitionCursor(target, partition, pageSize: Self.pageSize)
        var batch: [Mutation] = []
        func write() throws {
            if !batch.isEmpty { try target.writeMany(batch, .durable) }
            batch = []
        }
        while true {
            let own = try here.current()
            let other = try there.current()
            if own == nil && other == nil { break }
            if let other, own.map({ other.key < $0.key }) ?? true {
                guard replaces else { throw Self.foreign("\(partition)/\(other.key)") }
                batch.append(.remove(partition, other.key))
                result.removed += 1
                there.advance()
            } else if let own {
                if let other, other.key == own.key {
                    if other.value == own.value {
                        result.same += 1
                    } else {
                        guard replaces else { throw Self.foreign("\(partition)/\(other.key)") }
                        batch.append(.set(partition, own.key, own.value))
                        result.copied += 1
                    }
                    there.advance()
                } else {
                    batch.append(.set(partition, own.key, own.value))
                    result.copied += 1
                }
                here.advance()
            }
            if batch.count >= Self.pageSize { try write() }
        }
        try write()
    }

    /// The number of records, and a hash of all in order.
    private func sum(_ store: any KeyValueStore) throws -> (count: Int, hash: String) {
        var count = 0
        var hash = Hash(.sha256)
        for partition in try store.partitions() where !isSkipped(partition) {
            var cursor = PartitionCursor(store, partition, pageSize: Self.pageSize)
            while let record = try cursor.current() {
                for bytes in [partition.name.bytes, record.key.bytes, record.value] {
                    hash.update("\(bytes.count):")
                    hash.update(bytes)
                }
                count += 1
                cursor.advance()
            }
        }
        return (count, Hex.text(hash.finish()))
    }
}
