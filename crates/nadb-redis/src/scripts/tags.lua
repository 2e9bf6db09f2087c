-- The tags of a bucket and how many records have each, skipping from tag to tag. What has expired must have been swept before: else the
-- status is 3.
--
-- KEYS: m, t, x. ARGV: the member to start at (a bound of ZRANGE), the prefix that tags must have, how many tags at most.
-- Reply: a status byte; where to go on, or nothing at the end; tag, count, tag, count, and so on.
local call = redis.call
if call('HGET', KEYS[1], 's') ~= 'live' then return { '\2' } end
local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if call('ZCOUNT', KEYS[3], '-inf', string.format('%.0f', now)) > 0 then return { '\3' } end
local from, prefix, most, found = ARGV[1], ARGV[2], tonumber(ARGV[3]), {}
while #found < 2 * most do
  local first = call('ZRANGE', KEYS[2], from, '+', 'BYLEX', 'LIMIT', '0', '1')[1]
  if not first then return { '\0', '', found } end
  local tag = string.sub(first, 1, string.find(first, '\0', 1, true) - 1)
  if string.sub(tag, 1, #prefix) ~= prefix then return { '\0', '', found } end
  found[#found + 1] = tag
  found[#found + 1] = call('ZLEXCOUNT', KEYS[2], '[' .. tag .. '\0', '(' .. tag .. '\1')
  from = '[' .. tag .. '\1'
end
return { '\0', from, found }
