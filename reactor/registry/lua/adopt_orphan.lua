#!lua flags=allow-oom
-- A container without a record, from this very database: it gets a record that is already `ending`, claimed.
-- KEYS  record heartbeat due seen meta events hosts
-- ARGV  id host token lease_ms known generation container_id template ttl_ms label_db label_token detector runtime
--       running (1, or 0)
-- returns {UNSURE} | {REFUSED} | {CLAIMED, container_id, generation, db, reason}
-- invariant: only while there is no record at all and Redis' history is unbroken since the container was made, and never
--            one that runs where its record may have been evicted.
local id, host, token, lease_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local record, bad = load(KEYS[1])
if bad then
  return bad
end
local doubt, db = unsure(KEYS[4], KEYS[5], ARGV[5])
if doubt or stirred(KEYS[4], true) then
  return { 'UNSURE' }
end
if record and record.state == 'ending' and record.claim_token == token then
  return { 'CLAIMED', record.container_id, record.generation, db, record.reason }
end
if record or db ~= ARGV[10] or (ARGV[14] == '1' and evicted_since(KEYS[4], ARGV[6])) then
  return { 'REFUSED' }
end
local now = math.floor(clock() / 1000)
redis.call('HSET', KEYS[1], 'schema', SCHEMA, 'state', 'ending', 'generation', ARGV[6], 'host', host,
  'template', ARGV[8], 'ttl_ms', ARGV[9], 'started_at', text(math.floor(tonumber(ARGV[6]) / 1000)), 'token', ARGV[11],
  'container_id', ARGV[7], 'claim_token', token, 'lease_until', text(now + lease_ms), 'reason', 'orphan',
  'detector', ARGV[12], 'claimed_at', text(now), 'runtime', ARGV[13])
redis.call('DEL', KEYS[2])
redis.call('SADD', KEYS[7], host)
redis.call('ZADD', KEYS[3], text(now + lease_ms), id)
return { 'CLAIMED', ARGV[7], ARGV[6], db, 'orphan' }
