-- wrk's part: send the bodies of a file in turn, and tell what came back.
--
-- wrk ... -s load.lua URL -- bodies [first [type]]
-- JSON is one body a line; before a body of another type stands a line with its length.
-- Prints, after wrk's own report, lines that load.py reads: "@name value ..."; see done().

local threads = {}
local requests, next_request = {}, 0
statuses = ""
local counted = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(arguments)
    local kind = arguments[3] or "application/json"
    local headers = { ["Content-Type"] = kind, ["Accept"] = kind }
    local file = assert(io.open(arguments[1], "rb"))
    for line in file:lines() do
        local body = arguments[3] and file:read(tonumber(line)) or line
        table.insert(requests, wrk.format("POST", nil, headers, body))
    end
    next_request = tonumber(arguments[2] or "0") % #requests
end

function request()
    next_request = next_request % #requests + 1
    return requests[next_request]
end

function response(status)
    counted[status] = (counted[status] or 0) + 1
    -- done() runs in another Lua state and is handed strings and numbers only; a status that is new is rare.
    if counted[status] == 1 then
        statuses = statuses .. status .. " "
    end
    _G["status_" .. status] = counted[status]
end

function done(summary, latency)
    print(string.format("@requests %d", summary.requests))
    print(string.format("@microseconds %d", summary.duration))
    for kind, count in pairs(summary.errors) do
        if kind ~= "status" then print(string.format("@error %s %d", kind, count)) end
    end
    for _, thread in ipairs(threads) do
        for status in thread:get("statuses"):gmatch("%d+") do
            print(string.format("@status %s %d", status, thread:get("status_" .. status)))
        end
    end
    -- The whole distribution: microseconds and how many took so long.
    for index = 1, #latency do
        print(string.format("@latency %d %d", latency(index)))
    end
end
