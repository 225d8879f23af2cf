-- Appends items while there is room: `maxsize` (0: unbounded), then the items. Returns how many were appended.
-- What can fail comes first: a key of another type.
if redis.call('XLEN', KEYS[1]) == 0 and redis.call('EXISTS', KEYS[1]) == 0 then
    -- Consumers cannot make the group if Redis runs out of memory before the first one comes.
    redis.call('XGROUP', 'CREATE', KEYS[1], 'managers', '0', 'MKSTREAM')
end
local max, count = tonumber(ARGV[1]), #ARGV - 1
if max > 0 then
    count = math.max(0, math.min(count, max - counts()))
end
if count > 0 then
    redis.call('INCRBY', KEYS[2], count)
end
for i = 2, count + 1 do
    redis.call('XADD', KEYS[1], '*', 'item', ARGV[i])
end
return count
