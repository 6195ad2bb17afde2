#!lua
-- The way in: whether the session lives, is being worked on, or is ours to spawn. The record decides, never the key.
-- KEYS  record heartbeat due seen meta events hosts
-- ARGV  id host token ttl_ms lease_ms template max_lifetime_ms waited_generation known runtime
-- returns {UNSURE} | {LIVE, revived, watched, pttl, record...} | {WAIT, state, host, generation, lease_left_ms}
--         | {SPAWN, generation, db, started_at} | {FAILED, error}
-- invariant: at most one unexpired token may spawn; a tombstone's TTL never survives into a live record.
local id, host, token, ttl_ms, lease_ms, template = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local max_lifetime, waited, known, runtime = tonumber(ARGV[7]), ARGV[8], ARGV[9], ARGV[10]
local record, bad = load(KEYS[1])
if bad then
  return bad
end
local doubt, db = unsure(KEYS[4], KEYS[5], known)
if doubt then
  return { 'UNSURE' }
end
local now_us = clock()
local now = math.floor(now_us / 1000)

local function wait(lease_left)
  return { 'WAIT', record.state, record.host, record.generation, text(lease_left) }
end

if record and record.state == 'running' then
  local hard_end = hard_end_of(record, now)
  local mine = record.host == host
  if record.end_requested or (hard_end > 0 and now > hard_end) then
    if mine then
      redis.call('ZADD', KEYS[3], text(now), id)
    end
    return wait(0)
  end
  local revived = '0'
  if redis.call('EXISTS', KEYS[2]) == 1 then
    redis.call('PEXPIRE', KEYS[2], record.ttl_ms, 'GT')
  else
    redis.call('SET', KEYS[2], record.generation, 'PX', record.ttl_ms)
    revived = '1'
    log(KEYS[6], 'revived', id, { 'generation', record.generation, 'container_id', record.container_id, 'host', record.host })
  end
  if record.graces or record.early_at then
    -- `graced` stays: one grace for each quarantine.
    redis.call('HDEL', KEYS[1], 'graces', 'graces_at', 'grace_until', 'early_at')
  end
  local watched = '0'
  if mine then
    redis.call('ZADD', KEYS[3], 'NX', text(now), id)
    if word_left(redis.call('HGET', KEYS[4], 'watched_until'), now) > 0 then
      watched = '1'
    end
  end
  local answer = { 'LIVE', revived, watched, text(redis.call('PTTL', KEYS[2])) }
  for name, value in pairs(record) do
    answer[#answer + 1] = name
    answer[#answer + 1] = value
  end
  return answer
end

if record and record.state == 'starting' then
  if record.token == token then
    return { 'SPAWN', record.generation, db, record.started_at }
  end
  local left = tonumber(record.lease_until) - now
  if left >= 0 or record.host ~= host or record.container_id then
    return wait(left) -- one that names a container of the pool is torn down first, or nobody would know of that
  end
elseif record and record.state == 'ending' then
  return wait(tonumber(record.lease_until) - now)
elseif record and record.error and record.error ~= '' and record.generation == waited then
  return { 'FAILED', record.error }
end

if stirred(KEYS[4], false) then
  return { 'UNSURE' } -- a record may have been there in the history that was replaced
end
local stray = redis.call('TYPE', KEYS[2]).ok
if stray ~= 'none' and stray ~= 'string' then
  return redis.error_reply('WRONGTYPE the heartbeat key holds a ' .. stray)
end
local generation = now_us
if record and tonumber(record.generation) >= generation then
  generation = tonumber(record.generation) + 1
end
local hard_end = 0
if max_lifetime > 0 then
  hard_end = now + max_lifetime
end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'schema', SCHEMA, 'state', 'starting', 'generation', text(generation), 'host', host,
  'template', template, 'ttl_ms', ttl_ms, 'started_at', text(now), 'token', token, 'lease_until', text(now + lease_ms),
  'runtime', runtime)
if hard_end > 0 then
  redis.call('HSET', KEYS[1], 'hard_end', text(hard_end))
end
redis.call('ZADD', KEYS[3], text(now + lease_ms), id)
redis.call('SADD', KEYS[7], host)
return { 'SPAWN', text(generation), db, text(now) }
