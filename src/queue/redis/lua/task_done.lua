-- Counts an item of a plain queue, which was removed when it was delivered, as done. Returns 0 if all are done.
if tonumber(redis.call('GET', KEYS[2]) or 0) <= 0 then
    return 0
end
redis.call('DECR', KEYS[2])
return 1
