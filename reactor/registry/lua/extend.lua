#!lua flags=allow-oom
-- Keeps a claim while the engine works, and asks right before each engine call whether it still stands.
-- KEYS  record heartbeat due seen meta events
-- ARGV  id host token lease_ms
-- returns OK | LOST
-- invariant: only the holder of the claim moves its lease. A short lease hands a failed teardown on.
local record, bad = load(KEYS[1])
if bad then
  return bad
end
if record and record.state == 'ending' and record.claim_token == ARGV[3] then
  local lease_until = text(math.floor(clock() / 1000) + tonumber(ARGV[4]))
  redis.call('HSET', KEYS[1], 'lease_until', lease_until)
  redis.call('ZADD', KEYS[3], lease_until, ARGV[1])
  return 'OK'
end
return 'LOST'
