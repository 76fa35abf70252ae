import Foundations

/// Hooks that are to run behind a change, or are running: kept until their run has ended, so that a crash loses none.
///
///     partition   lakefuse-hooks (no lakeFS server has it)
///     key         <repository>/<run id>
///     value       protobuf: the fields of `HookEvent`, then 14 the state, 15 the process that wrote it
package struct HookNote: Sendable, Equatable {
    /// How far its run is.
    package enum State: Int64, Sendable {
        /// The change is about to be made: it may not have been.
        case near = 0
        case running = 1
        /// The change was made: it is to run.
        case made = 2
    }

    package var event: HookEvent
    package var state: State
    package var process: String

    static let partition = Partition("lakefuse-hooks")
    var key: Key { Self.key(event) }
    static func key(_ event: HookEvent) -> Key { key(event.runID, in: event.repository) }
    static func key(_ run: String, in repository: RepositoryID) -> Key { Key("\(repository)/\(run)") }

    init(_ event: HookEvent, _ state: State, process: String) {
        self.event = event
        self.state = state
        self.process = process
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(HookEvent(.postCommit, repository: "", sourceRef: ""), .near, process: "")
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1:
                guard let kind = HookEvent.Kind(rawValue: field.string) else {
                    throw LakeError(.corrupt, "a note of hooks names the event '\(field.string)', which is none")
                }
                event.kind = kind
            case 2: event.runID = field.string
            case 3: event.preRunID = field.string
            case 4: event.repository = RepositoryID(field.string)
            case 5: event.branch = BranchName(field.string)
            case 6: event.tag = field.string
            case 7: event.sourceRef = field.string
            case 8: event.commitID = CommitID(field.string)
            case 9: event.message = field.string
            case 10: event.committer = field.string
            case 11: event.metadata.pairs.append(try field.pair())
            case 12: event.mergeSource = field.string
            case 13: event.user = field.string
            case 14: state = State(rawValue: field.signed) ?? .running
            case 15: process = field.string
            case 16: event.commit = try Commit(decoding: field.array)
            default: break
            }
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, event.kind.rawValue)
        writer.string(2, event.runID)
        writer.string(3, event.preRunID)
        writer.string(4, event.repository.text)
        writer.string(5, event.branch.text)
        writer.string(6, event.tag)
        writer.string(7, event.sourceRef)
        writer.string(8, event.commitID.text)
        writer.string(9, event.message)
        writer.string(10, event.committer)
        writer.map(11, event.metadata)
        writer.string(12, event.mergeSource)
        writer.string(13, event.user)
        writer.integer(14, state.rawValue)
        writer.string(15, process)
        if let commit = event.commit { writer.always(16, commit.encoded) }
        return writer.bytes
    }
}
