package import Foundations

extension Catalog {
    /// Writes, for every folder under `prefix`, a file with the addresses of its objects: what Hive and Presto read as
    /// a table. They lie at `symlinks/<repository>/<branch>/<folder>/symlink.txt` in the namespace.
    /// - Returns: the address of `symlinks`.
    /// - Throws: `.notFound(.object)` if there is no object under the prefix.
    package func writeSymlinks(_ prefix: Key, of ref: String, in repositoryID: RepositoryID) throws -> String {
        let resolved = try resolve(ref, in: repositoryID)
        let namespace = try resolved.repository.namespace
        var folders = [prefix]
        var isFound = false
        while let folder = folders.popLast() {
            let (found, inner) = try writeSymlinks(in: folder, of: resolved, named: ref)
            isFound = isFound || found
            folders += inner
        }
        guard isFound else { throw LakeError.notFound(.object, prefix.isEmpty ? ref : prefix.description) }
        return namespace.location("symlinks").description
    }

    /// Writes the file of one folder, if it has objects, and tells which folders lie in it.
    private func writeSymlinks(in folder: Key, of ref: ResolvedRef, named name: String) throws -> (
        found: Bool, folders: [Key]
    ) {
        let namespace = try ref.repository.namespace
        var query = ListQuery()
        var folders: [Key] = []
        var writer: (any ObjectWriter)?
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
                    let target =
                        try writer
                        ?? objects.makeWriter(namespace.location(Self.symlinkPath(ref.repository.id, name, folder)))
                    writer = target
                    try unsafe line.withUnsafeBytes { unsafe try target.write($0) }
                }
            }
            guard page.hasMore, let last = page.items.last else { break }
            query.after = last.path
        }
        _ = try writer?.finish(.durable)
        return (writer != nil, folders)
    }

    private static func symlinkPath(_ repository: RepositoryID, _ ref: String, _ folder: Key) -> String {
        // A prefix may end in the middle of a name: its objects lie in the folder before it.
        let folder = Key(Array(folder.bytes.prefix((folder.bytes.lastIndex(of: 0x2f) ?? -1) + 1)))
        // Parts that are no names of folders get one: keys may have them.
        let parts = folder.description.split(separator: "/", omittingEmptySubsequences: false).dropLast(
            folder.bytes.last == 0x2f ? 1 : 0
        ).map { part in
            part.isEmpty ? "%" : part == "." ? "%2E" : part == ".." ? "%2E%2E" : String(part)
        }
        return (["symlinks", repository.text, ref] + (folder.isEmpty ? [] : parts) + ["symlink.txt"]).joined(
            separator: "/")
    }
}
