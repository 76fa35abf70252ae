/// What is run in a script's process before the script: it puts packages in their places. `native` holds the functions of
/// `LuaNatives`, `output` and `server`.
enum LuaPrelude {
    static let texts: [(name: String, text: String)] =
        [
            ("base", base), ("packages", packages), ("lakefs", lakefs), ("clouds", clouds),
        ] + LuaExporters.texts + [("end", end)]

    /// Lua's own, without what reaches out of the script, and `array`.
    private static let base = #"""
        local native, select, type, rawload = native, select, type, load
        local concat, rawtostring, setmetatable, getmetatable = table.concat, tostring, setmetatable, getmetatable

        dofile, loadfile, loadstring, collectgarbage = nil, nil, nil, collectgarbage
        string.dump = nil

        function load(chunk, name, mode, ...)
            if mode == "b" then return nil, "attempt to load a binary chunk (only texts can be loaded)" end
            return rawload(chunk, name, "t", ...)
        end

        function tostring(...)
            local value = ...
            if type(value) == "number" and (value ~= value or value - value ~= 0) then return native.tostring(value) end
            return rawtostring(...)
        end

        local tostring = tostring
        function print(...)
            local parts = {}
            for index = 1, select("#", ...) do parts[index] = tostring((select(index, ...))) end
            native.output(concat(parts, "\t") .. "\n")
        end

        -- Marks a table as a list: an empty one is one too.
        function array(t)
            local meta = getmetatable(t) or {}
            meta.__list = true
            return setmetatable(t, meta)
        end

        -- Finalizers run wherever memory is asked for, and no limit stops them.
        local rawset_metatable, rawget = setmetatable, rawget
        function _G.setmetatable(t, meta)
            if type(meta) == "table" and rawget(meta, "__gc") ~= nil then error("metatables with __gc are not allowed here", 2) end
            return rawset_metatable(t, meta)
        end

        -- What reaches behind functions would reach out of the script.
        local nothing = function() end
        debug = {
            traceback = debug.traceback, getmetatable = debug.getmetatable, setmetatable = _G.setmetatable,
            sethook = nothing, gethook = nothing, getregistry = function() return {} end, getupvalue = nothing,
            setupvalue = nothing, upvalueid = nothing, upvaluejoin = nothing, getuservalue = nothing, setuservalue = nothing,
        }

        package = {loaded = {}, preload = {}}
        local loaded, preload = package.loaded, package.preload
        for _, name in ipairs({"string", "table", "math", "bit32", "debug", "package"}) do loaded[name] = _G[name] end
        loaded._G = _G

        function require(name)
            if loaded[name] ~= nil then return loaded[name] end
            local make = preload[name]
            if make == nil then
                error("module '" .. tostring(name) .. "' not found: \n\tno field package.preload['" .. tostring(name) .. "']?.lua", 2)
            end
            local made = make(name)
            if made == nil then made = true end
            loaded[name] = made
            return made
        end
        """#

    /// Packages without the world. Names and arguments are lakeFS's (documentation, "Lua hooks", "Lua library reference").
    private static let packages = #"""
        local native, loaded, server = native, package.loaded, native.server
        local function package(name, short, members)
            local made = {}
            for _, member in ipairs(members) do made[member] = native[short .. "." .. member] end
            loaded[name] = made
            return made
        end

        package("encoding/base64", "base64", {"encode", "decode", "url_encode", "url_decode"})
        package("encoding/hex", "hex", {"encode", "decode"})
        package("encoding/json", "json", {"marshal", "unmarshal"})
        package("encoding/yaml", "yaml", {"marshal", "unmarshal"})
        package("encoding/parquet", "parquet", {"get_schema"})
        package("encoding/z85enc", "z85", {"decode_uuid"})
        package("crypto/sha256", "sha256", {"digest"})
        package("crypto/hmac", "hmac", {"sign_sha256", "sign_sha1"})
        package("crypto/aes", "aes", {"encryptCBC", "decryptCBC"})
        package("uuid", "uuid", {"new"})
        package("hook", "hook", {"fail"})
        package("strings", "strings", {"split", "trim", "replace", "has_prefix", "has_suffix", "contains"})
        package("net/url", "url", {"parse", "query_unescape", "path_escape", "build_url"})

        local path = package("path", "path", {"parse", "join", "is_hidden", "extract_dir_name"})
        function path.default_separator() return "/" end

        local regexp = package("regexp", "regexp", {"match", "quote_meta"})
        local check = native["regexp.check"]
        local found, all = native["regexp.find"], native["regexp.find_all"]
        local submatch, submatches = native["regexp.find_submatch"], native["regexp.find_all_submatch"]
        function regexp.compile(pattern)
            local isRight, reason = pcall(check, pattern)
            if not isRight then error(reason, 2) end
            return {
                find = function(text) return found(pattern, text) end,
                find_all = function(text, most) return all(pattern, text, most) end,
                find_submatch = function(text) return submatch(pattern, text) end,
                find_all_submatch = function(text, most) return submatches(pattern, text, most) end,
            }
        end

        local time = package("time", "time", {"now", "since", "sleep", "add", "parse", "parse_iso"})
        local format = native["time.format"]
        local iso = "2006-01-02T15:04:05-07:00"
        local function zone(name)
            if name == nil or name == "" or name == "UTC" then return "UTC", "" end
            return name, server("time.zone", name)
        end
        function time.format(moment, layout, name) return format(moment, layout, zone(name)) end
        function time.format_iso(moment, name) return format(moment, iso, zone(name)) end
        """#

    /// The server's own API, as the user whose change it is.
    private static let lakefs = #"""
        local server, loaded = native.server, package.loaded
        local lakefs = {}
        for _, name in ipairs({
            "create_tag", "diff_refs", "diff_branch", "list_objects", "get_object", "stat_object",
            "update_object_user_metadata",
        }) do
            local call = "lakefs." .. name
            lakefs[name] = function(...) return server(call, ...) end
        end
        loaded["lakefs"] = lakefs
        """#

    /// Clients of others' services: the server sends what they ask for.
    private static let clouds = #"""
        local server, loaded = native.server, package.loaded
        local function client(name, login, members)
            local made = {}
            for _, member in ipairs(members) do
                local call = name .. "." .. member
                made[member] = function(...) return server(call, login, ...) end
            end
            return made
        end

        loaded["aws"] = {
            s3_client = function(id, secret, region, endpoint)
                return client("s3", {id = id, secret = secret, region = region, endpoint = endpoint},
                    {"get_object", "put_object", "list_objects", "delete_object", "delete_recursive"})
            end,
            glue_client = function(id, secret, region, endpoint)
                return client("glue", {id = id, secret = secret, region = region, endpoint = endpoint},
                    {"get_table", "create_table", "update_table", "delete_table", "create_database", "delete_database"})
            end,
        }
        loaded["azure"] = {
            blob_client = function(account, key, endpoint)
                return client("azure", {account = account, key = key, endpoint = endpoint},
                    {"get_object", "put_object", "delete_object"})
            end,
            abfss_transform_path = native["azure.abfss_transform_path"],
        }
        loaded["gcloud"] = {
            gs_client = function(credentials, endpoint)
                return client("gcloud", {credentials = credentials, endpoint = endpoint}, {"write_fuse_symlink"})
            end,
        }
        loaded["databricks"] = {
            client = function(host, token)
                return client("databricks", {host = host, token = token},
                    {"create_schema", "register_external_table", "execute_statement"})
            end,
        }
        loaded["formats"] = {
            delta_client = function(id, secret, region, endpoint)
                return client("delta", {id = id, secret = secret, region = region, endpoint = endpoint}, {"get_table"})
            end,
        }
        package.preload["net/http"] = function()
            if not http_enabled then
                error("module 'net/http' not found: the server's setting actions.lua.net_http_enabled is false", 3)
            end
            return {request = function(...) return server("http.request", ...) end}
        end
        """#

    /// What only the prelude needs is gone when the script begins.
    private static let end = "native = nil"
}
