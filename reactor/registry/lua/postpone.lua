#!lua flags=allow-oom
-- A look that failed is repeated later, so that a due item never spins.
-- KEYS  due
-- ARGV  id delay_ms
-- invariant: an id that left the index is not put back.
redis.call('ZADD', KEYS[1], 'XX', text(math.floor(clock() / 1000) + tonumber(ARGV[2])), ARGV[1])
return 'OK'
