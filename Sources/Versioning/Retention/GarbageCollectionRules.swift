import Foundations

/// How long objects of commits that lie back are kept: a stored setting, read by garbage collection.
/// Source: `lakefs-formats.md` section 1 and 5.6; they lie in the object store, unlike other settings.
package struct GarbageCollectionRules: Sendable, Equatable {
    package var defaultDays: Int
    /// Branches with rules of their own, in the order they were set.
    package var branches: [(id: BranchName, days: Int)]

    package init(defaultDays: Int, branches: [(id: BranchName, days: Int)]) {
        self.defaultDays = defaultDays
        self.branches = branches
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(defaultDays: 0, branches: [])
        try readProtobuf(bytes) { field in
            if field.number == 1 { defaultDays = Int(field.signed) }
            guard field.number == 2 else { return }
            var id = ""
            var days = 0
            try readProtobuf(field.bytes) { entry in
                if entry.number == 1 { id = entry.string } else if entry.number == 2 { days = Int(entry.signed) }
            }
            branches.append((BranchName(id), days))
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.integer(1, Int64(defaultDays))
        for branch in branches {
            writer.message(2) {
                $0.always(1, Array(branch.id.text.utf8))
                $0.integer(2, Int64(branch.days))
            }
        }
        return writer.bytes
    }

    package static func == (left: GarbageCollectionRules, right: GarbageCollectionRules) -> Bool {
        left.encoded == right.encoded
    }
}

extension Catalog {
    private func rulesLocation(_ repository: Repository) throws -> ObjectLocation {
        try repository.namespace.location("_lakefs/retention/gc/rules/config.json")
    }

    /// - Throws: `.notFound(.rule)` if none were set.
    package func garbageCollectionRules(_ repositoryID: RepositoryID) throws -> GarbageCollectionRules {
        let location = try rulesLocation(repository(repositoryID))
        guard let size = try objects.size(of: location), size > 0 else {
            throw LakeError(.notFound(.rule), "repository \(repositoryID) has no garbage collection rules")
        }
        do { return try GarbageCollectionRules(decoding: objects.readAll(location)) } catch is ProtobufError {
            throw LakeError(.corrupt, "the garbage collection rules at \(location) are no message")
        }
    }

    package func setGarbageCollectionRules(_ rules: GarbageCollectionRules, in repositoryID: RepositoryID) throws {
        let repository = try writableRepository(repositoryID, force: false)
        for (name, days) in [("the default", rules.defaultDays)] + rules.branches.map({ ("branch \($0.id)", $0.days) })
        {
            guard (1...36_500).contains(days) else {
                throw LakeError(.invalidValue, "retention of \(days) days for \(name) is not valid: 1 to 36,500 are")
            }
        }
        try objects.put(rules.encoded, at: rulesLocation(repository))
    }

    /// Removes the rules; nothing happens if there are none.
    package func deleteGarbageCollectionRules(_ repositoryID: RepositoryID) throws {
        try objects.remove(rulesLocation(writableRepository(repositoryID, force: false)))
    }
}
