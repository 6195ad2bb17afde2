#!lua
-- Room for one more container in a template's pool, before it is made: all makers of a host together keep to its size.
-- KEYS  seen meta pool
-- ARGV  member size lease_ms known
-- returns {UNSURE} | {FULL} | {SLOT, entry, now_us}
-- invariant: ready ones and those in the making are never more than the size; the same member gets the same answer.
local member, size, lease_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if unsure(KEYS[1], KEYS[2], ARGV[4]) then
  return { 'UNSURE' }
end
local now_us = clock()
local now = math.floor(now_us / 1000)
local entry = redis.call('HGET', KEYS[3], member)
if entry then
  return { 'SLOT', entry, text(now_us) }
end
local count = 0
local flat = redis.call('HGETALL', KEYS[3])
for i = 2, #flat, 2 do
  local word, at = string.match(flat[i], '^(%S+) (%S+)')
  if word == 'ready' or (word == 'making' and now <= tonumber(at)) then
    count = count + 1
  end
end
if count >= size then
  return { 'FULL' }
end
entry = 'making ' .. text(now + lease_ms)
redis.call('HSET', KEYS[3], member, entry)
return { 'SLOT', entry, text(now_us) }
