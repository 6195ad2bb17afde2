#!lua flags=allow-oom
-- Without notifications an early DEL is only seen by looking: no score may be further ahead than `ahead_ms`.
-- KEYS  due
-- ARGV  ahead_ms limit
-- returns how many scores were brought nearer (spread over the span, so that they do not fall due at once)
local now = math.floor(clock() / 1000)
local ahead = tonumber(ARGV[1])
local ids = redis.call('ZRANGE', KEYS[1], '(' .. text(now + ahead), '+inf', 'BYSCORE', 'LIMIT', '0', ARGV[2])
for index, id in ipairs(ids) do
  redis.call('ZADD', KEYS[1], text(now + math.floor(ahead * index / #ids)), id)
end
return #ids
