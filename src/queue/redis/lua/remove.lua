-- Removes items: whether they are done (1 or 0), then for each item its tag (id and number of the delivery).
-- Returns for each tag 1; 0 if the item was delivered again; 2 if it is gone.
local results, removed = {}, 0
local unfinished = tonumber(redis.call('GET', KEYS[2]) or 0)
for i = 2, #ARGV, 2 do
    local id = ARGV[i]
    local pending = redis.call('XPENDING', KEYS[1], 'managers', id, id, 1)[1]
    local is_last = pending and pending[4] == tonumber(ARGV[i + 1])
    if is_last then
        redis.call('XACK', KEYS[1], 'managers', id)
        redis.call('XDEL', KEYS[1], id)
        removed = removed + 1
    end
    results[#results + 1] = is_last and 1 or (pending and 0 or 2)
end
if ARGV[1] == '1' and removed > 0 then
    redis.call('DECRBY', KEYS[2], math.min(removed, unfinished))
end
return results
