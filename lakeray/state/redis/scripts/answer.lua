-- Answer a command that waits. KEYS[1]: the shard's prefix. ARGV: command, answer.
if redis.call('HEXISTS', KEYS[1] .. 'inbox', ARGV[1]) == 0 then return 0 end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1] .. 'answers', ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[1] .. 'answers:given', string.format('%.0f', time[1] * 1000000 + time[2]), ARGV[1])
redis.call('ZREM', KEYS[1] .. 'inbox:waiting', ARGV[1])
redis.call('HDEL', KEYS[1] .. 'inbox', ARGV[1])
return 1
