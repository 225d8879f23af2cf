-- Copies items in the order in which they will be taken: at most this many, and no more after this many bytes.
-- Returns the fields of each.
local max, left, found = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
local function add(entry)
    found[#found + 1] = entry[2]
    left = left - #(entry[2][2] or '')
end
for _, pending in ipairs(redis.call('XPENDING', KEYS[1], 'managers', '-', '+', max, 'requeued')) do
    local entry = left > 0 and redis.call('XRANGE', KEYS[1], pending[1], pending[1])[1]
    if entry then
        add(entry)
    end
end
local last
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local field = {}
    for i = 1, #group, 2 do
        field[group[i]] = group[i + 1]
    end
    if field.name == 'managers' then
        last = field['last-delivered-id']
    end
end
while #found < max and left > 0 do
    local entry = redis.call('XRANGE', KEYS[1], '(' .. last, '+', 'COUNT', 1)[1]
    if not entry then
        break
    end
    add(entry)
    last = entry[1]
end
return found
