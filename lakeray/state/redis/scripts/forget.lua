-- Delete one ended run. KEYS[1]: the shard's prefix. ARGV: run.
local prefix, id = KEYS[1], ARGV[1]
local run, stream = prefix .. 'run:' .. id, prefix .. 'events:' .. id
local packed = redis.call('HGET', run, 'head')
if not packed then return 'absent' end
local head = cmsgpack.unpack(packed)
if not head.ended then return 'active' end
local start = '-'
while true do
  local page = redis.call('XRANGE', stream, start, '+', 'COUNT', 100)
  if #page == 0 then break end
  for _, entry in ipairs(page) do
    redis.call('XDEL', prefix .. 'feed', entry[2][4] .. '-0')
    start = '(' .. entry[1]
  end
end
for _, name in ipairs({'tenant', 'workflow', 'state'}) do
  redis.call('ZREM', prefix .. name .. ':' .. head[name], id)
end
for _, name in ipairs({'newest', 'wake', 'ended', 'active'}) do redis.call('ZREM', prefix .. name, id) end
redis.call('DEL', run, stream, prefix .. 'snapshot:' .. id)
return 'forgotten'
