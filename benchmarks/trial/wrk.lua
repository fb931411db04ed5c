-- Posts the JSON of a file; prints how many responses came, in how many microseconds, the latency
-- of half and of 99 % of them in microseconds, and how many requests failed.
local post

function init(args)
    local file = assert(io.open(args[1], "rb"))
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/json"
    wrk.body = file:read("*a")
    file:close()
    post = wrk.format()
end

function request()
    return post
end

function done(summary, latency, requests)
    local errors = summary.errors
    local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
    print(string.format("result %d %d %d %d %d", summary.requests, summary.duration,
        latency:percentile(50), latency:percentile(99), failed))
end
