import Foundations
import LakeAPI
import Synchronization
import Transport
package import Versioning

/// Runs the hooks of action files: those before a change on the thread that makes it, those behind it on threads of its
/// own. Safe from any thread.
package final class ActionRunner: HookRunner {
    package struct Settings: Sendable {
        /// `actions.enabled`.
        package var isEnabled = true
        /// `actions.env.*`.
        package var environment = HookEnvironment()
        package var lua = LuaLimits()
        /// `actions.lua.net_http_enabled`.
        package var isHTTPEnabled = false
        /// `actions.runs_max_age`, `actions.runs_max_count`: how long runs are kept, in seconds, and how many of a
        /// repository.
        package var longestKept: Int64 = 90 * 24 * 3600
        package var mostKept = 100_000
        package init() {}
    }

    /// An action, and its place among the files of its ref.
    private struct Found: Sendable {
        let action: Action
        let index: Int
    }

    /// What has become of a hook.
    private struct Outcome: Sendable {
        var hook: HookRun
        var failure: Failure?
    }

    private struct Failure: Sendable {
        let text: String
        /// Its `if` is no expression.
        let isOfCondition: Bool
    }

    package static let folder = "_lakefs_actions/"
    /// Action files of a ref; more refuse the change.
    private static let mostFiles = 1000
    /// Changes that may wait for their hooks at once; the server has more threads for long requests than that.
    package static let mostWaiting = 48
    /// Actions at once, and runs behind changes at once.
    private static let width = 8, runsAtOnce = 4
    /// Bytes of a hook's output that are shown of it while its run goes on.
    package static let shownOutput = 64 << 10
    /// Characters of why a hook has failed, and how many hooks' reasons a refusal tells.
    private static let longestReason = 65_536, mostReasons = 50
    /// Milliseconds that runs have for ending when the server stops.
    private static let stopMilliseconds: Int64 = 3000

    private let settings: Settings
    private let scripts: LuaProcesses
    private let nesting = HookNesting()
    private let client = HTTPClient()
    /// Parsed files by the address of their bytes, which never change.
    private let parsed = LRUCache<String, Result<Action, LakeError>>(budget: 4 << 20)
    /// Folders of actions by commit.
    private let listings = LRUCache<String, Page<Listing>>(budget: 4 << 20)
    private let actions = WorkerPool(name: "action", width: ActionRunner.width)
    private let runs = WorkerPool(name: "hook-run", width: ActionRunner.runsAtOnce)

    private struct State {
        var catalog: Catalog?
        var api: LakeAPICalls?
        var isStopping = false
        var running = 0
        /// Changes that wait for their hooks.
        var waiting = 0
        var ended = (all: 0, failed: 0)
        /// Runs that have begun and not ended, by their ids, with the hooks that have.
        var underWay: [String: (event: HookEvent, started: Timestamp, hooks: [HookContext])] = [:]
    }
    private let state = Mutex(State())

    /// Runs that have ended since the start, for who watches the server.
    package var runsEnded: (all: Int, failed: Int) { state.withLock { $0.ended } }

    package func underWay(in repository: RepositoryID) -> [RunUnderWay] {
        state.withLock { $0.underWay.values.filter { $0.event.repository == repository } }.map { run in
            RunUnderWay(
                event: run.event, started: run.started,
                hooks: run.hooks.map {
                    RunUnderWay.Hook(id: $0.hookID, action: $0.action, started: $0.time, output: $0.output)
                })
        }.sorted { $0.started < $1.started }
    }

    package init(_ settings: Settings) {
        self.settings = settings
        scripts = LuaProcesses(settings.lua)
    }

    /// Begins to work for a catalog, first on what an earlier process left undone.
    /// - Parameter api: the server's own API, which scripts call.
    package func start(_ catalog: Catalog, api: LakeAPICalls) {
        state.withLock { ($0.catalog, $0.api) = (catalog, api) }
        // Where there are other processes, one of them takes it up.
        if catalog.isAlone { takeUpWhatIsLeft() }
        runs.run { [self] in cleanUp() }
    }

    /// Goes on with what processes that are gone left undone.
    package func takeUpWhatIsLeft() {
        guard let catalog = state.withLock({ $0.catalog }) else { return }
        do {
            try catalog.forEachLeftNote { note in
                do { try takeOver(note, catalog) } catch {
                    Log.error(
                        "hooks that were left undone are left again",
                        ["run": note.event.runID, "reason": LakeError(error).message])
                }
            }
        } catch {
            Log.error("hooks that were left undone cannot be read", ["reason": LakeError(error).message])
        }
    }

    /// Lets what runs end for a moment. What has not ended then is told as failed by the next start.
    package func stop() {
        state.withLock { $0.isStopping = true }
        let deadline = Timestamp.monotonicMilliseconds() + Self.stopMilliseconds
        while state.withLock({ $0.running }) > 0, Timestamp.monotonicMilliseconds() < deadline {
            sleep(milliseconds: 20)
        }
        scripts.stop()
        if state.withLock({ $0.running }) == 0 {
            runs.stop()
            actions.stop()
        }
        state.withLock { ($0.catalog, $0.api) = (nil, nil) }
    }

    /// Removes old runs. Called from time to time.
    package func cleanUp() {
        guard let catalog = state.withLock({ $0.catalog }) else { return }
        do { try catalog.removeRuns(olderThan: settings.longestKept, keeping: settings.mostKept) } catch {
            Log.warning("old runs of hooks could not be removed", ["reason": LakeError(error).message])
        }
    }

    private func catalog() throws -> Catalog {
        guard let catalog = state.withLock({ $0.catalog }) else {
            throw LakeError(.unavailable, "hooks cannot run: the server starts or stops")
        }
        return catalog
    }

    // MARK: before a change

    package func watched(_ events: [HookEvent]) throws -> [Bool] {
        guard settings.isEnabled else { return events.map { _ in false } }
        var known: [String: [Found]] = [:]
        return events.map { event in
            // What is wrong with the files is told when they are to run.
            do {
                let ref = Self.ref(event)
                if known[ref] == nil { known[ref] = try all(for: event, catalog()) }
                return known[ref]!.contains { $0.action.isFor(event) }
            } catch { return true }
        }
    }

    package func before(_ event: HookEvent) throws -> Bool {
        guard settings.isEnabled else { return false }
        let catalog = try catalog()
        let prepared: [Prepared]
        do { prepared = try prepare(event, catalog) } catch let error as LakeError
            where error.code == .notFound(.object)
        {
            throw refusal(event, error.message, code: error.code)
        } catch { throw refusal(event, "\(error)", code: .invalidActions) }
        guard !prepared.isEmpty else { return false }
        guard nesting.depth < HookNesting.deepest else {
            throw refusal(
                event, "hooks run hooks, \(HookNesting.deepest) deep: no more", code: .preconditionFailed)
        }
        // They hold threads that changes without hooks want too.
        let isFull = state.withLock { state in
            guard state.waiting < Self.mostWaiting else { return true }
            state.waiting += 1
            return false
        }
        guard !isFull else {
            throw LakeError(
                .tooManyTries,
                "\(Self.mostWaiting) changes wait for their hooks already: try again when some have ended")
        }
        defer { state.withLock { $0.waiting -= 1 } }
        try catalog.note(event, .running)
        let failures = try run(prepared, event, catalog)
        guard failures.isEmpty else {
            // A condition that is none is a fault of the file.
            let isBroken = failures.allSatisfy(\.isOfCondition)
            throw refusal(
                event, Self.list(failures.map(\.text)), code: isBroken ? .invalidActions : .preconditionFailed)
        }
        return true
    }

    private func refusal(_ event: HookEvent, _ reason: String, code: LakeError.Code) -> LakeError {
        LakeError(
            code,
            "\(event.kind == .preMerge ? "update branch \(event.branch): " : "")\(event.kind.rawValue) hook aborted, run id '\(event.runID)': \(reason)"
        )
    }

    /// Several errors as lakeFS tells them.
    private static func list(_ errors: [String]) -> String {
        "\(errors.count) error\(errors.count == 1 ? "" : "s") occurred:\n"
            + errors.prefix(mostReasons).map { "\t* \($0)\n" }.joined()
            + (errors.count > mostReasons ? "\t* and \(errors.count - mostReasons) more\n" : "") + "\n"
    }

    // MARK: behind a change

    package func note(_ event: HookEvent) throws -> Bool {
        guard settings.isEnabled else { return false }
        let catalog = try catalog()
        // A file that is broken is told of in the run.
        if let found = try? found(for: event, catalog), found.isEmpty { return false }
        try catalog.note(event, .near)
        return true
    }

    package func failed(_ event: HookEvent) {
        do {
            let catalog = try catalog()
            // What failed behind the change does not undo it.
            let isRemoval = event.kind == .postDeleteBranch || event.kind == .postDeleteTag
            if try !isRemoval && catalog.wasMade(event) {
                return after(event, hasRun: !event.preRunID.isEmpty, isNoted: true)
            }
            try catalog.forgetNote(of: event)
        } catch {
            Log.warning("a note of hooks stays", ["run": event.runID, "reason": LakeError(error).message])
        }
    }

    package func after(_ event: HookEvent, hasRun: Bool, isNoted: Bool) {
        guard let catalog = try? catalog() else { return }
        if hasRun, event.commit != nil, !event.commitID.text.isEmpty {
            do {
                try catalog.noteCommit(
                    event.commitID, inRun: event.preRunID, of: event.repository, manifest: ActionRun.manifest)
            } catch {
                Log.warning(
                    "a run does not tell the commit that it let pass",
                    ["run": event.preRunID, "reason": LakeError(error).message])
            }
        }
        guard isNoted else { return }
        do {
            // Another process that took this one for gone runs them.
            guard try catalog.advance(catalog.ownNote(of: event, .near), to: .made) else { return }
        } catch {
            Log.warning(
                "hooks behind a change would not survive a crash",
                ["run": event.runID, "reason": LakeError(error).message])
        }
        enqueue(event)
    }

    /// Runs what was noted, later. Only names are kept meanwhile: the rest is in the note.
    private func enqueue(_ event: HookEvent) {
        let (run, repository) = (event.runID, event.repository)
        runs.run { [self] in
            let catalog = state.withLock { state -> Catalog? in
                guard !state.isStopping, let catalog = state.catalog else { return nil }
                state.running += 1
                return catalog
            }
            guard let catalog else { return }
            defer { state.withLock { $0.running -= 1 } }
            do {
                guard let note = try catalog.note(of: run, in: repository), catalog.isOwn(note),
                    try catalog.advance(note, to: .running)
                else { return }
                try runBehind(note.event, catalog)
            } catch {
                Log.error(
                    "hooks behind a change could not run",
                    ["run": run, "repository": repository.text, "reason": LakeError(error).message])
            }
        }
    }

    private func runBehind(_ event: HookEvent, _ catalog: Catalog) throws {
        let prepared: [Prepared]
        do { prepared = try prepare(event, catalog) } catch {
            Log.warning(
                "hooks behind a change are broken",
                ["run": event.runID, "repository": event.repository.text, "reason": "\(error)"])
            return try recordFailure(event, catalog, reason: "\(error)")
        }
        guard !prepared.isEmpty else { return try catalog.forgetNote(of: event) }
        _ = try run(prepared, event, catalog)
    }

    /// What a process that is gone noted: what it had begun has failed, what was to come is run if its change was made.
    private func takeOver(_ note: HookNote, _ catalog: Catalog) throws {
        guard try catalog.advance(note, to: note.state) else { return }
        if note.state == .running {
            return try recordFailure(note.event, catalog, reason: "the server ended while the run was under way")
        }
        guard try note.state == .made || catalog.wasMade(note.event) else {
            return try catalog.forgetNote(of: note.event)
        }
        if note.state == .made { return enqueue(note.event) }
        after(note.event, hasRun: !note.event.preRunID.isEmpty, isNoted: true)
    }

    /// Tells a run that could not be as one that has failed, for a reason that its first hook's output says.
    private func recordFailure(_ event: HookEvent, _ catalog: Catalog, reason: String) throws {
        let now = Timestamp.now()
        var hooks: [HookRun] = []
        if (try? catalog.repository(event.repository)) != nil {
            // The files are not read for it: what is wrong may be in them.
            let id = Self.hookRunID(0, 0)
            hooks = [
                HookRun(
                    runID: event.runID, id: id, hookID: "", action: "", started: now, ended: now, hasPassed: false)
            ]
            try catalog.keepOutput(
                Array("Error: \(reason)\n".utf8), ofHook: id, inRun: event.runID, of: event.repository)
        }
        try record(event, started: now, hooks, hasPassed: false, catalog)
    }

    // MARK: action files

    /// The ref that the files are read from. Source: `lakefs-behaviour.md` section 5.
    private static func ref(_ event: HookEvent) -> String {
        switch event.kind {
        case .prepareCommit, .preCommit, .preRevert, .preCherryPick, .preDeleteBranch: event.branch.text
        // What the new branch will have, which uncommitted changes of the other are no part of.
        case .preCreateBranch, .postCreateBranch: event.commitID.text
        default: event.sourceRef
        }
    }

    /// The actions that are for an event, by the order of their files.
    private func found(for event: HookEvent, _ catalog: Catalog) throws -> [Found] {
        try all(for: event, catalog).filter { $0.action.isFor(event) }
    }

    /// All actions of the ref that an event names.
    private func all(for event: HookEvent, _ catalog: Catalog) throws -> [Found] {
        let repository = try catalog.repository(event.repository)
        let page = try files(for: event, repository, catalog)
        guard !page.items.isEmpty else { return [] }
        guard !page.hasMore else {
            throw LakeError(
                .invalidValue, "there are more than \(Self.mostFiles) files in \(Self.folder): invalid action")
        }
        var names: Set<String> = []
        var result: [Found] = []
        var faults: [String] = []
        var index = 0
        for case .commonPrefix(let path) in page.items {
            // An action in a folder would guard nothing, and nobody would notice.
            throw LakeError(
                .notFound(.object),
                Self.list([
                    "loading file \(path): get action file metadata \(path): not found (folders in \(Self.folder) are not read: put the files beside the others)"
                ]))
        }
        for case .object(let path, let entry) in page.items {
            do {
                let action = try action(entry, in: repository, catalog)
                guard names.insert(action.name).inserted else {
                    throw HookFailure("action name '\(action.name)' already loaded: invalid action (\(path))")
                }
                result.append(Found(action: action, index: index))
                index += 1
            } catch let error as LakeError where error.code == .invalidValue {
                faults.append("parsing file \(path): \(error.message)")
            }
        }
        guard faults.isEmpty else { throw HookFailure(Self.list(faults)) }
        return result
    }

    /// What lies in the folder of actions of the ref that an event names. Of a commit it is the same for ever.
    private func files(for event: HookEvent, _ repository: Repository, _ catalog: Catalog) throws -> Page<Listing> {
        let ref = Self.ref(event)
        let isCommit = ref.utf8.count == 64 && ref.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
        let name = isCommit ? "\(repository.instanceUID)/\(ref)" : nil
        if let name, let known = listings[name] { return known }
        var query = Catalog.ListQuery()
        (query.prefix, query.delimiter) = (Key(Self.folder), Key("/"))
        query.limit = Self.mostFiles
        let resolved = try catalog.resolve(ref, in: event.repository)
        let page = try catalog.list(resolved, query)
        // A branch may be called like a commit.
        if let name, resolved.commitID.text == ref, resolved.tokens.isEmpty {
            listings.insert(page, for: name, cost: 200 + page.items.count * 600)
        }
        return page
    }

    private func action(_ entry: Entry, in repository: Repository, _ catalog: Catalog) throws -> Action {
        let location = try entry.location(in: repository.namespace)
        let name = location.description
        if let known = parsed[name] { return try known.get() }
        guard entry.size <= Action.largestFile else {
            throw LakeError(
                .invalidValue, "the file has \(entry.size) bytes: \(Action.largestFile) at most: invalid action")
        }
        let text = try catalog.objects.readAll(location)
        let result: Result<Action, LakeError>
        do { result = .success(try Action(reading: text)) } catch { result = .failure(LakeError(error)) }
        parsed.insert(result, for: name, cost: 500 + text.count * 4)
        return try result.get()
    }

    // MARK: runs

    /// An action whose hooks are ready to run.
    private struct Prepared: Sendable {
        let found: Found
        let hooks: [any RunnableHook]
    }

    private func prepare(_ event: HookEvent, _ catalog: Catalog) throws -> [Prepared] {
        try found(for: event, catalog).map { found in
            Prepared(found: found, hooks: try found.action.hooks.map { try $0.made(settings.environment) })
        }
    }

    private static func hookRunID(_ action: Int, _ hook: Int) -> String {
        func four(_ number: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
        }
        return "\(four(action))_\(four(hook))"
    }

    /// Runs actions side by side, and stores what became of them.
    /// - Returns: what failed, in words.
    private func run(_ prepared: [Prepared], _ event: HookEvent, _ catalog: Catalog) throws -> [Failure] {
        let started = Timestamp.now()
        state.withLock { $0.underWay[event.runID] = (event, started, []) }
        defer { state.withLock { $0.underWay[event.runID] = nil } }
        let services = HookServices(
            catalog: catalog, repository: try catalog.repository(event.repository), ref: Self.ref(event),
            nesting: nesting,
            client: client,
            scripts: scripts,
            calls: LuaCalls(
                catalog: catalog, api: state.withLock { $0.api }, user: event.user, client: client,
                isHTTPEnabled: settings.isHTTPEnabled))
        let depth = nesting.depth + 1
        let outcomes = Mutex<[Int: [Outcome]]>([:])
        let runOne = { @Sendable [self] (index: Int) in
            let outcome = nesting.within(depth) { run(prepared[index], event, services) }
            outcomes.withLock { $0[index] = outcome }
        }
        if prepared.count == 1 || depth > 1 {
            // Hooks within hooks may be on one of the pool's own threads, and must not wait for others.
            for index in prepared.indices { runOne(index) }
        } else {
            let tasks = PoolTasks(actions)
            for index in prepared.indices { try tasks.start { runOne(index) } }
            try tasks.waitForAll()
        }
        let all = outcomes.withLock { outcomes in prepared.indices.flatMap { outcomes[$0] ?? [] } }
        let failures = all.compactMap(\.failure)
        try record(event, started: started, all.map(\.hook), hasPassed: failures.isEmpty, catalog)
        return failures
    }

    private func record(
        _ event: HookEvent, started: Timestamp, _ hooks: [HookRun], hasPassed: Bool, _ catalog: Catalog
    ) throws {
        let run = ActionRun(
            id: event.runID, branch: event.branch.text,
            commitID: event.kind == .preDeleteBranch || event.kind == .postDeleteBranch ? "" : event.commitID.text,
            sourceRef: event.sourceRef, event: event.kind.rawValue, started: started, ended: .now(),
            hasPassed: hasPassed)
        state.withLock { state in
            state.ended.all += 1
            if !hasPassed { state.ended.failed += 1 }
        }
        try catalog.record(run, hooks, manifest: ActionRun.manifest(run, hooks), of: event)
    }

    /// Runs the hooks of an action in order. What fails ends none of the others: their conditions say whether they run.
    private func run(_ prepared: Prepared, _ event: HookEvent, _ services: HookServices) -> [Outcome] {
        let action = prepared.found.action
        var outcomes: [Outcome] = []
        for (index, (hook, runnable)) in zip(action.hooks, prepared.hooks).enumerated() {
            let id = Self.hookRunID(prepared.found.index, index)
            let hasFailed = outcomes.contains { $0.failure != nil }
            let context = HookContext(event, action: action.name, hookID: hook.id)
            state.withLock { $0.underWay[event.runID]?.hooks.append(context) }
            var record = HookRun(
                runID: event.runID, id: id, hookID: hook.id, action: action.name, started: context.time, ended: nil,
                hasPassed: false)
            var failure: Failure?
            do {
                if try HookCondition.holds(hook.condition, hasFailed: hasFailed) {
                    do { try runnable.run(context, services) } catch {
                        throw HookFailure(
                            "action failed: \((error as? HookFailure)?.description ?? LakeError(error).message)")
                    }
                    record.hasPassed = true
                } else {
                    outcomes.append(Outcome(hook: record, failure: nil))
                    continue
                }
            } catch {
                let reason = String("\(error)".prefix(Self.longestReason))
                context.sayFailure(reason)
                failure = Failure(
                    text: "hook run id '\(id)' failed on action '\(action.name)' hook '\(hook.id)': \(reason)",
                    isOfCondition: error is HookCondition.Fault)
            }
            record.ended = .now()
            do {
                try services.catalog.keepOutput(context.output, ofHook: id, inRun: event.runID, of: event.repository)
            } catch {
                Log.warning(
                    "a hook's output could not be kept",
                    ["run": event.runID, "hook": id, "reason": LakeError(error).message])
            }
            context.forget(allBut: Self.shownOutput)
            outcomes.append(Outcome(hook: record, failure: failure))
        }
        return outcomes
    }
}
