#!lua flags=allow-oom
-- A reactor says that it watches this host's engine, how far ahead it must look, and that Redis works for it.
-- KEYS  seen meta
-- ARGV  known watched_ms ahead_ms well (1: all its commands work) clock_ms clock_slack_ms (as in examine)
--       turn (the last that the caller made, 0: none)
-- returns {OK, db, quarantine, outage, turn} | {UNSURE}; what is new to the caller another process of this host witnessed
local GAP_MS = 4000
local PRESENT_MS = 5000 -- how long a reactor counts as running after its last word, whether or not its engine answers
local doubt, db = unsure(KEYS[1], KEYS[2], ARGV[1])
if doubt or stirred(KEYS[1], true) then
  return { 'UNSURE' }
end
local now = math.floor(clock() / 1000)
if out_of_step(now, ARGV[5], ARGV[6], CLOCK_SLACK_MS) then
  return { 'UNSURE' }
end
local seen = redis.call('HMGET', KEYS[1], 'quarantine', 'outage', 'refused', 'well_at', 'turn')
if tonumber(seen[5] or '0') < tonumber(ARGV[7]) then
  return { 'UNSURE' } -- Redis went back to older data
end
local refused = refusals(redis.call('INFO', 'errorstats'))
if seen[3] ~= refused and now - tonumber(seen[4] or '0') > GAP_MS then
  return { 'UNSURE' } -- commands were refused while nobody watched
end
redis.call('HSET', KEYS[1], 'present_until', text(now + PRESENT_MS), 'watched_until', text(now + tonumber(ARGV[2])),
  'ahead_ms', ARGV[3], 'refused', refused)
if ARGV[4] == '1' then
  redis.call('HSET', KEYS[1], 'well_at', text(now))
end
return { 'OK', db, seen[1] or '', seen[2] or '', text(redis.call('HINCRBY', KEYS[1], 'turn', '1')) }
