#!lua flags=allow-oom
-- One host name is one engine: the first to come binds it.
-- KEYS  engine hosts
-- ARGV  engine_id root host anew ('1': this engine bears the name again, whatever it was renamed to)
-- returns {OK} | {OTHER, engine_id, root} | {RENAMED, the name that this engine bears now}
-- invariant: a name that an engine has left is free only when its sessions have left it too.
local bound = redis.call('HMGET', KEYS[1], 'id', 'root', 'renamed')
local same = bound[1] == ARGV[1] and bound[2] == ARGV[2]
if same and not bound[3] then
  return { 'OK' }
end
if same and ARGV[4] ~= '1' then
  return { 'RENAMED', bound[3] }
end
local left = bound[3] and redis.call('SISMEMBER', KEYS[2], ARGV[3]) == 0
if bound[1] and not same and not left then
  return { 'OTHER', bound[1], bound[2] or '' }
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'root', ARGV[2])
return { 'OK' }
