-- Renews or requeues items: their new consumer, then for each item its tag (id and number of the delivery), its new number
-- of deliveries, and its new idle time in ms.
-- Returns for each tag 1; 0 if the item was delivered again; 2 if it is gone.
local results = {}
for i = 2, #ARGV, 4 do
    local id = ARGV[i]
    local pending = redis.call('XPENDING', KEYS[1], 'managers', id, id, 1)[1]
    local is_last = pending and pending[4] == tonumber(ARGV[i + 1])
    -- An item that is requeued already stays so.
    if is_last and pending[2] == 'unacknowledged' then
        redis.call('XCLAIM', KEYS[1], 'managers', ARGV[1], 0, id,
            'IDLE', ARGV[i + 3], 'RETRYCOUNT', ARGV[i + 2], 'JUSTID')
    end
    results[#results + 1] = is_last and 1 or (pending and 0 or 2)
end
return results
