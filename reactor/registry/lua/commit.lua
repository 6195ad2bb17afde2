#!lua
-- The spawn is done: the record names its container and the heartbeat key appears, in one step.
-- KEYS  record heartbeat due seen meta events
-- ARGV  id host token container_id db wake_channel taken [field value ...] (where the container is reached)
--       taken: '1' for a container of the pool
-- returns {OK, pttl, record...} | {LOST, superseded}
-- invariant: repeating it changes nothing; whoever lost the record never brings a heartbeat key back; a container of the
--            pool is committed only where the record names it already.
local id, host, token, container, from_pool = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[7] == '1'
local record, bad = load(KEYS[1])
if bad then
  return bad
end
-- One of the pool may have been found by its name and registered meanwhile, by a later spawn.
local again = record and record.state == 'running' and record.container_id == container
  and (record.token == token or from_pool)
if not again then
  local mine = record and record.state == 'starting' and record.token == token and record.host == host
  if mine and (from_pool or record.container_id) then
    mine = record.container_id == container
  end
  if not mine then
    local superseded = record and redis.call('HGET', KEYS[5], 'db') == ARGV[5]
    return { 'LOST', superseded and '1' or '0' }
  end
  local now = math.floor(clock() / 1000)
  local deadline = now + tonumber(record.ttl_ms)
  redis.call('HDEL', KEYS[1], 'lease_until')
  redis.call('HSET', KEYS[1], 'state', 'running', 'container_id', container, 'deadline', text(deadline))
  if #ARGV > 7 then
    redis.call('HSET', KEYS[1], unpack(ARGV, 8))
  end
  redis.call('SET', KEYS[2], record.generation, 'PXAT', text(deadline))
  local ahead = tonumber(redis.call('HGET', KEYS[4], 'ahead_ms') or '0')
  redis.call('ZADD', KEYS[3], text(score_of(deadline, tonumber(record.hard_end or '0'), now, ahead)), id)
  log(KEYS[6], 'started', id, { 'generation', record.generation, 'container_id', container, 'host', host })
  redis.call('PUBLISH', ARGV[6], id)
end
local answer = { 'OK', text(redis.call('PTTL', KEYS[2])) }
for _, value in ipairs(redis.call('HGETALL', KEYS[1])) do
  answer[#answer + 1] = value
end
return answer
