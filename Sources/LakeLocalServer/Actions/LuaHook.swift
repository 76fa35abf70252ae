import Foundations
import LakeAPI
import Versioning

/// Runs a script. Source: lakeFS documentation, "Lua hooks".
///
/// Properties: `script`, or `script_path` in the repository; `args`.
struct LuaHook: RunnableHook {
    private enum Source { case text(String), path(String) }
    private let source: Source
    private let arguments: LuaValue

    /// Bytes of a script in the repository.
    private static let largestScript = 4 << 20

    init(_ properties: [String: JSONValue], _ environment: HookEnvironment) throws {
        if let text = properties["script"]?.text, !text.isEmpty {
            source = .text(text)
        } else if let path = properties["script_path"]?.text, !path.isEmpty {
            source = .path(path)
        } else {
            throw HookFailure("'script' and 'script_path' must be texts: wrong value type")
        }
        switch properties["args"] {
        case nil, .null?: arguments = .table([:])
        case .object(let named)?:
            do { arguments = .table(try named.mapValues { try Self.filled($0, environment) }) } catch {
                throw HookFailure("error parsing args: \(error)")
            }
        default: throw HookFailure("'args' should be a map: wrong value type")
        }
    }

    private static func filled(_ value: JSONValue, _ environment: HookEnvironment) throws -> LuaValue {
        switch value {
        case .text(let text): .text(try environment.fill(text).value)
        case .list(let items): .list(try items.map { try filled($0, environment) })
        case .object(let members): .table(try members.mapValues { try filled($0, environment) })
        default: LuaValue(value)
        }
    }

    func run(_ context: HookContext, _ services: HookServices) throws {
        let script: [UInt8]
        switch source {
        case .text(let text): script = Array(text.utf8)
        case .path(let path): script = try read(path, services)
        }
        let action = context.event.table(
            action: context.action, hook: context.hookID, namespace: services.repository.storageNamespace)
        let calls = services.calls
        try services.scripts.run(
            script, name: "lua", isNested: services.nesting.depth > 1,
            isBehind: context.event.kind.isBehind,
            globals: .table([
                "action": action, "args": arguments, "username": .text(context.event.user),
                "http_enabled": .flag(calls.isHTTPEnabled),
            ]),
            output: { context.say($0) }, call: { try calls.call($0, LuaArguments($1), until: $2) })
    }

    private func read(_ path: String, _ services: HookServices) throws -> [UInt8] {
        do {
            let found = try services.catalog.entry(Key(path), at: services.ref, in: services.repository.id)
            guard found.entry.size <= Self.largestScript else {
                throw HookFailure(
                    "could not load script_path \(path): it has \(found.entry.size) bytes, \(Self.largestScript) at most: invalid action"
                )
            }
            return try services.catalog.objects.readAll(found.location)
        } catch let error as LakeError where error.code == .notFound(.object) {
            throw HookFailure("could not load script_path \(path): HTTP 404: invalid action")
        }
    }
}
