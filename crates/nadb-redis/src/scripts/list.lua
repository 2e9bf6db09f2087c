#!lua flags=allow-oom
-- Changes what the list of namespaces says of one, if it still says what the caller has seen; nothing else in the list is touched.
--
-- KEYS: ns, versions. ARGV: name, what it says, what it shall say (nothing: take it from the list), a version that later namespaces must go on
-- behind. Reply: 1 if it was done.
local call = redis.call
if call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
local last = tonumber(call('GET', KEYS[2]) or '0')
if tonumber(ARGV[4]) > last then call('SET', KEYS[2], ARGV[4]) end
if ARGV[3] == '' then
  call('HDEL', KEYS[1], ARGV[1])
else
  call('HSET', KEYS[1], ARGV[1], ARGV[3])
end
return 1
