-- Messages that are due. KEYS[1]: the shard's prefix. ARGV: now, how many.
local found = {}
local due = redis.call('ZRANGEBYSCORE', KEYS[1] .. 'outbox:due', '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for index = 1, #due, 2 do
  local id = due[index]
  found[#found + 1] = {id, string.format('%.0f', due[index + 1]), redis.call('HGET', KEYS[1] .. 'outbox:attempts', id),
    redis.call('HGET', KEYS[1] .. 'outbox', id)}
end
return found
