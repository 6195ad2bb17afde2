#!lua flags=allow-oom
-- A heartbeat key without a record keeps nothing alive and tells its client a lie: it goes.
-- KEYS  record heartbeat
-- returns 1 | 0
if redis.call('EXISTS', KEYS[1]) == 0 then
  return redis.call('DEL', KEYS[2])
end
return 0
