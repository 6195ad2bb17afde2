#!lua flags=no-writes
-- Redis as it is, and as this host last saw it, read in one step.
-- KEYS  meta seen due
-- returns {info, seconds, microseconds, db, deployment, guessed, has_records, [field, value ...] of seen}; '' for what
--         is missing
local t = redis.call('TIME')
local meta = redis.call('HMGET', KEYS[1], 'db', 'deployment', 'guessed')
local answer = { redis.call('INFO', 'server', 'replication', 'stats', 'errorstats'), t[1], t[2], meta[1] or '',
  meta[2] or '', meta[3] or '', tostring(redis.call('ZCARD', KEYS[3])) }
for _, value in ipairs(redis.call('HGETALL', KEYS[2])) do
  answer[#answer + 1] = value
end
return answer
