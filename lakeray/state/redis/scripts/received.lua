-- Commands without an answer. KEYS[1]: the shard's prefix. ARGV: how many.
local found = {}
for number, id in ipairs(redis.call('ZRANGE', KEYS[1] .. 'inbox:waiting', 0, ARGV[1] - 1)) do
  found[number] = {id, redis.call('HGET', KEYS[1] .. 'inbox', id)}
end
return found
