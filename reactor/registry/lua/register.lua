#!lua
-- A running container from before a data loss gets its record back, with its own id and generation and a full TTL.
-- KEYS  record heartbeat due seen meta events hosts pool taken
-- ARGV  id host label_token generation container_id template ttl_ms label_db instead_of known runtime max_lifetime_ms
--       wake_channel member made_us [field value ...]
--       instead_of: token of the `starting` record that met the container at create; empty: no live record may stand
--       member, made_us: of a container from the pool, which has no id and generation of its own: those of the spawn
--       that found it under the session's name; else ''
-- returns {OK, pttl, record...} | {UNSURE} | {REFUSED} | {DOOMED}
-- invariant: only where the database id really changed, or the record may have been evicted; a live record of somebody
--            else is never replaced.
local id, host, token, generation, container = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local member, made_us = ARGV[14], ARGV[15]
if made_us == '' then
  made_us = generation
end
local record, bad = load(KEYS[1])
if bad then
  return bad
end
local doubt, db = unsure(KEYS[4], KEYS[5], ARGV[10])
if doubt then
  return { 'UNSURE' }
end
local again = record and record.state == 'running' and record.token == token and record.container_id == container
if not again then
  local free
  if ARGV[9] ~= '' then
    free = record and record.state == 'starting' and record.token == ARGV[9] and record.host == host
  else
    -- A tombstone without a container is of a spawn whose commit may have been lost with the rest.
    free = not record or (record.state == 'ended' and (record.token ~= token or not record.container_id))
  end
  if not free or (db == ARGV[8] and not evicted_since(KEYS[4], made_us)) then
    return { 'REFUSED' }
  end
  if member ~= '' and redis.call('HGET', KEYS[8], member) == 'doomed' then
    return { 'DOOMED' }
  end
  local now = math.floor(clock() / 1000)
  local deadline = now + tonumber(ARGV[7])
  local hard_end = 0
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'schema', SCHEMA, 'state', 'running', 'generation', generation, 'host', host,
    'template', ARGV[6], 'ttl_ms', ARGV[7], 'started_at', text(math.floor(tonumber(generation) / 1000)), 'token', token,
    'container_id', container, 'deadline', text(deadline), 'runtime', ARGV[11])
  if tonumber(ARGV[12]) > 0 then
    hard_end = math.floor(tonumber(generation) / 1000) + tonumber(ARGV[12])
    redis.call('HSET', KEYS[1], 'hard_end', text(hard_end))
  end
  if member ~= '' then
    redis.call('HSET', KEYS[1], 'member', member)
    redis.call('HDEL', KEYS[8], member)
    redis.call('HSET', KEYS[9], member, generation .. ' ' .. id)
  end
  if #ARGV > 15 then
    redis.call('HSET', KEYS[1], unpack(ARGV, 16))
  end
  redis.call('SET', KEYS[2], generation, 'PXAT', text(deadline))
  local ahead = tonumber(redis.call('HGET', KEYS[4], 'ahead_ms') or '0')
  redis.call('ZADD', KEYS[3], text(score_of(deadline, hard_end, now, ahead)), id)
  redis.call('SADD', KEYS[7], host)
  log(KEYS[6], 'adopted', id, { 'generation', generation, 'container_id', container, 'host', host })
  redis.call('PUBLISH', ARGV[13], id)
end
local answer = { 'OK', text(redis.call('PTTL', KEYS[2])) }
for _, value in ipairs(redis.call('HGETALL', KEYS[1])) do
  answer[#answer + 1] = value
end
return answer
