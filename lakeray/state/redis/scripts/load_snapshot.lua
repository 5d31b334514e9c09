-- A run's snapshot and its newest sequence. KEYS[1]: the shard's prefix. ARGV: run.
return {redis.call('HGET', KEYS[1] .. 'snapshot:' .. ARGV[1], 'sealed'),
  redis.call('HGET', KEYS[1] .. 'run:' .. ARGV[1], 'sequence')}
