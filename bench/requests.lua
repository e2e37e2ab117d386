-- POSTs the lines of a file in turn, and writes what came of it as one line of JSON.
-- wrk ... URL -- FILE

local requests, count, turn = {}, 0, 0

function init(args)
   local headers = { ["Content-Type"] = "application/json" }
   for body in io.lines(args[1]) do
      count = count + 1
      requests[count] = wrk.format("POST", nil, headers, body)
   end
end

function request()
   turn = turn % count + 1
   return requests[turn]
end

function done(summary, latency, _)
   local errors = summary.errors
   io.write(string.format(
      '\nRESULT {"requests": %d, "microseconds": %d, "refused": %d, "broken": %d, ' ..
      '"p50": %d, "p99": %d, "max": %d}\n',
      summary.requests, summary.duration, errors.status,
      errors.connect + errors.read + errors.write + errors.timeout,
      latency:percentile(50), latency:percentile(99), latency.max))
end
