-- Counts an item that was removed already as done. Returns 0 if all were.
if tonumber(redis.call('GET', KEYS[2]) or 0) <= 0 then
    return 0
end
redis.call('DECR', KEYS[2])
return 1
