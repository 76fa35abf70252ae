/// Verifies a lake that nobody uses meanwhile: records, commits, tables, entries, objects; and finds what nobody names.
/// It reads everything once. Memory: some 30 bytes for each object of the largest repository.
package final class LakeCheck {
    package struct Options: Sendable {
        /// Objects are read and held against their checksums.
        package var readsObjects = true
        /// What nobody names is removed. Damage is only told: what is lost cannot be made up.
        package var repairs = false
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
        var cursor = PartitionCursor(store, RefStore.graveler, from: "repos/", before: Key("repos/").upperBound)
        while let record = try cursor.current() {
            cursor.advance()
            noting("the record of \(record.key)") { all.append(try Repository(decoding: record.value)) }
        }
        var tokens: Set<Key> = []
        for repository in all where repository.state == .active {
            repositories += 1
            let check = RepositoryCheck(self, repository)
            noting("repository \(repository.id)") { try check.run() }
            tokens.formUnion(check.tokens)
            // Of a repository whose refs cannot all be read nobody knows what it names.
            if check.isComplete { noting("the objects of repository \(repository.id)") { try check.sweep() } }
        }
        try sweepPartitions(named: tokens, all)
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
    private func sweepPartitions(named tokens: Set<Key>, _ repositories: [Repository]) throws {
        let known = Set(repositories.map(\.partition))
        for partition in try store.partitions() {
            let name = partition.description
            if RefStore.isStaging(partition) {
                if tokens.contains(partition.name) { continue }
                // Emptied in the background when it was dropped: that goes on at the next start.
                if try store.value(for: partition.name, in: RefStore.cleanupTokens) != nil { continue }
                if name.hasPrefix(Catalog.uploadParts("").description), try store.value(for: Key(String(name.dropFirst(Catalog.uploadParts("").description.count))), in: Catalog.multipartUploads) != nil { continue }
                try leftover("the records of \(name)") { try store.removeAll(in: partition) }
            } else if let mark = name.lastIndex(of: "-"), XID.bytes(name[name.index(after: mark)...]) != nil, !known.contains(partition) {
                // Never removed: it may be the record of the repository that is lost.
                fault("the records of \(name) belong to a repository of which there is no record")
            }
        }
    }

    // MARK: one repository

    private final class RepositoryCheck {
        private let check: LakeCheck
        private let repository: Repository
        private var catalog: Catalog { check.catalog }
        /// Staging tokens of its branches.
        private(set) var tokens: Set<Key> = []
        /// False if something that names objects could not be read.
        private(set) var isComplete = true
        private var metaRanges: Set<String> = [], ranges: Set<String> = []
        /// Objects that are named, by a hash of their addresses: of 64 bits, so that ten million seldom meet.
        private var named: Set<Int> = []

        init(_ check: LakeCheck, _ repository: Repository) {
            self.check = check
            self.repository = repository
        }

        private func noting(_ what: @autoclosure () -> String, _ body: () throws -> Void) {
            do { try body() } catch {
                isComplete = false
                check.fault("\(repository.id): \(what()): \(LakeError(error).message)")
            }
        }

        private func fault(_ text: String) { check.fault("\(repository.id): \(text)") }

        private func records(_ folder: Key, _ body: (Key, [UInt8]) throws -> Void) throws {
            var cursor = PartitionCursor(check.store, repository.partition, from: folder, before: folder.upperBound)
            while let record = try cursor.current() {
                cursor.advance()
                noting("the record \(record.key)") { try body(Key(Array(record.key.bytes.dropFirst(folder.count))), record.value) }
            }
        }

        func run() throws {
            let namespace = try repository.namespace
            try records("commits/") { key, value in
                let commit = try Commit(decoding: value)
                check.commits += 1
                if Key(commit.id) != key { fault("commit \(key) is not the one that its content gives: \(commit.id)") }
                for parent in commit.parents {
                    guard let found = try catalog.refs.findCommit(parent, in: repository) else {
                        fault("commit \(key) names a parent that is not there: \(parent)")
                        continue
                    }
                    if found.generation >= commit.generation { fault("commit \(key) has generation \(commit.generation), its parent \(parent) \(found.generation)") }
                }
                checkMetaRange(commit.metaRangeID, of: "commit \(key)", in: namespace)
            }
            try records("tags/") { key, value in
                let tag = try Tag(decoding: value)
                if try catalog.refs.findCommit(tag.commitID, in: repository) == nil { fault("tag \(key) names a commit that is not there: \(tag.commitID)") }
            }
            try records("branches/") { key, value in
                let branch = try Branch(decoding: value)
                if try catalog.refs.findCommit(branch.commitID, in: repository) == nil { fault("branch \(key) names a commit that is not there: \(branch.commitID)") }
                for token in branch.tokens { try checkStaged(token, of: "branch \(key)", in: namespace) }
                tokens.formUnion(branch.tokens.map { Key($0) })
                if let bytes = try check.store.value(for: Compaction.key(branch.id, in: repository), in: Compaction.partition) {
                    let compaction = try Compaction(decoding: bytes)
                    if compaction.fits(branch) { checkMetaRange(compaction.metaRange, of: "the compaction of branch \(key)", in: namespace) }
                }
            }
            try records("tasks/") { _, value in
                guard let info = try TaskRecord(decoding: value).info, let dump = try? RefsDump(decoding: info) else { return }
                keepTables(of: dump, in: namespace)
            }
            if let manifest = try? catalog.objects.read(namespace.location("_lakefs/refs_manifest.json"), 0..<(1 << 20)) {
                noting("the manifest of dumped refs") {
                    guard let dump = RefsDump(manifest: manifest) else { throw LakeError(.corrupt, "it cannot be read") }
                    keepTables(of: dump, in: namespace)
                }
            }
            try nameUploads()
        }

        private func checkStaged(_ token: String, of owner: String, in namespace: StorageNamespace) throws {
            var cursor = PartitionCursor(check.store, Partition(token))
            while let record = try cursor.current() {
                cursor.advance()
                noting("the uncommitted change of \(record.key) on \(owner)") {
                    guard let envelope = try StagedEntry(key: record.key, decoding: record.value).envelope else { return }
                    try checkEntry(envelope, record.key, of: owner, in: namespace)
                }
            }
        }

        /// Verifies a table's id; nil if it cannot be read.
        private func table(_ id: String, as range: CommittedRange?, of owner: String, in namespace: StorageNamespace) -> TableReader? {
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
            guard !id.isEmpty, metaRanges.insert(id).inserted, let table = table(id, as: nil, of: owner, in: namespace) else { return }
            noting("metarange \(id) of \(owner)") {
                let cursor = table.scan()
                var last: CommittedRange?
                while try cursor.advance() {
                    let range = try CommittedRange(decoding: cursor.value)
                    if range.maxKey < range.minKey || last.map({ !($0.maxKey < range.minKey) }) ?? false { fault("metarange \(id) of \(owner): range \(range.id) is not in order") }
                    last = range
                    checkRange(range, of: owner, in: namespace)
                }
            }
        }

        private func checkRange(_ range: CommittedRange, of owner: String, in namespace: StorageNamespace) {
            guard ranges.insert(range.id).inserted, let table = table(range.id, as: range, of: owner, in: namespace) else { return }
            noting("range \(range.id) of \(owner)") {
                let cursor = table.scan()
                var count: Int64 = 0
                while try cursor.advance() {
                    count += 1
                    let key = Key(cursor.key)
                    noting("the entry of \(key) in range \(range.id)") { try checkEntry(Envelope(decoding: cursor.value), key, of: owner, in: namespace) }
                }
                if count != range.count { fault("range \(range.id) of \(owner) has \(count) entries where its metarange says \(range.count)") }
            }
        }

        private func checkEntry(_ envelope: Envelope, _ key: Key, of owner: String, in namespace: StorageNamespace) throws {
            let entry = try Entry(decoding: envelope.data), location = try entry.location(in: namespace)
            check.entries += 1
            // The same object under the same entry was looked at already; a shallow copy says the same of it.
            guard named.insert(location.hashValue).inserted else { return }
            check.objects += 1
            guard let size = try catalog.objects.size(of: location) else { return fault("the object of \(key) on \(owner) is missing: \(location)") }
            guard size == entry.size else { return fault("the object of \(key) on \(owner) has \(size) bytes where its entry says \(entry.size): \(location)") }
            guard check.options.readsObjects, let wanted = entry.contentMD5 else { return }
            if try catalog.objects.md5(of: location, byteCount: size) != wanted { fault("the object of \(key) on \(owner) has another checksum than its entry says: \(location)") }
        }

        /// Tables of dumped refs are named by who keeps the dump.
        private func keepTables(of dump: RefsDump, in namespace: StorageNamespace) {
            for id in [dump.commits, dump.tags, dump.branches] where !id.isEmpty && metaRanges.insert(id).inserted {
                guard let table = table(id, as: nil, of: "dumped refs", in: namespace) else { continue }
                noting("metarange \(id) of dumped refs") {
                    let cursor = table.scan()
                    while try cursor.advance() {
                        let range = try CommittedRange(decoding: cursor.value)
                        if ranges.insert(range.id).inserted { _ = self.table(range.id, as: range, of: "dumped refs", in: namespace) }
                    }
                }
            }
        }

        /// Parts of uploads that go on belong to these.
        private func nameUploads() throws {
            let namespace = try repository.namespace
            var cursor = PartitionCursor(check.store, Catalog.multipartUploads)
            while let record = try cursor.current() {
                cursor.advance()
                var path = "", addresses: [String] = []
                noting("the multipart upload \(record.key)") {
                    try readProtobuf(record.value) { field in
                        if field.number == 2 { path = field.string } else if field.number == 4 { addresses.append(field.string) }
                    }
                    var parts = PartitionCursor(check.store, Catalog.uploadParts(record.key.description))
                    while let part = try parts.current() {
                        parts.advance()
                        try readProtobuf(part.value) { if $0.number == 1 { addresses.append($0.string) } }
                    }
                }
                guard path.hasPrefix(repository.id + "/") else { continue }
                for address in addresses { named.insert(namespace.location(address).hashValue) }
            }
        }

        /// Seconds that an address which was handed out for a direct upload may be without an entry.
        private static let directSeconds: Int64 = 24 * 3600

        /// Objects and tables in the namespace that nothing names. Other files there are not ours to judge.
        func sweep() throws {
            guard isComplete else { return }
            let namespace = try repository.namespace, root = namespace.location("").path, now = Timestamp.now().seconds
            for folder in ["data", "_lakefs"] {
                try catalog.objects.walk(namespace.location(folder)) { object in
                    let relative = String(object.location.path.dropFirst(root.count))
                    if folder == "data" {
                        guard !named.contains(object.location.hashValue) else { return }
                        if relative.hasSuffix(Entry.directSuffix), now - object.modified < Self.directSeconds { return }
                    } else {
                        let id = String(relative.dropFirst("_lakefs/".count))
                        guard Names.isHex(id, 64...64), !metaRanges.contains(id), !ranges.contains(id) else { return }
                    }
                    try check.leftover("\(object.location), \(object.byteCount) bytes", bytes: object.byteCount) { try catalog.objects.remove(object.location) }
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
        var hash = Hash(.md5), position: Int64 = 0
        while position < byteCount {
            let piece = try read(location, position..<min(position + 1 << 20, byteCount))
            guard !piece.isEmpty else { throw StoreError(.corrupt, "\(location) was cut while it was read") }
            unsafe piece.withUnsafeBytes { unsafe hash.update($0) }
            position += Int64(piece.count)
        }
        return hash.finish()
    }
}
