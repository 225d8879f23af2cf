-- The number of items that can be taken, and of those that were delivered and not acknowledged.
local function counts()
    local unacknowledged = 0
    for _, consumer in ipairs(redis.call('XPENDING', KEYS[1], 'managers')[4] or {}) do
        if consumer[1] == 'unacknowledged' then
            unacknowledged = tonumber(consumer[2])
        end
    end
    -- Another program may have deleted entries.
    return math.max(0, redis.call('XLEN', KEYS[1]) - unacknowledged), unacknowledged
end
