-- Requests that fill a lake, for wrk: each thread takes its share of the numbers. Arguments: login, what, how many, threads.
local count = 0
function setup(thread) thread:set("id", count) count = count + 1 end
function init(args)
   login, what, many, threads = args[1], args[2], tonumber(args[3]), tonumber(args[4])
   number = id
   headers = { ["Authorization"] = login, ["Content-Type"] = "application/json" }
end
function request()
   local at = number
   number = number + threads
   if at >= many then return wrk.format("GET", "/_health/live", headers) end
   local base = "/api/v1/repositories/big/branches"
   if what == "stage" then
      local path = string.format("d%03d/f%06d", math.floor(at / 1000), at)
      return wrk.format("PUT", base .. "/main/objects?path=" .. path, headers, string.format(
         '{"physical_address":"local://big/data/x/%d","checksum":"%032d","size_bytes":1024,"mtime":1700000000}', at, at))
   elseif what == "branch" then
      return wrk.format("POST", base, headers, string.format('{"name":"b%05d","source":"main"}', at))
   end
   return wrk.format("POST", base .. "/log/commits", headers, string.format('{"message":"commit %d","allow_empty":true}', at))
end
