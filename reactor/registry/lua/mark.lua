#!lua flags=allow-oom
-- What the pool's index says of one container is replaced, if it is still what the caller has judged by.
-- KEYS  seen meta pool taken
-- ARGV  member entry taken wanted known
--       entry, taken: what both indices said ('': nothing); wanted: `ready ...`, `lost ...`, `doomed`, or '' to forget it
-- returns {UNSURE} | {OK} | {OTHER}
-- invariant: one that is doomed is never taken or registered again; whoever takes or registers one changes what stands
--            here, so an older judgement finds out.
local member, wanted = ARGV[1], ARGV[4]
if unsure(KEYS[1], KEYS[2], ARGV[5]) then
  return { 'UNSURE' }
end
local entry = redis.call('HGET', KEYS[3], member) or ''
local taken = redis.call('HGET', KEYS[4], member) or ''
if entry == wanted and (wanted ~= '' or taken == '') then
  return { 'OK' }
end
if entry ~= ARGV[2] or taken ~= ARGV[3] then
  return { 'OTHER' }
end
if wanted ~= '' then
  redis.call('HSET', KEYS[3], member, wanted)
  return { 'OK' }
end
redis.call('HDEL', KEYS[3], member)
redis.call('HDEL', KEYS[4], member)
if redis.call('HLEN', KEYS[3]) == 1 then
  redis.call('HDEL', KEYS[3], 'asked')
end
return { 'OK' }
