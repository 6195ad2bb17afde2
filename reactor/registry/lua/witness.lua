#!lua flags=allow-oom
-- Writes what was concluded from the evidence, if the evidence is still what the conclusion was drawn from.
-- KEYS  meta seen events
-- ARGV  host quarantine outage  old_db old_deployment  new_db new_deployment guessed layout
--       how_many [field old_value ...] (of seen, '' for missing)  [field new_value ...] (of seen)
--       quarantine, outage: what is news and gets an audit entry; '' for none
--       guessed ('1'): nobody said that name, it is made of where Redis was found
-- returns OK | CHANGED
-- invariant: run id, database id and doubts of a host change in one write, so that a kill -9 cannot part them.
local meta = redis.call('HMGET', KEYS[1], 'db', 'deployment', 'guessed')
if (meta[1] or '') ~= ARGV[4] or (meta[2] or '') ~= ARGV[5] then
  return 'CHANGED'
end
local last = 10 + 2 * tonumber(ARGV[10])
for at = 11, last, 2 do
  if (redis.call('HGET', KEYS[2], ARGV[at]) or '') ~= ARGV[at + 1] then
    return 'CHANGED'
  end
end
if meta[1] ~= ARGV[6] or meta[2] ~= ARGV[7] or (meta[3] or '0') ~= ARGV[8] then
  redis.call('HSET', KEYS[1], 'db', ARGV[6], 'deployment', ARGV[7], 'layout', ARGV[9])
  if ARGV[8] == '1' then
    redis.call('HSET', KEYS[1], 'guessed', '1')
  else
    redis.call('HDEL', KEYS[1], 'guessed')
  end
end
if #ARGV > last then
  redis.call('HSET', KEYS[2], unpack(ARGV, last + 1))
end
-- Who watched the engine compared it with another Redis: a rewound record may name a container that is long gone.
redis.call('HDEL', KEYS[2], 'watched_until')
for at = 2, 3 do
  if ARGV[at] ~= '' then
    log(KEYS[3], 'quarantine', '', { 'host', ARGV[1], 'reason', ARGV[at] })
  end
end
return 'OK'
