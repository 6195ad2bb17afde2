#!lua flags=allow-oom
-- The one verdict on a session: alive, busy, in grace, gone, or claimed for teardown by this token.
-- KEYS  record heartbeat due seen meta events
-- ARGV  id host mode token lease_ms known grace_ms reason expected_container detector clock_ms clock_slack_ms generation
--       heard_db
--       mode: look (no verdict is acted on) | claim (a missing key or a lease that ran out) | end (reason, now)
--             | deleted (as claim; somebody was heard to delete the key: if it is missing, that is why)
--       grace_ms: 0 means the session's own TTL
--       generation: the one that an end is about ('': whichever there is)
--       heard_db: the database id under which a deletion was heard; under another one it proves nothing
--       clock_ms: what Redis' clock should say (0: not known), clock_slack_ms: how far off that may honestly be
-- returns {UNSURE} | {GONE} | {FOREIGN, host} | {LIVE, left_ms, repaired} | {BUSY, left_ms} | {GRACE, left_ms}
--         | {CLAIMABLE} | {OTHER} | {CLAIMED, container_id, generation, db, reason, committed}
-- invariant: every answer but UNSURE moves or removes the due entry; a claim deletes the heartbeat key in the same step;
--            the same token gets the same answer; another host's session is only taken out of this host's index; a
--            missing key is believed only in the very step in which Redis still is what the host has seen.
local id, host, mode, token, lease_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local reason, expected, detector = ARGV[8], ARGV[9], ARGV[10]
local RELOOK_MS = 1000
local MAX_GRACES = 3
local LONGEST_LEASE_MS = 60000
local MASS_COUNT, MASS_SHARE, MASS_WINDOW_MS, MASS_STEP_MS, HOLD_MS = 10, 0.2, 60000, 5000, 1000
local SPREAD_SHARE, SPREAD_MS = 0.1, 30000
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
  return { 'CLAIMED', record.container_id or '', record.generation, db, why, record.deadline and '1' or '0' }
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
if ARGV[13] ~= '' and ARGV[13] ~= record.generation then
  return { 'OTHER' }
end

-- What is left of a lease. None is that long: such a one was written before the clock was set back.
local function lease_left()
  local left = tonumber(record.lease_until) - now
  if left > LONGEST_LEASE_MS then
    left = LONGEST_LEASE_MS
    record.lease_until = text(now + left)
    redis.call('HSET', KEYS[1], 'lease_until', record.lease_until)
  end
  return left
end

if record.state == 'ending' then
  if record.claim_token == token then
    return claimed(record.reason)
  end
  local left = lease_left()
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
  if mode == 'end' and (expected == '' or expected == record.container_id) then
    return claim(reason)
  end
  local left = lease_left()
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
local ttl = tonumber(record.ttl_ms)
local grace = tonumber(ARGV[7])
if grace == 0 then
  grace = ttl
end
grace = math.max(grace, math.ceil(ttl * 2 / 3))
local seen = {}

-- Reads what the host doubts.
local function read_doubts()
  local names = { 'quarantine', 'quarantine_at', 'outage', 'outage_at', 'outage_ms', 'early' }
  local values = redis.call('HMGET', KEYS[4], unpack(names))
  for at, name in ipairs(names) do
    seen[name] = values[at] or ''
  end
end

-- Whether a doubt of the host counts for this session: it got no grace for it yet, and no grace has passed since.
local function counts(doubt, graced)
  return seen[doubt] ~= '' and seen[doubt] ~= graced and now <= tonumber(seen[doubt .. '_at']) + grace
end

local hard_end = hard_end_of(record, now)
if hard_end > 0 and now > hard_end then
  if mode == 'look' then
    return claim('max_lifetime')
  end
  if out_of_step(now, ARGV[11], ARGV[12], CLOCK_SLACK_MS) then
    return { 'UNSURE' }
  end
  read_doubts()
  if string.sub(seen.quarantine, 1, 6) ~= 'clock:' or not counts('quarantine', record.hard_graced) then
    return claim('max_lifetime', hard_end)
  end
  -- A clock that was set forward reaches it too early: one grace, as for a missing key.
  hard_end = now + grace
  redis.call('HSET', KEYS[1], 'hard_grace', text(hard_end), 'hard_graced', seen.quarantine)
end

local left = redis.call('PTTL', KEYS[2])
-- How long a session in grace is looked at anew: a touch has to be seen before the key may go again.
local relook = math.max(RELOOK_MS, math.ceil(ttl / 6))
if left ~= -2 then
  local deadline = redis.call('PEXPIRETIME', KEYS[2])
  local repaired = '0'
  if left == -1 or (left > ttl and text(deadline) ~= record.grace_until) then
    redis.call('PEXPIRE', KEYS[2], text(ttl), 'LT')
    deadline = redis.call('PEXPIRETIME', KEYS[2])
    repaired = '1'
    log(KEYS[6], 'repaired', id, { 'generation', record.generation, 'container_id', record.container_id, 'host', host,
      'detector', detector })
  end
  if record.deadline ~= text(deadline) then
    redis.call('HSET', KEYS[1], 'deadline', text(deadline))
  end
  local ahead = tonumber(redis.call('HGET', KEYS[4], 'ahead_ms') or '0')
  if record.graces and text(deadline) ~= record.grace_until then
    -- Touched. `graced` stays: one grace for each quarantine.
    redis.call('HDEL', KEYS[1], 'graces', 'graces_at', 'grace_until')
  elseif record.graces and (ahead == 0 or ahead > relook) then
    ahead = relook
  end
  if record.early_at then
    redis.call('HDEL', KEYS[1], 'early_at')
  end
  due(score_of(deadline, hard_end, now, ahead))
  return { 'LIVE', text(deadline - now), repaired }
end

-- The key is missing.
if mode == 'look' then
  return claim('expired') -- CLAIMABLE: what follows is decided by whoever claims
end
local deadline = tonumber(record.deadline or '0')
local early = now <= deadline
read_doubts()
local graces, since = tonumber(record.graces or '0'), tonumber(record.graces_at or '0')
local in_grace = graces > 0 and since <= now and now < since + grace

-- Sets the key again for a grace. Doubts that come within one grace are one in the row of graces, and a key that is
-- taken again and again is set once a second (a full Redis may evict it at once).
local function give_grace()
  -- A wave is spread: each session's grace is a little longer than asked for, by its id.
  local share = tonumber(string.sub(redis.sha1hex(id), 1, 4), 16) / 65535
  local length = grace + math.floor(share * math.min(grace * SPREAD_SHARE, SPREAD_MS))
  local set_ago = now - (tonumber(record.grace_until or '0') - length)
  if 0 <= set_ago and set_ago < RELOOK_MS then
    due(now + RELOOK_MS - set_ago)
    return { 'BUSY', text(RELOOK_MS - set_ago) }
  end
  if not in_grace then
    graces, since = graces + 1, now
  end
  local over = text(now + length)
  redis.call('SET', KEYS[2], record.generation, 'PXAT', over)
  redis.call('HSET', KEYS[1], 'graced', seen.quarantine, 'graced_outage', seen.outage, 'graces', text(graces),
    'graces_at', text(since), 'grace_until', over, 'deadline', over)
  redis.call('HDEL', KEYS[1], 'early_at')
  due(score_of(now + length, hard_end, now, relook))
  return { 'GRACE', text(length) }
end

-- Whether more keys of this host than `limit` went before their deadline within the last minute, this one among them;
-- that begins a quarantine. Asked once for each session.
local function mass_death(limit)
  local step = now - now % MASS_STEP_MS
  local kept, total, here = {}, 1, 1
  for at, count in string.gmatch(seen.early, '(%d+):(%d+)') do
    if tonumber(at) == step then
      total, here = total + tonumber(count), here + tonumber(count)
    elseif tonumber(at) < step and now - tonumber(at) < MASS_WINDOW_MS + MASS_STEP_MS then
      total = total + tonumber(count)
      kept[#kept + 1] = at .. ':' .. count
    end
  end
  kept[#kept + 1] = text(step) .. ':' .. text(here)
  redis.call('HSET', KEYS[4], 'early', table.concat(kept, ' '))
  redis.call('HSET', KEYS[1], 'early_at', text(now))
  if total <= limit then
    return false
  end
  -- While it goes on it is one.
  local ago = now - (tonumber(seen.quarantine_at) or 0)
  local name = seen.quarantine
  if string.sub(name, 1, 5) ~= 'mass:' or ago < 0 or ago > MASS_WINDOW_MS then
    name = 'mass:' .. text(now)
    log(KEYS[6], 'quarantine', '', { 'host', host, 'reason', name })
  end
  seen.quarantine = name
  redis.call('HSET', KEYS[4], 'quarantine', name, 'quarantine_at', text(now))
  return record.graced ~= name
end

-- Whoever deletes the key knows. But a replica tells of each key that ended as of a deletion: what was heard before
-- Redis' history changed, or under another database id, may be that.
local told = mode == 'deleted' and ARGV[14] == db
if told and stirred(KEYS[4], false) then
  return { 'UNSURE' }
end
-- Three graces in a row are enough whatever the evidence.
if (graces < MAX_GRACES or in_grace) and not told then
  if counts('quarantine', record.graced)
    or (counts('outage', record.graced_outage) and tonumber(seen.outage_ms) * 3 > ttl) then
    return give_grace()
  end
  if stirred(KEYS[4], true) or out_of_step(now, ARGV[11], ARGV[12], math.min(CLOCK_SLACK_MS, ttl / 3)) then
    return { 'UNSURE' }
  end
  local limit = math.max(MASS_COUNT, math.floor(MASS_SHARE * redis.call('ZCARD', KEYS[3])))
  if early and redis.call('ZCARD', KEYS[3]) > limit then
    if not record.early_at and mass_death(limit) then
      return give_grace()
    end
    -- Where many sessions are, one that went early is held for a moment: more of them may show that it was no client.
    local held = HOLD_MS - (now - tonumber(record.early_at or text(now)))
    if held > 0 and held <= HOLD_MS then
      due(now + held)
      return { 'BUSY', text(held) }
    end
  end
end
if early then
  return claim('ended_by_client')
end
return claim('expired', deadline)
