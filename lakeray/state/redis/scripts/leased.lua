-- Who holds a shard now. KEYS[1]: its prefix.
local row = redis.call('HMGET', KEYS[1] .. 'shard', 'owner', 'epoch', 'until')
local time = redis.call('TIME')
if tonumber(row[3] or 0) <= time[1] * 1000000 + time[2] then return {} end
return row
