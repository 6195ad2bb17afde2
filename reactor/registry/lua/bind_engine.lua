#!lua
-- One host name is one engine: the first to come binds it.
-- KEYS  engine
-- ARGV  engine_id root
-- returns {OK} | {OTHER, engine_id, root}
local bound = redis.call('HMGET', KEYS[1], 'id', 'root')
if not bound[1] then
  redis.call('HSET', KEYS[1], 'id', ARGV[1], 'root', ARGV[2])
  return { 'OK' }
end
if bound[1] == ARGV[1] and bound[2] == ARGV[2] then
  return { 'OK' }
end
return { 'OTHER', bound[1], bound[2] or '' }
