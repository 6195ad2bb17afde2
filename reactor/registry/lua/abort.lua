#!lua flags=allow-oom
-- The spawn failed and its container is gone: the record ends with the error, which its waiters get.
-- KEYS  record heartbeat due seen meta events taken
-- ARGV  id host token error wake_channel tombstone_ms
-- returns OK | LOST. An empty error lets go without a verdict (the image has to be pulled first): the record goes.
-- invariant: only the token of a `starting` record ends it.
local id = ARGV[1]
local record, bad = load(KEYS[1])
if bad then
  return bad
end
if record and record.state == 'ended' and record.token == ARGV[3] then
  return 'OK'
end
if not (record and record.state == 'starting' and record.token == ARGV[3]) then
  return 'LOST'
end
redis.call('ZREM', KEYS[3], id)
if record.member and KEYS[7] then
  redis.call('HDEL', KEYS[7], record.member)
end
if ARGV[4] == '' then
  redis.call('DEL', KEYS[1])
else
  local now = math.floor(clock() / 1000)
  redis.call('HDEL', KEYS[1], 'lease_until', 'hard_end')
  redis.call('HSET', KEYS[1], 'state', 'ended', 'error', ARGV[4], 'reason', 'spawn_failed', 'ended_at', text(now))
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
  log(KEYS[6], 'failed', id, { 'generation', record.generation, 'host', record.host, 'reason', 'spawn_failed', 'error', ARGV[4] })
end
redis.call('PUBLISH', ARGV[5], id)
return 'OK'
