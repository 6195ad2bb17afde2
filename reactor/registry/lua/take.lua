#!lua
-- The way in where the template has a pool: a ready container leaves the index and the record names it, in one step.
-- KEYS  record heartbeat due seen meta events pool taken
-- ARGV  id host token shape known
-- returns {UNSURE} | {LOST, superseded} | {NONE} | {TAKEN, container_id}
-- invariant: only the token of a `starting` record takes, one container however often it asks; one that was made in
--            another database, or for another shape of the template, is never taken.
local id, host, token, shape = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local record, bad = load(KEYS[1])
if bad then
  return bad
end
local doubt, db = unsure(KEYS[4], KEYS[5], ARGV[5])
if doubt then
  return { 'UNSURE' }
end
if not (record and record.state == 'starting' and record.token == token and record.host == host) then
  return { 'LOST', record and '1' or '0' }
end
if record.container_id then
  return { 'TAKEN', record.container_id }
end
local flat = redis.call('HGETALL', KEYS[7])
-- The pool is filled up again when nobody has asked for a moment.
redis.call('HSET', KEYS[7], 'asked', text(math.floor(clock() / 1000)))
for i = 1, #flat, 2 do
  local word, container, made_in, cut = string.match(flat[i + 1], '^(%S+) (%S+) (%S+) (%S+)$')
  if word == 'ready' and made_in == db and cut == shape then
    redis.call('HDEL', KEYS[7], flat[i])
    redis.call('HSET', KEYS[8], flat[i], record.generation .. ' ' .. id)
    redis.call('HSET', KEYS[1], 'container_id', container, 'member', flat[i])
    return { 'TAKEN', container }
  end
end
return { 'NONE' }
