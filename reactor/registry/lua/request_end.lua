#!lua flags=allow-oom
-- Asks the host that owns a session to end it now.
-- KEYS  record due(of that host)
-- ARGV  id that_host generation
-- returns OK | GONE | MOVED (another host owns it now, or another generation lives)
-- invariant: a record that already ends is left alone.
local record, bad = load(KEYS[1])
if bad then
  return bad
end
if not record or record.state == 'ended' then
  return 'GONE'
end
if record.host ~= ARGV[2] or record.generation ~= ARGV[3] then
  return 'MOVED'
end
if record.state ~= 'ending' and not record.end_requested then
  redis.call('HSET', KEYS[1], 'end_requested', '1')
end
if record.state ~= 'ending' then
  redis.call('ZADD', KEYS[2], text(math.floor(clock() / 1000)), ARGV[1])
end
return 'OK'
