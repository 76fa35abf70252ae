import CLua
import Foundations
import Glibc

/// A function that scripts call. What it throws they see as an error.
typealias LuaFunction = ([LuaValue]) throws -> [LuaValue]

/// The Lua of a script's process. One of them in a process, used by one thread: Lua calls back to it.
///
/// Lua raises errors by longjmp(3), which must not pass over Swift's frames. So nothing is called here that may raise one:
/// what runs scripts is called protected, values are read and pushed by calls that fail for lack of memory alone, and that
/// ends the process (`CLua`, `lake_lua_allocate`).
enum LuaState {
    // One thread runs in a script's process, and Lua's callbacks get no context of ours.
    nonisolated(unsafe) private static var functions: [LuaFunction] = []
    nonisolated(unsafe) private static var memory = lake_lua_memory()
    nonisolated(unsafe) private static var memoryBytes = 0
    nonisolated(unsafe) private static var instructionsLeft: Int64 = .max
    nonisolated(unsafe) private static var ended: (String) -> Void = { _ in }
    nonisolated(unsafe) private static var state: OpaquePointer?

    /// Instructions between looks at what is left of them.
    private static let step: Int32 = 100_000

    /// Makes it, with the libraries that scripts have, and `functions` by their names for the prelude.
    /// - Parameter ended: told why the script has come to its end; it does not return.
    static func open(_ named: [(name: String, function: LuaFunction)], ended: @escaping (String) -> Void) {
        unsafe self.ended = ended
        unsafe memory.most = .max / 2
        unsafe memory.full = {
            unsafe LuaState.ended("not enough memory: the script may have \(LuaState.memoryBytes) bytes")
        }
        let L = unsafe lake_lua_open(&memory)
        unsafe state = unsafe L
        unsafe lake_lua_libraries(L)
        unsafe lua_createtable(L, 0, Int32(named.count))
        for (index, (name, function)) in named.enumerated() {
            unsafe functions.append(function)
            unsafe lua_pushnumber(L, Double(index))
            unsafe lake_lua_push_function(L) { L in unsafe LuaState.call(L) }
            unsafe lua_setfield(L, -2, name)
        }
        unsafe lua_setglobal(L, "native")
    }

    static func setGlobal(_ name: String, _ value: LuaValue) {
        unsafe push(value, state)
        unsafe lua_setglobal(state, name)
    }

    /// Runs a text of Lua.
    /// - Returns: why it has failed; nil if it has not.
    static func run(_ text: [UInt8], name: String, memoryBytes: Int? = nil, instructions: Int64? = nil) -> String? {
        let L = unsafe state
        let kind = unsafe text.withUnsafeBytes {
            unsafe luaL_loadbufferx(L, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count, name, "t")
        }
        guard kind == 0 else { return unsafe "syntax error: " + message(L) }
        // The handler of errors stands below what is called.
        unsafe lua_pushnumber(L, -1)
        unsafe lake_lua_push_function(L) { L in unsafe LuaState.call(L) }
        unsafe lua_insert(L, -2)
        if let memoryBytes {
            unsafe self.memoryBytes = memoryBytes
            unsafe memory.most = memory.used + memoryBytes
        }
        if let instructions {
            unsafe instructionsLeft = instructions
            unsafe _ = lua_sethook(
                L,
                { _, _ in
                    unsafe LuaState.instructionsLeft -= Int64(LuaState.step)
                    if unsafe LuaState.instructionsLeft < 0 {
                        unsafe LuaState.ended("the script ran more instructions than it may, and was ended")
                    }
                }, Int32(LUA_MASKCOUNT), step)
        }
        let status = unsafe lake_lua_call(L, 0, 0, -2)
        guard status != 0 else { return nil }
        let text = unsafe message(L)
        if let open = text.firstRange(of: failureMark.open), let close = text.firstRange(of: failureMark.close) {
            return String(text[open.upperBound..<close.lowerBound])
        }
        return "runtime error: " + text
    }

    /// What stands around the reason of `hook.fail` on its way to the end.
    static let failureMark = (open: "<HookFailure>", close: "</HookFailure>")

    private static func message(_ L: OpaquePointer?) -> String {
        unsafe read(L, -1, depth: 0)?.text ?? "an error that is no text"
    }

    // MARK: calls from Lua

    private static func call(_ L: OpaquePointer?) -> Int32 {
        let index = unsafe Int(lake_lua_number(L, lake_lua_upvalue(1)))
        if index == -1 { return unsafe explain(L) }
        let count = unsafe lua_gettop(L)
        var arguments: [LuaValue] = []
        guard unsafe functions.indices.contains(index), unsafe lua_checkstack(L, 32) != 0 else {
            return unsafe fail(L, "stack overflow")
        }
        if count > 0 {
            for place in 1...count {
                guard let value = unsafe read(L, place, depth: 0) else {
                    let kind = unsafe String(cString: lua_typename(L, lua_type(L, place)))
                    return unsafe fail(
                        L,
                        "bad argument #\(place): a \(kind) (or a table with one, or nested too deep) cannot be passed")
                }
                arguments.append(value)
            }
        }
        do {
            let results = unsafe try functions[index](arguments)
            guard unsafe lua_checkstack(L, Int32(results.count) + 8) != 0 else {
                return unsafe fail(L, "stack overflow")
            }
            for value in results { unsafe push(value, L) }
            return Int32(results.count)
        } catch let failure as HookFailure where failure.description.hasPrefix(failureMark.open) {
            unsafe push(.text(failure.description), L)
            return -1
        } catch {
            return unsafe fail(L, "\(error)")
        }
    }

    private static func fail(_ L: OpaquePointer?, _ reason: String) -> Int32 {
        unsafe luaL_where(L, 1)
        // Of our own Lua, who called it is wanted.
        if unsafe read(L, -1, depth: 0)?.text?.hasPrefix("lakefs:") ?? false { unsafe luaL_where(L, 2) }
        unsafe push(.text(reason), L)
        unsafe lua_concat(L, 2)
        return -1
    }

    /// Adds to an error where it came from, in lakeFS's words: what is ours is `[Go]`.
    private static func explain(_ L: OpaquePointer?) -> Int32 {
        let text: String
        if let value = unsafe read(L, 1, depth: 0) {
            switch value {
            case .bytes: text = value.text ?? ""
            case .number(let number): text = LuaText.number(number)
            case .pairs: text = "(error object is a table value: error takes a text)"
            default: text = "(error object is a \(value.kind) value)"
            }
        } else {
            text = "(error object is no text)"
        }
        unsafe luaL_traceback(L, L, nil, 1)
        let trace = unsafe (read(L, -1, depth: 0)?.text ?? "").split(separator: "\n")
        var lines = trace.map { line -> String in
            if line == "\t[C]: in function 'error'" { return "\t[Go]: in ?" }
            if line.hasPrefix("\t[C]:") { return "\t[Go]:" + line.dropFirst(5) }
            guard line.hasPrefix("\tlakefs:"), let place = line.dropFirst(8).firstIndex(of: ":") else {
                return String(line)
            }
            return "\t[Go]" + line[place...]
        }
        if lines.last == "\t[Go]: in ?", lines.count > 2 { lines.removeLast() }
        unsafe lua_settop(L, 0)
        unsafe push(.text(text + "\n" + lines.joined(separator: "\n")), L)
        return 1
    }

    // MARK: values

    /// A value of the stack; nil for a function, userdata or thread, also within a table, and for tables nested too deep.
    private static func read(_ L: OpaquePointer?, _ place: Int32, depth: Int) -> LuaValue? {
        switch unsafe lua_type(L, place) {
        case LUA_TNIL, LUA_TNONE: return .null
        case LUA_TBOOLEAN: return unsafe .flag(lua_toboolean(L, place) != 0)
        case LUA_TNUMBER: return unsafe .number(lake_lua_number(L, place))
        case LUA_TSTRING:
            var count = 0
            let start = unsafe lua_tolstring(L, place, &count)
            return unsafe .bytes(Array(UnsafeRawBufferPointer(start: start, count: count)))
        case LUA_TTABLE:
            guard depth < LuaWire.deepest, unsafe lua_checkstack(L, 8) != 0 else { return nil }
            let table = unsafe lua_absindex(L, place)
            let isList = unsafe luaL_getmetafield(L, table, "__list") != 0
            if isList { unsafe lake_lua_pop(L, 1) }
            var pairs: [LuaValue.Pair] = []
            unsafe lua_pushnil(L)
            while unsafe lua_next(L, table) != 0 {
                guard let key = unsafe read(L, -2, depth: depth + 1), let value = unsafe read(L, -1, depth: depth + 1)
                else {
                    unsafe lake_lua_pop(L, 2)
                    return nil
                }
                pairs.append(LuaValue.Pair(key: key, value: value))
                unsafe lake_lua_pop(L, 1)
            }
            return .pairs(pairs, isList: isList)
        default: return nil
        }
    }

    private static func push(_ value: LuaValue, _ L: OpaquePointer?) {
        switch value {
        case .null: unsafe lua_pushnil(L)
        case .flag(let flag): unsafe lua_pushboolean(L, flag ? 1 : 0)
        case .number(let number): unsafe lua_pushnumber(L, number)
        case .bytes(let bytes):
            _ = unsafe bytes.withUnsafeBytes {
                unsafe lua_pushlstring(L, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count)
            }
        case .pairs(let pairs, let isList):
            guard unsafe lua_checkstack(L, 8) != 0 else { return unsafe lua_pushnil(L) }
            unsafe lua_createtable(L, isList ? Int32(pairs.count) : 0, isList ? 0 : Int32(pairs.count))
            for pair in pairs where pair.key != .null && pair.key.number?.isNaN != true {
                unsafe push(pair.key, L)
                unsafe push(pair.value, L)
                unsafe lua_rawset(L, -3)
            }
            if isList {
                unsafe lua_createtable(L, 0, 1)
                unsafe lua_pushboolean(L, 1)
                unsafe lua_setfield(L, -2, "__list")
                _ = unsafe lua_setmetatable(L, -2)
            }
        }
    }
}

/// Numbers as Lua writes them.
enum LuaText {
    /// `%.14g`, and Go's names for what is no finite number.
    static func number(_ number: Double) -> String {
        if number.isNaN { return "NaN" }
        if number.isInfinite { return number < 0 ? "-Inf" : "+Inf" }
        if let whole = Int64(exactly: number), whole.magnitude < 100_000_000_000_000 {
            return whole == 0 && number.sign == .minus ? "-0" : String(whole)
        }
        var buffer = [CChar](repeating: 0, count: 40)
        let count = unsafe withVaList([number]) { unsafe vsnprintf(&buffer, buffer.count, "%.14g", $0) }
        return String(decoding: buffer.prefix(Int(count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
