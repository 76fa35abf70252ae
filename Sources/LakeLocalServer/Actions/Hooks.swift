import Foundations
import LakeAPI
import Synchronization
import Transport
import Versioning

/// What can be run as a hook. Made of an action's properties; a value that is none refuses the run before anything of it
/// has begun.
protocol RunnableHook: Sendable {
    /// - Throws: `HookFailure`.
    func run(_ context: HookContext, _ services: HookServices) throws
}

extension Action.Hook {
    /// What runs it.
    /// - Throws: `HookFailure` for a property that is none.
    func made(_ environment: HookEnvironment) throws -> any RunnableHook {
        switch kind {
        case .webhook: try Webhook(properties, environment)
        case .airflow: try AirflowHook(properties, environment)
        case .check: try CheckHook(properties)
        case .lua: try LuaHook(properties, environment)
        }
    }
}

/// What hooks need of the server while they run.
struct HookServices: Sendable {
    let catalog: Catalog
    let repository: Repository
    /// The ref that the actions were read from.
    let ref: String
    let nesting: HookNesting
    let client: HTTPClient
    let scripts: LuaProcesses
    let calls: LuaCalls
}

/// Why a hook has failed.
struct HookFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// What a hook's run is about, and where it says what it does. One thread runs the hook, any may look.
final class HookContext: Sendable {
    let event: HookEvent
    let action: String
    let hookID: String
    let time: Timestamp
    private let said = Mutex<(output: [UInt8], isCut: Bool)>(([], false))
    /// Bytes of output that are kept.
    private static let mostOutput = 4 << 20

    /// What it has said so far.
    var output: [UInt8] { said.withLock { $0.output } }

    init(_ event: HookEvent, action: String, hookID: String) {
        self.event = event
        self.action = action
        self.hookID = hookID
        time = .now()
    }

    func say(_ text: String) { say(Array(text.utf8)) }

    func say(_ bytes: [UInt8]) {
        said.withLock { said in
            guard !said.isCut else { return }
            let room = Self.mostOutput - said.output.count
            said.output += bytes.prefix(room)
            guard bytes.count > room else { return }
            said.isCut = true
            said.output += "\n(the rest of the output is left out)\n".utf8
        }
    }

    /// Forgets all but the end of what was said, which is kept elsewhere: for who looks while other hooks go on.
    func forget(allBut count: Int) {
        said.withLock { $0.output = Array($0.output.suffix(count)) }
    }

    /// Says why the hook has failed, whatever was said before.
    func sayFailure(_ text: String) { said.withLock { $0.output += "Error: \(text)\n".utf8 } }

    /// The event as webhooks get it.
    func payload(_ write: (inout JSONWriter, (inout JSONWriter) -> Void) -> Void) -> [UInt8] {
        var json = JSONWriter()
        write(&json) { event.write(to: &$0, action: action, hook: hookID, time: time) }
        return json.bytes
    }
}

/// A time as Go writes it, for a hook's `timeout`.
enum HookDuration {
    /// A bare number is nanoseconds in Go; nobody means that. It is taken for seconds.
    static func milliseconds(_ value: JSONValue?, or standard: Int, what: String) throws(HookFailure) -> Int {
        switch value {
        case nil, .null?: return standard
        case .integer(let seconds)?: return Int(clamping: max(0, min(seconds, longest / 1000)) * 1000)
        case .number(let seconds)? where seconds >= 0: return Int(min(seconds * 1000, Double(longest)))
        case .text(let text)?:
            guard let milliseconds = GoDuration.milliseconds(text) else {
                let isNumber = !text.isEmpty && text.allSatisfy { $0.isNumber || $0 == "." }
                throw HookFailure(
                    "\(what): time: \(isNumber ? "missing unit in" : "invalid") duration \"\(text)\" (90s and 1m30s are durations)"
                )
            }
            return Int(min(max(1, milliseconds), Double(longest)))
        default: throw HookFailure("\(what): the value is no duration: 90s and 1m30s are")
        }
    }

    private static let longest: Int64 = 7 * 24 * 3600 * 1000
}
