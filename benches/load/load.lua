-- What wrk does for the load bench: `wrk … -s load.lua URL -- BODY NUMBER WHAT`.
-- BODY is the file with the request's body. Where NUMBER is above zero, the digits behind WHAT in it are replaced by NUMBER,
-- NUMBER + 1, …, one for each request.

local head, tail, number, digits

function init(args)
    local file = assert(io.open(args[1], "rb"))
    local body = file:read("*a")
    file:close()
    wrk.method = "POST"
    wrk.body = body
    wrk.headers["content-type"] = "application/json"
    wrk.headers["authorization"] = "Bearer a-key-of-the-client"
    wrk.headers["accept"] = "application/json"
    number = tonumber(args[2])
    if number > 0 then
        local whole = wrk.format()
        local _, before = whole:find(args[3], 1, true)
        digits = #whole:match("^%d+", before + 1)
        head = whole:sub(1, before)
        tail = whole:sub(before + digits + 1)
        request = function()
            number = number + 1
            return head .. string.format("%0" .. digits .. "d", number) .. tail
        end
    end
end

function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        'RESULT {"requests":%d,"micros":%d,"p50":%d,"p99":%d,"errors":%d}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        e.connect + e.read + e.write + e.status + e.timeout
    ))
end
