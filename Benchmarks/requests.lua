-- wrk: one target after another from a file, shared out among the threads; from the start again at its end.
-- Usage: wrk -s requests.lua ADDRESS -- METHOD FILE THREADS
-- A line is a target, after tabs headers, and after two tabs a body; a PUT without one carries 1 KiB. Prints one line of JSON that
-- begins with RESULT.

local threads_made = 0

function setup(thread)
  thread:set("number", threads_made)
  threads_made = threads_made + 1
end

function init(arguments)
  method, threads = arguments[1], tonumber(arguments[3])
  body = method == "PUT" and string.rep("lakefuse", 128) or nil
  targets, position = {}, 0
  local line = 0
  for target in io.lines(arguments[2]) do
    if line % threads == number then
      local headers, own = {}, body
      local mark = target:find("\t\t", 1, true)
      if mark then target, own = target:sub(1, mark - 1), target:sub(mark + 2) end
      for name, value in target:gmatch("\t([^:\t]+): ([^\t]+)") do headers[name] = value end
      target = target:match("^[^\t]+")
      -- Few GETs are asked often: made once. Many PUTs are asked once: made when asked, to save memory.
      targets[#targets + 1] = own and { target, headers, own } or wrk.format(method, target, headers)
    end
    line = line + 1
  end
end

function request()
  position = position % #targets + 1
  local found = targets[position]
  return type(found) == "table" and wrk.format(method, found[1], found[2], found[3]) or found
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %.6f, "p50_us": %d, "p99_us": %d, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout + errors.status))
end
