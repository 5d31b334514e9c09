-- Take a shard. KEYS[1]: its prefix. ARGV: owner, microseconds. Epoch and position never come back: both are at least
-- the clock's microseconds, so a store that lost its last second goes on above what it had given out.
local prefix, owner, ttl = KEYS[1], ARGV[1], tonumber(ARGV[2])
local function int(number) return string.format('%.0f', number) end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local row = redis.call('HMGET', prefix .. 'shard', 'epoch', 'position', 'until', 'owner')
local epoch, position, till = tonumber(row[1] or 0), tonumber(row[2] or 0), tonumber(row[3] or 0)
if till > now and row[4] ~= owner then return {'held', row[4], till} end
epoch = math.max(epoch + 1, now)
local began = math.max(position + 1, epoch)
redis.call('HSET', prefix .. 'shard', 'epoch', int(epoch), 'owner', owner, 'until', int(now + ttl), 'position', int(began))
redis.call('ZADD', prefix .. 'terms', int(began), int(began) .. ' ' .. int(position))
redis.call('ZREMRANGEBYRANK', prefix .. 'terms', 0, -1001)
return {'taken', epoch, now + ttl, began}
