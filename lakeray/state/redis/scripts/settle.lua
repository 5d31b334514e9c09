-- Messages leave the outbox. KEYS[1]: the shard's prefix. ARGV: messages.
for _, id in ipairs(ARGV) do
  redis.call('HDEL', KEYS[1] .. 'outbox', id)
  redis.call('HDEL', KEYS[1] .. 'outbox:attempts', id)
  redis.call('ZREM', KEYS[1] .. 'outbox:due', id)
end
return 1
