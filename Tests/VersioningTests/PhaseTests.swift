import Foundations
import LakeTestSupport
import S3Backend
import Synchronization
import Testing

@testable import Versioning

/// Changes of refs with hooks around them.
@Suite struct PhaseTests {
    /// Notes what it is asked, refuses what it is told to refuse, and may do something meanwhile.
    private final class Recorder: HookRunner {
        private let events = Mutex<[HookEvent]>([])
        let refused: Mutex<HookEvent.Kind?> = Mutex(nil)
        let meanwhile: Mutex<(@Sendable (HookEvent) throws -> Void)?> = Mutex(nil)

        func watched(_ events: [HookEvent]) -> [Bool] { events.map { _ in true } }
        func note(_ event: HookEvent) -> Bool { true }
        func failed(_ event: HookEvent) {}

        func before(_ event: HookEvent) throws -> Bool {
            events.withLock { $0.append(event) }
            try meanwhile.withLock { $0 }?(event)
            if refused.withLock({ $0 }) == event.kind {
                throw LakeError(.preconditionFailed, "run \(event.runID) failed")
            }
            return true
        }

        func after(_ event: HookEvent, hasRun: Bool, isNoted: Bool) { events.withLock { $0.append(event) } }

        /// What came since this was asked last.
        func take() -> [HookEvent] {
            events.withLock { events in
                defer { events = [] }
                return events
            }
        }
    }

    private let recorder = Recorder()
    private let lake: MemoryLake
    private var catalog: Catalog { lake.catalog }

    init() throws {
        lake = MemoryLake(objects: MemoryObjectStore(), hooks: recorder)
        try lake.make()
        _ = recorder.take()
    }

    private func said(_ event: HookEvent) -> [String] {
        [
            event.kind.rawValue, event.branch.text, event.tag, event.sourceRef, event.commitID.text, event.message,
            event.mergeSource,
        ]
    }

    /// The fields of each event are those that lakeFS was seen to give its hooks.
    @Test func eachChangeIsToldBeforeAndAfter() throws {
        try lake.put("a", "1")
        let first = try catalog.commit(CommitRequest(committer: "u", message: "one"), on: "main", in: "repo").id.text
        var events = recorder.take()
        #expect(
            events.map(said) == [
                ["prepare-commit", "main", "", "main", "", "one", ""],
                ["pre-commit", "main", "", "main", "", "one", ""],
                ["post-commit", "main", "", first, first, "one", ""],
            ])
        #expect(events.map(\.committer) == ["u", "u", "u"] && events.allSatisfy { $0.repository == "repo" })
        #expect(Set(events.map(\.runID)).count == 3 && events[2].preRunID == events[1].runID)
        #expect(events[0].preRunID.isEmpty && events[1].preRunID.isEmpty)

        _ = try catalog.createBranch("b", from: "main~0", in: "repo")
        try lake.put("b", "2", on: "b")
        let second = try lake.commit("two", on: "b")
        _ = recorder.take()
        var options = Catalog.MergeOptions()
        options.strategy = .sourceWins
        let merged = try catalog.merge(
            "b", into: "main", CommitRequest(committer: "u", message: ""), options, in: "repo"
        ).text
        events = recorder.take()
        let text = "Merge 'b' into 'main'"
        #expect(
            events.map(said) == [
                ["pre-merge", "main", "", second, merged, text, "b"],
                ["post-merge", "main", "", merged, merged, text, "b"],
            ])
        #expect(events[0].metadata[".lakefs.merge.strategy"] == "source-wins")

        let reverted = try catalog.revert(
            second, parentNumber: 0, on: "b", CommitRequest(committer: "u", message: ""), in: "repo"
        ).id.text
        let picked = try catalog.cherryPick(
            second, parentNumber: nil, on: "b", committer: "u", message: nil, metadata: nil, force: false, in: "repo"
        ).id.text
        _ = try catalog.createTag("t", at: "b", in: "repo", force: false)
        try catalog.deleteTag("t", in: "repo", force: false)
        try catalog.deleteBranch("b", in: "repo", force: false)
        #expect(
            recorder.take().map(said) == [
                ["pre-revert", "b", "", "b", "", "Revert \(second)", ""],
                ["post-revert", "b", "", reverted, reverted, "Revert \(second)", ""],
                ["pre-cherry-pick", "b", "", "b", "", "two", ""],
                ["post-cherry-pick", "b", "", picked, picked, "two", ""],
                ["pre-create-tag", "", "t", picked, picked, "", ""],
                ["post-create-tag", "", "t", picked, picked, "", ""],
                ["pre-delete-tag", "", "t", picked, picked, "", ""],
                ["post-delete-tag", "", "t", picked, picked, "", ""],
                ["pre-delete-branch", "b", "", picked, "", "", ""],
                ["post-delete-branch", "b", "", picked, "", "", ""],
            ])
        try catalog.hardReset("main", to: "main~1", in: "repo", force: true)
        #expect(recorder.take().isEmpty)
    }

    /// Whatever is refused before leaves everything as it was, and nothing is told after.
    @Test(arguments: HookEvent.Kind.allCases.filter { !$0.rawValue.hasPrefix("post-") })
    func whatIsRefusedIsNotDone(_ kind: HookEvent.Kind) throws {
        try lake.put("a", "1")
        let first = try lake.commit("one")
        _ = try catalog.createBranch("b", from: "main", in: "repo")
        _ = try catalog.createTag("t", at: "main", in: "repo", force: false)
        try lake.put("b", "2", on: "b")
        let second = try lake.commit("two", on: "b")
        try lake.put("c", "3", on: "b")
        _ = recorder.take()
        recorder.refused.withLock { $0 = kind }
        expectFailure(.preconditionFailed) {
            switch kind {
            case .prepareCommit, .preCommit: _ = try lake.commit("three", on: "b")
            case .preMerge:
                _ = try catalog.merge(
                    "b", into: "main", CommitRequest(committer: "u", message: ""), .init(), in: "repo")
            case .preRevert:
                _ = try catalog.revert(
                    first, parentNumber: 0, on: "main", CommitRequest(committer: "u", message: ""), in: "repo")
            case .preCherryPick:
                _ = try catalog.cherryPick(
                    second, parentNumber: nil, on: "main", committer: "u", message: nil, metadata: nil, force: false,
                    in: "repo")
            case .preCreateBranch: _ = try catalog.createBranch("new", from: "main", in: "repo")
            case .preDeleteBranch: try catalog.deleteBranch("b", in: "repo", force: false)
            case .preCreateTag: _ = try catalog.createTag("new", at: "main", in: "repo", force: false)
            case .preDeleteTag: try catalog.deleteTag("t", in: "repo", force: false)
            default: Issue.record("\(kind) has no change here")
            }
        }
        #expect(recorder.take().last?.kind == kind)
        #expect(try catalog.branch("main", in: "repo").commitID.text == first)
        #expect(try catalog.branch("b", in: "repo").commitID.text == second)
        #expect(try catalog.tag("t", in: "repo").commitID.text == first)
        #expect(try lake.contents("b").keys.sorted() == ["a", "b", "c"])
        expectFailure(.notFound(.branch)) { try catalog.branch("new", in: "repo") }
        expectFailure(.notFound(.tag)) { try catalog.tag("new", in: "repo") }
    }

    /// Hooks run once, however often the swing has to be tried, and see to it that nothing else is merged than they saw.
    @Test func aRaceDoesNotRunHooksAgain() throws {
        try lake.put("a", "1")
        try lake.commit("one")
        _ = try catalog.createBranch("b", from: "main", in: "repo")
        try lake.put("b", "2", on: "b")
        try lake.commit("two", on: "b")
        try lake.put("mine", "3")
        _ = recorder.take()
        // Another commit while the hooks of one run takes what they looked at: what came later they have not seen.
        recorder.meanwhile.withLock {
            $0 = { [lake] event in
                guard event.kind == .preCommit, event.message == "mine" else { return }
                try lake.put("other", "4")
                try lake.commit("other")
                try lake.put("late", "5")
            }
        }
        expectFailure(.preconditionFailed) { try lake.commit("mine") }
        #expect(try lake.contents("main").keys.sorted() == ["a", "late", "mine", "other"])
        #expect(try lake.contents("main~0").keys.sorted() == ["a", "mine", "other"])
        let kinds = recorder.take().map { "\($0.kind.rawValue) \($0.message)" }
        #expect(
            kinds == [
                "prepare-commit mine", "pre-commit mine", "prepare-commit other", "pre-commit other",
                "post-commit other",
            ])
        // What is staged while hooks run is no part of the commit that they let pass.
        recorder.meanwhile.withLock {
            $0 = { [lake] event in
                guard event.kind == .preCommit else { return }
                try lake.put("later", "6")
            }
        }
        try lake.commit("late")
        #expect(try lake.contents("main~0").keys.sorted() == ["a", "late", "mine", "other"])
        #expect(try lake.contents("main").keys.sorted() == ["a", "late", "later", "mine", "other"])
        recorder.meanwhile.withLock { $0 = nil }
        try lake.commit("later")
        _ = recorder.take()
        recorder.meanwhile.withLock {
            $0 = { [lake] event in
                guard event.kind == .preMerge else { return }
                try lake.put("again", "6")
                try lake.commit("again")
            }
        }
        expectFailure(.preconditionFailed) {
            _ = try catalog.merge("b", into: "main", CommitRequest(committer: "u", message: ""), .init(), in: "repo")
        }
        #expect(recorder.take().filter { $0.kind == .preMerge || $0.kind == .postMerge }.count == 1)
        recorder.meanwhile.withLock { $0 = nil }
        _ = try catalog.merge("b", into: "main", CommitRequest(committer: "u", message: ""), .init(), in: "repo")
        #expect(try lake.contents("main").keys.sorted() == ["a", "again", "b", "late", "later", "mine", "other"])
    }
}
