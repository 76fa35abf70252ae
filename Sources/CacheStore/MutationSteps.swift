import Foundations
import Versioning

/// A batch of mutations as what becomes of each key: at most one step a key, in the order in which they came.
struct MutationSteps {
    enum Change: Equatable {
        case set([UInt8])
        case remove
    }
    struct Step {
        let partition: Partition
        let key: Key
        /// What the key must be before.
        var condition: Precondition?
        /// Nil leaves it as it is.
        var change: Change?
    }
    private(set) var all: [Step] = []
    private struct Name: Hashable { let partition: Partition, key: Key }

    /// Nil if the batch requires things of a key that exclude each other: no store can hold what it wants.
    init?(_ batch: [Mutation]) {
        var places: [Name: Int] = [:]
        func step(_ partition: Partition, _ key: Key, _ steps: inout [Step]) -> Int {
            let name = Name(partition: partition, key: key)
            if let place = places[name] { return place }
            steps.append(Step(partition: partition, key: key))
            places[name] = steps.count - 1
            return steps.count - 1
        }
        for mutation in batch {
            switch mutation {
            case .require(let partition, let key, let condition):
                let place = step(partition, key, &all)
                guard let joint = Self.both(all[place].condition, condition) else { return nil }
                all[place].condition = joint
            case .set(let partition, let key, let value): all[step(partition, key, &all)].change = .set(value)
            case .remove(let partition, let key): all[step(partition, key, &all)].change = .remove
            }
        }
    }

    private static func both(_ first: Precondition?, _ second: Precondition) -> Precondition? {
        switch (first, second) {
        case (nil, _): second
        case (.absent, .absent), (.present, .present): first
        case (.matches(let left), .matches(let right)): left == right ? first : nil
        case (.present, .matches): second
        case (.matches, .present): first
        default: nil
        }
    }
}
