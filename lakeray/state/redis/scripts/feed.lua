-- A shard's events in order. KEYS[1]: its prefix. ARGV: position to begin behind, how many.
local prefix, after = KEYS[1], tonumber(ARGV[1])
local last = tonumber(redis.call('HGET', prefix .. 'shard', 'position') or 0)
local term = redis.call('ZRANGEBYSCORE', prefix .. 'terms', '(' .. ARGV[1], '+inf', 'LIMIT', 0, 1)[1]
if term then last = tonumber(string.match(term, ' (%d+)$')) end  -- where the feed ended when the next lease began
if after > last then return {'feed_went_back', last} end
local found = {}
local start = string.format('%.0f', after + 1) .. '-0'
for number, entry in ipairs(redis.call('XRANGE', prefix .. 'feed', start, '+', 'COUNT', ARGV[2])) do
  local run, id = entry[2][2], '0-' .. entry[2][4]
  found[number] = {run, redis.call('XRANGE', prefix .. 'events:' .. run, id, id)[1]}
end
return {'events', found}
