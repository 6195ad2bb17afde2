#!lua flags=allow-oom
-- A host that never returns lets its sessions go: its records end, so that any host may spawn their ids again.
-- KEYS  seen due engine hosts events [record heartbeat, of each id]
-- ARGV  host force ('1': even while a reactor of it runs) wake_channel tombstone_ms [id ...]
-- returns {PRESENT, left_ms} | {FREED, how many, id of an unreadable record ...}; without ids: {MORE} | {GONE}
-- invariant: only records of that host end, each with its event, once; the host's own keys go last, when its index is
--            empty, so that an interrupted run is found again and repeated.
local host, wake, tombstone = ARGV[1], ARGV[3], ARGV[4]
local now = math.floor(clock() / 1000)
local present = word_left(redis.call('HGET', KEYS[1], 'present_until'), now)
if ARGV[2] ~= '1' and present > 0 then
  return { 'PRESENT', text(present) }
end

if #ARGV == 4 then
  if redis.call('ZCARD', KEYS[2]) > 0 then
    return { 'MORE' }
  end
  redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
  redis.call('SREM', KEYS[4], host)
  return { 'GONE' }
end

local freed, answer = 0, { 'FREED', '0' }
for index = 5, #ARGV do
  local id, key, heartbeat = ARGV[index], KEYS[2 * index - 4], KEYS[2 * index - 3]
  local kind, record, bad = redis.call('TYPE', key).ok, nil, nil
  if kind == 'hash' then
    record, bad = load(key)
  elseif kind ~= 'none' then
    bad = true
  end
  if bad then
    answer[#answer + 1] = id
  else
    if record and record.host == host and record.state ~= 'ended' then
      local reason = record.reason or 'terminated'
      redis.call('HDEL', key, unpack(PASSING))
      redis.call('HSET', key, 'state', 'ended', 'reason', reason, 'detector', 'manual', 'ended_at', text(now))
      redis.call('PEXPIRE', key, tombstone)
      redis.call('DEL', heartbeat)
      log(KEYS[5], 'ended', id, { 'generation', record.generation, 'container_id', record.container_id or '',
        'host', host, 'reason', reason, 'detector', 'manual' })
      redis.call('PUBLISH', wake, id)
      freed = freed + 1
    end
    redis.call('ZREM', KEYS[2], id)
  end
end
answer[2] = text(freed)
return answer
