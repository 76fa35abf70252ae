import CLua
import Foundations
import Glibc

/// A script's process: it waits for a script, runs it, and ends. It has no files, no environment and no network; what it
/// wants of the world it asks the server for.
package enum LuaWorker {
    package static var command: String { LuaProcesses.command }

    /// Bytes of address space beside what a script's values may take: for what is made of them.
    private static let spareBytes: UInt64 = 256 << 20
    /// Output is sent on when it has come to so many bytes.
    private static let pieceBytes = 32 << 10

    /// Runs in the process that `LuaProcesses` begins.
    /// - Parameter limits: bytes of memory, instructions, seconds of a processor.
    package static func serve(_ limits: [String]) -> Int32 {
        guard limits.count == 3, let memoryBytes = Int(limits[0]), let instructions = Int64(limits[1]),
            let seconds = UInt64(limits[2])
        else { return 1 }
        Glibc.signal(SIGINT, SIG_IGN)
        Glibc.signal(SIGTERM, SIG_IGN)
        Glibc.signal(SIGPIPE, SIG_IGN)
        _ = lake_die_with_parent()
        // Nor is there anything to say there.
        let nowhere = unsafe open("/dev/null", O_RDWR | O_CLOEXEC)
        guard nowhere >= 0, dup2(nowhere, 1) == 1, dup2(nowhere, 2) == 2 else { return 1 }
        _ = lake_lua_close_from(3)  // What was open in the server is not its business.
        // Scripts give way to everything that the server does.
        _ = nice(15)
        let channel = LuaChannel(descriptor: 0)
        var printed: [UInt8] = []
        func flush() {
            guard !printed.isEmpty else { return }
            let bytes = printed
            printed = []
            do { try channel.send(.output, .bytes(bytes)) } catch { _exit(1) }
        }
        func finish(_ failure: String?) -> Never {
            flush()
            do { try channel.send(.end, failure.map { .text($0) } ?? .null) } catch { _exit(1) }
            _exit(0)
        }
        let output: LuaFunction = { arguments in
            printed += arguments.first?.array ?? []
            if printed.count >= pieceBytes { flush() }
            return []
        }
        // `server(name, …)`: asks the server.
        let server: LuaFunction = { arguments in
            flush()
            let answer: (kind: LuaChannel.Kind, value: LuaValue)
            do {
                try channel.send(.call, .list(arguments))
                answer = try channel.receive()
            } catch { _exit(1) }
            guard answer.kind == .result else { throw HookFailure(answer.value.text ?? "") }
            return answer.value.items ?? []
        }
        LuaState.open([("output", output), ("server", server)] + LuaNatives.all) { finish($0) }
        for (name, text) in LuaPrelude.texts {
            if let failure = LuaState.run(Array(text.utf8), name: "=lakefs") {
                finish("the prelude \(name) is broken: \(failure)")
            }
        }
        limit(RLIMIT_CORE, 0)
        limit(RLIMIT_FSIZE, 0)
        limit(__RLIMIT_NPROC, 0)
        // The bounds of last resort: Lua keeps within its own.
        limit(RLIMIT_AS, addressSpace() + UInt64(memoryBytes) + spareBytes)
        limit(RLIMIT_CPU, seconds)
        guard lake_confine() == 0 else { finish("the script's process could not be confined: error \(errno)") }
        let start: LuaValue
        do { start = try channel.receive().value } catch { return 0 }
        for pair in start["globals"].pairs ?? [] {
            if let name = pair.key.text { LuaState.setGlobal(name, pair.value) }
        }
        finish(
            LuaState.run(
                start["script"].array ?? [], name: start["name"].text ?? "lua", memoryBytes: memoryBytes,
                instructions: instructions))
    }

    private static func limit(_ resource: __rlimit_resource, _ value: UInt64) {
        var limit = rlimit(rlim_cur: rlim_t(value), rlim_max: rlim_t(value))
        _ = unsafe setrlimit(__rlimit_resource_t(resource.rawValue), &limit)
    }

    /// Bytes of the process's address space (proc(5), statm); a gigabyte if that cannot be read.
    private static func addressSpace() -> UInt64 {
        let file = unsafe open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return 1 << 30 }
        defer { close(file) }
        var text = [UInt8](repeating: 0, count: 100)
        let count = unsafe read(file, &text, text.count)
        let pages = UInt64(String(decoding: text.prefix(max(0, count)).prefix { $0 != 0x20 }, as: UTF8.self))
        return pages.map { $0 * UInt64(sysconf(Int32(_SC_PAGESIZE))) } ?? 1 << 30
    }
}
