-- Hold a shard longer. KEYS[1]: its prefix. ARGV: epoch, microseconds, owner; no microseconds let it go.
local prefix, epoch, ttl = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local found = tonumber(redis.call('HGET', prefix .. 'shard', 'epoch') or 0)
if found ~= epoch then return {'stale', found} end
local time = redis.call('TIME')
local till = ttl > 0 and time[1] * 1000000 + time[2] + ttl or 0
redis.call('HSET', prefix .. 'shard', 'until', string.format('%.0f', till), 'owner', ARGV[3])
return {'held', till}
