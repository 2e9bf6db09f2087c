#!lua flags=allow-oom
-- Gives a bucket its m back, which a failover has lost, in two steps with a look at the list of namespaces between them: so that no bucket of a
-- namespace that is being dropped comes back. KEYS: m. ARGV: 'begin' or 'end'. Reply: 1 if the step was done.
local state = redis.call('HGET', KEYS[1], 's')
if ARGV[1] == 'begin' and not state then
  redis.call('HSET', KEYS[1], 's', 'mending')
  return 1
elseif ARGV[1] == 'end' and state == 'mending' then
  redis.call('HSET', KEYS[1], 's', 'live')
  return 1
end
return (ARGV[1] == 'begin' and state == 'mending') and 1 or 0
