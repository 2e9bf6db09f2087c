-- The live keys of a part of a bucket, in order, that have some tags and have not some others: or how many there are.
--
-- KEYS: m, k, t, x. ARGV: the lower and the upper bound as ZRANGE takes them for k ('-', '+', '[key', '(key'), '1' from the upper end on, how many
-- are wanted, '1' to count alone, the number of tags wanted, those tags, and the tags not wanted.
-- Reply: a status byte; the last key that was looked at, or nothing where the part is done; the keys, or their number.
local call = redis.call
if call('HGET', KEYS[1], 's') ~= 'live' then return { '\2' } end
local EXAMINED_MAX, BYTES_MAX, STEP = 500, 1048576, 250
local low, high, is_reverse, wanted, is_count = ARGV[1], ARGV[2], ARGV[3] == '1', tonumber(ARGV[4]), ARGV[5] == '1'
local with_count = tonumber(ARGV[6])
local with, without = {}, {}
for i = 7, #ARGV do
  if i < 7 + with_count then with[#with + 1] = ARGV[i] else without[#without + 1] = ARGV[i] end
end
local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
-- Where nothing is due no key has to be looked up.
local is_any_due = call('ZCOUNT', KEYS[4], '-inf', string.format('%.0f', now)) > 0

-- The rarest of the wanted tags leads; without any the keys themselves do.
local lead, least
for i, tag in ipairs(with) do
  local count = call('ZLEXCOUNT', KEYS[3], '[' .. tag .. '\0', '(' .. tag .. '\1')
  if not least or count < least then lead, least = i, count end
end
local set, head = KEYS[2], ''
if lead then
  set, head = KEYS[3], table.remove(with, lead) .. '\0'
  low = low == '-' and '[' .. head or string.sub(low, 1, 1) .. head .. string.sub(low, 2)
  high = high == '+' and '(' .. string.sub(head, 1, -2) .. '\1' or string.sub(high, 1, 1) .. head .. string.sub(high, 2)
end

local function members(tag, keys)
  local all = {}
  for i, key in ipairs(keys) do all[i] = tag .. '\0' .. key end
  return all
end

local found, count, examined, bytes, last = {}, 0, 0, 0, ''
while true do
  local step = math.min(STEP, EXAMINED_MAX - examined)
  local part
  if is_reverse then
    part = call('ZRANGE', set, high, low, 'BYLEX', 'REV', 'LIMIT', '0', step)
  else
    part = call('ZRANGE', set, low, high, 'BYLEX', 'LIMIT', '0', step)
  end
  if #part == 0 then last = '' break end
  local keys = part
  if head ~= '' then
    keys = {}
    for i, member in ipairs(part) do keys[i] = string.sub(member, #head + 1) end
  end
  local dues = is_any_due and call('ZMSCORE', KEYS[4], unpack(keys)) or {}
  local has, has_not = {}, {}
  for i, tag in ipairs(with) do has[i] = call('ZMSCORE', KEYS[3], unpack(members(tag, keys))) end
  for i, tag in ipairs(without) do has_not[i] = call('ZMSCORE', KEYS[3], unpack(members(tag, keys))) end
  local is_full = false
  for i, key in ipairs(keys) do
    local matches = not dues[i] or tonumber(dues[i]) > now
    for _, scores in ipairs(has) do matches = matches and scores[i] end
    for _, scores in ipairs(has_not) do matches = matches and not scores[i] end
    last, bytes = key, bytes + #key
    if matches then
      count = count + 1
      if not is_count then found[count] = key end
    end
    if (not is_count and count >= wanted) or bytes >= BYTES_MAX then is_full = true break end
  end
  examined = examined + #keys
  if #part < step and not is_full then last = '' break end
  if is_full or examined >= EXAMINED_MAX then break end
  if is_reverse then high = '(' .. head .. last else low = '(' .. head .. last end
end
return { '\0', last, is_count and count or found }
