-- One append: all of it or nothing. KEYS[1]: the shard's prefix. ARGV: position that was acknowledged, run, append,
-- expected sequence, epoch, head (MessagePack), how many events, messages and answers; then of every event type, version,
-- microseconds, data; of every message id, microseconds, attempts, data; of every answer command, data.
local prefix, id, append_id, packed = KEYS[1], ARGV[2], ARGV[3], ARGV[6]
local floor, expected, wanted_epoch = tonumber(ARGV[1]), tonumber(ARGV[4]), tonumber(ARGV[5])
local count, messages, answers = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local run, stream = prefix .. 'run:' .. id, prefix .. 'events:' .. id
local function int(number) return string.format('%.0f', number) end  -- tostring() keeps 14 digits only

local shard = redis.call('HMGET', prefix .. 'shard', 'epoch', 'position')
local epoch, position = tonumber(shard[1] or 0), tonumber(shard[2] or 0)
local row = redis.call('HMGET', run, 'sequence', 'head')
local sequence, before = tonumber(row[1] or 0), row[2]

if sequence > expected then  -- stored already? its first event carries its id
  local first = '0-' .. int(expected + 1)
  local found = redis.call('XRANGE', stream, first, first)[1]
  if found and found[2][2] == append_id then
    return {'stored', expected + count, tonumber(found[2][4]) + count - 1}
  end
end
if sequence < expected then return {'run_went_back', sequence} end
if position < floor then return {'feed_went_back', position} end
if epoch < wanted_epoch then return {'lease_went_back', epoch} end
if epoch > wanted_epoch then return {'fenced', epoch} end
if sequence > expected then return {'conflict', sequence} end

-- The first write is one that a server without memory refuses; behind it nothing is refused any more.
local at = 9
for number = 1, count do
  redis.call('XADD', stream, '0-' .. int(sequence + number), 'a', number == 1 and append_id or '',
    'p', int(position + number), 't', ARGV[at + 1], 'v', ARGV[at + 2], 'w', ARGV[at + 3], 'd', ARGV[at + 4])
  redis.call('XADD', prefix .. 'feed', int(position + number) .. '-0', 'r', id, 's', int(sequence + number))
  at = at + 4
end
redis.call('HSET', prefix .. 'shard', 'position', int(position + count))
redis.call('HSET', run, 'sequence', int(sequence + count), 'head', packed)

if before ~= packed then
  local head, old = cmsgpack.unpack(packed), before and cmsgpack.unpack(before) or {}
  local started = int(head.started)
  for _, name in ipairs({'tenant', 'workflow', 'state'}) do
    if old[name] and old[name] ~= head[name] then redis.call('ZREM', prefix .. name .. ':' .. old[name], id) end
    redis.call('ZADD', prefix .. name .. ':' .. head[name], started, id)
  end
  redis.call('ZADD', prefix .. 'newest', started, id)
  if head.wake then redis.call('ZADD', prefix .. 'wake', int(head.wake), id)
  elseif old.wake then redis.call('ZREM', prefix .. 'wake', id) end
  if head.ended then
    redis.call('ZADD', prefix .. 'ended', int(head.ended), id)
    redis.call('ZREM', prefix .. 'active', id)
  else
    redis.call('ZADD', prefix .. 'active', started, id)
    if old.ended then redis.call('ZREM', prefix .. 'ended', id) end
  end
end

for _ = 1, messages do
  if redis.call('HSETNX', prefix .. 'outbox', ARGV[at + 1], ARGV[at + 4]) == 1 then
    redis.call('ZADD', prefix .. 'outbox:due', ARGV[at + 2], ARGV[at + 1])
    redis.call('HSET', prefix .. 'outbox:attempts', ARGV[at + 1], ARGV[at + 3])
  end
  at = at + 4
end
for _ = 1, answers do
  if redis.call('HDEL', prefix .. 'inbox', ARGV[at + 1]) == 1 then
    local time = redis.call('TIME')
    redis.call('ZREM', prefix .. 'inbox:waiting', ARGV[at + 1])
    redis.call('HSET', prefix .. 'answers', ARGV[at + 1], ARGV[at + 2])
    redis.call('ZADD', prefix .. 'answers:given', int(time[1] * 1000000 + time[2]), ARGV[at + 1])
  end
  at = at + 2
end
return {'stored', sequence + count, position + count}
