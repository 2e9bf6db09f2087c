#!lua flags=allow-oom
-- Lets go of a part of a bucket that was closed: KEYS m, k, t, x, y, then records. ARGV: the members of k that those records are; none at the end,
-- when everything that is left of the bucket goes. A bucket that was not closed is left alone.
local call = redis.call
if call('HGET', KEYS[1], 's') ~= 'dropping' then return 0 end
for i = 6, #KEYS do call('UNLINK', KEYS[i]) end
if #ARGV > 0 then
  call('ZREM', KEYS[2], unpack(ARGV))
else
  for i = 1, 5 do call('UNLINK', KEYS[i]) end
end
return 1
