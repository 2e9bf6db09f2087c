#!lua flags=allow-oom
-- Ends a bucket for writes, before its namespace is dropped. KEYS: m. Reply: its last version, or nothing if nothing was ever written.
local version = redis.call('HGET', KEYS[1], 'v')
redis.call('HSET', KEYS[1], 's', 'dropping')
return version
