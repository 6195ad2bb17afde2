#!lua flags=allow-oom
-- A container that was restarted by hand may have other ports: note where it is reached now.
-- KEYS  record
-- ARGV  container_id [field value ...]
-- returns OK | OTHER
-- invariant: only of the container that the running record names.
local record, bad = load(KEYS[1])
if bad then
  return bad
end
if not (record and record.state == 'running' and record.container_id == ARGV[1]) then
  return 'OTHER'
end
for name in pairs(record) do
  if name == 'ip' or string.sub(name, 1, 5) == 'port.' then
    redis.call('HDEL', KEYS[1], name)
  end
end
if #ARGV > 1 then
  redis.call('HSET', KEYS[1], unpack(ARGV, 2))
end
return 'OK'
