-- Keep the newest snapshot of a run. KEYS[1]: the shard's prefix. ARGV: run, sequence, snapshot.
local key = KEYS[1] .. 'snapshot:' .. ARGV[1]
if tonumber(redis.call('HGET', key, 'sequence') or 0) <= tonumber(ARGV[2]) then
  redis.call('HSET', key, 'sequence', ARGV[2], 'sealed', ARGV[3])
end
return 1
