#!lua flags=no-writes
-- Which sessions are to be looked at now, and how long until the next one.
-- KEYS  due
-- ARGV  limit
-- returns {wait_us (-1: nothing waits), id, id, ...}
local now_us = clock()
local now = text(math.floor(now_us / 1000))
local ids = redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', '0', ARGV[1])
local wait = -1
if #ids == 0 then
  local next_one = redis.call('ZRANGE', KEYS[1], '0', '0', 'WITHSCORES')
  if next_one[2] then
    wait = math.max(0, tonumber(next_one[2]) * 1000 - now_us)
  end
end
local answer = { text(wait) }
for _, id in ipairs(ids) do
  answer[#answer + 1] = id
end
return answer
