import CacheStore
import Foundations
import LakeAPI
import Synchronization
import Versioning

extension MountOptions {
    /// What a request asks for.
    /// - Throws: `.invalidValue` for a prefix that is none.
    init(_ request: API.Mount) throws {
        self.init()
        if let text = request.prefix, !text.isEmpty {
            let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { Array($0.utf8) }
            let names = parts.last?.isEmpty == true ? Array(parts.dropLast()) : parts
            guard names.allSatisfy({ Paths.isName($0) }) else {
                throw LakeError(.invalidValue, "prefix '\(text)' is no path of folders")
            }
            prefix = Key(Array(names.joined(separator: [Paths.slash])) + [Paths.slash])
        }
        (owner, group) = (request.uid.map { UInt32(clamping: $0) }, request.gid.map { UInt32(clamping: $0) })
        guard request.umask ?? 0 <= 0o777 else {
            throw LakeError(.invalidValue, "umask \(request.umask ?? 0) is not one: 0 to 0777")
        }
        umask = request.umask.map { UInt32(clamping: $0) }
        syncsOnClose = request.syncOnClose == true
        skipsOpen = request.noOpen == true
        allowsOthers = request.allowOther == true
    }
}

extension Mount {
    /// Problems of a mount that a list tells.
    private static let mostProblems = 20

    /// What is mounted, for those who ask for a list.
    /// - Parameter isDetailed: whether it is told for whom, what is not on the branch yet, and what went wrong: all files
    ///   of the tree are looked at for it.
    func message(at directory: String, isDetailed: Bool) -> API.Mount {
        let tree = tree
        var message = API.Mount(
            repository: tree.id.repository.text, ref: tree.id.branch.text, directory: directory, readOnly: isReadOnly)
        if !options.prefix.isEmpty { message.prefix = options.prefix.description }
        guard isDetailed else { return message }
        if !rights.user.isEmpty { message.user = rights.user }
        let counters = Dictionary(uniqueKeysWithValues: tree.counters())
        func counter(_ name: String) -> Int64 { Int64(counters[name] ?? 0) }
        (message.unpublishedFiles, message.unpublishedBytes) = (
            counter("unpublished_changes"), counter("unpublished_bytes")
        )
        message.openFiles = counter("open_files")
        let failure = tree.failure.withLock { $0 }.map { [$0] } ?? []
        let faults = tree.ownStatus().filter { !$0.hasPrefix("! open ") }
        message.problems = Array((failure + faults).prefix(Self.mostProblems))
        return message
    }
}
