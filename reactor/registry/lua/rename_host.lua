#!lua
-- An engine bears another host name now: from here on its old name is nobody's, and what that name last saw of Redis is
-- what the new one knows.
-- KEYS  engine(old) engine(new) seen(old) seen(new) events
-- ARGV  engine_id root old new
-- returns {OK} | {PRESENT, left_ms} (a reactor goes by the old name) | {OTHER} (the old name is another engine's)
-- invariant: whoever still goes by the old name finds nothing seen, so doubts, and is told the new name; a quarantine
--            passes on; repeating it changes nothing.
local was = redis.call('HMGET', KEYS[1], 'id', 'root', 'renamed')
if was[1] ~= ARGV[1] or was[2] ~= ARGV[2] then
  return { 'OTHER' }
end
local now = math.floor(clock() / 1000)
local present = word_left(redis.call('HGET', KEYS[3], 'present_until'), now)
if present > 0 then
  return { 'PRESENT', text(present) }
end
redis.call('HSET', KEYS[1], 'renamed', ARGV[4])
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'id', ARGV[1], 'root', ARGV[2])
local theirs = redis.call('HGETALL', KEYS[3])
if #theirs > 0 then
  local mine = redis.call('HMGET', KEYS[4], 'quarantine', 'quarantine_at', 'turn')
  redis.call('HSET', KEYS[4], unpack(theirs))
  redis.call('HINCRBY', KEYS[4], 'turn', mine[3] or '0') -- it never falls
  local since = redis.call('HGET', KEYS[4], 'quarantine_at')
  if mine[2] and tonumber(mine[2]) > tonumber(since or '0') then
    redis.call('HSET', KEYS[4], 'quarantine', mine[1], 'quarantine_at', mine[2]) -- the younger one counts
  end
  redis.call('DEL', KEYS[3])
end
if was[3] ~= ARGV[4] then
  log(KEYS[5], 'repaired', '', { 'host', ARGV[4], 'reason', 'renamed from ' .. ARGV[3] })
end
return { 'OK' }
