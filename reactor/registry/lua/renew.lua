#!lua flags=allow-oom
-- The spawner's fence and lease: still ours? It stands between create and start, and runs while the spawn lasts.
-- KEYS  record heartbeat due seen meta events
-- ARGV  id host token lease_ms db
-- returns {OK, container_id ('' where none was taken from the pool)} | {LOST, superseded}
-- invariant: only the token of a `starting` record on its own host renews; nothing else is changed.
local record, bad = load(KEYS[1])
if bad then
  return bad
end
if record and record.state == 'starting' and record.token == ARGV[3] and record.host == ARGV[2] then
  local lease_until = text(math.floor(clock() / 1000) + tonumber(ARGV[4]))
  redis.call('HSET', KEYS[1], 'lease_until', lease_until)
  redis.call('ZADD', KEYS[3], lease_until, ARGV[1])
  return { 'OK', record.container_id or '' }
end
-- superseded: the record is there and Redis did not lose its data meanwhile, so somebody really took over.
local superseded = record and redis.call('HGET', KEYS[5], 'db') == ARGV[5]
return { 'LOST', superseded and '1' or '0' }
