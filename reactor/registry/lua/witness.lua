#!lua
-- Writes what was concluded from the evidence, if the evidence is still what the conclusion was drawn from.
-- KEYS  meta seen events
-- ARGV  host  old_db old_deployment old_seen_run_id old_seen_db  new_db new_deployment layout run_id quarantine
--       ('' for what is missing; quarantine '' leaves the present one)
-- returns OK | CHANGED
-- invariant: run id, database id and quarantine of a host change in one write, so that a kill -9 cannot part them.
local meta = redis.call('HMGET', KEYS[1], 'db', 'deployment')
local seen = redis.call('HMGET', KEYS[2], 'run_id', 'db')
if (meta[1] or '') ~= ARGV[2] or (meta[2] or '') ~= ARGV[3] or (seen[1] or '') ~= ARGV[4] or (seen[2] or '') ~= ARGV[5] then
  return 'CHANGED'
end
redis.call('HSET', KEYS[1], 'db', ARGV[6], 'deployment', ARGV[7], 'layout', ARGV[8])
redis.call('HSET', KEYS[2], 'run_id', ARGV[9], 'db', ARGV[6])
if ARGV[10] ~= '' then
  local now = text(math.floor(clock() / 1000))
  redis.call('HSET', KEYS[2], 'quarantine', ARGV[10], 'quarantine_at', now)
  log(KEYS[3], 'quarantine', '', { 'host', ARGV[1], 'reason', ARGV[10] })
end
return 'OK'
