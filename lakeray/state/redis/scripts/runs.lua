-- Runs of a shard, newest start first. KEYS[1]: its prefix. ARGV[1], as MessagePack: `sets` (names of sorted sets that
-- all hold the run), `lowest` and `highest` (bounds of scores), `before` (score and name to begin behind) and `limit`.
local prefix, wanted = KEYS[1], cmsgpack.unpack(ARGV[1])
local page, found, offset = 500, {}, 0
local others, smallest, size = {}, nil, nil
for _, name in ipairs(wanted.sets) do
  local count = redis.call('ZCARD', prefix .. name)
  if not size or count < size then
    if smallest then others[#others + 1] = smallest end
    smallest, size = name, count
  else
    others[#others + 1] = name
  end
end

local function less(one, two)  -- by bytes; Lua's own < follows the server's locale
  for index = 1, math.min(#one, #two) do
    local first, second = one:byte(index), two:byte(index)
    if first ~= second then return first < second end
  end
  return #one < #two
end

while #found < wanted.limit do
  local ids = redis.call('ZREVRANGEBYSCORE', prefix .. smallest, wanted.highest, wanted.lowest, 'WITHSCORES',
    'LIMIT', offset, page)
  if #ids == 0 then break end
  offset = offset + page
  local names, scores = {}, {}
  for index = 1, #ids, 2 do
    if not wanted.before or tonumber(ids[index + 1]) < wanted.before[1] or less(ids[index], wanted.before[2]) then
      names[#names + 1] = ids[index]
    end
  end
  for _, other in ipairs(others) do
    if #names == 0 then break end
    local kept = {}
    for index, score in ipairs(redis.call('ZMSCORE', prefix .. other, unpack(names))) do
      if score then kept[#kept + 1] = names[index] end
    end
    names = kept
  end
  for _, name in ipairs(names) do
    if #found == wanted.limit then break end
    local row = redis.call('HMGET', prefix .. 'run:' .. name, 'sequence', 'head')
    found[#found + 1] = {name, row[1], row[2]}
  end
end
return found
