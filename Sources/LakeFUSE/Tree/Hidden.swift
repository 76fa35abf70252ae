import Foundations
import Versioning

/// Paths of the branch that do not show by themselves: what they hold was removed here, or has another name, or
/// several. Each is held by the nodes that say so, and shows again when none does.
struct Hidden {
    private var owners: [Key: [ObjectIdentifier]] = [:]

    var isEmpty: Bool { owners.isEmpty }

    func contains(_ path: Key) -> Bool { owners[path] != nil }

    /// Whether somebody else holds it.
    func contains(_ path: Key, but node: Node) -> Bool {
        owners[path]?.contains { $0 != ObjectIdentifier(node) } == true
    }

    mutating func insert(_ path: Key, _ node: Node) {
        let owner = ObjectIdentifier(node)
        if owners[path]?.contains(owner) != true { owners[path, default: []].append(owner) }
    }

    mutating func remove(_ path: Key, _ node: Node) {
        let owner = ObjectIdentifier(node)
        guard var all = owners[path] else { return }
        all.removeAll { $0 == owner }
        owners[path] = all.isEmpty ? nil : all
    }
}
