-- A command arrives unless it is known. KEYS[1]: the shard's prefix. ARGV: command, what it says.
if redis.call('HEXISTS', KEYS[1] .. 'answers', ARGV[1]) == 1 then return 0 end
if redis.call('HSETNX', KEYS[1] .. 'inbox', ARGV[1], ARGV[2]) == 1 then
  local arrival = redis.call('INCR', KEYS[1] .. 'inbox:arrivals')
  redis.call('ZADD', KEYS[1] .. 'inbox:waiting', arrival, ARGV[1])
end
return 1
