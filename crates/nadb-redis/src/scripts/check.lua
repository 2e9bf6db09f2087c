-- Whether the sorted sets of a bucket say of some keys what their records say: all of it looked at in one moment.
--
-- KEYS: m, k, t, x, y, then records. ARGV: of each record its key and a tag; with a tag, only whether a member of t is right, without, all else.
-- Reply: a status byte; the numbers of the keys that something is wrong with, each with a word for what. What is due is left alone.
local call = redis.call
if call('HGET', KEYS[1], 's') ~= 'live' then return { '\2' } end
local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local faults = {}

local function fault(i, what)
  faults[#faults + 1] = i
  faults[#faults + 1] = what
end

local function each_tag(packed, see)
  local at = 1
  while at <= #packed do
    local len = string.byte(packed, at)
    see(string.sub(packed, at + 1, at + len))
    at = at + 1 + len
  end
end

local function check_record(i, key, expires, tags, listed, due, brief)
  if not listed then fault(i, 'k') end
  if (expires > 0 and due ~= expires) or (expires == 0 and due) then fault(i, 'x') end
  local wanted = (expires > 0 and tags ~= '') and tags or nil
  if (brief or nil) ~= wanted then fault(i, 'y') end
  each_tag(tags, function(tag)
    if not call('ZSCORE', KEYS[3], tag .. '\0' .. key) then fault(i, 't') end
  end)
end

for i = 1, #KEYS - 5 do
  local key, tag = ARGV[2 * i - 1], ARGV[2 * i]
  local m = call('HGET', KEYS[5 + i], 'm')
  local due = call('ZSCORE', KEYS[4], key)
  due = due and tonumber(due) or nil
  local expires, tags = 0, ''
  if m then
    if #m < 38 or string.byte(m) ~= 1 then return redis.error_reply('CORRUPT a record has a format of its own') end
    local len, at
    expires = struct.unpack('<I6', m, 23)
    len, at = struct.unpack('<I2', m, 37)
    tags = string.sub(m, at, at + len - 1)
  end
  local is_due = (due and due <= now) or (m and expires > 0 and expires <= now)
  if is_due then
    -- It is swept some time.
  elseif tag ~= '' then
    local has = false
    each_tag(tags, function(other) has = has or other == tag end)
    if not has and call('ZSCORE', KEYS[3], tag .. '\0' .. key) then fault(i, 't') end
  else
    local listed, brief = call('ZSCORE', KEYS[2], key), call('HGET', KEYS[5], key)
    if m then
      check_record(i, key, expires, tags, listed, due, brief)
    elseif listed or due or brief then
      fault(i, 'r')
    end
  end
end
return { '\0', faults }
