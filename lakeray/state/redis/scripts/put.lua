-- Compare-and-set a register. KEYS[1]: the registers' prefix. ARGV: name, expected revision, new data (none: remove).
-- A register is its revision, a space and its data.
local now = redis.call('HGET', KEYS[1] .. 'data', ARGV[1])
local found = now and string.match(now, '^(%d+) ') or '0'
if found ~= ARGV[2] then return {'conflict', tonumber(found)} end
local revision = redis.call('INCR', KEYS[1] .. 'revision')
if ARGV[3] then redis.call('HSET', KEYS[1] .. 'data', ARGV[1], string.format('%.0f', revision) .. ' ' .. ARGV[3])
else redis.call('HDEL', KEYS[1] .. 'data', ARGV[1]) end
return {'put', revision}
