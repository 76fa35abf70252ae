import Foundations

/// A script on its own, without a lake: for who writes hooks.
package enum LuaScript {
    /// Runs it as hooks' scripts are run: in a process of its own, with their bounds.
    /// - Parameter output: takes what it prints.
    /// - Throws: what it failed with, in its words.
    package static func run(_ text: [UInt8], output: ([UInt8]) -> Void) throws {
        let scripts = LuaProcesses(LuaLimits())
        defer { scripts.stop() }
        try scripts.run(
            text, name: "lua",
            globals: .table([
                "action": .table([:]), "args": .table([:]), "username": .text(""), "http_enabled": .flag(false),
            ]),
            output: output,
            call: { name, _, _ in throw HookFailure("\(name): there is no lake here") })
    }
}
