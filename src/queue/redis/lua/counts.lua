-- The number of items that can be taken, and of those that were taken.
local function counts()
    local taken = 0
    for _, consumer in ipairs(redis.call('XPENDING', KEYS[1], 'managers')[4] or {}) do
        if consumer[1] == 'taken' then
            taken = tonumber(consumer[2])
        end
    end
    return redis.call('XLEN', KEYS[1]) - taken, taken
end
