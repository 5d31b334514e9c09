-- Make the store if there is none. KEYS[1]: the key of its facts. ARGV: format, shards, a name for the store.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'format', ARGV[1], 'shards', ARGV[2], 'store', ARGV[3])
end
return redis.call('HMGET', KEYS[1], 'format', 'shards')
