#!lua flags=allow-oom
-- The one verdict on a session: alive, busy, in grace, gone, or claimed for teardown by this token.
-- KEYS  record heartbeat due seen meta events
-- ARGV  id host mode token lease_ms run_id grace_ms reason expected_container detector
--       mode: look (no verdict is acted on) | claim (a missing key or a lease that ran out) | end (reason, now)
--       grace_ms: 0 means the session's own TTL
-- returns {UNSURE} | {GONE} | {FOREIGN, host} | {LIVE, left_ms, repaired} | {BUSY, left_ms} | {GRACE, left_ms}
--         | {CLAIMABLE} | {OTHER} | {CLAIMED, container_id, generation, db, reason}
-- invariant: every answer moves or removes the due entry; a claim deletes the heartbeat key in the same step; the same
--            token gets the same answer; another host's session is only taken out of this host's index.
local id, host, mode, token, lease_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local reason, expected, detector = ARGV[8], ARGV[9], ARGV[10]
local RELOOK_MS = 1000
local MAX_GRACES = 3
local record, bad = load(KEYS[1])
if bad then
  return bad
end
local doubt, db = unsure(KEYS[4], KEYS[5], ARGV[6])
if doubt then
  return { 'UNSURE' }
end
local now = math.floor(clock() / 1000)

local function due(at)
  redis.call('ZADD', KEYS[3], text(at), id)
end

local function claimed(why)
  return { 'CLAIMED', record.container_id or '', record.generation, db, why }
end

local function claim(why, since)
  if mode == 'look' then
    due(now + RELOOK_MS)
    return { 'CLAIMABLE' }
  end
  redis.call('HSET', KEYS[1], 'state', 'ending', 'claim_token', token, 'lease_until', text(now + lease_ms),
    'reason', why, 'detector', detector, 'claimed_at', text(now))
  if since then
    redis.call('HSET', KEYS[1], 'lag_ms', text(math.max(0, now - since)))
  end
  redis.call('DEL', KEYS[2])
  due(now + lease_ms)
  return claimed(why)
end

if not record or record.state == 'ended' then
  redis.call('ZREM', KEYS[3], id)
  return { 'GONE' }
end
if record.host ~= host then
  redis.call('ZREM', KEYS[3], id)
  return { 'FOREIGN', record.host }
end

if record.state == 'ending' then
  if record.claim_token == token then
    return claimed(record.reason)
  end
  local left = tonumber(record.lease_until) - now
  if left >= 0 then
    due(tonumber(record.lease_until) + 1)
    return { 'BUSY', text(left) }
  end
  if mode == 'look' then
    due(now + RELOOK_MS)
    return { 'CLAIMABLE' }
  end
  redis.call('HSET', KEYS[1], 'claim_token', token, 'lease_until', text(now + lease_ms))
  due(now + lease_ms)
  return claimed(record.reason)
end

if record.end_requested and mode ~= 'end' then
  return claim('terminated')
end

if record.state == 'starting' then
  if mode == 'end' and expected == '' then
    return claim(reason)
  end
  local left = tonumber(record.lease_until) - now
  if left >= 0 then
    due(tonumber(record.lease_until) + 1)
    return { 'BUSY', text(left) }
  end
  return claim('spawn_failed')
end

if mode == 'end' then
  if expected ~= '' and expected ~= record.container_id then
    return { 'OTHER' }
  end
  return claim(reason)
end
local hard_end = tonumber(record.hard_end or '0')
if hard_end > 0 and now > hard_end then
  return claim('max_lifetime', hard_end)
end

local ttl = tonumber(record.ttl_ms)
local left = redis.call('PTTL', KEYS[2])
if left ~= -2 then
  local repaired = '0'
  if left == -1 or left > ttl then
    redis.call('PEXPIRE', KEYS[2], text(ttl), 'LT')
    repaired = '1'
    log(KEYS[6], 'repaired', id, { 'generation', record.generation, 'container_id', record.container_id, 'host', host,
      'detector', detector })
  end
  local deadline = redis.call('PEXPIRETIME', KEYS[2])
  if record.deadline ~= text(deadline) then
    redis.call('HSET', KEYS[1], 'deadline', text(deadline))
  end
  if record.graces and deadline > tonumber(record.grace_until) then
    redis.call('HDEL', KEYS[1], 'graces', 'grace_until') -- not `graced`: one grace for each quarantine
  end
  local ahead = tonumber(redis.call('HGET', KEYS[4], 'ahead_ms') or '0')
  due(score_of(deadline, hard_end, now, ahead))
  return { 'LIVE', text(deadline - now), repaired }
end

-- The key is missing. In a quarantine that proves nothing: one grace for each session and quarantine.
local quarantine = redis.call('HMGET', KEYS[4], 'quarantine', 'quarantine_at')
local grace = tonumber(ARGV[7])
if grace == 0 then
  grace = ttl
end
grace = math.max(grace, math.ceil(ttl * 2 / 3))
local graces = tonumber(record.graces or '0')
if quarantine[1] and quarantine[1] ~= '' and quarantine[1] ~= record.graced and graces < MAX_GRACES
  and now <= tonumber(quarantine[2]) + grace then
  if mode == 'look' then
    due(now + RELOOK_MS)
    return { 'CLAIMABLE' }
  end
  local deadline = now + grace
  redis.call('SET', KEYS[2], record.generation, 'PXAT', text(deadline))
  redis.call('HSET', KEYS[1], 'graced', quarantine[1], 'graces', text(graces + 1), 'grace_until', text(deadline),
    'deadline', text(deadline))
  due(score_of(deadline, hard_end, now, 0))
  return { 'GRACE', text(grace) }
end
local deadline = tonumber(record.deadline or '0')
if now > deadline then
  return claim('expired', deadline)
end
return claim('ended_by_client')
