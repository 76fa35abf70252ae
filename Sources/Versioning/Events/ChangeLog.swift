import Foundations
import Synchronization

/// Changes between processes that share a store: each tells the others what it did to which branches, and reads what
/// they did. What lives in memory because this process saw every change (a mount's caches, records of repositories)
/// stays right by it, some tenths of a second later.
///
///     partition lakefuse-changes:
///         processes/<process>              → ProcessRecord
///         log/<process>/<number, 16 hex>   → changes (`LoggedChanges`)
///
/// Nothing is lost when a process dies between a change and its telling: before its first change to a repository it
/// says in its own record that it changes that one, and shows by a beat that it lives. When the beat stops, the others
/// take everything of those repositories as changed. A process that was stopped for a while and wakes says so again
/// before it goes on. Only durations of a process's own clock are compared, never times of two clocks.
///
/// Nobody waits for the telling but the process's own thread; a change costs its writer a few instructions. Safe from
/// any thread.
package final class ChangeLog: Sendable {
    /// How often, and how long.
    package struct Pace: Sendable {
        /// Between two readings of the others, and two writings of what there is to tell.
        package var tick = 250
        /// Between two beats of a process that has nothing to tell.
        package var beat = 5000
        /// Without a beat for so long, a process may have died.
        package var silence = 15_000
        /// How long what was told is kept for those who are late.
        package var keep = 60_000
        /// When a silent process is forgotten.
        package var forget = 600_000
        package init() {}
    }

    private struct State {
        var record: ProcessRecord
        /// Repositories that are in the record as it is stored.
        var entered: Set<RepositoryID> = []
        /// When the record was stored last, by `Timestamp.monotonicMilliseconds`; nil before that.
        var stored: Int64?
        /// What is to be told, in order.
        var pending: [Change] = []
        var pendingKeys = 0
        /// What was told and is kept, oldest first.
        var told: [(number: UInt64, at: Int64)] = []
    }

    /// Another process, as it was seen last. Touched by the reading thread alone.
    private struct Seen {
        var record: ProcessRecord
        /// The last change of its that was taken over.
        var number: UInt64?
        /// When its beat was seen to change.
        var alive: Int64
        var isSilent = false
    }

    private let store: any KeyValueStore
    private let process: String
    private let pace: Pace
    private let deliver: @Sendable (Change) -> Void
    private let state: Mutex<State>
    private let others = Mutex<[String: Seen]>([:])
    /// Orders the writing of this process's own record.
    private let turns = TurnQueue()
    /// Posted to end it, to tell at once, and to look at once.
    private let wake = CountingSemaphore()
    private let isStopping = Atomic<Bool>(false)
    private let thread = Mutex<Thread?>(nil)

    static let partition = Partition("lakefuse-changes")
    private static let ownTurn: Key = "own"
    /// Keys that wait to be told; beyond them "everything" says it.
    private static let mostKeys = 20_000
    /// Changes that wait, should the store not take them.
    private static let mostPending = 50_000
    /// Bytes of one record of the log: an item of DynamoDB has 400 KB.
    private static let largestRecord = 200_000
    /// Repositories that a record names; beyond them it says "all".
    private static let mostRepositories = 1000

    /// - Parameters:
    ///   - process: names this one; no other ever had this name.
    ///   - deliver: takes changes of others, on the log's thread.
    package init(
        _ store: any KeyValueStore, process: String, pace: Pace = Pace(),
        _ deliver: @escaping @Sendable (Change) -> Void
    ) {
        self.store = store
        self.process = process
        self.pace = pace
        self.deliver = deliver
        state = Mutex(State(record: ProcessRecord()))
    }

    /// Begins to tell and to read.
    package func start() {
        thread.withLock { thread in
            guard thread == nil else { return }
            thread = Thread(name: "changes") { [self] in
                while true {
                    let isWoken = wake.wait(milliseconds: pace.tick)
                    if isStopping.load(ordering: .relaxed) { return }
                    beat()
                    // Who tells much is heard a little later, and all of it at once.
                    if isWoken { sleep(milliseconds: Self.breath) }
                }
            }
            isHeard = store.listen { [wake] in wake.post() }
        }
    }
    /// Milliseconds between two tellings where each is announced.
    private static let breath = 20
    /// Whether the store tells of what is announced.
    private var isHeard: Bool {
        get { hears.load(ordering: .relaxed) }
        set { hears.store(newValue, ordering: .relaxed) }
    }
    private let hears = Atomic<Bool>(false)

    /// Lets others know that this process lives, if they do not yet.
    package func appear() throws {
        if state.withLock({ $0.stored }) == nil { try tell() }
    }

    /// Tells what is left, and that this process ends.
    package func stop() {
        isStopping.store(true, ordering: .relaxed)
        wake.post()
        thread.withLock { thread in
            defer { thread = nil }
            return thread
        }?.join()
        guard state.withLock({ $0.stored != nil }) else { return }
        do { try tell(isEnd: true) } catch {
            // The others find out by its silence.
            Log.warning("the last changes were not told to the lake's other processes", ["reason": "\(error)"])
        }
    }

    // MARK: what this process does

    /// To be called before a repository is changed: the others know of it then, should this process not live to tell.
    /// Costs nothing but for the first time, and after this process was stopped for long.
    package func enter(_ repository: RepositoryID) throws {
        let now = Timestamp.monotonicMilliseconds()
        let isKnown = state.withLock { state in
            state.entered.contains(repository) && state.stored.map { now - $0 < Int64(pace.silence / 2) } ?? false
        }
        if isKnown { return }
        try turns.withTurn(of: Self.ownTurn) {
            let record = state.withLock { state in
                state.record.beat &+= 1
                if state.record.repositories.count < Self.mostRepositories {
                    state.record.repositories.insert(repository)
                } else if !state.record.repositories.contains(repository) {
                    state.record.isAll = true
                }
                return state.record
            }
            try store.set(record.encoded, for: ProcessRecord.key(process), in: Self.partition)
            state.withLock { state in
                state.entered.insert(repository)
                state.stored = now
            }
        }
    }

    /// A change that was made.
    package func add(_ change: Change) {
        defer { if isHeard { wake.post() } }
        state.withLock { state in
            guard state.pending.count < Self.mostPending else {
                state.pending = [Change(repository: nil, branch: nil, kind: .everything)]
                state.pendingKeys = 0
                return
            }
            var change = Change(repository: change.repository, branch: change.branch, kind: change.kind)
            let last = state.pending.last.flatMap {
                $0.repository == change.repository && $0.branch == change.branch ? $0.kind : nil
            }
            switch (last, change.kind) {
            case (.everything, .everything), (.everything, .keys): return
            case (_, .keys(let keys)):
                state.pendingKeys += keys.count
                if state.pendingKeys > Self.mostKeys {
                    change = Change(repository: change.repository, branch: change.branch, kind: .everything)
                } else if case .keys(let before) = last {
                    // Where many write one branch, it is named once.
                    state.pending.removeLast()
                    change = Change(
                        repository: change.repository, branch: change.branch, kind: .keys(before + keys))
                }
            default: break
            }
            state.pending.append(change)
        }
    }

    /// Writes what is pending, and the record that says up to where.
    private func tell(isEnd: Bool = false) throws {
        try turns.withTurn(of: Self.ownTurn) {
            let now = Timestamp.monotonicMilliseconds()
            var (record, changes, old) = state.withLock { state in
                defer { (state.pending, state.pendingKeys) = ([], 0) }
                let old = state.told.prefix { now - $0.at > Int64(pace.keep) }.map(\.number)
                return (state.record, state.pending, old)
            }
            let before = record.number
            record.beat &+= 1
            record.isEnded = isEnd
            var batch: [Mutation] = []
            for piece in LoggedChanges.pieces(changes, byteCount: Self.largestRecord) {
                record.number += 1
                batch.append(.set(Self.partition, LoggedChanges.key(process, record.number), piece))
            }
            // In this order: who reads the record finds what it speaks of.
            batch.append(.set(Self.partition, ProcessRecord.key(process), record.encoded))
            batch += old.map { .remove(Self.partition, LoggedChanges.key(process, $0)) }
            do { try store.writeMany(batch, .durable) } catch {
                state.withLock { $0.pending.insert(contentsOf: changes, at: 0) }
                throw error
            }
            state.withLock { [record] state in
                state.told.removeFirst(old.count)
                state.told += (before..<record.number).map { ($0 + 1, now) }
                (state.record.beat, state.record.number) = (record.beat, record.number)
                state.stored = now
            }
            if isHeard, !changes.isEmpty || isEnd { store.announce() }
        }
    }

    /// One turn of the thread.
    func beat() {
        let now = Timestamp.monotonicMilliseconds()
        do {
            let isDue = state.withLock { state in
                !state.pending.isEmpty || state.stored.map { now - $0 >= Int64(pace.beat) } ?? false
            }
            if isDue { try tell() }
        } catch {
            Log.warning("changes could not be told to the lake's other processes", ["reason": "\(error)"])
        }
        do { try read(now) } catch {
            Log.warning("changes of the lake's other processes could not be read", ["reason": "\(error)"])
        }
    }

    // MARK: what the others do

    /// Whether a process that had entered something lives no more, as far as anybody can say.
    package func isGone(_ process: String) throws -> Bool {
        guard process != self.process else { return false }
        if let seen = others.withLock({ $0[process] }) { return seen.isSilent || seen.record.isEnded }
        // One that has come since the last look has a record.
        guard let bytes = try store.value(for: ProcessRecord.key(process), in: Self.partition) else { return true }
        return (try? ProcessRecord(decoding: bytes))?.isEnded ?? false
    }

    private func read(_ now: Int64) throws {
        var present: Set<String> = []
        var cursor = PartitionCursor(
            store, Self.partition, from: ProcessRecord.folder, before: ProcessRecord.folder.upperBound)
        while let (key, value) = try cursor.current() {
            cursor.advance()
            let name = String(decoding: key.bytes.dropFirst(ProcessRecord.folder.count), as: UTF8.self)
            guard name != process, let record = try? ProcessRecord(decoding: value) else { continue }
            present.insert(name)
            var seen = others.withLock { $0[name] } ?? Seen(record: record, alive: now)
            try take(&seen, record, of: name, now)
            others.withLock { [seen] in $0[name] = seen }
        }
        for (name, seen) in others.withLock({ $0 }) where !present.contains(name) {
            if !seen.record.isEnded { everything(of: seen.record) }
            _ = others.withLock { $0.removeValue(forKey: name) }
        }
    }

    private func take(_ seen: inout Seen, _ record: ProcessRecord, of name: String, _ now: Int64) throws {
        if seen.number.map({ $0 < record.number }) ?? true { try takeChanges(&seen, record, of: name) }
        if seen.record.beat != record.beat {
            (seen.alive, seen.isSilent) = (now, false)
        } else if now - seen.alive > Int64(pace.forget) {
            if !record.isEnded { everything(of: record) }
            try forget(name, record)
        } else if now - seen.alive > Int64(pace.silence), !seen.isSilent {
            seen.isSilent = true
            if !record.isEnded { everything(of: record) }
        }
        seen.record = record
    }

    private func takeChanges(_ seen: inout Seen, _ record: ProcessRecord, of name: String) throws {
        var expected = seen.number.map { $0 + 1 }
        let folder = LoggedChanges.folder(name)
        var cursor = PartitionCursor(
            store, Self.partition, from: expected.map { LoggedChanges.key(name, $0) } ?? folder,
            before: folder.upperBound)
        while let (key, value) = try cursor.current() {
            cursor.advance()
            guard let number = LoggedChanges.number(key, of: name) else { continue }
            // This process was too late for some.
            if let expected, number != expected { everything(of: record) }
            if let changes = try? LoggedChanges.decode(value) {
                for change in changes { deliver(change) }
            } else {
                everything(of: record)
            }
            expected = number + 1
        }
        if let expected, seen.number != nil, expected <= record.number { everything(of: record) }
        seen.number = max(record.number, (expected ?? 1) - 1)
    }

    private func everything(of record: ProcessRecord) {
        guard !record.isAll else { return deliver(ChangeFeed.elsewhere(repository: nil, branch: nil, .everything)) }
        for repository in record.repositories {
            deliver(ChangeFeed.elsewhere(repository: repository, branch: nil, .everything))
        }
    }

    /// Removes a process's records.
    private func forget(_ name: String, _ record: ProcessRecord) throws {
        // Unless it came back just now.
        let own: [Mutation] = [
            .require(Self.partition, ProcessRecord.key(name), .matches(record.encoded)),
            .remove(Self.partition, ProcessRecord.key(name)),
        ]
        guard try store.tryWrite(own, .durable) else { return }
        let folder = LoggedChanges.folder(name)
        while true {
            let page = try store.page(of: Self.partition, prefix: folder, limit: 1000)
            guard !page.isEmpty else { return }
            try store.writeMany(page.map { .remove(Self.partition, $0.key) }, .eventual)
        }
    }
}
