#!lua flags=allow-oom
-- A record lives without a TTL and ends with one.
-- KEYS  record
-- ARGV  tombstone_ms
local record, bad = load(KEYS[1])
if bad then
  return bad
end
if record and record.state == 'ended' then
  redis.call('PEXPIRE', KEYS[1], ARGV[1], 'NX')
elseif record then
  redis.call('PERSIST', KEYS[1])
end
return 'OK'
