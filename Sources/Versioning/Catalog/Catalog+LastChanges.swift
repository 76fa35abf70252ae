package import Foundations

extension Catalog {
    /// Which commit changed each entry of a folder last, as far back as there is time for.
    /// - Parameters:
    ///   - names: objects and common prefixes (with the slash) right below `prefix`.
    ///   - milliseconds: how long it may take; what is older then is not told.
    /// - Returns: the commits of those that were found. A merge counts as the change of what it brought.
    package func lastChanges(
        of names: Set<Key>, below prefix: Key, at ref: String, in repositoryID: RepositoryID, milliseconds: Int64
    ) throws -> [Key: (id: CommitID, commit: Commit)] {
        let deadline = Timestamp.monotonicMilliseconds() + milliseconds
        var missing = names
        var found: [Key: (id: CommitID, commit: Commit)] = [:]
        var query = LogQuery()
        query.firstParentOnly = true
        while !missing.isEmpty {
            let page = try log(ref, in: repositoryID, query)
            for made in page.items {
                guard !missing.isEmpty, Timestamp.monotonicMilliseconds() < deadline else { return found }
                guard let parent = made.commit.parents.first else {
                    for name in missing { found[name] = made }
                    return found
                }
                var changes = DiffQuery()
                changes.prefix = prefix
                changes.delimiter = "/"
                changes.limit = 1000
                while !missing.isEmpty {
                    let page = try diff(parent.text, made.id.text, isThreeDot: false, in: repositoryID, changes)
                    for change in page.items where missing.remove(change.path) != nil { found[change.path] = made }
                    guard page.hasMore, let last = page.items.last,
                        Timestamp.monotonicMilliseconds() < deadline
                    else { break }
                    changes.after = last.path
                }
            }
            guard page.hasMore, let last = page.items.last else { break }
            query.after = last.id.text
        }
        return found
    }

    /// Objects below a prefix, and their bytes.
    /// - Parameter most: objects that are counted; `isWhole` is false if there are more.
    package func size(below prefix: Key, at ref: ResolvedRef, most: Int) throws -> (
        objects: Int, bytes: Int64, isWhole: Bool
    ) {
        var query = ListQuery()
        query.prefix = prefix
        query.limit = 1000
        var (objects, bytes) = (0, Int64(0))
        while true {
            let page = try list(ref, query)
            for case .object(_, let entry) in page.items {
                objects += 1
                bytes += entry.size
            }
            guard page.hasMore, let last = page.items.last else { return (objects, bytes, true) }
            guard objects < most else { return (objects, bytes, false) }
            query.after = last.path
        }
    }
}
