import Foundations
import Versioning

/// Writes of several callers as one transaction: what becomes of each key, sorted, so that transactions that meet wait
/// for each other in one order.
struct PostgresPlan {
    /// What a key must be, and what is done to it.
    private struct Step {
        var condition: Precondition?
        /// Nil leaves it as it is.
        var change: MutationSteps.Change?
        /// Requests that asked for it.
        var members: Set<Int> = []
    }
    private struct Name: Hashable, Comparable {
        let partition: Partition, key: Key
        static func < (left: Name, right: Name) -> Bool {
            left.partition == right.partition ? left.key < right.key : left.partition.name < right.partition.name
        }
    }

    enum Addition {
        case added
        /// It touches a key that another one does: it comes in another transaction.
        case later
        /// It requires two things of a key that exclude each other.
        case contradiction
    }

    private let table: PostgresTable
    private var steps: [Name: Step] = [:]
    private(set) var members: Set<Int> = []
    var count: Int { steps.count }

    /// The condition of a write did not hold.
    static let changed = StoreError(.preconditionFailed, "a record was changed by another writer")

    init(_ table: PostgresTable) { self.table = table }

    mutating func add(_ batch: [Mutation], as member: Int) -> Addition {
        guard let wanted = MutationSteps(batch) else { return .contradiction }
        let own = wanted.all.map { step in
            (Name(partition: step.partition, key: step.key), Step(condition: step.condition, change: step.change))
        }
        // Only what all of them merely look at may be of several.
        for (name, step) in own {
            guard let other = steps[name] else { continue }
            guard step.change == nil, other.change == nil, step.condition == other.condition else { return .later }
        }
        for (name, step) in own {
            steps[name, default: step].members.insert(member)
        }
        members.insert(member)
        return .added
    }

    mutating func drop(_ some: Set<Int>) {
        members.subtract(some)
        for name in Array(steps.keys) {
            steps[name]!.members.subtract(some)
            if steps[name]!.members.isEmpty { steps[name] = nil }
        }
    }

    /// The statements, and whose each one is. One whose condition does not hold fails, and all with it: by a division by
    /// zero, or as a key that is there already.
    func statements(isEventual: Bool) -> (statements: [PostgresStatement], owners: [Set<Int>]) {
        var statements: [PostgresStatement] = []
        var owners: [Set<Int>] = []
        func add(_ sql: String, _ values: [PostgresValue], _ members: Set<Int>) {
            statements.append(PostgresStatement(sql, values))
            owners.append(members)
        }
        if isEventual { add("SELECT set_config('synchronous_commit', 'off', true)", [], members) }
        var placeholders: [Name] = []
        let sorted = steps.keys.sorted()
        var index = 0
        while index < sorted.count {
            let name = sorted[index]
            let step = steps[name]!
            let part = table.part(of: name.partition)
            let own: [PostgresValue] = [.bytes(name.partition.name.bytes), .bytes(name.key.bytes)]
            let place = "partition_key = $1 AND key = $2"
            let insertion = "INSERT INTO \(part) (partition_key, key, value) VALUES ($1, $2, $3)"
            func unlessNone(_ sql: String) -> String { "WITH w AS (\(sql)) SELECT 1 / count(*) FROM w" }
            switch (step.condition, step.change) {
            case (nil, nil): break
            case (nil, let change?):
                // As many of one partition as come in a row go in one statement.
                var end = index + 1
                while end < sorted.count, sorted[end].partition == name.partition, let next = steps[sorted[end]],
                    next.condition == nil, let other = next.change, (other == .remove) == (change == .remove)
                { end += 1 }
                let names = sorted[index..<end]
                let keys = names.map(\.key.bytes)
                let together = names.reduce(into: Set<Int>()) { $0.formUnion(steps[$1]!.members) }
                if change == .remove {
                    add(
                        "DELETE FROM \(part) WHERE partition_key = $1 AND key = ANY ($2::bytea[])",
                        [own[0], .list(keys)], together)
                } else {
                    add(
                        """
                        INSERT INTO \(part) (partition_key, key, value) SELECT $1, k, v
                        FROM unnest($2::bytea[], $3::bytea[]) AS t (k, v)
                        ON CONFLICT (partition_key, key) DO UPDATE SET value = excluded.value
                        """,
                        [
                            own[0], .list(keys),
                            .list(names.map { if case .set(let value)? = steps[$0]!.change { value } else { [] } }),
                        ], together)
                }
                index = end
                continue
            case (.absent, .set(let value)): add(insertion, own + [.bytes(value)], step.members)
            case (.absent, _):
                // It must stay away until the transaction ends: held by a row that nobody sees.
                add(insertion, own + [.bytes([])], step.members)
                placeholders.append(name)
            case (.present, nil):
                add(unlessNone("SELECT 1 FROM \(part) WHERE \(place) FOR SHARE"), own, step.members)
            case (.present, .set(let value)):
                add(
                    unlessNone("UPDATE \(part) SET value = $3 WHERE \(place) RETURNING 1"), own + [.bytes(value)],
                    step.members)
            case (.present, .remove):
                add(unlessNone("DELETE FROM \(part) WHERE \(place) RETURNING 1"), own, step.members)
            case (.matches(let old), nil):
                add(
                    unlessNone("SELECT 1 FROM \(part) WHERE \(place) AND value = $3 FOR SHARE"), own + [.bytes(old)],
                    step.members)
            case (.matches(let old), .set(let value)):
                add(
                    unlessNone("UPDATE \(part) SET value = $3 WHERE \(place) AND value = $4 RETURNING 1"),
                    own + [.bytes(value), .bytes(old)], step.members)
            case (.matches(let old), .remove):
                add(
                    unlessNone("DELETE FROM \(part) WHERE \(place) AND value = $3 RETURNING 1"), own + [.bytes(old)],
                    step.members)
            }
            index += 1
        }
        for name in placeholders {
            add(
                "DELETE FROM \(table.part(of: name.partition)) WHERE partition_key = $1 AND key = $2",
                [.bytes(name.partition.name.bytes), .bytes(name.key.bytes)], steps[name]!.members)
        }
        return (statements, owners)
    }

    // MARK: looking afterwards

    /// Keys that a member's write concerns.
    func names(of member: Int) -> [(partition: Partition, key: Key)] {
        steps.filter { $0.value.members.contains(member) }.map { ($0.key.partition, $0.key.key) }
    }

    /// Whether the store looks as if a member's write had been made, or as if it had not been; nil for neither.
    /// - Parameter value: what a key has now.
    func isDone(_ member: Int, _ value: (Partition, Key) -> [UInt8]?) -> Bool? {
        let own = steps.filter { $0.value.members.contains(member) }
        let isDone = own.allSatisfy { name, step in
            let current = value(name.partition, name.key)
            return switch step.change {
            case nil: true
            case .set(let wanted): current == wanted
            case .remove: current == nil
            }
        }
        if isDone, own.contains(where: { $0.value.change != nil }) { return true }
        // A key that it would have changed and that is as it was required to be before was not changed.
        let isUntouched = own.contains { name, step in
            guard let condition = step.condition, step.change != nil, condition != .present else { return false }
            return condition.allows(value(name.partition, name.key))
        }
        return isUntouched ? false : nil
    }
}
