-- Have a message due later, unless it is settled. KEYS[1]: the shard's prefix. ARGV: message, when, attempts.
if redis.call('HEXISTS', KEYS[1] .. 'outbox', ARGV[1]) == 1 then
  redis.call('ZADD', KEYS[1] .. 'outbox:due', ARGV[2], ARGV[1])
  redis.call('HSET', KEYS[1] .. 'outbox:attempts', ARGV[1], ARGV[3])
end
return 1
