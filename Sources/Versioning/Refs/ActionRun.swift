package import Foundations

/// One run of the actions of an event. Source: `lakefs-formats.md` 5.6, RunResultData.
package struct ActionRun: Sendable, Equatable {
    package var id: String
    package var branch: String
    package var commitID: String
    package var sourceRef: String
    package var event: String
    package var started: Timestamp
    package var ended: Timestamp?
    package var hasPassed: Bool

    package init(
        id: String, branch: String, commitID: String, sourceRef: String, event: String, started: Timestamp,
        ended: Timestamp?, hasPassed: Bool
    ) {
        self.id = id
        self.branch = branch
        self.commitID = commitID
        self.sourceRef = sourceRef
        self.event = event
        self.started = started
        self.ended = ended
        self.hasPassed = hasPassed
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(
            id: "", branch: "", commitID: "", sourceRef: "", event: "", started: Timestamp(seconds: 0), ended: nil,
            hasPassed: false)
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: id = field.string
            case 2: branch = field.string
            case 3: commitID = field.string
            case 4: sourceRef = field.string
            case 5: event = field.string
            case 6: started = try field.time()
            case 7: ended = try field.time()
            case 8: hasPassed = field.integer != 0
            default: break
            }
        }
    }

    package var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, id)
        writer.string(2, branch)
        writer.string(3, commitID)
        writer.string(4, sourceRef)
        writer.string(5, event)
        writer.time(6, started)
        writer.time(7, ended)
        writer.bool(8, hasPassed)
        return writer.bytes
    }
}

/// One hook of a run. Source: `lakefs-formats.md` 5.6, TaskResultData.
package struct HookRun: Sendable, Equatable {
    package var runID: String
    package var id: String
    package var hookID: String
    package var action: String
    package var started: Timestamp
    package var ended: Timestamp?
    package var hasPassed: Bool

    package init(
        runID: String, id: String, hookID: String, action: String, started: Timestamp, ended: Timestamp?,
        hasPassed: Bool
    ) {
        self.runID = runID
        self.id = id
        self.hookID = hookID
        self.action = action
        self.started = started
        self.ended = ended
        self.hasPassed = hasPassed
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(
            runID: "", id: "", hookID: "", action: "", started: Timestamp(seconds: 0), ended: nil, hasPassed: false)
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: runID = field.string
            case 2: id = field.string
            case 3: hookID = field.string
            case 4: action = field.string
            case 5: started = try field.time()
            case 6: ended = try field.time()
            case 9: hasPassed = field.integer != 0
            default: break
            }
        }
    }

    package var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, runID)
        writer.string(2, id)
        writer.string(3, hookID)
        writer.string(4, action)
        writer.time(5, started)
        writer.time(6, ended)
        writer.bool(9, hasPassed)
        return writer.bytes
    }
}

extension RefStore {
    /// Where runs are kept, for all repositories. Source: `lakefs-formats.md` 5.4.
    static let actions = Partition("actions")

    private func folder(_ repository: Repository) -> String { "repos/\(repository.id)/" }

    /// A run's key, and those by which it is found.
    private func keys(_ run: ActionRun, in repository: Repository) -> (own: Key, indices: [Key]) {
        let folder = folder(repository)
        return (
            Key(folder + "runs/" + run.id),
            (run.branch.isEmpty ? [] : [Key(folder + "branches/\(run.branch)/\(run.id)")])
                + (run.commitID.isEmpty ? [] : [Key(folder + "commits/\(run.commitID)/\(run.id)")])
        )
    }

    private func key(_ hook: HookRun, in repository: Repository) -> Key {
        Key(folder(repository) + "tasks/\(hook.runID)/\(hook.id)")
    }

    func mutations(_ run: ActionRun, in repository: Repository) -> [Mutation] {
        let (own, indices) = keys(run, in: repository)
        var index = ProtobufWriter()
        index.always(1, own.bytes)
        return [.set(Self.actions, own, run.encoded)] + indices.map { .set(Self.actions, $0, index.bytes) }
    }

    func removals(_ run: ActionRun, in repository: Repository) -> [Mutation] {
        let (own, indices) = keys(run, in: repository)
        return (indices + [own]).map { .remove(Self.actions, $0) }
    }

    func mutation(_ hook: HookRun, in repository: Repository) -> Mutation {
        .set(Self.actions, key(hook, in: repository), hook.encoded)
    }

    func removal(_ hook: HookRun, in repository: Repository) -> Mutation {
        .remove(Self.actions, key(hook, in: repository))
    }

    private func run(at key: Key) throws -> ActionRun? {
        try store.value(for: key, in: Self.actions).map { bytes in
            try decode("run \(key)") { try ActionRun(decoding: bytes) }
        }
    }

    func actionRun(_ id: String, in repository: Repository) throws -> ActionRun? {
        try run(at: Key(folder(repository) + "runs/" + id))
    }

    /// Runs, the newest first: their ids count down.
    /// - Parameter index: `branches/NAME/` or `commits/ID/`; empty for all.
    func actionRuns(in repository: Repository, index: String, after: String, limit: Int) throws -> [ActionRun] {
        let folder = folder(repository)
        let found = try page(
            Self.actions, folder + (index.isEmpty ? "runs/" : index), prefix: "", after: after, limit: limit)
        return try found.compactMap { record in
            guard !index.isEmpty else {
                return try decode("run \(record.key)") { try ActionRun(decoding: record.value) }
            }
            var key: Key = ""
            try readProtobuf(record.value) { if $0.number == 1 { key = Key($0.array) } }
            return try run(at: key)
        }
    }

    func hookRuns(of run: String, in repository: Repository, after: String, limit: Int) throws -> [HookRun] {
        try page(Self.actions, folder(repository) + "tasks/\(run)/", prefix: "", after: after, limit: limit).map {
            record in try decode("hook run \(record.key)") { try HookRun(decoding: record.value) }
        }
    }

    func hookRun(_ id: String, of run: String, in repository: Repository) throws -> HookRun? {
        let key = Key(folder(repository) + "tasks/\(run)/\(id)")
        return try store.value(for: key, in: Self.actions).map { bytes in
            try decode("hook run \(key)") { try HookRun(decoding: bytes) }
        }
    }
}

/// Where runs are told of beside the data. Source: `lakefs-formats.md` 1.1.
enum RunFiles {
    static func folder(_ run: String) -> String { "_lakefs/actions/log/\(run)" }
    static func manifest(_ run: String) -> String { folder(run) + "/run.manifest" }
    static func output(of hook: String, in run: String) -> String { folder(run) + "/\(hook).log" }
}
