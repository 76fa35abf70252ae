import Foundations

/// Verifies a lake that nobody uses meanwhile: records, commits, tables, entries, objects; and finds what nobody names.
/// It reads everything once. Memory: some 30 bytes for each object of the largest repository.
package final class LakeCheck {
    package struct Options: Sendable {
        /// Objects are read and held against their checksums.
        package var readsObjects = true
        /// What nobody names is removed. Damage is only told: what is lost cannot be made up.
        package var repairs = false
        /// Addresses of objects that something outside of the store names: in any repository.
        package var named: Set<String> = []
        package init() {}
    }

    /// What was looked at.
    package private(set) var repositories = 0, commits = 0, tables = 0, entries = 0, objects = 0
    /// Things that are not what they must be.
    package private(set) var faults = 0
    /// Things that nobody names, and their bytes; what was removed of them.
    package private(set) var leftovers = 0, leftoverBytes: Int64 = 0, removed = 0

    private let catalog: Catalog
    private let options: Options
    private let tell: (String) -> Void
    private var store: any KeyValueStore { catalog.store }

    /// - Parameter tell: is given a line for each fault and each leftover.
    package init(_ catalog: Catalog, _ options: Options, tell: @escaping (String) -> Void) {
        self.catalog = catalog
        self.options = options
        self.tell = tell
    }

    private func fault(_ text: String) {
        faults += 1
        tell("damaged: \(text)")
    }

    /// Notes something that nobody names, and removes it if that is asked for.
    private func leftover(_ text: String, bytes: Int64 = 0, _ remove: () throws -> Void) throws {
        leftovers += 1
        leftoverBytes += bytes
        if options.repairs {
            try remove()
            removed += 1
        }
        tell("\(options.repairs ? "removed" : "nobody names"): \(text)")
    }

    /// Runs `body`; what it finds unreadable is a fault.
    private func noting(_ what: @autoclosure () -> String, _ body: () throws -> Void) {
        do { try body() } catch { fault("\(what()): \(LakeError(error).message)") }
    }

    package func run() throws {
        try checkUsers()
        var all: [Repository] = []
        var isComplete = true
        var cursor = PartitionCursor(store, RefStore.graveler, from: "repos/", before: Key("repos/").upperBound)
        while let record = try cursor.current() {
            cursor.advance()
            do { all.append(try Repository(decoding: record.value)) } catch {
                isComplete = false
                fault("the record of \(record.key): \(LakeError(error).message)")
            }
        }
        var checks: [RepositoryCheck] = []
        for repository in all where repository.state == .active {
            repositories += 1
            let check = RepositoryCheck(self, repository)
            noting("repository \(repository.id)") { try check.run() }
            checks.append(check)
        }
        // Nothing is removed of what something unreadable may name. Two repositories in one place name each other's
        // objects.
        isComplete =
            try sweepPartitions(of: checks, all, isComplete: isComplete && checks.allSatisfy(\.isComplete))
            && isComplete
        for check in checks where isComplete && check.isComplete && !all.contains(where: { check.overlaps($0) }) {
            noting("the objects of repository \(check.repository.id)") { try check.sweep() }
        }
        if options.repairs, !isComplete || checks.contains(where: { !$0.isComplete }) {
            tell("kept: what nobody seems to name, where something is damaged that may name it")
        }
    }

    private func checkUsers() throws {
        var cursor = PartitionCursor(store, Partition("auth"))
        while let record = try cursor.current() {
            cursor.advance()
            noting("the record of \(record.key)") {
                if record.key.hasPrefix("users/") { _ = try User(decoding: record.value) }
                if record.key.hasPrefix("policies/") { _ = try Policy(decoding: record.value) }
            }
        }
    }

    /// Staging tokens, parts and imports that no record names.
    /// - Returns: whether nothing was met that may name objects and belongs to nobody.
    private func sweepPartitions(of checks: [RepositoryCheck], _ repositories: [Repository], isComplete: Bool) throws
        -> Bool
    {
        let known = Set(repositories.map(\.partition))
        let tokens = checks.reduce(into: Set<Key>()) { $0.formUnion($1.tokens) }
        var isClean = true
        for partition in try store.partitions() {
            let name = partition.description
            if RefStore.isStaging(partition) {
                if tokens.contains(partition.name) { continue }
                // Emptied in the background when it was dropped: that goes on at the next start.
                if try store.value(for: partition.name, in: RefStore.cleanupTokens) != nil { continue }
                if name.hasPrefix(MultipartUpload.partsPrefix) {
                    let upload = Key(String(name.dropFirst(MultipartUpload.partsPrefix.count)))
                    if try store.value(for: upload, in: MultipartUpload.partition) != nil { continue }
                    if isComplete { try leftover("the records of \(name)") { try store.removeAll(in: partition) } }
                    continue
                }
                // Never removed: they may be the uncommitted changes of a branch whose record is lost.
                leftovers += 1
                isClean = false
                tell("nobody names: the records of \(name): kept, they may be changes of a branch that is lost")
            } else if let mark = name.lastIndex(of: "-"), XID.bytes(name[name.index(after: mark)...]) != nil,
                !known.contains(partition)
            {
                // Never removed: it may be the record of the repository that is lost.
                fault("the records of \(name) belong to a repository of which there is no record")
                isClean = false
            }
        }
        return isClean
    }

    // MARK: one repository

    private final class RepositoryCheck {
        private let check: LakeCheck
        let repository: Repository
        private var catalog: Catalog { check.catalog }
        /// Staging tokens of its branches.
        private(set) var tokens: Set<Key> = []
        /// All that names objects was read, and all of it is right.
        private(set) var isComplete = false
        private var isDamaged = false
        private var hasCommits = false
        private var metaRanges: Set<String> = [], ranges: Set<String> = []
        /// Objects that are named, by a hash of their addresses: of 64 bits, so that ten million seldom meet.
        private var named: Set<Int> = []

        init(_ check: LakeCheck, _ repository: Repository) {
            self.check = check
            self.repository = repository
        }

        private func noting(_ what: @autoclosure () -> String, _ body: () throws -> Void) {
            do { try body() } catch {
                isDamaged = true
                check.fault("\(repository.id): \(what()): \(LakeError(error).message)")
            }
        }

        private func fault(_ text: String) {
            isDamaged = true
            check.fault("\(repository.id): \(text)")
        }

        /// Whether another repository has objects where this one's are, or above or below.
        func overlaps(_ other: Repository) -> Bool {
            guard other.partition != repository.partition else { return false }
            guard let here = try? repository.namespace.location("").description.utf8,
                let there = try? other.namespace.location("").description.utf8
            else { return true }
            return here.starts(with: there) || there.starts(with: here)
        }

        private func records(_ folder: Key, _ body: (Key, [UInt8]) throws -> Void) throws {
            var cursor = PartitionCursor(check.store, repository.partition, from: folder, before: folder.upperBound)
            while let record = try cursor.current() {
                cursor.advance()
                noting("the record \(record.key)") {
                    try body(Key(Array(record.key.bytes.dropFirst(folder.count))), record.value)
                }
            }
        }

        func run() throws {
            let namespace = try repository.namespace
            try records("commits/") { key, value in
                let commit = try Commit(decoding: value)
                check.commits += 1
                hasCommits = true
                if Key(commit.id.text) != key {
                    fault("commit \(key) is not the one that its content gives: \(commit.id)")
                }
                for parent in commit.parents {
                    guard let found = try catalog.refs.findCommit(parent, in: repository) else {
                        fault("commit \(key) names a parent that is not there: \(parent)")
                        continue
                    }
                    if found.generation >= commit.generation {
                        fault(
                            "commit \(key) has generation \(commit.generation), its parent \(parent) \(found.generation)"
                        )
                    }
                }
                checkMetaRange(commit.metaRangeID, of: "commit \(key)", in: namespace)
            }
            try records("tags/") { key, value in
                let tag = try Tag(decoding: value)
                if try catalog.refs.findCommit(tag.commitID, in: repository) == nil {
                    fault("tag \(key) names a commit that is not there: \(tag.commitID)")
                }
            }
            try records("branches/") { key, value in
                let branch = try Branch(decoding: value)
                tokens.formUnion(branch.tokens.map { $0.partition.name })
                if try catalog.refs.findCommit(branch.commitID, in: repository) == nil {
                    fault("branch \(key) names a commit that is not there: \(branch.commitID)")
                }
                for token in branch.tokens { try checkStaged(token, of: "branch \(key)", in: namespace) }
                if let bytes = try check.store.value(
                    for: Compaction.key(branch.id, in: repository), in: Compaction.partition)
                {
                    let compaction = try Compaction(decoding: bytes)
                    if compaction.fits(branch) {
                        checkMetaRange(compaction.metaRange, of: "the compaction of branch \(key)", in: namespace)
                    }
                }
            }
            try records("tasks/") { key, value in
                // Other tasks have other things there.
                guard [TaskRecord.Kind.dump, .restore].contains(where: { key.description.hasPrefix($0.prefix) }),
                    let info = try TaskRecord(decoding: value).info, let dump = try? RefsDump(decoding: info)
                else {
                    return
                }
                keepTables(of: dump, in: namespace)
            }
            noting("the manifest of dumped refs") {
                do {
                    let manifest = try catalog.objects.read(
                        namespace.location("_lakefs/refs_manifest.json"), 0..<(1 << 20))
                    guard let dump = RefsDump(manifest: manifest) else {
                        throw LakeError(.corrupt, "it cannot be read")
                    }
                    keepTables(of: dump, in: namespace)
                } catch let error as StoreError where error.code == .notFound {}
            }
            try nameUploads()
            // Between the making of a bare repository and the restore of its refs, nothing names what is there.
            isComplete = !isDamaged && hasCommits
        }

        private func checkStaged(_ token: StagingToken, of owner: String, in namespace: StorageNamespace) throws {
            var cursor = PartitionCursor(check.store, token.partition)
            while let record = try cursor.current() {
                cursor.advance()
                noting("the uncommitted change of \(record.key) on \(owner)") {
                    guard let envelope = try StagedEntry(key: record.key, decoding: record.value).envelope else {
                        return
                    }
                    try checkEntry(envelope, record.key, of: owner, in: namespace)
                }
            }
        }

        /// Verifies a table's id; nil if it cannot be read.
        private func table(_ id: String, as range: CommittedRange?, of owner: String, in namespace: StorageNamespace)
            -> TableReader?
        {
            var found: TableReader?
            noting("table \(id) of \(owner)") {
                let table = try catalog.committed.table(id, in: namespace, as: range)
                try catalog.committed.wrap(id) {
                    let content = try table.contentID()
                    guard content == id else { throw SSTableError.otherTable(content) }
                }
                check.tables += 1
                found = table
            }
            return found
        }

        private func checkMetaRange(_ id: String, of owner: String, in namespace: StorageNamespace) {
            guard !id.isEmpty, metaRanges.insert(id).inserted, let table = table(id, as: nil, of: owner, in: namespace)
            else { return }
            noting("metarange \(id) of \(owner)") {
                let cursor = table.scan()
                var last: CommittedRange?
                while try cursor.advance() {
                    let range = try CommittedRange(decoding: cursor.value)
                    if range.maxKey < range.minKey || last.map({ !($0.maxKey < range.minKey) }) ?? false {
                        fault("metarange \(id) of \(owner): range \(range.id) is not in order")
                    }
                    last = range
                    checkRange(range, of: owner, in: namespace)
                }
            }
        }

        private func checkRange(_ range: CommittedRange, of owner: String, in namespace: StorageNamespace) {
            guard ranges.insert(range.id).inserted, let table = table(range.id, as: range, of: owner, in: namespace)
            else { return }
            noting("range \(range.id) of \(owner)") {
                let cursor = table.scan()
                var count: Int64 = 0
                while try cursor.advance() {
                    count += 1
                    let key = Key(cursor.key)
                    noting("the entry of \(key) in range \(range.id)") {
                        try checkEntry(Envelope(decoding: cursor.value), key, of: owner, in: namespace)
                    }
                }
                if count != range.count {
                    fault("range \(range.id) of \(owner) has \(count) entries where its metarange says \(range.count)")
                }
            }
        }

        private func checkEntry(_ envelope: Envelope, _ key: Key, of owner: String, in namespace: StorageNamespace)
            throws
        {
            let entry = try Entry(decoding: envelope.data)
            let location = try entry.location(in: namespace)
            check.entries += 1
            // The same object under the same entry was looked at already; a shallow copy says the same of it.
            guard named.insert(location.hashValue).inserted else { return }
            check.objects += 1
            guard let size = try catalog.objects.size(of: location) else {
                return fault("the object of \(key) on \(owner) is missing: \(location)")
            }
            guard size == entry.size else {
                return fault(
                    "the object of \(key) on \(owner) has \(size) bytes where its entry says \(entry.size): \(location)"
                )
            }
            guard check.options.readsObjects, let wanted = entry.contentMD5 else { return }
            if try catalog.objects.md5(of: location, byteCount: size) != wanted {
                fault("the object of \(key) on \(owner) has another checksum than its entry says: \(location)")
            }
        }

        /// Tables of dumped refs are named by who keeps the dump.
        private func keepTables(of dump: RefsDump, in namespace: StorageNamespace) {
            for id in [dump.commits, dump.tags, dump.branches] where !id.isEmpty && metaRanges.insert(id).inserted {
                guard let table = table(id, as: nil, of: "dumped refs", in: namespace) else { continue }
                noting("metarange \(id) of dumped refs") {
                    let cursor = table.scan()
                    while try cursor.advance() {
                        let range = try CommittedRange(decoding: cursor.value)
                        if ranges.insert(range.id).inserted {
                            _ = self.table(range.id, as: range, of: "dumped refs", in: namespace)
                        }
                    }
                }
            }
        }

        /// Parts of uploads that go on belong to these.
        private func nameUploads() throws {
            let namespace = try repository.namespace
            var cursor = PartitionCursor(check.store, MultipartUpload.partition)
            while let record = try cursor.current() {
                cursor.advance()
                noting("the multipart upload \(record.key)") {
                    let upload = try MultipartUpload(decoding: record.value)
                    guard upload.repositoryID == repository.id else { return }
                    named.insert(namespace.location(upload.address).hashValue)
                    var parts = PartitionCursor(check.store, MultipartUpload.parts(record.key.description))
                    while let part = try parts.current() {
                        parts.advance()
                        named.insert(namespace.location(try UploadPart(decoding: part.value).address).hashValue)
                    }
                }
            }
        }

        /// A dump of refs, which a client may have the names of, or a table that cannot be read.
        private func holdsRefs(_ id: String, in namespace: StorageNamespace) -> Bool {
            guard let table = try? catalog.committed.table(id, in: namespace) else { return true }
            return table.properties["entity"].map {
                ["commit", "branch", "tag"].contains(String(decoding: $0, as: UTF8.self))
            } ?? false
        }

        /// Objects and tables in the namespace that nothing names. Other files there are not ours to judge.
        func sweep() throws {
            guard isComplete else { return }
            let namespace = try repository.namespace
            let root = namespace.location("").path
            let now = Timestamp.now().seconds
            for folder in ["data", "_lakefs"] {
                try catalog.objects.walk(namespace.location(folder)) { object in
                    // Other processes may be about to name what is young; clients too, by themselves.
                    let isYoung = now - object.modified < Catalog.directLeaseSeconds
                    if !catalog.isAlone, isYoung { return }
                    let relative = String(object.location.path.dropFirst(root.count))
                    if folder == "data" {
                        guard !named.contains(object.location.hashValue), !check.options.named.contains(relative) else {
                            return
                        }
                        if relative.hasSuffix(Entry.directSuffix), isYoung { return }
                    } else {
                        let id = String(relative.dropFirst("_lakefs/".count))
                        guard Names.isHex(id, 64...64), !metaRanges.contains(id), !ranges.contains(id),
                            !holdsRefs(id, in: namespace)
                        else { return }
                    }
                    try check.leftover("\(object.location), \(object.byteCount) bytes", bytes: object.byteCount) {
                        try catalog.objects.remove(object.location)
                    }
                }
            }
        }
    }
}

extension ObjectStore {
    /// The MD5 of an object's bytes.
    func md5(of location: ObjectLocation, byteCount: Int64) throws(StoreError) -> [UInt8] {
        if let piece = try file(location) {
            defer { piece.close() }
            return try piece.md5()
        }
        var hash = Hash(.md5)
        var pieces = ObjectPieces(of: location, 0..<byteCount, in: self)
        while let piece = try pieces.next() { hash.update(piece) }
        guard pieces.position == byteCount else {
            throw StoreError(.corrupt, "\(location) was cut while it was read")
        }
        return hash.finish()
    }
}
