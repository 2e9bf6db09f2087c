-- One batch, all or nothing: everything is read and checked first, and written last, for Redis does not undo a script that fails.
--
-- KEYS: the session's last reply; then of each bucket m, k, t, x, y; then one record per different key.
-- ARGV: the head (number, flags, buckets, longest value); then of each operation its numbers, key, value or operand, and two more:
-- packed tags and the rest of the metadata for a put, a version and the bytes of its value for a merge that brings them along. A put that
-- brings its times along has them behind its numbers.
-- Reply: a status byte, and what belongs to it. Integers are below 2^53, so a number of Lua holds them exactly; counters, which are
-- not, stay strings.
local PUT, DELETE, ADD, APPEND, MIN, MAX, EXPIRE = 1, 2, 3, 4, 5, 6, 7
local NEVER, KEEP, AFTER, AT = 0, 1, 2, 3
local DONE, OVERTAKEN, NO_BUCKET, CONDITION, NO_COUNTER, RANGE, TOO_LONG, TOO_LATE, NEED_VALUE, FORMAT, LOST_REPLY =
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
local EXPIRY_MS_MAX, REPLY_MS, REPLY_BYTES_MAX = 253402300799999, 600000, 1048576
local RECORD = '<BBI8I6I6I6I4I4I2'

local call, pack, unpack_of, fmt = redis.call, struct.pack, struct.unpack, string.format
local number, flags, bucket_count, value_max = unpack_of('<I8BI4I8', ARGV[1])
local is_fenced, frees_only = flags % 2 == 1, math.floor(flags / 2) % 2 == 1

local function integer(n) return fmt('%.0f', n) end

-- A reply of the session's last write: a write that is sent twice is done once, one that comes late is not done.
local last = call('GET', KEYS[1])
if last then
  local done = unpack_of('<I8', last)
  if done == number then
    local reply = string.sub(last, 9)
    -- A write of this connection, so that a WAIT behind it waits for the one of before.
    redis.pcall('PEXPIRE', KEYS[1], REPLY_MS)
    return reply == '' and pack('<B', LOST_REPLY) or reply
  elseif done > number then
    return pack('<B', OVERTAKEN)
  end
end

local function refuse(...)
  local reply = pack(...)
  if is_fenced then
    redis.pcall('SET', KEYS[1], pack('<I8', number) .. reply, 'PX', REPLY_MS)
  end
  return reply
end

local time = call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local buckets = {}
for b = 1, bucket_count do
  local first = 2 + (b - 1) * 5
  local bucket = { m = KEYS[first], k = KEYS[first + 1], t = KEYS[first + 2], x = KEYS[first + 3], y = KEYS[first + 4] }
  local state = call('HMGET', bucket.m, 's', 'v', 'f')
  if state[1] ~= 'live' then return pack('<BI4', NO_BUCKET, b - 1) end
  bucket.version = tonumber(state[2] or state[3] or '0')
  bucket.found = bucket.version
  if bucket.version > now_us then now_us = bucket.version end
  buckets[b] = bucket
end
local now = math.floor(now_us / 1000)

local function next_version(bucket)
  bucket.version = math.max(bucket.version + 1, now_us)
  return bucket.version
end

-- What is stored under a key, and what the batch has made of it so far.
local function load(bucket, record_key, key)
  local r = { bucket = bucket, record_key = record_key, key = key, alive = false, tags = '', rest = '', expires = 0 }
  local m = call('HGET', record_key, 'm')
  r.had_record = m and true or false
  if m then
    if #m < 38 or string.byte(m) ~= 1 then return nil end
    local _, of_value, version, created, updated, expires, size, stored, tags_len, at = unpack_of(RECORD, m)
    r.compressed, r.version, r.created, r.updated, r.expires = of_value % 2 == 1, version, created, updated, expires
    r.size, r.stored = size, stored
    r.tags, r.rest = string.sub(m, at, at + tags_len - 1), string.sub(m, at + tags_len)
    r.alive = expires == 0 or expires > now
    r.old_expires = expires
  elseif call('ZSCORE', bucket.x, key) then
    r.old_expires = 1
    r.tags = call('HGET', bucket.y, key) or ''
  else
    r.old_expires = 0
  end
  r.was_alive, r.old_tags = r.alive, r.tags
  if not r.alive then r.tags, r.rest, r.expires = '', '', 0 end
  return r
end

-- Counters: canonical decimal integers of 64 bits, as two parts with one sign, value = high * 10^10 + low.
local BASE, HIGH, LOW = 10000000000, 922337203, 6854775807
local function in_range(high, low)
  if high >= 0 and low >= 0 then return high < HIGH or (high == HIGH and low <= LOW) end
  return -high < HIGH or (-high == HIGH and -low <= LOW + 1)
end

local function parse(text)
  if text == '0' then return { 0, 0 } end
  local sign, digits = string.match(text, '^(%-?)([1-9]%d*)$')
  if not digits or #digits > 19 then return nil end
  local high = tonumber(string.sub(digits, 1, -11)) or 0
  local low = tonumber(string.sub(digits, -10))
  if sign == '-' then high, low = -high, -low end
  return in_range(high, low) and { high, low } or nil
end

local function add(a, b)
  local high, low = a[1] + b[1], a[2] + b[2]
  if low >= BASE then high, low = high + 1, low - BASE elseif low <= -BASE then high, low = high - 1, low + BASE end
  if high > 0 and low < 0 then high, low = high - 1, low + BASE elseif high < 0 and low > 0 then high, low = high + 1, low - BASE end
  return in_range(high, low) and { high, low } or nil
end

local function is_less(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end

local function decimal(n)
  local high, low = math.abs(n[1]), math.abs(n[2])
  local sign = (n[1] < 0 or n[2] < 0) and '-' or ''
  return sign .. (high == 0 and fmt('%.0f', low) or fmt('%.0f%010.0f', high, low))
end

-- The value of a record before a merge, or a status that says why not.
local function value_before(r, version, bytes)
  if not r.alive then return nil end
  if r.value and not r.compressed then return r.value end
  if r.compressed then
    if not r.dirty and version == r.version then return bytes end
    return nil, NEED_VALUE
  end
  return call('HGET', r.record_key, 'v') or ''
end

local function merged(kind, before, operand)
  if kind == APPEND then return (before or '') .. operand end
  local of_before, of_operand = before and parse(before), parse(operand)
  if before and not of_before then return nil, NO_COUNTER, before end
  if not of_operand then return nil, NO_COUNTER, operand end
  if kind == ADD then
    local sum = add(of_before or { 0, 0 }, of_operand)
    if not sum then return nil, RANGE, before or '0' end
    return decimal(sum)
  end
  if not before then return operand end
  if kind == MIN then return is_less(of_operand, of_before) and operand or before end
  return is_less(of_before, of_operand) and operand or before
end

local function condition_holds(r, condition, version)
  if condition == 0 then return true end
  if condition == 1 then return not r.alive end
  if condition == 2 then return r.alive end
  return r.alive and not r.dirty and r.version == version
end

-- The expiry that a write asks for: 0 for none, nil for one that is too late.
local function expiry(r, kind, ms)
  if kind == NEVER then return 0 end
  if kind == KEEP then return r.expires end
  if kind == AT then return ms == 0 and 1 or ms end
  if now + ms > EXPIRY_MS_MAX then return nil end
  return now + ms
end

local records, outcomes = {}, {}
for o = 1, (#ARGV - 1) / 5 do
  local at = 2 + (o - 1) * 5
  local action, of_value, b, n, condition, wanted, expiry_kind, expiry_ms, size = unpack_of('<BBI4I4BI8BI8I4', ARGV[at])
  local bucket = buckets[b + 1]
  local r = records[n + 1]
  if not r then
    r = load(bucket, KEYS[2 + bucket_count * 5 + n], ARGV[at + 1])
    if not r then return refuse('<BI4', FORMAT, o) end
    records[n + 1] = r
  end
  if not condition_holds(r, condition, wanted) then
    return refuse('<BI4BI8', CONDITION, o, r.alive and 1 or 0, r.alive and r.version or 0)
  end
  local existed, version, result = r.alive, nil, nil
  local expires = expiry(r, expiry_kind, expiry_ms)
  if not expires then return refuse('<BI4', TOO_LATE, o) end
  local is_past = expires ~= 0 and expires <= now

  if action == DELETE or ((action == PUT or (action == EXPIRE and existed)) and is_past) then
    if existed then
      version = next_version(bucket)
      r.dirty = true
    end
    r.alive, r.value, r.tags, r.rest, r.expires = false, nil, '', '', 0
  elseif action == EXPIRE then
    if existed and expiry_kind == KEEP then
      version = r.version
    elseif existed then
      version = next_version(bucket)
      r.version, r.expires, r.dirty = version, expires, true
    end
  else
    if action == PUT then
      r.value, r.size, r.compressed = ARGV[at + 2], size, of_value % 2 == 1
      if math.floor(of_value / 2) % 2 == 0 then r.tags = ARGV[at + 3] end
      r.rest, r.expires = ARGV[at + 4], expires
    else
      local base_version = ARGV[at + 3] ~= '' and unpack_of('<I8', ARGV[at + 3]) or nil
      local before, why = value_before(r, base_version, ARGV[at + 4])
      if why then return pack('<BI4', why, o) end
      local shown
      result, why, shown = merged(action, before, ARGV[at + 2])
      if why then return refuse('<BI4c0', why, o, string.sub(shown, 1, 64)) end
      if #result > value_max then return refuse('<BI4I8', TOO_LONG, o, #result) end
      r.value, r.size, r.compressed = result, #result, false
    end
    version = next_version(bucket)
    if not existed then r.created = now end
    r.version, r.updated, r.stored, r.alive, r.dirty = version, now, #r.value, true, true
    if math.floor(of_value / 4) % 2 == 1 then r.created, r.updated = unpack_of('<I6I6', ARGV[at], 33) end
  end
  outcomes[o] = { existed, r.alive, version, result }
end

-- From here on nothing is refused but the first write, for lack of memory.
local function each_tag(packed, see)
  local at = 1
  while at <= #packed do
    local len = string.byte(packed, at)
    see(string.sub(packed, at + 1, at + len))
    at = at + 1 + len
  end
end

local function write_tags(r)
  if r.tags == r.old_tags then return end
  local old, remove, insert = {}, {}, {}
  each_tag(r.old_tags, function(tag) old[tag] = true end)
  each_tag(r.tags, function(tag)
    if old[tag] then
      old[tag] = nil
    else
      insert[#insert + 1] = '0'
      insert[#insert + 1] = tag .. '\0' .. r.key
    end
  end)
  for tag in pairs(old) do remove[#remove + 1] = tag .. '\0' .. r.key end
  if #insert > 0 then call('ZADD', r.bucket.t, unpack(insert)) end
  if #remove > 0 then call('ZREM', r.bucket.t, unpack(remove)) end
end

local function write_record(r)
  local bucket = r.bucket
  local m = pack(RECORD, 1, r.compressed and 1 or 0, r.version, r.created, r.updated, r.expires, r.size, r.stored, #r.tags) .. r.tags .. r.rest
  if r.value then
    call('HSET', r.record_key, 'm', m, 'v', r.value)
  else
    call('HSET', r.record_key, 'm', m)
  end
  if r.expires > 0 then
    -- Redis lets go of a key when its time is over, we when it is reached.
    call('PEXPIREAT', r.record_key, integer(r.expires - 1))
  elseif r.had_record and r.old_expires > 0 then
    call('PERSIST', r.record_key)
  end
  if not r.was_alive then call('ZADD', bucket.k, '0', r.key) end
  write_tags(r)
  if r.expires > 0 then
    call('ZADD', bucket.x, integer(r.expires), r.key)
  elseif r.old_expires > 0 then
    call('ZREM', bucket.x, r.key)
  end
  if r.expires > 0 and r.tags ~= '' then
    call('HSET', bucket.y, r.key, r.tags)
  elseif r.old_expires > 0 and r.old_tags ~= '' then
    call('HDEL', bucket.y, r.key)
  end
end

local function remove_record(r)
  local bucket = r.bucket
  call('UNLINK', r.record_key)
  call('ZREM', bucket.k, r.key)
  r.tags = ''
  write_tags(r)
  if r.old_expires > 0 then
    call('ZREM', bucket.x, r.key)
    if r.old_tags ~= '' then call('HDEL', bucket.y, r.key) end
  end
end

for _, r in ipairs(records) do
  if r.dirty and r.alive then write_record(r) end
end
for _, r in ipairs(records) do
  if r.dirty and not r.alive then remove_record(r) end
end
for _, bucket in ipairs(buckets) do
  if bucket.version > bucket.found then call('HSET', bucket.m, 'v', integer(bucket.version)) end
end

local reply = { pack('<B', DONE) }
for o, outcome in ipairs(outcomes) do
  local existed, exists, version, result = outcome[1], outcome[2], outcome[3], outcome[4]
  local bits = (existed and 1 or 0) + (exists and 2 or 0) + (version and 4 or 0) + (result and 8 or 0)
  reply[#reply + 1] = pack('<BI8', bits, version or 0)
  if result then
    reply[#reply + 1] = pack('<I4', #result)
    reply[#reply + 1] = result
  end
end
reply = table.concat(reply)
local kept = #reply <= REPLY_BYTES_MAX and reply or ''
local keep = frees_only and redis.pcall or call
keep('SET', KEYS[1], pack('<I8', number) .. kept, 'PX', REPLY_MS)
return reply
