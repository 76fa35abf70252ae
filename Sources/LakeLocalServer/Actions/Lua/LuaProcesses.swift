import Foundations
import Glibc
import Synchronization

/// What a script may use. Holds for everything that it does, the matching of patterns too.
package struct LuaLimits: Sendable {
    /// `actions.lua.max_memory_bytes`: what its values may take.
    package var memoryBytes = 128 << 20
    /// `actions.lua.max_instructions`: of Lua's machine: some ten seconds' worth.
    package var instructions: Int64 = 1_000_000_000
    /// `actions.lua.max_seconds`: from its beginning to its end, waiting included.
    package var seconds: Int64 = 300
    /// `actions.lua.max_processor_time`: seconds of a processor.
    package var processorSeconds: Int64 = 60
    /// `actions.lua.max_scripts`: at once; others wait.
    package var atOnce = 4
    package init() {}
}

/// Processes of this program in which scripts run, one each: a script can neither harm the server nor outstay its time.
/// A few are begun before they are needed. Safe from any thread.
final class LuaProcesses: Sendable {
    static let command = "lua-process"

    let limits: LuaLimits
    private struct State {
        var isStopping = false
        var isStarting = false
        var warm: [(process: pid_t, channel: Int32)] = []
        /// Those that run a script.
        var running: Set<pid_t> = []
        /// Scripts that run or are about to, and those of them behind changes.
        var inUse = 0, behind = 0
    }
    private let state = Mutex(State())
    private let ended = CountingSemaphore()
    private let starter = WorkerPool(name: "lua-start", width: 1)

    /// Processes that wait for a script.
    private static let kept = 2

    init(_ limits: LuaLimits) { self.limits = limits }

    /// Ends all processes.
    func stop() {
        let all = state.withLock { state in
            state.isStopping = true
            defer { state.warm = [] }
            for process in state.running { kill(process, SIGKILL) }
            return state.warm
        }
        for (process, channel) in all {
            close(channel)
            ChildProcess.end(process)
        }
        starter.stop()
    }

    private func begin() -> (process: pid_t, channel: Int32)? {
        ChildProcess.spawn(
            [Self.command, "\(limits.memoryBytes)", "\(limits.instructions)", "\(limits.processorSeconds)"],
            keepsPackets: false)
    }

    /// Begins what will be wanted next, on a thread of its own.
    private func refill() {
        let isWanted = state.withLock { state in
            guard !state.isStopping, !state.isStarting, state.warm.count < Self.kept else { return false }
            state.isStarting = true
            return true
        }
        guard isWanted else { return }
        starter.run { [self] in
            while true {
                let made = begin()
                let isDone = state.withLock { state in
                    if let made, !state.isStopping { state.warm.append(made) }
                    let isDone = made == nil || state.isStopping || state.warm.count >= Self.kept
                    if isDone { state.isStarting = false }
                    return isDone
                }
                if let made, state.withLock({ $0.isStopping }) {
                    close(made.channel)
                    ChildProcess.end(made.process)
                }
                if isDone { return }
            }
        }
    }

    /// Runs a script to its end.
    /// - Parameters:
    ///   - isNested: another script waits for it, and must not wait for that.
    ///   - isBehind: nobody waits for it: half of the room is kept for others.
    ///   - output: what it prints.
    ///   - call: does what it asks of the server, until a time on the monotonic clock; what it throws the script sees as
    ///     an error.
    /// - Throws: `HookFailure` in the script's words, or in ours if it went beyond its limits.
    func run(
        _ script: [UInt8], name: String, isNested: Bool = false, isBehind: Bool = false, globals: LuaValue,
        output: ([UInt8]) -> Void,
        call: (String, [LuaValue], Int64) throws -> [LuaValue]
    ) throws {
        let deadline = Timestamp.monotonicMilliseconds() + limits.seconds * 1000
        try waitForRoom(until: deadline, isNested: isNested, isBehind: isBehind)
        guard let (process, descriptor) = takeWarm() ?? begin() else {
            leaveRoom(nil, isBehind: isBehind)
            throw HookFailure("no process could be started for the script: error \(errno)")
        }
        state.withLock { _ = $0.running.insert(process) }
        refill()
        defer {
            close(descriptor)
            ChildProcess.end(process)
            leaveRoom(process, isBehind: isBehind)
        }
        let channel = LuaChannel(descriptor: descriptor, deadline: deadline)
        do {
            try channel.send(
                .start,
                .table([
                    "script": .bytes(script), "name": .text(name), "globals": globals,
                ]))
            while true {
                let (kind, value) = try channel.receive()
                switch kind {
                case .output: output(value.array ?? [])
                case .end:
                    if let failure = value.text { throw HookFailure(failure) }
                    return
                case .call:
                    guard let items = value.items, let name = items.first?.text else { throw LuaChannel.Fault.broken }
                    do {
                        try channel.send(.result, .list(try call(name, Array(items.dropFirst()), deadline)))
                    } catch let error as LuaChannel.Fault {
                        throw error
                    } catch {
                        try channel.send(
                            .failure, .text((error as? HookFailure)?.description ?? LakeError(error).message))
                    }
                case .start, .result, .failure: throw LuaChannel.Fault.broken
                }
            }
        } catch LuaChannel.Fault.late {
            throw HookFailure("the script took longer than \(limits.seconds) s and was ended")
        } catch LuaChannel.Fault.broken {
            throw HookFailure(
                state.withLock { $0.isStopping }
                    ? "the server stops, and the script was ended"
                    : "the script's process ended: it used more processor time or memory than it may")
        }
    }

    /// One that waits for a script, and lives: any may have been killed meanwhile.
    private func takeWarm() -> (process: pid_t, channel: Int32)? {
        while let taken = state.withLock({ $0.warm.popLast() }) {
            if ChildProcess.isAlive(taken.process) { return taken }
            close(taken.channel)
        }
        return nil
    }

    private func waitForRoom(until deadline: Int64, isNested: Bool, isBehind: Bool) throws {
        while true {
            let hasRoom = state.withLock { state in
                let hasRoom =
                    state.inUse < limits.atOnce && (!isBehind || state.behind < max(1, limits.atOnce / 2))
                guard isNested || hasRoom else { return false }
                state.inUse += 1
                if isBehind { state.behind += 1 }
                return true
            }
            if hasRoom { return }
            let left = deadline - Timestamp.monotonicMilliseconds()
            guard left > 0 else {
                throw HookFailure("other scripts have not ended within \(limits.seconds) s: this one was not begun")
            }
            _ = ended.wait(milliseconds: Int(min(left, 1000)))
        }
    }

    /// - Parameter process: what ran; nil if none could be begun.
    private func leaveRoom(_ process: pid_t?, isBehind: Bool) {
        state.withLock { state in
            state.inUse -= 1
            if isBehind { state.behind -= 1 }
            if let process { state.running.remove(process) }
        }
        ended.post()
    }
}
