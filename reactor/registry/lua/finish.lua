#!lua flags=allow-oom
-- The container is gone: the record becomes a tombstone.
-- KEYS  record heartbeat due seen meta events taken
-- ARGV  id host token tombstone_ms wake_channel
-- returns ENDED | LOST. Repeating it with the same token answers ENDED and changes nothing.
-- invariant: never without the token of the claim.
local id = ARGV[1]
local record, bad = load(KEYS[1])
if bad then
  return bad
end
if not record or record.claim_token ~= ARGV[3] then
  return 'LOST'
end
if record.state == 'ended' then
  return 'ENDED'
end
local now = math.floor(clock() / 1000)
redis.call('HDEL', KEYS[1], unpack(PASSING))
redis.call('HSET', KEYS[1], 'state', 'ended', 'ended_at', text(now))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[3], id)
if record.member and KEYS[7] then
  redis.call('HDEL', KEYS[7], record.member)
end
local fields = { 'generation', record.generation, 'container_id', record.container_id or '', 'host', record.host,
  'reason', record.reason, 'detector', record.detector, 'took_ms', text(now - tonumber(record.claimed_at)) }
if record.lag_ms then
  fields[#fields + 1] = 'lag_ms'
  fields[#fields + 1] = record.lag_ms
end
log(KEYS[6], 'ended', id, fields)
redis.call('PUBLISH', ARGV[5], id)
return 'ENDED'
