#!lua flags=allow-oom
-- A reactor says that it watches this host's engine, and how far ahead it must look.
-- KEYS  seen meta
-- ARGV  run_id watched_ms ahead_ms
-- returns {OK, db} | {UNSURE}; the db may be new to the caller: another process of this host may have witnessed it
local doubt, db = unsure(KEYS[1], KEYS[2], ARGV[1])
if doubt then
  return { 'UNSURE' }
end
local now = math.floor(clock() / 1000)
redis.call('HSET', KEYS[1], 'watched_until', text(now + tonumber(ARGV[2])), 'ahead_ms', ARGV[3])
return { 'OK', db }
