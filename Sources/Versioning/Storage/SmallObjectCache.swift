import Foundations

/// Bytes of small objects, which never change. Not generic, so that other modules call it as fast as this one.
package final class SmallObjectCache: Sendable {
    private let objects: ShardedCache<ObjectLocation, [UInt8]>

    /// - Parameter budget: in bytes.
    package init(budget: Int) { objects = ShardedCache(budget: budget) }

    package subscript(location: ObjectLocation) -> [UInt8]? { objects[location] }

    package func insert(_ bytes: [UInt8], at location: ObjectLocation) {
        objects.insert(bytes, for: location, cost: bytes.count + 256)
    }
}
