-- Takes items: at most this many, and no more after this many bytes. First those that were requeued, in the order in which
-- they were put. Returns the id, the fields and the number of deliveries of each.
local max, left, found = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
local function add(entry, times)
    found[#found + 1] = {entry[1], entry[2], times}
    left = left - #(entry[2][2] or '')
end
for _, pending in ipairs(redis.call('XPENDING', KEYS[1], 'managers', '-', '+', max, 'requeued')) do
    if left <= 0 then
        break
    end
    local entry = redis.call('XCLAIM', KEYS[1], 'managers', 'unacknowledged', 0, pending[1])[1]
    -- Without an entry, another program has deleted it.
    if entry then
        add(entry, pending[4] + 1)
    end
end
while #found < max and left > 0 do
    local streams = redis.call('XREADGROUP', 'GROUP', 'managers', 'unacknowledged', 'COUNT', 1, 'STREAMS', KEYS[1], '>')
    if not streams then
        break
    end
    add(streams[1][2][1], 1)
end
return found
