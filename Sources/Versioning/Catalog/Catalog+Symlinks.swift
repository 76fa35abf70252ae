extension Catalog {
    /// Writes, for every folder under `prefix`, a file with the addresses of its objects: what Hive and Presto read as a table.
    /// They lie at `symlinks/<repository>/<branch>/<folder>/symlink.txt` in the namespace.
    /// - Returns: the address of `symlinks`.
    /// - Throws: `.notFound(.object)` if there is no object under the prefix.
    package func writeSymlinks(_ prefix: Key, of ref: String, in repositoryID: String) throws -> String {
        let resolved = try resolve(ref, in: repositoryID), namespace = try resolved.repository.namespace
        guard try writeSymlinks(below: prefix, of: resolved, named: ref) else { throw LakeError.notFound(.object, prefix.isEmpty ? ref : prefix.description) }
        return namespace.location("symlinks").description
    }

    /// False if nothing is there.
    private func writeSymlinks(below folder: Key, of ref: ResolvedRef, named name: String) throws -> Bool {
        let namespace = try ref.repository.namespace
        var query = ListQuery(), folders: [Key] = [], writer: (any ObjectWriter)?
        query.prefix = folder
        query.delimiter = "/"
        query.limit = 1000
        while true {
            let page = try list(ref, query)
            for item in page.items {
                switch item {
                case .commonPrefix(let path): folders.append(path)
                case .object(_, let entry):
                    let line = Array((entry.fullAddress(in: namespace) + "\n").utf8)
                    let target = try writer ?? objects.makeWriter(namespace.location(Self.symlinkPath(ref.repository.id, name, folder)))
                    writer = target
                    try unsafe line.withUnsafeBytes { unsafe try target.write($0) }
                }
            }
            guard page.hasMore, let last = page.items.last else { break }
            query.after = last.path
        }
        _ = try writer?.finish(.durable)
        for inner in folders { _ = try writeSymlinks(below: inner, of: ref, named: name) }
        return writer != nil || !folders.isEmpty
    }

    private static func symlinkPath(_ repository: String, _ ref: String, _ folder: Key) -> String {
        (["symlinks", repository, ref] + folder.description.split(separator: "/").map(String.init) + ["symlink.txt"]).joined(separator: "/")
    }
}
