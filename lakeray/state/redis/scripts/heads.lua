-- Runs in the order of a sorted set. KEYS[1]: the shard's prefix. ARGV: the set's name, highest score, how many (-1: all).
local found = {}
local names = redis.call('ZRANGEBYSCORE', KEYS[1] .. ARGV[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[3])
for number, name in ipairs(names) do
  local row = redis.call('HMGET', KEYS[1] .. 'run:' .. name, 'sequence', 'head')
  found[number] = {name, row[1], row[2]}
end
return found
