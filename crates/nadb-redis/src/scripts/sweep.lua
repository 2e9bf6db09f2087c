#!lua flags=allow-oom
-- Lets go of what belongs to records that have expired, at most ARGV[1] of a bucket, and counts what is left.
--
-- KEYS: m, k, t, x, y. ARGV[2]: what to count, '' for nothing, 'k' for all keys, 't' for those with the tag ARGV[3].
-- Reply: how many were let go of; 1 if more are due, and then nothing is counted; the count. Redis expires the records themselves.
local call = redis.call
local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local due = call('ZRANGE', KEYS[4], '-inf', string.format('%.0f', now), 'BYSCORE', 'LIMIT', '0', ARGV[1])
for _, key in ipairs(due) do
  local tags = call('HGET', KEYS[5], key) or ''
  local at = 1
  while at <= #tags do
    local len = string.byte(tags, at)
    call('ZREM', KEYS[3], string.sub(tags, at + 1, at + len) .. '\0' .. key)
    at = at + 1 + len
  end
  if tags ~= '' then call('HDEL', KEYS[5], key) end
  call('ZREM', KEYS[2], key)
  call('ZREM', KEYS[4], key)
end
if #due == tonumber(ARGV[1]) then return { #due, 1, 0 } end
local count = 0
if ARGV[2] == 'k' then
  count = call('ZCARD', KEYS[2])
elseif ARGV[2] == 't' then
  count = call('ZLEXCOUNT', KEYS[3], '[' .. ARGV[3] .. '\0', '(' .. ARGV[3] .. '\1')
end
return { #due, 0, count }
