-- Changes who has items: the consumer, then for each item its id, the number of the delivery that this is about, the
-- number to remember, and the time in ms since which nobody used it.
-- Returns for each 1; 0 if it was delivered again since, or is gone.
local results = {}
for i = 2, #ARGV, 4 do
    local id = ARGV[i]
    local pending = redis.call('XPENDING', KEYS[1], 'managers', id, id, 1)[1]
    local is_last = pending and pending[4] == tonumber(ARGV[i + 1])
    -- What came back stays there.
    if is_last and pending[2] == 'taken' then
        redis.call('XCLAIM', KEYS[1], 'managers', ARGV[1], 0, id,
            'IDLE', ARGV[i + 3], 'RETRYCOUNT', ARGV[i + 2], 'JUSTID')
    end
    results[#results + 1] = is_last and 1 or 0
end
return results
