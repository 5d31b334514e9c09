-- Answers that are old are forgotten, some at a time. KEYS[1]: the shard's prefix. ARGV: before when, how many.
local old = redis.call('ZRANGEBYSCORE', KEYS[1] .. 'answers:given', '-inf', '(' .. ARGV[1], 'LIMIT', 0, ARGV[2])
for _, id in ipairs(old) do
  redis.call('HDEL', KEYS[1] .. 'answers', id)
  redis.call('ZREM', KEYS[1] .. 'answers:given', id)
end
return #old
