import Foundations
import LakeAPI
import Synchronization
import Versioning

/// Looks again and again what others changed of a branch elsewhere: its head, and what is not committed. What the
/// server says of each uncommitted path is compared with what it said before, so that a change is seen whatever made
/// it. lakeFS says of them no more than their sizes: there the folders that they lie in are listed again, those that
/// were read.
final class RemoteWatch: Sendable {
    private struct State {
        /// The commit that the branch stood on; empty before it was first seen.
        var head = ""
        /// What is not committed, as it was last seen.
        var uncommitted: [Key: String] = [:]
        /// What was last written here.
        var own: [Key: String] = [:]
        /// What is being written here.
        var writing: Set<Key> = []
        /// The folder that was listed again last.
        var listed = Key([])
    }
    private let remote: Remote
    private let listings: RemoteListings
    private let state = Mutex(State())
    private let interval: Int
    private let stopping = CountingSemaphore()
    private let thread = Mutex<Thread?>(nil)
    private static let removed = "removed", mostOwn = 100_000, mostKeys = 10_000
    /// Folders that one look lists again.
    private static let mostListed = 20

    /// - Parameter interval: milliseconds between two looks; more where one takes long.
    init(_ remote: Remote, _ listings: RemoteListings, interval: Int) {
        self.remote = remote
        self.listings = listings
        self.interval = interval
    }

    /// The commit that the branch stands on, as far as is known.
    var head: String { state.withLock { $0.head } }

    /// Begins to look. The first look is what later ones are compared with.
    func start(_ take: @escaping @Sendable (Change.Kind) -> CountingSemaphore?) {
        look { _ in }
        let thread = Thread(name: "remote-watch") { [self] in
            var pause = interval
            while !stopping.wait(milliseconds: pause) {
                let begun = Timestamp.monotonicMilliseconds()
                look { kind in
                    switch kind {
                    case .keys(let keys): for key in keys { listings.forget(key) }
                    default: listings.forgetAll()
                    }
                    _ = take(kind)
                }
                pause = max(interval, 10 * Int(Timestamp.monotonicMilliseconds() - begun))
            }
        }
        self.thread.withLock { $0 = thread }
    }

    func stop() {
        stopping.post()
        let thread = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        thread?.join()
    }

    // MARK: what is written here

    static func signature(_ object: API.ObjectStats) -> String {
        signature(object.checksum, object.mtime, object.metadata ?? [:])
    }
    private static func signature(_ checksum: String, _ mtime: Int64, _ metadata: [String: String]) -> String {
        "\(checksum) \(mtime) \(metadata.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: "\n"))"
    }
    private static func signature(_ change: API.Diff) -> String {
        guard change.type != "removed" else { return removed }
        guard let right = change.right else { return sizeMark + "\(change.sizeBytes ?? 0)" }
        return signature(right.checksum, right.mtime, right.metadata ?? [:])
    }

    /// Says what a size is, where nothing else is known.
    private static let sizeMark = "size "

    func begin(_ paths: [Key]) { state.withLock { $0.writing.formUnion(paths) } }

    /// - Parameter written: what came of them: nil for what was removed.
    func end(_ paths: [Key], _ written: [Key: API.ObjectStats?]) {
        state.withLock { state in
            state.writing.subtract(paths)
            if state.own.count > Self.mostOwn { state.own = [:] }
            for (path, object) in written {
                state.own[path] = object.map { Self.signature($0) } ?? Self.removed
                // What is told of it by its size alone is told as it is by listing its folder.
                state.uncommitted[path] = object.map { Self.sizeMark + "\($0.sizeBytes ?? 0)" } ?? Self.removed
            }
        }
    }

    // MARK: what others wrote

    /// One look. What cannot be asked now is asked the next time.
    private func look(_ tell: (Change.Kind) -> Void) {
        do { try lookOnce(tell) } catch let error as LakeError where error.code == .unavailable {} catch {
            Log.warning(
                "what others changed of a mounted branch cannot be seen",
                ["branch": remote.ref, "reason": LakeError(error).message])
        }
    }

    private func lookOnce(_ tell: (Change.Kind) -> Void) throws {
        guard let head = try remote.ask({ try $0.head(of: remote.ref, in: remote.repository) }) else {
            throw LakeError(.dataGone, "branch '\(remote.ref)' is gone")
        }
        var uncommitted: [Key: String] = [:]
        var after = ""
        while let page = try remote.ask({
            try $0.changes(on: remote.ref, in: remote.repository, after: after, amount: 1000)
        }) {
            for change in page.results { uncommitted[Key(change.path)] = Self.signature(change) }
            guard page.pagination.hasMore else { break }
            after = page.pagination.nextOffset
        }
        // A commit came between: the next look sees it.
        guard try remote.ask({ try $0.head(of: remote.ref, in: remote.repository) }) == head else { return }
        let old = state.withLock { $0.head }
        let committed = old.isEmpty || old == head ? [:] : try committed(from: old, to: head)
        let keys = state.withLock { state -> [Key]? in
            defer {
                state.head = head
                // What is being written is looked at when that has ended.
                for path in state.writing { uncommitted[path] = state.uncommitted[path] }
                state.uncommitted = uncommitted
            }
            guard !old.isEmpty else { return [] }
            guard let committed else { return nil }
            func isKnown(_ path: Key, _ signature: String) -> Bool {
                state.own[path] == signature || state.uncommitted[path] == signature || state.writing.contains(path)
            }
            var keys: Set<Key> = []
            for (path, signature) in committed where !isKnown(path, signature) { keys.insert(path) }
            for (path, signature) in uncommitted where !isKnown(path, signature) { keys.insert(path) }
            // What is uncommitted no more was committed as it was, or taken back.
            for (path, signature) in state.uncommitted
            where uncommitted[path] == nil && committed[path] != signature && !state.writing.contains(path)
                && state.own[path] != signature
            { keys.insert(path) }
            for (path, signature) in state.uncommitted
            where uncommitted[path] == nil && old == head && !state.writing.contains(path)
                && state.own[path] == signature
            { keys.insert(path) }
            for path in keys { state.own[path] = nil }
            return keys.count > Self.mostKeys ? nil : Array(keys)
        }
        guard let keys else { return tell(.everything) }
        let listed = try listAgain(uncommitted.filter { $0.value.hasPrefix(Self.sizeMark) }.map(\.key))
        if !keys.isEmpty || !listed.isEmpty { tell(.keys(keys + listed.filter { !keys.contains($0) })) }
    }

    /// Lists folders again that hold these paths and were read. Returns what shows otherwise than it did.
    private func listAgain(_ paths: [Key]) throws -> [Key] {
        guard !paths.isEmpty else { return [] }
        let folders = Set(paths.map { Paths.folder(of: $0) }.filter { listings.isKnown($0) }).sorted()
        guard !folders.isEmpty else { return [] }
        // In turn, if they are many.
        let last = state.withLock { $0.listed }
        let turn = folders.filter { $0 > last } + folders.filter { $0 <= last }
        var found: [Key] = []
        for folder in turn.prefix(Self.mostListed) {
            let changed = try listings.changed(in: folder)
            state.withLock { state in
                state.listed = folder
                found += changed.filter { !state.writing.contains($0) }
            }
        }
        return found
    }

    /// What differs between two commits; nil if it is too much to be told one by one.
    private func committed(from old: String, to new: String) throws -> [Key: String]? {
        var found: [Key: String] = [:]
        var after = ""
        while true {
            let page = try remote.ask {
                try $0.changes(from: old, to: new, in: remote.repository, after: after, amount: 1000)
            }
            for change in page.results { found[Key(change.path)] = Self.signature(change) }
            guard page.pagination.hasMore else { return found }
            guard found.count <= Self.mostKeys else { return nil }
            after = page.pagination.nextOffset
        }
    }
}
